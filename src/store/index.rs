//! The index of a month: one line when a job is accepted, one when it ends.
//!
//! The folders of the jobs are the truth; the index only spares reading them all. It is written by
//! appending whole lines, read from its end, and built again from the folders when it is missing.
//! A line that is torn is left out: its job is still found by its ticket, and a torn line of an end
//! makes the reader look into the folder.
//!
//! Lines stand in the order of acceptance, which is that of the tickets' seconds unless a clock was
//! set back or two processes were close. A line that comes too late says so (`behind`), so that a
//! reader from the end knows when it has seen all jobs of a second.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::lines::{Backwards, to_u64};
use super::record::{EndState, Job, JobResult};
use super::{Store, StoreError};
use crate::atomicfile::Lock;
use crate::names::{CommandName, Month, Scope, Ticket, UserName};

/// A job as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was accepted.
    pub accepted: Accepted,
    /// How it ended; `None` when the index does not know of an end.
    pub ended: Option<Ended>,
    /// Its place among the jobs of its second: a later one was accepted later.
    pub order: u64,
    /// Where the job was found.
    pub origin: Origin,
}

/// Where an entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The index beside the folders; the folder may be gone.
    Active,
    /// The index of the month's archive.
    Archive,
}

/// The line of an accepted job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The ticket.
    pub ticket: Ticket,
    /// The command's names, the canonical one first.
    pub names: Vec<CommandName>,
    /// The servers it concerns.
    pub scope: Scope,
    /// Who asked.
    pub user: UserName,
}

/// The line of an ended job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The state.
    pub state: EndState,
    /// The exit code, where the process exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, where one did.
    pub signal: Option<i32>,
    /// Why, where neither tells.
    pub reason: Option<super::record::Reason>,
    /// When Barman was started.
    pub started_at: Option<String>,
    /// When the end was recorded.
    pub ended_at: String,
}

/// How the line of an accepted job begins.
const ACCEPTED: &[u8] = br#"{"ticket":""#;

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Accepted {
        #[serde(flatten)]
        accepted: Accepted,
        /// The latest second before this line, when it is later than this job's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        behind: Option<String>,
    },
    Ended {
        end_of: Ticket,
        end: Ended,
    },
}

impl Line {
    fn accepted(accepted: Accepted, latest: Option<&str>) -> Self {
        let behind = latest.filter(|latest| *latest > accepted.ticket.second());
        Self::Accepted {
            behind: behind.map(str::to_owned),
            accepted,
        }
    }
}

impl From<&Job> for Accepted {
    fn from(job: &Job) -> Self {
        Self {
            ticket: job.ticket.clone(),
            names: job.names.clone(),
            scope: job.scope.clone(),
            user: job.user.clone(),
        }
    }
}

impl From<&JobResult> for Ended {
    fn from(result: &JobResult) -> Self {
        Self {
            state: result.state,
            exit_code: result.exit_code,
            signal: result.signal,
            reason: result.reason,
            started_at: result.started_at.clone(),
            ended_at: result.ended_at.clone(),
        }
    }
}

impl Store {
    /// Notes the end of a job in the index of its month. Noting it twice does no harm.
    ///
    /// # Errors
    /// When the line can't be written.
    pub fn index_end(&self, ticket: &Ticket, result: &JobResult) -> Result<(), StoreError> {
        let line = Line::Ended {
            end_of: ticket.clone(),
            end: result.into(),
        };
        self.append(&ticket.month(), &line, || {
            self.rebuild_index(&ticket.month())
        })
    }

    /// Notes an accepted job, for a caller who holds the lock behind which jobs are accepted.
    pub(super) fn index_accepted(&self, job: &Job) -> Result<(), StoreError> {
        let month = job.ticket.month();
        let latest = match self.entries(&month, |_| self.write_index(&month)) {
            Ok(mut entries) => entries.latest()?,
            Err(error) => return Err(error),
        };
        let line = Line::accepted(job.into(), latest.as_deref());
        self.append(&month, &line, || self.write_index(&month))
    }

    /// The jobs in the index beside a month's folders, the newest first.
    ///
    /// # Errors
    /// When the index is missing and can't be built, or can't be opened.
    pub(super) fn active_entries(&self, month: &Month) -> Result<Entries, StoreError> {
        self.entries(month, |month| self.rebuild_index(month))
    }

