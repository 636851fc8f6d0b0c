//! Every outcome a client can meet, once: HTTP status, `status_code`, and the word for it.

use crate::jobs::view::State;
use crate::store::index::Ended;
use crate::store::record::{EndState, Reason};

/// What became of a request or a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The command exited with 0.
    Done,
    /// The command exited with another code.
    Exited(i32),
    /// A signal ended the command.
    Signalled(i32),
    /// The time limit ended the command.
    TimeLimit,
    /// Somebody cancelled the command.
    Cancelled,
    /// Nobody knows how the command ended.
    Lost,
    /// The command could not be started; its ticket says so.
    CouldNotStart,
    /// The command waits for its turn.
    Queued,
    /// The command runs.
    Running,
    /// The request was accepted and has a ticket.
    Accepted,
    /// The request was refused.
    Refused(RefusalKind),
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// A parameter is unknown, missing, repeated or malformed.
    InvalidParameter,
    /// No, wrong, expired or revoked credentials.
    Unauthorized,
    /// The right is missing.
    Forbidden,
    /// No such thing, or not the caller's.
    NotFound,
    /// Another method is wanted.
    MethodNotAllowed,
    /// The same runs already.
    Conflict,
    /// Removed by retention.
    Gone,
    /// The caller's view is stale.
    Stale,
    /// The caller must say which view it edits.
    PreconditionRequired,
    /// The body is too large.
    TooLarge,
    /// The body is neither JSON nor a form.
    UnsupportedMedia,
    /// Barman refuses the candidate configuration.
    RefusedByBarman,
    /// Too many logins, jobs or reloads.
    TooMany,
    /// A defect of ours.
    Internal,
    /// Barman can't be started, reached or understood.
    BarmanUnreachable,
    /// Stopping, or no catalogue yet.
    Unavailable,
    /// No room in the store.
    StoreFull,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The HTTP status.
    pub http: u16,
    /// The `status_code` of the body.
    pub status_code: i32,
    /// The state of a command or the `type` of a refusal.
    pub word: &'static str,
}

impl Outcome {
    /// The row of this outcome.
    #[must_use]
    pub fn row(self) -> Row {
        use RefusalKind as R;
        let (http, status_code, word) = match self {
            Self::Done => (200, 200, "done"),
            Self::Exited(code) => (200, code, "failed"),
            Self::Signalled(signal) => (200, 128 + signal, "failed"),
            Self::TimeLimit => (200, 124, "failed"),
            Self::Cancelled => (200, 130, "cancelled"),
            Self::Lost => (200, -98, "lost"),
            Self::CouldNotStart => (200, 502, "failed"),
            Self::Queued => (200, -99, "queued"),
            Self::Running => (200, -99, "running"),
            Self::Accepted => (202, 202, "accepted"),
            Self::Refused(R::InvalidParameter) => (400, 400, "invalid parameter"),
            Self::Refused(R::Unauthorized) => (401, 401, "unauthorized"),
            Self::Refused(R::Forbidden) => (403, 403, "forbidden"),
            Self::Refused(R::NotFound) => (404, 404, "not found"),
            Self::Refused(R::MethodNotAllowed) => (405, 405, "method not allowed"),
            Self::Refused(R::Conflict) => (409, 409, "conflict"),
            Self::Refused(R::Gone) => (410, 410, "gone"),
            Self::Refused(R::Stale) => (412, 412, "stale"),
            Self::Refused(R::TooLarge) => (413, 413, "too large"),
            Self::Refused(R::UnsupportedMedia) => (415, 415, "unsupported media type"),
            Self::Refused(R::RefusedByBarman) => (422, 422, "refused by barman"),
            Self::Refused(R::PreconditionRequired) => (428, 428, "precondition required"),
            Self::Refused(R::TooMany) => (429, 429, "too many"),
            Self::Refused(R::Internal) => (500, 500, "internal"),
            Self::Refused(R::BarmanUnreachable) => (502, 502, "barman unreachable"),
            Self::Refused(R::Unavailable) => (503, 503, "unavailable"),
            Self::Refused(R::StoreFull) => (507, 507, "store full"),
        };
        Row {
            http,
            status_code,
            word,
        }
    }
}

