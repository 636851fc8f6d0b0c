//! `barmanapi serve`: checks everything, wires the parts, and answers requests until it is stopped.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join;
use tikv_jemalloc_ctl::background_thread;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::configuration::{Configuration, Followers, door_limits, limits, request_rules, rules};
use super::drop_in::Overrides;
use super::{listen, manager, reload};
use crate::audit::Audit;
use crate::auth::Auth;
use crate::blocking;
use crate::catalogue::traits::Traits;
use crate::configfile::{self, ConfigFiles, OwnFile, Running};
use crate::dispatch::Dispatch;
use crate::frontdoor::{Door, Reception};
use crate::jobs::rotate::Rotation;
use crate::jobs::{Jobs, far, reconcile};
use crate::live::Live;
use crate::pgbackupapi::Operations;
use crate::redact;
use crate::refresh::{Barman, Refresh};
use crate::runner::Host;
use crate::runner::ssh::Link;
use crate::runner::warm::{self, Warm};
use crate::settings::{Settings, examine};
use crate::store::Store;
use crate::telemetry;
use crate::visitors::Visitor;
use crate::web::{self, App, Traffic};

/// The file that is read over the built-in facts about commands, where it exists.
pub(super) const COMMANDS_FILE: &str = "/etc/barmanapi/commands.conf";

/// How long the last bytes may take to leave after the last request was answered.
const LINGER: Duration = Duration::from_secs(1);

/// How often Barman's program and jobs without a supervisor are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How often it is looked whether a month is over.
const LOOK_AT_MONTHS: Duration = Duration::from_secs(60);

/// How long a Barman that could not be asked is left alone.
const LOOK_AGAIN_IN_TROUBLE: Duration = Duration::from_secs(10);

/// How often a Barman on another host is looked at; that keeps the connection to it open, too.
const LOOK_AGAIN_THERE: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT; a second one stops at once. SIGHUP reads the
/// configuration again and builds the catalogue anew.
///
/// # Errors
/// When the configuration, the environment or the store does not hold, or the address is taken.
pub(super) fn run(config: &Path, overrides: Overrides) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        configfile::mend(config).context("a change of this file was cut short")?;
    }
    let settings = overrides.over(examine(config).for_service()?);
    let store = Store::open(&settings.application.store_directory)?;
    let log = telemetry::to_file(&log_options(&settings, &store))?;
    let parts = Parts::build(&settings, &store)?;
    // Memory that is free goes back to the system when nobody asks for anything, too.
    if let Err(error) = background_thread::write(true) {
        tracing::warn!(%error, "memory that is free is kept until somebody asks for some");
    }
    // A thread that answers per processor: with more of them, a thousand busy clients are answered out of
    // turn, and some wait three times as long as others.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("barmanapi")
        .build()
        .context("no threads to serve with")?;
    let served = runtime.block_on(serve(settings, overrides, parts, log));
    // A command that is being stopped must not hold the exit back.
    runtime.shutdown_background();
    served
}

fn log_options(settings: &Settings, store: &Store) -> telemetry::Options {
    telemetry::Options {
        path: store.logs().join("general.log"),
        max_bytes: settings.log.max_bytes,
        backup_count: settings.log.backup_count,
        debug: settings.application.debug,
        mask: redact::text,
    }
}

/// What the service is made of.
struct Parts {
    auth: Arc<Auth>,
    jobs: Jobs,
    refresh: Arc<Refresh>,
    traits: Traits,
    audit: Arc<Audit>,
    config: Arc<ConfigFiles>,
    unlock: Arc<Live<Vec<String>>>,
    /// Where a reload is answered.
    answer: PathBuf,
}

