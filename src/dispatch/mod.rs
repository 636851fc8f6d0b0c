//! The door that every command goes through, whichever route it came by.
//!
//! The order of the questions is fixed: may this caller run this command at all; do the parameters
//! make sense; may this caller run it on these servers; do these servers exist. Whoever lacks the
//! right learns nothing of what is there.

mod answer;
mod history;
pub mod outcome;
mod refusal;

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use outcome::RefusalKind;
pub use refusal::Refusal;

use crate::audit::{Audit, Entry};
use crate::auth::Caller;
use crate::blocking;
use crate::catalogue::argv::{self, Invocation, Places};
use crate::catalogue::traits::{CommandTraits, Traits};
use crate::catalogue::{Catalogue, Command, document};
use crate::jobs::Jobs;
use crate::jobs::direct::{DirectRun, Outcome as DirectOutcome};
use crate::jobs::submit::{NewJob, SubmitError, Submitted};
use crate::jobs::view::State;
use crate::names::{CommandName, Scope};
use crate::parameters::{self, Parameters};
use crate::refresh::{Refresh, RefreshError};
use crate::store::open_jobs::Refused;
use crate::store::record::{DataForm, Reason};
use outcome::Outcome;

/// How a command was asked for.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// Whether the request is a GET.
    pub method_is_get: bool,
    /// Whether the caller prefers a ticket (RFC 7240, `respond-async`).
    pub prefer_async: bool,
    /// The id of the request, as it stands in the log.
    pub request_id: String,
    /// The route's pattern.
    pub route: &'static str,
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// A JSON document.
    Json(Value),
    /// Bytes, as many as the file has.
    File(File),
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Where the result will be.
    pub location: Option<String>,
    /// The body.
    pub body: Body,
}

impl Reply {
    fn ok(body: Value) -> Self {
        Self {
            status: Outcome::Done.row().http,
            location: None,
            body: Body::Json(body),
        }
    }
}

/// What of our configuration decides about commands.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Where restores, exports and imports may go, and which commands are on.
    pub places: Places,
    /// Commands that answer with a ticket at once.
    pub async_commands: Vec<CommandName>,
    /// How long each command may run, the first entry that names it; `None` as name = any.
    pub time_limits: Vec<(Option<CommandName>, Option<Duration>)>,
    /// Whether GET may change state.
    pub get_changes: bool,
}

/// The door.
#[derive(Debug)]
pub struct Dispatch {
    jobs: Jobs,
    refresh: Arc<Refresh>,
    traits: Traits,
    rules: Rules,
    audit: Arc<Audit>,
}

/// A command that passed every question.
#[derive(Debug)]
struct Admitted {
    invocation: Invocation,
    names: Vec<CommandName>,
    traits: CommandTraits,
    data: DataForm,
    /// Whether a ticket is wanted at once.
    at_once: bool,
}

impl Dispatch {
    /// A door to these parts.
    #[must_use]
    pub fn new(
        jobs: Jobs,
        refresh: Arc<Refresh>,
        traits: Traits,
        rules: Rules,
        audit: Arc<Audit>,
    ) -> Self {
        Self {
            jobs,
            refresh,
            traits,
            rules,
            audit,
        }
    }

    /// Every command that the caller may run on some server.
    ///
    /// # Errors
    /// When there is no catalogue yet.
    pub async fn help(&self, caller: &Caller) -> Result<Reply, Refusal> {
        let catalogue = self.catalogue()?;
        Ok(self.overview(caller, &catalogue))
    }

    /// One command.
    ///
    /// # Errors
    /// When there is no catalogue yet, no such command, or no right to it.
    pub async fn command_help(
        &self,
        caller: &Caller,
        name: &CommandName,
    ) -> Result<Reply, Refusal> {
        let catalogue = self.catalogue()?;
        let (command, _) = self.find(caller, name, &catalogue)?;
        let list = document::command(
            command,
            &catalogue,
            &self.traits,
            &self.rules.async_commands,
        );
        Ok(Reply::ok(envelope(&list)))
    }

    /// Builds the catalogue anew.
    ///
    /// # Errors
    /// When Barman can't be asked or understood, or a rebuild ended a moment ago.
    pub async fn reload(&self, caller: &Caller) -> Result<Reply, Refusal> {
        let refresh = Arc::clone(&self.refresh);
        let rebuilt = blocking::run(move || refresh.rebuild()).await;
        let catalogue = rebuilt.map_err(Refusal::internal)??;
        Ok(self.overview(caller, &catalogue))
    }

