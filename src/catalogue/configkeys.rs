//! The keys of Barman's configuration, as `share/config-keys.conf` lists them: what a change of
//! one can do, what a value must look like, and where it may stand.
//!
//! Nothing here reads or writes a configuration; whoever changes one asks, in this order: is the
//! key known ([`ConfigKeys::get`], [`ConfigKeys::nearest`]), may it be changed at all
//! ([`ConfigKeys::class`]), may it stand in this section ([`ConfigKeys::check_place`]), and would
//! Barman take the value ([`ConfigKeys::check`]).

mod forms;
mod scope;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;

use super::lines;
use crate::settings::keys;

pub use scope::{Place, Scope};
pub use value::ValueType;

use forms::Percent;

/// The list that is built into the binary.
const BUILTIN: &str = include_str!("../../share/config-keys.conf");

/// The first version of Barman that has models.
const MODELS: Version = (3, 10);

/// Major and minor number of a version.
type Version = (u32, u32);

/// What a change of a key can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyClass {
    /// Runs a program, or changes which program runs.
    Executes,
    /// Says where Barman reads, writes and deletes.
    Paths,
    /// Names hosts, identities or secrets.
    Network,
    /// Can lose data or blind the monitoring.
    Data,
    /// Speed and looks.
    Tuning,
    /// Moves or re-aims the whole installation; never settable over HTTP.
    Installation,
}

impl KeyClass {
    /// The class of a section's name.
    fn of_section(section: &str) -> Option<Self> {
        Some(match section {
            "executes" => Self::Executes,
            "paths" => Self::Paths,
            "network" => Self::Network,
            "data" => Self::Data,
            "tuning" => Self::Tuning,
            "installation" => Self::Installation,
            _ => return None,
        })
    }

    /// What the class is about, for an error text: "runs a program", …
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Executes => "makes barman run a program",
            Self::Paths => "says where barman reads, writes and deletes",
            Self::Network => "names a host, an identity or a secret",
            Self::Data => "can lose data or blind the monitoring",
            Self::Tuning => "tunes barman",
            Self::Installation => "moves the whole installation",
        }
    }

    /// Whether a key of this class needs `[config] unlock` on disk before it can be set over HTTP.
    #[must_use]
    pub fn needs_unlock(self) -> bool {
        matches!(self, Self::Executes | Self::Paths | Self::Network)
    }
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// What a change of it can do.
    pub class: KeyClass,
    /// What a value must look like.
    pub value: ValueType,
    /// Where Barman 3.19.1 takes it from. The manual says otherwise of some keys, but a key that
    /// stands elsewhere has no effect.
    pub scope: Scope,
    /// The first version that has it; `None` = 2.10 had it.
    since: Option<Version>,
}

impl KeyInfo {
    /// Reads `TYPE PLACES [SINCE]`.
    fn parse(class: KeyClass, text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let info = Self {
            class,
            value: ValueType::parse(words.next()?)?,
            scope: Scope::parse(words.next()?)?,
            since: match words.next() {
                Some(word) => Some(version(word)?),
                None => None,
            },
        };
        words.next().is_none().then_some(info)
    }

    /// Where a version of Barman takes the key from; `None` when it does not know the key. An
    /// unknown version is taken for the newest.
    #[must_use]
    pub fn scope_in(&self, barman: Option<&str>) -> Option<Scope> {
        let Some(barman) = barman.and_then(version) else {
            return Some(self.scope);
        };
        if self.since.is_some_and(|since| barman < since) {
            return None;
        }
        if barman < MODELS {
            self.scope.without_models()
        } else {
            Some(self.scope)
        }
    }
}

/// Major and minor number of a text such as `3.19.1`.
fn version(text: &str) -> Option<Version> {
    let mut parts = text.split('.').map_while(|part| part.parse().ok());
    Some((parts.next()?, parts.next()?))
}

/// A value that Barman would not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyValueError {
    /// The value has not the form that the key wants. Barman would warn at most and go on with
    /// another value.
    #[error("{key} can't be {value:?}: it takes {wants}")]
    Form {
        /// The key.
        key: String,
        /// The value, cut when it is long. Keys that can hold a secret take any text and never
        /// come here.
        value: String,
        /// What it takes.
        wants: String,
    },
    /// The key has no effect in a configuration.
    #[error("{key} can't be set: barman takes no value for it from its configuration")]
    Fixed {
        /// The key.
        key: String,
    },
    /// A `%` that Barman could not read, and it would end with an error. The value is not told:
    /// it can be a password.
    #[error("the value of {key} has a '%' that names no key; write '%%' for the character itself")]
    Percent {
        /// The key.
        key: String,
    },
}

