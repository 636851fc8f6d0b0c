//! What was changed when and by whom, on disk: a record of each change, with the bytes before and
//! after.
//!
//! ```text
//! config/revisions/barman/lock                   held while anything is changed
//!                         0000000042-ID.json     the record, written before the files are
//!                         0000000042-ID.done     the files were replaced
//!                         0000000042-ID.left     the files were neither the old nor the new ones
//! ```
//!
//! A record without a mark is a change that a crash may have cut short; see `settle`. Nothing here
//! knows what the files mean.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::atomicfile::{self, Lock};
use crate::clock;
use crate::names::Ticket;
use crate::runner::files::{Digest, digest};

const RECORD: &str = "json";
const DONE: &str = "done";
const LEFT: &str = "left";

/// One file of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Edit {
    /// Which.
    pub(super) path: PathBuf,
    /// All of it before; `None` = there was none.
    pub(super) before: Option<Bytes>,
    /// All of it after; `None` = there is none.
    pub(super) after: Option<Bytes>,
    /// Whether it is written where it is, so that a crash can leave a part of each.
    pub(super) in_place: bool,
}

/// Bytes, base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    /// Their digest.
    pub(super) fn digest(&self) -> Digest {
        digest(&self.0)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Revision {
    /// Its name.
    pub(super) id: Ticket,
    /// When, RFC 3339.
    pub(super) at: String,
    /// Who.
    pub(super) user: String,
    /// The request, as the logs name it.
    pub(super) request_id: String,
    /// What was changed, `SECTION.KEY`.
    pub(super) keys: Vec<String>,
    /// The revision that this one takes back.
    pub(super) undoes: Option<Ticket>,
    /// The files.
    pub(super) files: Vec<Edit>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The files were replaced.
    Done,
    /// Nobody knows yet.
    Pending,
    /// The files were something else when it was looked at; somebody has to decide.
    Left,
}

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    number: u64,
    /// The revision's name.
    pub(super) id: Ticket,
}

impl Place {
    fn file(&self, kind: &str) -> String {
        format!("{:010}-{}.{kind}", self.number, self.id)
    }

    fn parse(name: &str) -> Option<Self> {
        let (number, id) = name.strip_suffix(".json")?.split_once('-')?;
        Some(Self {
            number: number.parse().ok()?,
            id: Ticket::parse(id).ok()?,
        })
    }
}

/// The records of one configuration.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    folder: PathBuf,
}

/// The right to change, held by one process at a time.
#[derive(Debug)]
pub(super) struct Turn {
    _lock: Lock,
}

