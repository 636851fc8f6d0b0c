//! A lock that is shared with Barman.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::error::At;
use super::{FilesError, LOCK_WAIT, local};

/// How often a lock that is held is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// A held lock, given back when dropped or when the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock as Barman's `LockFile` does, which makes the file and leaves it there.
    pub(super) fn take(path: &Path) -> Result<Self, FilesError> {
        local::check(path)?;
        let until = Instant::now() + LOCK_WAIT;
        loop {
            let mut file = open(path).at(path)?;
            if !file.metadata().at(path)?.is_file() {
                return Err(FilesError::NotAFile {
                    path: path.to_owned(),
                });
            }
            match file.try_lock() {
                Ok(()) => {
                    if is_there(&file, path) {
                        sign(&mut file).at(path)?;
                        return Ok(Self { _file: file });
                    }
                }
                Err(TryLockError::WouldBlock) => {
                    if Instant::now() > until {
                        return Err(FilesError::Locked {
                            path: path.to_owned(),
                            holder: holder(file),
                        });
                    }
                }
                Err(TryLockError::Error(error)) => return Err(FilesError::io(path, error)),
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Barman's `lock-directory-cleanup` removes free lock files; a removed one excludes nobody.
fn is_there(file: &File, path: &Path) -> bool {
    let same = |ours: &fs::Metadata, there: &fs::Metadata| {
        (ours.dev(), ours.ino()) == (there.dev(), there.ino())
    };
    matches!((&file.metadata(), &fs::metadata(path)), (Ok(ours), Ok(there)) if same(ours, there))
}

/// Leaves our process number, by which Barman tells who holds a lock.
fn sign(file: &mut File) -> io::Result<()> {
    let who = format!("{}\n", std::process::id());
    file.write_all(who.as_bytes())?;
    file.set_len(who.len() as u64)
}

fn holder(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_whose_file_was_removed_and_made_anew_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let old = open(&path).unwrap();
        old.lock().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Lock::take(&path).unwrap());
            fs::remove_file(&path).unwrap();
            let new = open(&path).unwrap();
            // Whoever of both comes first: they exclude each other.
            let won = new.try_lock().is_ok();
            drop(old);
            if won {
                std::thread::sleep(PAUSE * 5);
                assert!(!waiting.is_finished());
                drop(new);
            }
            let taken = waiting.join().unwrap();
            assert!(open(&path).unwrap().try_lock().is_err());
            drop(taken);
        });
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }
}
