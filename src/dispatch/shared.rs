//! Requests for the same short command share one run, which began after each of them came.
//!
//! Whoever comes here has been let in: nobody is asked for a right once more.

use std::sync::Arc;
use std::time::Duration;

use super::admit::Admitted;
use super::run::{Call, accepted};
use super::said::Said;
use super::{Dispatch, Refusal, Reply};
use crate::audit::Entry;
use crate::fresh::{Collecting, Fresh};
use crate::jobs::direct::{DirectRun, Outcome};
use crate::names::{Ticket, UserName};
use crate::store::record::DataForm;

/// How much longer than `sync_timeout` somebody waits for a run, who may be told of its end by then.
const GRACE: Duration = Duration::from_millis(250);

/// Runs by their arguments: Barman and its host are one and the same for all of a service.
pub(super) type Runs = Fresh<Vec<String>, Result<Run, Arc<Refusal>>>;

/// How a run went.
#[derive(Debug, Clone)]
pub(super) enum Run {
    /// It ended within the limit.
    Ended(Arc<Said>),
    /// It did not, and is being stopped.
    TooLong,
}

/// Jobs that take the place of runs that took too long, by user, arguments and form.
pub(super) type Tickets = Fresh<(UserName, Vec<String>, DataForm), Arc<Taken>>;

/// A ticket for all requests of a user that ran out of time together.
#[derive(Debug)]
pub(super) struct Taken {
    /// The request that it was taken for.
    request_id: String,
    /// The ticket as the audit log has it, whatever came of it.
    noted: Option<String>,
    ticket: Result<Ticket, Arc<Refusal>>,
}

/// Runs of commands, each shared by those who come together.
pub(super) fn runs() -> Runs {
    Fresh::new(Collecting::Returning)
}

/// Tickets, each shared by those who run out of time together.
pub(super) fn tickets() -> Tickets {
    Fresh::new(Collecting::Always)
}

impl Dispatch {
    /// What Barman says to these arguments, in a run that begins from now on; `None` when nobody
    /// may wait that long.
    pub(super) async fn said(&self, arguments: &Vec<String>) -> Result<Option<Arc<Said>>, Refusal> {
        let patience = self.jobs.limits().sync_timeout + GRACE;
        let question = || {
            let (jobs, run) = (self.jobs.clone(), self.direct(arguments.clone(), false));
            async move {
                match jobs.run_directly(run).await {
                    Ok(Outcome::Finished(finished)) => {
                        Ok(Run::Ended(Arc::new(Said::new(finished))))
                    }
                    Ok(Outcome::TimedOut) => Ok(Run::TooLong),
                    Err(error) => Err(Arc::new(error.into())),
                }
            }
        };
        let run = self.runs.get(arguments, question);
        // Who had to wait for the end of another run has no time for all of their own.
        let Ok(run) = tokio::time::timeout(patience, run).await else {
            return Ok(None);
        };
        match run.map_err(Refusal::internal)? {
            Ok(Run::Ended(said)) => Ok(Some(said)),
            Ok(Run::TooLong) => Ok(None),
            Err(refusal) => Err(Refusal::told(&refusal)),
        }
    }

    /// A run of Barman with these arguments.
    pub(super) fn direct(&self, arguments: Vec<String>, raw: bool) -> DirectRun {
        let barman = self.refresh.barman();
        DirectRun {
            host: barman.host.clone(),
            program: barman.program.clone(),
            arguments,
            raw,
        }
    }

    /// Has a command that took too long begin anew as a job, where nothing limits it: it changes
    /// nothing.
    ///
    /// A user gets one ticket for all requests that ran out of time together, so that a slow command
    /// does not fill the line of jobs. Users share none: a ticket is its user's to see and to stop.
    pub(super) async fn ticket_instead(
        &self,
        call: &Call<'_>,
        admitted: Admitted,
        entry: &mut Entry,
    ) -> Result<Reply, Refusal> {
        let user = call.caller.user.clone();
        let key = (user, self.arguments(&admitted), admitted.data.clone());
        let question = || {
            let (door, mut entry) = (self.clone(), entry.clone());
            let (caller, context) = (call.caller.clone(), call.context.clone());
            async move {
                let call = Call {
                    caller: &caller,
                    context: &context,
                };
                let submitted = door.submit(&call, &admitted, &mut entry).await;
                Arc::new(Taken {
                    ticket: submitted
                        .map(|submitted| submitted.ticket)
                        .map_err(Arc::new),
                    noted: entry.ticket,
                    request_id: context.request_id,
                })
            }
        };
        let taken = self.tickets.get(&key, question).await;
        let taken = taken.map_err(Refusal::internal)?;
        if taken.request_id == call.context.request_id {
            entry.ticket.clone_from(&taken.noted);
        } else if let Ok(ticket) = &taken.ticket {
            entry.event = "joined";
            entry.ticket = Some(ticket.to_string());
        }
        match &taken.ticket {
            Ok(ticket) => Ok(accepted(ticket)),
            Err(refusal) => Err(Refusal::told(refusal)),
        }
    }
}
