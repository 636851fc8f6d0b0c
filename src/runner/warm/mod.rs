//! Commands that only read, from a Barman that is started already.
//!
//! Barman takes 80 ms to import and 5 to 20 to answer. A parent process of its own Python
//! (`share/warm.py`) has it imported, and forks a child for each command; the child runs Barman's
//! own launcher, so that it prints, logs, locks and returns what a plain start would. The first
//! command starts the parent and does not wait for it; where there is none, or it does not take a
//! command, the plain start is the way.

mod frame;
mod launcher;
mod parent;
mod progress;
mod starting;

use std::fs;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Ending, GRACE, Host, Plan, StartError, Stop};
use parent::{BEGINNING, Begun, Parent};
use progress::{Answer, End, Progress};
use starting::{Recipe, Starting};

/// How long a parent without work is kept.
pub const IDLE: Duration = Duration::from_secs(600);

/// How long it is left at that when no parent could be made, or one did not last; twice as long
/// each time until [`LONGEST_PAUSE`]. To make one costs as much as a plain start, so what fails
/// again and again must not be tried for each command.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest such time.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A parent that lived so long did last.
const LASTING: Duration = Duration::from_secs(10);

/// So often files may be found while they are being replaced before the log is told.
const UPGRADE: u32 = 6;

/// How often it is looked whether a parent has ended.
const TICK: Duration = Duration::from_millis(5);

/// The warm parent, when there is one.
#[derive(Debug, Clone)]
pub struct Warm(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The commands that it may be asked for, with commas between.
    commands: String,
    idle: Duration,
    state: Mutex<State>,
    /// Threads that make or serve a parent.
    serving: AtomicUsize,
}

#[derive(Debug)]
struct State {
    on: bool,
    parent: Known,
    /// How often there was none, or none that lasted, without a break.
    failures: u32,
    /// Why there was none, as the log was told.
    said: Option<String>,
}

impl State {
    /// No parent for a while.
    fn pause(&mut self) {
        let longer = 1 << self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        self.parent = Known::Not(Instant::now() + LONGEST_PAUSE.min(FIRST_PAUSE * longer));
    }

    /// The same if this is the parent that there was.
    fn lost(&mut self, parent: &Arc<Parent>) -> bool {
        let was = matches!(&self.parent, Known::Ready(known) if Arc::ptr_eq(known, parent));
        if was && parent.since.elapsed() >= LASTING {
            self.failures = 0;
            self.parent = Known::None;
        } else if was {
            self.pause();
        }
        was
    }
}

#[derive(Debug)]
enum Known {
    None,
    Starting,
    Ready(Arc<Parent>),
    Not(Instant),
}

/// A run that ended with its parent: nothing is known of its end, and it may begin anew.
#[derive(Debug, thiserror::Error)]
#[error("the warm barman is gone")]
pub struct Gone;

impl Warm {
    /// For these commands, which must only read; nothing is started yet. A parent without work for
    /// as long as `idle` ends.
    #[must_use]
    pub fn new(commands: &[String], idle: Duration) -> Self {
        Self(Arc::new(Inner {
            commands: commands.join(","),
            idle,
            state: Mutex::new(State {
                on: false,
                parent: Known::None,
                failures: 0,
                said: None,
            }),
            serving: AtomicUsize::new(0),
        }))
    }

    /// Switches it off and waits at most `limit` until no parent is left.
    pub fn end(&self, limit: Duration) {
        self.switch(false);
        let until = Instant::now() + limit;
        while self.0.serving.load(Ordering::Acquire) > 0 && Instant::now() < until {
            std::thread::sleep(TICK);
        }
    }

