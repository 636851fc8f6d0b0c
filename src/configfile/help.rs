//! What is told of the keys of Barman's configuration: its own manual, read on its host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::error::ConfigError;
use super::{Answer, ConfigFiles};
use crate::catalogue::configkeys::ConfigKeys;
use crate::catalogue::manpage::{self, KeyHelp};
use crate::refresh::Barman;

/// The keys as the manual has them, and what is to be said about it.
#[derive(Debug)]
struct Manual {
    keys: BTreeMap<String, KeyHelp>,
    message: String,
    version: Option<String>,
}

/// The manual that was read last.
#[derive(Debug, Default)]
pub(super) struct Help {
    known: Mutex<Option<Arc<Manual>>>,
}

impl ConfigFiles {
    /// `/config/barman/help`: as it was read once, for this version of Barman.
    pub(super) fn help(&self) -> Result<Answer, ConfigError> {
        let known = self.help.known.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner).clone();
        match known.filter(|manual| manual.version == self.version()) {
            Some(manual) => Ok(answer(&manual)),
            None => self.read_help(),
        }
    }

    /// `/config/barman/reload`: reads it anew.
    pub(super) fn read_help(&self) -> Result<Answer, ConfigError> {
        let version = self.version();
        let manual = Arc::new(read(self.refresh.barman(), &self.keys, version)?);
        let answer = answer(&manual);
        *self
            .help
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(manual);
        Ok(answer)
    }
}

fn answer(manual: &Manual) -> Answer {
    let body = json!({"status_code": 200, "message": manual.message, "list": manual.keys});
    Answer { body, etag: None }
}

fn read(
    barman: &Barman,
    keys: &ConfigKeys,
    version: Option<String>,
) -> Result<Manual, ConfigError> {
    let host = &barman.host;
    let mut paths = manpage::candidates(&barman.program);
    // The program may be a link into the folder that has the manual, too.
    let program = host.read(std::slice::from_ref(&barman.program));
    let program = program.ok().and_then(|found| found.into_iter().next()?);
    let more = program.map(|found| manpage::candidates(&found.path));
    for path in more.unwrap_or_default() {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let mut message = String::new();
    let mut manual = BTreeMap::new();
    if let Some((path, bytes)) = first(barman, &paths)? {
        match manpage::read(&bytes) {
            Ok(keys) => manual = keys,
            Err(error) => message = format!("{}: {error}", path.display()),
        }
    } else {
        let looked = paths.iter().filter_map(|path| path.parent()?.to_str());
        let mut looked: Vec<_> = looked.collect();
        looked.dedup();
        message = format!(
            "the barman host has no manual barman.5, so there are no descriptions; it was looked \
             for in {}",
            looked.join(", ")
        );
    }
    Ok(Manual {
        keys: manpage::key_help(manual, keys, version.as_deref()),
        message,
        version,
    })
}

/// The first manual that can be read.
fn first(barman: &Barman, paths: &[PathBuf]) -> Result<Option<(PathBuf, Vec<u8>)>, ConfigError> {
    let found = barman.host.read(paths)?;
    let mut found = paths.iter().zip(found);
    Ok(found.find_map(|(path, found)| Some((path.clone(), found?.bytes))))
}
