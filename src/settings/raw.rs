//! The file as sections, keys and values, each with its line.
//!
//! rust-ini reads the values. It tells no lines, joins a line that ends in a backslash with the
//! next, and takes an indented comment for a key; so the text is looked through first, and only
//! plain lines reach it.

use std::path::Path;

use ini::{Ini, ParseOption};

use super::keys;
use super::problem::{Problem, Problems};

/// One `key = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) section: String,
    /// In lower case: case does not matter in keys.
    pub(super) key: String,
    pub(super) value: String,
}

/// A whole file.
#[derive(Debug, Default)]
pub(super) struct Raw {
    /// The section headers and their lines.
    pub(super) sections: Vec<(usize, String)>,
    pub(super) entries: Vec<Entry>,
    /// Keys that stand in their section already. Which value is meant nobody knows.
    pub(super) doubled: Vec<Entry>,
}

/// What a line is.
enum Line<'a> {
    Nothing,
    Section(&'a str),
    Pair(&'a str),
}

/// Reads a text and notes every line that can't be read.
pub(super) fn read(file: &Path, text: &str, problems: &mut Problems) -> Raw {
    let mut raw = Raw::default();
    let mut plain = String::new();
    let mut section = String::new();
    let mut pairs = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let number = index + 1;
        match split(line) {
            Ok(Line::Nothing) => {}
            Ok(Line::Section(name)) => {
                if let Some((first, _)) = raw.sections.iter().find(|(_, known)| known == name) {
                    let wrong = format!("the section stands on line {first} already");
                    problems.add(
                        Problem::at(file, number, &wrong, "write its keys there").section(name),
                    );
                }
                name.clone_into(&mut section);
                raw.sections.push((number, section.clone()));
                plain.extend(["[", name, "]\n"]);
            }
            Ok(Line::Pair(pair)) if section.is_empty() => {
                let key = pair.split(['=', ':']).next().unwrap_or_default().trim();
                let write = match keys::KEYS
                    .iter()
                    .find(|known| known.name == key.to_ascii_lowercase())
                {
                    Some(known) => format!("write [{}] above it", known.section),
                    None => "write the header of its section above it".to_owned(),
                };
                problems.add(
                    Problem::at(file, number, "the key stands in no section", &write).key(key),
                );
            }
            Ok(Line::Pair(pair)) => {
                pairs.push((number, section.clone()));
                plain.push_str(pair);
                plain.push('\n');
            }
            Err((wrong, write)) => {
                problems.add(Problem::at(file, number, wrong, write).section(&section));
            }
        }
    }
    let options = ParseOption {
        enabled_escape: false,
        enabled_quote: false,
        ..ParseOption::default()
    };
    match Ini::load_from_str_opt(&plain, options) {
        Ok(ini) => {
            let values = ini.iter().flat_map(|(_, section)| section.iter());
            for ((line, section), (key, value)) in pairs.into_iter().zip(values) {
                let entry = Entry {
                    line,
                    section,
                    key: key.to_ascii_lowercase(),
                    value: value.to_owned(),
                };
                let same =
                    |other: &&Entry| other.section == entry.section && other.key == entry.key;
                if let Some(first) = raw.entries.iter().find(same) {
                    let wrong = format!("the key has a value on line {} already", first.line);
                    problems.add(
                        Problem::at(file, line, &wrong, "keep one of the two")
                            .section(&entry.section)
                            .key(&entry.key),
                    );
                    raw.doubled.push(entry);
                } else {
                    raw.entries.push(entry);
                }
            }
        }
        Err(error) => {
            // Not reached: only lines that were looked at came this far.
            let write = "write [SECTION] and KEY = VALUE lines";
            problems.add(Problem::new(file, &error.msg, write));
        }
    }
    raw
}

