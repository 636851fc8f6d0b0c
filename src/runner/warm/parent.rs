//! One warm parent: its process, and the runs that are its children.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::frame::{self, Frame, Stream};
use super::launcher::{self, LauncherError};
use crate::runner::process::Identity;
use crate::runner::{Ending, Plan, StartError, local};

/// What the parent runs.
const TEXT: &str = include_str!("../../../share/warm.py");

/// Reads the text that follows its length and runs it, so that no process list shows it.
const READER: &str = "import os;r=lambda n,b:b if len(b)>=n else r(n,b+(os.read(0,n-len(b))or os._exit(0)));\
    exec(compile(r(int(r(10,b'')),b''),'<barmanapi warm>','exec'))";

/// How long a parent may take to begin a run. It needs about 2 ms.
const BEGINNING: Duration = Duration::from_secs(5);

/// What a parent is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipe {
    /// Barman's launcher.
    pub(super) program: PathBuf,
    /// The environment it is started with.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// The commands it takes.
    pub(super) commands: String,
    /// Without work for so long, it ends.
    pub(super) idle: Duration,
}

/// Why there is no parent.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoParent {
    /// The launcher tells no Python.
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    /// It can't be started.
    #[error("its Python can't be started: {0}")]
    Start(#[source] io::Error),
    /// It says that it can't do it.
    #[error("{0}")]
    Unusable(String),
    /// It ended before it was ready.
    #[error("its Python ended before it was ready")]
    Ended,
}

/// A parent that is ready.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) recipe: Recipe,
    input: Mutex<ChildStdin>,
    runs: Mutex<Runs>,
    pid: Pid,
}

#[derive(Debug, Default)]
struct Runs {
    last: u32,
    /// Nothing comes any more, and the process number may be another's.
    gone: bool,
    open: HashMap<u32, Arc<Progress>>,
}

