//! Who asked for what, and how it ended: one line of JSON an event, never dropped.
//!
//! `audit.log` holds the current month. With the first event of another month it becomes
//! `audit-YYYYmm.log`. A line is on disk when [`Audit::record`] returns; where it can't be, what it
//! would tell of must not be done. Several processes write one log: each line is written under a
//! lock. Entries hold no query values and no secrets: that is for the caller to see to.

mod entry;
#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use entry::{Entry, names};

/// The longest wait for another process that holds the lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// The audit log of a store.
#[derive(Debug)]
pub struct Audit {
    dir: PathBuf,
    keep_months: AtomicU32,
}

impl Audit {
    /// The audit log in `dir`, which is made (mode 0700) when missing. Of closed months the last
    /// `keep_months` are kept, 0 keeps all.
    ///
    /// # Errors
    /// When the directory can't be made, or the log there can't be written.
    pub fn open(dir: &Path, keep_months: u32) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let audit = Self {
            dir: dir.to_owned(),
            keep_months: AtomicU32::new(keep_months),
        };
        drop(audit.current()?);
        Ok(audit)
    }

    /// Keeps another number of closed months, from the next change of month on.
    pub fn set_keep_months(&self, keep_months: u32) {
        self.keep_months.store(keep_months, Ordering::Relaxed);
    }

    /// Writes an event. It blocks until the line is on disk.
    ///
    /// # Errors
    /// When the line can't be written whole: the disk is full, the directory can't be written, or
    /// another process has held the lock for five seconds. Nothing of the line is left then.
    pub fn record(&self, entry: &Entry) -> io::Result<()> {
        self.write(std::slice::from_ref(entry), true)
    }

    /// Writes events that nothing waits for. A line may be lost when the host goes down, and in no
    /// other case.
    ///
    /// # Errors
    /// As [`Audit::record`], when that is so of one of them; the others are written, unless another
    /// process holds the lock.
    pub fn note(&self, entries: &[Entry]) -> io::Result<()> {
        let mut outcome = Ok(());
        for together in entries.chunk_by(|one, next| Month::of(one.ts) == Month::of(next.ts)) {
            match self.write(together, false) {
                Ok(()) => continue,
                // Somebody holds the log; each line would wait for them once more.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    outcome = Err(error);
                    continue;
                }
                Err(_) => {}
            }
            // There may be room for some of them.
            for entry in together {
                outcome = self.write(std::slice::from_ref(entry), false).and(outcome);
            }
        }
        outcome
    }

    /// Writes events of one month, all of them or none.
    fn write(&self, entries: &[Entry], synced: bool) -> io::Result<()> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let lines = entries.iter().map(Entry::line);
        let line = lines.collect::<io::Result<Vec<_>>>()?.concat();
        let lock = self.lock()?;
        self.close_month(Month::of(first.ts))?;
        let mut file = self.current()?;
        let size = file.metadata()?.len();
        // A line that a crash cut off does not swallow this one.
        let whole = size == 0 || {
            let mut last = [0];
            file.read_exact_at(&mut last, size - 1)?;
            last == *b"\n"
        };
        let line = if whole {
            line
        } else {
            [b"\n", line.as_slice()].concat()
        };
        let written = file
            .write_all(&line)
            .and_then(|()| if synced { file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // What can't be taken back is cut off like a crash.
            drop(file.set_len(size));
            return Err(error);
        }
        drop(lock);
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    fn current(&self) -> io::Result<File> {
        let new = !self.path().exists();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.path())?;
        if new {
            self.sync()?;
        }
        Ok(file)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn lock(&self) -> io::Result<File> {
        let path = self.dir.join("audit.lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::Error(error)) => return Err(error),
                Err(fs::TryLockError::WouldBlock) if started.elapsed() > PATIENCE => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "another process holds the audit log",
                    ));
                }
                Err(fs::TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Puts the log of an earlier month aside. A clock that went back closes nothing.
    fn close_month(&self, now: Month) -> io::Result<()> {
        let Some(month) = self.month_of_log()?.filter(|month| *month < now) else {
            return Ok(());
        };
        // The clock may have been in that month before.
        let free = (1..).map(|number| {
            let again = if number == 1 {
                String::new()
            } else {
                format!(".{number}")
            };
            self.dir.join(format!("audit-{}{again}.log", month.name()))
        });
        if let Some(closed) = free.into_iter().find(|path| !path.exists()) {
            fs::rename(self.path(), closed)?;
        }
        self.sync()?;
        self.remove_old(now)
    }

    /// The month of the first line that can be read; `None` when there is no line.
    fn month_of_log(&self) -> io::Result<Option<Month>> {
        let file = match File::open(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let found = file.metadata()?;
        if found.len() == 0 {
            return Ok(None);
        }
        for line in BufReader::new(file).lines().take(2) {
            if let Ok(line) = line
                && let Ok(line) = serde_json::from_str::<Value>(&line)
                && let Some(at) = line.get("ts").and_then(Value::as_str)
                && let Ok(at) = OffsetDateTime::parse(at, &Rfc3339)
            {
                return Ok(Some(Month::of(at)));
            }
        }
        Ok(Some(Month::of(found.modified()?.into())))
    }

    fn remove_old(&self, now: Month) -> io::Result<()> {
        let kept = self.keep_months.load(Ordering::Relaxed);
        if kept == 0 {
            return Ok(());
        }
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let month = name.to_str().and_then(|name| {
                let rest = name.strip_prefix("audit-")?.strip_suffix(".log")?;
                Month::parse(rest.get(..6)?)
            });
            if month.is_some_and(|month| month.0.saturating_add(kept) < now.0) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// A month, as the count of months since the year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
struct Month(u32);

impl Month {
    fn of(at: OffsetDateTime) -> Self {
        let at = at.to_offset(time::UtcOffset::UTC);
        let year = u32::try_from(at.year()).unwrap_or(0);
        Self(year * 12 + u32::from(u8::from(at.month())) - 1)
    }

    /// Reads `YYYYmm`.
    fn parse(name: &str) -> Option<Self> {
        let (year, month) = (
            name.get(..4)?.parse::<u32>().ok()?,
            name.get(4..6)?.parse::<u32>().ok()?,
        );
        (1..=12)
            .contains(&month)
            .then(|| Self(year * 12 + month - 1))
    }

    /// `YYYYmm`.
    fn name(self) -> String {
        format!("{:04}{:02}", self.0 / 12, self.0 % 12 + 1)
    }
}
