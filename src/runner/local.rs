//! Barman on this host.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FallocateFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::process::signal_group;
use super::{Ending, GRACE, Plan, StartError, Stop, launch};

/// Our own program as it runs now, even when the file was replaced since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Our own program, to be started once more with other duties.
#[must_use]
pub fn own_program() -> Command {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg0("barmanapi");
    command
}

/// Bytes reserved for each output before a program starts.
const RESERVED: u64 = 64 * 1024;

/// A running process and what is known about its end.
#[derive(Debug)]
pub struct Run {
    child: Child,
    pidfd: OwnedFd,
    pid: i32,
    started: Instant,
    stopping: Option<(Stop, Instant)>,
    killed: bool,
}

impl Run {
    /// Starts a program and returns when it runs.
    ///
    /// # Errors
    /// When its output files can't be made, the system refuses a process, or the program can't be
    /// executed. Nothing runs then.
    pub fn start(plan: &Plan) -> Result<Self, StartError> {
        let stdout = capture_file(&plan.stdout).map_err(StartError::Capture)?;
        let stderr = capture_file(&plan.stderr).map_err(StartError::Capture)?;
        let (mut answer, starter) = io::pipe().map_err(StartError::Spawn)?;
        let mut command = own_program();
        command
            .args(launch::arguments(
                plan.record.as_deref(),
                &plan.program,
                &plan.arguments,
            ))
            .env_clear()
            .envs(plan.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::from(starter))
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr));
        let mut child = command.spawn().map_err(StartError::Spawn)?;
        // The command holds the pipe's other end; only the child's copy may stay open.
        drop(command);
        let pid = Pid::from_child(&child);
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                child
                    .kill()
                    .and_then(|()| child.wait())
                    .map_err(StartError::Spawn)?;
                return Err(StartError::Spawn(error.into()));
            }
        };
        let mut reason = String::new();
        let heard = answer.read_to_string(&mut reason);
        if heard.is_err() || reason != launch::STARTING {
            child.wait().map_err(StartError::Spawn)?;
            return Err(StartError::Execute {
                program: plan.program.display().to_string(),
                reason: why_not(&reason),
            });
        }
        let pid = pid.as_raw_nonzero().get();
        Ok(Self {
            child,
            pidfd,
            pid,
            started: Instant::now(),
            stopping: None,
            killed: false,
        })
    }

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
    /// While a stop is under way, the group gets SIGKILL once the grace has passed.
    ///
    /// # Errors
    /// When the system can't say how the process ended.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<Ending>> {
        if let Some((_, since)) = self.stopping
            && !self.killed
            && since.elapsed() >= GRACE
        {
            self.killed = true;
            signal_group(self.pid, Signal::KILL)?;
        }
        if !ended_within(&self.pidfd, limit)? {
            return Ok(None);
        }
        if self.stopping.is_some() {
            // Whatever the program left behind in its group goes with it.
            signal_group(self.pid, Signal::KILL)?;
        }
        self.child.wait().map(|status| Some(ending(status)))
    }

    /// Begins to stop the program: SIGINT to its group now, SIGKILL after the grace. A second call
    /// changes nothing.
    ///
    /// SIGINT, because Barman then marks a running backup FAILED and cleans up; after SIGTERM or
    /// SIGKILL it can stay STARTED for ever (seen with 3.19.1).
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub fn stop(&mut self, reason: Stop) -> io::Result<()> {
        if self.stopping.is_some() {
            return Ok(());
        }
        self.stopping = Some((reason, Instant::now()));
        signal_group(self.pid, Signal::INT)
    }
}

/// Why a program did not start, by what was heard.
fn why_not(heard: &str) -> String {
    match heard.strip_prefix(launch::STARTING).unwrap_or(heard) {
        "" => "it was killed before it began".to_owned(),
        reason => reason.to_owned(),
    }
}

/// Makes a capture file with room reserved: a Barman that can't print fails, so it must not begin
/// when there is none. A file system that can't reserve is taken as it is.
pub(super) fn capture_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, RESERVED) {
        Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => Err(error.into()),
        _ => Ok(file),
    }
}

fn ended_within(pidfd: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
    }
}
