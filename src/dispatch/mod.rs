//! The door that every command goes through, whichever route it came by.
//!
//! The order of the questions is fixed: may this caller run this command at all; do the parameters
//! make sense; may this caller run it on these servers; do these servers exist. Whoever lacks the
//! right learns nothing of what is there.

mod admit;
mod answer;
mod ask;
pub mod backups;
mod begin;
mod history;
mod look;
pub mod outcome;
mod refusal;
mod run;
mod said;
mod shared;
mod text;
mod trail;
mod users;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

pub use look::{Seen, Sort, Wanted, Whole};
pub use outcome::RefusalKind;
pub use refusal::Refusal;
pub use said::{Form, Said};
pub use text::Text;
pub use trail::entry;
pub use users::UserTask;

use crate::audit::{Audit, Entry};
use crate::auth::{Auth, Caller};
use crate::catalogue::argv::Places;
use crate::catalogue::traits::Traits;
use crate::catalogue::{Catalogue, Command, document};
use crate::jobs::Jobs;
use crate::live::Live;
use crate::names::{CommandName, Scope};
use crate::parameters::{self, Parameters};
use crate::refresh::{Refresh, RefreshError};
use outcome::Outcome;
use shared::{Runs, Tickets};
use trail::Notes;

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
    /// A JSON document as text.
    Text(Text),
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
    /// Which state of a thing the body shows (RFC 9110, 8.8.3).
    pub etag: Option<String>,
    /// The body.
    pub body: Body,
}

impl Reply {
    fn text(body: Text) -> Self {
        Self {
            status: Outcome::Done.row().http,
            location: None,
            etag: None,
            body: Body::Text(body),
        }
    }

    fn ok(body: Value) -> Self {
        Self {
            status: Outcome::Done.row().http,
            location: None,
            etag: None,
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

/// The door. Its copies are the same door.
#[derive(Debug, Clone)]
pub struct Dispatch {
    auth: Arc<Auth>,
    jobs: Jobs,
    refresh: Arc<Refresh>,
    traits: Arc<Traits>,
    rules: Arc<Live<Rules>>,
    audit: Arc<Audit>,
    notes: Notes,
    runs: Runs,
    tickets: Tickets,
}

impl Dispatch {
    /// A door to these parts. Rules that are replaced count for commands that are asked for then.
    #[must_use]
    pub fn new(
        auth: Arc<Auth>,
        jobs: Jobs,
        refresh: Arc<Refresh>,
        traits: Traits,
        rules: Arc<Live<Rules>>,
        audit: Arc<Audit>,
    ) -> Self {
        Self {
            auth,
            jobs,
            refresh,
            traits: Arc::new(traits),
            rules,
            notes: Notes::new(Arc::clone(&audit)),
            audit,
            runs: shared::runs(),
            tickets: shared::tickets(),
        }
    }

    /// Every command that the caller may run on some server.
    ///
    /// # Errors
    /// When there is no catalogue yet.
    pub fn help(&self, caller: &Caller) -> Result<Reply, Refusal> {
        let catalogue = self.catalogue()?;
        Ok(self.overview(caller, &catalogue))
    }

    /// One command.
    ///
    /// # Errors
    /// When there is no catalogue yet, no such command, or no right to it.
    pub fn command_help(&self, caller: &Caller, name: &CommandName) -> Result<Reply, Refusal> {
        let catalogue = self.catalogue()?;
        let (command, _) = self.find(caller, name, &catalogue)?;
        let list = document::command(
            command,
            &catalogue,
            &self.traits,
            &self.rules.get().async_commands,
        );
        Ok(Reply::ok(envelope(&list)))
    }

    /// Builds the catalogue anew.
    ///
    /// # Errors
    /// When Barman can't be asked or understood, or a rebuild ended a moment ago.
    pub async fn reload(&self, caller: &Caller, context: CallContext) -> Result<Reply, Refusal> {
        let entry = trail::entry("reload", caller, &context);
        let rebuilt = self.rebuild(&entry).await;
        self.note_refusal(entry, rebuilt.as_ref().err()).await;
        let catalogue = rebuilt?;
        Ok(self.overview(caller, &catalogue))
    }

    async fn rebuild(&self, wish: &Entry) -> Result<Arc<Catalogue>, Refusal> {
        self.record(wish.clone()).await?;
        Ok(self.refresh.rebuild().await?)
    }

    /// Why the service is not ready to run commands; nothing when it is.
    ///
    /// # Errors
    /// With a sentence for each reason.
    pub fn ready(&self) -> Result<(), Vec<String>> {
        let mut reasons: Vec<String> = self.refresh.trouble().into_iter().collect();
        reasons.extend(self.jobs.store().trouble());
        if self.refresh.catalogue().is_none() {
            reasons.push(RefreshError::NoCatalogue.to_string());
        }
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(reasons)
        }
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
        let rules = self.rules.get();
        let list = document::overview(catalogue, &self.traits, &rules.async_commands, visible);
        Reply::ok(envelope(&list))
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
