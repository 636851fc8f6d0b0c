//! A run on the Barman host, as the rest of the program sees it.
//!
//! Each run has a thread of its own with a small runtime; what it learns stands in a state that the
//! callers look at. A run that is dropped ends its thread.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::frame::Stream;
use super::{JobName, Link, LinkError, job, short};
use crate::clock;
use crate::runner::local::capture_file;
use crate::runner::{Ending, Plan, StartError, Stop};

/// A command on the Barman host, or a job there.
#[derive(Debug)]
pub struct Run {
    shared: Arc<Shared>,
    stop: mpsc::UnboundedSender<()>,
    begun: Instant,
    stopping: Option<Stop>,
}

impl Run {
    /// Starts a command that ends together with this process or the link, and returns when it runs.
    ///
    /// # Errors
    /// When its output files can't be made, the host can't be reached, or the program can't be
    /// executed there.
    pub fn start(link: &Link, plan: &Plan) -> Result<Self, StartError> {
        Self::start_within(link, plan, None)
    }

    /// The same, given up after this time.
    ///
    /// # Errors
    /// As for [`start`](Self::start), and when it does not run by then.
    pub fn start_within(
        link: &Link,
        plan: &Plan,
        limit: Option<Duration>,
    ) -> Result<Self, StartError> {
        let outputs = Outputs::create(plan)?;
        let (link, plan) = (link.clone(), plan.clone());
        let duty = move |shared, orders| short::run(link, plan, outputs, shared, orders);
        Self::begin(duty, limit, || Err(LinkError::Lost.into_io())).map(|(run, _)| run)
    }

    /// Starts a detached job and returns when it runs, or when a request to start it may have
    /// arrived and the link is lost: then it is followed as soon as there is a link again.
    ///
    /// Of one name a job starts once, however often this is called and links break. When it turns
    /// out later that it could not be started, [`wait`](Self::wait) tells the error.
    ///
    /// # Errors
    /// When its output files can't be made, the host can't be reached for 10 seconds or refuses us,
    /// or the program can't be executed there. Nothing runs then.
    pub fn start_job(link: &Link, plan: &Plan, job: &JobName) -> Result<Self, StartError> {
        let outputs = Outputs::create(plan)?;
        let (link, plan, name) = (link.clone(), plan.clone(), job.to_string());
        let duty = move |shared, orders| job::start(link, plan, name, outputs, shared, orders);
        Self::begin(duty, None, nobody_knows).map(|(run, _)| run)
    }

    /// Follows a job that runs or ran; its output is read on from the length of the output files.
    /// `None` when it was never started, and from now on it never will be.
    ///
    /// # Errors
    /// When the output files can't be opened, the host can't be reached, or the job could not be
    /// started in its time.
    pub fn adopt(link: &Link, plan: &Plan, job: &JobName) -> Result<Option<Self>, StartError> {
        let outputs = Outputs::reopen(plan)?;
        let (link, plan, name) = (link.clone(), plan.clone(), job.to_string());
        let duty = move |shared, orders| job::adopt(link, plan, name, outputs, shared, orders);
        let begun = Self::begin(duty, None, nobody_knows);
        begun.map(|(run, there)| there.then_some(run))
    }

