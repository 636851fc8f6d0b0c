//! Accepting jobs, and the jobs whose end is not recorded.

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::record::{Job, JobFolder, JobResult};
use super::{Store, StoreError, make_folder, open_directory};
use crate::atomicfile::{Lock, sync_parent};
use crate::names::Ticket;

/// A job that was recorded and whose folder is locked for its supervisor.
#[derive(Debug)]
pub struct AcceptedJob {
    /// The job's folder.
    pub folder: JobFolder,
    /// The folder, opened and locked; whoever holds a duplicate of it supervises the job.
    pub lock: File,
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// As many jobs run and wait as may.
    #[error("{open} jobs run or wait, which is the limit")]
    QueueFull {
        /// How many.
        open: usize,
    },
    /// The same job runs or waits already.
    #[error("the same job runs already: ticket {ticket}")]
    SameJob {
        /// Its ticket.
        ticket: Ticket,
    },
    /// Another job that has not ended writes to a directory of this one, or to one below or above it.
    #[error("ticket {} writes to {}, or below or above it", job.ticket, directory.display())]
    DirectoryInUse {
        /// The other job.
        job: Box<Job>,
        /// The directory of this one.
        directory: PathBuf,
    },
    /// The store can't record it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Records a job: folder, record, open marker and index line, each on disk, the folder locked.
    ///
    /// One job is accepted at a time, whichever process asks.
    ///
    /// # Errors
    /// When the same exclusive job is open already, one that writes to its directories is, `limit`
    /// jobs are, or the store can't record it. Nothing is left behind then.
    pub fn accept(&self, job: &Job, limit: usize) -> Result<AcceptedJob, Refused> {
        let lock_path = self.accept_lock();
        let _one_at_a_time = Lock::exclusive(&lock_path).map_err(StoreError::record(&lock_path))?;
        let open = self.open_tickets()?;
        let taken = open.len();
        // A request that is repeated needs no room.
        if job.exclusive || job.fills.is_some() {
            self.check_beside(job, open)?;
        }
        if taken >= limit {
            return Err(Refused::QueueFull { open: taken });
        }
        let folder = self.job(&job.ticket);
        match self.write_accepted(job, &folder) {
            Ok(lock) => Ok(AcceptedJob { folder, lock }),
            Err(error) => {
                self.forget(&folder);
                Err(error.into())
            }
        }
    }

    /// The tickets of the jobs whose end is not recorded, the oldest first.
    ///
    /// # Errors
    /// When the folder of open jobs can't be read.
    pub fn open_tickets(&self) -> Result<Vec<Ticket>, StoreError> {
        tickets_in(&self.open_folder())
    }

    /// Records the end of a job whose folder the caller has locked, and everything that follows
    /// from it; `tell` as for [`Store::close_recorded`]. Repeating it after a crash at any point
    /// completes it.
    ///
    /// # Errors
    /// When a step can't be done; the job stays among the open ones.
    pub fn close(
        &self,
        folder: &JobFolder,
        result: &JobResult,
        tell: impl FnOnce(&JobResult),
    ) -> Result<(), StoreError> {
        folder.write_result(result)?;
        self.close_recorded(folder, tell)
    }

    /// Does what follows from an end that is recorded, for a caller who has locked the folder.
    ///
    /// `tell` is called with the end that counts before the job stops being open: after a crash it
    /// may be called once more, and is never left out.
    ///
    /// # Errors
    /// When a step can't be done; the job stays among the open ones.
    pub fn close_recorded(
        &self,
        folder: &JobFolder,
        tell: impl FnOnce(&JobResult),
    ) -> Result<(), StoreError> {
        // What gives room comes before what may need some.
        folder.remove_captures()?;
        folder.remove_torn()?;
        folder.mask_job()?;
        match folder.result() {
            Ok(Some(result)) => {
                self.index_end(folder.ticket(), &result)?;
                tell(&result);
            }
            Ok(None) => {}
            // It will not get better, and the job must not stay open for it.
            Err(error) if error.is_damaged() => {}
            Err(error) => return Err(error),
        }
        self.remove_marker(folder.ticket())
    }

