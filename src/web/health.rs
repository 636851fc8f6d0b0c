//! `/healthz` and `/readyz`: for those who watch the process; nothing here tells about Barman's data.

use serde_json::json;

use super::App;
use super::reply::document;
use crate::dispatch::Reply;

/// `/healthz`: the process answers. Also while it stops, so that nobody kills it for being slow.
pub(super) fn alive(_: &App) -> Reply {
    document(json!({ "status": "ok" }))
}

/// `/readyz`: commands can run; or why not.
pub(super) fn ready(app: &App) -> Reply {
    let mut reasons = app.door.ready().err().unwrap_or_default();
    if app.traffic.is_stopping() {
        reasons.push("the service is stopping".to_owned());
    }
    if reasons.is_empty() {
        return document(json!({ "status": "ready" }));
    }
    Reply {
        status: 503,
        ..document(json!({ "status": "not ready", "reasons": reasons }))
    }
}