    /// Switches it on or off; off, there is no parent.
    pub fn switch(&self, on: bool) {
        let parent = {
            let mut state = self.state();
            if state.on == on {
                return;
            }
            state.on = on;
            state.failures = 0;
            std::mem::replace(&mut state.parent, Known::None)
        };
        if let Known::Ready(parent) = parent {
            // What it runs begins anew, plainly.
            parent.kill();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a program from the warm parent; `None` when there is none, or it does not take it: the
    /// plain start is the way then.
    ///
    /// # Errors
    /// When there is no room for its output.
    pub fn start(&self, host: &Host, plan: &Plan) -> Result<Option<Run>, StartError> {
        let Some(parent) = self.parent_for(host, plan) else {
            return Ok(None);
        };
        match parent.begin(plan).inspect_err(|_| discard(plan))? {
            Begun::Yes(number, progress) => Ok(Some(Run {
                parent,
                number,
                progress,
                started: Instant::now(),
                stopping: None,
                killed: false,
                ended: false,
            })),
            Begun::No(why) => {
                discard(plan);
                if why != Answer::Refused && self.state().lost(&parent) && why == Answer::Outdated {
                    tracing::info!(
                        "barman was replaced, or its warm parent has grown: another one is made"
                    );
                }
                Ok(None)
            }
        }
    }

    /// The parent that can start this program. Where none was made yet, that begins now.
    fn parent_for(&self, host: &Host, plan: &Plan) -> Option<Arc<Parent>> {
        if plan.record.is_some() {
            return None;
        }
        let mut state = self.state();
        let wanted = |parent: &Parent| {
            parent.recipe.host == *host
                && parent.recipe.program == plan.program
                && parent.recipe.environment == plan.environment
        };
        match &state.parent {
            _ if !state.on => return None,
            Known::Not(until) if Instant::now() < *until => return None,
            Known::Ready(parent) if wanted(parent) => return Some(Arc::clone(parent)),
            Known::Starting | Known::Ready(_) => return None,
            Known::Not(_) | Known::None => {}
        }
        let recipe = Recipe {
            host: host.clone(),
            program: plan.program.clone(),
            environment: plan.environment.clone(),
            commands: self.0.commands.clone(),
            idle: self.0.idle,
        };
        let warm = self.clone();
        let thread = std::thread::Builder::new().name("barmanapi-warm".to_owned());
        self.0.serving.fetch_add(1, Ordering::AcqRel);
        let served = thread.spawn(move || {
            warm.serve(recipe);
            warm.0.serving.fetch_sub(1, Ordering::AcqRel);
        });
        if served.is_ok() {
            state.parent = Known::Starting;
        } else {
            self.0.serving.fetch_sub(1, Ordering::AcqRel);
            state.pause();
        }
        None
    }

    /// Makes a parent and serves it to its end, in this thread.
    fn serve(&self, recipe: Recipe) {
        let made = Starting::start(&recipe).and_then(|starting| starting.ready(recipe));
        let (parent, service) = match made {
            Ok(made) => made,
            Err(error) => return self.do_without(&error.to_string()),
        };
        {
            let mut state = self.state();
            if state.on && matches!(state.parent, Known::Starting) {
                state.said = None;
                state.parent = Known::Ready(Arc::clone(&parent));
                tracing::info!("barman is kept warm for commands that only read");
            } else {
                // Switched off meanwhile.
                parent.kill();
            }
        }
        let warm = self.clone();
        service.run(move || {
            warm.state().lost(&parent);
        });
    }

    /// No parent for a while; the log is told of a reason once.
    fn do_without(&self, why: &str) {
        let mut state = self.state();
        if matches!(state.parent, Known::Starting) {
            state.pause();
        }
        // What is being installed will soon be there.
        let passing = why.ends_with("is being replaced") && state.failures < UPGRADE;
        if !passing && state.said.as_deref() != Some(why) {
            tracing::warn!(%why, "barman can't be kept warm: each command starts it anew");
            state.said = Some(why.to_owned());
        }
    }
}

/// Removes what a run that did not come to its end has left, since each start makes its own files.
pub fn discard(plan: &Plan) {
    for path in [&plan.stdout, &plan.stderr] {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a file for the output of a command can't be removed");
        }
    }
}

/// A running child of the warm parent.
#[derive(Debug)]
pub struct Run {
    parent: Arc<Parent>,
    number: u32,
    progress: Arc<Progress>,
    started: Instant,
    stopping: Option<(Stop, Instant)>,
    killed: bool,
    ended: bool,
}

impl Run {
    /// How long ago the program started.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Why the program is being stopped, once it is.
    #[must_use]
    pub fn stopped_by(&self) -> Option<Stop> {
        self.stopping.map(|(stop, _)| stop)
    }

    /// Waits at most `limit` for the end; `None` when the program still runs.
    ///
    /// # Errors
    /// With [`Gone`] when the parent is gone, and when the output can't be kept.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<Ending>> {
        if let Some((_, since)) = self.stopping {
            if !self.killed && since.elapsed() >= GRACE {
                self.killed = true;
                self.parent.signal(self.number, Signal::KILL)?;
            }
            if since.elapsed() >= GRACE + BEGINNING {
                // Its parent does not do what it is told.
                self.parent.kill();
            }
        }
        match self.progress.end_within(limit) {
            None => Ok(None),
            Some(End::Ended(ending)) => {
                self.ended = true;
                Ok(Some(ending))
            }
            // What the parent leaves is killed.
            Some(End::Gone | End::Refused(_)) if self.stopping.is_some() => {
                self.ended = true;
                Ok(Some(Ending::Signalled(Signal::KILL.as_raw())))
            }
            Some(End::Gone | End::Refused(_)) => {
                self.ended = true;
                Err(io::Error::other(Gone))
            }
            Some(End::Lost(error)) => Err(error),
        }
    }

    /// Begins to stop the program: SIGINT to its group now, SIGKILL after the grace. A second call
    /// changes nothing.
    ///
    /// # Errors
    /// When the parent can't be told.
    pub fn stop(&mut self, reason: Stop) -> io::Result<()> {
        if self.stopping.is_some() {
            return Ok(());
        }
        self.stopping = Some((reason, Instant::now()));
        self.parent.signal(self.number, Signal::INT)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Nobody waits for it any more. A parent that can't be told is about to end.
        if !self.ended && self.parent.signal(self.number, Signal::KILL).is_err() {
            self.parent.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_tried_less_and_less_often() {
        let warm = Warm::new(&[], IDLE);
        warm.switch(true);
        let pause = || {
            warm.state().parent = Known::Starting;
            let now = Instant::now();
            warm.do_without("it fails");
            match warm.state().parent {
                Known::Not(until) => until - now,
                _ => panic!("no pause"),
            }
        };
        let mut last = pause();
        assert!(last >= FIRST_PAUSE && last < FIRST_PAUSE * 2);
        for _ in 0..20 {
            let next = pause();
            assert!(next > last || next >= LONGEST_PAUSE, "{next:?}");
            last = next;
        }
        assert!(last < LONGEST_PAUSE * 2);
        warm.switch(false);
        warm.switch(true);
        assert!(pause() < FIRST_PAUSE * 2);
    }
}
