//! One line of ini text and what it is.

use std::ops::Range;

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Neither a section, nor a key with a value, nor a comment.
    #[error("not a [section], not `key = value`, not a comment")]
    Unreadable,
    /// A key before the first section.
    #[error("a key before the first [section]")]
    NoSection,
    /// A separator with nothing before it.
    #[error("a value without a key")]
    NoKey,
    /// Bytes that are not UTF-8, outside a comment.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// A byte order mark, which Python takes for text.
    #[error("a byte order mark, which Barman can't read: save the file without it")]
    Mark,
}

/// A line as it stands in the file, its end included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) raw: Vec<u8>,
    pub(super) kind: Kind,
}

/// What a line is to a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Blank,
    Comment,
    /// A header; the name as written between the brackets.
    Section(String),
    /// A key, lower-cased, and where its value stands in the raw line (trimmed).
    Entry {
        key: String,
        value: Range<usize>,
    },
    /// A further line of the value above: where its text stands.
    Continuation(Range<usize>),
}

impl Line {
    /// The bytes that end the line: `\n`, `\r\n`, `\r`, or none at the end of the file.
    pub(super) fn ending(&self) -> &[u8] {
        self.raw.get(body_len(&self.raw)..).unwrap_or_default()
    }

    /// A part of the line as text.
    pub(super) fn text(&self, range: &Range<usize>) -> &str {
        let bytes = self.raw.get(range.clone()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The white space the line begins with.
    pub(super) fn indent(&self) -> &str {
        let body = self.raw.get(..body_len(&self.raw)).unwrap_or_default();
        let text = std::str::from_utf8(body).unwrap_or_default();
        text.get(..text.len() - text.trim_start_matches(is_space).len())
            .unwrap_or_default()
    }
}

/// Python's idea of white space (`str.isspace`): Unicode's, and the four information separators.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Cuts text into lines that keep their ends.
pub(super) fn split(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while !text.is_empty() {
        let end = match text.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            None => text.len(),
            Some(at) if text.get(at..at + 2) == Some(b"\r\n") => at + 2,
            Some(at) => at + 1,
        };
        let (line, rest) = text.split_at(end);
        lines.push(line);
        text = rest;
    }
    lines
}

fn body_len(raw: &[u8]) -> usize {
    let ends = raw.iter().rev().take_while(|b| matches!(b, b'\n' | b'\r'));
    raw.len() - ends.count()
}

/// The state a reader carries from line to line.
#[derive(Debug, Default)]
pub(super) struct Reader {
    in_section: bool,
    in_value: bool,
    indent: usize,
}

impl Reader {
    /// Tells what a line is, given the lines before it.
    pub(super) fn classify(&mut self, raw: &[u8]) -> Result<Kind, Fault> {
        let body = raw.get(..body_len(raw)).unwrap_or_default();
        let Ok(text) = std::str::from_utf8(body) else {
            let start = body.trim_ascii_start().first();
            return match start {
                Some(b'#' | b';') => Ok(Kind::Comment),
                _ => Err(Fault::NotUtf8),
            };
        };
        let content = text.trim_start_matches(is_space);
        let lead = text.len() - content.len();
        let content = content.trim_end_matches(is_space);
        if content.is_empty() {
            return Ok(Kind::Blank);
        }
        if content.starts_with(['#', ';']) {
            return Ok(Kind::Comment);
        }
        // Python counts the indent in characters.
        let indent = text.chars().take_while(|c| is_space(*c)).count();
        if self.in_value && indent > self.indent {
            return Ok(Kind::Continuation(lead..lead + content.len()));
        }
        self.indent = indent;
        if let Some(name) = header(content) {
            self.in_section = true;
            self.in_value = false;
            return Ok(Kind::Section(name.to_owned()));
        }
        if !self.in_section {
            return Err(Fault::NoSection);
        }
        let at = content.find(['=', ':']).ok_or(Fault::Unreadable)?;
        let (key, value) = content.split_at(at);
        let key = key.trim_end_matches(is_space);
        if key.is_empty() {
            return Err(Fault::NoKey);
        }
        let value = value.get(1..).unwrap_or_default();
        let value = value.trim_start_matches(is_space);
        let end = lead + content.len();
        self.in_value = true;
        Ok(Kind::Entry {
            key: key.to_lowercase(),
            value: end - value.len()..end,
        })
    }
}

/// The name in `[name]`; what follows the last bracket is ignored, as Python does.
fn header(content: &str) -> Option<&str> {
    let inner = content.strip_prefix('[')?;
    let name = inner.get(..inner.rfind(']')?)?;
    (!name.is_empty()).then_some(name)
}
