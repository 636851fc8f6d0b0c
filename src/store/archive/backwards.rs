//! Reading the index of an archive from its end, for lists.

use super::super::index::Entry;
use super::super::lines::Backwards;
use super::index::{self, Fault, Identity, Line};
use super::{Again, Store, StoreError, entry, fits};
use crate::names::{Month, Ticket};

impl Store {
    /// The jobs of an archive from the end of a second back, and how many of its parts can't be
    /// read.
    pub(in crate::store) fn archive_backwards(
        &self,
        month: &Month,
        second: Option<&str>,
    ) -> Result<(Option<Lines>, u64), StoreError> {
        let path = self.archive_index(month);
        let refused = matches!(index::open_plain(&self.archive(month)), Ok(None));
        let lines = self.with_archive(month, |archive| {
            let Some(archive) = archive else {
                return Ok(None);
            };
            let again = |fault| archive.again(fault, &path);
            if !fits(archive, &self.archive(month))? {
                return Err(Again::Index(
                    archive.identity,
                    "it is about another archive",
                ));
            }
            let backwards = archive.index.backwards(second).map_err(again)?;
            Ok(Some((
                Lines {
                    backwards,
                    store: self.clone(),
                    month: month.clone(),
                    identity: archive.identity,
                    last: None,
                },
                archive.index.header.damaged,
            )))
        })?;
        Ok(match lines {
            Some((lines, damaged)) => (Some(lines), damaged),
            None => (None, u64::from(refused)),
        })
    }
}

/// The jobs of an archive, the newest first.
#[derive(Debug)]
pub(in crate::store) struct Lines {
    backwards: Backwards,
    store: Store,
    month: Month,
    identity: Option<Identity>,
    last: Option<Ticket>,
}

impl Lines {
    /// Has the index built anew; whoever reads it has to begin anew as well.
    fn bad(&self, why: &'static str) -> StoreError {
        let repaired = self.store.repair(&self.month, self.identity, why);
        repaired.err().unwrap_or(StoreError::IndexNotReady {
            month: self.month.clone(),
        })
    }
}

impl Iterator for Lines {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.backwards.previous().map_err(Fault::from) {
                Ok(line) => line?.1,
                Err(Fault::Bad(why)) => return Some(Err(self.bad(why))),
                Err(Fault::Io(error)) => {
                    let path = self.store.archive_index(&self.month);
                    return Some(Err(StoreError::record(&path)(error)));
                }
            };
            let Some((ticket, line)) = Line::parse(&line) else {
                return Some(Err(self.bad("a line is garbled")));
            };
            let out_of_order = self.last.as_ref().is_some_and(|last| *last <= ticket);
            if out_of_order || ticket.month() != self.month {
                return Some(Err(self.bad("its lines are out of order")));
            }
            self.last = Some(ticket);
            if let Some(entry) = entry(line) {
                return Some(Ok(entry));
            }
        }
    }
}