/// What is known of one run.
#[derive(Debug)]
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    stdout: File,
    stderr: File,
    process: Option<Identity>,
    begun: bool,
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
#[derive(Debug)]
pub(super) enum Begun {
    /// It runs.
    Yes(u32, Arc<Progress>),
    /// It does not: another way is taken.
    No,
    /// It does not, since the parent is older than what it was made of.
    Outdated,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A started parent that is not ready yet.
#[derive(Debug)]
pub(super) struct Starting {
    child: Child,
    input: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Starting {
    /// Starts a parent.
    ///
    /// # Errors
    /// When the launcher tells no Python, or it can't be started.
    pub(super) fn start(recipe: &Recipe) -> Result<Self, NoParent> {
        let words = launcher::interpreter(&recipe.program)?;
        let (program, words) = words.split_first().ok_or(NoParent::Ended)?;
        let mut child = Command::new(program)
            .args(words)
            .args(["-c", READER])
            .arg(&recipe.program)
            .arg(recipe.idle.as_secs_f64().to_string())
            .arg(&recipe.commands)
            .env_clear()
            .envs(recipe.environment.iter().map(|(key, value)| (key, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(NoParent::Start)?;
        let (input, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(mut input), Some(answers)) = (input, answers) else {
            return Err(NoParent::Ended);
        };
        let text = format!("{:010}{TEXT}", TEXT.len());
        // One that ends at once is heard of below.
        drop(input.write_all(text.as_bytes()));
        Ok(Self {
            child,
            input,
            answers: BufReader::new(answers),
        })
    }

    /// Waits until it is ready, and returns what is needed to serve it.
    ///
    /// # Errors
    /// When it says that it can't, or ends.
    pub(super) fn ready(mut self, recipe: Recipe) -> Result<(Arc<Parent>, Service), NoParent> {
        let pid = Pid::from_child(&self.child);
        let first = frame::read(&mut self.answers);
        if matches!(first, Ok(Some(Frame::Ready))) {
            let parent = Arc::new(Parent {
                recipe,
                input: Mutex::new(self.input),
                runs: Mutex::default(),
                pid,
            });
            let service = Service {
                parent: Arc::clone(&parent),
                child: self.child,
                answers: self.answers,
            };
            return Ok((parent, service));
        }
        drop(self.input);
        drop(self.child.kill());
        drop(self.child.wait());
        Err(match first {
            Ok(Some(Frame::Unusable(why))) => NoParent::Unusable(why),
            _ => NoParent::Ended,
        })
    }
}

/// What takes a parent's answers, on a thread of its own.
#[derive(Debug)]
pub(super) struct Service {
    parent: Arc<Parent>,
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Service {
    /// Passes on what the parent says, until it says no more; `gone` is called then.
    pub(super) fn run(mut self, gone: impl FnOnce()) {
        while let Ok(Some(frame)) = frame::read(&mut self.answers) {
            self.parent.heard(frame);
        }
        let left = {
            let mut runs = held(&self.parent.runs);
            runs.gone = true;
            std::mem::take(&mut runs.open)
        };
        gone();
        drop(self.child.kill());
        for progress in left.into_values() {
            progress.lose();
        }
        drop(self.child.wait());
    }
}

impl Parent {
    /// Asks for a run, and waits until it has begun.
    ///
    /// # Errors
    /// When there is no room for its output.
    pub(super) fn begin(&self, plan: &Plan) -> Result<Begun, StartError> {
        let progress = Progress::new(plan)?;
        let number = {
            let mut runs = held(&self.runs);
            if runs.gone {
                return Ok(Begun::No);
            }
            runs.last = runs.last.wrapping_add(1);
            let number = runs.last;
            runs.open.insert(number, Arc::clone(&progress));
            number
        };
        let sent = frame::request(number, plan).map(|request| self.send(&request));
        let begun = match sent {
            Some(Ok(())) => progress.begun_within(BEGINNING),
            _ => Some(Begun::No),
        };
        match begun {
            Some(Begun::Yes(..)) => return Ok(Begun::Yes(number, progress)),
            Some(other) => {
                held(&self.runs).open.remove(&number);
                return Ok(other);
            }
            // It hangs, and so would everybody who asks it.
            None => self.kill(),
        }
        Ok(Begun::No)
    }

    /// Signals the group of a run.
    pub(super) fn signal(&self, number: u32, signal: Signal) -> io::Result<()> {
        let open = held(&self.runs).open.contains_key(&number);
        match self.send(&frame::signal(number, signal)) {
            // It ended, or its end is about to be heard of.
            Err(error) if !open || error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => sent,
        }
    }

    /// Nobody waits for this run any more.
    pub(super) fn abandon(&self, number: u32) {
        if held(&self.runs).open.contains_key(&number) {
            // One that is gone needs no signal.
            drop(self.send(&frame::signal(number, Signal::KILL)));
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        held(&self.input).write_all(bytes)
    }

    /// Ends the parent, and all that runs with it.
    pub(super) fn kill(&self) {
        let runs = held(&self.runs);
        if !runs.gone
            && let Err(error) = rustix::process::kill_process(self.pid, Signal::KILL)
        {
            tracing::debug!(%error, "the warm barman has ended already");
        }
    }

    fn heard(&self, frame: Frame) {
        match frame {
            Frame::Begun(number, pid) => self.tell(number, |state| {
                state.begun = true;
                // One that has ended already is nobody to be signalled.
                state.process = Identity::of(pid).ok().flatten();
            }),
            Frame::Output(number, stream, bytes) => {
                self.tell(number, |state| state.keep(stream, &bytes));
            }
            Frame::Refused(number, why) => self.end(number, End::Refused(why)),
            Frame::Ended(number, ending) => self.end(number, End::Ended(ending)),
            Frame::Ready | Frame::Unusable(_) => {}
        }
    }

    fn tell(&self, number: u32, change: impl FnOnce(&mut State)) {
        let progress = held(&self.runs).open.get(&number).cloned();
        if let Some(progress) = progress {
            change(&mut held(&progress.state));
            progress.changed.notify_all();
        }
    }

    fn end(&self, number: u32, end: End) {
        let progress = held(&self.runs).open.remove(&number);
        if let Some(progress) = progress {
            held(&progress.state).end.get_or_insert(end);
            progress.changed.notify_all();
        }
    }
}

impl State {
    fn keep(&mut self, stream: Stream, bytes: &[u8]) {
        let file = match stream {
            Stream::Out => &mut self.stdout,
            Stream::Err => &mut self.stderr,
        };
        if self.end.is_none()
            && let Err(error) = file.write_all(bytes)
        {
            self.end = Some(End::Lost(error));
        }
    }
}

impl Progress {
    fn new(plan: &Plan) -> Result<Arc<Self>, StartError> {
        let stdout = local::capture_file(&plan.stdout).map_err(StartError::Capture)?;
        let stderr = local::capture_file(&plan.stderr).map_err(StartError::Capture)?;
        let state = State {
            stdout,
            stderr,
            process: None,
            begun: false,
            end: None,
        };
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }))
    }

    /// Waits until the run has begun or won't; `None` when neither is known in time.
    fn begun_within(self: &Arc<Self>, limit: Duration) -> Option<Begun> {
        let until = Instant::now() + limit;
        let mut state = held(&self.state);
        loop {
            match &state.end {
                Some(End::Refused(why)) if why == "replace" => return Some(Begun::Outdated),
                Some(End::Refused(why)) => {
                    tracing::debug!(%why, "the warm barman does not take a command");
                    return Some(Begun::No);
                }
                Some(End::Gone) => return Some(Begun::No),
                Some(End::Ended(_) | End::Lost(_)) => {}
                None if state.begun => {}
                None => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            }
            return Some(Begun::Yes(0, Arc::clone(self)));
        }
    }

    /// Waits for the end; `None` when it did not come in time.
    pub(super) fn ended_within(&self, limit: Duration) -> Option<End> {
        let until = Instant::now() + limit;
        let mut state = held(&self.state);
        loop {
            if let Some(end) = state.end.take() {
                return Some(end);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The parent is gone: what it left is ended, and nobody can say how it went.
    fn lose(&self) {
        let mut state = held(&self.state);
        if let Some(process) = &state.process
            && let Err(error) = process.signal_group(Signal::KILL)
        {
            tracing::warn!(%error, "a command outlives the warm barman it came from");
        }
        state.end.get_or_insert(End::Gone);
        self.changed.notify_all();
    }
}