    /// Runs a duty in a thread of its own until its first word; `otherwise` is the end when it
    /// tells none.
    fn begin<F, D>(
        duty: D,
        limit: Option<Duration>,
        otherwise: fn() -> io::Result<Ending>,
    ) -> Result<(Self, bool), StartError>
    where
        D: FnOnce(Arc<Shared>, mpsc::UnboundedReceiver<()>) -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let shared = Arc::new(Shared::default());
        let (stop, orders) = mpsc::unbounded_channel();
        let last = LastWord(Arc::clone(&shared), otherwise);
        std::thread::Builder::new()
            .name("ssh run".to_owned())
            .spawn(move || match runtime() {
                Ok(runtime) => runtime.block_on(duty(Arc::clone(&last.0), orders)),
                Err(error) => last.0.verdict(Err(StartError::Spawn(error))),
            })
            .map_err(StartError::Spawn)?;
        let run = Self {
            shared,
            stop,
            begun: Instant::now(),
            stopping: None,
        };
        let there = run.shared.await_verdict(limit)?;
        Ok((run, there))
    }

    /// How long ago the program started; before that is known, how long ago it was asked to.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let started = self.shared.lock().started;
        started.map_or(self.begun, |(started, _)| started).elapsed()
    }

    /// When the program started, by our own clock, once it is known to have started.
    #[must_use]
    pub fn started_at(&self) -> Option<OffsetDateTime> {
        self.shared.lock().started.map(|(_, at)| at)
    }

    /// Why the program is being stopped, once it is.
    #[must_use]
    pub fn stopped_by(&self) -> Option<Stop> {
        self.stopping
    }

    /// Whether there is a link. A lost link is not the end of a job.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.shared.lock().reachable
    }

    /// Whether the process there that waited for Barman is gone while Barman still runs: then the
    /// end will be seen, but not how it ended.
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        self.shared.lock().orphaned
    }

    /// Waits at most `limit` for the end; `None` when the program still runs.
    ///
    /// While a stop is under way, the group there gets SIGKILL once the grace has passed.
    ///
    /// # Errors
    /// When the link of a short command is lost ([`LinkError::Lost`] is its source), the output
    /// can't be kept, or a job turns out never to have started.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<Ending>> {
        let state = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, limit, |state| state.ending.is_none());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &state.ending {
            None => Ok(None),
            Some(Ok(ending)) => Ok(Some(*ending)),
            Some(Err(_)) => {
                let told = Err(io::Error::other("the run has ended with an error"));
                state.ending.replace(told).transpose()
            }
        }
    }

    /// Begins to stop the program: SIGINT to its group there as soon as there is a link, SIGKILL
    /// after the grace. A second call changes nothing.
    ///
    /// # Errors
    /// None; the signature is that of a run on this host.
    pub fn stop(&mut self, reason: Stop) -> io::Result<()> {
        if self.stopping.is_none() {
            self.stopping = Some(reason);
            // A thread that is gone has told an ending.
            self.stop.send(()).unwrap_or_default();
        }
        Ok(())
    }
}

/// The end of a job that is not followed any more.
#[expect(clippy::unnecessary_wraps, reason = "one of two ends")]
fn nobody_knows() -> io::Result<Ending> {
    Ok(Ending::Unknown { restarted: false })
}

/// Tells an end when nothing else did, whatever the reason: nobody may wait for ever.
struct LastWord(Arc<Shared>, fn() -> io::Result<Ending>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.end(self.1());
    }
}