impl Parts {
    fn build(settings: &Settings, store: &Store) -> anyhow::Result<Self> {
        let traits = match std::fs::read_to_string(COMMANDS_FILE) {
            Ok(text) => Traits::with_override(&text).context(COMMANDS_FILE)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Traits::builtin(),
            Err(error) => return Err(error).context(COMMANDS_FILE),
        };
        let garbage = store.garbage()?;
        let answer = garbage.file(reload::ANSWER);
        let host = host(settings, store)?;
        let barman = Barman {
            host,
            program: settings.barman.command.clone(),
            config_file: settings.barman.config_file.clone(),
        };
        let refresh = Arc::new(Refresh::new(barman, store.clone(), garbage.clone()));
        let audit = Arc::new(Audit::open(&store.logs(), settings.audit.keep_months)?);
        let unlock = Arc::new(Live::new(settings.config.unlock.clone()));
        let config = ConfigFiles::new(
            Arc::clone(&refresh),
            Arc::clone(&audit),
            store,
            Arc::clone(&unlock),
        );
        Ok(Self {
            auth: Arc::new(Auth::new(super::auth_settings(settings, store)?)?),
            jobs: Jobs::new(
                store.clone(),
                garbage,
                limits(settings),
                Warm::new(&traits.short_readers(), warm::IDLE),
            ),
            refresh,
            traits,
            audit,
            config: Arc::new(config),
            unlock,
            answer,
        })
    }
}

/// Where Barman runs.
fn host(settings: &Settings, store: &Store) -> anyhow::Result<Host> {
    Ok(match &settings.barman.remote_host {
        None => Host::Here,
        Some(remote) => Host::There(Link {
            remote: remote.clone(),
            sockets: Link::socket_folder(store.root())?,
        }),
    })
}

async fn serve(
    settings: Settings,
    overrides: Overrides,
    parts: Parts,
    log: telemetry::Log,
) -> anyhow::Result<()> {
    let Parts {
        auth,
        jobs,
        refresh,
        traits,
        audit,
        config,
        unlock,
        answer,
    } = parts;
    tokio::spawn(settle_changes(Arc::clone(&config)));
    tokio::spawn(look_after_jobs(jobs.clone()));
    let host = refresh.barman().host.clone();
    if host != Host::Here {
        tokio::spawn(clean_up_there(jobs.clone()));
    }
    tokio::spawn(look_after_months(jobs.clone()));
    tokio::spawn(watch_barman(Arc::clone(&refresh)));
    tokio::spawn(reload::catalogue_on_hangup(
        Arc::clone(&refresh),
        signal(SignalKind::hangup())?,
    ));
    let rules = Arc::new(Live::new(rules(&settings, &host)));
    let requests = Arc::new(Live::new(request_rules(&settings)));
    let tls = listen::tls(&settings)?;
    let entrances = listen::bind(&settings, tls.as_ref())?;
    let local_user = settings.pgbackupapi.local_user.clone();
    let door_limits = Arc::new(Live::new(door_limits(&settings)));
    let front = Arc::new(Door::new(Arc::clone(&door_limits)));
    let followers = Followers {
        host: host.clone(),
        auth: Arc::clone(&auth),
        jobs: jobs.clone(),
        rules: Arc::clone(&rules),
        requests: Arc::clone(&requests),
        door_limits,
        front: tls.map(|tls| (Arc::clone(&front), tls)),
        audit: Arc::clone(&audit),
        unlock,
        log,
    };
    let configuration = Arc::new(Configuration::new(settings, overrides, followers));
    let running = Arc::clone(&configuration) as Arc<dyn Running>;
    let own_config = OwnFile::new(running, Arc::clone(&audit), jobs.store());
    tokio::spawn(reload::configuration_on_hangup(
        configuration,
        answer,
        signal(SignalKind::hangup())?,
    ));
    let traffic = Arc::new(Traffic::default());
    let ending = jobs.clone();
    let door = Dispatch::new(Arc::clone(&auth), jobs, refresh, traits, rules, audit);
    let door = Arc::new(door);
    let operations = Operations::new(Arc::clone(&door), Arc::clone(&config));
    let app = Arc::new(App {
        auth,
        door,
        operations: Arc::new(operations),
        config: Arc::new(config),
        own_config: Arc::new(Arc::new(own_config)),
        requests,
        local_user,
        traffic,
    });
    let http = Arc::new(Http(Arc::clone(&app)));
    // In this thread, which the runtime gives nothing else to do.
    let open = entrances.open(&front, &http);
    let mut stop = stops()?;
    let mut at_once = stop.clone();
    let stopped = async {
        manager::ready();
        // The sender lives as long as the runtime.
        drop(stop.wait_for(|count| *count >= 1).await);
        tracing::info!("stopping: requests in flight are finished, jobs run on");
        manager::stopping();
        web::drain(&app).await;
        front.close(LINGER).await;
    };
    tokio::select! {
        ((), ()) = join(open, stopped) => {}
        _ = at_once.wait_for(|count| *count >= 2) => tracing::warn!("stopped at once"),
    }
    blocking::run(move || {
        ending.end_warm();
        if let Host::There(link) = host {
            link.end_unused();
        }
    })
    .await?;
    Ok(())
}

