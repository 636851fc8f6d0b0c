//! Private folders for trials.
//!
//! A trial holds copies of Barman's configuration, passwords and all, and Barman runs what it says. So
//! nobody else may read its folder, write it, or put another one in its place.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::error::At;
use super::{FilesError, access, local};

/// What the names of folders begin with whose makers hold their locks.
const TRIAL: &str = "trial.";

/// When a folder whose name says nothing about its lock is nobody's any more.
const OLD: Duration = Duration::from_secs(3600);

/// How often the removal is tried: what was stopped may still be at it.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// A new private folder, removed when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes one and removes those that killed processes left.
    pub(super) fn make() -> Result<Self, FilesError> {
        let parent = parent()?;
        sweep(&parent);
        Self::below(&parent).at(&parent)
    }

    /// It gets the name by which it is known only when its lock is held.
    fn below(parent: &Path) -> io::Result<Self> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        let fresh = parent.join(format!("new.{random:016x}"));
        DirBuilder::new().mode(0o700).create(&fresh)?;
        let lock = open(&fresh)?;
        lock.lock()?;
        let path = parent.join(format!("{TRIAL}{random:016x}"));
        fs::rename(&fresh, &path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is, symbolic links resolved.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for _ in 0..TRIES {
            match remove(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(PAUSE),
                _ => return,
            }
        }
        tracing::debug!(path = %self.path.display(), "the folder of a trial stays for the next one to remove");
    }
}

fn open(folder: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(folder)
}

/// Removes a tree, also where a command took our right to write a folder of it.
fn remove(folder: &Path) -> io::Result<()> {
    let Err(error) = fs::remove_dir_all(folder) else {
        return Ok(());
    };
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&folder, mode)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(folder).map_err(|_| error)
}

/// Removes folders whose makers are gone: their locks are free.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if let Err(error) = remove_leftover(&entry.path(), entry.file_name().as_bytes()) {
            tracing::debug!(%error, path = %entry.path().display(), "a left-over folder stays");
        }
    }
}

fn remove_leftover(path: &Path, name: &[u8]) -> io::Result<()> {
    let folder = open(path)?;
    if folder.try_lock().is_err() {
        return Ok(());
    }
    let changed = folder.metadata()?.modified()?;
    let age = SystemTime::now().duration_since(changed);
    if name.starts_with(TRIAL.as_bytes()) || age.is_ok_and(|age| age > OLD) {
        remove(path)?;
    }
    Ok(())
}

/// The folder of the folders: in the account's home, or in `/tmp` where that can't be written or trusted.
fn parent() -> Result<PathBuf, FilesError> {
    let user = geteuid().as_raw();
    let account = nix::unistd::User::from_uid(nix::unistd::geteuid());
    let home = account.ok().flatten().map(|account| account.dir);
    let bases = [
        home.map(|home| home.join(".barmanapi")),
        Some(PathBuf::from(format!("/tmp/.barmanapi-{user}"))),
    ];
    let tmp = Path::new("/tmp");
    let mut problem = FilesError::invalid(tmp, "holds no folder that this account alone can write");
    for base in bases.into_iter().flatten() {
        let path = base.join("trials");
        match ready(&base, &path) {
            Ok(Some(path)) => return Ok(path),
            Ok(None) => {}
            Err(error) => problem = FilesError::io(&path, error),
        }
    }
    Err(problem)
}

/// Its canonical path, when it is there and ours alone.
fn ready(base: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    for folder in [base, path] {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let facts = fs::symlink_metadata(path)?;
    let real = fs::canonicalize(path)?;
    let is_ours = facts.is_dir() && facts.uid() == geteuid().as_raw();
    let is_fit = is_ours && is_ours_alone(&real)? && access::is_open_to_us(&real);
    Ok(is_fit.then_some(real))
}

/// Whether nobody but this account and root can put another folder in the place of this one.
fn is_ours_alone(path: &Path) -> io::Result<bool> {
    const STICKY: u32 = 0o1000;
    let user = geteuid().as_raw();
    for folder in path.ancestors() {
        let facts = fs::metadata(folder)?;
        let is_fixed = folder != path && facts.mode() & STICKY != 0;
        let is_writable = facts.mode() & 0o022 != 0 && !is_fixed;
        if (facts.uid() != 0 && facts.uid() != user) || is_writable {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a new file (0600) below a folder, with the folders (0700) that its name wants.
pub(super) fn put(folder: &Path, name: &Path, bytes: &[u8]) -> Result<(), FilesError> {
    let path = folder.join(name);
    let parent = path.parent().unwrap_or(folder);
    let mut builder = DirBuilder::new();
    builder.mode(0o700).recursive(true);
    builder.create(parent).at(name)?;
    let mut options = local::without_waiting();
    let file = options.write(true).create_new(true).mode(0o600);
    let mut file = file.open(&path).at(name)?;
    io::Write::write_all(&mut file, bytes).at(name)
}

/// A name that leads below its folder, whoever reads it.
pub(super) fn check(name: &Path) -> Result<(), FilesError> {
    let bytes = name.as_os_str().as_bytes();
    let mut parts = bytes.split(|byte| *byte == b'/');
    if bytes.contains(&0) || parts.any(|part| matches!(part, b"" | b"." | b"..")) {
        return Err(FilesError::invalid(name, "is no plain name below a folder"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_that_others_can_write_or_exchange_is_not_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        set(&inner, 0o755).unwrap();
        set(&dir.path().join("a"), 0o755).unwrap();
        assert!(is_ours_alone(&inner).unwrap());
        for (path, mode, holds) in [
            (&dir.path().join("a"), 0o775, false),
            (&dir.path().join("a"), 0o757, false),
            (&dir.path().join("a"), 0o1777, true),
            (&inner, 0o1777, false),
        ] {
            set(path, mode).unwrap();
            assert_eq!(is_ours_alone(&inner).unwrap(), holds, "{mode:o}");
            set(path, 0o755).unwrap();
        }
    }

    #[test]
    fn what_a_killed_process_left_is_removed_once_its_lock_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let (left, fresh) = (dir.path().join("trial.1"), dir.path().join("new.1"));
        for folder in [&left, &fresh] {
            fs::create_dir_all(folder.join("conf.d")).unwrap();
        }
        let lock = open(&left).unwrap();
        lock.lock().unwrap();
        sweep(dir.path());
        assert!(left.exists());
        drop(lock);
        sweep(dir.path());
        // One that has not got its name yet may be about to be locked.
        assert!(!left.exists() && fresh.exists());
        let old = SystemTime::now() - OLD - Duration::from_secs(60);
        open(&fresh).unwrap().set_modified(old).unwrap();
        sweep(dir.path());
        assert!(!fresh.exists());
    }
}
