//! An ini text in memory: its lines, and what they say.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::interpolation::{InterpolationError, expand};
use super::line::{Fault, Kind, Line, Reader, split};
use super::{DEFAULT, IniError};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An ini text that is written back as it was read; the default is an empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    kindly: bool,
    pub(super) mark: bool,
    pub(super) lines: Vec<Line>,
    sections: Vec<Section>,
    names: HashMap<String, usize>,
}

/// A key as a section has it: its own, or handed down by `[DEFAULT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<'a> {
    /// The key, lower-cased.
    pub key: &'a str,
    /// The value as it is written; the lines of a continued one are joined by `\n`.
    pub raw: &'a str,
    /// The lines it stands on, counted from 1; where the key stands twice, the last ones.
    pub lines: RangeInclusive<usize>,
    /// Whether it stands in `[DEFAULT]` and not in the section itself.
    pub inherited: bool,
}

/// A section with all that its blocks of lines say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    name: String,
    header: usize,
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
}

/// A key and its value; lines are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: String,
    value: String,
    lines: RangeInclusive<usize>,
}

impl Entry {
    fn setting(&self, inherited: bool) -> Setting<'_> {
        Setting {
            key: &self.key,
            raw: &self.value,
            lines: self.lines.start() + 1..=self.lines.end() + 1,
            inherited,
        }
    }
}

/// What a text says, free of how it is written: sections with their keys and values.
pub(super) type Content = Vec<(String, Vec<(String, String)>)>;

impl Document {
    /// Reads ini text as Barman does: what Python's parser refuses is refused.
    ///
    /// # Errors
    /// At the first line that Python's parser would refuse, and at bytes that are not UTF-8
    /// anywhere.
    pub fn parse(text: &[u8]) -> Result<Self, IniError> {
        if let Err(error) = std::str::from_utf8(text) {
            let before = text.get(..error.valid_up_to()).unwrap_or_default();
            let begins = before.is_empty() || before.ends_with(b"\n") || before.ends_with(b"\r");
            let line = split(before).len() + usize::from(begins);
            return Err(IniError {
                line,
                fault: Fault::NotUtf8,
            });
        }
        if text.starts_with(BYTE_ORDER_MARK) {
            return Err(IniError {
                line: 1,
                fault: Fault::Mark,
            });
        }
        Self::read(text, false)
    }

    /// Reads ini text of our own files: like [`parse`](Self::parse), but a byte order mark may
    /// stand in front and any bytes in comments.
    ///
    /// # Errors
    /// At the first line that can't be read.
    pub fn parse_kindly(text: &[u8]) -> Result<Self, IniError> {
        Self::read(text, true)
    }

    fn read(text: &[u8], kindly: bool) -> Result<Self, IniError> {
        let body = text.strip_prefix(BYTE_ORDER_MARK);
        let mark = body.is_some();
        let mut reader = Reader::default();
        let mut lines = Vec::new();
        for (number, raw) in split(body.unwrap_or(text)).into_iter().enumerate() {
            let kind = reader.classify(raw).map_err(|fault| IniError {
                line: number + 1,
                fault,
            })?;
            let raw = raw.to_vec();
            lines.push(Line { raw, kind });
        }
        let mut reading = Reading::default();
        for (at, line) in lines.iter().enumerate() {
            reading.take(at, line);
        }
        let Reading {
            sections, names, ..
        } = reading;
        Ok(Self {
            kindly,
            mark,
            lines,
            sections,
            names,
        })
    }

    /// Reads changed lines the way this text was read.
    pub(super) fn reread(&self, lines: &[Line]) -> Result<Self, IniError> {
        let text = join(self.mark, lines);
        if self.kindly {
            Self::parse_kindly(&text)
        } else {
            Self::parse(&text)
        }
    }

