//! What can truthfully be said about a job right now.

use super::{Jobs, reconcile};
use crate::clock;
use crate::names::{Ticket, UserName};
use crate::runner::GRACE;
use crate::runner::process::Identity;
use crate::store::StoreError;
use crate::store::record::{Cancel, Job, JobFolder, JobResult, read_json};
use rustix::process::Signal;

/// A job and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The job as it was accepted.
    pub job: Job,
    /// Its state.
    pub state: State,
}

/// The state of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// Barman runs.
    Running,
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
        let folder = self.store.job(ticket);
        let Some(job) = folder.job()? else {
            return Ok(None);
        };
        let state = self.state(&folder)?;
        Ok(Some(View { job, state }))
    }

    /// The state of a job that is recorded.
    ///
    /// # Errors
    /// When its records can't be read.
    pub fn state(&self, folder: &JobFolder) -> Result<State, StoreError> {
        if let Some(result) = folder.result()? {
            return Ok(State::Ended(result));
        }
        if folder.is_supervised()? {
            let started = folder.process().exists();
            return Ok(if started {
                State::Running
            } else {
                State::Queued
            });
        }
        // The supervisor is gone: it has recorded the end since, or it never will.
        reconcile::look_at(&self.store, folder)?;
        match folder.result()? {
            Some(result) => Ok(State::Ended(result)),
            None if folder.is_supervised()? => Ok(State::Running),
            None => Ok(State::LostRunning),
        }
    }

    /// Asks to stop a job, in whatever state it is. One that has ended stays as it is.
    ///
    /// # Errors
    /// When the request can't be written or the process not be signalled.
    pub fn cancel(&self, ticket: &Ticket, user: &UserName) -> Result<(), StoreError> {
        let folder = self.store.job(ticket);
        match self.state(&folder)? {
            State::Ended(_) => Ok(()),
            State::Queued | State::Running => folder.request_cancel(&Cancel {
                user: user.clone(),
                at: clock::text(clock::now()),
            }),
            State::LostRunning => stop_without_supervisor(&folder),
        }
    }
}

/// Stops what a dead supervisor left running, as the supervisor would have done.
fn stop_without_supervisor(folder: &JobFolder) -> Result<(), StoreError> {
    let Some(identity) = read_json::<Identity>(&folder.process())? else {
        return Ok(());
    };
    let failed = |source| StoreError::Record {
        path: folder.process(),
        source,
    };
    identity.signal_group(Signal::INT).map_err(failed)?;
    std::thread::spawn(move || {
        std::thread::sleep(GRACE);
        if let Err(error) = identity.signal_group(Signal::KILL) {
            tracing::error!(%error, "a process without a supervisor can't be killed");
        }
    });
    Ok(())
}
