//! Closed months: `archive/202610.tar.gz` and, beside it, `202610.index`.
//!
//! An archive is a tar file that plain `tar xzf` reads, made of one gzip member a job and without
//! blocks that end it, so that it grows by whole members and one job is one seek. Only the index
//! says how much of it counts. Nothing is ever unpacked: a job is read into memory, within limits,
//! and only entries with exactly the names that we give are looked at.
//!
//! A job is in the archive when the index says so, and is then still in its folder for a moment:
//! whoever looks for one looks into the folder first and into the archive after that.

mod append;
mod backwards;
mod draft;
mod head;
mod index;
mod member;
mod months;
mod rebuild;
pub mod rotate;
mod scan;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(super) use backwards::Lines;
use index::{Fault, Identity, Index, Line};
pub use member::ArchivedJob;
use member::Unreadable;

use super::index::{Accepted, Ended, Entry};
use super::{Store, StoreError};
use crate::names::{Month, Ticket};

/// How long a look-up waits for an index that is being built.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a look-up begins anew when what it reads is replaced meanwhile.
const TRIES: usize = 3;

/// A job of a closed month.
#[derive(Debug)]
pub enum Archived {
    /// All of it.
    Whole(Box<ArchivedJob>),
    /// It can't be read; this is what the index knows.
    Damaged {
        /// What was accepted.
        accepted: Option<Accepted>,
        /// How it ended.
        ended: Option<Ended>,
    },
}

/// An archive together with an index that is about it.
#[derive(Debug)]
struct Archive {
    file: File,
    index: Index,
    identity: Option<Identity>,
}

/// What is at the place of an archive.
enum Opened {
    Nothing,
    /// No plain file: nothing in it is read.
    Refused,
    Ready(Archive),
}

/// Why a step has to begin anew.
enum Again {
    /// The index is missing or does not hold; this one, if it is still there.
    Index(Option<Identity>, &'static str),
    Store(StoreError),
}

impl Store {
    /// The archive of a month.
    #[must_use]
    pub fn archive(&self, month: &Month) -> PathBuf {
        self.root().join("archive").join(format!("{month}.tar.gz"))
    }

    /// The index of that archive.
    #[must_use]
    pub fn archive_index(&self, month: &Month) -> PathBuf {
        self.root().join("archive").join(format!("{month}.index"))
    }

    /// The job of a ticket, from the archive of its month; `None` when it is not there.
    ///
    /// Of an output that is longer than `output_limit` lets be now, the first part is read.
    ///
    /// # Errors
    /// When the archive can't be read, or its index is being built and that takes long.
    pub fn archived(
        &self,
        ticket: &Ticket,
        output_limit: u64,
    ) -> Result<Option<Archived>, StoreError> {
        self.with_archive(&ticket.month(), |archive| {
            let Some(archive) = archive else {
                return Ok(None);
            };
            let Some(line) = self.line(archive, ticket)? else {
                return Ok(None);
            };
            self.read_job(archive, ticket, line, output_limit).map(Some)
        })
    }

    /// What lists tell of the job of a ticket, from the archive of its month.
    ///
    /// # Errors
    /// As for [`Store::archived`].
    pub fn archived_entry(&self, ticket: &Ticket) -> Result<Option<Entry>, StoreError> {
        self.with_archive(&ticket.month(), |archive| {
            let Some(archive) = archive else {
                return Ok(None);
            };
            let line = self.line(archive, ticket)?;
            Ok(line.and_then(entry))
        })
    }

    fn line(&self, archive: &Archive, ticket: &Ticket) -> Result<Option<Line>, Again> {
        let month = ticket.month();
        let path = self.archive_index(&month);
        let found = archive.index.find(ticket);
        let found = found.map_err(|fault| archive.again(fault, &path))?;
        // What can be read is held against itself; anything else only against the archive.
        let unsure = found.as_ref().is_none_or(|line| line.damaged);
        if unsure && !fits(archive, &self.archive(&month))? {
            return Err(Again::Index(
                archive.identity,
                "it is about another archive",
            ));
        }
        Ok(found)
    }

    fn read_job(
        &self,
        archive: &Archive,
        ticket: &Ticket,
        line: Line,
        output_limit: u64,
    ) -> Result<Archived, Again> {
        let end = line.place.offset.checked_add(line.place.length);
        let within = end.is_some_and(|end| end <= archive.index.header.length);
        let read = if line.damaged {
            Err(Unreadable::Damaged("it was damaged before".to_owned()))
        } else if within {
            member::read(&archive.file, ticket, &line.place, output_limit)
        } else {
            Err(Unreadable::NotThis)
        };
        match read {
            Ok(job) => Ok(Archived::Whole(Box::new(job))),
            Err(Unreadable::Io(error)) => {
                let path = self.archive(&ticket.month());
                Err(Again::Store(StoreError::record(&path)(error)))
            }
            Err(Unreadable::NotThis) => Err(Again::Index(
                archive.identity,
                "a job is not where it says it is",
            )),
            Err(Unreadable::Damaged(words)) => {
                tracing::error!(error = %words, %ticket, "the archived record of a job is damaged");
                Ok(Archived::Damaged {
                    accepted: line.job,
                    ended: line.end,
                })
            }
        }
    }

