//! Files of the Barman host: read, tried out, and replaced whole.
//!
//! The same functions for a Barman here (`local`, `replace`, `trial`) and one that is reached over
//! SSH (`runner::ssh::files` with `share/remote_files.py`); tests hold both to the same behaviour.
//! What the files mean is not known here.
//!
//! Everything blocks. What is in doubt after a link broke is found out by reading again.

mod access;
mod error;
mod folder;
mod local;
mod lock;
mod pipes;
mod replace;
mod temporary;
mod trial;

pub use error::FilesError;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Ending, Host};

/// Bytes that one file may have.
pub const FILE: usize = 4 << 20;

/// Bytes that all files of one call may have together.
pub const ALL: usize = 32 << 20;

/// Entries that a folder may have.
pub const NAMES: usize = 10_000;

/// Bytes that are kept of each output of a trial, and of the file it leaves.
pub const SAID: usize = 1 << 20;

/// How long a lock is waited for.
pub const LOCK_WAIT: Duration = Duration::from_secs(10);

/// What the names of temporary files begin with. Barman, which reads `*.conf`, passes them over.
pub const TEMPORARY: &str = ".barmanapi-new.";

/// The mode of a new file when none is given.
pub const NEW_MODE: u32 = 0o640;

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Where it is, symbolic links resolved.
    pub path: PathBuf,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Its permission bits, 0 to 0o7777.
    pub mode: u32,
    /// The number of its owner.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// How it may be changed.
    pub access: Access,
}

/// How an account may change a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// By another file in its place, which is one step: whoever reads sees the old or the new.
    Replace,
    /// Only in place, since its folder may not be written, its owner could not be kept, or it is a mount
    /// of its own. A crash in the middle leaves neither the old nor the new.
    InPlace,
    /// Not at all.
    Read,
}

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// The digest by which a change says which bytes it is about.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// What must be there for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No file.
    Absent,
    /// A file whose bytes have this digest.
    Digest(Digest),
}

/// A file that is to become another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which; symbolic links are followed, but for the removal of one.
    pub path: PathBuf,
    /// What must be there; `None` = whatever is.
    pub expected: Option<Expected>,
    /// All of the new file; `None` removes it.
    pub bytes: Option<Vec<u8>>,
    /// The permission bits of a file that is not there yet, [`NEW_MODE`] by default.
    pub mode: Option<u32>,
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// There was no file.
    Created,
    /// Another file took the place of the old one.
    Replaced,
    /// The old file was written anew.
    Written,
    /// There is no file any more.
    Removed,
}

/// A change that was made and is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Where, symbolic links resolved.
    pub path: PathBuf,
    /// What was done.
    pub how: How,
}

/// Files and what shall be said about them by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// A text that stands for the path of the private folder, in files and arguments alike. It should
    /// be random, so that nobody can have written it; empty = none.
    pub placeholder: String,
    /// Names below the folder, and bytes.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// What is run in the folder, one after the other.
    pub commands: Vec<Command>,
    /// A file below the folder that is read back at the end, such as a log.
    pub read_back: Option<PathBuf>,
    /// How long all commands may take together.
    pub limit: Duration,
}

impl Trial {
    /// How long all commands may take together unless something else is said.
    pub const LIMIT: Duration = Duration::from_secs(10);

    /// Names stay below the folder, and there is no more than one call may bring.
    fn check(&self) -> Result<(), FilesError> {
        let mut room = ALL;
        for (name, bytes) in &self.files {
            folder::check(name)?;
            let left = room.checked_sub(bytes.len());
            room = left.ok_or_else(|| FilesError::TooLarge {
                path: name.clone(),
                limit: ALL,
            })?;
        }
        self.read_back.as_deref().map_or(Ok(()), folder::check)
    }
}

/// A program and its arguments, its own name left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// An absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// What came of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// How it ended.
    pub ending: Ending,
    /// The time limit stopped it.
    pub stopped: bool,
    /// There was more output than is kept.
    pub cut: bool,
    /// The beginning of its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: Vec<u8>,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The commands that began before the time was over, in their order.
    pub tried: Vec<Tried>,
    /// The beginning of the file that was to be read back; `None` when there is none.
    pub file: Option<Vec<u8>>,
}

