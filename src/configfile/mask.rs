//! What of a configuration a caller may see.
//!
//! Decided by what a key means, not by how its value looks: connection strings show host, port,
//! user, database and application; commands are for those with full access; secrets are for
//! nobody. A value that was made of such a key is not shown at all. What is left goes through
//! the masks that every text of ours goes through. A line that was commented out is shown as if it
//! were not.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::conninfo::{self, HIDDEN};
use super::own;
use super::view::Seen;
use crate::catalogue::configkeys::{ConfigKeys, KeyClass};
use crate::inifile::Document;
use crate::redact;

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

/// Characters of a part of a value that is looked for: shorter ones are in any text.
const SHORTEST: usize = 4;

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

    /// Of our own file, whose table decides.
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
            return Shown::Nothing;
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

    /// A line that holds no value, but may have held one, or more of one: `above` is how far the
    /// key was indented whose hidden value may go on here.
    fn comment(&mut self, line: &str, above: &mut Option<usize>) -> String {
        let marks = |c: char| c.is_whitespace() || matches!(c, '#' | ';');
        let was = line.trim_start_matches(marks);
        if was.is_empty() {
            return line.to_owned();
        }
        let indent = indent(line);
        if above.is_some_and(|above| indent > above) {
            return line.strip_suffix(was).unwrap_or_default().to_owned() + HIDDEN;
        }
        *above = None;
        if let Some((key, value)) = was.split_once(['=', ':'])
            && self.shown(&key.trim().to_lowercase()) != Shown::Whole
        {
            *above = Some(indent);
            let head = line.strip_suffix(value).unwrap_or_default();
            let shown = self.plain(&key.trim().to_lowercase(), value.trim());
            return format!("{head} {shown}").trim_end().to_owned();
        }
        redact::text(line).into_owned()
    }

    /// A text of Barman's about these files, without any value that is hidden, or a part of one: an
    /// error quotes what it stumbled over.
    pub(super) fn words<'d>(
        &mut self,
        documents: impl Iterator<Item = &'d Document>,
        text: &str,
    ) -> String {
        let documents: Vec<_> = documents.collect();
        let sections = || documents.iter().flat_map(|document| document.sections());
        let names: BTreeSet<&str> = sections().collect();
        let mut hidden = BTreeSet::new();
        for document in &documents {
            for (key, value) in document.sections().flat_map(|name| document.entries(name)) {
                if self.shown(key) != Shown::Whole {
                    let plain = self.plain(key, value);
                    let is_open = |part: &&str| plain.contains(part) || names.contains(part);
                    hidden.extend(parts(value).filter(|part| !is_open(part)));
                }
            }
        }
        let mut hidden: Vec<&str> = hidden.into_iter().collect();
        hidden.sort_by_key(|part| std::cmp::Reverse(part.len()));
        let shown = hidden
            .into_iter()
            .fold(text.to_owned(), |text, part| text.replace(part, HIDDEN));
        redact::text(&shown).into_owned()
    }

    /// The lines of a file, without their ends.
    pub(super) fn lines(&mut self, document: &Document) -> Vec<String> {
        if self.keys.is_none() {
            return own::shown::lines(document);
        }
        let lines = document.lines();
        let mut shown = Vec::with_capacity(lines.len());
        let mut lines = lines.into_iter().peekable();
        let mut above = None;
        while let Some((line, of)) = lines.next() {
            let line = line.trim_end_matches(['\n', '\r']);
            let Some((_, key)) = of else {
                shown.push(self.comment(line, &mut above));
                continue;
            };
            // A blank behind the mark is usual, and makes no line a part of the one above.
            above = (self.shown(key) != Shown::Whole).then_some(1);
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

/// The blanks in front of what a line says, those before a mark of a comment and behind it.
fn indent(line: &str) -> usize {
    let blanks = line
        .chars()
        .take_while(|&c| c.is_whitespace() || matches!(c, '#' | ';'));
    blanks.filter(|c| c.is_whitespace()).count()
}

/// What of a value an error may quote: all of it, what begins with a `%`, and each of its words.
fn parts(value: &str) -> impl Iterator<Item = &str> {
    let rests = value
        .match_indices('%')
        .filter_map(|(at, _)| value.get(at..));
    let ends = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '\\' | '=');
    let words = value.split(ends);
    let long = |part: &&str| part.chars().count() >= SHORTEST;
    std::iter::once(value)
        .chain(rests)
        .chain(words)
        .filter(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_value_that_was_commented_out_is_hidden_to_its_end() {
        let text = "[main]\n\
                    # ssh_command = ssh\n\
                    #   HUNTER@pg\n\
                    #\n\
                    #   -i /HUNTER\n\
                    # a word on it\n\
                    ;conninfo = host=pg\n\
                    ; password = HUNTER\n\
                    conninfo = host=pg\n\
                    \x20 # password HUNTER\n\
                    #  HUNTER\n\
                    # about the next\n\
                    # parallel_jobs = 2\n\
                    #   more of it\n";
        let keys = ConfigKeys::builtin();
        let document = Document::parse(text.as_bytes()).unwrap();
        let shown = Mask::new(&keys, false).lines(&document).join("\n");
        assert!(!shown.contains("HUNTER"), "{shown}");
        for line in [
            "# a word on it",
            "# about the next",
            "# parallel_jobs = 2",
            "#   more of it",
        ] {
            assert!(shown.lines().any(|seen| seen == line), "{line}: {shown}");
        }
    }

    #[test]
    fn what_barman_quotes_of_a_hidden_value_is_hidden() {
        let text = "[main]\nconninfo = host=pg user=u password=hunter%zzTAIL\nparallel_jobs = 12345\n\
                    [other]\nencryption_passphrase_command = echo HUNTER %(foo)s main\n";
        let (keys, document) = (
            ConfigKeys::builtin(),
            Document::parse(text.as_bytes()).unwrap(),
        );
        let mut mask = Mask::new(&keys, true);
        let mut shown = |text: &str| mask.words([&document].into_iter(), text);
        assert_eq!(
            shown("'%' must be followed by '%' or '(', found: '%zzTAIL'"),
            "'%' must be followed by '%' or '(', found: '*REDACTED*'"
        );
        assert_eq!(
            shown("section 'other' has a bad value. Raw value: 'echo HUNTER %(foo)s main'"),
            "section 'other' has a bad value. Raw value: '*REDACTED*'"
        );
        assert_eq!(shown("main: 12345, host=pg"), "main: 12345, host=pg");
    }
}
