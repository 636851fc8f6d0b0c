//! What a restore brings back and where it writes.

use std::path::{Path, PathBuf};

use super::collect::Given;
use super::error::cut;
use super::places::{Places, is_plain};
use super::{ArgvError, Command, Kind, Traits, kinds};
use crate::destinations::Destinations;

/// Options by which Barman chooses a backup where none is named.
const TARGETS: [&str; 3] = ["target-time", "target-lsn", "target-tli"];

/// A restore, as its parameters tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// The word for the backup.
    pub backup: String,
    /// Whether a recovery target is given, by which `auto` chooses the backup.
    pub to_target: bool,
    /// Where it writes.
    pub destinations: Destinations,
    /// The restore target that was named.
    target: Option<String>,
    /// The tablespaces that were given another directory.
    relocated: Vec<String>,
}

/// A tablespace of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tablespace {
    /// Its name.
    pub name: String,
    /// Where it was.
    pub location: String,
}

impl Restore {
    pub(super) fn of(
        command: &Command,
        traits: &Traits,
        given: &Given,
        ssh_command: &str,
        directories: &[PathBuf],
    ) -> Self {
        let backup = given
            .values_of(command, traits, Kind::BackupIdOrAuto)
            .next();
        let relocated = given
            .values_of(command, traits, Kind::Tablespace)
            .filter_map(kinds::split_tablespace);
        Self {
            backup: backup.unwrap_or_default().to_owned(),
            to_target: TARGETS.iter().any(|name| given.has(command, name)),
            destinations: Destinations {
                ssh_command: ssh_command.to_owned(),
                directories: directories.iter().map(|path| as_text(path)).collect(),
            },
            target: given.target().map(str::to_owned),
            relocated: relocated.map(|(name, _)| name.to_owned()).collect(),
        }
    }

    /// Checks that the tablespaces that are restored where they were lie where a restore may go. They
    /// are destinations, too.
    ///
    /// # Errors
    /// When one does not ([`ArgvError::is_forbidden`]), or that can't be found out.
    pub fn keep(&mut self, tablespaces: &[Tablespace], places: &Places) -> Result<(), ArgvError> {
        let ssh_command = Some(self.destinations.ssh_command.as_str());
        let ssh_command = ssh_command.filter(|text| self.target.is_none() && !text.is_empty());
        let found = places.destination(self.target.as_deref(), ssh_command)?;
        let mut kept = Vec::new();
        for Tablespace { name, location } in tablespaces {
            if self.relocated.contains(name) {
                continue;
            }
            let refused = |reason: &str| ArgvError::TargetNotAllowed {
                name: "tablespace".to_owned(),
                reason: format!(
                    "{:?} is restored where it was, and {reason}; or relocate it, by \
                     tablespace={}:DIRECTORY of /barman/restore",
                    cut(name),
                    cut(name)
                ),
            };
            if !is_plain(Path::new(location)) {
                if places.any_target {
                    continue;
                }
                return Err(refused(&format!("{:?} is no plain path", cut(location))));
            }
            match found.roots.hold("tablespace", location, false) {
                Ok(directory) => kept.push(as_text(&directory)),
                Err(ArgvError::TargetNotAllowed { reason, .. }) => return Err(refused(&reason)),
                Err(error) => return Err(error),
            }
        }
        self.destinations.directories.extend(kept);
        Ok(())
    }
}

/// A record holds texts alone; what comes nearest to another path is refused too often at worst.
fn as_text(path: &Path) -> PathBuf {
    path.to_string_lossy().into_owned().into()
}
