//! What differs between two configurations, and which of it can count without a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::keys::{self, Applies};
use super::{Application, AuthToken, Barman, Settings, Target};

/// A key whose value differs. What the values are is not told: they may be secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The section, as it stands in the file.
    pub section: String,
    /// The key, as it stands in the file.
    pub name: String,
    /// When the new value counts.
    pub applies: Applies,
}

impl Changed {
    fn new(section: &str, name: &str) -> Self {
        Self {
            section: section.to_owned(),
            name: name.to_owned(),
            // Every key is in the table; one that were not would be safe with a restart.
            applies: keys::find(section, name).map_or(Applies::Restart, |key| key.applies),
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.section, self.name)
    }
}

/// The keys whose values differ, in the order of the table.
#[must_use]
pub fn changes(old: &Settings, new: &Settings) -> Vec<Changed> {
    let mut changed = Vec::new();
    for key in keys::KEYS {
        match (key.section, key.name) {
            ("barman", "job_timeout.COMMAND") => changed.extend(job_timeouts(old, new)),
            // Both keys of a target are told with the first.
            ("target:NAME", "ssh_command") => changed.extend(targets(old, new)),
            ("target:NAME", _) => {}
            (section, name) if differs(old, new, section, name) => {
                changed.push(Changed::new(section, name));
            }
            _ => {}
        }
    }
    changed
}

/// The settings that are in force when `new` is read by a service that runs with `old`: what counts
/// from the next start only stays as it is.
#[must_use]
pub fn in_force(old: &Settings, new: Settings) -> Settings {
    let Application {
        store_directory,
        host,
        port,
        insecure,
        ..
    } = old.application.clone();
    let Barman {
        config_file,
        command,
        remote,
        remote_ssh,
        remote_host,
        ..
    } = old.barman.clone();
    let AuthToken {
        secret, algorithm, ..
    } = old.auth_token.clone();
    Settings {
        path: old.path.clone(),
        user: old.user.clone(),
        tls: old.tls.clone(),
        pgbackupapi: old.pgbackupapi.clone(),
        application: Application {
            store_directory,
            host,
            port,
            insecure,
            ..new.application
        },
        barman: Barman {
            config_file,
            command,
            remote,
            remote_ssh,
            remote_host,
            ..new.barman
        },
        auth_token: AuthToken {
            secret,
            algorithm,
            ..new.auth_token
        },
        ..new
    }
}

/// Whether a key that stands for itself has two values. A test holds that none is left out.
fn differs(old: &Settings, new: &Settings, section: &str, name: &str) -> bool {
    macro_rules! differs {
        ($($field:ident).+) => { old.$($field).+ != new.$($field).+ };
    }
    match (section, name) {
        ("user", "config_file") => differs!(user.config_file),
        ("user", "secret") => differs!(user.secret),
        ("application", "store_directory") => differs!(application.store_directory),
        ("application", "host") => differs!(application.host),
        ("application", "port") => differs!(application.port),
        ("application", "insecure") => differs!(application.insecure),
        ("application", "debug") => differs!(application.debug),
        ("application", "get_changes") => differs!(application.get_changes),
        ("application", "keep_months") => differs!(application.keep_months),
        ("tls", "certificate") => differs!(tls.certificate),
        ("tls", "key") => differs!(tls.key),
        ("tls", "client_ca") => differs!(tls.client_ca),
        ("tls", "client_certificates") => differs!(tls.client_certificates),
        ("tls", "crl") => differs!(tls.crl),
        ("pgbackupapi", "local_port") => differs!(pgbackupapi.local_port),
        ("pgbackupapi", "local_user") => differs!(pgbackupapi.local_user),
        ("limits", "handshake_time") => differs!(limits.handshake_time),
        ("limits", "header_time") => differs!(limits.header_time),
        ("limits", "body_time") => differs!(limits.body_time),
        ("limits", "idle_time") => differs!(limits.idle_time),
        ("limits", "connections") => differs!(limits.connections),
        ("limits", "connections_per_address") => differs!(limits.connections_per_address),
        ("barman", "config_file") => differs!(barman.config_file),
        ("barman", "command") => differs!(barman.command),
        ("barman", "remote") => differs!(barman.remote),
        ("barman", "remote_ssh") => differs!(barman.remote_ssh),
        ("barman", "async_command") => differs!(barman.async_command),
        ("barman", "warm") => differs!(barman.warm),
        ("barman", "sync_timeout") => differs!(barman.sync_timeout),
        ("barman", "job_timeout") => differs!(barman.job_timeout),
        ("barman", "max_jobs") => differs!(barman.max_jobs),
        ("barman", "queue") => differs!(barman.queue),
        ("barman", "output_limit") => differs!(barman.output_limit),
        ("barman", "any_target") => differs!(barman.any_target),
        ("barman", "allow_commands") => differs!(barman.allow_commands),
        ("barman", "exchange_directory") => differs!(barman.exchange_directory),
        ("auth_token", "secret") => differs!(auth_token.secret),
        ("auth_token", "algorithm") => differs!(auth_token.algorithm),
        ("auth_token", "token_life") => differs!(auth_token.token_life),
        ("auth_token", "query_token") => differs!(auth_token.query_token),
        ("log", "backup_count") => differs!(log.backup_count),
        ("log", "max_bytes") => differs!(log.max_bytes),
        ("audit", "keep_months") => differs!(audit.keep_months),
        ("config", "unlock") => differs!(config.unlock),
        _ => false,
    }
}

