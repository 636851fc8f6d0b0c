//! What can truthfully be said about a job right now.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::{Jobs, reconcile, rotate};
use crate::clock;
use crate::names::{CommandName, Month, Scope, Ticket, UserName};
use crate::output::Kept;
use crate::runner::process::Identity;
use crate::store::StoreError;
use crate::store::archive::Archived;
use crate::store::index::Ended;
use crate::store::record::{
    Cancel, DataForm, EndState, Job, JobFolder, JobResult, Reason, read_json,
};
use rustix::process::Signal;

/// How long another process may take to record the end of a job that it found without supervisor.
const RECORDING: Duration = Duration::from_secs(5);

/// A job and its state, wherever its files are.
#[derive(Debug)]
pub struct View {
    /// The ticket.
    pub ticket: Ticket,
    /// The command's names, the canonical one first; none when nobody knows them any more.
    pub names: Vec<CommandName>,
    /// The servers it concerns; all when nobody knows them any more.
    pub scope: Scope,
    /// Who asked.
    pub user: Option<UserName>,
    /// When it was accepted, RFC 3339, UTC.
    pub accepted_at: String,
    /// The form in which the output is wanted beside its lines.
    pub data: DataForm,
    /// Its state.
    pub state: State,
    place: Place,
}

/// What was kept of the two outputs of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Of standard output.
    pub stdout: Vec<u8>,
    /// Of standard error.
    pub stderr: Vec<u8>,
}

/// Where the files of a job are.
#[derive(Debug)]
enum Place {
    /// In its folder.
    Folder(JobFolder),
    /// They were read from an archive.
    Archive(Outputs),
}

impl View {
    /// What was kept of standard output and standard error.
    ///
    /// `None` when the job was moved to an archive meanwhile: it has to be looked up again.
    ///
    /// # Errors
    /// When one is there and can't be read.
    pub fn outputs(&mut self) -> Result<Option<Outputs>, StoreError> {
        match &mut self.place {
            Place::Archive(outputs) => Ok(Some(std::mem::take(outputs))),
            Place::Folder(folder) => {
                let outputs = Outputs {
                    stdout: folder.output("stdout")?,
                    stderr: folder.output("stderr")?,
                };
                // The folder leaves its place at once: what was read while it is still there was
                // read from it.
                Ok(folder.path().exists().then_some(outputs))
            }
        }
    }

    /// When Barman was started, RFC 3339, UTC; `None` = it was not, or that is part of the end.
    #[must_use]
    pub fn started_at(&self) -> Option<String> {
        match &self.place {
            Place::Folder(folder) => folder.started_at(),
            Place::Archive(_) => None,
        }
    }

    fn active(job: Job, state: State, folder: JobFolder) -> Self {
        Self {
            ticket: job.ticket,
            names: job.names,
            scope: job.scope,
            user: Some(job.user),
            accepted_at: job.accepted_at,
            data: job.data,
            state,
            place: Place::Folder(folder),
        }
    }

    fn archived(ticket: &Ticket, archived: Archived) -> Self {
        match archived {
            Archived::Whole(whole) => Self {
                ticket: whole.job.ticket,
                names: whole.job.names,
                scope: whole.job.scope,
                user: Some(whole.job.user),
                accepted_at: whole.job.accepted_at,
                data: whole.job.data,
                state: State::Ended(whole.result),
                place: Place::Archive(Outputs {
                    stdout: whole.stdout,
                    stderr: whole.stderr,
                }),
            },
            Archived::Damaged { accepted, ended } => {
                let end = ended.map_or_else(
                    || end_not_known(ticket.accepted_at()),
                    |known| JobResult {
                        reason: known.reason.or(Some(Reason::RecordDamaged)),
                        ..end_by_index(known)
                    },
                );
                let (names, scope, user) = match accepted {
                    Some(known) => (known.names, known.scope, Some(known.user)),
                    None => (Vec::new(), Scope::All, None),
                };
                Self {
                    ticket: ticket.clone(),
                    names,
                    scope,
                    user,
                    accepted_at: ticket.accepted_at(),
                    data: DataForm::Lines,
                    state: State::Ended(end),
                    place: Place::Archive(Outputs::default()),
                }
            }
        }
    }
}