    /// Does something with the archive of a month; when its index is missing or turns out not to
    /// hold, once more with one that was built anew.
    fn with_archive<T>(
        &self,
        month: &Month,
        work: impl Fn(Option<&Archive>) -> Result<T, Again>,
    ) -> Result<T, StoreError> {
        for _ in 0..TRIES {
            let done = self.open_archive(month).and_then(|opened| match opened {
                Opened::Nothing | Opened::Refused => work(None),
                Opened::Ready(archive) => work(Some(&archive)),
            });
            match done {
                Ok(done) => return Ok(done),
                Err(Again::Store(error)) => return Err(error),
                Err(Again::Index(bad, why)) => self.repair(month, bad, why)?,
            }
        }
        Err(StoreError::IndexNotReady {
            month: month.clone(),
        })
    }

    fn open_archive(&self, month: &Month) -> Result<Opened, Again> {
        let path = self.archive(month);
        let failed = |error| Again::Store(StoreError::record(&path)(error));
        let file = match index::open_plain(&path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Opened::Refused),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Nothing),
            Err(error) => return Err(failed(error)),
        };
        let place = self.archive_index(month);
        let length = file.metadata().map_err(failed)?.len();
        let identity = index::identity(&place).map_err(failed)?;
        if length == 0 && identity.is_none() {
            // It is about to get its first job.
            return Ok(Opened::Nothing);
        }
        let index = match Index::open(&place, month) {
            Ok(Some(index)) => index,
            Ok(None) => return Err(Again::Index(None, "there is none")),
            Err(Fault::Bad(why)) => return Err(Again::Index(identity, why)),
            Err(Fault::Io(error)) => return Err(Again::Store(StoreError::record(&place)(error))),
        };
        if length < index.header.length {
            return Err(Again::Index(identity, "the archive is shorter than it was"));
        }
        Ok(Opened::Ready(Archive {
            file,
            index,
            identity,
        }))
    }

    /// Sees to it that there is another index than the bad one: has it built, or waits for whoever
    /// builds it.
    fn repair(
        &self,
        month: &Month,
        bad: Option<Identity>,
        why: &'static str,
    ) -> Result<(), StoreError> {
        let path = self.archive_index(month);
        let path_of_archive = self.archive(month);
        let until = Instant::now() + PATIENCE;
        loop {
            let current = index::identity(&path).map_err(StoreError::record(&path))?;
            if current.is_some() && current != bad {
                return Ok(());
            }
            if let Some(lock) = self.try_lock_archive(month)? {
                let current = index::identity(&path).map_err(StoreError::record(&path))?;
                if current.is_some() && current != bad {
                    return Ok(());
                }
                tracing::warn!(%month, %why, "the index of an archive is built anew");
                let (store, of) = (self.clone(), month.clone());
                let (told, tell) = std::sync::mpsc::channel();
                // It goes on when the one who waits gives up.
                let build = move || {
                    let built = store.build_archive_index(&of, &lock);
                    drop(lock);
                    if let Err(error) = &built {
                        tracing::error!(%error, month = %of, "the index of an archive can't be built");
                    }
                    drop(told.send(built.map(drop)));
                };
                std::thread::Builder::new()
                    .spawn(build)
                    .map_err(StoreError::record(&path))?;
                let left = until.saturating_duration_since(Instant::now());
                return match tell.recv_timeout(left) {
                    Ok(done) => done,
                    Err(_) => Err(StoreError::IndexNotReady {
                        month: month.clone(),
                    }),
                };
            }
            if !path_of_archive.exists() {
                // It was removed meanwhile, which is an answer as well.
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(StoreError::IndexNotReady {
                    month: month.clone(),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Locks an archive, by the file itself, against all who would change it or its index; `None`
    /// when somebody else holds it.
    fn try_lock_archive(&self, month: &Month) -> Result<Option<File>, StoreError> {
        let path = self.archive(month);
        let opened = match index::open_plain(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(StoreError::record(&path))?,
        };
        let Some(file) = opened else {
            return Err(StoreError::record(&path)(io::Error::other(
                "it is no plain file",
            )));
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(StoreError::record(&path)(error)),
        }
    }
}

impl Archive {
    fn again(&self, fault: Fault, path: &std::path::Path) -> Again {
        match fault {
            Fault::Bad(why) => Again::Index(self.identity, why),
            Fault::Io(error) => Again::Store(StoreError::record(path)(error)),
        }
    }
}

fn fits(archive: &Archive, path: &std::path::Path) -> Result<bool, Again> {
    let fits = archive.index.header.fits(&archive.file);
    fits.map_err(|error| Again::Store(StoreError::record(path)(error)))
}

/// What lists tell of a line; `None` when nobody can say whose job it is.
fn entry(line: Line) -> Option<Entry> {
    Some(Entry {
        accepted: line.job?,
        ended: line.end,
        order: line.order,
        origin: super::index::Origin::Archive,
    })
}
