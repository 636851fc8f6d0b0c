//! An ini text in memory: its lines, and what they say.

use std::collections::HashMap;

use super::IniError;
use super::line::{Kind, Line, Reader, split};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An ini text that is written back as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub(super) mark: bool,
    pub(super) lines: Vec<Line>,
    sections: Vec<Section>,
    names: HashMap<String, usize>,
}

/// A section with all that its blocks of lines say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) entries: Vec<(String, String)>,
}

impl Document {
    /// Reads ini text.
    ///
    /// # Errors
    /// At the first line that Python's parser would refuse; a section or key that stands twice is
    /// taken.
    pub fn parse(text: &[u8]) -> Result<Self, IniError> {
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
        let sections = collect(&lines);
        let names = sections
            .iter()
            .enumerate()
            .map(|(at, section)| (section.name.clone(), at))
            .collect();
        Ok(Self {
            mark,
            lines,
            sections,
            names,
        })
    }

    /// The text: the very bytes that were read when nothing was changed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        join(self.mark, &self.lines)
    }

    /// The names of the sections, each once, in the order in which they first stand;
    /// `DEFAULT` is one like any other here.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|section| section.name.as_str())
    }

    /// The value of a key, whatever its case; the last one where it stands twice. The lines of a
    /// continued value are joined by `\n`.
    #[must_use]
    pub fn get(&self, section: &str, key: &str) -> Option<String> {
        let key = key.to_lowercase();
        let found = self.entries(section).find(|(name, _)| *name == key);
        found.map(|(_, value)| value.to_owned())
    }

    /// The keys (lower-cased, each once) and values of a section, in order.
    pub fn entries(&self, section: &str) -> impl Iterator<Item = (&str, &str)> {
        self.section(section)
            .map(|section| section.entries.as_slice())
            .unwrap_or_default()
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether a section of this name stands in the text.
    #[must_use]
    pub fn has_section(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// The line, counted from 1, of a section's first header.
    #[must_use]
    pub fn line_of(&self, section: &str) -> Option<usize> {
        let header = Kind::Section(section.to_owned());
        let at = self.lines.iter().position(|line| line.kind == header)?;
        Some(at + 1)
    }

    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.get(*self.names.get(name)?)
    }

    /// What the text says, free of how it is written.
    pub(super) fn content(&self) -> &[Section] {
        &self.sections
    }
}

/// The text that lines make up.
pub(super) fn join(mark: bool, lines: &[Line]) -> Vec<u8> {
    let mut text = Vec::new();
    if mark {
        text.extend_from_slice(BYTE_ORDER_MARK);
    }
    for line in lines {
        text.extend_from_slice(&line.raw);
    }
    text
}