impl Host {
    /// Reads files; `None` for one that does not exist.
    ///
    /// Symbolic links are followed. A FIFO or a device is an error and never waited for.
    ///
    /// # Errors
    /// When one is no regular file, may not be read, or is larger than [`FILE`]; when all are larger
    /// than [`ALL`]; when the host can't be reached.
    pub fn read(&self, paths: &[PathBuf]) -> Result<Vec<Option<Contents>>, FilesError> {
        match self {
            Self::Here => local::read(paths),
            Self::There(link) => link.read_files(paths),
        }
    }

    /// The names of the files in a folder, and of links to files, sorted by their bytes. Temporary
    /// files of ours are left out.
    ///
    /// # Errors
    /// When there is no such folder, it may not be read, or has more than [`NAMES`] entries; when the
    /// host can't be reached.
    pub fn list(&self, folder: &Path) -> Result<Vec<OsString>, FilesError> {
        match self {
            Self::Here => local::list(folder),
            Self::There(link) => link.list_files(folder),
        }
    }

    /// Writes files into a private folder, runs commands there, and removes it.
    ///
    /// The folder (0700, files 0600) is made in `~/.barmanapi/trials`, or below `/tmp` where the home can't
    /// be written; in either case nobody but the account and root can write it or put another in
    /// its place, which is looked at up to the root of the file system. Whoever makes it holds a
    /// lock on it; a folder whose lock is free belongs to a process that was killed, and is
    /// removed by the next call.
    ///
    /// When the time is over, the running command's group gets SIGINT, and SIGKILL 2 seconds later.
    /// What a command leaves running in its group ends with it.
    ///
    /// # Errors
    /// When the folder can't be made, a name does not lead below it, a program can't be started, or the
    /// host can't be reached.
    pub fn try_out(&self, trial: &Trial) -> Result<Outcome, FilesError> {
        trial.check()?;
        match self {
            Self::Here => trial::try_out(trial, &self.environment()),
            Self::There(link) => link.try_out(trial, &self.environment()),
        }
    }

    /// Makes all changes or, unless [`FilesError::Partly`] says otherwise, none.
    ///
    /// With a `lock`, it is taken as Barman takes its own (`.config-update.lock`, an exclusive `flock` on a file
    /// that then holds the process number; barman/lockfile.py of 3.19.1), waited for up to
    /// [`LOCK_WAIT`], and held until all is done. Without one, two who write at the same time
    /// may both see what they expect.
    ///
    /// What is expected is looked at first, then everything is written to temporary files beside the
    /// targets, and synced; only then the first of them is renamed. Mode, owner, group and access list
    /// stay as they were, and a symbolic link stays one. Where a file can only be written in place ([`Access`]),
    /// room is reserved first, as far as the file system does that, and the old bytes are
    /// written back when the new ones can't be. Temporary files of killed writers in the same
    /// folders are removed.
    ///
    /// # Errors
    /// [`FilesError::Stale`] when something else is there than expected, [`FilesError::Locked`],
    /// and whatever the file system refuses.
    pub fn replace(
        &self,
        lock: Option<&Path>,
        changes: &[Change],
    ) -> Result<Vec<Changed>, FilesError> {
        check(changes)?;
        match self {
            Self::Here => replace::replace(lock, changes),
            Self::There(link) => link.replace_files(lock, changes),
        }
    }
}

/// No new file is larger than what can be read again.
fn check(changes: &[Change]) -> Result<(), FilesError> {
    let mut room = ALL;
    for change in changes {
        let length = change.bytes.as_ref().map_or(0, Vec::len);
        let too_large = |limit| FilesError::TooLarge {
            path: change.path.clone(),
            limit,
        };
        if length > FILE {
            return Err(too_large(FILE));
        }
        room = room.checked_sub(length).ok_or_else(|| too_large(ALL))?;
    }
    Ok(())
}
