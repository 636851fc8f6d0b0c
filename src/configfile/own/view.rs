//! Our own file as callers get it, and what of it is in force.

use serde_json::{Map, Value, json};

use super::super::Answer;
use super::{OwnFile, shown};
use crate::inifile::{DEFAULT, Document};
use crate::settings::Changed;
use crate::settings::keys::{Applies, KEYS, Key};

impl OwnFile {
    /// The file as callers get it.
    pub(super) fn document(&self, document: &Document, message: &str) -> Value {
        let mut list = Map::new();
        for section in document.sections().filter(|name| *name != DEFAULT) {
            let entries = document.entries(section);
            let values = entries.map(|(key, value)| {
                let value = shown::value(section, key, value);
                (shown::name(section, key), value.into())
            });
            list.insert(section.to_owned(), Value::Object(values.collect()));
        }
        let mut body = json!({
            "status_code": 200,
            "message": message,
            "list": list,
            "defaults": defaults(document),
            "file": self.path,
        });
        let (name, value) = match self.examined(document) {
            Ok(file) => {
                let pending = self.pending(file);
                ("not_in_force", json!(named(&pending).collect::<Vec<_>>()))
            }
            Err(problems) => {
                let problems = problems.without_values();
                let problems = problems.iter().map(ToString::to_string);
                ("problems", json!(problems.collect::<Vec<_>>()))
            }
        };
        if let Some(body) = body.as_object_mut() {
            body.insert(name.to_owned(), value);
        }
        body
    }
}

/// The keys that a file does not set, with what counts then.
fn defaults(document: &Document) -> Value {
    let is_pattern = |key: &&Key| key.section == "target:NAME" || key.name.contains("COMMAND");
    let mut list: Map<String, Value> = Map::new();
    for key in KEYS.iter().filter(|key| !is_pattern(key)) {
        let set = document.get(key.section, key.name);
        if set.is_some() || key.secret {
            continue;
        }
        let section = list.entry(key.section).or_insert_with(|| json!({}));
        if let Some(section) = section.as_object_mut() {
            section.insert(key.name.to_owned(), key.default.into());
        }
    }
    Value::Object(list)
}

/// Tells what counts now and what from the next start on.
pub(super) fn tell(answer: &mut Answer, changed: &[Changed]) {
    let names = |applies: Applies| -> Vec<String> {
        let some = changed.iter().filter(|changed| changed.applies == applies);
        some.map(|changed| format!("{}.{}", changed.section, changed.name))
            .collect()
    };
    answer.add("applied", json!(names(Applies::Now)));
    answer.add("restart", json!(names(Applies::Restart)));
}

/// The names of keys, as requests name them.
pub(super) fn named(changed: &[Changed]) -> impl Iterator<Item = String> {
    changed
        .iter()
        .map(|changed| format!("{}.{}", changed.section, changed.name))
}
