//! Temporary files beside the files they will replace.
//!
//! Each is locked by its writer for as long as it has its temporary name. One whose lock is free was
//! left by a writer that was killed.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{TEMPORARY, local};

/// A new file that has not taken its place yet; removed when dropped.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) file: File,
    path: PathBuf,
    is_placed: bool,
}

impl Temporary {
    /// A new empty file, mode 0600.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        loop {
            let random = getrandom::u64().map_err(io::Error::other)?;
            let path = folder.join(format!("{TEMPORARY}{random:016x}"));
            let mut options = local::without_waiting();
            let file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            let temporary = Self {
                file,
                path,
                is_placed: false,
            };
            temporary.file.lock()?;
            // It may have been taken for a leftover before its lock was held.
            if temporary.file.metadata()?.nlink() > 0 {
                return Ok(temporary);
            }
        }
    }

    /// Takes the place of whatever is there.
    pub(super) fn replace(&mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.is_placed = true;
        Ok(())
    }

    /// Takes a place where nothing is; a file system without hard links can't tell.
    pub(super) fn create_as(&mut self, target: &Path) -> io::Result<()> {
        match fs::hard_link(&self.path, target) {
            Ok(()) => fs::remove_file(&self.path)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => fs::rename(&self.path, target)?,
        }
        self.is_placed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_placed {
            // What can't be removed now is by the next call.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Removes what killed writers left in a folder.
pub(super) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_ours = entry
            .file_name()
            .as_bytes()
            .starts_with(TEMPORARY.as_bytes());
        if is_ours && let Err(error) = remove_leftover(&entry.path()) {
            tracing::debug!(%error, path = %entry.path().display(), "a temporary file stays");
        }
    }
}

fn remove_leftover(path: &Path) -> io::Result<()> {
    let file = local::without_waiting().read(true).open(path)?;
    if file.metadata()?.is_file() && file.try_lock().is_ok() {
        fs::remove_file(path)?;
    }
    Ok(())
}
