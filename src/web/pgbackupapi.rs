//! `/status`, `/diagnose`, `/servers`, `/operations…` and `/servers/NAME/operations…`: pg-backup-api's
//! routes. What they mean is decided in `pgbackupapi`.

use super::App;
use super::error::Failure;
use super::routes::{Call, Work};
use crate::auth::Caller;
use crate::pgbackupapi::{Place, Request, Task};

/// `/status`: whether the service answers.
pub(super) fn status<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    answer(app, caller, call, |_| Ok(Task::Status))
}

/// `/diagnose`: what `barman diagnose` prints.
pub(super) fn diagnose<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    answer(app, caller, call, |_| Ok(Task::Diagnose))
}

/// `/servers`: which there are.
pub(super) fn servers<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    answer(app, caller, call, |_| Ok(Task::Servers))
}

/// `/operations` and `/servers/<server>/operations`: which there are, or a new one.
pub(super) fn operations<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    answer(app, caller, call, |call| {
        let place = place(call);
        Ok(if call.context.method_is_get {
            Task::List(place)
        } else {
            Task::Start(place, std::mem::take(&mut call.document))
        })
    })
}

/// `/operations/<operation>` and `/servers/<server>/operations/<operation>`: one of them.
pub(super) fn operation<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    answer(app, caller, call, |call| {
        let id = call
            .operation
            .take()
            .ok_or_else(|| Failure::no_route("/operations"))?;
        Ok(Task::One(place(call), id))
    })
}

fn place(call: &mut Call) -> Place {
    call.server.take().map_or(Place::Instance, Place::Server)
}

fn answer<'a>(
    app: &'a App,
    caller: &'a Caller,
    mut call: Call,
    task: fn(&mut Call) -> Result<Task, Failure>,
) -> Work<'a> {
    Box::pin(async move {
        let task = task(&mut call)?;
        let context = call.context;
        let reply = app
            .operations
            .answer(caller, Request { task, context })
            .await?;
        Ok(reply)
    })
}
