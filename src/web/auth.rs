//! `/auth/…`: tokens, and what a caller may do.

use std::net::IpAddr;

use serde_json::json;

use super::App;
use super::error::Failure;
use super::guards::Login;
use super::reply::{document, envelope};
use super::routes::{Call, Work};
use crate::auth::{AuthKind, Caller};
use crate::dispatch::{self, RefusalKind, UserTask};
use crate::policy::Rule;

/// `/auth/token`: a token for a name and a password.
pub(super) fn token<'a>(app: &'a App, login: &'a Login, from: IpAddr) -> Work<'a> {
    Box::pin(async move {
        let issued = app.auth.login(&login.name, &login.password, from).await?;
        Ok(document(json!({
            "token": issued.token,
            "token_type": "Bearer",
            "expires_in": issued.expires_in,
        })))
    })
}

/// `/auth/user`: the caller's own rights.
pub(super) fn user<'a>(_: &'a App, caller: &'a Caller, _: Call) -> Work<'a> {
    Box::pin(async move {
        let texts = |rules: &[Rule]| rules.iter().map(Rule::to_string).collect::<Vec<_>>();
        Ok(envelope(
            &format!("the rights of user {}", caller.user),
            &json!({
                "access": texts(caller.rights.access()),
                "deny": texts(caller.rights.deny()),
            }),
        ))
    })
}

/// `/auth/user/list`: all users.
pub(super) fn list_users<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    users(app, UserTask::List, caller, call)
}

/// `/auth/user/add`: one user more.
pub(super) fn add_user<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    users(app, UserTask::Add, caller, call)
}

/// `/auth/user/change`: another password, other rights.
pub(super) fn change_user<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    users(app, UserTask::Change, caller, call)
}

/// `/auth/user/remove`: one user less.
pub(super) fn remove_user<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    users(app, UserTask::Remove, caller, call)
}

fn users<'a>(app: &'a App, task: UserTask, caller: &'a Caller, call: Call) -> Work<'a> {
    Box::pin(async move {
        let done = app.door.users(task, caller, call.context, call.parameters);
        Ok(done.await?)
    })
}

/// `/auth/logout`: every token of the caller ends.
pub(super) fn logout<'a>(app: &'a App, caller: &'a Caller, call: Call) -> Work<'a> {
    Box::pin(async move {
        let mut entry = dispatch::entry("logout", caller, &call.context);
        if caller.kind == AuthKind::Local {
            let words = "whoever has an account on this host could end these tokens; come with a \
                token of the user, or the password";
            let failure = Failure::new(RefusalKind::Forbidden, words);
            entry.event = "refused";
            entry.status = Some(failure.status());
            app.door.note(entry).await;
            return Err(failure);
        }
        app.auth.logout(caller).await?;
        app.door.note(entry).await;
        Ok(envelope(
            &format!("every token of user {} has ended", caller.user),
            &json!([]),
        ))
    })
}
