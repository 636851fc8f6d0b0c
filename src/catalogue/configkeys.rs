//! What a change of a key of Barman's configuration can do, as `share/config-keys.conf` lists it.

use std::collections::HashMap;

use super::lines;

/// The list that is built into the binary.
const BUILTIN: &str = include_str!("../../share/config-keys.conf");

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

/// The class of every known key.
#[derive(Debug, Clone)]
pub struct ConfigKeys {
    classes: HashMap<String, KeyClass>,
}

impl ConfigKeys {
    /// The list that is built in; a test holds that it can be read.
    #[must_use]
    pub fn builtin() -> Self {
        let mut classes = HashMap::new();
        for entry in lines::read(BUILTIN).unwrap_or_default() {
            if let (Some(key), Some(class)) = (entry.key, KeyClass::of_section(entry.section)) {
                classes.insert(key.to_owned(), class);
            }
        }
        Self { classes }
    }

    /// The class of a key; `None` for one that is not known. Upper and lower case are the same,
    /// as they are to Barman.
    #[must_use]
    pub fn class(&self, key: &str) -> Option<KeyClass> {
        self.classes.get(&key.to_ascii_lowercase()).copied()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_built_in_list_is_a_key_in_a_known_class() {
        let entries = lines::read(BUILTIN).unwrap();
        let mut seen = std::collections::HashSet::new();
        for entry in &entries {
            assert!(KeyClass::of_section(entry.section).is_some(), "{entry:?}");
            if let Some(key) = entry.key {
                assert!(is_key(key) && entry.value.is_none(), "{entry:?}");
                assert!(seen.insert(key), "{key} stands in two classes");
            }
        }
        assert_eq!(seen.len(), ConfigKeys::builtin().classes.len());
    }

    #[test]
    fn a_hook_is_known_in_any_case_and_a_strange_key_in_none() {
        let keys = ConfigKeys::builtin();
        assert_eq!(keys.class("PRE_Backup_script"), Some(KeyClass::Executes));
        assert_eq!(keys.class("parallel_jobs"), Some(KeyClass::Tuning));
        assert_eq!(keys.class("barman_home"), Some(KeyClass::Installation));
        assert_eq!(keys.class("pre_backup_scr\u{131}pt"), None);
    }

    #[test]
    fn only_the_plain_form_is_a_key() {
        assert!(is_key("pre_backup_script"));
        for word in [
            "", "A", " a", "a ", "a:", "a\t", "1a", "a-b", "[a]", "a=b", "a\u{131}",
        ] {
            assert!(!is_key(word), "{word:?}");
        }
    }
}
