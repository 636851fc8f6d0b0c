//! Files replaced so that nobody loses track: the audit log is told, the revision is written, the
//! files are replaced, the revision is marked.

use std::path::Path;

use super::Request;
use super::error::ConfigError;
use super::revisions::{Edit, Journal, Place, Revision, Turn, new_id};
use super::settle::{self, Settled};
use crate::audit::{self, Audit};
use crate::clock;
use crate::names::Ticket;
use crate::runner::Host;
use crate::runner::files::{Expected, FilesError};

/// Who replaces files, and where.
pub(super) struct Commit<'a> {
    /// Where the revisions are.
    pub(super) journal: &'a Journal,
    /// What is told before anything is changed.
    pub(super) audit: &'a Audit,
    /// Where the files are.
    pub(super) host: &'a Host,
    /// The lock that other writers of the files take.
    pub(super) lock: Option<&'a Path>,
}

impl Commit<'_> {
    /// Replaces files that are as `edits` say, by whoever asked.
    pub(super) fn make(
        &self,
        turn: &Turn,
        request: &Request,
        keys: Vec<String>,
        undoes: Option<Ticket>,
        edits: Vec<Edit>,
    ) -> Result<Revision, ConfigError> {
        let id = new_id().map_err(ConfigError::Journal)?;
        let mut entry = request.entry.clone();
        entry.ticket = Some(id.to_string());
        entry.outcome = Some(audit::names(&keys));
        self.audit.record(&entry).map_err(ConfigError::Audit)?;
        let revision = Revision {
            id,
            at: clock::text(clock::now()),
            user: request.user.clone(),
            request_id: entry.request_id.clone().unwrap_or_default(),
            keys,
            undoes,
            files: edits,
        };
        let written = self.journal.write(turn, &revision);
        let place = written.map_err(ConfigError::Journal)?;
        self.replace(turn, &place, &revision)?;
        Ok(revision)
    }

    fn replace(&self, turn: &Turn, place: &Place, revision: &Revision) -> Result<(), ConfigError> {
        let changes: Vec<_> = revision
            .files
            .iter()
            .map(|edit| {
                let expected = edit.before.as_ref();
                let expected =
                    expected.map_or(Expected::Absent, |before| Expected::Digest(before.digest()));
                settle::change(edit, expected)
            })
            .collect();
        let Err(error) = self.host.replace(self.lock, &changes) else {
            if let Err(error) = self.journal.mark_done(turn, place) {
                // The next change, or the next start, finds the new files and marks it.
                tracing::error!(%error, revision = %place.id, "a change that was made can't be marked as made");
            }
            return Ok(());
        };
        if !matches!(error, FilesError::Partly { .. } | FilesError::Link(_)) {
            self.journal
                .forget(turn, place)
                .map_err(ConfigError::Journal)?;
            return Err(match error {
                FilesError::Stale { path } => ConfigError::Stale(format!(
                    "{} was changed by somebody else meanwhile: read the configuration again",
                    path.display()
                )),
                // Barman passes over what stands there, or reads what can't be written.
                FilesError::NotFound { .. }
                | FilesError::NotPermitted { .. }
                | FilesError::NotAFile { .. }
                | FilesError::TooLarge { .. }
                | FilesError::Invalid { .. } => ConfigError::Conflict(error.to_string()),
                error => error.into(),
            });
        }
        match settle::one(self.journal, turn, self.host, place) {
            Ok(Settled::Made) => Ok(()),
            Ok(Settled::Dropped) => Err(error.into()),
            Ok(Settled::Left) => Err(ConfigError::Conflict(format!(
                "the files are neither as they were nor as they were to be, and revision {} has \
                 both: {error}",
                place.id
            ))),
            Err(_) => Err(ConfigError::InDoubt {
                revision: place.id.to_string(),
                source: Box::new(error.into()),
            }),
        }
    }
}
