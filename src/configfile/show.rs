//! A configuration as callers get it.

use serde_json::{Map, Value, json};

use super::mask::Mask;
use super::tree::Tree;
use super::view::View;

/// Sections with their keys and values, the files that each section stands in, and the values that
/// Barman could not read.
pub(super) fn document(tree: &Tree, view: &View, mask: &mut Mask<'_>, message: &str) -> Value {
    let mut list = Map::new();
    let mut files = Map::new();
    let mut faults = Map::new();
    for section in view.sections() {
        let mut values = Map::new();
        for entry in section.entries() {
            let Some(seen) = view.seen(&section.name, &entry.key) else {
                continue;
            };
            if let Err(error) = &seen.value {
                let words = format!(
                    "{}, line {}: {error}",
                    tree.path(entry.file).display(),
                    entry.line
                );
                faults.insert(format!("{}.{}", section.name, entry.key), words.into());
            }
            let value = mask.value(&entry.key, &seen);
            values.insert(entry.key.clone(), value.map_or(Value::Null, Value::String));
        }
        let paths = section.files.iter();
        let paths = paths.map(|file| tree.path(*file).display().to_string());
        files.insert(section.name.clone(), paths.collect::<Vec<_>>().into());
        list.insert(section.name.clone(), values.into());
    }
    let mut body = json!({
        "status_code": 200,
        "message": message,
        "list": list,
        "files": files,
    });
    if !faults.is_empty()
        && let Some(body) = body.as_object_mut()
    {
        body.insert("faults".to_owned(), faults.into());
    }
    body
}