/// A runtime for one thread.
pub(super) fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// What a run's thread tells.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    verdict: Option<Result<bool, StartError>>,
    /// Whether a verdict was given; it is taken by whoever waits for it.
    granted: bool,
    started: Option<(Instant, OffsetDateTime)>,
    ending: Option<io::Result<Ending>>,
    reachable: bool,
    orphaned: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn await_verdict(&self, limit: Option<Duration>) -> Result<bool, StartError> {
        let state = self.lock();
        let is_open = |state: &mut State| state.verdict.is_none();
        let mut state = match limit {
            None => {
                let waited = self.changed.wait_while(state, is_open);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
            Some(limit) => {
                let waited = self.changed.wait_timeout_while(state, limit, is_open);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        let late = || Err(LinkError::late(limit.unwrap_or_default()).into());
        state.verdict.take().unwrap_or_else(late)
    }

    /// Whether there is such a run, or why not; the first word counts.
    pub(super) fn verdict(&self, verdict: Result<bool, StartError>) {
        self.change(|state| {
            if !state.granted {
                state.granted = true;
                state.verdict = Some(verdict);
            }
        });
    }

    /// It runs, for `age` already.
    pub(super) fn started(&self, age: Duration) {
        self.change(|state| {
            state.started.get_or_insert_with(|| {
                let begun = Instant::now().checked_sub(age);
                (begun.unwrap_or_else(Instant::now), clock::now() - age)
            });
        });
        self.verdict(Ok(true));
    }

    /// It could not be started: the verdict, or the end of a run whose start had to be taken for granted.
    pub(super) fn refuse(&self, error: StartError) {
        let mut error = Some(error);
        self.change(|state| {
            if state.verdict.is_none() && !state.granted {
                state.granted = true;
                state.verdict = error.take().map(Err);
            }
        });
        if let Some(error) = error {
            self.end(Err(io::Error::other(error)));
        }
    }

    /// The link is lost: why it could not be started, or the end of what ends with its link.
    pub(super) fn fail(&self, error: LinkError) {
        let started = self.lock().granted;
        if started {
            self.end(Err(error.into_io()));
        } else {
            self.verdict(Err(error.into()));
        }
    }

    /// It has ended; the first word counts.
    pub(super) fn end(&self, ending: io::Result<Ending>) {
        self.change(|state| {
            state.ending.get_or_insert(ending);
        });
        self.verdict(Ok(true));
    }

    pub(super) fn set_reachable(&self, reachable: bool) {
        self.change(|state| state.reachable = reachable);
    }

    pub(super) fn set_orphaned(&self, orphaned: bool) {
        self.change(|state| state.orphaned = orphaned);
    }
}

/// The capture files of both outputs; the length of each says how much has arrived.
#[derive(Debug)]
pub(super) struct Outputs([File; 2]);

impl Outputs {
    fn create(plan: &Plan) -> Result<Self, StartError> {
        let create = |path: &Path| capture_file(path).map_err(StartError::Capture);
        Ok(Self([create(&plan.stdout)?, create(&plan.stderr)?]))
    }

    fn reopen(plan: &Plan) -> Result<Self, StartError> {
        let reopen = |path: &Path| {
            let mut options = File::options();
            options.append(true).create(true).mode(0o600);
            options.open(path).map_err(StartError::Capture)
        };
        Ok(Self([reopen(&plan.stdout)?, reopen(&plan.stderr)?]))
    }

    /// How much of each has arrived.
    pub(super) fn lengths(&self) -> io::Result<[u64; 2]> {
        let [out, err] = &self.0;
        Ok([out.metadata()?.len(), err.metadata()?.len()])
    }

    /// Keeps what came from `offset` on.
    pub(super) fn append(
        &mut self,
        stream: Stream,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), LinkError> {
        let [out, err] = &mut self.0;
        let file = match stream {
            Stream::Out => out,
            Stream::Err => err,
        };
        let length = file.metadata()?.len();
        if offset != length {
            return Err(LinkError::protocol(format!(
                "output from {offset} on came after {length} bytes"
            )));
        }
        file.write_all(bytes)?;
        Ok(())
    }

    /// Makes what has arrived safe from a power cut; returns how much it is.
    pub(super) fn sync(&self) -> io::Result<[u64; 2]> {
        let lengths = self.lengths()?;
        let [out, err] = &self.0;
        out.sync_data()?;
        err.sync_data()?;
        Ok(lengths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_thread_dies_ends() {
        let limit = Duration::from_secs(30);
        let dies = |_, _| async { panic!("a defect of ours") };
        let (mut job, there) = Run::begin(dies, None, nobody_knows).unwrap();
        assert!(there);
        let unknown = Ending::Unknown { restarted: false };
        assert_eq!(job.wait(limit).unwrap(), Some(unknown));
        let lost = || Err(LinkError::Lost.into_io());
        let (mut short, _) = Run::begin(dies, None, lost).unwrap();
        let error = short.wait(limit).unwrap_err();
        assert!(error.downcast::<LinkError>().is_ok());
    }

    #[test]
    fn a_start_is_waited_for_no_longer_than_wanted() {
        let waits = |_, mut orders: mpsc::UnboundedReceiver<()>| async move {
            orders.recv().await;
        };
        let begun = Run::begin(waits, Some(Duration::from_millis(20)), nobody_knows);
        let error = begun.unwrap_err();
        assert!(matches!(error, StartError::Link(LinkError::NoRoute { .. })));
    }
}
