//! Files that are replaced whole or not at all, and locks between processes.
//!
//! A replacement is a new file in the same directory, written, synced, renamed over the old one,
//! and the directory synced. A reader sees the old bytes or the new ones, whatever happens in
//! between. Where only the file and not its directory may be written, a replacement fails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

mod kept;

pub use kept::keep;

/// Replaces a file by one with these bytes.
///
/// An existing file keeps its mode, its owner, its access list and, when it is reached through a
/// symbolic link, the link. A new file gets `mode`.
///
/// # Errors
/// When the old file can't be read, the directory can't be written, the disk is full, or the owner
/// can't be kept. The old file is then untouched and no temporary file is left. Only where the disk
/// fails to sync the directory is the new file there all the same.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    // What can fail here fails before anything is changed.
    let folder = File::open(parent(&path))?;
    let old = match File::open(&path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let temporary = temporary_name(&path)?;
    let written = write_new(&temporary, content, old.as_ref(), mode)
        .and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = written {
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    folder.sync_all()
}

/// Creates a file that must not exist yet, with these bytes, synced together with its directory.
///
/// # Errors
/// When the file exists, or can't be written; a partly written file is removed. Only where the disk
/// fails to sync the directory is the file there all the same: somebody may have read it.
pub fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = File::open(parent(path))?;
    let temporary = temporary_name(path)?;
    let written =
        write_new(&temporary, content, None, mode).and_then(|()| fs::hard_link(&temporary, path));
    drop(fs::remove_file(&temporary));
    written?;
    folder.sync_all()
}

/// Removes what replacements of a file that were killed have left beside it. For whoever holds a
/// lock that every replacement of the file is made under: one that is still going on is not told
/// from one that died. What can't be removed stays.
pub fn sweep(path: &Path) {
    let Some(name) = path.file_name() else {
        return;
    };
    let begin = format!(".{}.", name.to_string_lossy());
    let is_ours = |name: &str| {
        let random = name.strip_prefix(&begin);
        random.is_some_and(|word| {
            word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    for entry in fs::read_dir(parent(path)).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_ours) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// Makes the names in the directory that holds `path` durable.
///
/// # Errors
/// When the directory can't be opened or synced.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

fn write_new(path: &Path, content: &[u8], old: Option<&File>, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    match old {
        Some(old) => keep(&file, old, &old.metadata()?)?,
        None => file.set_permissions(fs::Permissions::from_mode(mode))?,
    }
    file.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    Ok(parent(path).join(format!(".{}.{random:016x}", name.to_string_lossy())))
}

/// An exclusive lock on a file of its own, held until dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Waits for the lock `path`, which is created (mode 0600) when missing.
    ///
    /// # Errors
    /// When the lock file can't be opened or locked.
    pub fn exclusive(path: &Path) -> io::Result<Self> {
        let file = Self::open(path)?;
        file.lock()?;
        Ok(Self { file })
    }

    /// Takes the lock `path` when nobody holds it; `None` when somebody does.
    ///
    /// # Errors
    /// When the lock file can't be opened or locked.
    pub fn try_exclusive(path: &Path) -> io::Result<Option<Self>> {
        let file = Self::open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// The locked file; a duplicate handed to another process keeps the lock held there.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    fn open(path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_replacement_keeps_mode_and_link_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("real");
        let link = dir.path().join("link");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_new_file_has_the_mode_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        replace(&file, b"x", 0o600).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn create_refuses_a_file_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("once");
        create(&file, b"first", 0o600).unwrap();
        let error = create(&file, b"second", 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_is_held_by_one_and_free_after_its_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::exclusive(&path).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_exclusive(&path).unwrap().is_some());
    }

    #[test]
    fn what_killed_replacements_left_goes_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let left = [
            ".client.conf.0123456789abcdef",
            ".client.conf.ffffffffffffffff",
        ];
        let kept = [
            "client.conf",
            "client.conf.lock",
            ".client.conf.swp",
            ".client.conf.0123456789abcde",
            ".client.conf.0123456789abcdeg",
            ".other.conf.0123456789abcdef",
        ];
        for name in left.iter().chain(&kept) {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        sweep(&dir.path().join("client.conf"));
        for name in left {
            assert!(!dir.path().join(name).exists(), "{name}");
        }
        for name in kept {
            assert!(dir.path().join(name).exists(), "{name}");
        }
    }
}
