//! A change of our own file that a crash has cut short.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::error::ConfigError;
use super::super::revisions::{Journal, State};
use super::super::settle;
use crate::runner::Host;
use crate::settings::keys;

/// Where the revisions of our own file are.
pub(super) fn journal_in(store: &Path) -> PathBuf {
    store.join("config/revisions/barmanapi")
}

/// Brings a change of our own file to an end that a crash has cut short. For the time before the
/// file is read: it may be half written, so the store is looked for wherever the text names one.
/// Nothing happens where there is nothing to do.
///
/// # Errors
/// When a change was cut short and can't be brought to an end.
pub fn mend(path: &Path) -> Result<(), ConfigError> {
    // A file that can't be read is told by whoever reads it next.
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let key = keys::find("application", "store_directory");
    let named = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(['=', ':'])?;
        key.filter(|key| name.trim().eq_ignore_ascii_case(key.name))?;
        Some(value.trim())
    });
    let stores: BTreeSet<&str> = named.chain(key.map(|key| key.default)).collect();
    for store in stores {
        let journal = Journal::new(journal_in(Path::new(store)));
        // Another service's store is none of ours.
        let places = match journal.places() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
            other => other.map_err(ConfigError::Journal)?,
        };
        if places.iter().any(|(_, state)| *state == State::Pending) {
            let turn = journal.turn().map_err(ConfigError::Journal)?;
            settle::all(&journal, &turn, &Host::Here)?;
        }
    }
    Ok(())
}
