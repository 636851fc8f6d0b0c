//! The servers that Barman's configuration defines.
//!
//! Barman itself is asked, and asked again only when one of the files changes that it reads.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

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
pub(super) struct KnownServers {
    /// The servers, the files that define them, and when they were asked for.
    found: Option<(Signature, Instant, Arc<Vec<ServerName>>)>,
    /// The last question without an answer: when it was put, and with which files.
    failed: Option<(Signature, Instant, Arc<RefreshError>)>,
}

/// Somebody who wants to know the servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    /// Of which Barman.
    pub(super) barman: &'a Barman,
    /// Since when.
    pub(super) arrived: Instant,
    /// The servers that should be among them.
    pub(super) wanted: &'a [ServerName],
}

impl Asker<'_> {
    /// Whether what is known is good enough. The files on another host are not watched: there, a
    /// name that is not known may be a new one.
    fn is_content_with(&self, asked: Instant, found: &[ServerName]) -> bool {
        self.barman.host == Host::Here
            || asked >= self.arrived
            || self.wanted.iter().all(|name| found.contains(name))
    }
}

impl KnownServers {
    /// The servers; asks only when neither the servers are known nor a question failed that was
    /// put since the asker came.
    pub(super) fn look(
        &mut self,
        asker: &Asker<'_>,
        ask: impl FnOnce() -> Result<Vec<ServerName>, RefreshError>,
    ) -> Result<Arc<Vec<ServerName>>, RefreshError> {
        let Asker {
            barman, arrived, ..
        } = *asker;
        let signature = Signature::of(barman);
        if let Some((of, asked, found)) = &self.found
            && *of == signature
            && asker.is_content_with(*asked, found)
        {
            return Ok(Arc::clone(found));
        }
        if let Some((of, asked, error)) = &self.failed
            && *of == signature
            && *asked >= arrived
        {
            return Err(RefreshError::Shared(Arc::clone(error)));
        }
        let now = Instant::now();
        match ask() {
            Ok(found) => {
                let found = Arc::new(found);
                // A file that changed while Barman read it is read once more the next time.
                if Signature::of(barman) == signature {
                    self.found = Some((signature, now, Arc::clone(&found)));
                }
                Ok(found)
            }
            Err(error) => {
                let error = Arc::new(error);
                self.failed = Some((signature, now, Arc::clone(&error)));
                Err(RefreshError::Shared(error))
            }
        }
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
    use std::time::Duration;

    use super::*;

    fn no_answer() -> RefreshError {
        AskError::TimedOut {
            arguments: "list-servers".to_owned(),
        }
        .into()
    }

    #[test]
    fn a_failure_is_shared_by_those_who_came_before_the_question_and_by_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("barman.conf");
        fs::write(&config, "[barman]\n").unwrap();
        let barman = Barman {
            host: Host::Here,
            program: "/usr/bin/barman".into(),
            config_file: Some(config.clone()),
        };
        let mut known = KnownServers::default();
        let since = |arrived| Asker {
            barman: &barman,
            arrived,
            wanted: &[],
        };
        let early = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(known.look(&since(early), || Err(no_answer())).is_err());
        // One who waited meanwhile.
        let shared = known.look(&since(early), || panic!("asked again"));
        assert!(matches!(shared, Err(RefreshError::Shared(_))));
        // One who waited, too; but the configuration is another one now.
        fs::write(&config, "[barman]\n[main]\n").unwrap();
        let main = ServerName::parse("main").unwrap();
        let found = known.look(&since(early), || Ok(vec![main.clone()]));
        assert_eq!(*found.unwrap(), [main]);
        let known_now = known.look(&since(Instant::now()), || panic!("asked again"));
        assert_eq!(known_now.unwrap().len(), 1);
        // One who came after a question that failed.
        fs::write(&config, "[barman]\n[main]\n[other]\n").unwrap();
        assert!(known.look(&since(early), || Err(no_answer())).is_err());
        let late = known.look(&since(Instant::now()), || Ok(Vec::new()));
        assert!(late.unwrap().is_empty());
    }
}
