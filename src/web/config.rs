//! `/config/barman…` and `/config/barmanapi…`: Barman's configuration and our own, shown, changed,
//! and changed back.

use std::sync::Arc;

use super::App;
use super::error::Failure;
use super::parts::Configuration;
use super::routes::{Call, Work};
use crate::auth::Caller;
use crate::configfile::{ConfigTask, Request, named_keys, named_own_keys};
use crate::dispatch::{self, Body, Reply};
use crate::parameters::Parameters;

/// A configuration that can be asked for.
#[derive(Clone, Copy)]
struct Files<'a> {
    file: &'a Arc<dyn Configuration>,
    /// The keys that a request names.
    named: fn(&Parameters) -> Option<String>,
}

fn barman(app: &App) -> Files<'_> {
    Files {
        file: &app.config,
        named: named_keys,
    }
}

fn own(app: &App) -> Files<'_> {
    Files {
        file: &app.own_config,
        named: named_own_keys,
    }
}

/// `/config/barman`: sections, keys and values.
pub(super) fn show<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    look(barman(app), ConfigTask::Show, caller, call)
}

/// `/config/barman/help`: what the keys are for.
pub(super) fn help<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    look(barman(app), ConfigTask::Help, caller, call)
}

/// `/config/barman/reload`: the same, read anew.
pub(super) fn reload<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    look(barman(app), ConfigTask::Reload, caller, call)
}

/// `/config/barman/revisions`: what was changed.
pub(super) fn revisions<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    look(barman(app), ConfigTask::Revisions, caller, call)
}

/// `/config/barman/revisions/<revision>`: one change.
pub(super) fn revision<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    look_at(barman(app), caller, call)
}

/// `/config/barman/change`: other values.
pub(super) fn change<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    edit(app, barman(app), ConfigTask::Change, caller, call)
}

/// `/config/barman/rollback`: a change taken back.
pub(super) fn rollback<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    edit(app, barman(app), ConfigTask::Rollback, caller, call)
}

/// `/config/barmanapi`: sections, keys and values.
pub(super) fn own_show<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    look(own(app), ConfigTask::Show, caller, call)
}

/// `/config/barmanapi/revisions`: what was changed.
pub(super) fn own_revisions<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    look(own(app), ConfigTask::Revisions, caller, call)
}

/// `/config/barmanapi/revisions/<revision>`: one change.
pub(super) fn own_revision<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    look_at(own(app), caller, call)
}

/// `/config/barmanapi/change`: other values.
pub(super) fn own_change<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    edit(app, own(app), ConfigTask::Change, caller, call)
}

/// `/config/barmanapi/rollback`: a change taken back.
pub(super) fn own_rollback<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    edit(app, own(app), ConfigTask::Rollback, caller, call)
}

/// What changes nothing stands in no audit log.
fn look<'a>(files: Files<'a>, task: ConfigTask, caller: &'a Caller, call: Call) -> Work<'a> {
    Box::pin(async move {
        let request = request(task, "config", caller, call);
        Ok(reply(files.file.answer(request).await?))
    })
}

fn look_at<'a>(files: Files<'a>, caller: &'a Caller, mut call: Call) -> Work<'a> {
    match call.revision.take() {
        Some(id) => look(files, ConfigTask::Revision(id), caller, call),
        None => Box::pin(async { Err(Failure::no_route("/config")) }),
    }
}

fn edit<'a>(
    app: &'a App,
    files: Files<'a>,
    task: ConfigTask,
    caller: &'a Caller,
    call: Call,
) -> Work<'a> {
    Box::pin(async move {
        let event = match task {
            ConfigTask::Rollback => "config_rollback",
            _ => "config_change",
        };
        let mut request = request(task, event, caller, call);
        request.entry.outcome = (files.named)(&request.parameters);
        let mut entry = request.entry.clone();
        match files.file.answer(request).await {
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
