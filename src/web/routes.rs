//! The one table of routes: mounting, 405 with `Allow`, HEAD, rights and the tests that walk all
//! routes derive from it.

mod table;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use rocket::http::Method;

use super::App;
use super::endpoint::Endpoint;
use super::error::Failure;
use super::guards::Login;
use crate::auth::Caller;
use crate::dispatch::{CallContext, Reply};
use crate::names::{CommandName, Ticket};
use crate::parameters::Parameters;
pub(super) use table::ROUTES;

/// The segment of a pattern that a command's name stands in for.
pub(super) const COMMAND: &str = "<command>";

/// The segment of a pattern that a revision's name stands in for.
pub(super) const REVISION: &str = "<revision>";

/// The segment of a pattern that a server's name stands in for, percent-encoded.
pub(super) const SERVER: &str = "<server>";

/// The segment of a pattern that an operation's id stands in for.
pub(super) const OPERATION: &str = "<operation>";

/// Every method that Rocket can route. All are mounted on every path, so that a method which the
/// table does not name is answered by 405 and not by Rocket's 404, and so that Rocket never hands
/// a HEAD to a GET.
const METHODS: [Method; 9] = [
    Method::Get,
    Method::Post,
    Method::Put,
    Method::Delete,
    Method::Patch,
    Method::Head,
    Method::Options,
    Method::Trace,
    Method::Connect,
];

/// How a caller may show who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthKind {
    /// Nobody is asked.
    Open,
    /// By name and password.
    Basic,
    /// By token.
    Token,
    /// By either.
    BasicOrToken,
}

/// Whose words a route speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Ours and barmanapi's: paths are exact, errors have a `type` and a `message`.
    Barmanapi,
    /// Those of pg-backup-api: a trailing slash is taken, errors have an `error` alone.
    PgBackupApi,
}

/// Which right a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// None.
    Open,
    /// None beyond being known: everyone may get a token and end their own.
    Known,
    /// The right to this path.
    Path(&'static str),
    /// The right to the command, by its canonical name, or to what an operation does; the door
    /// decides.
    Command,
}

/// Whether a route changes state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// It does not.
    No,
    /// It does.
    Yes,
    /// The command decides; the door knows.
    ByCommand,
}

/// What a handler gets beside the caller.
pub(super) struct Call {
    /// The command in the path, where the pattern has one.
    pub(super) command: Option<CommandName>,
    /// The revision in the path, where the pattern has one.
    pub(super) revision: Option<Ticket>,
    /// The server in the path, where the pattern has one; any text.
    pub(super) server: Option<String>,
    /// The id of an operation in the path, where the pattern has one; any text.
    pub(super) operation: Option<String>,
    /// The body, where the route takes one as it is.
    pub(super) document: Vec<u8>,
    /// The value of `If-Match`.
    pub(super) if_match: Option<String>,
    /// The parameters, `token` taken out.
    pub(super) parameters: Parameters,
    /// How it was asked for.
    pub(super) context: CallContext,
}

/// The work of a handler.
pub(super) type Work<'a> = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>>;

/// A handler. Its form says whom it can be called for: nothing but `Known` ever sees a command, and
/// it can't be called without a caller.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// For anybody.
    Open(fn(&App) -> Reply),
    /// For a name and a password that are still to be judged.
    Login(for<'a> fn(&'a App, &'a Login, IpAddr) -> Work<'a>),
    /// For a caller who is known and has the right.
    Known(for<'a> fn(&'a App, &'a Caller, Call) -> Work<'a>),
}

/// One route.
pub(super) struct Row {
    /// Whose words it speaks.
    pub(super) family: Family,
    /// The exact path; `<command>` and its like stand for one segment.
    pub(super) path: &'static str,
    /// The methods that are taken.
    pub(super) methods: &'static [Method],
    /// How a caller may show who it is.
    pub(super) auth: AuthKind,
    /// Which right it needs.
    pub(super) right: Right,
    /// Whether it changes state.
    pub(super) changes: Changes,
    /// Whether it takes parameters at all.
    pub(super) parameters: bool,
    /// Whether it takes a JSON body as it is, and no parameters.
    pub(super) document: bool,
    /// The most bytes of a body.
    pub(super) body_limit: u64,
    /// What it does.
    pub(super) handler: Handler,
}

impl Row {
    /// The value of `Allow`.
    pub(super) fn allow(&self) -> String {
        let methods: Vec<&str> = self.methods.iter().map(|method| method.as_str()).collect();
        methods.join(", ")
    }
}

/// Whose words a path is answered in that no route takes.
pub(super) fn family_of(path: &str) -> Family {
    let of = |path: &str| path.split('/').nth(1).unwrap_or_default().to_owned();
    let first = of(path);
    let row = ROUTES.iter().find(|row| of(row.path) == first);
    row.map_or(Family::Barmanapi, |row| row.family)
}

/// The table as Rocket wants it.
pub(super) fn mount() -> Vec<rocket::Route> {
    ROUTES
        .iter()
        .flat_map(|row| {
            METHODS.iter().map(move |method| {
                let mut route = rocket::Route::new(*method, row.path, Endpoint { row });
                route.name = Some(row.path.into());
                route
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
