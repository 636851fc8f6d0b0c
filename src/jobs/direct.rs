//! Short runs of commands that change nothing: no ticket, no supervisor, no record.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Jobs;
use crate::output::Kept;
use crate::runner::capture::Follower;
use crate::runner::ssh::LinkError;
use crate::runner::warm::{self, Warm};
use crate::runner::{Ending, Host, Plan, Run, StartError, Stop};
use crate::store::StoreError;
use crate::store::garbage::TemporaryFolder;

/// How often the output of a run is looked at.
const TICK: Duration = Duration::from_millis(100);

/// What to run.
#[derive(Debug, Clone)]
pub struct DirectRun {
    /// Where Barman runs.
    pub host: Host,
    /// Barman's program.
    pub program: PathBuf,
    /// Every argument after the program's name.
    pub arguments: Vec<String>,
    /// Whether standard output is wanted as the bytes it is, not as text.
    pub raw: bool,
}

/// How it went.
#[derive(Debug)]
pub enum Outcome {
    /// It ended within the limit.
    Finished(Finished),
    /// It did not, and is being stopped.
    TimedOut,
}

/// A run that ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub ending: Ending,
    /// Standard output, masked and capped; empty when it was wanted raw.
    pub stdout: Vec<u8>,
    /// What is known about standard output.
    pub kept_stdout: Kept,
    /// Standard error, masked and capped.
    pub stderr: Vec<u8>,
    /// What is known about standard error.
    pub kept_stderr: Kept,
    /// Standard output as it was written, when it was wanted raw. The file has no name any more.
    pub raw: Option<File>,
}

