//! Every outcome that is not a success, turned into an answer in one place.
//!
//! The public message is what the caller can act on; the cause goes to the log with the request's
//! id and never leaves the machine.

use std::error::Error;
use std::io::ErrorKind;

use hyper::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Map, json};

use super::access_log::Marks;
use super::body::BodyError;
use super::content::Content;
use super::guards::CredentialsError;
use super::query::QueryError;
use super::reply::{json_response, set};
use super::routes::{Family, family_of};
use crate::auth::AuthError;
use crate::configfile::ConfigError;
use crate::dispatch::outcome::Outcome;
use crate::dispatch::{Refusal, RefusalKind};
use crate::parameters::Repeated;
use crate::runner::files::FilesError;

/// Seconds after which a caller may try again, where nobody below named them.
const TRY_AGAIN: u32 = 5;

/// What every 401 says, word for word, so that it does not tell whether a user exists.
const UNAUTHORIZED: &str = "no credentials, or none that hold: wrong, expired or revoked";

/// How a caller without credentials is asked for them (RFC 7235).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A name and a password; browsers show a window for it.
    Basic,
    /// A token.
    Bearer,
}

/// A request that is not answered as asked.
#[derive(Debug)]
pub(super) struct Failure {
    refusal: Refusal,
    allow: Option<String>,
    challenge: Challenge,
    family: Family,
}

impl Failure {
    /// A failure with a message for the caller.
    pub(super) fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self::from(Refusal {
            kind,
            message: message.into(),
            reason: None,
            retry_after: None,
            source: None,
        })
    }

    /// The one answer to a path that is not in the table, in the words of the family it looks like.
    pub(super) fn no_route(path: &str) -> Self {
        let family = family_of(path);
        let words = match family {
            Family::Barmanapi => {
                "no such route; paths are exact, in lower case and without a trailing slash"
            }
            // It is one of the texts that pg-backup-api sends as JSON.
            Family::PgBackupApi => {
                "The requested URL was not found on the server. \
                 If you entered the URL manually please check your spelling and try again."
            }
        };
        Self::new(RefusalKind::NotFound, words).family(family)
    }

    /// A request that is none of HTTP's.
    pub(super) fn unreadable(path: &str) -> Self {
        let words = "the request cannot be read; its method is not known";
        Self::new(RefusalKind::InvalidParameter, words).family(family_of(path))
    }

    /// A handler that panicked.
    pub(super) fn broken(path: &str) -> Self {
        Self::new(RefusalKind::Internal, "a handler panicked").family(family_of(path))
    }

    /// A method that the route does not take, with those that it does.
    pub(super) fn method(method: &str, allow: &str) -> Self {
        Self {
            allow: Some(allow.to_owned()),
            ..Self::new(
                RefusalKind::MethodNotAllowed,
                format!("{method} is not allowed here; use {allow}"),
            )
        }
    }

    /// The service is stopping.
    pub(super) fn stopping() -> Self {
        Self::new(
            RefusalKind::Unavailable,
            "the service is stopping; try again",
        )
    }

    /// How to ask for credentials, where that is what is missing.
    pub(super) fn challenge(self, challenge: Challenge) -> Self {
        Self { challenge, ..self }
    }

    /// In whose words it is answered.
    pub(super) fn family(mut self, family: Family) -> Self {
        if family == Family::PgBackupApi && self.refusal.kind == RefusalKind::UnsupportedMedia {
            // Its documents know no 415.
            self.refusal.kind = RefusalKind::InvalidParameter;
        }
        Self { family, ..self }
    }

    /// The HTTP status it is answered with.
    pub(super) fn status(&self) -> u16 {
        self.refusal.status()
    }

    /// Writes the answer, and the cause to the log.
    pub(super) fn respond(self, marks: &Marks) -> Response<Content> {
        let Self {
            refusal,
            allow,
            challenge,
            family,
        } = self;
        let row = Outcome::Refused(refusal.kind).row();
        let (status, word) = (row.http, row.word);
        log_cause(&refusal, status, marks);
        let message = match refusal.kind {
            RefusalKind::Internal => format!("internal error; its request id is {}", marks.id),
            RefusalKind::Unauthorized => UNAUTHORIZED.to_owned(),
            _ => refusal.message,
        };
        let body = match family {
            Family::Barmanapi => {
                let mut body = Map::new();
                body.insert("status_code".into(), status.into());
                body.insert("type".into(), word.into());
                body.insert("message".into(), message.into());
                if let Some(reason) = refusal.reason {
                    body.insert("reason".into(), reason.into());
                }
                body.into()
            }
            Family::PgBackupApi => {
                let phrase = StatusCode::from_u16(status).ok();
                let phrase = phrase.and_then(|status| status.canonical_reason());
                let phrase = phrase.unwrap_or_default();
                json!({"error": format!("{status} {phrase}: {message}")})
            }
        };
        let mut response = json_response(status, &body);
        match refusal.kind {
            RefusalKind::Unauthorized => {
                let how = match challenge {
                    Challenge::Basic => "Basic realm=\"barmanapi\", charset=\"UTF-8\"",
                    Challenge::Bearer => "Bearer realm=\"barmanapi\"",
                };
                set(&mut response, WWW_AUTHENTICATE, how);
            }
            RefusalKind::MethodNotAllowed => {
                // Only commands that change state are refused further down, and only as a GET.
                set(&mut response, ALLOW, allow.as_deref().unwrap_or("POST"));
            }
            RefusalKind::TooMany | RefusalKind::Unavailable => {
                let seconds = refusal.retry_after.unwrap_or(TRY_AGAIN);
                set(&mut response, RETRY_AFTER, &seconds.to_string());
            }
            _ => {}
        }
        response
    }
}

