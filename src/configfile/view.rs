//! What Barman reads of all its files together.
//!
//! Up to 3.9 one parser read all files and interpolated once. From 3.10 on each file is read and
//! interpolated by itself, and the results are put into another parser, which interpolates them
//! again (`ConfigMapping.read_config` in barman/config.py): there `[DEFAULT]` reaches the sections
//! of its own file only, and a `%` is written `%%%%`. In both, what is read last counts.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::inifile::{self, DEFAULT, Document, InterpolationError};

/// The section of what is not about one server.
pub(super) const GLOBAL: &str = "barman";

/// How a Barman puts its files together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// All by one parser: Barman up to 3.9.
    AtOnce,
    /// Each by itself: Barman from 3.10 on.
    OneByOne,
}

impl Reading {
    /// How a version reads; one that is not known is taken for the newest.
    pub(super) fn of(version: Option<&str>) -> Self {
        let mut parts = version.unwrap_or_default().split('.');
        let mut number = || parts.next()?.parse::<u32>().ok();
        match (number(), number()) {
            (Some(major), Some(minor)) if (major, minor) < (3, 10) => Self::AtOnce,
            _ => Self::OneByOne,
        }
    }

    /// A value as it must be written so that Barman reads it as it is.
    pub(super) fn written(self, value: &str) -> String {
        let once = inifile::escape(value);
        match self {
            Self::AtOnce => once,
            Self::OneByOne => inifile::escape(&once),
        }
    }
}

/// All sections, in the order in which they first stand.
#[derive(Debug)]
pub(super) struct View {
    sections: Vec<Section>,
    names: HashMap<String, usize>,
}

/// A section as Barman has it.
#[derive(Debug)]
pub(super) struct Section {
    /// Its name.
    pub(super) name: String,
    /// The files that it stands in, by their place in the tree.
    pub(super) files: Vec<usize>,
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
}

/// A key of a section.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name, lower-cased.
    pub(super) key: String,
    /// The file that it is read from.
    pub(super) file: usize,
    /// The line, counted from 1.
    pub(super) line: usize,
    /// Whether it stands in that file's `[DEFAULT]`.
    pub(super) inherited: bool,
    /// What the last parser gets.
    text: Result<String, InterpolationError>,
    /// The keys that its value was made of already.
    names: Vec<String>,
}

impl Entry {
    /// What two trees have in common when a key is the same in both.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A value as Barman gets it, and the other keys that it was made of.
pub(super) struct Seen {
    /// The value; an error where Barman ends with one.
    pub(super) value: Result<String, InterpolationError>,
    /// The keys that `%(name)s` led to.
    pub(super) names: Vec<String>,
}

impl View {
    /// Puts documents together, the last one to be read being the last.
    pub(super) fn of<'a>(
        documents: impl IntoIterator<Item = &'a Document>,
        reading: Reading,
    ) -> Self {
        let mut view = Self {
            sections: Vec::new(),
            names: HashMap::new(),
        };
        for (file, document) in documents.into_iter().enumerate() {
            for name in document.sections() {
                if name == DEFAULT && reading == Reading::OneByOne {
                    continue;
                }
                let at = view.enter(name);
                let Some(section) = view.sections.get_mut(at) else {
                    continue;
                };
                section.files.push(file);
                for setting in document.settings(name) {
                    if setting.inherited && reading == Reading::AtOnce {
                        continue;
                    }
                    let (text, names) = match reading {
                        Reading::AtOnce => (Ok(setting.raw.to_owned()), Vec::new()),
                        Reading::OneByOne => first_pass(document, name, setting.raw),
                    };
                    section.set(Entry {
                        key: setting.key.to_owned(),
                        file,
                        line: *setting.lines.start(),
                        inherited: setting.inherited,
                        text,
                        names,
                    });
                }
            }
        }
        view
    }

    /// The place of a section, which is made when there is none of the name.
    fn enter(&mut self, name: &str) -> usize {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        let at = self.sections.len();
        self.names.insert(name.to_owned(), at);
        self.sections.push(Section {
            name: name.to_owned(),
            files: Vec::new(),
            entries: Vec::new(),
            places: HashMap::new(),
        });
        at
    }

    /// The sections that Barman knows of, `[DEFAULT]` left out.
    pub(super) fn sections(&self) -> impl Iterator<Item = &Section> {
        self.sections
            .iter()
            .filter(|section| section.name != DEFAULT)
    }

    /// A section by its name.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.get(*self.names.get(name)?)
    }

    /// A key of a section itself.
    pub(super) fn entry(&self, section: &str, key: &str) -> Option<&Entry> {
        self.section(section)?.entry(key)
    }

    /// The value of a key as Barman's code gets it; `None` where the section does not have it.
    pub(super) fn seen(&self, section: &str, key: &str) -> Option<Seen> {
        let own = self.section(section)?;
        let entry = own.entry(key).or_else(|| self.entry(DEFAULT, key))?;
        let text = match &entry.text {
            Ok(text) => text,
            Err(error) => {
                return Some(Seen {
                    value: Err(error.clone()),
                    names: entry.names.clone(),
                });
            }
        };
        if !text.contains('%') {
            return Some(Seen {
                value: Ok(unquoted(text).to_owned()),
                names: entry.names.clone(),
            });
        }
        let names = RefCell::new(entry.names.clone());
        let lookup = |name: &str| {
            names.borrow_mut().push(name.to_owned());
            if name == "name" && section != GLOBAL {
                return Some(own.name.as_str());
            }
            // Barman hands in what it has read of the server so far, that of [barman] included.
            let places = [section, DEFAULT, GLOBAL];
            let mut found = places.iter().filter_map(|place| self.entry(place, name));
            let entry = found.next()?;
            names.borrow_mut().extend(entry.names.iter().cloned());
            entry.text.as_deref().ok()
        };
        let value = inifile::expand(text, &lookup).map(|text| unquoted(&text).to_owned());
        Some(Seen {
            value,
            names: names.into_inner(),
        })
    }

    /// The value of a key of `[barman]`, when it has one that can be read.
    pub(super) fn global(&self, key: &str) -> Option<String> {
        let value = self.seen(GLOBAL, key)?.value.ok()?;
        Some(value).filter(|value| !value.is_empty())
    }
}