fn split(line: &str) -> Result<Line<'_>, (&'static str, &'static str)> {
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(("the line holds a control character", "remove it"));
    }
    let text = line.trim();
    if text.is_empty() || text.starts_with(['#', ';']) {
        return Ok(Line::Nothing);
    }
    if let Some(header) = text.strip_prefix('[') {
        return match header.strip_suffix(']').map(str::trim) {
            Some(name) if !name.is_empty() && !name.contains(['[', ']']) => Ok(Line::Section(name)),
            _ => Err((
                "the section header is not whole",
                "write [NAME] and nothing else on the line",
            )),
        };
    }
    if line.starts_with([' ', '\t']) && !text.contains(['=', ':']) {
        return Err((
            "a value goes on over a second line",
            "write the whole value on one line",
        ));
    }
    let Some((key, value)) = text.split_once(['=', ':']) else {
        return Err((
            "the line has no =",
            "write KEY = VALUE, or # in front of a comment",
        ));
    };
    let form = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if key.trim().is_empty() || !key.trim().chars().all(form) {
        return Err((
            "the name before the = is no key",
            "write KEY = VALUE, or # in front of a comment",
        ));
    }
    if value.trim_end().ends_with('\\') {
        return Err((
            "the line ends in a backslash",
            "write the whole value on one line",
        ));
    }
    Ok(Line::Pair(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inifile::Document;
    use proptest::prelude::*;

    fn entries(text: &str) -> Vec<(usize, String, String, String)> {
        let mut problems = Problems::default();
        let raw = read(Path::new("/x.conf"), text, &mut problems);
        assert!(problems.is_empty(), "{problems}");
        raw.entries
            .into_iter()
            .map(|entry| (entry.line, entry.section, entry.key, entry.value))
            .collect()
    }

    #[test]
    fn values_are_taken_word_for_word_with_their_lines() {
        let text = "\u{feff}# top\r\n[barman]\r\n  ; indented\r\n Command = C:\\new\\table \r\n\r\nremote_ssh: \"a\" 'b' # c\r\nempty=\r\n";
        let pair = |line, key: &str, value: &str| {
            (line, "barman".to_owned(), key.to_owned(), value.to_owned())
        };
        assert_eq!(
            entries(text),
            [
                pair(4, "command", "C:\\new\\table"),
                pair(6, "remote_ssh", "\"a\" 'b' # c"),
                pair(7, "empty", "")
            ]
        );
    }

    /// What the file says to `inifile`, which edits it.
    fn as_edited(text: &str) -> Vec<(usize, String, String, String)> {
        let document = Document::parse_kindly(text.as_bytes()).unwrap();
        let mut entries: Vec<_> = document
            .sections()
            .flat_map(|section| {
                document.settings(section).map(|setting| {
                    let (key, value) = (setting.key.to_owned(), setting.raw.to_owned());
                    (*setting.lines.start(), section.to_owned(), key, value)
                })
            })
            .collect();
        entries.sort();
        entries
    }

    #[test]
    fn the_shipped_file_says_the_same_to_both_readers() {
        let text = include_str!("../../conf/barmanapi.conf");
        assert!(entries(text).len() > 20);
        assert_eq!(entries(text), as_edited(text));
    }

    #[test]
    fn the_two_readers_differ_on_indented_keys_and_on_blanks_in_brackets_alone() {
        let (one, two) = ("[s]\na = 1\n  b = 2\n", "[ s ]\na = 1\n");
        assert_eq!(entries(one).len(), 2);
        assert_eq!(as_edited(one)[0].3, "1\nb = 2");
        assert_eq!(entries(two)[0].1, "s");
        assert_eq!(as_edited(two)[0].1, " s ");
    }

    #[test]
    fn every_line_that_cannot_be_read_is_told() {
        let text = "a=1\n[x\n[y]\nb\n=c\nd=\\\n  more\n[y]\ne=1\nE=2\nf=\u{1}\n[z] junk\n";
        let mut problems = Problems::default();
        read(Path::new("/x.conf"), text, &mut problems);
        let lines: Vec<_> = problems
            .iter()
            .map(|problem| problem.line.unwrap())
            .collect();
        assert_eq!(lines, [1, 2, 4, 5, 6, 7, 8, 11, 12, 10]);
    }

    /// Lines of a file; keys stand as deep as the one above or less.
    fn lines() -> impl Strategy<Value = String> {
        let key = "[a-dA-D][a-z_.-]{0,3}";
        let value = "[ -~é\\t]{0,16}|['\"\\\\#;=:\\[\\]%$ ]{0,6}|C:\\\\new\\\\table";
        let pair = (key, " ?[=:] ?", value).prop_map(|(key, sign, value)| key + &sign + &value);
        let line = prop_oneof![
            6 => pair,
            2 => "\\[[a-z]{1,3}(:[a-z])?\\] ?",
            1 => " {0,2}[#;][ -~\\u{80}-\\u{2fff}]{0,12}",
            1 => "[ \\t]{0,3}",
        ];
        let end = prop::sample::select(vec!["\n", "\r\n"]);
        let line = (line, end).prop_map(|(line, end)| line + end);
        let body = prop::collection::vec(line, 0..16).prop_map(|lines| lines.concat());
        ("\u{feff}?", body).prop_map(|(mark, body)| format!("{mark}[s]\n{body}"))
    }

    proptest! {
        #[test]
        fn both_readers_say_the_same_of_every_file_that_the_settings_take(text in lines()) {
            let mut problems = Problems::default();
            let raw = read(Path::new("/x.conf"), &text, &mut problems);
            if problems.is_empty() {
                let mut found: Vec<_> = raw.entries.into_iter()
                    .map(|entry| (entry.line, entry.section, entry.key, entry.value))
                    .collect();
                found.sort();
                prop_assert_eq!(found, as_edited(&text));
            }
        }

        #[test]
        fn rust_ini_gives_what_stands_there(
            pairs in prop::collection::vec(("[a-z][a-z0-9_.]{0,8}", "[!-~é][ -~é]{0,20}[!-\\[\\]-~é]|[!-\\[\\]-~]|"), 0..12),
        ) {
            let mut seen = std::collections::BTreeSet::new();
            let pairs: Vec<_> = pairs.into_iter().filter(|(key, _)| seen.insert(key.clone())).collect();
            let text = pairs.iter().map(|(key, value)| format!("{key} = {value}\n")).collect::<Vec<_>>().concat();
            let found = entries(&format!("[s]\n{text}"));
            let wanted: Vec<_> = pairs.into_iter().enumerate()
                .map(|(index, (key, value))| (index + 2, "s".to_owned(), key, value.trim().to_owned()))
                .collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