/// Reads sections and values off the lines.
fn collect(lines: &[Line]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut places: HashMap<(usize, &str), usize> = HashMap::new();
    let mut current = 0;
    let mut open: Option<usize> = None;
    // A blank line counts within a value only when more of the value follows.
    let mut blanks = 0;
    for line in lines {
        match &line.kind {
            Kind::Comment => {}
            Kind::Blank => blanks += 1,
            Kind::Section(name) => {
                open = None;
                current = *names.entry(name).or_insert_with(|| {
                    sections.push(Section {
                        name: name.clone(),
                        entries: Vec::new(),
                    });
                    sections.len() - 1
                });
            }
            Kind::Entry { key, value } => {
                blanks = 0;
                let Some(section) = sections.get_mut(current) else {
                    continue;
                };
                let text = line.text(value).to_owned();
                let place = *places.entry((current, key)).or_insert_with(|| {
                    section.entries.push((key.clone(), String::new()));
                    section.entries.len() - 1
                });
                if let Some(entry) = section.entries.get_mut(place) {
                    entry.1 = text;
                }
                open = Some(place);
            }
            Kind::Continuation(range) => {
                let entry =
                    open.and_then(|place| sections.get_mut(current)?.entries.get_mut(place));
                if let Some((_, value)) = entry {
                    value.push_str(&"\n".repeat(blanks + 1));
                    value.push_str(line.text(range));
                }
                blanks = 0;
            }
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inifile::Fault;
    use proptest::prelude::*;

    fn read(text: &str) -> Document {
        Document::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn keys_lose_their_case_and_sections_keep_it() {
        let document = read("[Main]\nKEY: one\nother = two\n[main]\nkey=three\n");
        assert_eq!(document.get("Main", "key").as_deref(), Some("one"));
        assert_eq!(document.get("Main", "Other").as_deref(), Some("two"));
        assert_eq!(document.get("main", "key").as_deref(), Some("three"));
        assert_eq!(document.get("MAIN", "key"), None);
        assert_eq!(document.sections().collect::<Vec<_>>(), ["Main", "main"]);
    }

    #[test]
    fn the_first_separator_ends_the_key() {
        let document = read("[a]\nconninfo = host=x dbname=y\nurl: http://x\n");
        assert_eq!(
            document.get("a", "conninfo").as_deref(),
            Some("host=x dbname=y")
        );
        assert_eq!(document.get("a", "url").as_deref(), Some("http://x"));
    }

    #[test]
    fn a_comment_sign_inside_a_line_belongs_to_the_value() {
        let document = read("# top\n[a]\n ; note\nx = 1 # one ; two\ny = #2\n");
        assert_eq!(document.get("a", "x").as_deref(), Some("1 # one ; two"));
        assert_eq!(document.get("a", "y").as_deref(), Some("#2"));
    }

    #[test]
    fn deeper_lines_continue_a_value_across_comments_and_blank_lines() {
        let document = read("[a]\nx = 1\n  2\n# note\n\n\t3\n\n\ny = 4\n");
        assert_eq!(document.get("a", "x").as_deref(), Some("1\n2\n\n3"));
        assert_eq!(document.get("a", "y").as_deref(), Some("4"));
    }

    #[test]
    fn a_deeper_header_or_key_is_part_of_the_value_above() {
        let document = read("[a]\nx =\n  [b]\n  y = 2\n");
        assert_eq!(document.get("a", "x").as_deref(), Some("\n[b]\ny = 2"));
        assert!(!document.has_section("b"));
    }

    #[test]
    fn a_wholly_indented_section_reads_as_usual() {
        let document = read("  [a]\n    x = 1\n    y = 2\n  [b]\n  z = 3\n");
        assert_eq!(document.get("a", "y").as_deref(), Some("2"));
        assert_eq!(document.get("b", "z").as_deref(), Some("3"));
    }

    #[test]
    fn every_line_end_counts_and_none_is_needed_at_the_end() {
        let text = "\u{feff}[a]\r\nx = 1\ry = 2\nz = 3";
        let document = read(text);
        for (key, value) in [("x", "1"), ("y", "2"), ("z", "3")] {
            assert_eq!(document.get("a", key).as_deref(), Some(value));
        }
        assert_eq!(document.to_bytes(), text.as_bytes());
    }

    #[test]
    fn the_last_of_two_wins_and_sections_of_one_name_are_one() {
        let document = read("[a]\nx = 1\nx = 2\n[b]\n[a]\nX = 3\ny = 4\n");
        assert_eq!(document.get("a", "x").as_deref(), Some("3"));
        let entries: Vec<_> = document.entries("a").collect();
        assert_eq!(entries, [("x", "3"), ("y", "4")]);
    }

    #[test]
    fn a_header_runs_to_its_last_bracket_and_the_rest_is_ignored() {
        assert!(read("[zz] junk\n").has_section("zz"));
        assert!(read("[a]b]\n").has_section("a]b"));
    }

    #[test]
    fn an_unreadable_line_is_named() {
        for (text, line, fault) in [
            ("x = 1\n", 1, Fault::NoSection),
            ("[a]\n\nword\n", 3, Fault::Unreadable),
            ("[a]\r\n= 1\r\n", 2, Fault::NoKey),
            ("[]\n", 1, Fault::NoSection),
            ("[a]\n[]\n", 2, Fault::Unreadable),
        ] {
            let error = Document::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error, IniError { line, fault }, "{text:?}");
        }
        let error = Document::parse(b"[a]\nx = \xfe\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: not UTF-8 text");
    }

    #[test]
    fn a_comment_may_hold_any_bytes() {
        let text = b"# \xfe\xff\n[a]\nx = 1\n";
        assert_eq!(Document::parse(text).unwrap().to_bytes(), text);
    }

    fn ini_bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "[a]",
            "[b]",
            "x",
            "Y",
            "=",
            ":",
            " ",
            "\t",
            "1",
            "#",
            ";",
            "\n",
            "\r\n",
            "\r",
            "[",
            "]",
            "\u{feff}",
            "\u{85}",
            "\u{a0}",
            "é",
            "\0",
            "[a]\nx=1\n",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn what_parses_is_written_back_byte_for_byte(text in ini_bytes()) {
            if let Ok(document) = Document::parse(&text) {
                prop_assert_eq!(document.to_bytes(), text);
            }
        }

        #[test]
        fn arbitrary_bytes_parse_or_are_refused(text: Vec<u8>) {
            let mut behind = b"[a]\nx = 1\n#".to_vec();
            behind.extend_from_slice(&text);
            for text in [text, behind] {
                if let Ok(document) = Document::parse(&text) {
                    prop_assert_eq!(document.to_bytes(), text);
                }
            }
        }
    }
}
