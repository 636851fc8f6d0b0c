//! A log file that several processes write and rotate.
//!
//! Each line is one append. Before it, a look at the path tells whether another process has
//! rotated the file. Rotation holds an exclusive lock on a file beside the log and every append a
//! shared one, so no line goes to a file that has just been removed. Somebody who holds the lock
//! and does not move on is not waited for longer than a moment.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often, a millisecond apart, a lock is asked for.
const PATIENCE: u32 = 20;

/// A log file and its older ones, `NAME.1` (the youngest), `NAME.2`, …
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    max_bytes: u64,
    backup_count: u32,
    /// The open file and which one it is.
    file: Option<(File, Id)>,
    lock: Option<File>,
    /// The last line was cut off in the middle.
    torn: bool,
}

/// Device and inode.
type Id = (u64, u64);

/// A way to take a lock.
type Ask = fn(&File) -> Result<(), fs::TryLockError>;

impl RotatingFile {
    /// A log at `path`; it is opened with the first line. `max_bytes` 0 never rotates.
    pub(super) fn new(path: PathBuf, max_bytes: u64, backup_count: u32) -> Self {
        Self {
            path,
            max_bytes,
            backup_count,
            file: None,
            lock: None,
            torn: false,
        }
    }

    /// Begins anew at another size and keeps another number of older files, from the next line on.
    pub(super) fn set_limits(&mut self, max_bytes: u64, backup_count: u32) {
        self.max_bytes = max_bytes;
        self.backup_count = backup_count;
    }

    /// Appends a line, which ends in a line feed.
    ///
    /// # Errors
    /// When the file can't be opened or written. The line is then lost, or a part of it is there.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let full = self.locked(File::try_lock_shared, |log, _| log.write(line, true))?;
        if full {
            let room = line.len() as u64;
            let rotated = self.locked(
                File::try_lock,
                |log, held| {
                    if held { log.rotate(room) } else { Ok(()) }
                },
            );
            // Where files can't be moved, the log grows: better than a lost line.
            drop(rotated);
            self.locked(File::try_lock_shared, |log, _| log.write(line, false))?;
        }
        Ok(())
    }

    /// Does something with the lock held, or without it when it can't be had in a moment.
    fn locked<T>(
        &mut self,
        ask: Ask,
        act: impl FnOnce(&mut Self, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => self.open_lock()?,
        };
        let mut held = ask(&lock).is_ok();
        for _ in 0..PATIENCE {
            if held {
                break;
            }
            thread::sleep(Duration::from_millis(1));
            held = ask(&lock).is_ok();
        }
        let done = act(self, held);
        if held {
            lock.unlock()?;
        }
        self.lock = Some(lock);
        done
    }

    /// Writes a line, or tells that the file is full.
    fn write(&mut self, line: &[u8], may_be_full: bool) -> io::Result<bool> {
        let size = self.reopen()?;
        if may_be_full && self.is_full(size, line.len() as u64) {
            return Ok(true);
        }
        let Some((file, _)) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.torn {
            file.write_all(b"\n")?;
        }
        let written = file.write(line)?;
        self.torn = written < line.len();
        if self.torn {
            Err(io::ErrorKind::WriteZero.into())
        } else {
            Ok(false)
        }
    }

    fn is_full(&self, size: u64, room: u64) -> bool {
        self.max_bytes > 0 && size > 0 && size.saturating_add(room) > self.max_bytes
    }

    /// Opens the file that the path names now, and tells its size.
    fn reopen(&mut self) -> io::Result<u64> {
        let named = fs::metadata(&self.path).ok();
        if let (Some((_, open)), Some(named)) = (&self.file, &named)
            && *open == (named.dev(), named.ino())
        {
            return Ok(named.len());
        }
        self.file = None;
        self.torn = false;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        let found = file.metadata()?;
        self.file = Some((file, (found.dev(), found.ino())));
        Ok(found.len())
    }

    /// Moves the files on by one, unless another process has just done so.
    fn rotate(&mut self, room: u64) -> io::Result<()> {
        let size = self.reopen()?;
        if !self.is_full(size, room) {
            return Ok(());
        }
        self.remove_surplus();
        for number in (1..self.backup_count).rev() {
            move_on(&self.older(number), &self.older(number + 1))?;
        }
        if self.backup_count == 0 {
            fs::remove_file(&self.path)
        } else {
            move_on(&self.path, &self.older(1))
        }
    }

    /// Removes what was kept when more was.
    fn remove_surplus(&self) {
        let mut number = self.backup_count.saturating_add(1);
        while fs::remove_file(self.older(number)).is_ok() {
            number += 1;
        }
    }

    fn older(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Opens the lock file, and makes the folder when it is missing.
    fn open_lock(&self) -> io::Result<File> {
        if let Some(parent) = self.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
        }
        let mut name = self.path.clone().into_os_string();
        name.push(".lock");
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(name)
    }
}

fn move_on(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn lines(dir: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            lines.extend(
                fs::read_to_string(entry.unwrap().path())
                    .unwrap()
                    .lines()
                    .map(str::to_owned),
            );
        }
        lines
    }

    #[test]
    fn a_file_that_is_full_moves_on_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/general.log");
        let mut log = RotatingFile::new(path.clone(), 10, 2);
        for number in 0..5 {
            log.append(format!("line {number}\n").as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join("logs").join(name)).ok();
        assert_eq!(read("general.log").as_deref(), Some("line 4\n"));
        assert_eq!(read("general.log.1").as_deref(), Some("line 3\n"));
        assert_eq!(read("general.log.2").as_deref(), Some("line 2\n"));
        assert_eq!(read("general.log.3"), None);
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_file_without_a_bound_is_never_moved() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RotatingFile::new(dir.path().join("x.log"), 0, 5);
        for _ in 0..100 {
            log.append(b"line\n").unwrap();
        }
        assert_eq!(lines(dir.path()).len(), 100);
    }

    #[test]
    fn no_line_of_several_writers_is_lost_while_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let mut log = RotatingFile::new(dir.path().join("x.log"), 2_000, 1000);
                thread::spawn(move || {
                    for number in 0..500 {
                        log.append(format!("{writer}-{number:03}\n").as_bytes())
                            .unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        let mut lines = lines(dir.path());
        lines.sort();
        let mut wanted: Vec<_> = (0..4)
            .flat_map(|writer| (0..500).map(move |number| format!("{writer}-{number:03}")))
            .collect();
        wanted.sort();
        assert_eq!(lines, wanted);
    }

    #[test]
    fn a_file_that_was_taken_away_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = RotatingFile::new(path.clone(), 1000, 1);
        log.append(b"one\n").unwrap();
        fs::remove_file(&path).unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "two\n");
    }

    #[test]
    fn a_lock_that_is_never_given_back_stops_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let held = File::create(dir.path().join("x.log.lock")).unwrap();
        held.lock().unwrap();
        let mut log = RotatingFile::new(dir.path().join("x.log"), 4, 1);
        log.append(b"one\n").unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(lines(dir.path()), ["one", "two"]);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error_and_no_more() {
        let mut log = RotatingFile::new("/proc/nowhere/x.log".into(), 4, 1);
        assert!(log.append(b"one\n").is_err());
    }
}
