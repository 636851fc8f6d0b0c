//! The servers that Barman's configuration defines.
//!
//! Barman itself is asked, and asked again only when one of the files changes that it reads.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::RefreshError;
use super::ask::{AskError, Barman, ask};
use crate::inifile::Document;
use crate::names::ServerName;
use crate::runner::{Host, environment};
use crate::store::garbage::Garbage;

/// Where Barman looks for its configuration when none is named (`barman --help`, option `-c`).
const SEARCHED: [&str; 3] = [
    "~/.barman.conf",
    "/etc/barman.conf",
    "/etc/barman/barman.conf",
];

/// The keys beside the servers in Barman's JSON (`barman/output.py`, 3.19.1).
const MESSAGES: [&str; 5] = ["_DEBUG", "_INFO", "_WARNING", "_ERROR", "_EXCEPTION"];

/// What is known of the servers.
#[derive(Debug, Default)]
pub(super) struct KnownServers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The servers, and the files that define them.
    found: Option<(Signature, Arc<Vec<ServerName>>)>,
    /// How often what was known has been forgotten.
    forgotten: u64,
}

impl KnownServers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The servers without a question or a look at a file: those of another host, whose files are
    /// not watched, as long as all that are `wanted` are among them. A name that is not may be new.
    pub(super) fn without_looking(
        &self,
        barman: &Barman,
        wanted: &[ServerName],
    ) -> Option<Arc<Vec<ServerName>>> {
        if barman.host == Host::Here {
            return None;
        }
        let known = self.lock();
        let (_, found) = known.found.as_ref()?;
        let has_all = wanted.iter().all(|name| found.contains(name));
        has_all.then(|| Arc::clone(found))
    }

    /// The servers as the files define them now; asks where those are not the files that are known.
    pub(super) fn look(
        &self,
        barman: &Barman,
        ask: impl FnOnce() -> Result<Vec<ServerName>, RefreshError>,
    ) -> Result<Arc<Vec<ServerName>>, RefreshError> {
        let signature = Signature::of(barman);
        let forgotten = {
            let known = self.lock();
            if let Some((of, found)) = &known.found
                && barman.host == Host::Here
                && *of == signature
            {
                return Ok(Arc::clone(found));
            }
            known.forgotten
        };
        let found = Arc::new(ask()?);
        // A file that changed while Barman read it is read once more the next time.
        let is_settled = Signature::of(barman) == signature;
        let mut known = self.lock();
        if is_settled && known.forgotten == forgotten {
            known.found = Some((signature, Arc::clone(&found)));
        }
        Ok(found)
    }

    /// Forgets the servers, those too that are being asked for.
    pub(super) fn forget(&self) {
        let mut known = self.lock();
        known.found = None;
        known.forgotten += 1;
    }
}

/// The state of the files that define servers; it changes when one of them does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature(Vec<(PathBuf, Option<[i64; 5]>)>);

impl Signature {
    /// Looks at the files; on another host they are not looked at.
    pub(super) fn of(barman: &Barman) -> Self {
        if barman.host != Host::Here {
            return Self(Vec::new());
        }
        let mut files = Vec::new();
        let mains: Vec<PathBuf> = match &barman.config_file {
            Some(file) => vec![file.clone()],
            None => SEARCHED.iter().map(|path| at_home(path)).collect(),
        };
        for main in mains {
            let text = fs::read(&main).unwrap_or_default();
            let setting = |key| {
                let document = Document::parse(&text).ok()?;
                document.interpolated("barman", key).ok()?
            };
            if let Some(folder) = setting("configuration_files_directory") {
                let folder = PathBuf::from(folder);
                let included = fs::read_dir(&folder).into_iter().flatten().flatten();
                let mut included: Vec<PathBuf> = included.map(|entry| entry.path()).collect();
                included.sort();
                files.push(folder);
                files.extend(included);
            }
            if let Some(home) = setting("barman_home") {
                files.push(Path::new(&home).join(".barman.auto.conf"));
            }
            files.push(main);
        }
        Self(
            files
                .into_iter()
                .map(|file| (file.clone(), state(&file)))
                .collect(),
        )
    }
}

fn at_home(path: &str) -> PathBuf {
    let Some(rest) = path.strip_prefix("~/") else {
        return path.into();
    };
    let home = environment::clean()
        .into_iter()
        .find(|(key, _)| key == "HOME");
    home.map(|(_, home)| PathBuf::from(home).join(rest))
        .unwrap_or_default()
}

fn state(file: &Path) -> Option<[i64; 5]> {
    let found = fs::metadata(file).ok()?;
    let inode = i64::from_ne_bytes(found.ino().to_ne_bytes());
    let size = i64::from_ne_bytes(found.size().to_ne_bytes());
    Some([
        inode,
        size,
        found.mtime(),
        found.mtime_nsec(),
        found.ctime_nsec(),
    ])
}

/// Asks Barman for its servers; `command` is the name that `list-servers` has in this Barman.
pub(super) fn ask_servers(
    barman: &Barman,
    garbage: &Garbage,
    command: &str,
) -> Result<Vec<ServerName>, AskError> {
    let mut arguments = barman.global_arguments(true);
    arguments.push(command.to_owned());
    let environment = barman.host.environment();
    let answer = ask(barman, garbage, environment, arguments, command)?;
    let failed = |words: String| AskError::Failed {
        arguments: command.to_owned(),
        ending: "exit code 0".to_owned(),
        words,
    };
    match serde_json::from_str(&answer) {
        // A name that can't be used over HTTP is left out; Barman's other servers stay reachable.
        Ok(Value::Object(answer)) => Ok(answer
            .keys()
            .filter(|name| !MESSAGES.contains(&name.as_str()))
            .filter_map(|name| ServerName::parse(name).ok())
            .collect()),
        Ok(_) => Err(failed("it printed no JSON object".to_owned())),
        Err(error) => Err(failed(format!("it printed no JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barman(config: &Path) -> Barman {
        Barman {
            host: Host::Here,
            program: "/usr/bin/barman".into(),
            config_file: Some(config.to_owned()),
        }
    }

    #[test]
    fn barman_is_asked_again_when_a_file_changed_and_after_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("barman.conf");
        fs::write(&config, "[barman]\n").unwrap();
        let barman = barman(&config);
        let known = KnownServers::default();
        let main = ServerName::parse("main").unwrap();
        let no_answer = || {
            let arguments = "list-servers".to_owned();
            Err(AskError::TimedOut { arguments }.into())
        };
        assert!(known.look(&barman, no_answer).is_err());
        let found = known.look(&barman, || Ok(vec![main.clone()]));
        assert_eq!(*found.unwrap(), [main]);
        let again = known.look(&barman, || panic!("asked again"));
        assert_eq!(again.unwrap().len(), 1);
        fs::write(&config, "[barman]\n[other]\n").unwrap();
        let found = known.look(&barman, || Ok(Vec::new()));
        assert!(found.unwrap().is_empty());
    }

    #[test]
    fn what_was_asked_before_it_was_forgotten_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("barman.conf");
        fs::write(&config, "[barman]\n").unwrap();
        let barman = barman(&config);
        let known = KnownServers::default();
        let asked = known.look(&barman, || {
            known.forget();
            Ok(Vec::new())
        });
        assert!(asked.is_ok());
        let main = ServerName::parse("main").unwrap();
        let found = known.look(&barman, || Ok(vec![main.clone()]));
        assert_eq!(*found.unwrap(), [main]);
    }
}
