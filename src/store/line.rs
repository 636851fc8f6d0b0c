//! The line in which accepted jobs wait for a place to run in: first come, first served.
//!
//! A job gets its name in the line, `active/line/NUMBER-TICKET`, while it is accepted. One job is
//! accepted at a time, so that the numbers stand in the order of acceptance, whatever a clock does.
//! The supervisor holds the lock of that file as long as it waits, and removes the name when it no
//! longer does.
//!
//! Each waits for the lock of the nearest one before it: it is woken when that one has left, and
//! nobody else is. Had all of them waited for one lock, the kernel would wake all, and whichever
//! ran first would have it. A supervisor that was killed holds neither this lock nor that of its
//! job's folder: it is passed over, and its name is removed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Store, StoreError};
use crate::names::Ticket;

/// How long to wait for one whose lock can't be waited for: it was accepted, and its supervisor is
/// only about to take it.
const PAUSE: Duration = Duration::from_millis(100);

/// A name in the line. They are ordered as the jobs were accepted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    number: u64,
    ticket: Ticket,
}

impl Name {
    fn parse(word: &str) -> Option<Self> {
        let (number, ticket) = word.split_once('-')?;
        Some(Self {
            number: number.parse().ok()?,
            ticket: Ticket::parse(ticket).ok()?,
        })
    }

    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}-{}", self.number, self.ticket))
    }
}

/// A job that stands in the line.
#[derive(Debug)]
pub struct InLine {
    store: Store,
    name: Name,
    lock: File,
}

impl InLine {
    /// Waits until nobody stands before it.
    ///
    /// # Errors
    /// When the line can't be read.
    pub fn wait(&self) -> Result<(), StoreError> {
        let folder = self.store.line_folder();
        let mut seen = None;
        while let Some(before) = self.nearest_before()? {
            if seen.as_ref() == Some(&before) {
                std::thread::sleep(PAUSE);
            }
            // Whether it is still there is what the next look tells; the lock only wakes us.
            if let Ok(lock) = open(&before.path(&folder)) {
                drop(lock.lock_shared());
            }
            seen = Some(before);
        }
        Ok(())
    }

    /// Leaves the line, so that the next one is first.
    ///
    /// # Errors
    /// When the name can't be removed: the others then wait until the job has ended.
    pub fn leave(&self) -> Result<(), StoreError> {
        let removed = remove(&self.name.path(&self.store.line_folder()));
        // Only now: who is woken must not find the name any more.
        drop(self.lock.unlock());
        removed
    }

    /// The last one before it that still waits.
    fn nearest_before(&self) -> Result<Option<Name>, StoreError> {
        let mut before = self.store.names_in_line()?;
        before.retain(|name| *name < self.name);
        before.sort();
        while let Some(name) = before.pop() {
            match self.store.job(&name.ticket).is_supervised() {
                Ok(true) => return Ok(Some(name)),
                // It was locked before it had a name here, and nobody waits again for a job.
                Ok(false) => drop(remove(&name.path(&self.store.line_folder()))),
                // An order that suffers is better than a job that waits for nobody.
                Err(_) => {}
            }
        }
        Ok(None)
    }
}

impl Store {
    /// The place of an accepted job in the line, for its supervisor; `None` when it has none.
    ///
    /// # Errors
    /// When the line can't be read, or the place not be locked.
    pub fn in_line(&self, ticket: &Ticket) -> Result<Option<InLine>, StoreError> {
        let names = self.names_in_line()?;
        let Some(name) = names.into_iter().find(|name| name.ticket == *ticket) else {
            return Ok(None);
        };
        let path = name.path(&self.line_folder());
        let lock = open(&path).and_then(|lock| lock.lock().map(|()| lock));
        Ok(Some(InLine {
            store: self.clone(),
            name,
            lock: lock.map_err(StoreError::record(&path))?,
        }))
    }

    /// Puts a job behind all that wait, for a caller who holds the lock behind which jobs are
    /// accepted and that of the job's folder.
    ///
    /// Nothing of it need survive a power cut: nobody who waits does.
    pub(super) fn join_line(&self, ticket: &Ticket) -> Result<(), StoreError> {
        let names = self.names_in_line()?;
        let last = names.iter().map(|name| name.number).max();
        let name = Name {
            number: last.unwrap_or(0).saturating_add(1),
            ticket: ticket.clone(),
        };
        let path = name.path(&self.line_folder());
        let made = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        made.map(drop).map_err(StoreError::record(&path))
    }

    /// Removes a job that was not accepted from the line. What can't be removed is removed by
    /// whoever waits behind it.
    pub(super) fn leave_line(&self, ticket: &Ticket) {
        let names = self.names_in_line().unwrap_or_default();
        for name in names.iter().filter(|name| name.ticket == *ticket) {
            drop(remove(&name.path(&self.line_folder())));
        }
    }

    fn names_in_line(&self) -> Result<Vec<Name>, StoreError> {
        let path = self.line_folder();
        let names = fs::read_dir(&path).map_err(StoreError::record(&path))?;
        let names = names.flatten();
        Ok(names
            .filter_map(|name| Name::parse(name.file_name().to_str()?))
            .collect())
    }

