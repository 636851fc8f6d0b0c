//! Values that can be read and mean nothing: names of what does not exist, keys and commands for
//! which nothing has to be switched on, folders that are not there. A service starts with them, and
//! whoever wrote them waits in vain for what they should do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::{Secret, SecretError, Users, UsersError};
use crate::catalogue::Catalogue;
use crate::catalogue::configkeys::{ConfigKeys, KeyClass};
use crate::catalogue::traits::Traits;
use crate::names::CommandName;
use crate::refresh::last_catalogue;
use crate::settings::keys::nearest;
use crate::settings::{Examined, Problem, Settings};

/// Looks at what a file says, beyond its form. What stands in lines that can't be read is not
/// looked at.
pub(super) fn check(path: &Path, examined: &Examined, traits: &Traits) -> Vec<Problem> {
    let Some(settings) = examined.settings() else {
        return Vec::new();
    };
    let mut check = Check {
        path,
        examined,
        settings,
        traits,
        catalogue: last_catalogue(&settings.application.store_directory),
        problems: Vec::new(),
    };
    check.unlock();
    check.commands();
    if settings.barman.remote_host.is_none() && !settings.barman.remote {
        check.folders();
    }
    check.secrets();
    check.local_user();
    check.problems
}

struct Check<'a> {
    path: &'a Path,
    examined: &'a Examined,
    settings: &'a Settings,
    traits: &'a Traits,
    /// What the Barman that is there can do, where a service has asked it.
    catalogue: Option<Arc<Catalogue>>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    /// Notes a problem of a key.
    fn add(&mut self, section: &str, key: &str, wrong: String, write: String) {
        let problem = self.problem(section, key, wrong, write);
        self.problems.push(problem);
    }

    fn problem(&self, section: &str, key: &str, wrong: String, write: String) -> Problem {
        Problem {
            file: self.path.to_owned(),
            line: self.examined.line(section, key),
            section: Some(section.to_owned()),
            key: Some(key.to_owned()),
            wrong,
            write,
            ..Problem::default()
        }
    }

    fn unlock(&mut self) {
        let keys = ConfigKeys::builtin();
        for key in &self.settings.config.unlock {
            let (wrong, write) = match keys.class(key) {
                None => (
                    format!("{key:?} is no key of Barman's configuration"),
                    match keys.nearest(key) {
                        Some(near) => format!("write {near}"),
                        None => "remove it; /config/barman/help lists the keys".to_owned(),
                    },
                ),
                // That nothing unlocks it is told with the form of the file.
                Some(KeyClass::Installation) => continue,
                Some(class) if class.needs_unlock() => continue,
                Some(class) => (
                    format!("{key:?} needs no unlocking: it {}", class.reason()),
                    "remove it".to_owned(),
                ),
            };
            self.add("config", "unlock", wrong, write);
        }
    }

    fn commands(&mut self) {
        let settings = self.settings;
        let barman = &settings.barman;
        for command in &barman.async_command {
            self.known("async_command", command);
        }
        for command in barman.job_timeouts.keys() {
            self.known(&format!("job_timeout.{command}"), command);
        }
        for command in &barman.allow_commands {
            let key = "allow_commands";
            if self.known(key, command) && !self.traits.is_off(command) {
                let off = self.traits.all_names().into_iter();
                let is_off = |name: &&str| {
                    CommandName::parse(name).is_ok_and(|name| self.traits.is_off(&name))
                };
                let off: Vec<_> = off.filter(is_off).collect();
                let wrong = format!("{command} is allowed without it");
                let write = format!("remove it; those that are off are {}", off.join(", "));
                self.add("barman", key, wrong, write);
            }
        }
    }

    /// Whether Barman has such a command: the one that is there, or any that barmanapi knows.
    fn known(&mut self, key: &str, command: &CommandName) -> bool {
        let there = self.catalogue.as_ref();
        if self.traits.knows(command) || there.is_some_and(|all| all.find(command).is_some()) {
            return true;
        }
        let wrong = format!("barman has no command {command}");
        let names = self.traits.all_names().into_iter();
        let write = match nearest(command.as_str(), names) {
            Some(near) => format!("write {near}"),
            None => "write a name that barman --help lists".to_owned(),
        };
        self.add("barman", key, wrong, write);
        false
    }

    /// Folders on this host that restores and exports go to.
    fn folders(&mut self) {
        let settings = self.settings;
        if let Some(folder) = &settings.barman.exchange_directory {
            self.folder("barman", "exchange_directory", folder);
        }
        for target in settings
            .targets
            .iter()
            .filter(|target| target.ssh_command.is_empty())
        {
            for folder in &target.directories {
                self.folder(&format!("target:{}", target.name), "directories", folder);
            }
        }
    }

    fn folder(&mut self, section: &str, key: &str, folder: &Path) {
        let shown = folder.display();
        let (wrong, write) = match fs::metadata(folder) {
            Ok(found) if found.is_dir() => return,
            Ok(_) => {
                let wrong = format!("{shown} is not a directory");
                self.add(section, key, wrong, "name a directory".to_owned());
                return;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (
                format!("{shown} does not exist"),
                format!("make it before it is used: mkdir -p {shown}"),
            ),
            Err(error) => (
                format!("{shown} can't be looked at: {error}"),
                "let the account that runs the service look at it".to_owned(),
            ),
        };
        // It may be mounted or made later.
        self.problems.push(Problem {
            is_warning: true,
            ..self.problem(section, key, wrong, write)
        });
    }

    /// Requests that run as nobody are all refused.
    fn local_user(&mut self) {
        let user = &self.settings.pgbackupapi.local_user;
        let (Some(user), Some(file)) = (user, self.examined.users()) else {
            return;
        };
        let found = Users::open(file.to_owned()).require(user);
        if let Err(UsersError::Unknown(_)) = found {
            let wrong = format!("{user} is no user of {}", file.display());
            let write = format!("run: barmanapi user add {user} --access RULE,…");
            self.add("pgbackupapi", "local_user", wrong, write);
        }
    }

    /// What a start looks at beyond the form: whether a secret can be guessed or read.
    fn secrets(&mut self) {
        let settings = self.settings;
        // A weak one may have been told with the form of the file.
        let place = ("auth_token", "secret");
        if let Some(secret) = &settings.auth_token.secret
            && self.examined.line(place.0, place.1).is_some()
            && let Err(error) = Secret::strong(secret.expose())
        {
            let (wrong, write) = words(&error);
            self.add(place.0, place.1, wrong, write);
        }
        let kept = [
            ("pepper", settings.user.secret.is_none()),
            ("secret", settings.auth_token.secret.is_none()),
        ];
        let folder = settings.application.store_directory.join("config");
        let used = kept.into_iter().filter(|(_, is_used)| *is_used);
        let files: Vec<PathBuf> = used.map(|(name, _)| folder.join(name)).collect();
        for file in files.into_iter().filter(|file| file.exists()) {
            if let Err(error) = Secret::load(&file) {
                let (wrong, write) = words(&error);
                self.problems.push(Problem {
                    file,
                    wrong,
                    write,
                    ..Problem::default()
                });
            }
        }
    }
}

/// What is wrong with a secret, and what to do about it.
fn words(error: &SecretError) -> (String, String) {
    let (error, write) = match error {
        SecretError::Exposed { path, mode } => {
            let wrong = format!("every account may read it (mode {mode:o})");
            return (wrong, format!("run: chmod 600 {}", path.display()));
        }
        SecretError::Io { source, .. } => {
            let write = "let the account that runs the service read it";
            return (format!("it can't be read: {source}"), write.to_owned());
        }
        SecretError::File { source, .. } => (
            source.as_ref(),
            "put back what it held; without the file a new one is generated",
        ),
        error => (
            error,
            "leave it blank, and a strong one is generated and kept in store_directory",
        ),
    };
    let told = error.to_string();
    let wrong = told.split("; ").next().unwrap_or_default();
    (wrong.to_owned(), write.to_owned())
}