    /// The text: the very bytes that were read when nothing was changed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        join(self.mark, &self.lines)
    }

    /// The names of the sections, each once, in the order in which they first stand;
    /// [`DEFAULT`] is one like any other here.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|section| section.name.as_str())
    }

    /// The value of a section's own key, whatever its case, as it is written; the last one where
    /// it stands twice. The lines of a continued value are joined by `\n`.
    #[must_use]
    pub fn get(&self, section: &str, key: &str) -> Option<String> {
        let entry = self.section(section)?.entry(&key.to_lowercase())?;
        Some(entry.value.clone())
    }

    /// The keys (lower-cased, each once) and values of a section alone, in order.
    pub fn entries(&self, section: &str) -> impl Iterator<Item = (&str, &str)> {
        self.own(section)
            .iter()
            .map(|entry| (entry.key.as_str(), entry.value.as_str()))
    }

    /// All that a section has, in Python's order: its own keys, then those that `[DEFAULT]` hands
    /// down. Nothing when there is no such section.
    pub fn settings(&self, section: &str) -> impl Iterator<Item = Setting<'_>> {
        let own = self.section(section);
        let heir = own.filter(|section| section.name != DEFAULT);
        let handed_down = heir.map(|_| self.own(DEFAULT)).unwrap_or_default();
        let inherited = handed_down
            .iter()
            .filter(move |entry| heir.is_some_and(|section| section.entry(&entry.key).is_none()));
        self.own(section)
            .iter()
            .map(|entry| entry.setting(false))
            .chain(inherited.map(|entry| entry.setting(true)))
    }

    /// A key as a section has it, whatever its case.
    #[must_use]
    pub fn setting(&self, section: &str, key: &str) -> Option<Setting<'_>> {
        let key = key.to_lowercase();
        let own = self.section(section)?;
        if let Some(entry) = own.entry(&key) {
            return Some(entry.setting(false));
        }
        let entry = self.section(DEFAULT)?.entry(&key)?;
        Some(entry.setting(true))
    }

    /// The value that Python's `get` gives: own or handed down, with every `%(name)s` replaced.
    /// `None` when the section does not have the key.
    ///
    /// # Errors
    /// When Python's `get` would fail.
    pub fn interpolated(
        &self,
        section: &str,
        key: &str,
    ) -> Result<Option<String>, InterpolationError> {
        let Some(setting) = self.setting(section, key) else {
            return Ok(None);
        };
        let own = self.section(section);
        let defaults = self.section(DEFAULT);
        let lookup = |name: &str| {
            let mut places = [own, defaults].into_iter().flatten();
            let entry = places.find_map(|section| section.entry(name))?;
            Some(entry.value.as_str())
        };
        expand(setting.raw, &lookup).map(Some)
    }

    /// Whether a section of this name stands in the text.
    #[must_use]
    pub fn has_section(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// The line, counted from 1, of a section's first header.
    #[must_use]
    pub fn line_of(&self, section: &str) -> Option<usize> {
        Some(self.section(section)?.header + 1)
    }

    /// Every line as it stands, its end included, with the section and the key whose value it
    /// is a part of, where it is one. Bytes that are not UTF-8 (in comments of our own files) make
    /// a line empty.
    #[must_use]
    pub fn lines(&self) -> Vec<(&str, Option<(&str, &str)>)> {
        let (mut section, mut open) = ("", None);
        let with_key = |line| {
            let Line { raw, kind }: &Line = line;
            let of = match kind {
                Kind::Section(name) => {
                    (section, open) = (name.as_str(), None);
                    None
                }
                Kind::Entry { key, .. } => {
                    open = Some((section, key.as_str()));
                    open
                }
                Kind::Continuation(_) => open,
                Kind::Blank | Kind::Comment => None,
            };
            (std::str::from_utf8(raw).unwrap_or_default(), of)
        };
        self.lines.iter().map(with_key).collect()
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.sections.get(*self.names.get(name)?)
    }

    fn own(&self, section: &str) -> &[Entry] {
        let found = self.section(section);
        found
            .map(|section| section.entries.as_slice())
            .unwrap_or_default()
    }

    /// What the text says, free of how it is written.
    pub(super) fn content(&self) -> Content {
        let pairs = |section: &Section| {
            let entries = section.entries.iter();
            entries
                .map(|entry| (entry.key.clone(), entry.value.clone()))
                .collect()
        };
        self.sections
            .iter()
            .map(|section| (section.name.clone(), pairs(section)))
            .collect()
    }
}

impl Section {
    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(*self.places.get(key)?)
    }
}

/// The text that lines make up.
fn join(mark: bool, lines: &[Line]) -> Vec<u8> {
    let mut text = Vec::new();
    if mark {
        text.extend_from_slice(BYTE_ORDER_MARK);
    }
    for line in lines {
        text.extend_from_slice(&line.raw);
    }
    text
}

/// Sections and values on their way off the lines.
#[derive(Debug, Default)]
struct Reading {
    sections: Vec<Section>,
    names: HashMap<String, usize>,
    /// The section that lines belong to.
    current: usize,
    /// The entry that a deeper line continues.
    open: Option<usize>,
    /// A blank line counts within a value only when more of the value follows.
    blanks: usize,
}

impl Reading {
    fn take(&mut self, at: usize, line: &Line) {
        match &line.kind {
            Kind::Comment => {}
            Kind::Blank => self.blanks += 1,
            Kind::Section(name) => self.enter(at, name),
            Kind::Entry { key, value } => self.add(at, key, line.text(value)),
            Kind::Continuation(range) => self.go_on(at, line.text(range)),
        }
    }

    fn enter(&mut self, at: usize, name: &str) {
        self.open = None;
        if let Some(known) = self.names.get(name) {
            self.current = *known;
            return;
        }
        self.current = self.sections.len();
        self.names.insert(name.to_owned(), self.current);
        self.sections.push(Section {
            name: name.to_owned(),
            header: at,
            entries: Vec::new(),
            places: HashMap::new(),
        });
    }

    fn add(&mut self, at: usize, key: &str, value: &str) {
        self.blanks = 0;
        let Some(section) = self.sections.get_mut(self.current) else {
            return;
        };
        let entry = Entry {
            key: key.to_owned(),
            value: value.to_owned(),
            lines: at..=at,
        };
        let place = section.places.get(key).copied();
        match place.and_then(|place| section.entries.get_mut(place)) {
            Some(known) => *known = entry,
            None => section.entries.push(entry),
        }
        let place = place.unwrap_or(section.entries.len() - 1);
        section.places.insert(key.to_owned(), place);
        self.open = Some(place);
    }

    fn go_on(&mut self, at: usize, text: &str) {
        let section = self.sections.get_mut(self.current);
        let entry = section.zip(self.open);
        if let Some(entry) = entry.and_then(|(section, place)| section.entries.get_mut(place)) {
            entry.value.push_str(&"\n".repeat(self.blanks + 1));
            entry.value.push_str(text);
            entry.lines = *entry.lines.start()..=at;
        }
        self.blanks = 0;
    }
}

#[cfg(test)]
mod tests;