    fn line_folder(&self) -> PathBuf {
        self.root().join("active/line")
    }
}

/// Opens a file to lock it; one that is gone is not made again.
fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::record(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
    use std::thread;

    use super::*;
    use crate::store::record::JobFolder;

    /// A store, and what holds the folders of its jobs.
    struct Bench {
        _dir: tempfile::TempDir,
        store: Store,
    }

    /// A job that was accepted: its ticket, and what its supervisor holds.
    struct Accepted {
        ticket: Ticket,
        held: File,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(&dir.path().join("store")).unwrap();
            Self { _dir: dir, store }
        }

        /// Accepts a job at this second.
        fn accept(&self, second: i64) -> Accepted {
            let at = time::OffsetDateTime::from_unix_timestamp(1_795_000_000 + second).unwrap();
            let ticket = Ticket::new(at, getrandom::u64().unwrap());
            let folder: JobFolder = self.store.job(&ticket);
            fs::create_dir_all(folder.path()).unwrap();
            let held = folder.try_lock().unwrap().unwrap();
            self.store.join_line(&ticket).unwrap();
            Accepted { ticket, held }
        }

        /// Has a job wait; its place comes back as soon as nobody stands before it.
        fn wait(&self, job: &Accepted) -> Receiver<InLine> {
            let line = self.store.in_line(&job.ticket).unwrap().unwrap();
            let (sender, first) = mpsc::channel();
            thread::spawn(move || {
                line.wait().unwrap();
                // A test that is over needs no answer.
                drop(sender.send(line));
            });
            first
        }

        fn names(&self) -> usize {
            self.store.names_in_line().unwrap().len()
        }
    }

    const LONG: Duration = Duration::from_secs(10);

    /// Longer than the pause after which somebody who only was accepted is looked at again.
    const SHORT: Duration = Duration::from_millis(250);

    fn waits(first: &Receiver<InLine>) -> bool {
        matches!(first.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout))
    }

    #[test]
    fn jobs_are_first_in_the_order_in_which_they_were_accepted_whatever_the_clock_says() {
        let bench = Bench::new();
        // The clock is set back twice, and the tickets sort the other way round.
        let jobs = [9, 5, 1].map(|second| bench.accept(second));
        // The last one waits before the others have begun to.
        let third = bench.wait(&jobs[2]);
        assert!(waits(&third));
        let second = bench.wait(&jobs[1]);
        let first = bench.wait(&jobs[0]).recv_timeout(LONG).unwrap();
        assert!(waits(&second) && waits(&third));
        first.leave().unwrap();
        let second = second.recv_timeout(LONG).unwrap();
        assert!(waits(&third));
        // Whoever comes now stands behind all.
        let fourth = bench.accept(0);
        let fourth = bench.wait(&fourth);
        second.leave().unwrap();
        let third = third.recv_timeout(LONG).unwrap();
        assert!(waits(&fourth));
        third.leave().unwrap();
        fourth.recv_timeout(LONG).unwrap().leave().unwrap();
        assert_eq!(bench.names(), 0);
    }

    #[test]
    fn who_died_is_passed_over_and_removed_whenever_that_happened() {
        let bench = Bench::new();
        let [never_began, killed, leaves, last] = [0, 1, 2, 3].map(|second| bench.accept(second));
        let place = bench.store.in_line(&killed.ticket).unwrap().unwrap();
        let leaves = bench.wait(&leaves);
        let last = bench.wait(&last);
        assert!(waits(&leaves));
        drop((place, killed.held));
        assert!(waits(&leaves), "one that was only accepted is passed over");
        drop(never_began.held);
        let leaves = leaves.recv_timeout(LONG).unwrap();
        assert_eq!(bench.names(), 2);
        // It runs now, and still holds its folder.
        leaves.leave().unwrap();
        last.recv_timeout(LONG).unwrap().leave().unwrap();
        assert_eq!(bench.names(), 0);
        assert!(bench.store.in_line(&killed.ticket).unwrap().is_none());
    }

    #[test]
    fn who_leaves_before_its_turn_lets_nobody_pass_those_before_it() {
        let bench = Bench::new();
        let [first, second, third] = [0, 1, 2].map(|second| bench.accept(second));
        let place = bench.store.in_line(&second.ticket).unwrap().unwrap();
        let waiting = bench.wait(&third);
        place.leave().unwrap();
        assert!(waits(&waiting));
        let first = bench.wait(&first).recv_timeout(LONG).unwrap();
        assert!(waits(&waiting));
        first.leave().unwrap();
        waiting.recv_timeout(LONG).unwrap();
        // A name that is none of ours does no harm.
        fs::write(bench.store.line_folder().join("0-x"), "").unwrap();
        assert_eq!(bench.names(), 1);
    }

    #[test]
    fn a_job_that_is_not_accepted_after_all_leaves_no_name() {
        let bench = Bench::new();
        let [first, second] = [0, 1].map(|second| bench.accept(second));
        bench.store.leave_line(&first.ticket);
        assert!(bench.store.in_line(&first.ticket).unwrap().is_none());
        bench.wait(&second).recv_timeout(LONG).unwrap();
    }
}
