//! The table itself.

use hyper::Method;

use super::{AuthKind, Changes, Family, Handler, Right, Row};
use crate::web::body::{BODY_LIMIT, DOCUMENT_LIMIT};
use crate::web::{auth, barman, config, health, history, pgbackupapi};

const ANY: &[Method] = &[Method::GET, Method::POST];
const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const PROBE: &[Method] = &[Method::GET, Method::HEAD];

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
pub(in crate::web) static ROUTES: &[Row] = &[
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
