//! The folder of one job: what was accepted, who runs it, how it ended.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{StoreError, open_directory};
use crate::atomicfile;
use crate::clock;
use crate::destinations::Destinations;
use crate::names::{CommandName, Scope, Ticket, UserName};
use crate::output::Kept;
use crate::redact;
use crate::settings::Remote;

/// A job as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The ticket.
    pub ticket: Ticket,
    /// The command's canonical name.
    pub command: CommandName,
    /// The command's names, the canonical one first; rights are decided over all of them.
    pub names: Vec<CommandName>,
    /// The servers it concerns.
    pub scope: Scope,
    /// Barman's program.
    pub program: PathBuf,
    /// Every argument after the program's name.
    pub arguments: Vec<String>,
    /// The form in which the output is wanted beside its lines.
    pub data: DataForm,
    /// Who asked.
    pub user: UserName,
    /// From where.
    pub from: Option<IpAddr>,
    /// When it was accepted, RFC 3339, UTC.
    pub accepted_at: String,
    /// The request that asked.
    pub request_id: String,
    /// Seconds the command may run; `None` = no limit.
    pub time_limit: Option<u64>,
    /// Bytes kept of each output.
    pub output_limit: u64,
    /// Jobs that may run at once.
    pub max_jobs: u32,
    /// Whether the same job must not run a second time beside it.
    pub exclusive: bool,
    /// Whether only a user with full access may have it run.
    pub requires_full: bool,
    /// Whether a rule that is written out for the command and the servers is enough instead.
    #[serde(default)]
    pub or_written_out: bool,
    /// The file of users, in which the right is looked up again before the command starts.
    pub users: PathBuf,
    /// Where a restore writes, which no other may meanwhile.
    #[serde(default)]
    pub fills: Option<Destinations>,
    /// The host that Barman runs on, where that is another one.
    #[serde(default)]
    pub remote: Option<RemoteHost>,
}

/// Another host that Barman runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteHost {
    /// How it is reached.
    pub remote: Remote,
    /// The folder of the sockets through which connections to it are shared.
    pub sockets: PathBuf,
}

/// The form in which an output is wanted beside its lines.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataForm {
    /// None.
    Lines,
    /// The JSON document that standard output is.
    Json,
    /// The text of standard output under this name: Barman gives no JSON with that option.
    Text(String),
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndState {
    /// The command exited with 0.
    Done,
    /// It exited with another code, by a signal or at its time limit, or could not be started.
    Failed,
    /// It was stopped because somebody asked for it.
    Cancelled,
    /// Its supervisor died.
    Lost,
}

/// The end of a job; never changed once written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// The state.
    pub state: EndState,
    /// The exit code, where the process exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, where one did.
    pub signal: Option<i32>,
    /// Why, where neither code nor signal tells.
    pub reason: Option<Reason>,
    /// Words about the reason, for people.
    pub detail: Option<String>,
    /// When Barman was started, RFC 3339, UTC; `None` = it was not.
    pub started_at: Option<String>,
    /// When the end was recorded, RFC 3339, UTC.
    pub ended_at: String,
    /// Milliseconds from start to end by a clock that never jumps; `None` when not known.
    pub duration_ms: Option<u64>,
    /// What was kept of standard output.
    pub stdout: Kept,
    /// What was kept of standard error.
    pub stderr: Kept,
}

/// Why a job ended otherwise than by its own exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its time limit passed.
    TimeLimit,
    /// Barman could not be started.
    CouldNotStart,
    /// The right to it was taken away while it waited.
    NotPermitted,
    /// It was cancelled.
    Cancelled,
    /// There was no way to the Barman host.
    NoRoute,
    /// The Barman host showed another key than the known one, or one that is not known.
    HostKey,
    /// The Barman host let our key not in.
    LoginRefused,
    /// The supervisor died while the host went on.
    SupervisorDied,
    /// The host was restarted.
    HostRestarted,
    /// The record of the end is damaged, and nothing else tells.
    RecordDamaged,
}

