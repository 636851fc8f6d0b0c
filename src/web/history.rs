//! `/history/…`: tickets and their results. The door decides whose tickets a caller sees.

use super::App;
use super::routes::{Call, Work};
use crate::auth::Caller;

/// `/history/list`: tickets, newest first.
pub(super) fn list<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    Box::pin(async move { Ok(app.door.history_list(caller, call.parameters).await?) })
}

/// `/history/result`: the result of a ticket.
pub(super) fn result<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    Box::pin(async move { Ok(app.door.history_result(caller, call.parameters).await?) })
}

/// `/history/cancel`: stops a job.
pub(super) fn cancel<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    Box::pin(async move {
        let reply = app
            .door
            .history_cancel(caller, call.context, call.parameters)
            .await?;
        Ok(reply)
    })
}