    fn entries(
        &self,
        month: &Month,
        build: impl FnOnce(&Month) -> Result<Option<File>, StoreError>,
    ) -> Result<Entries, StoreError> {
        let path = self.index(month);
        let file = match File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => build(month)?,
            Err(error) => return Err(StoreError::record(&path)(error)),
        };
        let lines = match file {
            Some(file) => {
                let end = file.metadata().map_err(StoreError::record(&path))?.len();
                Some(Backwards::new(file, 0, end))
            }
            None => None,
        };
        Ok(Entries {
            path,
            lines,
            ends: HashMap::new(),
            waiting: BTreeMap::new(),
            bound: None,
        })
    }

    /// Fills in where the lines of these jobs begin in the index of their month.
    pub(super) fn read_orders(
        &self,
        month: &Month,
        orders: &mut HashMap<Ticket, u64>,
    ) -> Result<(), StoreError> {
        let path = self.index(month);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::record(&path)(error)),
        };
        let mut at = 0;
        let mut line = Vec::new();
        let mut lines = BufReader::with_capacity(256 * 1024, file);
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line);
            let read = read.map_err(StoreError::record(&path))?;
            if read == 0 {
                return Ok(());
            }
            let ticket = line.strip_prefix(ACCEPTED).and_then(|rest| rest.get(..28));
            let ticket = ticket.and_then(|ticket| Ticket::parse(str::from_utf8(ticket).ok()?).ok());
            if let Some(order) = ticket.and_then(|ticket| orders.get_mut(&ticket)) {
                *order = at;
            }
            at += to_u64(read);
        }
    }

    /// How a job ended, as far as the index knows.
    ///
    /// # Errors
    /// When the index can't be read.
    pub fn indexed_end(&self, ticket: &Ticket) -> Result<Option<Ended>, StoreError> {
        for entry in self.active_entries(&ticket.month())? {
            let entry = entry?;
            if entry.accepted.ticket == *ticket {
                return Ok(entry.ended);
            }
        }
        Ok(None)
    }

    fn index(&self, month: &Month) -> PathBuf {
        self.month(month).join("index")
    }

    /// Appends a line; an index that is not there is made whole by `build` first.
    fn append(
        &self,
        month: &Month,
        line: &Line,
        build: impl Fn() -> Result<Option<File>, StoreError>,
    ) -> Result<(), StoreError> {
        let path = self.index(month);
        if !path.exists() {
            build()?;
        }
        let append = || -> io::Result<()> {
            let mut text = serde_json::to_vec(line)?;
            text.push(b'\n');
            // A line that a crash has torn must not swallow the one that comes after it.
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)?;
            let length = file.metadata()?.len();
            let mut last = [b'\n'];
            if length > 0 {
                file.read_exact_at(&mut last, length - 1)?;
            }
            if last != [b'\n'] {
                text.insert(0, b'\n');
            }
            file.write_all(&text)?;
            file.sync_data()
        };
        append().map_err(StoreError::record(&path))
    }

    /// Builds the index of a month from its folders while nobody accepts a job: one that is in the
    /// middle of that would be missed. `None` when there is no such month.
    fn rebuild_index(&self, month: &Month) -> Result<Option<File>, StoreError> {
        if !self.month(month).exists() {
            return Ok(None);
        }
        let lock_path = self.accept_lock();
        let _nobody_accepts =
            Lock::exclusive(&lock_path).map_err(StoreError::record(&lock_path))?;
        self.write_index(month)
    }

    /// Builds the index of a month, for a caller who holds the lock behind which jobs are accepted.
    fn write_index(&self, month: &Month) -> Result<Option<File>, StoreError> {
        let folder = self.month(month);
        let names = match fs::read_dir(&folder) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::record(&folder)(error)),
        };
        let mut tickets: Vec<Ticket> = names
            .flatten()
            .filter_map(|name| Ticket::parse(name.file_name().to_str()?).ok())
            .collect();
        tickets.sort();
        let mut text = Vec::new();
        for ticket in tickets {
            let folder = self.job(&ticket);
            // A damaged record is left out of the list; its ticket says what is wrong with it.
            let Ok(Some(job)) = folder.job() else {
                continue;
            };
            push_line(&mut text, &Line::accepted((&job).into(), None))?;
            if let Ok(Some(result)) = folder.result() {
                push_line(
                    &mut text,
                    &Line::Ended {
                        end_of: ticket,
                        end: (&result).into(),
                    },
                )?;
            }
        }
        let path = self.index(month);
        match crate::atomicfile::create(&path, &text, 0o600) {
            Ok(()) => {}
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::record(&path)(error)),
        }
        File::open(&path)
            .map(Some)
            .map_err(StoreError::record(&path))
    }
}

fn push_line(text: &mut Vec<u8>, line: &Line) -> Result<(), StoreError> {
    serde_json::to_writer(&mut *text, line)
        .map_err(|error| StoreError::record(Path::new("index"))(error.into()))?;
    text.push(b'\n');
    Ok(())
}

/// The jobs of a month, the newest first, read from the end of the index.
#[derive(Debug)]
pub(super) struct Entries {
    path: PathBuf,
    lines: Option<Backwards>,
    /// Ends whose jobs have not come yet.
    ends: HashMap<Ticket, Ended>,
    /// Jobs before which others may have to come.
    waiting: BTreeMap<(String, u64), Entry>,
    /// No line that was not read is of a later second than this one; `None` before the first.
    bound: Option<String>,
}

impl Entries {
    /// The latest second that any line names.
    fn latest(&mut self) -> Result<Option<String>, StoreError> {
        while self.bound.is_none() && self.read_line()? {}
        Ok(self.bound.take())
    }

    /// Reads the line before those that were read; `false` when there is none.
    fn read_line(&mut self) -> Result<bool, StoreError> {
        let Some(lines) = &mut self.lines else {
            return Ok(false);
        };
        let line = lines.previous().map_err(StoreError::record(&self.path))?;
        let Some((order, line)) = line else {
            self.lines = None;
            return Ok(false);
        };
        match serde_json::from_slice(&line) {
            Ok(Line::Ended { end_of, end }) => {
                self.ends.entry(end_of).or_insert(end);
            }
            Ok(Line::Accepted { accepted, behind }) => {
                let second = accepted.ticket.second().to_owned();
                self.bound = Some(behind.unwrap_or_else(|| second.clone()));
                let entry = Entry {
                    ended: self.ends.remove(&accepted.ticket),
                    accepted,
                    order,
                    origin: Origin::Active,
                };
                self.waiting.insert((second, order), entry);
            }
            Err(_) => {}
        }
        Ok(true)
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // Of one second, a line that was read later was accepted earlier.
            if let Some(last) = self.waiting.last_entry()
                && (self.lines.is_none() || self.bound.as_deref() <= Some(last.key().0.as_str()))
            {
                return Some(Ok(last.remove()));
            }
            match self.read_line() {
                Ok(false) if self.waiting.is_empty() => return None,
                Ok(_) => {}
                Err(error) => {
                    self.lines = None;
                    self.waiting.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}
