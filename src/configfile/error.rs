//! Why a request about a configuration was refused.

use std::io;
use std::path::PathBuf;

use crate::inifile::IniError;
use crate::runner::files::FilesError;

/// A request that was refused. Unless it says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A parameter is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The key may not be changed over HTTP, or not by this caller.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such section or revision.
    #[error("{0}")]
    NotFound(String),
    /// The files are in a state in which this can't be done.
    #[error("{0}")]
    Conflict(String),
    /// The caller has seen other files than those that are there.
    #[error("{0}")]
    Stale(String),
    /// The caller must say which files were seen.
    #[error("{0}")]
    NoPrecondition(String),
    /// Barman does not take the files as they would be; its words.
    #[error("barman refuses the change, and nothing was written: {0}")]
    Refused(String),
    /// A disk or the system fails just now, so it can't be told what would be.
    #[error("{0}")]
    Unavailable(String),
    /// Barman's configuration can't be understood as it is.
    #[error("{0}")]
    Unreadable(String),
    /// A file is no ini text.
    #[error("{}: {source}; mend it by hand", path.display())]
    NotIni {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: IniError,
    },
    /// The files on the Barman host can't be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The link broke while files were written.
    #[error(
        "it is not known whether the change was made: {source}; revision {revision} will tell when the barman host can be reached again"
    )]
    InDoubt {
        /// The revision that tells it later.
        revision: String,
        /// What happened.
        source: Box<ConfigError>,
    },
    /// The revisions can't be read or written.
    #[error("the revisions of the configuration can't be read or written: {0}")]
    Journal(#[source] io::Error),
    /// `audit.log` takes no line.
    #[error("audit.log takes no line, so nothing is changed: {0}")]
    Audit(#[source] io::Error),
    /// A defect of ours, or a thread that could not be had.
    #[error("the work was not done: {0}")]
    Internal(#[source] io::Error),
}

impl ConfigError {
    pub(super) fn invalid(words: impl Into<String>) -> Self {
        Self::Invalid(words.into())
    }
}
