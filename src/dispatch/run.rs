//! From a command that passed every question to its answer.

use std::path::Path;
use std::time::Instant;

use super::admit::Admitted;
use super::outcome::{Outcome, RefusalKind};
use super::said::Form;
use super::{Body, CallContext, Dispatch, Refusal, Reply, answer, may, trail};
use crate::audit::Entry;
use crate::auth::Caller;
use crate::blocking;
use crate::jobs::Jobs;
use crate::jobs::direct::Outcome as DirectOutcome;
use crate::jobs::submit::{NewJob, SubmitError, Submitted};
use crate::jobs::view::State;
use crate::names::{CommandName, Ticket};
use crate::parameters::Parameters;
use crate::runner::Ending;
use crate::store::open_jobs::Refused;
use crate::store::record::{DataForm, Job, Reason};

/// One request for a command.
pub(super) struct Call<'a> {
    pub(super) caller: &'a Caller,
    pub(super) context: &'a CallContext,
}

/// A job that was handed in.
pub(super) enum HandedIn {
    /// It has a supervisor.
    New(Submitted),
    /// The same runs already, with this ticket, and must not run twice.
    Running(Ticket),
}

impl Dispatch {
    /// Runs a command for a caller.
    ///
    /// # Errors
    /// When the caller, the command or its parameters don't pass, or nothing could be started.
    pub async fn run(
        &self,
        caller: &Caller,
        name: &CommandName,
        context: CallContext,
        parameters: Parameters,
    ) -> Result<Reply, Refusal> {
        let began = Instant::now();
        let mut entry = trail::entry("ran", caller, &context);
        entry.command = Some(name.to_string());
        let call = Call {
            caller,
            context: &context,
        };
        let answer = self
            .admit_and_run(&call, name, parameters, &mut entry)
            .await;
        let status = match &answer {
            // The line about its acceptance stands, and its supervisor writes one about its end.
            Ok(_) if entry.ticket.is_some() && entry.event == "ran" => return answer,
            Ok(reply) => reply.status,
            Err(refusal) => {
                entry.event = "refused";
                Outcome::Refused(refusal.kind).row().http
            }
        };
        entry.status = Some(status);
        entry.duration_ms = u64::try_from(began.elapsed().as_millis()).ok();
        self.note(entry).await;
        answer
    }

    async fn admit_and_run(
        &self,
        call: &Call<'_>,
        name: &CommandName,
        parameters: Parameters,
        entry: &mut Entry,
    ) -> Result<Reply, Refusal> {
        let admitted = self
            .admit(call.caller, name, call.context, parameters)
            .await?;
        entry.command = Some(admitted.invocation.command.to_string());
        entry.servers = trail::servers(&admitted.invocation.scope);
        let direct = admitted.traits.read_only && !admitted.traits.long;
        if direct && !admitted.at_once {
            return if admitted.traits.raw_stdout {
                self.run_alone(&admitted, entry).await
            } else {
                self.run_within_request(call, admitted, entry).await
            };
        }
        let mut submitted = self.submit(call, &admitted, entry).await?;
        let limit = self.jobs.limits().sync_timeout;
        if admitted.at_once || !submitted.ended_within(limit).await {
            return Ok(accepted(&submitted.ticket));
        }
        self.answer_of(submitted).await
    }

    /// Every argument of Barman, the command included.
    pub(super) fn arguments(&self, admitted: &Admitted) -> Vec<String> {
        let json = admitted.data == DataForm::Json && !admitted.traits.json_console;
        let mut arguments = self.refresh.barman().global_arguments(json);
        arguments.push(admitted.invocation.command.to_string());
        arguments.extend(admitted.invocation.arguments.iter().cloned());
        arguments
    }

    /// Answers with what a run says that others may share.
    async fn run_within_request(
        &self,
        call: &Call<'_>,
        admitted: Admitted,
        entry: &mut Entry,
    ) -> Result<Reply, Refusal> {
        let Some(said) = self.said(&self.arguments(&admitted)).await? else {
            return self.ticket_instead(call, admitted, entry).await;
        };
        if let Ending::Exited(code) = said.finished().ending {
            entry.exit_code = Some(code);
        }
        let (command, data) = (admitted.invocation.command, admitted.data);
        let form = Form::Answer(data.clone());
        let text = said.made(form, move |finished| {
            answer::of_run(&command, finished, &data)
        });
        Ok(Reply::text(text.await?))
    }

    /// Answers with the bytes of a run of the request's own: its file is for one reader.
    async fn run_alone(&self, admitted: &Admitted, entry: &mut Entry) -> Result<Reply, Refusal> {
        let run = self.direct(self.arguments(admitted), true);
        let DirectOutcome::Finished(mut finished) = self.jobs.run_directly(run).await? else {
            let words = "it took longer than [barman] sync_timeout and was stopped; its bytes \
                can't be kept for a ticket, so a longer sync_timeout is what helps";
            return Err(Refusal::new(RefusalKind::BarmanUnreachable, words));
        };
        if let Ending::Exited(code) = finished.ending {
            entry.exit_code = Some(code);
            if code == 0
                && let Some(file) = finished.raw.take()
            {
                return Ok(Reply {
                    status: 200,
                    location: None,
                    etag: None,
                    body: Body::File(file),
                });
            }
        }
        let (command, data) = (&admitted.invocation.command, &admitted.data);
        let (command, data) = (command.clone(), data.clone());
        let body = blocking::run(move || answer::of_run(&command, &finished, &data)).await;
        Ok(Reply::text(body.map_err(Refusal::internal)??.into()))
    }

