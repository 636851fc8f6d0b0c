//! From a command that passed every question to its answer.

use std::sync::Arc;
use std::time::Instant;

use super::admit::Admitted;
use super::outcome::{Outcome, RefusalKind};
use super::{Body, CallContext, Dispatch, Refusal, Reply, answer};
use crate::audit::Entry;
use crate::auth::Caller;
use crate::blocking;
use crate::jobs::direct::{DirectRun, Outcome as DirectOutcome};
use crate::jobs::submit::{NewJob, SubmitError, Submitted};
use crate::jobs::view::State;
use crate::names::{CommandName, Scope};
use crate::parameters::Parameters;
use crate::runner::Ending;
use crate::store::open_jobs::Refused;
use crate::store::record::{DataForm, Reason};

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
        let mut entry = Entry::new(if context.method_is_get { "GET" } else { "POST" });
        entry.user = Some(caller.user.to_string());
        entry.from = caller.from.map(|from| from.to_string());
        entry.route = Some(context.route.to_owned());
        entry.request_id = Some(context.request_id.clone());
        entry.command = Some(name.to_string());
        let answer = self
            .admit_and_run(caller, name, &context, parameters, &mut entry)
            .await;
        entry.status = Some(match &answer {
            Ok(reply) => reply.status,
            Err(refusal) => Outcome::Refused(refusal.kind).row().http,
        });
        entry.event = if answer.is_ok() {
            "answered"
        } else {
            "refused"
        };
        entry.duration_ms = u64::try_from(began.elapsed().as_millis()).ok();
        self.note(entry).await;
        answer
    }

    async fn admit_and_run(
        &self,
        caller: &Caller,
        name: &CommandName,
        context: &CallContext,
        parameters: Parameters,
        entry: &mut Entry,
    ) -> Result<Reply, Refusal> {
        let admitted = self.admit(caller, name, context, parameters).await?;
        entry.command = Some(admitted.invocation.command.to_string());
        entry.servers = servers_of(&admitted.invocation.scope);
        if admitted.at_once {
            let submitted = self.submit(caller, context, &admitted, entry).await?;
            return Ok(accepted(&submitted));
        }
        if admitted.traits.read_only && !admitted.traits.long {
            return self
                .run_within_request(caller, context, &admitted, entry)
                .await;
        }
        let mut submitted = self.submit(caller, context, &admitted, entry).await?;
        if !submitted
            .ended_within(self.jobs.limits().sync_timeout)
            .await
        {
            return Ok(accepted(&submitted));
        }
        self.answer_of(submitted).await
    }

    /// Every argument of Barman, the command included.
    fn arguments(&self, admitted: &Admitted) -> Vec<String> {
        let json = admitted.data == DataForm::Json && !admitted.traits.json_console;
        let mut arguments = self.refresh.barman().global_arguments(json);
        arguments.push(admitted.invocation.command.to_string());
        arguments.extend(admitted.invocation.arguments.iter().cloned());
        arguments
    }

    async fn run_within_request(
        &self,
        caller: &Caller,
        context: &CallContext,
        admitted: &Admitted,
        entry: &mut Entry,
    ) -> Result<Reply, Refusal> {
        let run = DirectRun {
            program: self.refresh.barman().program.clone(),
            arguments: self.arguments(admitted),
            raw: admitted.traits.raw_stdout,
        };
        let finished = match self.jobs.run_directly(run).await? {
            DirectOutcome::Finished(finished) => finished,
            DirectOutcome::TimedOut => {
                // It changes nothing, so it can begin anew where nothing limits it.
                let submitted = self.submit(caller, context, admitted, entry).await?;
                return Ok(accepted(&submitted));
            }
        };
        if let Ending::Exited(code) = finished.ending {
            entry.exit_code = Some(code);
            if code == 0
                && let Some(file) = finished.raw
            {
                return Ok(Reply {
                    status: 200,
                    location: None,
                    body: Body::File(file),
                });
            }
        }
        let command = &admitted.invocation.command;
        Ok(Reply::ok(answer::of_run(command, finished, &admitted.data)))
    }

    async fn submit(
        &self,
        caller: &Caller,
        context: &CallContext,
        admitted: &Admitted,
        entry: &mut Entry,
    ) -> Result<Submitted, Refusal> {
        if admitted.traits.raw_stdout {
            let words = "this command prints bytes, which no ticket can keep; ask without async";
            return Err(Refusal::invalid(words));
        }
        let limits = &self.rules.time_limits;
        let time_limit = limits
            .iter()
            .find(|(name, _)| {
                name.as_ref()
                    .is_none_or(|name| admitted.names.contains(name))
            })
            .and_then(|(_, limit)| *limit);
        let new = NewJob {
            names: admitted.names.clone(),
            scope: admitted.invocation.scope.clone(),
            program: self.refresh.barman().program.clone(),
            arguments: self.arguments(admitted),
            data: admitted.data.clone(),
            user: caller.user.clone(),
            from: caller.from,
            request_id: context.request_id.clone(),
            time_limit,
            exclusive: admitted.invocation.exclusive,
            requires_full: admitted.invocation.requires_full.is_some(),
        };
        let submitted = self.jobs.submit(new).await;
        if let Ok(Submitted { ticket, .. })
        | Err(
            SubmitError::NoSupervisor { ticket, .. }
            | SubmitError::Refused(Refused::SameJob { ticket }),
        ) = &submitted
        {
            entry.ticket = Some(ticket.to_string());
        }
        Ok(submitted?)
    }

    /// The answer of a job that ended within its request.
    async fn answer_of(&self, submitted: Submitted) -> Result<Reply, Refusal> {
        let jobs = self.jobs.clone();
        let ticket = submitted.ticket.clone();
        let answered = blocking::run(move || {
            let view = jobs.view(&ticket)?;
            let Some(view) = view else { return Ok(None) };
            let could_not_start = match &view.state {
                State::Ended(result) if result.reason == Some(Reason::CouldNotStart) => {
                    Some(result.detail.clone().unwrap_or_default())
                }
                State::Ended(_) => None,
                _ => return Ok(None),
            };
            let body = answer::of_ticket(&jobs.store().job(&ticket), &view)?;
            Ok::<_, Refusal>(Some((body, could_not_start)))
        });
        match answered.await.map_err(Refusal::internal)?? {
            Some((body, None)) => Ok(Reply::ok(body)),
            Some((_, Some(_))) => {
                let words = format!(
                    "barman can't be started; ticket {} says why",
                    submitted.ticket
                );
                Err(Refusal::new(RefusalKind::BarmanUnreachable, words))
            }
            // Its supervisor is gone and Barman is not: the ticket tells what is known.
            None => Ok(accepted(&submitted)),
        }
    }

    async fn note(&self, entry: Entry) {
        let audit = Arc::clone(&self.audit);
        match blocking::run(move || audit.record(&entry)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => tracing::error!(%error, "audit.log takes no line"),
        }
    }
}

fn servers_of(scope: &Scope) -> Vec<String> {
    match scope {
        Scope::Global => Vec::new(),
        Scope::All => vec!["all".to_owned()],
        Scope::Servers(servers) => servers.iter().map(ToString::to_string).collect(),
    }
}

fn accepted(submitted: &Submitted) -> Reply {
    let ticket = submitted.ticket.as_str();
    Reply {
        status: Outcome::Accepted.row().http,
        location: Some(format!("/history/result?ticket={ticket}")),
        body: Body::Json(answer::of_accepted(ticket)),
    }
}