/// Somebody asked to stop a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Who.
    pub user: UserName,
    /// When, RFC 3339, UTC.
    pub at: String,
}

/// The folder of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFolder {
    ticket: Ticket,
    path: PathBuf,
}

impl JobFolder {
    pub(super) fn new(ticket: &Ticket, path: PathBuf) -> Self {
        Self {
            ticket: ticket.clone(),
            path,
        }
    }

    /// The job's ticket.
    #[must_use]
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The capture file of an output, `stdout` or `stderr`.
    #[must_use]
    pub fn capture(&self, output: &str) -> PathBuf {
        self.path.join(format!("capture.{output}"))
    }

    /// The record of the running process.
    #[must_use]
    pub fn process(&self) -> PathBuf {
        self.file("process.json")
    }

    /// The file that is there while the Barman host can't be reached.
    #[must_use]
    pub fn unreachable(&self) -> PathBuf {
        self.file("unreachable")
    }

    /// The file that is there when who waited for Barman on its host is gone and Barman is not.
    #[must_use]
    pub fn orphaned(&self) -> PathBuf {
        self.file("orphaned")
    }

    /// When Barman was started, RFC 3339, UTC; `None` = it was not.
    #[must_use]
    pub fn started_at(&self) -> Option<String> {
        let recorded = fs::metadata(self.process()).and_then(|found| found.modified());
        recorded.ok().map(|at| clock::text(at.into()))
    }

    /// What was accepted; `None` when there is no such job here.
    ///
    /// # Errors
    /// When the record is there and can't be read.
    pub fn job(&self) -> Result<Option<Job>, StoreError> {
        read_json(&self.file("job.json"))
    }

    /// How the job ended; `None` when that is not recorded.
    ///
    /// # Errors
    /// When the record is there and can't be read.
    pub fn result(&self) -> Result<Option<JobResult>, StoreError> {
        read_json(&self.file("result.json"))
    }

    /// Who asked to stop the job, if anybody did.
    ///
    /// # Errors
    /// When the record is there and can't be read.
    pub fn cancel(&self) -> Result<Option<Cancel>, StoreError> {
        read_json(&self.file("cancel"))
    }

    /// How long ago somebody asked to stop the job; `None` when nobody did. A clock that went back
    /// makes it 0.
    #[must_use]
    pub fn cancelled_for(&self) -> Option<Duration> {
        let asked = fs::metadata(self.file("cancel")).ok()?.modified().ok()?;
        Some(SystemTime::now().duration_since(asked).unwrap_or_default())
    }

    /// Asks the supervisor to stop the job; a second call keeps the first asker.
    ///
    /// # Errors
    /// When the request can't be written.
    pub fn request_cancel(&self, cancel: &Cancel) -> Result<(), StoreError> {
        write_once(&self.file("cancel"), cancel).map(|_| ())
    }

    /// Writes what was accepted.
    ///
    /// # Errors
    /// When the record exists or can't be written.
    pub(super) fn write_job(&self, job: &Job) -> Result<(), StoreError> {
        let path = self.file("job.json");
        atomicfile::create(&path, &to_json(job, &path)?, 0o600).map_err(StoreError::record(&path))
    }

