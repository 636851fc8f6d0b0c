//! What is known of one run: filled by who hears the parent, read by who waits.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::frame::Stream;
use crate::runner::process::Identity;
use crate::runner::{Ending, Plan, StartError, local};

/// One run.
#[derive(Debug)]
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    stdout: File,
    stderr: File,
    begun: bool,
    process: Option<Identity>,
    end: Option<End>,
}

/// How a run, or the knowledge of it, ended.
#[derive(Debug)]
pub(super) enum End {
    /// It ended.
    Ended(Ending),
    /// It was not begun, and why.
    Refused(String),
    /// Its parent is gone, and it with it.
    Gone,
    /// What it says can't be kept.
    Lost(io::Error),
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It runs.
    Begun,
    /// It does not: another way is taken.
    Refused,
    /// It does not, since the parent is older than what it was made of.
    Outdated,
    /// It does not, since there is no parent any more.
    Gone,
}

/// The word with which a parent that is outdated refuses.
const REPLACE: &str = "replace";

impl Progress {
    /// A run that is about to be asked for, with room for its output.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn new(plan: &Plan) -> Result<Arc<Self>, StartError> {
        let state = State {
            stdout: local::capture_file(&plan.stdout).map_err(StartError::Capture)?,
            stderr: local::capture_file(&plan.stderr).map_err(StartError::Capture)?,
            begun: false,
            process: None,
            end: None,
        };
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// It runs, as this process of this host if it is one.
    pub(super) fn begun(&self, pid: Option<i32>) {
        // One that has ended already is nobody to be signalled.
        let process = pid.and_then(|pid| Identity::of(pid).ok().flatten());
        self.change(|state| {
            state.begun = true;
            state.process = process;
        });
    }

    /// It says something. What can't be kept is its end.
    pub(super) fn keep(&self, stream: Stream, bytes: &[u8]) {
        let mut state = self.state();
        let file = match stream {
            Stream::Out => &mut state.stdout,
            Stream::Err => &mut state.stderr,
        };
        let kept = file.write_all(bytes);
        drop(state);
        if let Err(error) = kept {
            self.end(End::Lost(error));
        }
    }

    /// It has ended; the first word counts.
    pub(super) fn end(&self, end: End) {
        self.change(|state| {
            state.end.get_or_insert(end);
        });
    }

    /// Its parent is gone: what is left of it is ended, and nobody can say how it went.
    pub(super) fn lose(&self) {
        let process = self.state().process.take();
        if let Some(process) = process
            && let Err(error) = process.signal_group(Signal::KILL)
        {
            tracing::warn!(%error, "a command outlives the warm barman that it came from");
        }
        self.end(End::Gone);
    }

    fn wait<T>(&self, limit: Duration, mut look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let until = Instant::now() + limit;
        let mut state = self.state();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let found = look(&mut state);
            if found.is_some() || left.is_zero() {
                return found;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the answer to the request; `None` when none came in time.
    pub(super) fn answer_within(&self, limit: Duration) -> Option<Answer> {
        self.wait(limit, |state| match &state.end {
            Some(End::Refused(why)) if why == REPLACE => Some(Answer::Outdated),
            Some(End::Refused(why)) => {
                tracing::debug!(%why, "the warm barman does not take a command");
                Some(Answer::Refused)
            }
            Some(End::Gone) => Some(Answer::Gone),
            Some(End::Ended(_) | End::Lost(_)) => Some(Answer::Begun),
            None => state.begun.then_some(Answer::Begun),
        })
    }

    /// Waits for the end; `None` when it did not come in time. It is told once.
    pub(super) fn end_within(&self, limit: Duration) -> Option<End> {
        self.wait(limit, |state| state.end.take())
    }
}
