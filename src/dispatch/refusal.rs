//! Why a request was refused, in words for the caller and a cause for the log.

use std::error::Error;

use super::outcome::RefusalKind;
use crate::catalogue::argv::ArgvError;
use crate::jobs::direct::DirectError;
use crate::jobs::submit::SubmitError;
use crate::parameters::Repeated;
use crate::refresh::{AskError, REBUILD_PAUSE, RefreshError};
use crate::runner::StartError;
use crate::store::StoreError;
use crate::store::open_jobs::Refused;

/// Seconds after which a full queue is worth another try.
const QUEUE_RETRY: u32 = 10;

/// A refused request.
#[derive(Debug)]
pub struct Refusal {
    /// Which line of the table of outcomes.
    pub kind: RefusalKind,
    /// What was wrong and what to do, for the caller.
    pub message: String,
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
            retry_after: None,
            source: None,
        }
    }

    /// A parameter is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::InvalidParameter, message)
    }

    /// The right is missing. The words are the same whatever exists.
    #[must_use]
    pub fn forbidden(path: &str) -> Self {
        Self::new(
            RefusalKind::Forbidden,
            format!("you have no right to {path} with these servers"),
        )
    }

    /// A defect of ours; the cause goes to the log.
    pub fn internal(source: impl Error + Send + Sync + 'static) -> Self {
        Self::caused(
            RefusalKind::Internal,
            "an internal error; the log has the cause",
            source,
        )
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

    fn retry_after(self, seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }
}

impl From<ArgvError> for Refusal {
    fn from(error: ArgvError) -> Self {
        let forbidden = error.is_forbidden();
        let kind = if forbidden {
            RefusalKind::Forbidden
        } else {
            RefusalKind::InvalidParameter
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Repeated> for Refusal {
    fn from(error: Repeated) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        if error.is_full() {
            let words = "the store has no room; free some or move store_directory";
            Self::caused(RefusalKind::StoreFull, words, error)
        } else {
            Self::internal(error)
        }
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Capture(source) => Self::from(StoreError::Record {
                path: "capture".into(),
                source,
            }),
            StartError::Spawn(source) => Self::caused(
                RefusalKind::BarmanUnreachable,
                format!("barman can't be started: {source}"),
                source,
            ),
            StartError::Execute { ref reason, .. } => {
                let words = format!("barman can't be started: {reason}");
                Self::caused(RefusalKind::BarmanUnreachable, words, error)
            }
        }
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
            SubmitError::Refused(ref refused @ Refused::SameJob { .. }) => {
                Self::new(RefusalKind::Conflict, refused.to_string())
            }
            SubmitError::NoSupervisor { ref ticket, .. } => {
                let words = format!("no process could be started for ticket {ticket}");
                Self::caused(RefusalKind::BarmanUnreachable, words, error)
            }
            SubmitError::Internal(error) => Self::internal(error),
        }
    }
}

impl From<RefreshError> for Refusal {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::TooSoon => {
                let seconds = u32::try_from(REBUILD_PAUSE.as_secs()).unwrap_or(1).max(1);
                Self::new(RefusalKind::TooMany, error.to_string()).retry_after(seconds)
            }
            RefreshError::NoCatalogue => Self::new(
                RefusalKind::Unavailable,
                "barman's commands are not known yet; /readyz says why",
            )
            .retry_after(5),
            RefreshError::Store(error) | RefreshError::Ask(AskError::Store(error)) => error.into(),
            RefreshError::Ask(AskError::Start(error)) => error.into(),
            RefreshError::Program { ref source, .. } => {
                let words = format!("barman can't be started: {source}");
                Self::caused(RefusalKind::BarmanUnreachable, words, error)
            }
            RefreshError::Ask(_) | RefreshError::Help(_) => {
                Self::caused(RefusalKind::BarmanUnreachable, error.to_string(), error)
            }
        }
    }
}