    /// Takes secrets out of the record of what was accepted, which stays for months.
    ///
    /// # Errors
    /// When the record can't be read or written. A damaged one is left as it is.
    pub(super) fn mask_job(&self) -> Result<(), StoreError> {
        let job = match self.job() {
            Ok(Some(job)) => job,
            Ok(None) => return Ok(()),
            Err(error) if error.is_damaged() => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut masked = job.clone();
        for argument in &mut masked.arguments {
            *argument = redact::text(argument).into_owned();
        }
        if let Some(fills) = &mut masked.fills {
            fills.ssh_command = redact::text(&fills.ssh_command).into_owned();
        }
        if masked == job {
            return Ok(());
        }
        let path = self.file("job.json");
        atomicfile::replace(&path, &to_json(&masked, &path)?, 0o600)
            .map_err(StoreError::record(&path))
    }

    /// Removes the temporary files of records whose writer was killed. The writers hold the
    /// folder's lock, so the caller has to hold it; a wish to cancel is written without it.
    ///
    /// # Errors
    /// When the folder can't be read or a file not be removed.
    pub(super) fn remove_torn(&self) -> Result<(), StoreError> {
        let torn = [".job.json.", ".process.json.", ".result.json."];
        let names = fs::read_dir(&self.path).map_err(StoreError::record(&self.path))?;
        for entry in names.flatten() {
            let name = entry.file_name();
            if torn
                .iter()
                .any(|start| name.as_encoded_bytes().starts_with(start.as_bytes()))
            {
                let path = entry.path();
                fs::remove_file(&path).map_err(StoreError::record(&path))?;
            }
        }
        Ok(())
    }

    /// Records the end, unless one is recorded already; says whether this one counts.
    ///
    /// # Errors
    /// When the record can't be written.
    pub fn write_result(&self, result: &JobResult) -> Result<bool, StoreError> {
        write_once(&self.file("result.json"), result)
    }

    /// Removes the capture files.
    ///
    /// # Errors
    /// When one is there and can't be removed.
    pub fn remove_captures(&self) -> Result<(), StoreError> {
        for output in ["stdout", "stderr"] {
            let path = self.capture(output);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::record(&path)(error)),
            }
        }
        Ok(())
    }

    /// The kept text of an output, `stdout` or `stderr`, as far as it has come.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn output(&self, output: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.file(output);
        match fs::read(&path) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(StoreError::record(&path)(error)),
        }
    }

    /// Locks the folder; `None` when somebody else holds or shares it.
    ///
    /// # Errors
    /// When the folder can't be opened or locked.
    pub fn try_lock(&self) -> Result<Option<File>, StoreError> {
        let folder = open_directory(&self.path).map_err(StoreError::record(&self.path))?;
        match folder.try_lock() {
            Ok(()) => Ok(Some(folder)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(StoreError::record(&self.path)(error)),
        }
    }

    /// Whether a supervisor holds the folder; nobody holds one that is gone.
    ///
    /// # Errors
    /// When the folder can't be opened or its lock not be tried.
    pub fn is_supervised(&self) -> Result<bool, StoreError> {
        let folder = match open_directory(&self.path) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::record(&self.path)(error)),
        };
        match folder.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(fs::TryLockError::WouldBlock) => Ok(true),
            Err(fs::TryLockError::Error(error)) => Err(StoreError::record(&self.path)(error)),
        }
    }
}

fn to_json(value: &impl Serialize, path: &Path) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::record(path)(error.into()))
}

/// Writes a file that must not exist yet; `false` when it does.
fn write_once(path: &Path, value: &impl Serialize) -> Result<bool, StoreError> {
    match atomicfile::create(path, &to_json(value, path)?, 0o600) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(StoreError::record(path)(error)),
    }
}

/// Bytes of a record at most; one that is longer is damaged, and not read to find out how.
const RECORD_LIMIT: u64 = 16 << 20;

/// Reads a JSON file; `None` when there is none.
///
/// # Errors
/// When it can't be read or is not what it should be ([`StoreError::is_damaged`]).
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let read = || {
        let mut bytes = Vec::new();
        let file = File::open(path)?;
        if file.metadata()?.len() > RECORD_LIMIT {
            let words = format!("it is longer than {RECORD_LIMIT} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        file.take(RECORD_LIMIT).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            StoreError::record(path)(io::Error::new(io::ErrorKind::InvalidData, error))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // A name on the way that is no folder: there is no such job either.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(StoreError::record(path)(error)),
    }
}
