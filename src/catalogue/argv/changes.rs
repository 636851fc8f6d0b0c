//! The JSON that `config-update` takes: read, classified by key, written anew.
//!
//! Barman writes each value as a line of a file that every later start of Barman reads, without
//! looking at it; and a value that is no text stops its queue for ever. So nothing of the
//! caller's own JSON reaches Barman.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use super::ArgvError;
use super::error::cut;
use super::places::Places;
use crate::catalogue::configkeys::{ConfigKeys, KeyClass, is_key};
use crate::catalogue::kinds::Kind;
use crate::names::{Scope, ServerName, is_line_or_control};

/// Checked changes.
#[derive(Debug)]
pub(super) struct Changes {
    /// The JSON to hand to Barman.
    pub(super) json: String,
    /// The servers that are changed; the whole installation when a model is.
    pub(super) scope: Scope,
    /// Why only a user with full access may do this.
    pub(super) requires_full: Option<String>,
}

/// An object with its keys in order and as often as they came.
struct Object(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Reads changes: an array of objects with `scope` (`server` or `model`), `server_name` or
/// `model_name`, and at least one key with its value.
///
/// # Errors
/// When the JSON has another form, a key stands there twice, a value is neither text, number nor
/// truth value, is empty, or holds a control character or `%` (Barman interpolates it); and, as
/// forbidden, when a key is one that may not be set over HTTP.
pub(super) fn read(name: &str, json: &str, places: &Places) -> Result<Changes, ArgvError> {
    let invalid = |what: String| ArgvError::value(name, json, what);
    let objects: Vec<Object> = serde_json::from_str(json).map_err(|error| {
        invalid(format!(
            "a JSON array of objects with scope, server_name or model_name, and keys ({error})"
        ))
    })?;
    if objects.is_empty() {
        return Err(invalid("at least one change".into()));
    }
    let keys = ConfigKeys::builtin();
    let mut servers: Vec<ServerName> = Vec::new();
    let mut models = false;
    let mut requires_full = None;
    let mut written = Vec::new();
    for Object(pairs) in objects {
        let mut change = serde_json::Map::new();
        for (key, value) in pairs {
            let key = key.to_ascii_lowercase();
            if !is_key(&key) {
                return Err(invalid(format!(
                    "keys of letters, digits and '_', not {:?}",
                    cut(&key)
                )));
            }
            let value = text(&key, value).map_err(invalid)?;
            if change.insert(key.clone(), value.into()).is_some() {
                return Err(invalid(format!("{key} once in each change")));
            }
        }
        let word = |key: &str| change.get(key).and_then(serde_json::Value::as_str);
        let own = match (word("scope"), word("server_name"), word("model_name")) {
            (Some("server"), Some(server), None) => {
                let server = ServerName::parse(server)
                    .ok()
                    .filter(|server| {
                        server.as_str() != "all" && !server.as_str().contains(['[', ']'])
                    })
                    .ok_or_else(|| {
                        invalid(format!("the name of one server, not {:?}", cut(server)))
                    })?;
                if !servers.contains(&server) {
                    servers.push(server);
                }
                "server_name"
            }
            (Some("model"), None, Some(model)) => {
                if !Kind::Model.accepts(model) {
                    return Err(invalid(format!(
                        "{}, not {:?}",
                        Kind::Model.expected(),
                        cut(model)
                    )));
                }
                models = true;
                requires_full.get_or_insert_with(|| "it changes a model".to_owned());
                "model_name"
            }
            _ => {
                return Err(invalid(
                    "changes with scope=server and server_name, or scope=model and model_name"
                        .into(),
                ));
            }
        };
        if change.len() < 3 {
            return Err(invalid("at least one key to change in each change".into()));
        }
        for key in change.keys().filter(|key| *key != "scope" && *key != own) {
            if let Some(reason) = permit(key, &keys, places, name)? {
                requires_full.get_or_insert(reason);
            }
        }
        written.push(serde_json::Value::Object(change));
    }
    if models && !servers.is_empty() {
        return Err(invalid(
            "changes of servers or of models, not both at once".into(),
        ));
    }
    Ok(Changes {
        json: serde_json::Value::Array(written).to_string(),
        scope: if models {
            Scope::Global
        } else {
            Scope::Servers(servers)
        },
        requires_full,
    })
}

/// A value as the text that Barman needs.
fn text(key: &str, value: serde_json::Value) -> Result<String, String> {
    let text = match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Number(number) => number.to_string(),
        serde_json::Value::Bool(truth) => truth.to_string(),
        _ => return Err(format!("text, a number or a truth value for {key}")),
    };
    if text.trim().is_empty() || text.chars().any(is_line_or_control) || text.contains('%') {
        return Err(format!(
            "a value for {key} that is not empty and has no control character and no '%'"
        ));
    }
    Ok(text)
}