    /// Why the service is not ready to run commands; nothing when it is.
    ///
    /// # Errors
    /// With a sentence for each reason.
    pub fn ready(&self) -> Result<(), Vec<String>> {
        let mut reasons: Vec<String> = self.refresh.trouble().into_iter().collect();
        if self.refresh.catalogue().is_none() {
            reasons.push(RefreshError::NoCatalogue.to_string());
        }
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(reasons)
        }
    }

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

    /// Asks every question in order.
    async fn admit(
        &self,
        caller: &Caller,
        name: &CommandName,
        context: &CallContext,
        mut parameters: Parameters,
    ) -> Result<Admitted, Refusal> {
        let catalogue = self.catalogue()?;
        let (command, names) = self.find(caller, name, &catalogue)?;
        let traits = self.traits.of(command).clone();
        let json = wants_json(&mut parameters)?;
        let wish = truth_parameter(&mut parameters, "async")?;
        let pairs: Vec<_> = parameters.into_iter().collect();
        let invocation = {
            // Paths are looked at on disk.
            let (command, traits) = (command.clone(), self.traits.clone());
            let places = self.rules.places.clone();
            let built = blocking::run(move || argv::build(&command, &traits, &pairs, &places));
            built.await.map_err(Refusal::internal)??
        };
        if !may(caller, &names, &invocation.scope) {
            return Err(Refusal::forbidden(&command.name.path()));
        }
        if let Some(reason) = &invocation.requires_full
            && !caller.rights.is_full()
        {
            let words = format!("{reason}; only a user with full access may do that");
            return Err(Refusal::new(RefusalKind::Forbidden, words));
        }
        self.check_servers(&invocation.scope).await?;
        if context.method_is_get && !traits.read_only && !self.rules.get_changes {
            let words = format!("{} changes state; send it as POST", command.name);
            return Err(Refusal::new(RefusalKind::MethodNotAllowed, words));
        }
        if traits.raw_stdout && json {
            let words = format!("{} prints bytes, not JSON; leave format out", command.name);
            return Err(Refusal::invalid(words));
        }
        let at_once = wish.unwrap_or_else(|| {
            context.prefer_async || names.iter().any(|n| self.rules.async_commands.contains(n))
        });
        let plain = traits.plain_with.iter().find(|option| {
            let flag = format!("--{option}");
            invocation
                .arguments
                .iter()
                .take_while(|word| *word != "--")
                .any(|word| *word == flag)
        });
        let data = match (json, plain) {
            (false, _) => DataForm::Lines,
            (true, Some(option)) => DataForm::Text(option.clone()),
            (true, None) => DataForm::Json,
        };
        Ok(Admitted {
            invocation,
            names,
            traits,
            data,
            at_once,
        })
    }

    fn catalogue(&self) -> Result<Arc<Catalogue>, Refusal> {
        self.refresh
            .catalogue()
            .ok_or_else(|| RefreshError::NoCatalogue.into())
    }

    /// The command of a name, for a caller who may run it somewhere.
    fn find<'a>(
        &self,
        caller: &Caller,
        name: &CommandName,
        catalogue: &'a Catalogue,
    ) -> Result<(&'a Command, Vec<CommandName>), Refusal> {
        let found = self.traits.canonical(name, catalogue);
        let names = match found {
            Some(command) => self.traits.names(command, catalogue),
            None => vec![name.clone()],
        };
        if !caller.rights.may_ever(&paths(&names)) {
            return Err(Refusal::forbidden(&name.path()));
        }
        let command = found.ok_or_else(|| {
            let words = format!("barman {} has no command {name}", catalogue.version);
            Refusal::new(RefusalKind::NotFound, words)
        })?;
        Ok((command, names))
    }

    async fn check_servers(&self, scope: &Scope) -> Result<(), Refusal> {
        let Scope::Servers(wanted) = scope else {
            return Ok(());
        };
        let refresh = Arc::clone(&self.refresh);
        let servers = blocking::run(move || refresh.servers()).await;
        let servers = servers.map_err(Refusal::internal)??;
        match wanted.iter().find(|server| !servers.contains(server)) {
            None => Ok(()),
            Some(unknown) => {
                let words = format!("barman's configuration has no server {unknown}");
                Err(Refusal::new(RefusalKind::NotFound, words))
            }
        }
    }

    fn overview(&self, caller: &Caller, catalogue: &Catalogue) -> Reply {
        let visible = |name: &CommandName| {
            self.traits
                .canonical(name, catalogue)
                .is_some_and(|command| {
                    caller
                        .rights
                        .may_ever(&paths(&self.traits.names(command, catalogue)))
                })
        };
        let list = document::overview(catalogue, &self.traits, &self.rules.async_commands, visible);
        Reply::ok(envelope(&list))
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
        if let crate::runner::Ending::Exited(code) = finished.ending {
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

/// Whether a caller may run a command, by all its names, on these servers.
fn may(caller: &Caller, names: &[CommandName], scope: &Scope) -> bool {
    caller.rights.allows(&paths(names), scope)
}

/// The paths that rules name a command by.
fn paths(names: &[CommandName]) -> Vec<String> {
    names.iter().map(CommandName::path).collect()
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

fn envelope(list: &Value) -> Value {
    json!({"status_code": Outcome::Done.row().status_code, "message": "", "list": list})
}

/// Takes out a parameter that is one text.
fn text_parameter(parameters: &mut Parameters, word: &str) -> Result<Option<String>, Refusal> {
    match parameters.take(word)? {
        None => Ok(None),
        Some(parameters::Value::Text(text) | parameters::Value::Number(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::invalid(format!("parameter {word} takes one text"))),
    }
}

fn truth_parameter(parameters: &mut Parameters, word: &str) -> Result<Option<bool>, Refusal> {
    let Some(value) = parameters.take(word)? else {
        return Ok(None);
    };
    let text: Vec<_> = value.texts().collect();
    match text.as_slice() {
        [text] if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
        [text] if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
        _ => Err(Refusal::invalid(format!(
            "parameter {word} takes true or false"
        ))),
    }
}

fn wants_json(parameters: &mut Parameters) -> Result<bool, Refusal> {
    match text_parameter(parameters, "format")?.as_deref() {
        None | Some("console") => Ok(false),
        Some("json") => Ok(true),
        Some(other) => Err(Refusal::invalid(format!(
            "format is {other:?}: expected json or console"
        ))),
    }
}

fn nothing_left(parameters: &Parameters) -> Result<(), Refusal> {
    match parameters.iter().next() {
        None => Ok(()),
        Some((name, _)) => {
            let name: String = name.chars().take(80).collect();
            Err(Refusal::invalid(format!(
                "there is no parameter {name:?} here"
            )))
        }
    }
}
