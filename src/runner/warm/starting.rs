//! How a parent is started: here, or through a session on another host.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::frame::{self, Frame};
use super::launcher::{self, LauncherError};
use super::parent::{Parent, Service};
use crate::runner::ssh::{self, LinkError, Talk};
use crate::runner::{Host, Plan};

/// What the parent runs.
const TEXT: &str = concat!(
    include_str!("../../../share/warm.py"),
    include_str!("../../../share/warm_child.py"),
    include_str!("../../../share/warm_memory.py"),
    include_str!("../../../share/warm_barman.py"),
    "\nmain()\n"
);

/// Reads the text that follows its length and runs it, so that no process list shows it.
const READER: &str = "import os;r=lambda n,b:b if len(b)>=n else r(n,b+(os.read(0,n-len(b))or os._exit(0)));\
    exec(compile(r(int(r(10,b'')),b''),'<barmanapi warm>','exec'))";

/// How long it may take until it is ready. It needs about 150 ms.
const READY: Duration = Duration::from_secs(60);

/// What a parent is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipe {
    /// Where it is.
    pub(super) host: Host,
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
    /// There is no way to its host.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It says that it can't do it.
    #[error("{0}")]
    Unusable(String),
    /// It ended before it was ready.
    #[error("its Python ended before it was ready")]
    Ended,
}

/// Ends a parent's process, which nobody may have waited for.
#[derive(Debug, Clone)]
pub(super) enum Killer {
    Here(Pid),
    There(ssh::End),
}

impl Killer {
    /// Not once it was waited for: its number may be another's then.
    pub(super) fn kill(&self) {
        match self {
            Self::Here(pid) => {
                if let Err(error) = rustix::process::kill_process(*pid, Signal::KILL) {
                    tracing::debug!(%error, "the warm barman has ended already");
                }
            }
            Self::There(end) => end.now(),
        }
    }

    /// Waits for something that the process does, and kills it when that takes longer than `limit`.
    fn within<T>(&self, limit: Duration, wait: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            let (done, ends) = mpsc::channel::<()>();
            scope.spawn(move || {
                if ends.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                    self.kill();
                }
            });
            let waited = wait();
            drop(done);
            waited
        })
    }
}

/// What is left of a parent's process once it is killed.
#[derive(Debug)]
pub(super) enum Process {
    Here(Child),
    There(ssh::Held),
}

impl Process {
    /// Waits until nothing is left of it.
    pub(super) fn wait(self) {
        match self {
            // How it ended says nothing more.
            Self::Here(mut child) => drop(child.wait()),
            Self::There(held) => held.wait(),
        }
    }
}

impl Recipe {
    /// The words of the parent's process, by how the launcher begins.
    fn words(&self, launcher: &[u8]) -> Result<Vec<OsString>, NoParent> {
        let mut words = launcher::interpreter(&self.program, launcher)?;
        words.extend(["-c", READER].map(OsString::from));
        words.push(self.program.clone().into_os_string());
        words.push(self.idle.as_secs_f64().to_string().into());
        words.push(self.commands.clone().into());
        Ok(words)
    }

    fn start_here(&self) -> Result<Child, NoParent> {
        let words = self.words(&launcher::start(&self.program)?)?;
        let (program, words) = words.split_first().ok_or(NoParent::Ended)?;
        Command::new(program)
            .args(words)
            .env_clear()
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(NoParent::Start)
    }

    /// A plan that says all of it that another host is told at first.
    fn plan(&self) -> Plan {
        Plan {
            program: self.program.clone(),
            arguments: Vec::new(),
            environment: self.environment.clone(),
            stdout: PathBuf::new(),
            stderr: PathBuf::new(),
            record: None,
        }
    }
}

/// A started parent that is not ready yet.
#[derive(Debug)]
pub(super) struct Starting {
    process: Process,
    killer: Killer,
    input: File,
    answers: BufReader<File>,
}

impl Starting {
    /// Starts a parent.
    ///
    /// # Errors
    /// When the launcher tells no Python, or it can't be started.
    pub(super) fn start(recipe: &Recipe) -> Result<Self, NoParent> {
        match &recipe.host {
            Host::Here => {
                let mut child = recipe.start_here()?;
                let killer = Killer::Here(Pid::from_child(&child));
                let (Some(input), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
                    return Err(NoParent::Ended);
                };
                Ok(Self {
                    process: Process::Here(child),
                    killer,
                    input: File::from(OwnedFd::from(input)),
                    answers: BufReader::new(File::from(OwnedFd::from(answers))),
                })
            }
            Host::There(link) => {
                let mut talk = Talk::open(link, &recipe.plan())?;
                let killer = Killer::There(talk.end.clone());
                killer.within(READY, || talk.introduce(|launcher| recipe.words(launcher)))?;
                let (input, answers, _, held) = talk.split();
                Ok(Self {
                    process: Process::There(held),
                    killer,
                    input,
                    answers,
                })
            }
        }
    }

    /// Waits until it is ready, and returns what is needed to serve it.
    ///
    /// # Errors
    /// When it says that it can't, or ends.
    pub(super) fn ready(self, recipe: Recipe) -> Result<(Arc<Parent>, Service), NoParent> {
        let Self {
            process,
            killer,
            mut input,
            mut answers,
        } = self;
        let first = killer.within(READY, || {
            let text = format!("{:010}{TEXT}", TEXT.len());
            input.write_all(text.as_bytes())?;
            frame::read(&mut answers)
        });
        if matches!(first, Ok(Some(Frame::Ready))) {
            let parent = Arc::new(Parent::new(recipe, input, killer));
            let service = Service::new(Arc::clone(&parent), process, answers);
            return Ok((parent, service));
        }
        killer.kill();
        process.wait();
        Err(match first {
            Ok(Some(Frame::Unusable(why))) => NoParent::Unusable(why),
            _ => NoParent::Ended,
        })
    }
}
