//! The index of a month: one line when a job is accepted, one when it ends.
//!
//! The folders of the jobs are the truth; the index only spares reading them all. It is written by
//! appending whole lines, read from its end, and built again from the folders when it is missing.
//! A line that is torn is left out: its job is still found by its ticket, and a torn line of an end
//! makes the reader look into the folder.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::{EndState, Job, JobResult};
use super::{Store, StoreError};
use crate::atomicfile::Lock;
use crate::names::{CommandName, Month, Scope, Ticket, UserName};

/// Bytes read at a time, from the end of the file backwards.
const BLOCK: u64 = 64 * 1024;

/// A job as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was accepted.
    pub accepted: Accepted,
    /// How it ended; `None` when the index does not know of an end.
    pub ended: Option<Ended>,
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

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Accepted(Accepted),
    Ended { end_of: Ticket, end: Ended },
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
        self.append(&month, &Line::Accepted(job.into()), || {
            self.write_index(&month)
        })
    }

    /// The jobs of a month, the newest first.
    ///
    /// # Errors
    /// When the index is missing and can't be built, or can't be opened.
    pub fn entries(&self, month: &Month) -> Result<Entries, StoreError> {
        let path = self.index(month);
        let file = match File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.rebuild_index(month)?,
            Err(error) => return Err(StoreError::record(&path)(error)),
        };
        let end = match &file {
            Some(file) => file.metadata().map_err(StoreError::record(&path))?.len(),
            None => 0,
        };
        Ok(Entries {
            path,
            file,
            start: end,
            rest: Vec::new(),
            ends: HashMap::new(),
        })
    }

    /// How a job ended, as far as the index knows.
    ///
    /// # Errors
    /// As for [`Store::entries`].
    pub fn indexed_end(&self, ticket: &Ticket) -> Result<Option<Ended>, StoreError> {
        for entry in self.entries(&ticket.month())? {
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
            push_line(&mut text, &Line::Accepted((&job).into()))?;
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
pub struct Entries {
    path: PathBuf,
    file: Option<File>,
    /// Where the part of the file begins that was read.
    start: u64,
    /// What was read and not handed out: whole lines after a first one that may be cut.
    rest: Vec<u8>,
    /// Ends whose jobs have not come yet.
    ends: HashMap<Ticket, Ended>,
}

impl Entries {
    /// The line before those handed out, without its end.
    fn previous_line(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        loop {
            if self.rest.last() == Some(&b'\n') {
                self.rest.pop();
            }
            if let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') {
                return Ok(Some(self.rest.split_off(end + 1)));
            }
            if self.start == 0 {
                let line = std::mem::take(&mut self.rest);
                return Ok((!line.is_empty()).then_some(line));
            }
            let Some(file) = &self.file else {
                return Ok(None);
            };
            let from = self.start.saturating_sub(BLOCK);
            let mut block = vec![0; usize::try_from(self.start - from).unwrap_or_default()];
            file.read_exact_at(&mut block, from)
                .map_err(StoreError::record(&self.path))?;
            block.append(&mut self.rest);
            self.rest = block;
            self.start = from;
        }
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.previous_line() {
                Ok(line) => line?,
                Err(error) => {
                    self.file = None;
                    self.start = 0;
                    return Some(Err(error));
                }
            };
            match serde_json::from_slice(&line) {
                Ok(Line::Ended { end_of, end }) => {
                    self.ends.entry(end_of).or_insert(end);
                }
                Ok(Line::Accepted(accepted)) => {
                    let ended = self.ends.remove(&accepted.ticket);
                    return Some(Ok(Entry { accepted, ended }));
                }
                Err(_) => {}
            }
        }
    }
}