impl Section {
    /// The keys in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// A key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(*self.places.get(key)?)
    }

    fn set(&mut self, entry: Entry) {
        let known = self.places.get(&entry.key).copied();
        if let Some(known) = known.and_then(|place| self.entries.get_mut(place)) {
            *known = entry;
        } else {
            self.places.insert(entry.key.clone(), self.entries.len());
            self.entries.push(entry);
        }
    }
}

/// A value as the parser of its own file gives it, and the keys that it is made of.
fn first_pass(
    document: &Document,
    section: &str,
    raw: &str,
) -> (Result<String, InterpolationError>, Vec<String>) {
    if !raw.contains('%') {
        return (Ok(raw.to_owned()), Vec::new());
    }
    let names = RefCell::new(Vec::new());
    let lookup = |name: &str| {
        names.borrow_mut().push(name.to_owned());
        document.setting(section, name).map(|setting| setting.raw)
    };
    let text = inifile::expand(raw, &lookup).and_then(|text| {
        if inifile::is_settable(&text) {
            Ok(text)
        } else {
            Err(InterpolationError::Syntax)
        }
    });
    (text, names.into_inner())
}

/// The value without a pair of quotes around it; `None` as it stands is no value (`Config.get` in
/// barman/config.py).
pub(super) fn unquoted(text: &str) -> &str {
    if text == "None" {
        return "";
    }
    for quote in ['"', '\''] {
        let inside = text
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inside) = inside.filter(|inside| !inside.contains('\n')) {
            return inside;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(texts: &[&str], reading: Reading) -> View {
        let documents: Vec<_> = texts
            .iter()
            .map(|text| Document::parse(text.as_bytes()).unwrap())
            .collect();
        View::of(&documents, reading)
    }

    fn value(view: &View, section: &str, key: &str) -> Option<String> {
        view.seen(section, key)?.value.ok()
    }

    #[test]
    fn the_last_file_counts_and_every_file_of_a_section_is_known() {
        let view = view(
            &["[barman]\na = 1\n[main]\nx = 1\ny = 2\n", "[main]\nx = 3\n"],
            Reading::OneByOne,
        );
        assert_eq!(value(&view, "main", "x").as_deref(), Some("3"));
        assert_eq!(value(&view, "main", "y").as_deref(), Some("2"));
        let main = view.section("main").unwrap();
        assert_eq!(main.files, [0, 1]);
        let entry = main.entry("x").unwrap();
        assert_eq!((entry.file, entry.line), (1, 2));
    }

    #[test]
    fn percent_signs_are_halved_as_often_as_barman_does() {
        for (reading, text) in [
            (Reading::AtOnce, "100%% safe"),
            (Reading::OneByOne, "100%%%% safe"),
        ] {
            assert_eq!(reading.written("100% safe"), text);
            let view = view(&[&format!("[main]\nx = {text}\n")], reading);
            assert_eq!(value(&view, "main", "x").as_deref(), Some("100% safe"));
        }
        // Barman 3.10 ends with an error here.
        let broken = view(&["[main]\nx = 100%% safe\n"], Reading::OneByOne);
        assert!(broken.seen("main", "x").unwrap().value.is_err());
    }

    #[test]
    fn default_reaches_as_far_as_it_does_in_each_version() {
        let texts = ["[barman]\n[DEFAULT]\nx = 1\n[a]\n", "[b]\n"];
        let old = view(&texts, Reading::AtOnce);
        assert_eq!(value(&old, "b", "x").as_deref(), Some("1"));
        let new = view(&texts, Reading::OneByOne);
        assert_eq!(value(&new, "a", "x").as_deref(), Some("1"));
        assert_eq!(value(&new, "b", "x"), None);
        assert_eq!(new.sections().count(), 3);
        assert_eq!(old.sections().count(), 3);
    }

    #[test]
    fn what_a_value_was_made_of_is_known() {
        let text = "[main]\nconninfo = secret\nx = %(conninfo)s\ny = %(x)s\nz = %%(conninfo)s\n";
        let view = view(&[text], Reading::OneByOne);
        for key in ["x", "y", "z"] {
            let seen = view.seen("main", key).unwrap();
            assert_eq!(seen.value.unwrap(), "secret", "{key}");
            assert!(seen.names.contains(&"conninfo".to_owned()), "{key}");
        }
    }

    #[test]
    fn quotes_and_none_are_read_as_barman_does() {
        let view = view(
            &["[main]\na = \"x\"\nb = 'x\"\nc = None\nd = \"\n"],
            Reading::OneByOne,
        );
        let values = ["a", "b", "c", "d"].map(|key| value(&view, "main", key).unwrap());
        assert_eq!(values, ["x", "'x\"", "", "\""]);
    }

    #[test]
    fn an_unknown_version_is_read_as_the_newest() {
        for (version, reading) in [
            (Some("2.10"), Reading::AtOnce),
            (Some("3.9.0"), Reading::AtOnce),
            (Some("3.10.0"), Reading::OneByOne),
            (Some("3.19.1"), Reading::OneByOne),
            (Some("4.0"), Reading::OneByOne),
            (None, Reading::OneByOne),
        ] {
            assert_eq!(Reading::of(version), reading, "{version:?}");
        }
    }
}