fn job_timeouts(old: &Settings, new: &Settings) -> Vec<Changed> {
    let (old, new) = (&old.barman.job_timeouts, &new.barman.job_timeouts);
    let commands: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    commands
        .into_iter()
        .filter(|command| old.get(*command) != new.get(*command))
        .map(|command| Changed::new("barman", &format!("job_timeout.{command}")))
        .collect()
}

fn targets(old: &Settings, new: &Settings) -> Vec<Changed> {
    let by_name = |settings: &'_ Settings| -> BTreeMap<String, Target> {
        let targets = settings.targets.iter();
        targets
            .map(|target| (target.name.clone(), target.clone()))
            .collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let mut changed = Vec::new();
    for name in names {
        let (old, new) = (old.get(name), new.get(name));
        let mut tell = |key: &str, differs: bool| {
            if differs {
                changed.push(Changed::new(&format!("target:{name}"), key));
            }
        };
        let ssh = |target: Option<&Target>| target.map(|target| target.ssh_command.clone());
        let directories = |target: Option<&Target>| target.map(|target| target.directories.clone());
        // A target that comes or goes without an SSH command is told by its directories.
        tell(
            "ssh_command",
            ssh(old).unwrap_or_default() != ssh(new).unwrap_or_default(),
        );
        tell("directories", directories(old) != directories(new));
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::super::keys::{KEYS, Kind, OverHttp};
    use super::super::parse;
    use super::*;
    use std::path::Path;

    const TARGET: &str = "[target:a]\ndirectories = /srv/a\n";

    fn read(text: &str) -> Settings {
        parse(Path::new("/etc/barmanapi.conf"), text).unwrap_or_else(|told| panic!("{told}"))
    }

    /// A value that a key takes and that is not its default.
    fn another(key: &keys::Key) -> &'static str {
        match (key.section, key.name, key.kind) {
            (_, "secret", _) => "Vn3xq0ZK7u1mT9bL5cR8wY2eS6dF4gHj",
            (_, "host", _) => "127.0.0.2",
            (_, "remote_ssh" | "ssh_command", _) => "ssh barman@backup",
            (_, "algorithm", _) => "HS512",
            (_, "client_certificates", _) => "optional",
            (_, "warm", _) => "off",
            (_, _, Kind::Switch) if key.default == "true" => "false",
            (_, _, Kind::Switch) => "true",
            (_, _, Kind::Path | Kind::Paths) => "/srv/other",
            (_, _, Kind::Commands) => "check",
            (_, _, Kind::Keys) => "conninfo",
            _ => "2000",
        }
    }

    /// Each key alone with another value: how it is told, and the settings.
    fn each_changed() -> Vec<(keys::Key, Changed, Settings)> {
        let change = |key: &keys::Key| {
            let section = key.section.replace("NAME", "a");
            let name = key.name.replace("COMMAND", "check");
            let value = match key.name {
                "keep_months" | "backup_count" | "max_jobs" => "7",
                _ => another(key),
            };
            let line = format!("{name} = {value}\n");
            let text = match (key.section, key.name) {
                ("target:NAME", "directories") => format!("[target:a]\n{line}"),
                ("target:NAME", _) => format!("{TARGET}{line}"),
                // A remote Barman needs a way to it, which counts only then.
                ("barman", "remote") => {
                    format!("{TARGET}[barman]\n{line}remote_ssh = ssh barman@backup\n")
                }
                _ => format!("{TARGET}[{section}]\n{line}"),
            };
            (*key, Changed::new(&section, &name), read(&text))
        };
        KEYS.iter().map(change).collect()
    }

    #[test]
    fn every_key_of_the_table_is_told_when_its_value_differs_and_no_other() {
        let plain = read(TARGET);
        assert_eq!(changes(&plain, &plain), []);
        for (key, wanted, changed) in each_changed() {
            let mut wanted = vec![wanted];
            if key.name == "remote" {
                wanted.push(Changed::new("barman", "remote_ssh"));
            }
            assert_eq!(changes(&plain, &changed), wanted);
            assert_eq!(changes(&changed, &plain), wanted);
            assert_eq!(wanted[0].applies, key.applies);
        }
    }

    #[test]
    fn what_needs_a_restart_stays_and_all_else_is_in_force() {
        let plain = read(TARGET);
        for (key, wanted, changed) in each_changed() {
            let after = in_force(&plain, changed.clone());
            match key.applies {
                Applies::Now => {
                    assert_eq!(after, changed, "{wanted}");
                    assert_eq!(changes(&plain, &after), [wanted]);
                }
                Applies::Restart => {
                    assert_eq!(after, plain, "{wanted}");
                    assert!(changes(&after, &changed).contains(&wanted));
                }
            }
        }
    }

    #[test]
    fn targets_and_time_limits_that_come_and_go_are_told_by_name() {
        let told = |old: &str, new: &str| {
            let changed = changes(&read(old), &read(new));
            changed
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let other = "[target:b]\nssh_command = ssh p@q\ndirectories = /b\n";
        assert_eq!(told("", TARGET), "[target:a] directories");
        assert_eq!(
            told(&format!("{TARGET}{other}"), TARGET),
            "[target:b] ssh_command, [target:b] directories"
        );
        let both = |one: &str, two: &str| format!("{one}{two}");
        assert_eq!(told(&both(TARGET, other), &both(other, TARGET)), "");
        assert_eq!(
            told(
                "[barman]\njob_timeout.check = 1\njob_timeout.cron = 2\n",
                "[barman]\njob_timeout.cron = 3\n"
            ),
            "[barman] job_timeout.check, [barman] job_timeout.cron"
        );
    }

    #[test]
    fn a_changed_secret_is_not_told() {
        let secret = "Vn3xq0ZK7u1mT9bL5cR8wY2eS6dF4gHj";
        let changed = changes(
            &read(""),
            &read(&format!("[auth_token]\nsecret = {secret}\n")),
        );
        assert_eq!(changed.len(), 1);
        assert!(!format!("{changed:?}").contains(secret));
    }

    #[test]
    fn what_opens_a_door_is_never_set_over_http() {
        let mut never: Vec<_> = KEYS
            .iter()
            .filter_map(|key| match key.over_http {
                OverHttp::Yes => None,
                OverHttp::Never(reason) => {
                    assert!(reason.len() > 10, "{reason}");
                    Some(format!("{}.{}", key.section, key.name))
                }
            })
            .collect();
        never.sort_unstable();
        assert_eq!(
            never,
            [
                "application.host",
                "application.insecure",
                "application.keep_months",
                "application.port",
                "application.store_directory",
                "audit.keep_months",
                "auth_token.secret",
                "barman.allow_commands",
                "barman.any_target",
                "barman.command",
                "barman.config_file",
                "barman.exchange_directory",
                "barman.remote",
                "barman.remote_ssh",
                "config.unlock",
                "pgbackupapi.local_port",
                "pgbackupapi.local_user",
                "target:NAME.directories",
                "target:NAME.ssh_command",
                "tls.certificate",
                "tls.client_ca",
                "tls.client_certificates",
                "tls.crl",
                "tls.key",
                "user.config_file",
                "user.secret",
            ]
        );
        assert!(
            KEYS.iter()
                .all(|key| !key.secret || key.over_http != OverHttp::Yes)
        );
    }
}
