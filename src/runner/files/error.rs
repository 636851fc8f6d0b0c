//! Why files could not be read, tried out or replaced.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::runner::ssh::LinkError;

/// Why files could not be read, tried out or replaced. Unless it is [`Self::Partly`] or
/// [`Self::Link`], nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// There is no such file or folder, or one on the way to it is missing.
    #[error("{}: there is no such file or folder", path.display())]
    NotFound {
        /// Which.
        path: PathBuf,
    },
    /// The account may not do that.
    #[error("{}: the account of the service may not do that: give it the right to", path.display())]
    NotPermitted {
        /// To which file.
        path: PathBuf,
    },
    /// The disk or the account's share of it is full.
    #[error("{}: there is no room left on its file system", path.display())]
    NoRoom {
        /// For which file.
        path: PathBuf,
    },
    /// The file system can't be written.
    #[error("{}: its file system is read-only", path.display())]
    ReadOnly {
        /// Which file is on it.
        path: PathBuf,
    },
    /// A folder, a FIFO, a device or a socket stands where a file should.
    #[error("{}: is no regular file", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// A file, or all of a call together, is larger than what is handled.
    #[error("{}: has more than {limit} bytes, or has with those before it", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// How many bytes there may be.
        limit: usize,
    },
    /// A folder has more entries than are looked at.
    #[error("{}: has more than {limit} entries", path.display())]
    TooMany {
        /// Which.
        path: PathBuf,
        /// How many there may be.
        limit: usize,
    },
    /// A path that is not absolute, a name that leads out of its folder, or two changes of one file.
    #[error("{}: {words}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        words: String,
    },
    /// Something else is there than expected.
    #[error("{}: was changed meanwhile: read it again", path.display())]
    Stale {
        /// Where.
        path: PathBuf,
    },
    /// Somebody else holds the lock.
    #[error("{}: is still locked{}: try again later", path.display(), holder.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    Locked {
        /// Which.
        path: PathBuf,
        /// The process that wrote its number there.
        holder: Option<u32>,
    },
    /// A program could not be started.
    #[error("{}: {reason}", program.display())]
    NotStarted {
        /// Which.
        program: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Some changes were made, and then one could not be.
    #[error("the first {done} changes were made, the next one is in doubt: {error}")]
    Partly {
        /// How many are certainly made.
        done: usize,
        /// Why the next one is not; it is in doubt.
        error: Box<FilesError>,
    },
    /// The host can't be reached, or the link broke and nobody knows how far it came.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Anything else.
    #[error("{}: {source}", path.display())]
    Io {
        /// About which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FilesError {
    /// What the system's error means for a file.
    pub(in crate::runner) fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_owned(), source.into());
        match Errno::from_io_error(&source) {
            Some(Errno::NOENT | Errno::NOTDIR) => Self::NotFound { path },
            Some(Errno::ACCESS | Errno::PERM) => Self::NotPermitted { path },
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoRoom { path },
            Some(Errno::ROFS) => Self::ReadOnly { path },
            Some(Errno::ISDIR) => Self::NotAFile { path },
            _ => Self::Io { path, source },
        }
    }

    pub(in crate::runner) fn invalid(path: &Path, words: &str) -> Self {
        Self::Invalid {
            path: path.to_owned(),
            words: words.to_owned(),
        }
    }

    /// The same, after `done` changes.
    pub(super) fn after(self, done: usize) -> Self {
        match self {
            Self::Partly { error, .. } => Self::Partly { done, error },
            error if done == 0 => error,
            error => Self::Partly {
                done,
                error: Box::new(error),
            },
        }
    }
}

/// Makes an error of the system one about a file.
pub(super) trait At<T> {
    /// The error with the path of its file.
    fn at(self, path: &Path) -> Result<T, FilesError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, FilesError> {
        self.map_err(|error| FilesError::io(path, error))
    }
}