/// Those who were let in are answered over HTTP.
struct Http(Arc<App>);

impl Reception for Http {
    async fn answer<S>(&self, stream: S, visitor: &Arc<Visitor>) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        web::attend(&self.0, stream, visitor).await
    }
}

/// Counts the signals to stop.
fn stops() -> io::Result<watch::Receiver<u8>> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let (first, second) = watch::channel(0_u8);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            first.send_modify(|count| *count = count.saturating_add(1));
        }
    });
    Ok(second)
}

/// Completes what crashes have cut short, now and as long as the service runs.
async fn look_after_jobs(jobs: Jobs) {
    loop {
        let store = jobs.store().clone();
        match blocking::run(move || reconcile::look_at_all(&store)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "open jobs can't be looked after"),
            Err(error) => tracing::error!(%error, "open jobs can't be looked after"),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Brings changes of Barman's configuration to an end that were cut short.
async fn settle_changes(config: Arc<ConfigFiles>) {
    let mut told = None;
    loop {
        let settling = Arc::clone(&config);
        match blocking::run(move || settling.settle()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                let words = error.to_string();
                if told.as_ref() != Some(&words) {
                    tracing::error!(error = %words, "a change of barman's configuration was cut short and can't be looked after");
                    told = Some(words);
                }
            }
            Err(error) => {
                tracing::error!(%error, "changes of barman's configuration can't be looked after");
            }
        }
        tokio::time::sleep(LOOK_AGAIN_THERE).await;
    }
}

/// Removes what ended jobs have left on the Barman host and their supervisors could not remove.
async fn clean_up_there(jobs: Jobs) {
    let mut told = far::Troubles::new();
    loop {
        let store = jobs.store().clone();
        match blocking::run(move || far::clean_up_all(&store)).await {
            Ok(Ok(troubles)) => {
                for (place, error) in &troubles {
                    if told.get(place) != Some(error) {
                        tracing::warn!(place, error, "ended jobs leave files on a barman host");
                    }
                }
                told = troubles;
            }
            Ok(Err(error)) => tracing::error!(%error, "it can't be told what is left elsewhere"),
            Err(error) => tracing::error!(%error, "the barman host can't be cleaned up"),
        }
        tokio::time::sleep(LOOK_AGAIN_THERE).await;
    }
}

/// Moves the ended jobs of closed months into their archives, now and as long as the service runs.
async fn look_after_months(jobs: Jobs) {
    let mut rotation = Rotation::new(&jobs);
    loop {
        let pass = move || {
            rotation.pass();
            rotation
        };
        rotation = match blocking::run(pass).await {
            Ok(rotation) => rotation,
            Err(error) => {
                tracing::error!(%error, "closed months can't be looked after");
                Rotation::new(&jobs)
            }
        };
        tokio::time::sleep(LOOK_AT_MONTHS).await;
    }
}

/// Builds the catalogue at first and whenever Barman was replaced.
async fn watch_barman(refresh: Arc<Refresh>) {
    let (well, in_trouble) = match refresh.barman().host {
        Host::Here => (LOOK_AGAIN, LOOK_AGAIN_IN_TROUBLE),
        Host::There(_) => (LOOK_AGAIN_THERE, LOOK_AGAIN),
    };
    let mut told = None;
    loop {
        let looking = Arc::clone(&refresh);
        let pause = match blocking::run(move || looking.rebuild_if_changed()).await {
            Ok(Ok(())) => {
                told = None;
                well
            }
            Ok(Err(error)) => {
                let words = error.to_string();
                if told.as_ref() != Some(&words) {
                    tracing::error!(error = %words, "barman's commands can't be learnt");
                    told = Some(words);
                }
                in_trouble
            }
            Err(error) => {
                tracing::error!(%error, "barman can't be watched");
                in_trouble
            }
        };
        tokio::time::sleep(pause).await;
    }
}