/// Whether a key may be set: the reason why only with full access, if so.
fn permit(
    key: &str,
    keys: &ConfigKeys,
    places: &Places,
    name: &str,
) -> Result<Option<String>, ArgvError> {
    let refused = |reason: String| ArgvError::Refused {
        name: name.to_owned(),
        reason,
    };
    let unlocked = places
        .unlock
        .iter()
        .any(|word| word.eq_ignore_ascii_case(key));
    let class = keys.class(key);
    let reason = class.map_or("is not known", KeyClass::reason);
    match class {
        Some(KeyClass::Installation) => Err(refused(format!(
            "{key} {reason} and is never set over HTTP; edit barman's configuration on its host"
        ))),
        Some(KeyClass::Tuning) => Ok(None),
        Some(KeyClass::Data) => Ok(Some(format!("{key} {reason}"))),
        Some(KeyClass::Executes | KeyClass::Paths | KeyClass::Network) | None if unlocked => {
            Ok(Some(format!("{key} {reason}")))
        }
        Some(KeyClass::Executes | KeyClass::Paths | KeyClass::Network) | None => Err(refused(
            format!("{key} {reason}; it can be set over HTTP only when [config] unlock names it"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(json: &str) -> Result<Changes, ArgvError> {
        read("json_changes", json, &Places::default())
    }

    #[test]
    fn a_plain_change_is_written_anew_with_text_values() {
        let json = r#"[ {"scope":"server","server_name":"main","Parallel_Jobs":2,"description":"hello [x]","immediate_checkpoint":true} ]"#;
        let read = changes(json).unwrap();
        assert_eq!(
            read.json,
            r#"[{"scope":"server","server_name":"main","parallel_jobs":"2","description":"hello [x]","immediate_checkpoint":"true"}]"#
        );
        assert_eq!(
            read.scope,
            Scope::Servers(vec![ServerName::parse("main").unwrap()])
        );
        assert_eq!(read.requires_full, None);
    }

    #[test]
    fn no_value_can_begin_a_line_of_its_own() {
        for value in [
            r#""hello\n[pwned]\ndescription = x""#,
            r#""a\rb""#,
            r#""a\u0085b""#,
            r#""a\u2028b""#,
            r#""a\u0000""#,
            r#""%(conninfo)s""#,
            r#""""#,
            r#"" ""#,
            "null",
            "[]",
            "{}",
            r#"["a"]"#,
        ] {
            let json =
                format!(r#"[{{"scope":"server","server_name":"main","description":{value}}}]"#);
            assert!(!changes(&json).unwrap_err().is_forbidden(), "{value}");
        }
        for server in [
            r#""x]\npre_backup_script = id\n[y""#,
            r#""x]""#,
            r#""all""#,
            r#""-x""#,
            r#""""#,
            "1e400e",
            "null",
        ] {
            let json =
                format!(r#"[{{"scope":"server","server_name":{server},"description":"x"}}]"#);
            assert!(changes(&json).is_err(), "{server}");
        }
    }

    #[test]
    fn keys_that_run_programs_are_refused_in_every_spelling() {
        let change =
            |key: &str| format!(r#"[{{"scope":"server","server_name":"main","{key}":"id"}}]"#);
        for key in [
            "pre_backup_script",
            "PRE_BACKUP_SCRIPT",
            "Conninfo",
            "wals_directory",
            "barman_home",
            "made_up",
        ] {
            assert!(changes(&change(key)).unwrap_err().is_forbidden(), "{key}");
        }
        for key in [
            " pre_backup_script",
            "pre_backup_script ",
            "pre_backup_script:",
            "pre_backup_script\\t",
            "pre_backup_scr\u{131}pt",
            "",
        ] {
            assert!(!changes(&change(key)).unwrap_err().is_forbidden(), "{key}");
        }
        assert!(
            changes(&change("parallel_jobs"))
                .unwrap()
                .requires_full
                .is_none()
        );
        assert!(
            changes(&change("retention_policy"))
                .unwrap()
                .requires_full
                .is_some()
        );
        let places = Places {
            unlock: vec!["conninfo".into(), "barman_home".into()],
            ..Places::default()
        };
        let unlocked = read("json_changes", &change("CONNINFO"), &places).unwrap();
        assert!(unlocked.requires_full.is_some());
        assert!(
            read("json_changes", &change("barman_home"), &places)
                .unwrap_err()
                .is_forbidden()
        );
    }

    #[test]
    fn odd_json_is_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for json in [
            "",
            "[]",
            "{}",
            "1",
            "[1]",
            "[[]]",
            "[{}]",
            &deep,
            r#"[{"scope":"server","server_name":"main"}]"#,
            r#"[{"scope":"server","model_name":"m","description":"x"}]"#,
            r#"[{"scope":"server","server_name":"a","model_name":"m","description":"x"}]"#,
            r#"[{"scope":"x","server_name":"a","description":"x"}]"#,
            r#"[{"scope":"server","server_name":"a","description":"x","description":"y"}]"#,
            r#"[{"scope":"server","server_name":"a","description":"x","DESCRIPTION":"y"}]"#,
            r#"[{"scope":"server","server_name":"a","server_name":"b","description":"x"}]"#,
            r#"[{"scope":"server","server_name":"a","description":"x"}] x"#,
            r#"[{"scope":"server","server_name":"a","description":"x"},{"scope":"model","model_name":"m","description":"x"}]"#,
        ] {
            assert!(changes(json).is_err(), "{}", cut(json));
        }
    }

    #[test]
    fn a_model_is_for_full_access_and_the_whole_installation() {
        let read = changes(r#"[{"scope":"model","model_name":"main:m1","cluster":"c"}]"#).unwrap();
        assert_eq!(read.scope, Scope::Global);
        assert!(read.requires_full.is_some());
    }
}
