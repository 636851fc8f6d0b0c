//! Takes secrets out of text: what Barman prints, what its configuration holds, what logs tell.
//!
//! Known are `password=…` in every quoting that libpq reads, also percent-encoded and within JSON
//! strings of any depth; the password of a URI; and the values of names such as `secret`,
//! `token` or `encryption_passphrase_command`, in JSON, in ini files and on Barman's console. Each
//! becomes `*REDACTED*`, the word that Barman itself uses. What was valid JSON stays valid JSON,
//! blanks and line ends stay, and other bytes pass as they are, valid UTF-8 or not.
//!
//! A secret must stand on one line. Text can't tell what is secret when nothing names it.

mod ending;
mod names;
mod quotes;
mod scan;
mod uri;
mod value;

use std::borrow::Cow;

use serde_json::Value;

use names::Meaning;
use scan::{CONTEXT, Scanner, TRIGGER};

/// What stands in place of a secret.
const MASK: &[u8] = WORD.as_bytes();
const WORD: &str = "*REDACTED*";

/// A longer line is read in pieces of this many bytes.
const PIECE: usize = 64 * 1024;

/// Whether something in a text was masked.
#[must_use]
pub fn is_masked(text: &str) -> bool {
    text.contains(WORD)
}

/// Masks the secrets in a text.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    match bytes(text.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        // Only whole characters are cut out, so nothing is lost here.
        Cow::Owned(masked) => Cow::Owned(match String::from_utf8(masked) {
            Ok(masked) => masked,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }),
    }
}

/// Masks the secrets in bytes of any kind.
#[must_use]
pub fn bytes(bytes: &[u8]) -> Cow<'_, [u8]> {
    if TRIGGER.is_match(bytes) {
        let mut out = Vec::with_capacity(bytes.len());
        whole_lines(bytes, &mut out);
        Cow::Owned(out)
    } else {
        Cow::Borrowed(bytes)
    }
}

/// Masks the secrets in a JSON document: the values of secret names whole (strings and numbers,
/// at any depth below), and what other strings hold.
pub fn json(value: &mut Value) {
    match value {
        Value::String(string) => {
            if let Cow::Owned(masked) = text(string) {
                *string = masked;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(json),
        Value::Object(map) => {
            for (name, value) in map {
                if names::meaning(name.as_bytes()) == Meaning::Harmless {
                    json(value);
                } else {
                    mask(value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Masks every string and number below.
fn mask(value: &mut Value) {
    match value {
        Value::String(string) if string.is_empty() => {}
        Value::String(_) | Value::Number(_) => {
            *value = Value::String(String::from_utf8_lossy(MASK).into_owned());
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(map) => map.values_mut().for_each(mask),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Masks the secrets in a text whose last line is complete.
fn whole_lines(bytes: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(found) = TRIGGER.find_at(bytes, at) {
        let (before, after) = bytes.split_at(found.start());
        let start = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1)
            .max(at);
        let end = after
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(bytes.len(), |end| found.start() + end);
        out.extend_from_slice(bytes.get(at..start).unwrap_or_default());
        Scanner::default().feed(bytes.get(start..end).unwrap_or_default(), 0, true, out);
        at = end;
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or_default());
}

/// Masks the secrets in a stream.
///
/// Lines pass when they are complete; a line longer than 64 KiB passes in pieces, and what a
/// secret could still begin in is held back (64 KiB more at most).
#[derive(Debug)]
pub struct Redactor {
    /// The unfinished line: text that was passed on, kept as context, then text that was not.
    line: Vec<u8>,
    /// Where the text that was not passed on begins.
    done: usize,
    /// The length of the line at which it is looked at again.
    next: usize,
    piece: usize,
    scanner: Scanner,
}

impl Default for Redactor {
    fn default() -> Self {
        Self::new()
    }
}

impl Redactor {
    /// A redactor at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::with_pieces(PIECE)
    }

    fn with_pieces(piece: usize) -> Self {
        Self {
            line: Vec::new(),
            done: 0,
            next: piece,
            piece,
            scanner: Scanner::default(),
        }
    }

    /// Takes the next bytes of the stream and adds what may be seen to `out`.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if !self.line.is_empty() {
            let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
                self.hold(bytes, out);
                return;
            };
            let (head, tail) = bytes.split_at(end);
            self.hold(head, out);
            self.finish(out);
            bytes = tail;
        }
        let end = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        let (lines, rest) = bytes.split_at(end);
        whole_lines(lines, out);
        self.hold(rest, out);
    }

    /// Ends the stream: adds what was held back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.scanner.feed(&self.line, self.done, true, out);
        self.line.clear();
        self.done = 0;
        self.next = self.piece;
        self.scanner = Scanner::default();
    }

    /// Takes a part of a line.
    fn hold(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = self.next.saturating_sub(self.line.len()).min(bytes.len());
            let (head, tail) = bytes.split_at(room);
            self.line.extend_from_slice(head);
            bytes = tail;
            if self.line.len() >= self.next {
                self.done = self.scanner.feed(&self.line, self.done, false, out);
                let spent = self.done.saturating_sub(CONTEXT);
                self.line.drain(..spent);
                self.scanner.shift(spent);
                self.done -= spent;
                self.next = self.line.len() + self.piece;
            }
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
