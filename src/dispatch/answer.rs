//! From what is known about a command to the body of an answer.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::Refusal;
use super::outcome::Outcome;
use crate::jobs::direct::Finished;
use crate::jobs::view::{self, State, View};
use crate::names::CommandName;
use crate::output::Kept;
use crate::redact;
use crate::runner::Ending;
use crate::store::record::DataForm;

/// What barmanapi has always said of a job that has not ended.
pub(super) const NOT_YET: &str = "Command not execute yet.";

/// The longest output that is read as a document, in bytes. What it holds takes many times its
/// length in memory.
const DOCUMENT_LIMIT: usize = 4 * 1024 * 1024;

/// An answer about a command, whose `list` is written straight from the output: as values, millions
/// of short lines would take a hundred times their length.
struct Answer<'a> {
    fields: Map<String, Value>,
    stdout: Cow<'a, [u8]>,
}

impl Answer<'_> {
    /// The answer as JSON text.
    fn text(self) -> Result<Vec<u8>, serde_json::Error> {
        let stdout = String::from_utf8_lossy(&self.stdout);
        let mut text = Vec::with_capacity(stdout.len() + stdout.len() / 4 + 1024);
        let mut serializer = serde_json::Serializer::new(&mut text);
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.fields {
            if name == "list" {
                map.serialize_entry(name, &Lines(&stdout))?;
            } else {
                map.serialize_entry(name, value)?;
            }
        }
        SerializeMap::end(map)?;
        Ok(text)
    }
}

/// A text as the array of its lines.
struct Lines<'a>(&'a str);

impl Serialize for Lines<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.lines())
    }
}

/// The two outputs of a command, masked and capped.
#[derive(Debug, Clone, Default)]
struct Outputs<'a> {
    stdout: Cow<'a, [u8]>,
    stderr: Cow<'a, [u8]>,
    kept_stdout: Kept,
    kept_stderr: Kept,
}

/// The answer of a command that ran within its request.
///
/// # Errors
/// When it can't be written as JSON, of which there is no case.
pub(super) fn of_run(
    command: &CommandName,
    finished: &Finished,
    data: &DataForm,
) -> Result<Vec<u8>, Refusal> {
    let outcome = match finished.ending {
        Ending::Exited(0) => Outcome::Done,
        Ending::Exited(code) => Outcome::Exited(code),
        Ending::Signalled(signal) => Outcome::Signalled(signal),
        Ending::Unknown { .. } => Outcome::Lost,
    };
    let outputs = Outputs {
        stdout: finished.stdout.as_slice().into(),
        stderr: finished.stderr.as_slice().into(),
        kept_stdout: finished.kept_stdout,
        kept_stderr: finished.kept_stderr,
    };
    let mut answer = finished_answer(outcome, outputs, data, None);
    let body = &mut answer.fields;
    body.insert("command".into(), command.as_str().into());
    match finished.ending {
        Ending::Exited(code) => body.insert("exit_code".into(), code.into()),
        Ending::Signalled(signal) => body.insert("signal".into(), signal.into()),
        Ending::Unknown { .. } => None,
    };
    answer.text().map_err(Refusal::internal)
}

/// The answer for a ticket; `None` when its files went to an archive meanwhile, where it has to be
/// looked up again.
///
/// # Errors
/// When the outputs can't be read.
pub(super) fn of_ticket(view: &mut View) -> Result<Option<Vec<u8>>, Refusal> {
    let outcome = Outcome::from(&view.state);
    let outputs = match &view.state {
        State::Queued | State::Running { .. } => view::Outputs::default(),
        State::LostRunning | State::Ended(_) => match view.outputs()? {
            Some(outputs) => outputs,
            None => return Ok(None),
        },
    };
    let mut answer = match &view.state {
        State::Queued | State::Running { .. } => not_finished_answer(outcome),
        State::LostRunning => {
            let outputs = with_kept(outputs, Kept::default(), Kept::default());
            let words = "the supervisor died; barman still runs and its end will not be known";
            finished_answer(outcome, outputs, &DataForm::Lines, Some(words))
        }
        State::Ended(result) => {
            let outputs = with_kept(outputs, result.stdout, result.stderr);
            finished_answer(outcome, outputs, &view.data, result.detail.as_deref())
        }
    };
    let body = &mut answer.fields;
    body.insert("ticket".into(), view.ticket.as_str().into());
    body.insert("command".into(), json!(view.names.first()));
    body.insert("user".into(), json!(view.user));
    body.insert("accepted_at".into(), view.accepted_at.as_str().into());
    body.insert("exit_code".into(), Value::Null);
    body.insert("started_at".into(), json!(view.started_at()));
    body.insert("ended_at".into(), Value::Null);
    match &view.state {
        State::Running { reachable } => {
            body.insert("reachable".into(), (*reachable).into());
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
    answer.text().map(Some).map_err(Refusal::internal)
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

fn not_finished_answer(outcome: Outcome) -> Answer<'static> {
    let row = outcome.row();
    let mut body = Map::new();
    body.insert("status_code".into(), row.status_code.into());
    body.insert("message".into(), NOT_YET.into());
    body.insert("list".into(), Value::Null);
    body.insert("state".into(), row.word.into());
    Answer {
        fields: body,
        stdout: Cow::default(),
    }
}

fn with_kept(outputs: view::Outputs, out: Kept, err: Kept) -> Outputs<'static> {
    Outputs {
        stdout: outputs.stdout.into(),
        stderr: outputs.stderr.into(),
        kept_stdout: out,
        kept_stderr: err,
    }
}

fn finished_answer<'a>(
    outcome: Outcome,
    outputs: Outputs<'a>,
    data: &DataForm,
    detail: Option<&str>,
) -> Answer<'a> {
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
    body.insert("list".into(), Value::Null);
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
        .any(|text| matches!(text, Cow::Owned(_)));
    if lossy {
        body.insert("encoding".into(), "lossy".into());
    }
    match data {
        DataForm::Lines => {}
        DataForm::Text(name) => {
            body.insert("data".into(), json!({name.as_str(): stdout.trim()}));
        }
        DataForm::Json => {
            let (document, error) = document(&stdout);
            body.insert("data".into(), document);
            if let Some(error) = error {
                body.insert("data_error".into(), error.into());
            }
        }
    }
    drop(stdout);
    Answer {
        fields: body,
        stdout: outputs.stdout,
    }
}

/// The document that an output is, or why there is none.
fn document(stdout: &str) -> (Value, Option<String>) {
    if stdout.len() > DOCUMENT_LIMIT {
        let words = format!(
            "the document has {} bytes, more than {DOCUMENT_LIMIT}; it stands in list",
            stdout.len()
        );
        return (Value::Null, Some(words));
    }
    match serde_json::from_str(stdout) {
        Ok(mut document) => {
            redact::json(&mut document);
            (document, None)
        }
        Err(error) => {
            let words = format!("barman printed no JSON document: {error}");
            (Value::Null, Some(words))
        }
    }
}
