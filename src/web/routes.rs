//! The one table of routes: what a path means, 405 with `Allow`, HEAD, rights and the tests that walk
//! all routes derive from it.

mod table;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use hyper::Method;
use percent_encoding::percent_decode_str;

use super::App;
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

/// The methods that HTTP itself has. One that a path does not take is answered by 405; any other
/// word is no method.
pub(super) const METHODS: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::HEAD,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
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
        let methods: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
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

/// What a path names.
#[derive(Default)]
pub(super) struct Named {
    /// The command, where the pattern has one.
    pub(super) command: Option<CommandName>,
    /// The revision, where the pattern has one.
    pub(super) revision: Option<Ticket>,
    /// The server, where the pattern has one; any text.
    pub(super) server: Option<String>,
    /// The id of an operation, where the pattern has one; any text.
    pub(super) operation: Option<String>,
}

/// Finds the row of a path. Each path has one spelling: a rule about a path would have to know all
/// others.
///
/// # Errors
/// When there is none.
pub(super) fn find(path: &str) -> Result<(&'static Row, Named), Failure> {
    let spelled = |row: &&Row| row.spelling(path) == row.path;
    // A word of ours is no name of a command.
    if let Some(row) = ROUTES.iter().find(spelled) {
        return Ok((row, Named::default()));
    }
    let mut named = ROUTES.iter().filter_map(|row| Some((row, row.read(path)?)));
    named.next().ok_or_else(|| Failure::no_route(path))
}

impl Row {
    /// A path as its family spells it.
    fn spelling<'a>(&self, path: &'a str) -> &'a str {
        match self.family {
            Family::PgBackupApi => path.strip_suffix('/').unwrap_or(path),
            Family::Barmanapi => path,
        }
    }

    /// What a path of this row names; `None` for one of another.
    fn read(&self, path: &str) -> Option<Named> {
        let mut named = Named::default();
        let mut given = self.spelling(path).split('/');
        for wanted in self.path.split('/') {
            let segment = given.next()?;
            match wanted {
                COMMAND => named.command = Some(CommandName::parse(segment).ok()?),
                REVISION => named.revision = Some(Ticket::parse(segment).ok()?),
                SERVER => named.server = Some(text(segment)?),
                OPERATION => named.operation = Some(text(segment)?),
                word if word == segment => {}
                _ => return None,
            }
        }
        given.next().is_none().then_some(named)
    }
}

/// A segment of a path as text; the names in pg-backup-api's paths have no alphabet of their own.
fn text(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    (!text.is_empty()).then(|| text.into_owned())
}

#[cfg(test)]
mod tests;