impl Journal {
    /// The records in a folder, which is made when something is written.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Waits until nobody else changes anything, in whatever process.
    pub(super) fn turn(&self) -> io::Result<Turn> {
        let path = self.folder.join("lock");
        let lock = match Lock::exclusive(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut builder = DirBuilder::new();
                builder.recursive(true).mode(0o700).create(&self.folder)?;
                // A record that a power cut must not take needs a folder that it does not take.
                for folder in self.folder.ancestors().take(2) {
                    atomicfile::sync_parent(folder)?;
                }
                Lock::exclusive(&path)?
            }
            other => other?,
        };
        Ok(Turn { _lock: lock })
    }

    /// The records with their states, the oldest first.
    pub(super) fn places(&self) -> io::Result<Vec<(Place, State)>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = std::collections::BTreeSet::new();
        for entry in entries {
            names.insert(entry?.file_name().to_string_lossy().into_owned());
        }
        let places = names.iter().filter_map(|name| Place::parse(name));
        let mut places: Vec<_> = places
            .map(|place| {
                let state = if names.contains(&place.file(DONE)) {
                    State::Done
                } else if names.contains(&place.file(LEFT)) {
                    State::Left
                } else {
                    State::Pending
                };
                (place, state)
            })
            .collect();
        places.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(places)
    }

    /// One record; `None` when there is none of this name.
    pub(super) fn find(&self, id: &Ticket) -> io::Result<Option<(Revision, State)>> {
        let mut places = self.places()?.into_iter();
        let Some((place, state)) = places.find(|(place, _)| place.id == *id) else {
            return Ok(None);
        };
        match self.read(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => Ok(Some((other?, state))),
        }
    }

    /// A record; `io::ErrorKind::InvalidData` is one that is damaged, which the log tells by its file.
    pub(super) fn read(&self, place: &Place) -> io::Result<Revision> {
        let path = self.folder.join(place.file(RECORD));
        let bytes = fs::read(&path)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let file = path.display();
            tracing::error!(%error, %file, "the record of a revision of a configuration is damaged");
            io::Error::new(io::ErrorKind::InvalidData, error)
        })
    }

    /// Writes a record, which is pending then. Temporary files of killed writers go.
    pub(super) fn write(&self, _: &Turn, revision: &Revision) -> io::Result<Place> {
        self.sweep();
        let last = self.places()?.pop();
        let place = Place {
            number: last.map_or(0, |(last, _)| last.number) + 1,
            id: revision.id.clone(),
        };
        let bytes = serde_json::to_vec(revision)?;
        let path = self.folder.join(place.file(RECORD));
        let written = atomicfile::create(&path, &bytes, 0o600);
        if written.is_err() {
            // Nothing is changed then, so nothing of it may be listed. The name is nobody else's.
            drop(fs::remove_file(&path));
        }
        written.map(|()| place)
    }

    /// Marks a change as made.
    pub(super) fn mark_done(&self, _: &Turn, place: &Place) -> io::Result<()> {
        self.mark(place, DONE)
    }

    /// Marks a change as one that nobody but a person can judge.
    pub(super) fn mark_left(&self, _: &Turn, place: &Place) -> io::Result<()> {
        self.mark(place, LEFT)
    }

    fn mark(&self, place: &Place, kind: &str) -> io::Result<()> {
        match atomicfile::create(&self.folder.join(place.file(kind)), b"", 0o600) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Removes the record of a change that was not made.
    pub(super) fn forget(&self, _: &Turn, place: &Place) -> io::Result<()> {
        let path = self.folder.join(place.file(RECORD));
        fs::remove_file(&path)?;
        atomicfile::sync_parent(&path)
    }

    /// Removes temporary files; whoever wrote one and has not the turn any more was killed.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}

/// A name for a change that is made now.
pub(super) fn new_id() -> io::Result<Ticket> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    Ok(Ticket::new(clock::now(), random))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision() -> Revision {
        Revision {
            id: new_id().unwrap(),
            at: clock::text(clock::now()),
            user: "ann".to_owned(),
            request_id: "r".to_owned(),
            keys: vec!["main.active".to_owned()],
            undoes: None,
            files: vec![Edit {
                path: "/etc/barman.conf".into(),
                before: Some(Bytes(b"old \xff".to_vec())),
                after: None,
                in_place: false,
            }],
        }
    }

    #[test]
    fn records_come_in_the_order_in_which_they_were_written() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path().join("revisions/barman"));
        assert!(journal.places().unwrap().is_empty());
        let turn = journal.turn().unwrap();
        fs::write(journal.folder.join(".torn"), "x").unwrap();
        let written: Vec<_> = (0..20)
            .map(|_| {
                let revision = revision();
                let place = journal.write(&turn, &revision).unwrap();
                (place, revision)
            })
            .collect();
        for (place, _) in written.iter().take(5) {
            journal.mark_done(&turn, place).unwrap();
            journal.mark_done(&turn, place).unwrap();
        }
        journal.mark_left(&turn, &written[5].0).unwrap();
        journal.forget(&turn, &written[6].0).unwrap();
        let places = journal.places().unwrap();
        assert_eq!(places.len(), 19);
        let ids: Vec<_> = places.iter().map(|(place, _)| &place.id).collect();
        let expected = written.iter().filter(|(place, _)| *place != written[6].0);
        assert!(ids.into_iter().eq(expected.map(|(place, _)| &place.id)));
        let states: Vec<_> = places.iter().map(|(_, state)| *state).collect();
        assert_eq!(states[4..7], [State::Done, State::Left, State::Pending]);
        let (found, _) = journal.find(&written[9].1.id).unwrap().unwrap();
        assert_eq!(found, written[9].1);
        assert!(journal.find(&written[6].1.id).unwrap().is_none());
        for entry in fs::read_dir(&journal.folder).unwrap() {
            let entry = entry.unwrap();
            assert!(!entry.file_name().to_string_lossy().starts_with('.'));
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    }

    #[test]
    fn one_changes_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path().to_owned());
        let turn = journal.turn().unwrap();
        let lock = dir.path().join("lock");
        assert!(Lock::try_exclusive(&lock).unwrap().is_none());
        drop(turn);
        assert!(Lock::try_exclusive(&lock).unwrap().is_some());
    }
}
