//! From sections and keys to checked settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::{self, Blank, Key};
use super::problem::{Problem, Problems};
use super::raw::{Entry, Raw};
use super::remote::Remote;
use super::value::{Value, Wrong};
use super::{
    Algorithm, Application, Audit, AuthToken, Barman, Config, Log, Secret, Settings, Target, User,
};
use crate::names::CommandName;

/// The place of the users in old installations.
const OLD_USERS: &str = "/usr/share/barmanapi/client.conf";

/// A signing key is at least this long.
const LEAST_SECRET: usize = 32;

/// Secrets that the world knows.
const KNOWN_SECRETS: [&str; 4] = [
    "89660c74da48ddd4efbe4d3c8f8150de",
    "a-string-secret-at-least-256-bits-long",
    "hPRYyVRiMyxpw5sBB1XeCMN1kFsDCqKvBi2QJxBVHQk=",
    "your-256-bit-secret-your-256-bit-secret",
];

/// Keys of Barman's configuration that nothing unlocks: they would move the whole installation.
const NEVER: [&str; 6] = [
    "barman_home",
    "barman_lock_directory",
    "barman_user",
    "config_changes_queue",
    "configuration_files_directory",
    "log_file",
];

/// Builds the settings and notes all that is wrong; what is wrong has its default.
pub(super) fn build(path: &Path, raw: &Raw, problems: &mut Problems) -> Settings {
    let mut builder = Builder {
        path,
        raw,
        problems,
        values: BTreeMap::new(),
    };
    builder.check_sections();
    builder.read_values();
    let settings = Settings {
        path: path.to_owned(),
        user: builder.user(),
        application: builder.application(),
        tls: builder.tls(),
        pgbackupapi: builder.pgbackupapi(),
        limits: builder.limits(),
        barman: builder.barman(),
        targets: builder.targets(),
        auth_token: builder.auth_token(),
        log: Log {
            backup_count: builder.count("log", "backup_count"),
            max_bytes: builder.number("log", "max_bytes"),
        },
        audit: Audit {
            keep_months: builder.count("audit", "keep_months"),
        },
        config: builder.config(),
    };
    builder.check_together(&settings);
    settings
}

pub(super) struct Builder<'a> {
    path: &'a Path,
    raw: &'a Raw,
    problems: &'a mut Problems,
    /// What was read, by section and key; `None` = blank.
    values: BTreeMap<(&'a str, &'a str), Option<Value>>,
}

