//! The one table of routes: mounting, 405 with `Allow`, HEAD, rights and the tests that walk all
//! routes derive from it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use rocket::http::Method;

use super::body::{BODY_LIMIT, DOCUMENT_LIMIT};
use super::endpoint::Endpoint;
use super::error::Failure;
use super::guards::Login;
use super::{App, auth, barman, config, health, history, pgbackupapi};
use crate::auth::Caller;
use crate::dispatch::{CallContext, Reply};
use crate::names::{CommandName, Ticket};
use crate::parameters::Parameters;

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

const ANY: &[Method] = &[Method::Get, Method::Post];
const GET: &[Method] = &[Method::Get];
const POST: &[Method] = &[Method::Post];
const PROBE: &[Method] = &[Method::Get, Method::Head];

/// What most rows of the barmanapi family share.
const FAMILY: Row = Row {
    family: Family::Barmanapi,
    path: "",
    methods: ANY,
    auth: AuthKind::Token,
    right: Right::Command,
    changes: Changes::No,
    parameters: false,
    document: false,
    body_limit: BODY_LIMIT,
    handler: Handler::Known(barman::help),
};

/// What the probes share.
const SERVICE: Row = Row {
    methods: PROBE,
    auth: AuthKind::Open,
    right: Right::Open,
    handler: Handler::Open(health::alive),
    ..FAMILY
};

/// What most rows of the pg-backup-api family share.
const PG_BACKUP_API: Row = Row {
    family: Family::PgBackupApi,
    methods: GET,
    handler: Handler::Known(pgbackupapi::status),
    ..FAMILY
};

/// Every route.
pub(super) static ROUTES: &[Row] = &[
    Row {
        path: "/auth/token",
        auth: AuthKind::Basic,
        right: Right::Known,
        handler: Handler::Login(auth::token),
        ..FAMILY
    },
    Row {
        path: "/auth/user",
        auth: AuthKind::BasicOrToken,
        right: Right::Path("auth/user"),
        handler: Handler::Known(auth::user),
        ..FAMILY
    },
    Row {
        path: "/auth/user/list",
        auth: AuthKind::BasicOrToken,
        right: Right::Path("auth/user/list"),
        handler: Handler::Known(auth::list_users),
        ..FAMILY
    },
    Row {
        path: "/auth/user/add",
        auth: AuthKind::BasicOrToken,
        right: Right::Path("auth/user/add"),
        changes: Changes::Yes,
        parameters: true,
        handler: Handler::Known(auth::add_user),
        ..FAMILY
    },
    // The door decides: everybody may have another password.
    Row {
        path: "/auth/user/change",
        auth: AuthKind::BasicOrToken,
        right: Right::Known,
        changes: Changes::Yes,
        parameters: true,
        handler: Handler::Known(auth::change_user),
        ..FAMILY
    },
    Row {
        path: "/auth/user/remove",
        auth: AuthKind::BasicOrToken,
        right: Right::Path("auth/user/remove"),
        changes: Changes::Yes,
        parameters: true,
        handler: Handler::Known(auth::remove_user),
        ..FAMILY
    },
    Row {
        path: "/auth/logout",
        right: Right::Known,
        changes: Changes::Yes,
        handler: Handler::Known(auth::logout),
        ..FAMILY
    },
    Row {
        path: "/config/barman",
        right: Right::Path("config/barman"),
        handler: Handler::Known(config::show),
        ..FAMILY
    },
    Row {
        path: "/config/barman/help",
        right: Right::Path("config/barman/help"),
        handler: Handler::Known(config::help),
        ..FAMILY
    },
    Row {
        path: "/config/barman/reload",
        right: Right::Path("config/barman/reload"),
        handler: Handler::Known(config::reload),
        ..FAMILY
    },
    Row {
        path: "/config/barman/change",
        right: Right::Path("config/barman/change"),
        changes: Changes::Yes,
        parameters: true,
        handler: Handler::Known(config::change),
        ..FAMILY
    },
    Row {
        path: "/config/barman/revisions",
        right: Right::Path("config/barman/revisions"),
        parameters: true,
        handler: Handler::Known(config::revisions),
        ..FAMILY
    },
    Row {
        path: "/config/barman/revisions/<revision>",
        right: Right::Path("config/barman/revisions"),
        handler: Handler::Known(config::revision),
        ..FAMILY
    },
    Row {
        path: "/config/barman/rollback",
        methods: POST,
        right: Right::Path("config/barman/rollback"),
        changes: Changes::Yes,
        parameters: true,
        handler: Handler::Known(config::rollback),
        ..FAMILY
    },
    Row {
        path: "/config/barmanapi",
        right: Right::Path("config/barmanapi"),
        handler: Handler::Known(config::own_show),
        ..FAMILY
    },
    Row {
        path: "/config/barmanapi/change",
        right: Right::Path("config/barmanapi/change"),
        changes: Changes::Yes,
        parameters: true,
        handler: Handler::Known(config::own_change),
        ..FAMILY
    },
    Row {
        path: "/config/barmanapi/revisions",
        right: Right::Path("config/barmanapi/revisions"),
        parameters: true,
        handler: Handler::Known(config::own_revisions),
        ..FAMILY
    },
    Row {
        path: "/config/barmanapi/revisions/<revision>",
        right: Right::Path("config/barmanapi/revisions"),
        handler: Handler::Known(config::own_revision),
        ..FAMILY
    },
    Row {
        path: "/config/barmanapi/rollback",
        methods: POST,
        right: Right::Path("config/barmanapi/rollback"),
        changes: Changes::Yes,
        parameters: true,
        handler: Handler::Known(config::own_rollback),
        ..FAMILY
    },
    Row {
        path: "/history/list",
        right: Right::Path("history/list"),
        parameters: true,
        handler: Handler::Known(history::list),
        ..FAMILY
    },
    Row {
        path: "/history/result",
        right: Right::Path("history/result"),
        parameters: true,
        handler: Handler::Known(history::result),
        ..FAMILY
    },
    Row {
        path: "/history/cancel",
        methods: POST,
        right: Right::Path("history/cancel"),
        changes: Changes::Yes,
        parameters: true,
        handler: Handler::Known(history::cancel),
        ..FAMILY
    },
    Row {
        path: "/barman/help",
        right: Right::Path("barman/help"),
        handler: Handler::Known(barman::help),
        ..FAMILY
    },
    Row {
        path: "/barman/reload",
        right: Right::Path("barman/reload"),
        changes: Changes::Yes,
        handler: Handler::Known(barman::reload),
        ..FAMILY
    },
    Row {
        path: "/barman/<command>/help",
        handler: Handler::Known(barman::command_help),
        ..FAMILY
    },
    Row {
        path: "/barman/<command>",
        changes: Changes::ByCommand,
        parameters: true,
        handler: Handler::Known(barman::run),
        ..FAMILY
    },
    // Everybody who is known may ask whether the service answers.
    Row {
        path: "/status",
        right: Right::Known,
        ..PG_BACKUP_API
    },
    Row {
        path: "/diagnose",
        handler: Handler::Known(pgbackupapi::diagnose),
        ..PG_BACKUP_API
    },
    Row {
        path: "/operations",
        methods: ANY,
        changes: Changes::ByCommand,
        document: true,
        body_limit: DOCUMENT_LIMIT,
        handler: Handler::Known(pgbackupapi::operations),
        ..PG_BACKUP_API
    },
    Row {
        path: "/operations/<operation>",
        handler: Handler::Known(pgbackupapi::operation),
        ..PG_BACKUP_API
    },
    Row {
        path: "/servers",
        handler: Handler::Known(pgbackupapi::servers),
        ..PG_BACKUP_API
    },
    Row {
        path: "/servers/<server>/operations",
        methods: ANY,
        changes: Changes::ByCommand,
        document: true,
        body_limit: DOCUMENT_LIMIT,
        handler: Handler::Known(pgbackupapi::operations),
        ..PG_BACKUP_API
    },
    Row {
        path: "/servers/<server>/operations/<operation>",
        handler: Handler::Known(pgbackupapi::operation),
        ..PG_BACKUP_API
    },
    Row {
        path: "/healthz",
        handler: Handler::Open(health::alive),
        ..SERVICE
    },
    Row {
        path: "/readyz",
        handler: Handler::Open(health::ready),
        ..SERVICE
    },
];

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
mod tests {
    use super::*;