/// A key in a section where Barman does not look for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} has no effect in {place}; it belongs in {belongs}")]
pub struct WrongPlace {
    /// The key.
    pub key: String,
    /// Where it stands.
    pub place: Place,
    /// Where it may stand, in words.
    pub belongs: String,
}

/// Every known key.
#[derive(Debug, Clone)]
pub struct ConfigKeys {
    keys: BTreeMap<String, KeyInfo>,
}

impl ConfigKeys {
    /// The list that is built in; a test holds that it can be read.
    #[must_use]
    pub fn builtin() -> Self {
        let mut keys = BTreeMap::new();
        for entry in lines::read(BUILTIN).unwrap_or_default() {
            let Some(class) = KeyClass::of_section(entry.section) else {
                continue;
            };
            if let (Some(key), Some(text)) = (entry.key, entry.value)
                && let Some(info) = KeyInfo::parse(class, text)
            {
                keys.insert(key.to_owned(), info);
            }
        }
        Self { keys }
    }

    /// What is known of a key; `None` for one that is not known. Upper and lower case are the
    /// same, as they are to Barman.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&KeyInfo> {
        self.keys.get(&key.to_ascii_lowercase())
    }

    /// The class of a key; `None` for one that is not known.
    #[must_use]
    pub fn class(&self, key: &str) -> Option<KeyClass> {
        self.get(key).map(|info| info.class)
    }

    /// All keys in the order of the alphabet.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &KeyInfo)> {
        self.keys.iter().map(|(key, info)| (key.as_str(), info))
    }

    /// The known key whose name is nearest to a word, when it is near enough to be what was meant.
    #[must_use]
    pub fn nearest(&self, word: &str) -> Option<&str> {
        // A word longer than any key is no slip of the finger, and costs time to compare.
        (word.len() <= 64)
            .then(|| keys::nearest(word, self.keys.keys().map(String::as_str)))
            .flatten()
    }

    /// Whether Barman takes a value, as it is to stand in the file: quotes around it and
    /// `%(key)s` mean what they mean there. Every value of an unknown key will do.
    ///
    /// Nothing that Barman 3.19.1 takes is refused. What it warns of and replaces by a default is:
    /// the change would seem to be made and have no effect.
    ///
    /// # Errors
    /// When Barman would not take it.
    pub fn check(&self, key: &str, value: &str) -> Result<(), KeyValueError> {
        let kind = self.get(key).map_or(&ValueType::TEXT, |info| &info.value);
        let key = || key.to_ascii_lowercase();
        if kind.is_fixed() {
            return Err(KeyValueError::Fixed { key: key() });
        }
        let taken = match forms::percent(value) {
            Percent::Broken => return Err(KeyValueError::Percent { key: key() }),
            Percent::Names => true,
            Percent::Plain => kind.takes(&value.replace("%%", "%")),
        };
        if taken {
            return Ok(());
        }
        Err(KeyValueError::Form {
            key: key(),
            value: cut(value),
            wants: kind.wants(),
        })
    }

    /// Whether Barman looks for a key in such a section. Unknown keys may stand anywhere.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_place(&self, key: &str, place: Place) -> Result<(), WrongPlace> {
        let Some(info) = self.get(key).filter(|info| !info.scope.has(place)) else {
            return Ok(());
        };
        let places: Vec<_> = info.scope.places().map(|place| place.to_string()).collect();
        Err(WrongPlace {
            key: key.to_ascii_lowercase(),
            place,
            belongs: places.join(" or "),
        })
    }
}

/// The first characters of a value, for an error text.
fn cut(value: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = value.chars().take(SHOWN).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    shown
}

/// Whether a word can be a key at all: lower-case letters, digits and `_`, a letter first.
///
/// Barman's reader also takes blanks, `:` and upper case; nothing but the plain form passes here,
/// so that no second spelling of a key escapes its class.
#[must_use]
pub fn is_key(word: &str) -> bool {
    word.len() <= 64
        && word.starts_with(|c: char| c.is_ascii_lowercase())
        && word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
