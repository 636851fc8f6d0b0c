//! The process that looks after one job: `barmanapi run-job STORE TICKET`, not for people.
//!
//! It gets the job's folder, locked, as its standard input, and keeps it until the end of the job
//! is recorded. It outlives the process that started it, and the signals that would end it: they
//! are noted and nothing else, so that a host that shuts down leaves it time to record the end.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::place::{free_slot, wait_for_slot};
use super::{end, far};
use crate::auth::Users;
use crate::clock;
use crate::names::{CommandName, Ticket};
use crate::output::Kept;
use crate::runner::capture::Follower;
use crate::runner::ssh::LinkError;
use crate::runner::{Ending, Plan, Run, StartError, Stop, local};
use crate::store::Store;
use crate::store::record::{EndState, Job, JobFolder, JobResult, Reason};

/// The first argument by which our program knows that it shall supervise.
pub const WORD: &str = "run-job";

/// What the supervisor says on its standard output once nothing but SIGKILL can end it.
pub const READY: &str = "ready\n";

/// How often a supervisor looks for a request to cancel and copies output, at least.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// How often the end is tried to be recorded while the store takes nothing.
const RETRY: Duration = Duration::from_millis(250);

/// Supervises the job that the arguments after [`WORD`] name.
#[must_use]
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let root = arguments.next().map(PathBuf::from);
    let ticket = arguments
        .next()
        .and_then(|word| Ticket::parse(word.to_str()?).ok());
    let (Some(root), Some(ticket)) = (root, ticket) else {
        return ExitCode::FAILURE;
    };
    // Whoever starts Barman inherits the lock and keeps it until it is recorded who Barman is: a
    // free lock without that record means that nothing was started and nothing will be.
    let inherited = rustix::io::dup(io::stdin()).map_err(io::Error::from);
    match inherited.and_then(|_lock| detach().and_then(|()| supervise(&root, &ticket))) {
        Ok(()) => ExitCode::SUCCESS,
        // There is no record to write and nobody to tell: the job is found as lost.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Leaves the starter's session and its signals behind, and says so.
fn detach() -> io::Result<()> {
    let noted = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&noted))?;
    }
    rustix::process::setsid()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    std::env::set_current_dir("/")?;
    let mut stdout = io::stdout();
    stdout.write_all(READY.as_bytes())?;
    stdout.flush()?;
    rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok(())
}

fn supervise(root: &Path, ticket: &Ticket) -> io::Result<()> {
    let store = Store::open(root).map_err(io::Error::other)?;
    let folder = store.job(ticket);
    let Some(job) = folder.job().map_err(io::Error::other)? else {
        return Ok(());
    };
    let result = if store.abroad(ticket).map_err(io::Error::other)?.is_some() {
        // Its start was sent to the Barman host before an earlier supervisor died.
        let _slot = free_slot(&store, job.max_jobs);
        run_job(&store, &folder, &job)
    } else {
        begin(&store, &folder, &job)
    };
    // A folder that somebody removed will never take the end; the job is no more.
    while end::record(&store, &folder, &job, &result).is_err() && folder.path().exists() {
        // The store is full or can't be written: the end is kept here until it can.
        std::thread::sleep(RETRY);
    }
    far::clean_up(&store, ticket);
    Ok(())
}

/// Runs a job from its beginning, once there is a place for it and if it is still permitted.
fn begin(store: &Store, folder: &JobFolder, job: &Job) -> JobResult {
    match wait_for_slot(store, folder, job.max_jobs) {
        Ok(Some(_slot)) if is_cancelled(folder) => cancelled(folder, nothing_ran()),
        Ok(Some(_slot)) => match permission(job) {
            Ok(()) => run_job(store, folder, job),
            Err(words) => no_longer_permitted(words),
        },
        Ok(None) => cancelled(folder, nothing_ran()),
        Err(error) => JobResult {
            reason: Some(Reason::CouldNotStart),
            detail: Some(format!("no place to run in: {error}")),
            ..nothing_ran()
        },
    }
}

/// Looks the right up again: it may have been taken away while the job waited.
fn permission(job: &Job) -> Result<(), String> {
    let user = Users::open(job.users.clone()).find(&job.user);
    let user = user.map_err(|error| format!("the right can't be looked up: {error}"))?;
    let paths: Vec<_> = job.names.iter().map(CommandName::path).collect();
    let permitted = user.is_some_and(|user| {
        let rights = &user.rights;
        rights.allows(&paths, &job.scope)
            && (!job.requires_full
                || rights.is_full()
                || job.or_written_out && rights.writes_out(&paths, &job.scope))
    });
    if permitted {
        Ok(())
    } else {
        Err("no longer permitted".to_owned())
    }
}

pub(super) fn is_cancelled(folder: &JobFolder) -> bool {
    folder.file("cancel").exists()
}

/// The file of a kept output; without room for it, the output is marked as incomplete.
struct KeptFile(io::Result<File>);

impl KeptFile {
    fn create(path: &Path) -> Self {
        Self(
            File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path),
        )
    }
}

impl Write for KeptFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Ok(file) => file.write(bytes),
            Err(error) => Err(error.kind().into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Ok(file) => file.sync_data(),
            Err(error) => Err(error.kind().into()),
        }
    }
}

/// Starts a job, or goes on with one on another host; `None` when that was never started.
fn start(store: &Store, folder: &JobFolder, job: &Job) -> Result<Option<Run>, StartError> {
    let plan = Plan {
        program: job.program.clone(),
        arguments: job.arguments.clone(),
        environment: far::host(job).environment(),
        stdout: folder.capture("stdout"),
        stderr: folder.capture("stderr"),
        record: Some(folder.process()),
    };
    match &job.remote {
        None => Ok(Some(Run::Here(local::Run::start(&plan)?))),
        Some(host) => Ok(far::begin(store, host, folder, &plan)?.map(Run::There)),
    }
}