    #[test]
    fn only_the_probes_are_open_and_only_they_take_head() {
        for row in ROUTES {
            let open = ["/healthz", "/readyz"].contains(&row.path);
            assert_eq!(row.auth == AuthKind::Open, open, "{}", row.path);
            assert_eq!(row.right == Right::Open, open, "{}", row.path);
            assert_eq!(
                matches!(row.handler, Handler::Open(_)),
                open,
                "{}",
                row.path
            );
            assert_eq!(row.methods.contains(&Method::Head), open, "{}", row.path);
        }
    }

    #[test]
    fn a_password_is_taken_where_the_documents_say_and_nowhere_else() {
        for row in ROUTES {
            let basic = matches!(row.auth, AuthKind::Basic | AuthKind::BasicOrToken);
            assert_eq!(
                basic,
                row.path == "/auth/token" || row.path.starts_with("/auth/user"),
                "{}",
                row.path
            );
            assert_eq!(
                row.auth == AuthKind::Basic,
                matches!(row.handler, Handler::Login(_)),
                "{}",
                row.path
            );
        }
    }

    #[test]
    fn every_route_of_the_family_answers_get_and_post_but_those_that_undo() {
        let family = ROUTES
            .iter()
            .filter(|row| row.family == Family::Barmanapi && row.auth != AuthKind::Open);
        for row in family {
            let undoes = row.path == "/history/cancel" || row.path.ends_with("/rollback");
            let allow = if undoes { "POST" } else { "GET, POST" };
            assert_eq!(row.allow(), allow, "{}", row.path);
        }
    }

    #[test]
    fn a_right_is_the_path_itself() {
        for row in ROUTES {
            match row.right {
                Right::Path(path) => {
                    let whole = row.path.strip_suffix(REVISION);
                    let whole = whole.map_or(row.path, |path| path.trim_end_matches('/'));
                    assert_eq!(whole, format!("/{path}"));
                }
                Right::Command => assert!(
                    row.path.contains(COMMAND) || row.family == Family::PgBackupApi,
                    "{}",
                    row.path
                ),
                Right::Known => assert!(
                    row.path.starts_with("/auth/") || row.path == "/status",
                    "{}",
                    row.path
                ),
                Right::Open => {}
            }
        }
    }

    #[test]
    fn no_path_stands_twice_in_the_table() {
        let mut paths: Vec<&str> = ROUTES.iter().map(|row| row.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), ROUTES.len());
    }
}
