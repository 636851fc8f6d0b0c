//! What `barman diagnose` prints, as JSON, with its secrets masked.

use std::time::Instant;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Operations, command};
use crate::auth::Caller;
use crate::dispatch::{self, Body, CallContext, Form, Refusal, RefusalKind, Reply, Text};
use crate::names::Scope;
use crate::redact;

/// The longest document that is masked value by value, in bytes. What it holds takes many times its
/// length in memory; a longer one is masked as text alone, as every output of Barman is.
const DOCUMENT_LIMIT: usize = 4 * 1024 * 1024;

impl Operations {
    /// `/diagnose`. Barman is asked once for all who wait, and what it says is masked once.
    pub(super) async fn diagnose(
        &self,
        caller: &Caller,
        context: CallContext,
    ) -> Result<Reply, Refusal> {
        let began = Instant::now();
        let command = command("diagnose")?;
        let mut entry = dispatch::entry("ran", caller, &context);
        entry.command = Some(command.to_string());
        let denied = caller.rights.denies(&["diagnose"], &Scope::Global);
        let answer = if denied || !self.door.permits(caller, &command, &Scope::Global)? {
            Err(Refusal::forbidden("diagnose"))
        } else {
            self.ask_diagnosis().await
        };
        entry.status = Some(match &answer {
            Ok(_) => 200,
            Err(refusal) => {
                entry.event = "refused";
                refusal.status()
            }
        });
        entry.duration_ms = u64::try_from(began.elapsed().as_millis()).ok();
        self.door.note(entry).await;
        Ok(Reply {
            status: 200,
            location: None,
            etag: None,
            body: Body::Text(answer?),
        })
    }

    async fn ask_diagnosis(&self) -> Result<Text, Refusal> {
        let command = command("diagnose")?;
        let said = self.door.ask(&command, &[], false).await?;
        let masked = said.made(Form::Document, |finished| {
            masked(&finished.stdout).map_err(|error| {
                let words = format!("barman diagnose printed no JSON object: {error}");
                Refusal::new(RefusalKind::BarmanUnreachable, words)
            })
        });
        masked.await
    }
}

/// A document with its secrets masked; the order of its keys and the text of its numbers stay.
fn masked(said: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let text = redact::bytes(said.trim_ascii());
    if text.len() > DOCUMENT_LIMIT {
        serde_json::from_slice::<&RawValue>(&text)?;
        return Ok(text.into_owned());
    }
    let document: Map<String, Value> = serde_json::from_slice(&text)?;
    let document = Value::Object(document);
    let mut masked = document.clone();
    redact::json(&mut masked);
    if masked == document {
        Ok(text.into_owned())
    } else {
        serde_json::to_vec(&masked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_numbers_stay_and_secrets_do_not() {
        let said = r#"
{"servers": {"b": {"n": 1.10, "big": 123456789012345678901234567890, "e": 1e400},
 "a": {"config": {"conninfo": "host=h password=hunter2", "x": null}}}, "global": {}}
"#;
        let text = String::from_utf8(masked(said.as_bytes()).unwrap()).unwrap();
        assert_eq!(text, said.trim().replace("hunter2", "*REDACTED*"));
    }

    #[test]
    fn what_only_its_place_makes_a_secret_is_masked_too() {
        let said = r#"{"servers": {"a": {"secret": {"deep": ["x", 5]}}, "n": 1.10}}"#;
        let text = String::from_utf8(masked(said.as_bytes()).unwrap()).unwrap();
        assert!(!text.contains("\"x\"") && !text.contains('5'), "{text}");
        assert!(text.contains("1.10"), "{text}");
    }

    #[test]
    fn what_is_no_object_is_no_diagnosis() {
        for said in ["", "ERROR: x", "[]", "1", "{} {}", "{\"a\": NaN}"] {
            assert!(masked(said.as_bytes()).is_err(), "{said}");
        }
    }
}
