//! The configuration in force, and the parts that follow it while the service runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::drop_in::Overrides;
use super::listen;
use crate::audit::Audit;
use crate::auth::Auth;
use crate::catalogue::argv::{Places, Resolve, ResolveError, Target};
use crate::certificates::Tls;
use crate::configfile::Running;
use crate::dispatch::Rules;
use crate::frontdoor::{Door, Limits as DoorLimits};
use crate::jobs::{Jobs, Limits};
use crate::live::Live;
use crate::runner::Host;
use crate::runner::ssh::{Link, LinkError};
use crate::settings::keys::Applies;
use crate::settings::{Changed, Problems, Settings, changes, examine, in_force};
use crate::telemetry::Log;
use crate::web::RequestRules;

/// The configuration of a running service.
#[derive(Debug)]
pub(super) struct Configuration {
    settings: Arc<Live<Settings>>,
    overrides: Overrides,
    followers: Followers,
    /// Held from the look at the file until its settings are in force: the last one who looks wins.
    changing: Mutex<()>,
}

/// The parts that take what counts without a restart.
#[derive(Debug)]
pub(super) struct Followers {
    /// Where Barman runs, as it was at the start.
    pub(super) host: Host,
    /// Takes the life of the tokens.
    pub(super) auth: Arc<Auth>,
    /// Takes the limits of jobs.
    pub(super) jobs: Jobs,
    /// Takes the rules about commands.
    pub(super) rules: Arc<Live<Rules>>,
    /// Takes what requests may look like.
    pub(super) requests: Arc<Live<RequestRules>>,
    /// Takes what clients may take of the listener.
    pub(super) door_limits: Arc<Live<DoorLimits>>,
    /// Takes certificates and lists that were renewed, where there is TLS.
    pub(super) front: Option<(Arc<Door>, Arc<Live<Tls>>)>,
    /// Takes the months that are kept.
    pub(super) audit: Arc<Audit>,
    /// Takes the keys of Barman's configuration that may be set though they are dangerous.
    pub(super) unlock: Arc<Live<Vec<String>>>,
    /// Takes level and sizes.
    pub(super) log: Log,
}

impl Configuration {
    /// The configuration that a service starts with; the followers have it already.
    pub(super) fn new(settings: Settings, overrides: Overrides, followers: Followers) -> Self {
        Self {
            settings: Arc::new(Live::new(settings)),
            overrides,
            followers,
            changing: Mutex::default(),
        }
    }

    fn changing(&self) -> std::sync::MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, new: Settings) -> News {
        let old = self.settings.get();
        let changed = changes(&old, &new);
        let settings = in_force(&old, new);
        let renewed = self.followers.follow(&settings);
        self.settings.set(settings);
        let news = News { changed, renewed };
        let (changed, renewed) = (news.names(Applies::Now), news.renewed_names());
        tracing::info!(%changed, %renewed, "the configuration was read again");
        let restart = news.names(Applies::Restart);
        if !restart.is_empty() {
            tracing::warn!(keys = %restart, "these keys count from the next start");
        }
        news
    }

    /// Reads the file again, and those that it names, and puts in force what needs no restart.
    ///
    /// # Errors
    /// With all that is wrong with the files. Nothing changes then.
    pub(super) fn read_again(&self) -> Result<News, Problems> {
        let _one_at_a_time = self.changing();
        let path = self.settings.get().path.clone();
        let read = examine(&path).for_service().inspect_err(|problems| {
            for problem in &problems.without_values() {
                tracing::error!(%problem, "the configuration stays as it was");
            }
        });
        Ok(self.follow(self.as_started(read?)))
    }
}

impl Running for Configuration {
    fn settings(&self) -> Arc<Settings> {
        self.settings.get()
    }

    fn as_started(&self, file: Settings) -> Settings {
        self.overrides.over(file)
    }

    fn reload(&self) -> Result<Vec<Changed>, Problems> {
        Ok(self.read_again()?.changed)
    }
}

