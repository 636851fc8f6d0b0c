//! What of a configuration a caller may see.
//!
//! Decided by what a key means, not by how its value looks: connection strings show host, port,
//! user, database and application; commands are for those with full access; secrets are for
//! nobody. A value that was made of such a key is not shown at all. What is left goes through
//! the masks that every text of ours goes through. A line that was commented out is shown as if it
//! were not.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::conninfo::{self, HIDDEN};
use super::view::Seen;
use crate::catalogue::configkeys::{ConfigKeys, KeyClass};
use crate::inifile::Document;
use crate::redact;
use crate::settings::keys::{self as own, Key};

/// Keys that hold a connection string.
const CONNINFO: [&str; 5] = [
    "conninfo",
    "streaming_conninfo",
    "wal_conninfo",
    "wal_streaming_conninfo",
    "primary_conninfo",
];

/// Keys that Barman puts into a connection string as they are.
const NAMES: [&str; 2] = ["streaming_archiver_name", "streaming_backup_name"];

/// How much of a key's value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Whole,
    Conninfo,
    Nothing,
}

/// Whether a key holds a connection string.
pub(super) fn is_conninfo(key: &str) -> bool {
    CONNINFO.contains(&key)
}

/// What one caller may see.
pub(super) struct Mask<'a> {
    /// Barman's keys; `None` = the file is our own.
    keys: Option<&'a ConfigKeys>,
    full: bool,
    known: HashMap<String, Shown>,
}

impl<'a> Mask<'a> {
    /// Of Barman's files, for a caller with full access, or without.
    pub(super) fn new(keys: &'a ConfigKeys, full: bool) -> Self {
        Self {
            keys: Some(keys),
            full,
            known: HashMap::new(),
        }
    }

    /// Of our own file.
    pub(super) fn own() -> Self {
        Self {
            keys: None,
            full: false,
            known: HashMap::new(),
        }
    }

    /// A value as Barman reads it.
    pub(super) fn value(&mut self, key: &str, seen: &Seen) -> Option<String> {
        let value = seen.value.as_deref().ok()?;
        let made_of = seen.names.iter();
        let is_open = |name: &String| name == key || self.shown(name) == Shown::Whole;
        let mut made_of: Vec<_> = made_of.collect();
        made_of.dedup();
        if !made_of.into_iter().all(is_open) {
            return Some(HIDDEN.to_owned());
        }
        Some(self.plain(key, value))
    }

    /// A value that is made of no other.
    pub(super) fn plain(&mut self, key: &str, value: &str) -> String {
        match self.shown(key) {
            _ if value.is_empty() => String::new(),
            Shown::Nothing => HIDDEN.to_owned(),
            Shown::Conninfo if !is_conninfo(key) && !value.contains('=') => value.to_owned(),
            Shown::Conninfo => conninfo::masked(value),
            Shown::Whole => redact::text(value).into_owned(),
        }
    }

    fn shown(&mut self, key: &str) -> Shown {
        if let Some(shown) = self.known.get(key) {
            return *shown;
        }
        let shown = self.decide(key);
        self.known.insert(key.to_owned(), shown);
        shown
    }

    fn decide(&self, key: &str) -> Shown {
        let Some(keys) = self.keys else {
            let is_secret = |known: &&Key| known.name == key && known.secret;
            return match own::KEYS.iter().find(is_secret) {
                Some(_) => Shown::Nothing,
                None => Shown::Whole,
            };
        };
        if is_conninfo(key) || NAMES.contains(&key) {
            return Shown::Conninfo;
        }
        let class = keys.class(key);
        if class == Some(KeyClass::Executes) && !self.full {
            return Shown::Nothing;
        }
        let mut probe = json!({key: "x"});
        redact::json(&mut probe);
        if probe.get(key) == Some(&Value::from("x")) {
            Shown::Whole
        } else {
            Shown::Nothing
        }
    }

    /// A line that holds no value, but may have held one.
    fn comment(&mut self, line: &str) -> String {
        let marks = |c: char| c.is_whitespace() || matches!(c, '#' | ';');
        let was = line.trim_start_matches(marks);
        if let Some((key, value)) = was.split_once(['=', ':'])
            && self.shown(&key.trim().to_lowercase()) != Shown::Whole
        {
            let head = line.strip_suffix(value).unwrap_or_default();
            let shown = self.plain(&key.trim().to_lowercase(), value.trim());
            return format!("{head} {shown}").trim_end().to_owned();
        }
        redact::text(line).into_owned()
    }

    /// The lines of a file, without their ends.
    pub(super) fn lines(&mut self, document: &Document) -> Vec<String> {
        let lines = document.lines();
        let mut shown = Vec::with_capacity(lines.len());
        let mut lines = lines.into_iter().peekable();
        while let Some((line, of)) = lines.next() {
            let line = line.trim_end_matches(['\n', '\r']);
            let Some((_, key)) = of else {
                shown.push(self.comment(line));
                continue;
            };
            let separator = line.find(['=', ':']);
            let goes_on = lines.peek().is_some_and(|(_, next)| *next == of);
            let first = separator.filter(|at| {
                line.get(..*at)
                    .is_some_and(|name| name.trim().to_lowercase() == key)
            });
            shown.push(match (self.shown(key), first) {
                (Shown::Whole, _) => redact::text(line).into_owned(),
                (_, Some(at)) => {
                    let (head, value) = line.split_at(at + 1);
                    let value = value.trim();
                    let value = if goes_on && !value.is_empty() {
                        HIDDEN.to_owned()
                    } else {
                        self.plain(key, value)
                    };
                    format!("{head} {value}").trim_end().to_owned()
                }
                (_, None) => format!("    {HIDDEN}"),
            });
        }
        shown
    }
}
