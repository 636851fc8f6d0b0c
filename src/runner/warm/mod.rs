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

use std::fs;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Ending, GRACE, Host, Plan, StartError, Stop};
use parent::{Begun, Parent, Recipe, Starting};
use progress::{Answer, End, Progress};

/// How long a parent without work is kept.
pub const IDLE: Duration = Duration::from_secs(600);

/// How long it is left at that after no parent could be made.
const PAUSE: Duration = Duration::from_secs(30);

/// The same after files were replaced, or while they are.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

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
    /// Why there was none, as the log was told.
    said: Option<String>,
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
        let mut state = self.state();
        state.on = on;
        if !on && let Known::Ready(parent) = std::mem::replace(&mut state.parent, Known::None) {
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
                if why == Answer::Outdated {
                    self.replace(&parent);
                }
                Ok(None)
            }
        }
    }

    /// A later command makes another parent; this one ends with the last of its runs.
    fn replace(&self, parent: &Arc<Parent>) {
        let mut state = self.state();
        if is_same(&state.parent, parent) {
            tracing::info!(
                "barman was replaced, or its warm parent has grown: another one is made"
            );
            // Files that change all the time must not cost more than they would without a parent.
            state.parent = Known::Not(Instant::now() + SHORT_PAUSE);
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
        state.parent = if served.is_ok() {
            Known::Starting
        } else {
            self.0.serving.fetch_sub(1, Ordering::AcqRel);
            Known::Not(Instant::now() + PAUSE)
        };
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
            let mut state = warm.state();
            if is_same(&state.parent, &parent) {
                state.parent = Known::None;
            }
        });
    }

    /// No parent for a while; the log is told of a reason once.
    fn do_without(&self, why: &str) {
        let mut state = self.state();
        let passing = why.ends_with("is being replaced");
        let pause = if passing { SHORT_PAUSE } else { PAUSE };
        if matches!(state.parent, Known::Starting) {
            state.parent = Known::Not(Instant::now() + pause);
        }
        if !passing && state.said.as_deref() != Some(why) {
            tracing::warn!(%why, "barman can't be kept warm: each command starts it anew");
            state.said = Some(why.to_owned());
        }
    }
}

fn is_same(known: &Known, parent: &Arc<Parent>) -> bool {
    matches!(known, Known::Ready(known) if Arc::ptr_eq(known, parent))
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
        if let Some((_, since)) = self.stopping
            && !self.killed
            && since.elapsed() >= GRACE
        {
            self.killed = true;
            self.parent.signal(self.number, Signal::KILL)?;
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
