//! What is in a file: found in the file itself and in what was read, not in what was meant.

use std::collections::HashSet;

use barmanapi::inifile::{DEFAULT, Document, Fault, IniError, InterpolationError};

/// What files that are read have.
pub(crate) const ACCEPTED: &[&str] = &[
    "a key in upper case",
    "= as separator",
    ": as separator",
    "a continued value",
    "a blank line within a value",
    "a comment within a value",
    "a # line",
    "a ; line",
    "a comment sign in a value",
    "%(key)s that is replaced",
    "%% that is halved",
    "a reference to nothing",
    "a % that is an error",
    "references without end",
    "[DEFAULT] that hands down",
    "a section that stands twice",
    "a key that stands twice",
    "a header with more behind it",
    "a header with blanks within",
    "a header with a ] within",
    "an indented header",
    "an indented key",
    "an empty value",
    "CR",
    "CRLF",
    "no final line end",
    "odd white space",
    "a letter beyond ASCII",
    "a quote",
    "a backslash",
];

/// What files that are refused have.
pub(crate) const REFUSED: &[&str] = &[
    "a key before the first section",
    "a key without a separator",
    "a separator without a key",
    "the header []",
    "bytes that are no text",
    "a byte order mark",
];

const ODD_SPACE: &str = "\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{1f}\u{85}\u{a0}\u{2028}\u{2029}\u{3000}";

/// The features of a file.
pub(crate) fn features(
    text: &[u8],
    document: &Result<Document, IniError>,
) -> HashSet<&'static str> {
    let plain = String::from_utf8_lossy(text)
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let lines: Vec<&str> = plain.split('\n').collect();
    match document {
        Ok(document) => {
            let mut found = HashSet::new();
            of_bytes(text, &mut found);
            of_lines(&lines, document, &mut found);
            of_values(&lines, document, &mut found);
            found
        }
        Err(error) => {
            let empty = lines[error.line - 1].trim().starts_with("[]");
            let feature = match error.fault {
                Fault::Mark => "a byte order mark",
                Fault::NotUtf8 => "bytes that are no text",
                Fault::NoKey => "a separator without a key",
                Fault::NoSection | Fault::Unreadable if empty => "the header []",
                Fault::NoSection => "a key before the first section",
                Fault::Unreadable => "a key without a separator",
            };
            HashSet::from([feature])
        }
    }
}

fn of_bytes(text: &[u8], found: &mut HashSet<&'static str>) {
    let text = std::str::from_utf8(text).unwrap();
    let mut note = |is: bool, feature| {
        if is {
            found.insert(feature);
        }
    };
    note(text.contains("\r\n"), "CRLF");
    note(text.replace("\r\n", "").contains('\r'), "CR");
    note(
        !text.is_empty() && !text.ends_with(['\n', '\r']),
        "no final line end",
    );
    note(text.contains(|c| ODD_SPACE.contains(c)), "odd white space");
    note(
        text.chars().any(|c| !c.is_ascii() && c.is_alphabetic()),
        "a letter beyond ASCII",
    );
}

/// A line without indent never continues a value, so that it can be judged alone.
fn of_lines(lines: &[&str], document: &Document, found: &mut HashSet<&'static str>) {
    let mut section = String::new();
    let mut seen = HashSet::new();
    for line in lines {
        match line.trim_start().chars().next() {
            Some('#') => drop(found.insert("a # line")),
            Some(';') => drop(found.insert("a ; line")),
            _ => {}
        }
        if line.is_empty() || line.starts_with(['#', ';']) || line.trim_start() != *line {
            continue;
        }
        let end = line
            .rfind(']')
            .filter(|end| line.starts_with('[') && *end > 1);
        if let Some(end) = end {
            line[1..end].clone_into(&mut section);
            if !seen.insert((section.clone(), None)) {
                found.insert("a section that stands twice");
            }
            let mut note = |is: bool, feature| {
                if is {
                    found.insert(feature);
                }
            };
            note(end + 1 != line.len(), "a header with more behind it");
            note(section.trim() != section, "a header with blanks within");
            note(section.contains(']'), "a header with a ] within");
        } else if let Some(at) = line.find(['=', ':']) {
            let key = line[..at].trim_end().to_lowercase();
            if !seen.insert((section.clone(), Some(key))) {
                found.insert("a key that stands twice");
            }
        }
    }
    for section in document.sections() {
        let header = lines[document.line_of(section).unwrap() - 1];
        if header.trim_start() != header {
            found.insert("an indented header");
        }
    }
}

fn of_values(lines: &[&str], document: &Document, found: &mut HashSet<&'static str>) {
    for section in document.sections() {
        for setting in document.settings(section) {
            let (raw, line) = (setting.raw, lines[setting.lines.start() - 1]);
            let within = &lines[setting.lines.start() - 1..*setting.lines.end()];
            let at = line.find(['=', ':']).unwrap();
            let mut note = |is: bool, feature| {
                if is {
                    found.insert(feature);
                }
            };
            note(
                section != DEFAULT && setting.inherited,
                "[DEFAULT] that hands down",
            );
            note(!line.contains(setting.key), "a key in upper case");
            note(line[at..].starts_with('='), "= as separator");
            note(line[at..].starts_with(':'), ": as separator");
            note(line.trim_start() != line, "an indented key");
            note(raw.is_empty(), "an empty value");
            note(raw.contains('\n'), "a continued value");
            note(raw.contains("\n\n"), "a blank line within a value");
            note(
                raw.contains(" #") || raw.contains(" ;"),
                "a comment sign in a value",
            );
            note(raw.contains(['"', '\'']), "a quote");
            note(raw.contains('\\'), "a backslash");
            let comment = |line: &&str| line.trim_start().starts_with(['#', ';']);
            note(within.iter().any(comment), "a comment within a value");
            match document.interpolated(section, setting.key) {
                Ok(Some(value)) => {
                    note(
                        raw.contains("%(") && value != raw,
                        "%(key)s that is replaced",
                    );
                    note(raw.contains("%%") && value != raw, "%% that is halved");
                }
                Ok(None) => unreachable!("the key was listed"),
                Err(InterpolationError::Missing(_)) => note(true, "a reference to nothing"),
                Err(InterpolationError::Syntax) => note(true, "a % that is an error"),
                Err(InterpolationError::Depth) => note(true, "references without end"),
                Err(InterpolationError::TooLong) => panic!("values are short here"),
            }
        }
    }
}
