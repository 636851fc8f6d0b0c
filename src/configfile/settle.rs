//! Brings changes to an end that a crash or a broken link has cut short.
//!
//! The bytes on the host decide. All old: the change was not made, and its record goes. All new: it
//! was made. Some of each: the rest is made now, since the record has it. Anything else: somebody
//! else was there, and a person has to decide; nothing is written over what nobody here wrote.

use std::io::ErrorKind;

use super::error::ConfigError;
use super::revisions::{Bytes, Edit, Journal, Place, State, Turn};
use crate::runner::Host;
use crate::runner::files::{Change, Expected, FilesError, digest};

/// What became of a change that was pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// It was not made, and nothing of it is left.
    Dropped,
    /// It is made.
    Made,
    /// Its files are neither the old nor the new ones.
    Left,
}

/// How a file is now.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Now {
    Old,
    New,
    /// A part of the new bytes, then old ones: a write in place that was cut short.
    Torn(Vec<u8>),
    Other,
}

/// Settles every pending change, the oldest first.
pub(super) fn all(journal: &Journal, turn: &Turn, host: &Host) -> Result<(), ConfigError> {
    let places = journal.places().map_err(ConfigError::Journal)?;
    for (place, _) in places.iter().filter(|(_, state)| *state == State::Pending) {
        let settled = one(journal, turn, host, place)?;
        let id = place.id.as_str();
        match settled {
            Settled::Dropped => tracing::warn!(
                revision = id,
                "a change of a configuration was cut short and not made"
            ),
            Settled::Made => tracing::warn!(
                revision = id,
                "a change of a configuration was cut short and is made now"
            ),
            Settled::Left => tracing::error!(
                revision = id,
                "a change of a configuration was cut short, and its files are neither as they were before it nor as they were to be: look at them, and at the revision"
            ),
        }
    }
    Ok(())
}

/// Settles one change.
pub(super) fn one(
    journal: &Journal,
    turn: &Turn,
    host: &Host,
    place: &Place,
) -> Result<Settled, ConfigError> {
    let revision = match journal.read(place) {
        // What it was about is lost; the files are as they are.
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            let marked = journal.mark_left(turn, place);
            marked.map_err(ConfigError::Journal)?;
            return Ok(Settled::Left);
        }
        other => other.map_err(ConfigError::Journal)?,
    };
    let paths: Vec<_> = revision
        .files
        .iter()
        .map(|edit| edit.path.clone())
        .collect();
    let found = match host.read(&paths) {
        Ok(found) => found,
        // What can't be read just now says nothing of what is there.
        Err(
            error @ (FilesError::Link(_) | FilesError::Io { .. } | FilesError::NotStarted { .. }),
        ) => return Err(error.into()),
        // Something stands there that is no file of ours.
        Err(_) => {
            journal
                .mark_left(turn, place)
                .map_err(ConfigError::Journal)?;
            return Ok(Settled::Left);
        }
    };
    let bytes = found
        .into_iter()
        .map(|found| found.map(|found| found.bytes));
    let now: Vec<Now> = revision
        .files
        .iter()
        .zip(bytes)
        .map(|(edit, bytes)| state(edit, bytes))
        .collect();
    let settled = if now.contains(&Now::Other) {
        Settled::Left
    } else if now.iter().all(|now| *now == Now::Old) {
        Settled::Dropped
    } else {
        let changes = revision.files.iter().zip(now);
        let changes: Vec<Change> = changes.filter_map(|(edit, now)| rest(edit, now)).collect();
        if !changes.is_empty() {
            // Barman's own lock is not waited for: whoever had it is as dead as the writer was.
            host.replace(None, &changes)?;
        }
        Settled::Made
    };
    let done = match settled {
        Settled::Dropped => journal.forget(turn, place),
        Settled::Made => journal.mark_done(turn, place),
        Settled::Left => journal.mark_left(turn, place),
    };
    done.map_err(ConfigError::Journal)?;
    Ok(settled)
}

fn state(edit: &Edit, found: Option<Vec<u8>>) -> Now {
    let is = |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| &bytes.0) == found.as_ref();
    if is(&edit.after) {
        return Now::New;
    }
    if is(&edit.before) {
        return Now::Old;
    }
    match (found, &edit.before, &edit.after) {
        (Some(found), Some(old), Some(new)) if edit.in_place && is_torn(&found, &old.0, &new.0) => {
            Now::Torn(found)
        }
        _ => Now::Other,
    }
}

/// Whether bytes are what a write of `new` over `old` leaves when it is cut short: the beginning of
/// the new, then what was there, be it beyond the end of the new.
fn is_torn(found: &[u8], old: &[u8], new: &[u8]) -> bool {
    let common = found
        .iter()
        .zip(new)
        .take_while(|(found, new)| found == new)
        .count();
    let rest = |at: usize| (found.get(at..), old.get(at..).unwrap_or_default());
    // Any cut up to the common beginning will do; the last one leaves the least to compare.
    let (Some(found_rest), old_rest) = rest(common) else {
        return false;
    };
    found_rest == old_rest && found.len() <= old.len().max(new.len())
}