/// The state of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// Barman runs.
    Running {
        /// Whether its host can be reached; while it can't, the state is the last one known.
        reachable: bool,
    },
    /// The supervisor died and Barman still runs; how it will end can't be known.
    LostRunning,
    /// It ended.
    Ended(JobResult),
}

impl Jobs {
    /// The job of a ticket; `None` when there is no such job.
    ///
    /// # Errors
    /// When its records can't be read.
    pub fn view(&self, ticket: &Ticket) -> Result<Option<View>, StoreError> {
        if let Some(view) = self.active(ticket)? {
            return Ok(Some(view));
        }
        let limit = self.limits().output_limit;
        if let Some(archived) = self.store.archived(ticket, limit)? {
            return Ok(Some(View::archived(ticket, archived)));
        }
        // It may have been accepted meanwhile.
        self.active(ticket)
    }

    fn active(&self, ticket: &Ticket) -> Result<Option<View>, StoreError> {
        let folder = self.store.job(ticket);
        let Some(job) = folder.job()? else {
            return Ok(None);
        };
        let state = self.state(&folder)?;
        Ok(state.map(|state| View::active(job, state, folder)))
    }

    /// Whether what there was of a month has been removed because it was too old.
    ///
    /// # Errors
    /// When it can't be told which months there are.
    pub fn is_gone(&self, month: &Month) -> Result<bool, StoreError> {
        let current = Month::of(clock::now());
        let expiry = rotate::Expiry::of(&self.store, self.limits().keep_months, &current)?;
        Ok(expiry.is_over(month)
            && !self.store.archive(month).exists()
            && !self.store.month(month).exists())
    }

    /// The state of a job; `None` when it was never recorded, or is no more.
    ///
    /// # Errors
    /// When its records can't be read. A damaged record of its end is no error: the state is then
    /// what else is known of the end.
    pub fn state(&self, folder: &JobFolder) -> Result<Option<State>, StoreError> {
        if let Some(result) = self.end(folder)? {
            return Ok(Some(State::Ended(result)));
        }
        if folder.is_supervised()? {
            return Ok(Some(supervised(folder)));
        }
        // The supervisor is gone: it has recorded the end since, or it never will.
        match reconcile::look_at(&self.store, folder) {
            Err(error) if error.is_unwritable() => return self.unwritten(folder),
            looked => looked?,
        }
        match self.end(folder)? {
            Some(result) => Ok(Some(State::Ended(result))),
            None if !folder.path().exists() => Ok(None),
            None => self.unrecorded(folder),
        }
    }

    /// The state of a job without a supervisor while the store takes no record of its end. One on
    /// another host goes on there.
    fn unwritten(&self, folder: &JobFolder) -> Result<Option<State>, StoreError> {
        if let Some(result) = self.end(folder)? {
            return Ok(Some(State::Ended(result)));
        }
        if self.store.abroad(folder.ticket())?.is_some() {
            return Ok(Some(supervised(folder)));
        }
        Ok(Some(reconcile::lost(folder)?.map_or(
            State::LostRunning,
            |lost| {
                let incomplete = Kept {
                    incomplete: true,
                    ..Kept::default()
                };
                State::Ended(JobResult {
                    stdout: incomplete,
                    stderr: incomplete,
                    ..lost
                })
            },
        )))
    }