/// A failure is logged once, here, where it ends.
fn log_cause(refusal: &Refusal, status: u16, marks: &Marks) {
    let unexpected = matches!(
        refusal.kind,
        RefusalKind::Internal | RefusalKind::BarmanUnreachable | RefusalKind::StoreFull
    );
    if !unexpected && refusal.source.is_none() {
        return;
    }
    let mut cause = String::new();
    let mut next = refusal
        .source
        .as_deref()
        .map(|source| source as &(dyn Error + 'static));
    while let Some(error) = next {
        if !cause.is_empty() {
            cause.push_str(": ");
        }
        cause.push_str(&error.to_string());
        next = error.source();
    }
    if unexpected {
        tracing::error!(status, request_id = marks.id, cause, "{}", refusal.message);
    } else {
        tracing::warn!(status, request_id = marks.id, cause, "{}", refusal.message);
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            allow: None,
            challenge: Challenge::Bearer,
            family: Family::Barmanapi,
        }
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        Self::from(Refusal::from(error))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        use ConfigError as E;
        let kind = match &error {
            E::Invalid(_) => RefusalKind::InvalidParameter,
            E::Forbidden(_) => RefusalKind::Forbidden,
            E::NotFound(_) => RefusalKind::NotFound,
            E::Conflict(_) => RefusalKind::Conflict,
            E::Stale(_) => RefusalKind::Stale,
            E::NoPrecondition(_) => RefusalKind::PreconditionRequired,
            E::Refused(_) => RefusalKind::RefusedByBarman,
            E::Unreadable(_) | E::NotIni { .. } | E::InDoubt { .. } => {
                RefusalKind::BarmanUnreachable
            }
            E::Files(error) => kind_of_files(error),
            E::Audit(cause) | E::Journal(cause) if is_full(cause) => RefusalKind::StoreFull,
            E::Journal(cause) if cause.kind() == ErrorKind::ReadOnlyFilesystem => {
                RefusalKind::Unavailable
            }
            E::Audit(_) | E::Unavailable(_) => RefusalKind::Unavailable,
            E::Journal(_) | E::Internal(_) => return Self::from(Refusal::internal(error)),
        };
        let mut refusal = Refusal::new(kind, error.to_string());
        if let E::Files(FilesError::Link(error)) = &error {
            refusal.reason = Some(error.word());
        }
        if matches!(
            error,
            E::Files(_) | E::InDoubt { .. } | E::Audit(_) | E::Journal(_)
        ) {
            refusal.source = Some(Box::new(error));
        }
        Self::from(refusal)
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

/// What it means that files of the Barman host can't be read or written.
fn kind_of_files(error: &FilesError) -> RefusalKind {
    match error {
        FilesError::Stale { .. } => RefusalKind::Stale,
        FilesError::NoRoom { .. } => RefusalKind::StoreFull,
        FilesError::ReadOnly { .. } | FilesError::Locked { .. } => RefusalKind::Unavailable,
        FilesError::Partly { error, .. } => kind_of_files(error),
        FilesError::NotFound { .. }
        | FilesError::NotPermitted { .. }
        | FilesError::NotAFile { .. }
        | FilesError::TooLarge { .. }
        | FilesError::TooMany { .. }
        | FilesError::Invalid { .. }
        | FilesError::NotStarted { .. }
        | FilesError::Link(_)
        | FilesError::Io { .. } => RefusalKind::BarmanUnreachable,
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::new(RefusalKind::InvalidParameter, error.to_string())
    }
}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Self {
        Self::new(RefusalKind::InvalidParameter, error.to_string())
    }
}

impl From<Repeated> for Failure {
    fn from(error: Repeated) -> Self {
        Self::new(RefusalKind::InvalidParameter, error.to_string())
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLarge { .. } => RefusalKind::TooLarge,
            BodyError::MediaType | BodyError::NotJson | BodyError::Encoded => {
                RefusalKind::UnsupportedMedia
            }
            BodyError::OnGet
            | BodyError::Length
            | BodyError::Truncated
            | BodyError::Slow(_)
            | BodyError::Malformed(_) => RefusalKind::InvalidParameter,
        };
        Self::new(kind, error.to_string())
    }
}