/// What is still to be written.
fn rest(edit: &Edit, now: Now) -> Option<Change> {
    let expected = match now {
        Now::New | Now::Other => return None,
        Now::Old => match &edit.before {
            Some(before) => Expected::Digest(before.digest()),
            None => Expected::Absent,
        },
        Now::Torn(bytes) => Expected::Digest(digest(&bytes)),
    };
    Some(change(edit, expected))
}

/// The change of a file, from what is expected to what it is to be.
pub(super) fn change(edit: &Edit, expected: Expected) -> Change {
    Change {
        path: edit.path.clone(),
        expected: Some(expected),
        bytes: edit.after.as_ref().map(|bytes| bytes.0.clone()),
        mode: None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::revisions::{Revision, new_id};
    use super::*;

    struct Case {
        dir: tempfile::TempDir,
        journal: Journal,
        turn: Turn,
        place: Place,
    }

    /// A pending change of two files, `a` and `b`, and of one that is new, `c`.
    fn case(now: [Option<&str>; 3], in_place: bool) -> Case {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path().join("revisions"));
        let turn = journal.turn().unwrap();
        let bytes = |text: &str| Some(Bytes(text.into()));
        let edit = |name: &str, before| Edit {
            path: dir.path().join(name),
            before,
            after: bytes("new text"),
            in_place,
        };
        let revision = Revision {
            id: new_id().unwrap(),
            at: String::new(),
            user: "ann".to_owned(),
            request_id: String::new(),
            keys: Vec::new(),
            undoes: None,
            files: vec![
                edit("a", bytes("old")),
                edit("b", bytes("old and longer text")),
                edit("c", None),
            ],
        };
        for (name, text) in ["a", "b", "c"].into_iter().zip(now) {
            if let Some(text) = text {
                fs::write(dir.path().join(name), text).unwrap();
            }
        }
        let place = journal.write(&turn, &revision).unwrap();
        Case {
            dir,
            journal,
            turn,
            place,
        }
    }

    impl Case {
        fn settle(&self) -> Settled {
            one(&self.journal, &self.turn, &Host::Here, &self.place).unwrap()
        }

        fn is_new(&self) -> bool {
            ["a", "b", "c"].iter().all(|name| {
                fs::read_to_string(self.dir.path().join(name)).is_ok_and(|text| text == "new text")
            })
        }

        fn state(&self) -> Option<State> {
            self.journal.places().unwrap().pop().map(|(_, state)| state)
        }
    }

    const OLD: [Option<&str>; 3] = [Some("old"), Some("old and longer text"), None];

    #[test]
    fn a_change_of_which_nothing_was_made_goes() {
        let case = case(OLD, false);
        assert_eq!(case.settle(), Settled::Dropped);
        assert_eq!(case.state(), None);
        assert!(!case.dir.path().join("c").exists());
    }

    #[test]
    fn a_change_of_which_a_part_was_made_is_made_whole() {
        for now in [
            [Some("new text"), OLD[1], None],
            [OLD[0], OLD[1], Some("new text")],
            [Some("new text"), Some("new text"), Some("new text")],
        ] {
            let case = case(now, false);
            assert_eq!(case.settle(), Settled::Made, "{now:?}");
            assert!(case.is_new());
            assert_eq!(case.state(), Some(State::Done));
        }
    }

    #[test]
    fn a_write_in_place_that_was_cut_short_is_made_whole() {
        for now in [
            [Some("new"), OLD[1], None],
            [Some("nld"), OLD[1], None],
            [Some("new text"), Some("new and longer text"), None],
            [Some("new text"), Some("new textlonger text"), None],
        ] {
            let torn = case(now, true);
            assert_eq!(torn.settle(), Settled::Made, "{now:?}");
            assert!(torn.is_new());
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_left_alone() {
        for (now, in_place) in [
            ([Some("new text"), Some("by hand"), None], false),
            ([Some("new text"), Some("new and longer text"), None], false),
            ([Some("new text"), Some("new and longer texx"), None], true),
            ([None, OLD[1], None], true),
        ] {
            let case = case(now, in_place);
            assert_eq!(case.settle(), Settled::Left, "{now:?}");
            assert_eq!(case.state(), Some(State::Left));
            let second = fs::read_to_string(case.dir.path().join("b")).unwrap();
            assert_eq!(Some(second.as_str()), now[1]);
            // It is not looked at again.
            all(&case.journal, &case.turn, &Host::Here).unwrap();
        }
    }
}
