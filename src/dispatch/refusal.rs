//! Why a request was refused, in words for the caller and a cause for the log.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use super::outcome::{Outcome, RefusalKind};
use crate::auth::{AuthError, UsersError};
use crate::catalogue::argv::ArgvError;
use crate::jobs::direct::DirectError;
use crate::jobs::submit::SubmitError;
use crate::parameters::Repeated;
use crate::refresh::{AskError, REBUILD_PAUSE, RefreshError};
use crate::runner::StartError;
use crate::runner::ssh::LinkError;
use crate::store::StoreError;
use crate::store::open_jobs::Refused;

/// Seconds after which a full queue is worth another try.
const QUEUE_RETRY: u32 = 10;

/// Seconds after which the index of an archive may be there.
const INDEX_RETRY: u32 = 2;

/// What the caller is told of a defect of ours.
const INTERNAL: &str = "an internal error; the log has the cause";

/// What the caller is told when the store is full.
const NO_ROOM: &str = "the store has no room; free some or move store_directory";

/// What the caller is told when something is used up for now, or a disk does not do its work.
const NO_MEANS: &str = "this host is out of descriptors, processes or memory, or a disk of it \
    can't be read or written; try again, and see the log";

/// What the caller is told when the account of the service may not do its work.
const NO_RIGHT: &str = "the account of the service may not read or write a file that it has to; \
    the log names it";

/// A refused request.
#[derive(Debug)]
pub struct Refusal {
    /// Which line of the table of outcomes.
    pub kind: RefusalKind,
    /// What was wrong and what to do, for the caller.
    pub message: String,
    /// A stable word for the cause, where one kind has several that programs tell apart.
    pub reason: Option<&'static str>,
    /// Seconds to wait before the next try.
    pub retry_after: Option<u32>,
    /// The cause, for the log only.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Refusal {
    /// A refusal without a cause beyond its words.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            reason: None,
            retry_after: None,
            source: None,
        }
    }

    /// A parameter is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::InvalidParameter, message)
    }

    /// The HTTP status it is answered with.
    #[must_use]
    pub fn status(&self) -> u16 {
        Outcome::Refused(self.kind).row().http
    }

    /// The right is missing. The words are the same whatever exists.
    #[must_use]
    pub fn forbidden(path: &str) -> Self {
        Self::new(
            RefusalKind::Forbidden,
            format!("you have no right to {path} with these servers"),
        )
    }

    /// The right to a path that is about no server is missing.
    pub(super) fn forbidden_path(path: &str, rest: &str) -> Self {
        let words = format!("you have no right to {path}{rest}");
        Self::new(RefusalKind::Forbidden, words)
    }

    /// A failure that nobody asked for: a defect of ours, unless the cause is something that the
    /// host lacks. The cause goes to the log.
    pub fn internal(source: impl Error + Send + Sync + 'static) -> Self {
        let (kind, words) = words_of_cause(&source);
        Self::caused(kind, words, source)
    }

    pub(super) fn caused(
        kind: RefusalKind,
        message: impl Into<String>,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            source: Some(Box::new(source)),
            ..Self::new(kind, message)
        }
    }

    /// The same refusal for one more of those who waited together; its cause is theirs, too.
    pub(crate) fn told(refusal: &Arc<Self>) -> Self {
        let source = refusal.source.is_some().then(|| {
            let cause: Box<dyn Error + Send + Sync> = Box::new(Cause(Arc::clone(refusal)));
            cause
        });
        Self {
            kind: refusal.kind,
            message: refusal.message.clone(),
            reason: refusal.reason,
            retry_after: refusal.retry_after,
            source,
        }
    }

    fn retry_after(self, seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }
}

/// The cause of a refusal that several are told of.
#[derive(Debug)]
struct Cause(Arc<Refusal>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.source {
            Some(source) => source.fmt(f),
            None => Ok(()),
        }
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_ref()?.source()
    }
}

impl From<ArgvError> for Refusal {
    fn from(error: ArgvError) -> Self {
        if let ArgvError::HostAway { words, reason } = error {
            return Self {
                reason: Some(reason),
                ..Self::new(RefusalKind::BarmanUnreachable, words)
            };
        }
        let forbidden = error.is_forbidden();
        let kind = if forbidden {
            RefusalKind::Forbidden
        } else {
            RefusalKind::InvalidParameter
        };
        Self::new(kind, error.to_string())
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Unauthorized => Self::new(RefusalKind::Unauthorized, error.to_string()),
            AuthError::TooMany { retry_after } => Self {
                retry_after: u32::try_from(retry_after).ok(),
                ..Self::new(
                    RefusalKind::TooMany,
                    format!("too many attempts to log in; wait {retry_after} seconds"),
                )
            },
            AuthError::Password(error) => Self::invalid(error.to_string()),
            AuthError::Refused(error) => {
                let kind = match &error {
                    UsersError::Unknown(_) => RefusalKind::NotFound,
                    UsersError::Beyond(_) => RefusalKind::Forbidden,
                    UsersError::Reserved(_)
                    | UsersError::UpperCase(_)
                    | UsersError::Faulty { .. } => RefusalKind::InvalidParameter,
                    _ => RefusalKind::Conflict,
                };
                Self::new(kind, error.to_string())
            }
            AuthError::Storage(source) => {
                let denied = is_denied(&source);
                let refusal = Self::internal(source);
                if denied {
                    return Self {
                        kind: RefusalKind::Unavailable,
                        message: NO_RIGHT.to_owned(),
                        ..refusal
                    };
                }
                refusal
            }
        }
    }
}

/// Whether the system has said that the account may not.
fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let own = error.downcast_ref::<io::Error>();
    own.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        || error.source().is_some_and(is_denied)
}

