//! What is known about jobs, on disk, shared by every process that has the same store.
//!
//! ```text
//! active/open/TICKET                       an empty file while the job's end is not recorded
//! active/202611/TICKET/job.json            what was accepted
//!                      process.json        who runs (runner::process::Identity)
//!                      cancel              who asked to stop it
//!                      unreachable         while the Barman host can't be reached
//!                      orphaned            who waited for Barman on its host is gone
//!                      capture.stdout, …   what Barman writes; gone when the job has ended
//!                      stdout, stderr      what is kept: masked and capped
//!                      result.json         the end; written once, never changed
//! active/202611/index                      one line when a job is accepted, one when it ends
//! active/abroad/TICKET                     what has to be removed on the Barman host when the job has ended
//! active/line/NUMBER-TICKET                an empty file while the job waits for a place (see `line`)
//! active/slots/N                           one lock for each job that may run at once
//! archive/202610.tar.gz, 202610.index      the ended jobs of a closed month (see `archive`)
//! config/                                  the catalogue and generated secrets
//! garbage/PROCESS/                         temporary files of one process
//! logs/
//! ```
//!
//! The folder of a job is locked (`flock`) by its supervisor from before the ticket is handed out
//! until the end is recorded. A folder without a result whose lock is free is a lost job; no age
//! and no process number is ever taken for an answer. Whoever looks after lost jobs takes a lock
//! that has nothing to do with the folders, so that none of them seems to have a supervisor again.

pub mod abroad;
pub mod archive;
pub mod garbage;
pub mod index;
pub mod line;
mod lines;
pub mod listing;
pub mod open_jobs;
pub mod record;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::atomicfile::Lock;
use crate::names::{Month, Ticket};

/// The folders that every store has.
const FOLDERS: [&str; 9] = [
    "active",
    "active/abroad",
    "active/line",
    "active/open",
    "active/slots",
    "archive",
    "config",
    "garbage",
    "logs",
];

/// Something the store could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder of the store can't be made or used.
    #[error("store folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder of the store is not private.
    #[error("store folder {path} is {problem}; make it the service account's own, mode 0700")]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// A record of the store can't be read or written.
    #[error("{path}: {source}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The index of an archive is being built.
    #[error("the index of the archive of {month} is being built; ask again")]
    IndexNotReady {
        /// The month.
        month: Month,
    },
    /// An archive holds what we have not written, or is damaged, and is not written to.
    #[error(
        "{path} is not wholly ours: what it holds can be read, and the ended jobs of its month stay in active/; move it away to have them archived"
    )]
    ForeignArchive {
        /// The archive.
        path: PathBuf,
    },
}

impl StoreError {
    /// Whether the cause is a lack of room, or a file system that takes nothing.
    #[must_use]
    pub fn is_unwritable(&self) -> bool {
        let (Self::Folder { source, .. } | Self::Record { source, .. }) = self else {
            return false;
        };
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::ReadOnlyFilesystem
        )
    }

    /// Whether a record was read and is not what was once written.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        matches!(self, Self::Record { source, .. } if source.kind() == io::ErrorKind::InvalidData)
    }

    /// Whether this process or the host is out of descriptors, locks or memory for now; nothing is
    /// said about the record then.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        use rustix::io::Errno;
        let (Self::Folder { source, .. } | Self::Record { source, .. }) = self else {
            return false;
        };
        [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::AGAIN,
            Errno::NOLCK,
        ]
        .iter()
        .any(|errno| source.raw_os_error() == Some(errno.raw_os_error()))
    }

    fn record(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Record { path, source }
    }
}

/// The store in one directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store, making what is missing.
    ///
    /// The folders inside get mode 0700, whatever they had; the store's own folder may be readable,
    /// as the set-up of barmanapi 0.3 has it.
    ///
    /// # Errors
    /// When a folder can't be made, belongs to another account, or can be written by others.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        private_folder(root)?;
        for folder in FOLDERS {
            let path = root.join(folder);
            if private_folder(&path)?.mode() & 0o077 != 0 {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
                    .map_err(|source| StoreError::Folder { path, source })?;
            }
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// Why nothing can be recorded now, in words for people; `None` when nothing is known to stand
    /// in the way.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match rustix::fs::statvfs(&self.root) {
            Ok(found) if found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) => {
                Some("the store's file system is read-only".to_owned())
            }
            Ok(_) => None,
            Err(error) => Some(format!("the store can't be looked at: {error}")),
        }
    }

    /// The store's own directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder for the catalogue and generated secrets.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// The folder for logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The folder of a month that is not closed.
    #[must_use]
    pub fn month(&self, month: &Month) -> PathBuf {
        self.root.join("active").join(month.as_str())
    }

    /// The folder of a job of a month that is not closed.
    #[must_use]
    pub fn job(&self, ticket: &Ticket) -> record::JobFolder {
        record::JobFolder::new(ticket, self.month(&ticket.month()).join(ticket.as_str()))
    }

    /// The lock file of one of the places for running jobs.
    #[must_use]
    pub fn slot(&self, number: u32) -> PathBuf {
        self.root.join("active/slots").join(number.to_string())
    }

    fn open_folder(&self) -> PathBuf {
        self.root.join("active/open")
    }

    /// Waits until nobody else looks after jobs without a supervisor, in whatever process.
    ///
    /// # Errors
    /// When the lock can't be opened or taken.
    pub fn lock_looking_after(&self) -> Result<Lock, StoreError> {
        let path = self.root.join("active/slots/lost");
        Lock::exclusive(&path).map_err(StoreError::record(&path))
    }

    fn accept_lock(&self) -> PathBuf {
        self.root.join("active/slots/accept")
    }
}

/// A folder of the service account that nobody else can write; made with mode 0700 when missing.
fn private_folder(path: &Path) -> Result<fs::Metadata, StoreError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    let found = made.and_then(|()| fs::metadata(path));
    let path = path.to_owned();
    match found {
        Err(source) => Err(StoreError::Folder { path, source }),
        Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => {
            Err(StoreError::NotPrivate {
                path,
                problem: "another account's",
            })
        }
        Ok(found) if found.mode() & 0o022 != 0 => Err(StoreError::NotPrivate {
            path,
            problem: "writable by other accounts",
        }),
        Ok(found) => Ok(found),
    }
}

/// Makes one folder with mode 0700 and its name durable; an existing one is fine.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => crate::atomicfile::sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a folder to lock it or to make its names durable.
fn open_directory(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_others_can_write_is_refused_and_one_they_can_read_is_closed_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        Store::open(&root).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(mode(&root), 0o700);
        set(&root, 0o755);
        set(&root.join("active"), 0o755);
        Store::open(&root).unwrap();
        assert_eq!((mode(&root), mode(&root.join("active"))), (0o755, 0o700));
        for path in [root.clone(), root.join("logs")] {
            set(&path, 0o775);
            let refused = Store::open(&root);
            assert!(
                matches!(refused, Err(StoreError::NotPrivate { .. })),
                "{}",
                path.display()
            );
            set(&path, 0o700);
        }
    }
}
