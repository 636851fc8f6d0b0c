//! From a command to a ticket: record, supervisor, ticket, in this order.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::{Jobs, Limits, end, far, supervise};
use crate::destinations::Destinations;
use crate::names::{CommandName, Scope, Ticket, UserName};
use crate::output::Kept;
use crate::runner::{Host, environment, local};
use crate::store::Store;
use crate::store::open_jobs::{AcceptedJob, Refused};
use crate::store::record::{DataForm, EndState, Job, JobResult, Reason};
use crate::{blocking, clock};

/// A command that shall become a job.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its ticket.
    pub ticket: Ticket,
    /// The command's names, the canonical one first.
    pub names: Vec<CommandName>,
    /// The servers it concerns.
    pub scope: Scope,
    /// Where Barman runs.
    pub host: Host,
    /// Barman's program.
    pub program: PathBuf,
    /// Every argument after the program's name.
    pub arguments: Vec<String>,
    /// The form in which the output is wanted beside its lines.
    pub data: DataForm,
    /// Who asks.
    pub user: UserName,
    /// From where.
    pub from: Option<IpAddr>,
    /// The request that asks.
    pub request_id: String,
    /// How long the command may run; `None` = no limit.
    pub time_limit: Option<Duration>,
    /// Whether the same job must not run a second time beside it.
    pub exclusive: bool,
    /// Whether only a user with full access may have it run.
    pub requires_full: bool,
    /// Whether a rule that is written out for the command and the servers is enough instead.
    pub or_written_out: bool,
    /// Where a restore writes, which no other may meanwhile.
    pub fills: Option<Destinations>,
}

/// Why a job did not start.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The store did not accept it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Its supervisor could not be started; the ticket says so, too.
    #[error("no supervisor for ticket {ticket}: {source}")]
    NoSupervisor {
        /// The ticket.
        ticket: Ticket,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel gave no random bits, or a worker thread died.
    #[error("{0}")]
    Internal(#[source] io::Error),
}

/// A job that was handed to its supervisor.
#[derive(Debug)]
pub struct Submitted {
    /// The ticket.
    pub ticket: Ticket,
    ended: watch::Receiver<bool>,
}

impl Submitted {
    /// Waits at most `limit` for the supervisor to end; says whether it did.
    pub async fn ended_within(&mut self, limit: Duration) -> bool {
        let ended = tokio::time::timeout(limit, self.ended.wait_for(|ended| *ended)).await;
        matches!(ended, Ok(Ok(_)))
    }
}

impl Jobs {
    /// A ticket for a job that is accepted now.
    ///
    /// # Errors
    /// When the kernel gives no random bits.
    pub fn new_ticket() -> io::Result<Ticket> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        Ok(Ticket::new(clock::now(), random))
    }

    /// Records a job and hands it to a supervisor; when this returns, the job no longer depends on
    /// this process.
    ///
    /// # Errors
    /// When the store does not accept the job, or no supervisor can be started. Nothing runs then.
    pub async fn submit(&self, new: NewJob) -> Result<Submitted, SubmitError> {
        let jobs = self.clone();
        let handed_over = blocking::run(move || jobs.hand_over(new)).await;
        let (ticket, mut child) = handed_over.map_err(SubmitError::Internal)??;
        let (sender, ended) = watch::channel(false);
        tokio::spawn(async move {
            if let Err(error) = child.wait().await {
                tracing::error!(%error, "the end of a supervisor can't be awaited");
            }
            sender.send_replace(true);
        });
        Ok(Submitted { ticket, ended })
    }

    fn hand_over(&self, new: NewJob) -> Result<(Ticket, Child), SubmitError> {
        let limits = self.limits();
        let job = job(new, &limits).map_err(SubmitError::Internal)?;
        let limit = usize::try_from(limits.max_jobs.saturating_add(limits.queue));
        let accepted = self.store.accept(&job, limit.unwrap_or(usize::MAX))?;
        match start_supervisor(&self.store, &job.ticket, &accepted.lock) {
            Ok(child) => Ok((job.ticket, child)),
            Err(source) => {
                self.record_no_supervisor(&accepted, &job, &source);
                Err(SubmitError::NoSupervisor {
                    ticket: job.ticket,
                    source,
                })
            }
        }
    }

    fn record_no_supervisor(&self, accepted: &AcceptedJob, job: &Job, error: &io::Error) {
        let result = JobResult {
            state: EndState::Failed,
            exit_code: None,
            signal: None,
            reason: Some(Reason::CouldNotStart),
            detail: Some(format!("no supervisor could be started: {error}")),
            started_at: None,
            ended_at: clock::text(clock::now()),
            duration_ms: None,
            stdout: Kept::default(),
            stderr: Kept::default(),
        };
        if let Err(error) = end::record(&self.store, &accepted.folder, job, &result) {
            // Without a record of its end the job is found as lost, which is true as well.
            tracing::error!(%error, ticket = %accepted.folder.ticket(), "no end recorded");
        }
    }
}

/// The record of a new job, which holds under these limits.
fn job(new: NewJob, limits: &Limits) -> io::Result<Job> {
    let command = new.names.first().cloned();
    Ok(Job {
        ticket: new.ticket,
        command: command.ok_or_else(|| io::Error::other("a job without a command"))?,
        names: new.names,
        scope: new.scope,
        program: new.program,
        arguments: new.arguments,
        data: new.data,
        user: new.user,
        from: new.from,
        accepted_at: clock::text(clock::now()),
        request_id: new.request_id,
        time_limit: new.time_limit.map(|limit| limit.as_secs()),
        output_limit: limits.output_limit,
        max_jobs: limits.max_jobs,
        exclusive: new.exclusive,
        requires_full: new.requires_full,
        or_written_out: new.or_written_out,
        fills: new.fills,
        users: limits.users.clone(),
        remote: far::record(&new.host),
    })
}

/// Starts the supervisor of a job with its locked folder as standard input, and waits for its word.
///
/// # Errors
/// When no process can be started, or it ended before it was ready.
pub(super) fn start_supervisor(store: &Store, ticket: &Ticket, lock: &File) -> io::Result<Child> {
    let (mut word, ready) = io::pipe()?;
    let mut command = local::own_program();
    command
        .arg(supervise::WORD)
        .arg(store.root())
        .arg(ticket.as_str())
        .env_clear()
        .envs(environment::clean())
        .stdin(Stdio::from(lock.try_clone()?))
        .stdout(Stdio::from(ready))
        .stderr(Stdio::null());
    let mut command = Command::from(command);
    let mut child = command.spawn()?;
    // The command holds the other end of the pipe and a duplicate of the lock.
    drop(command);
    let mut said = String::new();
    word.read_to_string(&mut said)?;
    if said == supervise::READY {
        Ok(child)
    } else {
        child.start_kill()?;
        Err(io::Error::other("it ended before it was ready"))
    }
}