    /// The state of a job that has no supervisor and no recorded end after it was looked at:
    /// Barman runs on, or somebody else is recording the end right now.
    fn unrecorded(&self, folder: &JobFolder) -> Result<Option<State>, StoreError> {
        let unknown = |source| StoreError::Record {
            path: folder.process(),
            source,
        };
        if self.store.abroad(folder.ticket())?.is_some() {
            // It has a supervisor again, or will have one as soon as one can be started.
            return Ok(Some(supervised(folder)));
        }
        let identity = read_json::<Identity>(&folder.process())?;
        let runs = identity.map(|identity| identity.is_alive()).transpose();
        if runs.map_err(unknown)?.unwrap_or(false) {
            return Ok(Some(State::LostRunning));
        }
        let since = Instant::now();
        loop {
            if let Some(result) = self.end(folder)? {
                return Ok(Some(State::Ended(result)));
            }
            if since.elapsed() > RECORDING {
                let words = "its end is being recorded; ask again";
                return Err(unknown(io::Error::other(words)));
            }
            std::thread::sleep(Duration::from_millis(5));
            match reconcile::look_at(&self.store, folder) {
                Err(error) if error.is_unwritable() => return self.unwritten(folder),
                looked => looked?,
            }
        }
    }

    /// How a job ended; `None` when that is not recorded.
    fn end(&self, folder: &JobFolder) -> Result<Option<JobResult>, StoreError> {
        match folder.result() {
            Err(error) if error.is_damaged() => {
                tracing::error!(%error, ticket = %folder.ticket(), "the record of an end is damaged");
                let known = self.store.indexed_end(folder.ticket())?;
                Ok(Some(known.map_or_else(
                    || end_not_known(written_at(folder)),
                    end_by_index,
                )))
            }
            result => result,
        }
    }

    /// Asks to stop a job, in whatever state it is. One that has ended stays as it is.
    ///
    /// # Errors
    /// When the request can't be written or the process not be signalled.
    pub fn cancel(&self, ticket: &Ticket, user: &UserName) -> Result<(), StoreError> {
        let folder = self.store.job(ticket);
        let wish = Cancel {
            user: user.clone(),
            at: clock::text(clock::now()),
        };
        match self.state(&folder)? {
            None | Some(State::Ended(_)) => Ok(()),
            Some(State::Queued | State::Running { .. }) => folder.request_cancel(&wish),
            // Whoever asked first has begun it; whoever looks after lost jobs brings it to its end.
            Some(State::LostRunning) if folder.cancelled_for().is_some() => Ok(()),
            Some(State::LostRunning) => {
                if !folder.orphaned().exists() {
                    interrupt_without_supervisor(&folder)?;
                }
                folder.request_cancel(&wish)
            }
        }
    }
}

/// The state of a job that has not ended and is looked after.
fn supervised(folder: &JobFolder) -> State {
    if folder.orphaned().exists() {
        State::LostRunning
    } else if folder.process().exists() {
        State::Running {
            reachable: !folder.unreachable().exists(),
        }
    } else {
        State::Queued
    }
}

/// Begins to stop what a dead supervisor left running, as the supervisor would have done.
fn interrupt_without_supervisor(folder: &JobFolder) -> Result<(), StoreError> {
    let Some(identity) = read_json::<Identity>(&folder.process())? else {
        return Ok(());
    };
    identity
        .signal_group(Signal::INT)
        .map_err(|source| StoreError::Record {
            path: folder.process(),
            source,
        })
}

/// An end whose record is damaged, as the index has it.
fn end_by_index(known: Ended) -> JobResult {
    JobResult {
        state: known.state,
        exit_code: known.exit_code,
        signal: known.signal,
        reason: known.reason,
        detail: Some("the record of its end is damaged; this is what the index knows".to_owned()),
        started_at: known.started_at,
        ended_at: known.ended_at,
        duration_ms: None,
        stdout: Kept::default(),
        stderr: Kept::default(),
    }
}

/// When the damaged record of an end was written.
fn written_at(folder: &JobFolder) -> String {
    let file = fs::metadata(folder.file("result.json"));
    let written = file.and_then(|file| file.modified());
    clock::text(written.map_or_else(|_| clock::now(), Into::into))
}

/// An end whose record is damaged and that no index knows.
fn end_not_known(ended_at: String) -> JobResult {
    JobResult {
        state: EndState::Lost,
        exit_code: None,
        signal: None,
        reason: Some(Reason::RecordDamaged),
        detail: Some("the record of its end is damaged; nobody knows how it ended".to_owned()),
        started_at: None,
        ended_at,
        duration_ms: None,
        stdout: Kept::default(),
        stderr: Kept::default(),
    }
}
