//! pg-backup-api's words, and ours behind them.
//!
//! An operation is a ticket: `recovery` is the command `restore`, `config_switch` is `config-switch`,
//! `config_update` is `config-update`. Rights are those of the commands, by whichever family of
//! routes they are asked for; jobs that came another way are operations as well. Job files that
//! pg-backup-api has left answer by their ids.

mod diagnosis;
mod document;
mod look;
mod old;
mod place;
mod start;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::auth::Caller;
use crate::configfile::ConfigFiles;
use crate::dispatch::{self, Body, CallContext, Dispatch, Refusal, RefusalKind, Reply};
use crate::fresh::Collecting;
use crate::names::{CommandName, Scope};
pub use place::Place;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Whether the service answers.
    Status,
    /// What `barman diagnose` prints.
    Diagnose,
    /// The servers that the caller may do anything with.
    Servers,
    /// The operations of a place.
    List(Place),
    /// The operation of a place with this id, as it stands in the path.
    One(Place, String),
    /// A new operation, as the body asks for it.
    Start(Place, Vec<u8>),
}

/// A request of a caller who is known.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is wanted.
    pub task: Task,
    /// How it was asked for.
    pub context: CallContext,
}

/// The operations of a Barman.
#[derive(Debug)]
pub struct Operations {
    door: Arc<Dispatch>,
    config: Arc<ConfigFiles>,
    left: old::Left,
}

impl Operations {
    /// The operations behind this door.
    #[must_use]
    pub fn new(door: Arc<Dispatch>, config: Arc<ConfigFiles>) -> Self {
        Self {
            door,
            config,
            left: old::Left::new(Collecting::Returning),
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// When the caller may not have it, it is malformed, or names what does not exist; when Barman
    /// or the store can't do it.
    pub async fn answer(&self, caller: &Caller, request: Request) -> Result<Reply, Refusal> {
        let Request { task, context } = request;
        let entry = dispatch::entry("look", caller, &context);
        let looked = match task {
            // These tell the audit log themselves.
            Task::Diagnose => return self.diagnose(caller, context).await,
            Task::Start(place, document) => {
                return self.start(caller, place, &document, context).await;
            }
            Task::Status => Ok(reply(200, json!("OK"))),
            Task::Servers => self.servers(caller).await,
            Task::List(place) => self.list(caller, place).await,
            Task::One(place, id) => self.one(caller, place, &id).await,
        };
        if let Err(refusal) = &looked
            && refusal.kind == RefusalKind::Forbidden
        {
            self.door.note_refusal(entry, Some(refusal)).await;
        }
        looked
    }

    /// The servers by name, those left out that the caller may see nothing of.
    async fn servers(&self, caller: &Caller) -> Result<Reply, Refusal> {
        let command = command("list-servers")?;
        let paths = self.door.paths_of(&command)?;
        let with = |path: &str| [paths.as_slice(), &[path.to_owned()]].concat();
        if !caller.rights.may_ever(&with("servers")) {
            return Err(Refusal::forbidden("servers"));
        }
        let servers = self.door.servers(&[]).await?;
        let visible = servers.iter().filter(|server| {
            let path = place::path_of_rules(server.as_str());
            let paths = with(path.as_deref().unwrap_or("servers"));
            let scope = Scope::Servers(vec![(*server).clone()]);
            caller.rights.allows(&paths, &scope)
        });
        let servers: Vec<Value> = visible.map(|server| json!({"name": server})).collect();
        Ok(reply(200, json!({ "servers": servers })))
    }
}

/// A command of Barman by its newest name.
fn command(name: &'static str) -> Result<CommandName, Refusal> {
    CommandName::parse(name).map_err(Refusal::internal)
}

fn reply(status: u16, body: Value) -> Reply {
    Reply {
        status,
        location: None,
        etag: None,
        body: Body::Json(body),
    }
}
