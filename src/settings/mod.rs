//! Our own configuration: read, checked as a whole, and typed.
//!
//! The file is INI, `/etc/barmanapi.conf` by default. Every key is in the table of `keys`; what the
//! table does not know is refused, and every problem is told at once with its line. A secret that
//! is left blank is not made up here: who needs it generates it.

mod build;
mod changes;
mod environment;
mod examine;
pub mod keys;
mod listener;
mod problem;
mod raw;
mod reference;
mod remote;
mod shown;
mod tls_files;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::names::CommandName;

pub use changes::{Changed, changes, in_force};
pub use examine::{Examined, examine, examine_bytes};
pub use listener::{ClientCertificates, Limits, PgBackupApi, Tls};
pub use problem::{Problem, Problems};
pub use reference::{reference, sample};
pub use remote::Remote;
pub use shown::{may_be_shown, may_be_shown_anywhere, name_may_be_shown};
pub use tls_files::warnings;

/// Where the configuration is read from when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/barmanapi.conf";

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the place that uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file it was read from.
    pub path: PathBuf,
    /// `[user]`
    pub user: User,
    /// `[application]`
    pub application: Application,
    /// `[tls]`
    pub tls: Tls,
    /// `[pgbackupapi]`
    pub pgbackupapi: PgBackupApi,
    /// `[limits]`
    pub limits: Limits,
    /// `[barman]`
    pub barman: Barman,
    /// Every `[target:NAME]`, in the order of the file.
    pub targets: Vec<Target>,
    /// `[auth_token]`
    pub auth_token: AuthToken,
    /// `[log]`
    pub log: Log,
    /// `[audit]`
    pub audit: Audit,
    /// `[config]`
    pub config: Config,
}

/// Who may use the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The file of the users.
    pub config_file: PathBuf,
    /// The pepper of the password hashes; `None` = to be generated.
    pub secret: Option<Secret>,
}

/// The service itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Tickets, results and logs.
    pub store_directory: PathBuf,
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 = any free one.
    pub port: u16,
    /// Whether another address than the loopback may be listened on without TLS.
    pub insecure: bool,
    /// Whether more is logged.
    pub debug: bool,
    /// Whether GET may change state on the barmanapi routes.
    pub get_changes: bool,
    /// Closed months of history that are kept; 0 = all.
    pub keep_months: u32,
}

/// Barman and the commands that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barman {
    /// Given to Barman as `-c`; `None` = Barman's own search.
    pub config_file: Option<PathBuf>,
    /// The program, absolute.
    pub command: PathBuf,
    /// Whether Barman is on another host.
    pub remote: bool,
    /// The SSH command as written.
    pub remote_ssh: String,
    /// The same, taken apart; always there when `remote` is set.
    pub remote_host: Option<Remote>,
    /// Commands that always answer with a ticket. Aliases count; they are as written here.
    pub async_command: Vec<CommandName>,
    /// Whether commands that only read may come from a Barman that is kept warm.
    pub warm: bool,
    /// After this a command answers with a ticket.
    pub sync_timeout: Duration,
    /// After this a command is stopped; `None` = never.
    pub job_timeout: Option<Duration>,
    /// The same for single commands, as written: aliases are not resolved here.
    pub job_timeouts: BTreeMap<CommandName, Option<Duration>>,
    /// Commands that run at once.
    pub max_jobs: u32,
    /// Commands that may wait.
    pub queue: u32,
    /// Bytes kept of each output stream of a command.
    pub output_limit: u64,
    /// Whether restores may go anywhere.
    pub any_target: bool,
    /// Commands of database hosts that are allowed.
    pub allow_commands: Vec<CommandName>,
    /// Where `export-backup` writes and `import-backup` reads; `None` = nowhere.
    pub exchange_directory: Option<PathBuf>,
}

/// A place that restores may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The exact SSH command; empty = the Barman host itself.
    pub ssh_command: String,
    /// The directories, absolute; at least one.
    pub directories: Vec<PathBuf>,
}

/// The tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthToken {
    /// The signing key; `None` = to be generated.
    pub secret: Option<Secret>,
    /// The one algorithm that is accepted.
    pub algorithm: Algorithm,
    /// How long a token is good.
    pub token_life: Duration,
    /// Whether `?token=` is accepted.
    pub query_token: bool,
}

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

/// `general.log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Older files that are kept.
    pub backup_count: u32,
    /// Bytes at which the file begins anew; 0 = never.
    pub max_bytes: u64,
}

/// `audit.log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Closed months that are kept; 0 = all.
    pub keep_months: u32,
}

/// Barman's configuration over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Keys of Barman's configuration that may be set though they are dangerous, in lower case.
    pub unlock: Vec<String>,
}

/// Reads and checks a configuration file, and nothing of what it names; see [`examine`].
///
/// # Errors
/// With everything that is wrong: the file can't be read, a line, section or key is not known, a
/// value is not what its key takes, or values do not go together.
pub fn load(path: &Path) -> Result<Settings, Problems> {
    parse(path, &read_text(path)?)
}

fn read_text(path: &Path) -> Result<String, Problems> {
    match std::fs::read(path) {
        Ok(bytes) => text_of(path, bytes),
        Err(error) => {
            let write =
                "write the file (conf/barmanapi.conf is a sample), or name another with --config";
            let told = format!("the file can't be read: {error}");
            Err(one_problem(Problem::new(path, &told, write)))
        }
    }
}

fn one_problem(problem: Problem) -> Problems {
    let mut problems = Problems::default();
    problems.add(problem);
    problems
}

/// The bytes of a file as text.
fn text_of(path: &Path, bytes: Vec<u8>) -> Result<String, Problems> {
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let valid = error.as_bytes().get(..good).unwrap_or_default();
        let line = valid.split(|&byte| byte == b'\n').count();
        let told = "the line is not UTF-8";
        one_problem(Problem::at(path, line, told, "write the file in UTF-8"))
    })
}

/// Checks a text as [`load`] checks a file; `path` is only told in problems.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &str) -> Result<Settings, Problems> {
    let mut problems = Problems::default();
    let raw = raw::read(path, text, &mut problems);
    let settings = build::build(path, &raw, &mut problems);
    if problems.is_empty() {
        Ok(settings)
    } else {
        problems.sort();
        Err(problems)
    }
}

#[cfg(test)]
mod tests;