    /// Hands in a job that must not find the same running.
    pub(super) async fn submit(
        &self,
        call: &Call<'_>,
        admitted: &Admitted,
        entry: &mut Entry,
    ) -> Result<Submitted, Refusal> {
        match self.hand_in(call, admitted, entry).await? {
            HandedIn::New(submitted) => Ok(submitted),
            HandedIn::Running(ticket) => {
                Err(SubmitError::Refused(Refused::SameJob { ticket }).into())
            }
        }
    }

    /// Records a job in the audit log, then in the store, and hands it to its supervisor.
    pub(super) async fn hand_in(
        &self,
        call: &Call<'_>,
        admitted: &Admitted,
        entry: &mut Entry,
    ) -> Result<HandedIn, Refusal> {
        if admitted.traits.raw_stdout {
            let words = "this command prints bytes, which no ticket can keep; ask without async";
            return Err(Refusal::invalid(words));
        }
        let rules = self.rules.get();
        let time_limit = rules
            .time_limits
            .iter()
            .find(|(name, _)| {
                name.as_ref()
                    .is_none_or(|name| admitted.names.contains(name))
            })
            .and_then(|(_, limit)| *limit);
        let new = NewJob {
            ticket: Jobs::new_ticket().map_err(Refusal::internal)?,
            names: admitted.names.clone(),
            scope: admitted.invocation.scope.clone(),
            host: self.refresh.barman().host.clone(),
            program: self.refresh.barman().program.clone(),
            arguments: self.arguments(admitted),
            data: admitted.data.clone(),
            user: call.caller.user.clone(),
            from: call.caller.from,
            request_id: call.context.request_id.clone(),
            time_limit,
            exclusive: admitted.invocation.exclusive,
            requires_full: admitted.invocation.requires_full.is_some(),
            or_written_out: admitted.invocation.or_written_out,
            fills: admitted
                .invocation
                .restore
                .as_ref()
                .map(|restore| restore.destinations.clone()),
        };
        entry.ticket = Some(new.ticket.to_string());
        let mut acceptance = entry.clone();
        acceptance.event = "accepted";
        self.record(acceptance).await?;
        match self.jobs.submit(new).await {
            Ok(submitted) => Ok(HandedIn::New(submitted)),
            Err(SubmitError::Refused(Refused::SameJob { ticket })) => Ok(HandedIn::Running(ticket)),
            Err(SubmitError::Refused(Refused::DirectoryInUse { job, directory })) => {
                Err(in_use(call.caller, &job, &directory))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The answer of a job that ended within its request.
    async fn answer_of(&self, submitted: Submitted) -> Result<Reply, Refusal> {
        let jobs = self.jobs.clone();
        let ticket = submitted.ticket.clone();
        let answered = blocking::run(move || {
            let view = jobs.view(&ticket)?;
            let Some(mut view) = view else {
                return Ok(None);
            };
            let could_not_start = match &view.state {
                State::Ended(result) if result.reason == Some(Reason::CouldNotStart) => {
                    Some(result.detail.clone().unwrap_or_default())
                }
                State::Ended(_) => None,
                _ => return Ok(None),
            };
            let body = answer::of_ticket(&mut view)?;
            Ok::<_, Refusal>(body.map(|body| (body, could_not_start)))
        });
        match answered.await.map_err(Refusal::internal).flatten() {
            Ok(Some((body, None))) => Ok(Reply::text(body.into())),
            Ok(Some((_, Some(_)))) => {
                let words = format!(
                    "barman can't be started; ticket {} says why",
                    submitted.ticket
                );
                Err(Refusal::new(RefusalKind::BarmanUnreachable, words))
            }
            // Its supervisor is gone and Barman is not: the ticket tells what is known.
            Ok(None) => Ok(accepted(&submitted.ticket)),
            // It ran, whatever can be read of it now: whoever were told of a failure would ask for
            // it once more.
            Err(refusal) => {
                let cause = refusal.source.as_ref().map(ToString::to_string);
                let ticket = submitted.ticket.as_str();
                tracing::warn!(ticket, cause, "the result can't be read now");
                Ok(accepted(&submitted.ticket))
            }
        }
    }
}

/// What is said of a directory that another job writes to; its ticket is for those who may see it.
fn in_use(caller: &Caller, job: &Job, directory: &Path) -> Refusal {
    let who = if may(caller, &job.names, &job.scope) {
        format!("ticket {}", job.ticket)
    } else {
        "another job".to_owned()
    };
    let directory = directory.display();
    let words = format!(
        "{who} writes to {directory}, or to a directory below or above it, on the same host, and \
         has not ended"
    );
    Refusal::new(RefusalKind::Conflict, words)
}

pub(super) fn accepted(ticket: &Ticket) -> Reply {
    let ticket = ticket.as_str();
    Reply {
        status: Outcome::Accepted.row().http,
        location: Some(format!("/history/result?ticket={ticket}")),
        etag: None,
        body: Body::Json(answer::of_accepted(ticket)),
    }
}