/// Why nothing ran, or nothing can be said about it.
#[derive(Debug, thiserror::Error)]
pub enum DirectError {
    /// Too many runs wait.
    #[error("too many commands wait for their turn")]
    Busy,
    /// Barman can't be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no place for its output.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its output or its end can't be read.
    #[error("a run can't be followed: {0}")]
    Follow(#[from] io::Error),
}

impl Jobs {
    /// Runs a command and waits for it, at most as long as a request may wait.
    ///
    /// # Errors
    /// When it can't be started or followed, or when no turn came within the limit.
    pub async fn run_directly(&self, run: DirectRun) -> Result<Outcome, DirectError> {
        let limits = self.limits();
        let limit = limits.sync_timeout;
        let until = Instant::now() + limit;
        let turn = self.direct.clone().acquire_owned();
        let turn = tokio::time::timeout(limit, turn)
            .await
            .map_err(|_| DirectError::Busy)?;
        let turn = turn.map_err(|_| DirectError::Busy)?;
        let jobs = self.clone();
        let (sender, outcome) = oneshot::channel();
        let span = tracing::Span::current();
        tokio::task::spawn_blocking(move || {
            span.in_scope(|| match jobs.garbage.folder() {
                Ok(folder) => {
                    run_in(&folder, &jobs.warm, run, limits.output_limit, until, sender);
                }
                // A request that is gone needs no answer.
                Err(error) => drop(sender.send(Err(error.into()))),
            });
            drop(turn);
        });
        outcome
            .await
            .map_err(|_| DirectError::Follow(io::Error::other("the run's thread died")))?
    }
}

/// Runs to the end in this thread; the waiting request hears of it as soon as there is an answer.
fn run_in(
    folder: &TemporaryFolder,
    warm: &Warm,
    run: DirectRun,
    output_limit: u64,
    until: Instant,
    sender: oneshot::Sender<Result<Outcome, DirectError>>,
) {
    let plan = Plan {
        program: run.program,
        arguments: run.arguments,
        environment: run.host.environment(),
        stdout: folder.path().join("stdout"),
        stderr: folder.path().join("stderr"),
        record: None,
    };
    // A request that is gone needs no answer.
    let answer = |outcome| drop(sender.send(outcome));
    let left = || until.saturating_duration_since(Instant::now());
    let refused = |error| match error {
        // The way to the host takes longer than anybody waits: a ticket can wait.
        StartError::Link(_) if left().is_zero() => Ok(Outcome::TimedOut),
        error => Err(error.into()),
    };
    let mut process = match start(warm, &run.host, &plan, left()) {
        Ok(process) => process,
        Err(error) => return answer(refused(error)),
    };
    let outputs = Outputs::open(&plan, run.raw, output_limit);
    let mut outputs = match outputs {
        Ok(outputs) => outputs,
        Err(error) => {
            answer(Err(error.into()));
            return stop(&mut process, None);
        }
    };
    loop {
        let left = left();
        match process.wait(left.min(outputs.rest())) {
            Ok(Some(ending)) => return answer(outputs.finish(ending).map_err(Into::into)),
            Ok(None) if left.is_zero() => {
                answer(Ok(Outcome::TimedOut));
                return stop(&mut process, Some(outputs));
            }
            Ok(None) => outputs.advance(),
            // It only reads, so it can begin anew, and plainly.
            Err(error) if is_gone(&error) => {
                warm::discard(&plan);
                process = match Run::start(&run.host, &plan, left) {
                    Ok(process) => process,
                    Err(error) => return answer(refused(error)),
                };
                outputs = match Outputs::open(&plan, run.raw, output_limit) {
                    Ok(outputs) => outputs,
                    Err(error) => {
                        answer(Err(error.into()));
                        return stop(&mut process, None);
                    }
                };
            }
            Err(error) => return answer(Err(cut(error))),
        }
    }
}

/// Starts Barman, from the one that is kept warm where there is one.
fn start(warm: &Warm, host: &Host, plan: &Plan, limit: Duration) -> Result<Run, StartError> {
    match warm.start(host, plan)? {
        Some(run) => Ok(Run::Warm(run)),
        None => Run::start(host, plan, limit),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(source) if source.is::<warm::Gone>())
}

/// Why a run can't be followed any more: the way to its host is gone, or something of this host.
fn cut(error: io::Error) -> DirectError {
    match error.downcast::<LinkError>() {
        Ok(lost) => StartError::Link(lost).into(),
        Err(error) => error.into(),
    }
}

/// Stops a process whose outcome nobody waits for any more, and holds its output down meanwhile.
fn stop(process: &mut Run, mut outputs: Option<Outputs>) {
    let stopped = process.stop(Stop::TimeLimit).and_then(|()| {
        let rest = |outputs: &Option<Outputs>| outputs.as_ref().map_or(TICK, Outputs::rest);
        while process.wait(rest(&outputs))?.is_none() {
            if let Some(outputs) = &mut outputs {
                outputs.advance();
            }
        }
        Ok(())
    });
    if let Err(error) = stopped {
        tracing::error!(%error, "a command that took too long can't be stopped");
    }
}

/// The outputs of a run, read behind it.
struct Outputs {
    /// Nothing when standard output is wanted raw.
    stdout: Option<Follower<Vec<u8>>>,
    stderr: Follower<Vec<u8>>,
    raw: File,
}

impl Outputs {
    fn open(plan: &Plan, raw: bool, limit: u64) -> io::Result<Self> {
        let follow = |path| Follower::open(path, Vec::new(), limit);
        Ok(Self {
            stdout: (!raw).then(|| follow(&plan.stdout)).transpose()?,
            stderr: follow(&plan.stderr)?,
            raw: File::open(&plan.stdout)?,
        })
    }

    /// When the next look is due.
    fn rest(&self) -> Duration {
        let rests = self.stdout.iter().chain([&self.stderr]).map(Follower::rest);
        rests.fold(TICK, Duration::min)
    }

    /// Takes what came, and gives back the room of what is not kept.
    fn advance(&mut self) {
        for output in self.stdout.iter_mut().chain([&mut self.stderr]) {
            // What can't be read now is read at the end, and missed there if it still can't be.
            drop(output.advance());
        }
    }

    fn finish(self, ending: Ending) -> io::Result<Outcome> {
        let (stderr, kept_stderr) = self.stderr.finish()?;
        let (stdout, kept_stdout, raw) = if let Some(stdout) = self.stdout {
            let (text, kept) = stdout.finish()?;
            (text, kept, None)
        } else {
            let kept = Kept {
                bytes: self.raw.metadata()?.len(),
                ..Kept::default()
            };
            (Vec::new(), kept, Some(self.raw))
        };
        Ok(Outcome::Finished(Finished {
            ending,
            stdout,
            kept_stdout,
            stderr,
            kept_stderr,
            raw,
        }))
    }
}