impl From<Repeated> for Refusal {
    fn from(error: Repeated) -> Self {
        Self::invalid(error.to_string())
    }
}

/// What the host lacks, by the error that the system gave somewhere down the chain of causes.
fn lack(error: &(dyn Error + 'static)) -> Option<RefusalKind> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        return match (errno, error.get_ref()) {
            (Some(Errno::NOSPC | Errno::DQUOT), _) => Some(RefusalKind::StoreFull),
            (
                Some(
                    Errno::MFILE
                    | Errno::NFILE
                    | Errno::NOMEM
                    | Errno::AGAIN
                    | Errno::NOLCK
                    | Errno::IO
                    | Errno::ROFS,
                ),
                _,
            ) => Some(RefusalKind::Unavailable),
            (None, Some(inner)) => lack(inner),
            _ => None,
        };
    }
    error.source().and_then(lack)
}

/// What the caller is told of a failure that nobody asked for.
fn words_of_cause(error: &(dyn Error + 'static)) -> (RefusalKind, String) {
    match lack(error) {
        Some(RefusalKind::StoreFull) => (RefusalKind::StoreFull, NO_ROOM.to_owned()),
        Some(kind) => (kind, NO_MEANS.to_owned()),
        None => (RefusalKind::Internal, INTERNAL.to_owned()),
    }
}

/// What the caller is told of a Barman that could not be started.
fn words_of_start(error: &StartError) -> (RefusalKind, String) {
    match error {
        StartError::Capture(source) => words_of_cause(source),
        StartError::Spawn(source)
        | StartError::Record(source)
        | StartError::Link(LinkError::Io(source)) => {
            // A host that gives no process can't start Barman, whatever else it has.
            if source.kind() != io::ErrorKind::WouldBlock && lack(source).is_some() {
                words_of_cause(source)
            } else {
                unreachable_barman(source)
            }
        }
        StartError::Execute { reason, .. } => unreachable_barman(reason),
        StartError::Link(error) => (RefusalKind::BarmanUnreachable, error.to_string()),
    }
}

fn unreachable_barman(reason: &dyn std::fmt::Display) -> (RefusalKind, String) {
    let words = format!("barman can't be started: {reason}");
    (RefusalKind::BarmanUnreachable, words)
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        if let StoreError::IndexNotReady { .. } = error {
            return Self::caused(RefusalKind::Unavailable, error.to_string(), error)
                .retry_after(INDEX_RETRY);
        }
        Self::internal(error)
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        let (kind, words) = words_of_start(&error);
        Self {
            reason: reason_of_start(&error),
            ..Self::caused(kind, words, error)
        }
    }
}

/// Why there is no way to the Barman host, in a word.
fn reason_of_start(error: &StartError) -> Option<&'static str> {
    match error {
        StartError::Link(LinkError::Io(_)) => None,
        StartError::Link(error) => Some(error.word()),
        _ => None,
    }
}

impl From<DirectError> for Refusal {
    fn from(error: DirectError) -> Self {
        match error {
            DirectError::Busy => {
                Self::new(RefusalKind::TooMany, error.to_string()).retry_after(QUEUE_RETRY)
            }
            DirectError::Start(error) => error.into(),
            DirectError::Store(error) => error.into(),
            DirectError::Follow(error) => Self::internal(error),
        }
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Refused(Refused::Store(error)) => error.into(),
            SubmitError::Refused(ref refused @ Refused::QueueFull { .. }) => {
                Self::new(RefusalKind::TooMany, refused.to_string()).retry_after(QUEUE_RETRY)
            }
            SubmitError::Refused(
                ref refused @ (Refused::SameJob { .. } | Refused::DirectoryInUse { .. }),
            ) => Self::new(RefusalKind::Conflict, refused.to_string()),
            SubmitError::NoSupervisor {
                ref ticket,
                ref source,
            } => {
                let words = format!("no process could be started for ticket {ticket}");
                let kind = Some(source)
                    .filter(|source| source.kind() != io::ErrorKind::WouldBlock)
                    .and_then(|source| lack(source))
                    .unwrap_or(RefusalKind::BarmanUnreachable);
                Self::caused(kind, words, error)
            }
            SubmitError::Internal(error) => Self::internal(error),
        }
    }
}

impl From<RefreshError> for Refusal {
    fn from(error: RefreshError) -> Self {
        let cause = match &error {
            RefreshError::Shared(shared) => shared,
            own => own,
        };
        let (kind, words) = match cause {
            RefreshError::TooSoon => {
                let seconds = u32::try_from(REBUILD_PAUSE.as_secs()).unwrap_or(1).max(1);
                return Self::new(RefusalKind::TooMany, cause.to_string()).retry_after(seconds);
            }
            RefreshError::NoCatalogue => {
                let words = "barman's commands are not known yet; /readyz says why";
                return Self::new(RefusalKind::Unavailable, words).retry_after(5);
            }
            RefreshError::Store(cause) | RefreshError::Ask(AskError::Store(cause)) => {
                words_of_cause(cause)
            }
            RefreshError::Ask(AskError::Start(cause)) => words_of_start(cause),
            lacking if lack(lacking).is_some() => words_of_cause(lacking),
            RefreshError::Program { source, .. } => unreachable_barman(source),
            RefreshError::Ask(_) | RefreshError::Help(_) | RefreshError::Shared(_) => {
                (RefusalKind::BarmanUnreachable, cause.to_string())
            }
        };
        let reason = match cause {
            RefreshError::Ask(AskError::Start(cause)) => reason_of_start(cause),
            _ => None,
        };
        Self {
            reason,
            ..Self::caused(kind, words, error)
        }
    }
}
