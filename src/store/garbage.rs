//! Temporary files: one locked folder a process, removed when its process is gone.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Store, StoreError, open_directory};

/// The temporary files of this process.
#[derive(Debug, Clone)]
pub struct Garbage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    next: AtomicU64,
    /// Held until the process ends: an unlocked folder may be removed by anybody.
    _lock: File,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What stays is removed by the next process that opens the store.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// A process with temporary files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivingProcess {
    /// Its number.
    pub pid: i32,
    /// Its folder.
    pub folder: PathBuf,
}

/// A temporary folder, removed when dropped.
#[derive(Debug)]
pub struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

impl Store {
    /// Makes a folder for the temporary files of this process and removes those of processes that
    /// are gone.
    ///
    /// # Errors
    /// When the folder can't be made or locked.
    pub fn garbage(&self) -> Result<Garbage, StoreError> {
        let parent = self.root().join("garbage");
        // A folder that is made and not yet locked must not be taken for one that was left.
        let one_at_a_time = open_directory(&parent).map_err(StoreError::record(&parent))?;
        one_at_a_time.lock().map_err(StoreError::record(&parent))?;
        remove_unlocked(&parent)?;
        let random = getrandom::u64()
            .map_err(|error| StoreError::record(&parent)(std::io::Error::other(error)))?;
        let folder = parent.join(format!("{}-{random:016x}", std::process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        let lock = made
            .and_then(|()| open_directory(&folder))
            .and_then(|lock| {
                // Whoever asks for the living processes shares it for a moment.
                lock.lock()?;
                Ok(lock)
            });
        let lock = lock.map_err(StoreError::record(&folder))?;
        Ok(Garbage(Arc::new(Inner {
            folder,
            next: AtomicU64::new(0),
            _lock: lock,
        })))
    }
}

impl Store {
    /// The processes that have temporary files here and still run.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn living_processes(&self) -> Result<Vec<LivingProcess>, StoreError> {
        let parent = self.root().join("garbage");
        let mut living = Vec::new();
        for entry in fs::read_dir(&parent)
            .map_err(StoreError::record(&parent))?
            .flatten()
        {
            let name = entry.file_name();
            let pid = name
                .to_str()
                .and_then(|name| name.split_once('-')?.0.parse().ok());
            let held =
                open_directory(&entry.path()).is_ok_and(|folder| folder.try_lock_shared().is_err());
            if let Some(pid) = pid
                && held
            {
                living.push(LivingProcess {
                    pid,
                    folder: entry.path(),
                });
            }
        }
        Ok(living)
    }
}

impl Garbage {
    /// A file of this process, by which others that look at the store are told of it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.folder.join(name)
    }

    /// A new temporary folder.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn folder(&self) -> Result<TemporaryFolder, StoreError> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let path = self.0.folder.join(number.to_string());
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(StoreError::record(&path))?;
        Ok(TemporaryFolder(path))
    }
}

fn remove_unlocked(parent: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(parent)
        .map_err(StoreError::record(parent))?
        .flatten()
    {
        let path = entry.path();
        let Ok(folder) = open_directory(&path) else {
            continue;
        };
        if folder.try_lock().is_ok() {
            // Somebody else may be removing it, too.
            drop(fs::remove_dir_all(&path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_removed_and_what_a_living_one_uses_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let left = store.root().join("garbage/1-00");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("file"), "x").unwrap();
        let living = store.garbage().unwrap();
        let used = living.folder().unwrap();
        let other = store.garbage().unwrap();
        assert!(!left.exists());
        assert!(used.path().exists());
        drop((used, living, other));
        assert_eq!(
            fs::read_dir(store.root().join("garbage")).unwrap().count(),
            0
        );
    }
}