fn run_job(store: &Store, folder: &JobFolder, job: &Job) -> JobResult {
    let mut run = match start(store, folder, job) {
        Ok(Some(run)) => run,
        Ok(None) => {
            return JobResult {
                state: EndState::Lost,
                reason: Some(Reason::SupervisorDied),
                detail: Some("Barman had not been started".to_owned()),
                ..nothing_ran()
            };
        }
        Err(error) => return could_not_start(&error),
    };
    let mut outputs = ["stdout", "stderr"].map(|output| {
        let out = KeptFile::create(&folder.file(output));
        Follower::open(&folder.capture(output), out, job.output_limit).ok()
    });
    let ending = follow(folder, job, &mut run, &mut outputs);
    let duration = run.elapsed();
    let [stdout, stderr] = outputs.map(|output| {
        let incomplete = Kept {
            incomplete: true,
            ..Kept::default()
        };
        output
            .and_then(|output| output.finish().ok())
            .map_or(incomplete, |(_, kept)| kept)
    });
    let started_at = match &run {
        Run::Here(_) | Run::Warm(_) => folder.started_at(),
        Run::There(run) => run.started_at().map(clock::text),
    };
    let result = JobResult {
        started_at,
        duration_ms: u64::try_from(duration.as_millis()).ok(),
        stdout,
        stderr,
        ..nothing_ran()
    };
    let (exit_code, signal) = match ending {
        Ok(Ending::Exited(code)) => (Some(code), None),
        Ok(Ending::Signalled(signal)) => (None, Some(signal)),
        Ok(Ending::Unknown { restarted }) => {
            return JobResult {
                state: EndState::Lost,
                reason: Some(if restarted {
                    Reason::HostRestarted
                } else {
                    Reason::SupervisorDied
                }),
                ..result
            };
        }
        Err(error) => return not_followed(folder, &run, error, result),
    };
    let result = JobResult {
        exit_code,
        signal,
        ..result
    };
    match (exit_code, run.stopped_by()) {
        // A command that ended well before the signal reached it has done its work.
        (Some(0), _) => JobResult {
            state: EndState::Done,
            ..result
        },
        (_, Some(Stop::Cancel)) => cancelled(folder, result),
        (_, Some(Stop::TimeLimit)) => JobResult {
            reason: Some(Reason::TimeLimit),
            ..result
        },
        (_, None) => result,
    }
}

/// The result of a run whose end the system does not tell. One on another host may turn out not to
/// have started: the link broke while it was asked for.
fn not_followed(folder: &JobFolder, run: &Run, error: io::Error, result: JobResult) -> JobResult {
    match error.downcast::<StartError>() {
        Ok(error) => could_not_start(&error),
        Err(_) if run.stopped_by() == Some(Stop::Cancel) => cancelled(folder, result),
        Err(error) => JobResult {
            detail: Some(error.to_string()),
            ..result
        },
    }
}

/// Waits for the end of the run, copying its output and stopping it when that is due.
fn follow(
    folder: &JobFolder,
    job: &Job,
    run: &mut Run,
    outputs: &mut [Option<Follower<KeptFile>>],
) -> io::Result<Ending> {
    let limit = job.time_limit.map(Duration::from_secs);
    let mut signs = far::Signs::of(folder);
    loop {
        let rests = outputs.iter().flatten().map(Follower::rest);
        if let Some(ending) = run.wait(rests.fold(TICK, Duration::min))? {
            return Ok(ending);
        }
        if let Run::There(run) = run {
            signs.show(folder, run);
        }
        for output in outputs.iter_mut().flatten() {
            // What can't be read now is read at the end, and missed there if it still can't be.
            drop(output.advance());
        }
        if is_cancelled(folder) {
            run.stop(Stop::Cancel)?;
        } else if limit.is_some_and(|limit| run.elapsed() >= limit) {
            run.stop(Stop::TimeLimit)?;
        }
    }
}

/// The result of a job that failed before anything ran, to be completed.
fn nothing_ran() -> JobResult {
    JobResult {
        state: EndState::Failed,
        exit_code: None,
        signal: None,
        reason: None,
        detail: None,
        started_at: None,
        ended_at: clock::text(clock::now()),
        duration_ms: None,
        stdout: Kept::default(),
        stderr: Kept::default(),
    }
}

fn cancelled(folder: &JobFolder, result: JobResult) -> JobResult {
    let by = folder
        .cancel()
        .ok()
        .flatten()
        .map(|cancel| format!("cancelled by {}", cancel.user));
    JobResult {
        state: EndState::Cancelled,
        reason: Some(Reason::Cancelled),
        detail: by,
        ..result
    }
}

fn no_longer_permitted(words: String) -> JobResult {
    JobResult {
        state: EndState::Cancelled,
        reason: Some(Reason::NotPermitted),
        detail: Some(words),
        ..nothing_ran()
    }
}

fn could_not_start(error: &StartError) -> JobResult {
    let reason = match error {
        StartError::Link(LinkError::NoRoute { .. } | LinkError::Lost) => Reason::NoRoute,
        StartError::Link(LinkError::HostKeyMismatch | LinkError::HostKeyUnknown) => Reason::HostKey,
        StartError::Link(LinkError::NotPermitted) => Reason::LoginRefused,
        _ => Reason::CouldNotStart,
    };
    JobResult {
        reason: Some(reason),
        detail: Some(error.to_string()),
        ..nothing_ran()
    }
}
