//! The servers that Barman's configuration defines.
//!
//! Barman itself is asked, and asked again only when one of the files changes that it reads.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ask::{AskError, Barman, ask};
use crate::inifile::Document;
use crate::names::ServerName;
use crate::runner::environment;
use crate::store::garbage::Garbage;

/// Where Barman looks for its configuration when none is named (`barman --help`, option `-c`).
const SEARCHED: [&str; 3] = [
    "~/.barman.conf",
    "/etc/barman.conf",
    "/etc/barman/barman.conf",
];

/// The keys beside the servers in Barman's JSON (`barman/output.py`, 3.19.1).
const MESSAGES: [&str; 5] = ["_DEBUG", "_INFO", "_WARNING", "_ERROR", "_EXCEPTION"];

/// The state of the files that define servers; it changes when one of them does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature(Vec<(PathBuf, Option<[i64; 5]>)>);

impl Signature {
    /// Looks at the files.
    pub(super) fn of(barman: &Barman) -> Self {
        let mut files = Vec::new();
        let mains: Vec<PathBuf> = match &barman.config_file {
            Some(file) => vec![file.clone()],
            None => SEARCHED.iter().map(|path| at_home(path)).collect(),
        };
        for main in mains {
            let text = fs::read(&main).unwrap_or_default();
            let setting = |key| {
                let document = Document::parse(&text).ok()?;
                document.get("barman", key)
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
    let answer = ask(barman, garbage, environment::clean(), arguments, command)?;
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