    /// Removes what a crash has left of a job that was never recorded, and so never handed out.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove_unrecorded(&self, folder: &JobFolder) -> Result<(), StoreError> {
        let lock_path = self.accept_lock();
        let _nobody_accepts =
            Lock::exclusive(&lock_path).map_err(StoreError::record(&lock_path))?;
        if folder.job()?.is_some() {
            return Ok(());
        }
        match fs::remove_dir_all(folder.path()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::record(folder.path())(error)),
        }
        self.remove_marker(folder.ticket())
    }

    /// Removes the marker of an open job.
    fn remove_marker(&self, ticket: &Ticket) -> Result<(), StoreError> {
        let marker = self.open_folder().join(ticket.as_str());
        match fs::remove_file(&marker) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StoreError::record(&marker)(error)),
        }
    }

    fn write_accepted(&self, job: &Job, folder: &JobFolder) -> Result<File, StoreError> {
        let month = self.month(&job.ticket.month());
        make_folder(&month).map_err(StoreError::record(&month))?;
        // The marker comes first: a crash after it leaves a marker without a record, which is
        // removed, and never a record that nobody looks after.
        let marker = self.open_folder().join(job.ticket.as_str());
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&marker);
        made.and_then(|_| sync_parent(&marker))
            .map_err(StoreError::record(&marker))?;
        let path = folder.path();
        let lock = make_folder(path).and_then(|()| {
            let lock = open_directory(path)?;
            lock.try_lock().map_err(io::Error::from)?;
            Ok(lock)
        });
        let lock = lock.map_err(StoreError::record(path))?;
        self.join_line(&job.ticket)?;
        // A line without a record is passed over by its readers; a record without a line would
        // never be listed.
        self.index_accepted(job)?;
        folder.write_job(job)?;
        Ok(lock)
    }

    /// Removes what is left of a job that could not be recorded.
    fn forget(&self, folder: &JobFolder) {
        // The caller reports why the job was not accepted. What can't be removed now has no
        // complete record and goes when open jobs are looked through the next time.
        self.leave_line(folder.ticket());
        drop(fs::remove_dir_all(folder.path()));
        drop(self.remove_marker(folder.ticket()));
    }

    /// Whether a job may run beside those that are open.
    fn check_beside(&self, job: &Job, open: Vec<Ticket>) -> Result<(), Refused> {
        for ticket in open {
            let folder = self.job(&ticket);
            let Ok(Some(other)) = folder.job() else {
                continue;
            };
            let same = job.exclusive
                && other.command == job.command
                && other.arguments == job.arguments
                && on_one_host(job, &other);
            let both = job.fills.as_ref().zip(other.fills.as_ref());
            let shared = both
                .filter(|(own, _)| !own.ssh_command.is_empty() || on_one_host(job, &other))
                .and_then(|(own, its)| own.shared_with(its));
            if !same && shared.is_none() {
                continue;
            }
            // On another host it runs whether or not somebody looks after it here.
            let supervised = folder.is_supervised()? || self.abroad(&ticket)?.is_some();
            // Barman outlives whoever looks after it; what has come of it is recorded when it ends.
            let runs = supervised || folder.process().exists();
            if !runs || folder.result()?.is_some() {
                continue;
            }
            let is_lost = !supervised || folder.orphaned().exists();
            match shared.cloned() {
                Some(directory) if !same || is_lost => {
                    let job = Box::new(other);
                    return Err(Refused::DirectoryInUse { job, directory });
                }
                _ if same && supervised => return Err(Refused::SameJob { ticket }),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether two jobs have the same Barman host.
fn on_one_host(one: &Job, other: &Job) -> bool {
    let host = |job: &Job| job.remote.as_ref().map(|there| there.remote.host.clone());
    host(one) == host(other)
}

/// The tickets that files of a folder are named by, the oldest first.
pub(super) fn tickets_in(path: &Path) -> Result<Vec<Ticket>, StoreError> {
    let names = fs::read_dir(path).map_err(StoreError::record(path))?;
    let mut tickets: Vec<Ticket> = names
        .flatten()
        .filter_map(|name| Ticket::parse(name.file_name().to_str()?).ok())
        .collect();
    tickets.sort();
    Ok(tickets)
}