impl From<&Ended> for Outcome {
    fn from(end: &Ended) -> Self {
        match (end.state, end.reason, end.exit_code, end.signal) {
            (EndState::Done, ..) => Self::Done,
            (EndState::Cancelled, ..) => Self::Cancelled,
            (EndState::Lost, ..) => Self::Lost,
            (EndState::Failed, Some(Reason::TimeLimit), ..) => Self::TimeLimit,
            (EndState::Failed, _, Some(code), _) => Self::Exited(code),
            (EndState::Failed, _, None, Some(signal)) => Self::Signalled(signal),
            (EndState::Failed, _, None, None) => Self::CouldNotStart,
        }
    }
}

impl From<&State> for Outcome {
    fn from(state: &State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Running { .. } => Self::Running,
            State::LostRunning => Self::Lost,
            State::Ended(result) => (&Ended::from(result)).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: Outcome) -> (u16, i32, &'static str) {
        let Row {
            http,
            status_code,
            word,
        } = outcome.row();
        (http, status_code, word)
    }

    macro_rules! line {
        ($name:ident, $outcome:expr, $row:expr) => {
            #[test]
            fn $name() {
                assert_eq!(row($outcome), $row);
            }
        };
    }

    line!(exit_0_is_200, Outcome::Done, (200, 200, "done"));
    line!(exit_n_is_n, Outcome::Exited(3), (200, 3, "failed"));
    line!(
        signal_s_is_128_and_s,
        Outcome::Signalled(9),
        (200, 137, "failed")
    );
    line!(
        the_time_limit_is_124,
        Outcome::TimeLimit,
        (200, 124, "failed")
    );
    line!(
        cancelled_is_130,
        Outcome::Cancelled,
        (200, 130, "cancelled")
    );
    line!(lost_is_minus_98, Outcome::Lost, (200, -98, "lost"));
    line!(
        a_ticket_that_could_not_start_says_502,
        Outcome::CouldNotStart,
        (200, 502, "failed")
    );
    line!(queued_is_minus_99, Outcome::Queued, (200, -99, "queued"));
    line!(running_is_minus_99, Outcome::Running, (200, -99, "running"));
    line!(accepted_is_202, Outcome::Accepted, (202, 202, "accepted"));

    macro_rules! refusal {
        ($name:ident, $kind:ident, $status:literal, $word:literal) => {
            line!(
                $name,
                Outcome::Refused(RefusalKind::$kind),
                ($status, $status, $word)
            );
        };
    }

    refusal!(
        a_bad_parameter_is_400,
        InvalidParameter,
        400,
        "invalid parameter"
    );
    refusal!(bad_credentials_are_401, Unauthorized, 401, "unauthorized");
    refusal!(a_missing_right_is_403, Forbidden, 403, "forbidden");
    refusal!(nothing_there_is_404, NotFound, 404, "not found");
    refusal!(
        a_wrong_method_is_405,
        MethodNotAllowed,
        405,
        "method not allowed"
    );
    refusal!(the_same_job_is_409, Conflict, 409, "conflict");
    refusal!(removed_by_retention_is_410, Gone, 410, "gone");
    refusal!(a_stale_edit_is_412, Stale, 412, "stale");
    refusal!(
        a_missing_precondition_is_428,
        PreconditionRequired,
        428,
        "precondition required"
    );
    refusal!(a_large_body_is_413, TooLarge, 413, "too large");
    refusal!(
        an_odd_body_is_415,
        UnsupportedMedia,
        415,
        "unsupported media type"
    );
    refusal!(
        a_refused_candidate_is_422,
        RefusedByBarman,
        422,
        "refused by barman"
    );
    refusal!(too_many_are_429, TooMany, 429, "too many");
    refusal!(a_defect_is_500, Internal, 500, "internal");
    refusal!(
        an_unreachable_barman_is_502,
        BarmanUnreachable,
        502,
        "barman unreachable"
    );
    refusal!(stopping_is_503, Unavailable, 503, "unavailable");
    refusal!(no_room_is_507, StoreFull, 507, "store full");
}
