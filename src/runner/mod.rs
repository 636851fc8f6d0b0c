//! Starts Barman and waits for it.
//!
//! A run is one process in a session of its own, with a clean environment, nothing on its standard
//! input and two capture files as its output. The runner knows neither tickets nor users; it does
//! not decide what may run.

pub mod capture;
pub mod environment;
pub mod files;
pub mod launch;
pub mod local;
pub mod process;
mod run;
pub mod ssh;
pub mod warm;

pub use run::{Host, Run};

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The program, an absolute path.
    pub program: PathBuf,
    /// Its arguments, the program's own name left out.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The file that takes its standard output; created with mode 0600.
    pub stdout: PathBuf,
    /// The file that takes its standard error; created with mode 0600.
    pub stderr: PathBuf,
    /// Where the process leaves its identity before it becomes the program, synced; `None` = nowhere.
    pub record: Option<PathBuf>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this code, 0 to 255.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// Nobody knows how: who waited for it on the Barman host is gone.
    Unknown {
        /// Whether that host was restarted meanwhile.
        restarted: bool,
    },
}

/// Why a process was stopped before it ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its time limit passed.
    TimeLimit,
    /// Somebody asked for it.
    Cancel,
}

/// How long a process has between SIGINT and SIGKILL.
///
/// A backup that is interrupted marks itself FAILED and cleans up, which took 1 to 2 seconds on
/// Barman 3.19.1.
pub const GRACE: Duration = Duration::from_secs(10);

/// A program could not be started; nothing ran.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file that takes the output can't be made.
    #[error("no file for the output: {0}")]
    Capture(#[source] io::Error),
    /// The system refused a new process.
    #[error("no new process: {0}")]
    Spawn(#[source] io::Error),
    /// The start can't be recorded.
    #[error("the start can't be recorded: {0}")]
    Record(#[source] io::Error),
    /// The program can't be executed.
    #[error("{program}: {reason}")]
    Execute {
        /// The program.
        program: String,
        /// What the system said.
        reason: String,
    },
    /// There is no way to the Barman host.
    #[error(transparent)]
    Link(#[from] ssh::LinkError),
}
