//! Questions to Barman that change nothing: its help, its version, its servers.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use crate::runner::{Ending, Host, Plan, Run, StartError, Stop};
use crate::store::StoreError;
use crate::store::garbage::Garbage;

/// How long Barman may take to answer a question. It needs about 0.1 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read. The longest help text of 3.19.1 has 16 KiB.
const ANSWER_LIMIT: u64 = 1024 * 1024;

/// How often the length of an answer is looked at while Barman runs.
const TICK: Duration = Duration::from_millis(50);

/// How Barman is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barman {
    /// Where it runs.
    pub host: Host,
    /// The program, an absolute path.
    pub program: PathBuf,
    /// The configuration file given to it as `-c`; `None` = Barman's own search.
    pub config_file: Option<PathBuf>,
}

impl Barman {
    /// The arguments that come before the command.
    #[must_use]
    pub fn global_arguments(&self, json: bool) -> Vec<String> {
        let mut arguments = Vec::new();
        if let Some(file) = &self.config_file {
            arguments.extend(["-c".to_owned(), file.display().to_string()]);
        }
        if json {
            arguments.extend(["-f", "json"].map(str::to_owned));
        }
        arguments
    }
}

/// Barman gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It can't be started.
    #[error("barman can't be started: {0}")]
    Start(#[from] StartError),
    /// There is no place for its output.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It took too long.
    #[error("barman {arguments} gave no answer in {} s", PATIENCE.as_secs())]
    TimedOut {
        /// What was asked.
        arguments: String,
    },
    /// It said too much.
    #[error("barman {arguments} printed more than {ANSWER_LIMIT} bytes")]
    TooLong {
        /// What was asked.
        arguments: String,
    },
    /// It failed.
    #[error("barman {arguments} failed ({ending}): {words}")]
    Failed {
        /// What was asked.
        arguments: String,
        /// How it ended.
        ending: String,
        /// The end of what it printed, masked.
        words: String,
    },
    /// It can't be followed.
    #[error("barman can't be followed: {0}")]
    Follow(#[from] io::Error),
}

/// Runs Barman once, `asked` being the name for it in errors, and returns its standard output, or, when that is empty, its standard error:
/// under Python 2.7 the version goes there.
///
/// # Errors
/// When Barman can't be started, fails, takes too long or says too much.
pub(super) fn ask(
    barman: &Barman,
    garbage: &Garbage,
    environment: Vec<(OsString, OsString)>,
    arguments: Vec<String>,
    asked: &str,
) -> Result<String, AskError> {
    let asked = asked.to_owned();
    let folder = garbage.folder()?;
    let plan = Plan {
        program: barman.program.clone(),
        arguments,
        environment,
        stdout: folder.path().join("stdout"),
        stderr: folder.path().join("stderr"),
        record: None,
    };
    let mut run = Run::start(&barman.host, &plan, PATIENCE)?;
    let mut too_long = false;
    let ending = loop {
        if let Some(ending) = run.wait(TICK)? {
            break ending;
        }
        too_long = too_long || length(&plan)? > ANSWER_LIMIT;
        if too_long || run.elapsed() > PATIENCE {
            run.stop(Stop::TimeLimit)?;
        }
    };
    if too_long || length(&plan)? > ANSWER_LIMIT {
        return Err(AskError::TooLong { arguments: asked });
    }
    if run.stopped_by().is_some() {
        return Err(AskError::TimedOut { arguments: asked });
    }
    let (stdout, stderr) = (read(&plan.stdout)?, read(&plan.stderr)?);
    if ending == Ending::Exited(0) {
        return Ok(if stdout.trim().is_empty() {
            stderr
        } else {
            stdout
        });
    }
    let words = if stderr.trim().is_empty() {
        stdout
    } else {
        stderr
    };
    let words: Vec<&str> = words.lines().rev().take(5).collect();
    let words = words.into_iter().rev().collect::<Vec<_>>().join("\n");
    let ending = match ending {
        Ending::Exited(code) => format!("exit code {code}"),
        Ending::Signalled(signal) => format!("signal {signal}"),
        Ending::Unknown { .. } => "nobody knows how".to_owned(),
    };
    let words = crate::redact::text(&words).into_owned();
    Err(AskError::Failed {
        arguments: asked,
        ending,
        words,
    })
}

fn length(plan: &Plan) -> io::Result<u64> {
    Ok(std::fs::metadata(&plan.stdout)?
        .len()
        .max(std::fs::metadata(&plan.stderr)?.len()))
}

fn read(path: &PathBuf) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(ANSWER_LIMIT)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
