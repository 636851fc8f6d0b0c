//! `/barman/…`: Barman's commands and their help. The door decides everything; this is its handle.

use super::App;
use super::error::Failure;
use super::routes::{Call, Work};
use crate::auth::Caller;
use crate::names::CommandName;

/// `/barman/help`: every command.
pub(super) fn help<'a>(app: &'a App, caller: &'a Caller, _: Call) -> Work<'a> {
    Box::pin(async move { Ok(app.door.help(caller).await?) })
}

/// `/barman/reload`: reads the catalogue anew.
pub(super) fn reload<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    Box::pin(async move { Ok(app.door.reload(caller, call.context).await?) })
}

/// `/barman/<command>/help`: one command.
pub(super) fn command_help<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    Box::pin(async move {
        let command = named(call.command)?;
        Ok(app.door.command_help(caller, &command).await?)
    })
}

/// `/barman/<command>`: runs it.
pub(super) fn run<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    Box::pin(async move {
        let command = named(call.command)?;
        let reply = app
            .door
            .run(caller, &command, call.context, call.parameters)
            .await?;
        Ok(reply)
    })
}

/// The command of the path; a row without `<command>` has none, and then there is no such route.
fn named(command: Option<CommandName>) -> Result<CommandName, Failure> {
    command.ok_or_else(|| Failure::no_route("/barman"))
}