/// What a look at the files has brought.
pub(super) struct News {
    changed: Vec<Changed>,
    /// The keys of `[tls]` whose files say something else.
    renewed: Vec<&'static str>,
}

impl News {
    /// The keys that count then, as a reader finds them in the file.
    pub(super) fn names(&self, applies: Applies) -> String {
        let names: Vec<_> = self
            .changed
            .iter()
            .filter(|changed| changed.applies == applies)
            .map(ToString::to_string)
            .collect();
        names.join(", ")
    }

    /// The keys whose files say something else, in the same way.
    pub(super) fn renewed_names(&self) -> String {
        let names: Vec<_> = self
            .renewed
            .iter()
            .map(|key| format!("[tls] {key}"))
            .collect();
        names.join(", ")
    }
}

impl Followers {
    /// Puts settings in force; the keys of `[tls]` whose files say something new.
    fn follow(&self, settings: &Settings) -> Vec<&'static str> {
        let Settings {
            application, log, ..
        } = settings;
        self.auth.set_token_life(settings.auth_token.token_life);
        self.jobs.set_limits(limits(settings));
        self.rules.set(rules(settings, &self.host));
        self.requests.set(request_rules(settings));
        self.door_limits.set(door_limits(settings));
        self.audit.set_keep_months(settings.audit.keep_months);
        self.unlock.set(settings.config.unlock.clone());
        self.log
            .set(application.debug, log.max_bytes, log.backup_count);
        let front = self.front.as_ref();
        front.map_or_else(Vec::new, |(door, tls)| listen::renew(settings, door, tls))
    }
}

pub(super) fn request_rules(settings: &Settings) -> RequestRules {
    RequestRules {
        query_token: settings.auth_token.query_token,
        get_changes: settings.application.get_changes,
        body_time: settings.limits.body_time,
    }
}

/// What clients may take of the listener.
pub(super) fn door_limits(settings: &Settings) -> DoorLimits {
    let limits = settings.limits;
    let number = |count| usize::try_from(count).unwrap_or(usize::MAX);
    DoorLimits {
        handshake: limits.handshake_time,
        head: limits.header_time,
        idle: limits.idle_time,
        connections: number(limits.connections),
        per_address: number(limits.connections_per_address),
    }
}

pub(super) fn limits(settings: &Settings) -> Limits {
    Limits {
        max_jobs: settings.barman.max_jobs,
        queue: settings.barman.queue,
        output_limit: settings.barman.output_limit,
        sync_timeout: settings.barman.sync_timeout,
        users: settings.user.config_file.clone(),
        keep_months: settings.application.keep_months,
        warm: settings.barman.warm,
    }
}

/// Asks the Barman host where its paths lead.
#[derive(Debug)]
struct There(Link);

impl Resolve for There {
    fn resolve(&self, path: &Path) -> Result<PathBuf, ResolveError> {
        self.0.resolve(path).map_err(|error| match error {
            LinkError::Io(source) => ResolveError::Path(source),
            error => ResolveError::Host {
                words: error.to_string(),
                reason: error.word(),
            },
        })
    }
}

pub(super) fn rules(settings: &Settings, host: &Host) -> Rules {
    let barman = &settings.barman;
    let target = |target: &crate::settings::Target| Target {
        name: target.name.clone(),
        ssh_command: target.ssh_command.clone(),
        directories: target.directories.clone(),
    };
    let mut time_limits: Vec<_> = barman
        .job_timeouts
        .iter()
        .map(|(name, limit)| (Some(name.clone()), *limit))
        .collect();
    time_limits.push((None, barman.job_timeout));
    Rules {
        places: Places {
            any_target: barman.any_target,
            targets: settings.targets.iter().map(target).collect(),
            exchange_directory: barman.exchange_directory.clone(),
            allow_commands: barman.allow_commands.clone(),
            unlock: settings.config.unlock.clone(),
            elsewhere: match host {
                Host::Here => None,
                Host::There(link) => Some(Arc::new(There(link.clone()))),
            },
        },
        async_commands: barman.async_command.clone(),
        time_limits,
        get_changes: settings.application.get_changes,
    }
}
