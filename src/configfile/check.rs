//! Whether a caller may change a key, and whether Barman would heed it.

use std::sync::Arc;

use super::conninfo;
use super::error::ConfigError;
use super::mask::is_conninfo;
use super::view::{GLOBAL, View, unquoted};
use super::wish::{self, Wanted};
use crate::catalogue::configkeys::{ConfigKeys, KeyClass, Place};
use crate::inifile;
use crate::redact;
use crate::settings::keys;

/// Where keys of our own file are changed.
const OWN: &str = "/config/barmanapi/change";

/// What decides about a key beside the files.
#[derive(Debug, Clone)]
pub(super) struct Rules<'a> {
    /// What is known of each key.
    pub(super) keys: &'a ConfigKeys,
    /// Keys that `[config] unlock` names.
    pub(super) unlock: Arc<Vec<String>>,
    /// Whether the caller has full access.
    pub(super) full: bool,
    /// Barman's version, where it is known.
    pub(super) version: Option<&'a str>,
}

impl Rules<'_> {
    /// Every question about a key that the files do not answer. Whoever may not change it learns
    /// nothing of what is there.
    pub(super) fn check_right(&self, wanted: &Wanted) -> Result<(), ConfigError> {
        let name = wanted.name();
        let ours = || {
            ConfigError::Invalid(format!(
                "{name} is a key of barmanapi's own file, which is changed by {OWN}"
            ))
        };
        if wanted.section.starts_with("target:") && is_ours(&name) {
            return Err(ours());
        }
        let Some(info) = self.keys.get(&wanted.key) else {
            if is_ours(&name) {
                return Err(ours());
            }
            let key = wanted.key.as_str();
            let own = keys::KEYS.iter().find(|own| own.name == key);
            let near = if let Some(own) = own {
                Some(format!(
                    "; barmanapi's own file has {}.{key}, which is changed by {OWN}",
                    own.section
                ))
            } else {
                let near = self.keys.nearest(key);
                near.map(|near| format!("; did you mean {near}?"))
            };
            return Err(ConfigError::Invalid(format!(
                "barman has no key {key}{}",
                near.unwrap_or_default()
            )));
        };
        if info.scope_in(self.version).is_none() {
            return Err(ConfigError::Invalid(format!(
                "barman {} has no key {} yet",
                self.version.unwrap_or_default(),
                wanted.key
            )));
        }
        self.check_class(&wanted.key, &name)
    }

    /// Whether a key of this class may be changed over HTTP, by this caller.
    pub(super) fn check_class(&self, key: &str, name: &str) -> Result<(), ConfigError> {
        // A key that Barman does not know has no effect; it can only be met in a rollback.
        let Some(class) = self.keys.class(key) else {
            return Ok(());
        };
        let reason = class.reason();
        if class == KeyClass::Installation {
            return Err(ConfigError::Forbidden(format!(
                "{name} {reason}; it is never changed over HTTP"
            )));
        }
        if !class.needs_unlock() {
            return Ok(());
        }
        if !self.unlock.iter().any(|unlocked| unlocked == key) {
            return Err(ConfigError::Forbidden(format!(
                "{name} {reason}; it can be changed over HTTP only when unlock in [config] of \
                 barmanapi's file names it"
            )));
        }
        if !self.full {
            return Err(ConfigError::Forbidden(format!(
                "{name} {reason}; only users with full access may change it"
            )));
        }
        Ok(())
    }

    /// Whether a change of the key wants `If-Match`.
    pub(super) fn wants_precondition(&self, key: &str) -> bool {
        self.keys.class(key) == Some(KeyClass::Data)
    }

    /// Whether Barman looks for the key there, and takes the value.
    pub(super) fn check_value(&self, wanted: &Wanted, place: Place) -> Result<(), ConfigError> {
        let Wanted { key, value, .. } = wanted;
        let name = wanted.name();
        let invalid = |words: String| ConfigError::Invalid(format!("{name}: {words}"));
        let Some(value) = value else {
            return Ok(());
        };
        self.keys
            .check_place(key, place)
            .map_err(|error| invalid(error.to_string()))?;
        let secret = if is_conninfo(key) {
            !value.is_empty() && conninfo::holds_secret(value)
        } else {
            redact::text(value) != value.as_str()
        };
        if secret {
            return Err(invalid(
                "a password would be seen in process lists and files; use .pgpass, and write \
                 keyword=value or a URI without one"
                    .to_owned(),
            ));
        }
        if unquoted(value) != value.as_str() {
            return Err(invalid(format!(
                "barman reads {} of it: leave the quotes away, and unset a key that shall have no \
                 value",
                match unquoted(value) {
                    "" => "nothing",
                    inside => inside,
                }
            )));
        }
        if key.starts_with("streaming_") && key.ends_with("_name") && value.contains([' ', '=']) {
            return Err(invalid("a name has neither blanks nor =".to_owned()));
        }
        self.keys
            .check(key, &inifile::escape(value))
            .map_err(|error| ConfigError::Invalid(format!("[{}] {error}", wanted.section)))
    }
}

/// Whether our own file has such a key, in a section that Barman's may have too.
fn is_ours(name: &str) -> bool {
    wish::of_ours(name).is_ok_and(|(section, key)| keys::find(&section, &key).is_some())
}

/// What a section is, or will be once these keys are set.
pub(super) fn place(view: &View, section: &str, wanted: &[Wanted]) -> Place {
    if section == GLOBAL {
        return Place::Global;
    }
    let model = match view.section(section) {
        Some(_) => view.seen(section, "model").and_then(|seen| seen.value.ok()),
        None => wanted
            .iter()
            .find(|wanted| wanted.section == section && wanted.key == "model")
            .and_then(|wanted| wanted.value.clone()),
    };
    let is_true = |word: String| {
        ["true", "t", "yes", "1", "on"].contains(&word.to_ascii_lowercase().as_str())
    };
    if model.is_some_and(is_true) {
        Place::Model
    } else {
        Place::Server
    }
}
