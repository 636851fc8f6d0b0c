//! `/config/barman…`: Barman's configuration, shown, changed, and changed back.

use super::App;
use super::error::Failure;
use super::routes::{Call, Work};
use crate::auth::Caller;
use crate::configfile::{ConfigTask, Request, named_keys};
use crate::dispatch::{self, Body, Reply};

/// `/config/barman`: sections, keys and values.
pub(super) fn show<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    look(app, ConfigTask::Show, caller, call)
}

/// `/config/barman/help`: what the keys are for.
pub(super) fn help<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    look(app, ConfigTask::Help, caller, call)
}

/// `/config/barman/reload`: the same, read anew.
pub(super) fn reload<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    look(app, ConfigTask::Reload, caller, call)
}

/// `/config/barman/revisions`: what was changed.
pub(super) fn revisions<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    look(app, ConfigTask::Revisions, caller, call)
}

/// `/config/barman/revisions/<revision>`: one change.
pub(super) fn revision<'a>(app: &'a App, caller: &'a Caller, mut call: Call) -> Work<'a> {
    match call.revision.take() {
        Some(id) => look(app, ConfigTask::Revision(id), caller, call),
        None => Box::pin(async { Err(Failure::no_route()) }),
    }
}

/// `/config/barman/change`: other values.
pub(super) fn change<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    edit(app, ConfigTask::Change, "config_change", caller, call)
}

/// `/config/barman/rollback`: a change taken back.
pub(super) fn rollback<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    edit(app, ConfigTask::Rollback, "config_rollback", caller, call)
}

/// What changes nothing stands in no audit log.
fn look<'a>(app: &'a App, task: ConfigTask, caller: &'a Caller, call: Call) -> Work<'a> {
    Box::pin(async move {
        let request = request(task, "config", caller, call);
        Ok(reply(app.config.answer(request).await?))
    })
}

fn edit<'a>(
    app: &'a App,
    task: ConfigTask,
    event: &'static str,
    caller: &'a Caller,
    call: Call,
) -> Work<'a> {
    Box::pin(async move {
        let mut request = request(task, event, caller, call);
        request.entry.outcome = named_keys(&request.parameters);
        let mut entry = request.entry.clone();
        match app.config.answer(request).await {
            Ok(answer) => Ok(reply(answer)),
            Err(error) => {
                let failure = Failure::from(error);
                entry.event = "refused";
                entry.status = Some(failure.status());
                app.door.note(entry).await;
                Err(failure)
            }
        }
    })
}

fn request(task: ConfigTask, event: &'static str, caller: &Caller, call: Call) -> Request {
    Request {
        task,
        user: caller.user.to_string(),
        full: caller.rights.is_full(),
        parameters: call.parameters,
        if_match: call.if_match,
        entry: dispatch::entry(event, caller, &call.context),
    }
}

fn reply(answer: crate::configfile::Answer) -> Reply {
    Reply {
        status: 200,
        location: None,
        etag: answer.etag,
        body: Body::Json(answer.body),
    }
}
