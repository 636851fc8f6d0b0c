//! HTTP, on hyper: the only module that knows it.
//!
//! A connection is read in `server`. Each of its requests goes through `access_log` (its id and its
//! line), `endpoint` (every check, in one order), a handler of its family, the door in `dispatch`, and
//! back through `reply` or `error`. `routes` holds the one table all of this derives from. No decision
//! about commands is taken here.

mod access_log;
mod auth;
mod barman;
mod body;
mod config;
mod connection;
mod content;
mod endpoint;
mod error;
mod guards;
mod health;
mod history;
mod parts;
mod pgbackupapi;
mod query;
mod reply;
mod routes;
mod server;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

pub use parts::{Configuration, Door, Identify, Operations};
pub use server::{attend, drain};
pub use traffic::Traffic;

use crate::live::Live;
use crate::names::UserName;

/// What requests may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRules {
    /// Whether `?token=` is taken (`[auth_token] query_token`).
    pub query_token: bool,
    /// Whether a GET may change state (`[application] get_changes`).
    pub get_changes: bool,
    /// How long a body may take to arrive (`[limits] body_time`).
    pub body_time: Duration,
}

/// What the handlers work with; one for the whole process.
pub struct App {
    /// Tells who is calling.
    pub auth: Arc<dyn Identify>,
    /// Takes requests of known callers further.
    pub door: Arc<dyn Door>,
    /// Takes requests in pg-backup-api's words further.
    pub operations: Arc<dyn Operations>,
    /// Shows and changes Barman's configuration.
    pub config: Arc<dyn Configuration>,
    /// Shows and changes our own configuration.
    pub own_config: Arc<dyn Configuration>,
    /// What requests may look like.
    pub requests: Arc<Live<RequestRules>>,
    /// Whom requests on the port for clients of this host run as (`[pgbackupapi] local_user`).
    pub local_user: Option<UserName>,
    /// What is being answered, and whether the service is stopping.
    pub traffic: Arc<Traffic>,
}

#[cfg(test)]
mod tests;
