//! From what is known about a command to the body of an answer.

use serde_json::{Map, Value, json};

use super::outcome::Outcome;
use crate::jobs::direct::Finished;
use crate::jobs::view::{State, View};
use crate::names::CommandName;
use crate::output::Kept;
use crate::redact;
use crate::runner::Ending;
use crate::store::StoreError;
use crate::store::record::{DataForm, JobFolder};

/// What barmanapi has always said of a job that has not ended.
pub(super) const NOT_YET: &str = "Command not execute yet.";

/// The two outputs of a command, masked and capped.
#[derive(Debug, Clone, Default)]
struct Outputs {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    kept_stdout: Kept,
    kept_stderr: Kept,
}

/// The answer of a command that ran within its request.
pub(super) fn of_run(command: &CommandName, finished: Finished, data: &DataForm) -> Value {
    let outcome = match finished.ending {
        Ending::Exited(0) => Outcome::Done,
        Ending::Exited(code) => Outcome::Exited(code),
        Ending::Signalled(signal) => Outcome::Signalled(signal),
    };
    let outputs = Outputs {
        stdout: finished.stdout,
        stderr: finished.stderr,
        kept_stdout: finished.kept_stdout,
        kept_stderr: finished.kept_stderr,
    };
    let mut body = finished_body(outcome, &outputs, data, None);
    body.insert("command".into(), command.as_str().into());
    match finished.ending {
        Ending::Exited(code) => body.insert("exit_code".into(), code.into()),
        Ending::Signalled(signal) => body.insert("signal".into(), signal.into()),
    };
    body.into()
}

/// The answer for a ticket.
pub(super) fn of_ticket(folder: &JobFolder, view: &View) -> Result<Value, StoreError> {
    let outcome = Outcome::from(&view.state);
    let mut body = match &view.state {
        State::Queued | State::Running => not_finished_body(outcome),
        State::LostRunning => {
            let outputs = read_outputs(folder, Kept::default(), Kept::default())?;
            let words = "the supervisor died; barman still runs and its end will not be known";
            finished_body(outcome, &outputs, &DataForm::Lines, Some(words))
        }
        State::Ended(result) => {
            let outputs = read_outputs(folder, result.stdout, result.stderr)?;
            finished_body(outcome, &outputs, &view.job.data, result.detail.as_deref())
        }
    };
    body.insert("ticket".into(), view.job.ticket.as_str().into());
    body.insert("command".into(), view.job.command.as_str().into());
    body.insert("user".into(), view.job.user.as_str().into());
    body.insert("accepted_at".into(), view.job.accepted_at.as_str().into());
    body.insert("exit_code".into(), Value::Null);
    body.insert("started_at".into(), json!(folder.started_at()));
    body.insert("ended_at".into(), Value::Null);
    match &view.state {
        State::Running => {
            body.insert("reachable".into(), true.into());
        }
        State::LostRunning => {
            body.insert("barman_still_runs".into(), true.into());
        }
        State::Ended(result) => {
            body.insert("exit_code".into(), json!(result.exit_code));
            body.insert("started_at".into(), json!(result.started_at));
            body.insert("ended_at".into(), json!(result.ended_at));
            body.insert("duration_ms".into(), json!(result.duration_ms));
            if let Some(signal) = result.signal {
                body.insert("signal".into(), signal.into());
            }
            if let Some(reason) = result.reason {
                body.insert("reason".into(), json!(reason));
            }
            if outcome == Outcome::Lost {
                body.insert("barman_still_runs".into(), false.into());
            }
        }
        State::Queued => {}
    }
    Ok(body.into())
}

/// The answer of a request that got a ticket.
pub(super) fn of_accepted(ticket: &str) -> Value {
    let message = format!("The command was accepted. Ask /history/result?ticket={ticket}");
    json!({
        "status_code": Outcome::Accepted.row().status_code,
        "message": "",
        "list": {"ticket": ticket, "message": message},
    })
}

fn not_finished_body(outcome: Outcome) -> Map<String, Value> {
    let row = outcome.row();
    let mut body = Map::new();
    body.insert("status_code".into(), row.status_code.into());
    body.insert("message".into(), NOT_YET.into());
    body.insert("list".into(), Value::Array(Vec::new()));
    body.insert("state".into(), row.word.into());
    body
}

fn read_outputs(folder: &JobFolder, stdout: Kept, stderr: Kept) -> Result<Outputs, StoreError> {
    Ok(Outputs {
        stdout: folder.output("stdout")?,
        stderr: folder.output("stderr")?,
        kept_stdout: stdout,
        kept_stderr: stderr,
    })
}

fn finished_body(
    outcome: Outcome,
    outputs: &Outputs,
    data: &DataForm,
    detail: Option<&str>,
) -> Map<String, Value> {
    let row = outcome.row();
    let stdout = String::from_utf8_lossy(&outputs.stdout);
    let stderr = String::from_utf8_lossy(&outputs.stderr);
    let message = if stderr.is_empty() {
        detail.unwrap_or_default()
    } else {
        &stderr
    };
    let mut body = Map::new();
    body.insert("status_code".into(), row.status_code.into());
    body.insert("message".into(), message.into());
    body.insert("list".into(), stdout.lines().collect());
    body.insert("state".into(), row.word.into());
    if let Some(detail) = detail {
        body.insert("detail".into(), detail.into());
    }
    let kept = [&outputs.kept_stdout, &outputs.kept_stderr];
    if kept.iter().any(|kept| kept.truncated || kept.incomplete) {
        body.insert("truncated".into(), true.into());
        body.insert("bytes_total".into(), outputs.kept_stdout.bytes.into());
    }
    let lossy = [&stdout, &stderr]
        .iter()
        .any(|text| matches!(text, std::borrow::Cow::Owned(_)));
    if lossy {
        body.insert("encoding".into(), "lossy".into());
    }
    match data {
        DataForm::Lines => {}
        DataForm::Text(name) => {
            body.insert("data".into(), json!({name.as_str(): stdout.trim()}));
        }
        DataForm::Json => match serde_json::from_str::<Value>(&stdout) {
            Ok(mut document) => {
                redact::json(&mut document);
                body.insert("data".into(), document);
            }
            Err(error) => {
                body.insert("data".into(), Value::Null);
                let words = format!("barman printed no JSON document: {error}");
                body.insert("data_error".into(), words.into());
            }
        },
    }
    body
}
