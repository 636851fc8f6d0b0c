//! Every outcome that is not a success, turned into an answer in one place.
//!
//! The public message is what the caller can act on; the cause goes to the log with the request's
//! id and never leaves the machine.

use std::error::Error;
use std::io::ErrorKind;

use rocket::catcher::{self, Catcher};
use rocket::http::{Header, Status};
use rocket::{Request, Response};
use serde_json::{Map, json};

use super::access_log::{Marks, finish_salvaged};
use super::body::BodyError;
use super::guards::CredentialsError;
use super::query::QueryError;
use super::reply::json_response;
use super::routes::{Family, family_of};
use crate::auth::AuthError;
use crate::configfile::ConfigError;
use crate::dispatch::outcome::Outcome;
use crate::dispatch::{Refusal, RefusalKind};
use crate::parameters::Repeated;
use crate::runner::files::FilesError;

/// Seconds after which a caller may try again, where nobody below named them.
const RETRY_AFTER: u32 = 5;

/// What every 401 says, word for word, so that it does not tell whether a user exists.
const UNAUTHORIZED: &str = "no credentials, or none that hold: wrong, expired or revoked";

/// The kind for a status that Rocket came up with by itself.
fn kind_of(status: Status) -> RefusalKind {
    match status.code {
        401 => RefusalKind::Unauthorized,
        403 => RefusalKind::Forbidden,
        404 => RefusalKind::NotFound,
        405 => RefusalKind::MethodNotAllowed,
        413 | 414 | 431 => RefusalKind::TooLarge,
        415 => RefusalKind::UnsupportedMedia,
        503 => RefusalKind::Unavailable,
        400..=499 => RefusalKind::InvalidParameter,
        _ => RefusalKind::Internal,
    }
}

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
    pub(super) fn no_route(family: Family) -> Self {
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
        Self::new(RefusalKind::NotFound, words)
    }

    /// A connection that did not come through the listener.
    pub(super) fn not_let_in() -> Self {
        Self::new(
            RefusalKind::Forbidden,
            "this is no address of the service; use the one that it says it listens on",
        )
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
    pub(super) fn respond(self, marks: &Marks) -> Response<'static> {
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
                let phrase = Status::new(status).reason_lossy();
                json!({"error": format!("{status} {phrase}: {message}")})
            }
        };
        let mut response = json_response(status, &body);
        match refusal.kind {
            RefusalKind::Unauthorized => response.set_header(Header::new(
                "WWW-Authenticate",
                match challenge {
                    Challenge::Basic => "Basic realm=\"barmanapi\", charset=\"UTF-8\"",
                    Challenge::Bearer => "Bearer realm=\"barmanapi\"",
                },
            )),
            RefusalKind::MethodNotAllowed => {
                // Only commands that change state are refused further down, and only as a GET.
                let allow = allow.unwrap_or_else(|| "POST".to_owned());
                response.set_header(Header::new("Allow", allow))
            }
            RefusalKind::TooMany | RefusalKind::Unavailable => {
                let seconds = refusal.retry_after.unwrap_or(RETRY_AFTER);
                response.set_header(Header::new("Retry-After", seconds.to_string()))
            }
            _ => false,
        };
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

/// Answers whatever Rocket refuses by itself: a path outside the table, a method it does not know,
/// a handler that panicked.
pub(super) fn catchers() -> Vec<Catcher> {
    vec![Catcher::new(None, catch)]
}

fn catch<'r>(status: Status, request: &'r Request<'_>) -> catcher::BoxFuture<'r> {
    let marks = Marks::of(request);
    let kind = kind_of(status);
    let family = family_of(request.uri().path().raw().as_str());
    let failure = match kind {
        RefusalKind::NotFound => Failure::no_route(family),
        RefusalKind::InvalidParameter => Failure::new(
            kind,
            "the request cannot be read; its method or its target is not known",
        ),
        kind => Failure::new(kind, status.reason_lossy().to_lowercase()),
    };
    let mut response = failure.family(family).respond(marks);
    finish_salvaged(request, &mut response);
    Box::pin(async move { Ok(response) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rocket_raises_keeps_its_class() {
        for code in [400u16, 422, 404, 405, 413, 414, 431, 500, 503, 599] {
            let status = Outcome::Refused(kind_of(Status::new(code))).row().http;
            assert_eq!(status / 100, code / 100, "{code}");
        }
    }
}