impl Builder<'_> {
    fn wrong(&mut self, entry: &Entry, wrong: &Wrong) {
        let problem = Problem::at(self.path, entry.line, &wrong.words, &wrong.write)
            .unquoted(wrong.bare.clone());
        self.problems
            .add(problem.section(&entry.section).key(&entry.key));
    }

    /// Notes a problem with a key, at its line or else at that of its section.
    pub(super) fn wrong_key(&mut self, section: &str, key: &str, wrong: &Wrong) {
        let header = self
            .raw
            .sections
            .iter()
            .find(|(_, name)| name == section)
            .map(|(line, _)| *line);
        let entry = self
            .raw
            .entries
            .iter()
            .find(|entry| entry.section == section && entry.key == key);
        let line = entry.map(|entry| entry.line).or(header);
        let problem = Problem {
            line,
            unquoted: wrong.bare.clone(),
            ..Problem::new(self.path, &wrong.words, &wrong.write)
        };
        self.problems.add(problem.section(section).key(key));
    }

    fn check_sections(&mut self) {
        for (line, name) in &self.raw.sections {
            let known = keys::SECTIONS
                .iter()
                .any(|(known, _)| known == name && !known.contains(':'));
            if known || target_name(name).is_some() {
                continue;
            }
            let (wrong, write) = if name.starts_with("target") {
                (
                    "the section names no target",
                    "write [target:NAME], NAME of letters, digits, '.', '_' and '-'".to_owned(),
                )
            } else {
                let all = keys::SECTIONS.iter().map(|(known, _)| *known);
                let write = match keys::nearest(name, all.clone()) {
                    Some(near) => format!("write [{near}]"),
                    None => format!(
                        "write one of {}",
                        all.map(|known| format!("[{known}]"))
                            .collect::<Vec<_>>()
                            .join(", ")
                    ),
                };
                ("there is no such section", write)
            };
            self.problems
                .add(Problem::at(self.path, *line, wrong, &write).section(name));
        }
    }

    fn read_values(&mut self) {
        for entry in self.raw.entries.iter().chain(&self.raw.doubled) {
            let table = if target_name(&entry.section).is_some() {
                "target:NAME"
            } else {
                entry.section.as_str()
            };
            if keys::names(table).next().is_none() {
                continue;
            }
            let Some(key) = keys::find(&entry.section, &entry.key) else {
                self.unknown(entry, table);
                continue;
            };
            let value = match entry.value.as_str() {
                "" => None,
                text => match Value::parse(key.kind, text, key.secret) {
                    Ok(value) => Some(value),
                    Err(wrong) => {
                        self.wrong(entry, &wrong);
                        continue;
                    }
                },
            };
            // Of a key that stands twice the first value is built from; both are checked.
            self.values
                .entry((&entry.section, &entry.key))
                .or_insert(value);
        }
    }

    fn unknown(&mut self, entry: &Entry, table: &str) {
        let elsewhere = keys::KEYS.iter().find(|key| key.name == entry.key);
        let all = keys::KEYS.iter().map(|key| key.name);
        let near_elsewhere = keys::nearest(&entry.key, all)
            .and_then(|near| keys::KEYS.iter().find(|key| key.name == near));
        let near = keys::nearest(&entry.key, keys::names(table));
        let write = match (elsewhere, near, near_elsewhere) {
            (Some(key), _, _) => format!("write it in [{}]", key.section),
            (None, Some(near), _) => format!("write {near}"),
            (None, None, Some(key)) => format!("write {} in [{}]", key.name, key.section),
            (None, None, None) => {
                format!(
                    "write one of {}, or remove the line",
                    keys::names(table).collect::<Vec<_>>().join(", ")
                )
            }
        };
        self.wrong(entry, &Wrong::new("there is no such key", write));
    }

    /// What a key has: its value, else its default; `None` when that is blank.
    pub(super) fn value(&self, section: &str, name: &str) -> Option<Value> {
        let key: &Key = keys::find(section, name)?;
        match self.values.get(&(section, name)) {
            Some(Some(value)) => Some(value.clone()),
            Some(None) if key.blank == Blank::Meant => None,
            _ if key.default.is_empty() => None,
            _ => Value::parse(key.kind, key.default, false).ok(),
        }
    }

    pub(super) fn switch(&self, section: &str, name: &str) -> bool {
        matches!(self.value(section, name), Some(Value::Switch(true)))
    }

    pub(super) fn number(&self, section: &str, name: &str) -> u64 {
        match self.value(section, name) {
            Some(Value::Number(number)) => number,
            _ => 0,
        }
    }

    pub(super) fn count(&self, section: &str, name: &str) -> u32 {
        u32::try_from(self.number(section, name)).unwrap_or(u32::MAX)
    }

    pub(super) fn text(&self, section: &str, name: &str) -> Option<String> {
        match self.value(section, name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn a_path(&self, section: &str, name: &str) -> Option<PathBuf> {
        match self.value(section, name) {
            Some(Value::Path(path)) => Some(path),
            _ => None,
        }
    }

    fn commands(&self, section: &str, name: &str) -> Vec<CommandName> {
        match self.value(section, name) {
            Some(Value::Commands(commands)) => commands,
            _ => Vec::new(),
        }
    }

    fn user(&self) -> User {
        let written = matches!(self.values.get(&("user", "config_file")), Some(Some(_)));
        let mut config_file = self.a_path("user", "config_file").unwrap_or_default();
        let old = Path::new(OLD_USERS);
        if !written && !config_file.exists() && old.exists() {
            old.clone_into(&mut config_file);
        }
        User {
            config_file,
            secret: self.text("user", "secret").map(Secret::new),
        }
    }

    fn application(&self) -> Application {
        let section = "application";
        Application {
            store_directory: self.a_path(section, "store_directory").unwrap_or_default(),
            host: match self.value(section, "host") {
                Some(Value::Address(host)) => host,
                _ => std::net::Ipv4Addr::LOCALHOST.into(),
            },
            port: match self.value(section, "port") {
                Some(Value::Port(port)) => port,
                _ => 0,
            },
            insecure: self.switch(section, "insecure"),
            debug: self.switch(section, "debug"),
            get_changes: self.switch(section, "get_changes"),
            keep_months: self.count(section, "keep_months"),
        }
    }

    fn barman(&mut self) -> Barman {
        let section = "barman";
        let mut job_timeouts = BTreeMap::new();
        for entry in &self.raw.entries {
            let Some(command) = entry
                .key
                .strip_prefix("job_timeout.")
                .filter(|_| entry.section == section)
            else {
                continue;
            };
            match (CommandName::parse(command), self.value(section, &entry.key)) {
                (Ok(command), Some(Value::Number(seconds))) => {
                    job_timeouts.insert(command, limit(seconds));
                }
                (Ok(_), _) => {}
                (Err(_), _) => {
                    let wrong = format!("{command:?} is no name of a command");
                    self.wrong(
                        entry,
                        &Wrong::new(wrong, "write for example job_timeout.check"),
                    );
                }
            }
        }
        let remote = self.switch(section, "remote");
        let remote_ssh = self.text(section, "remote_ssh").unwrap_or_default();
        let remote_host = if remote {
            Remote::parse(&remote_ssh)
                .map_err(|wrong| {
                    let words = "the value is no SSH command that can be used";
                    self.wrong_key(section, "remote_ssh", &wrong.without_value(words));
                })
                .ok()
        } else {
            None
        };
        Barman {
            config_file: self.a_path(section, "config_file"),
            command: self.a_path(section, "command").unwrap_or_default(),
            remote,
            remote_ssh,
            remote_host,
            async_command: self.commands(section, "async_command"),
            warm: self.text(section, "warm").as_deref() != Some("off"),
            sync_timeout: Duration::from_secs(self.number(section, "sync_timeout")),
            job_timeout: limit(self.number(section, "job_timeout")),
            job_timeouts,
            max_jobs: self.count(section, "max_jobs"),
            queue: self.count(section, "queue"),
            output_limit: self.number(section, "output_limit"),
            any_target: self.switch(section, "any_target"),
            allow_commands: self.commands(section, "allow_commands"),
            exchange_directory: self.a_path(section, "exchange_directory"),
        }
    }

    fn targets(&mut self) -> Vec<Target> {
        let mut targets = Vec::new();
        for (line, section) in &self.raw.sections {
            let Some(name) = target_name(section) else {
                continue;
            };
            let directories = match self.value(section, "directories") {
                Some(Value::Paths(paths)) => paths,
                _ => Vec::new(),
            };
            let refused = self.problems.iter().any(|problem| {
                problem.section.as_ref() == Some(section)
                    && problem.key.as_deref() == Some("directories")
            });
            if directories.is_empty() && !refused {
                let problem = Problem::at(
                    self.path,
                    *line,
                    "the target has no directories",
                    "write for example directories = /srv/restore",
                );
                self.problems
                    .add(problem.section(section).key("directories"));
            }
            let ssh_command = self.text(section, "ssh_command").unwrap_or_default();
            targets.push(Target {
                name: name.to_owned(),
                ssh_command,
                directories,
            });
        }
        targets
    }

    fn auth_token(&mut self) -> AuthToken {
        let section = "auth_token";
        let secret = self.text(section, "secret");
        if let Some(wrong) = secret.as_deref().and_then(weakness) {
            let write = "leave it blank, and a strong one is generated and kept in store_directory";
            self.wrong_key(section, "secret", &Wrong::new(wrong, write));
        }
        AuthToken {
            secret: secret.map(Secret::new),
            algorithm: match self.text(section, "algorithm").as_deref() {
                Some("HS384") => Algorithm::Hs384,
                Some("HS512") => Algorithm::Hs512,
                _ => Algorithm::Hs256,
            },
            token_life: Duration::from_secs(self.number(section, "token_life")),
            query_token: self.switch(section, "query_token"),
        }
    }

    fn config(&mut self) -> Config {
        let unlock = match self.value("config", "unlock") {
            Some(Value::Words(words)) => words,
            _ => Vec::new(),
        };
        for key in unlock.iter().filter(|key| NEVER.contains(&key.as_str())) {
            let wrong = format!("{key:?} would move the whole installation");
            let write = "remove it: it is changed on disk alone";
            self.wrong_key("config", "unlock", &Wrong::new(wrong, write));
        }
        Config { unlock }
    }

    fn check_together(&mut self, settings: &Settings) {
        let Application { host, insecure, .. } = settings.application;
        let in_clear = settings.tls.certificate.is_none();
        if !host.to_canonical().is_loopback() && in_clear && !insecure {
            let wrong = format!(
                "{host} can be reached from other hosts, and passwords and tokens would cross the network in clear text"
            );
            let write = "name a certificate in [tls] (barmanapi pki init makes one), write host = 127.0.0.1, or accept it with insecure = true";
            self.wrong_key("application", "host", &Wrong::new(wrong, write));
        }
    }
}

/// 0 seconds are no limit.
fn limit(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// The name in `target:NAME`.
fn target_name(section: &str) -> Option<&str> {
    let name = section.strip_prefix("target:")?.trim();
    let form = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let valid = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(form);
    valid.then_some(name)
}

/// Why a signing key is too weak, if it is.
fn weakness(secret: &str) -> Option<&'static str> {
    let mut kinds: Vec<u8> = secret.bytes().collect();
    kinds.sort_unstable();
    kinds.dedup();
    if KNOWN_SECRETS.contains(&secret) {
        Some("the secret is one that everybody knows")
    } else if secret.len() < LEAST_SECRET {
        Some("the secret is shorter than 32 bytes")
    } else if kinds.len() < 8 {
        Some("the secret repeats a few characters")
    } else {
        None
    }
}
