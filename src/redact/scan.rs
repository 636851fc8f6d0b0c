//! Reads a line once, from left to right, and leaves the secrets out.
//!
//! The scanner may be fed a line in pieces: it keeps what it can't decide yet and tells how far it
//! came. A value that is being left out is never kept, however long it is.

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::MASK;
use super::ending::{Ending, Step, is_blank, percent};
use super::quotes::Depth;
use super::uri::{self, Found};
use super::value::{self, Before, Value};

/// Text before the part that is still to be read, kept to see what a word follows.
pub(super) const CONTEXT: usize = 256;

/// The longest part of a name on either side of the word that was found.
const LONGEST: usize = 256;

/// What a line must hold to be looked at.
#[expect(
    clippy::expect_used,
    reason = "a constant pattern that every test reads"
)]
pub(super) static TRIGGER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        "(?i-u)passw|passphrase|secret|token|credential|authorization\
         |(?:access|api|account|private)[_-]?key\
         |:(?:\\\\*/){2}|%(?:25)*3a(?:%(?:25)*2f){2}",
    )
    .expect("the pattern is valid")
});

/// Where the scanner stands in a line.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scanner {
    depth: Depth,
    ending: Option<Ending>,
    /// No name begins before this byte of the buffer.
    floor: usize,
    /// The buffer no longer begins where the line begins.
    cut: bool,
}

impl Scanner {
    /// Follows the buffer when `bytes` are taken off its front.
    pub(super) fn shift(&mut self, bytes: usize) {
        self.floor = self.floor.saturating_sub(bytes);
        self.cut |= bytes > 0;
    }

    /// Reads `buf` from `from` on, writes what may be seen to `out`, and returns how far it came.
    /// With `last` the line ends here and all of it is read.
    pub(super) fn feed(&mut self, buf: &[u8], from: usize, last: bool, out: &mut Vec<u8>) -> usize {
        let mut plain_word = uri::Word::default();
        let mut encoded_word = uri::Word::default();
        let mut at = from;
        // Where the next name or `://` is looked for.
        let mut search = from;
        loop {
            if let Some(ending) = self.ending {
                match ending.find(buf, at, self.depth.strings(), last) {
                    Step::More(to) => return to,
                    Step::Then(to, ending) => {
                        self.ending = Some(ending);
                        at = to;
                        continue;
                    }
                    Step::End(to) => {
                        self.resume(to);
                        (at, search) = (to, to);
                    }
                }
            }
            let Some(found) = TRIGGER.find_at(buf, search) else {
                let held = if last { 0 } else { CONTEXT };
                let to = buf.len().saturating_sub(held).max(at);
                self.show(buf, at, to, out);
                return to;
            };
            let (start, end) = (found.start(), found.end());
            if start > at {
                self.show(buf, at, start, out);
                at = start;
            }
            let encoded = buf.get(start) == Some(&b'%');
            if encoded || buf.get(start) == Some(&b':') {
                search = end;
                let word = if encoded {
                    &mut encoded_word
                } else {
                    &mut plain_word
                };
                let strings = self.depth.strings();
                match uri::password(buf, end, strings, encoded, last, word) {
                    Found::Password(first, behind) if self.follows_scheme(buf, start) => {
                        self.show(buf, at, first, out);
                        out.extend_from_slice(MASK);
                        self.resume(behind);
                        (at, search) = (behind, behind);
                    }
                    Found::Unknown => return at,
                    _ => {}
                }
                continue;
            }
            let name = self.name(buf, start);
            if name.end == buf.len() && !last {
                return at;
            }
            search = name.end;
            let secret = value::find(buf, &name, self.before(buf, &name), last);
            match secret {
                Value::None => {}
                Value::Unknown => return at,
                Value::Secret {
                    shown,
                    from,
                    quote,
                    ending,
                    strings,
                } => {
                    self.show(buf, at, shown, out);
                    out.extend_from_slice(quote);
                    out.extend_from_slice(MASK);
                    out.extend_from_slice(quote);
                    self.depth.set(strings);
                    self.ending = Some(ending);
                    at = from;
                }
            }
        }
    }

    /// Goes on after a value that was left out.
    fn resume(&mut self, at: usize) {
        self.ending = None;
        self.floor = at;
        self.depth.skip();
    }

    fn show(&mut self, buf: &[u8], from: usize, to: usize, out: &mut Vec<u8>) {
        if let Some(bytes) = buf.get(from..to) {
            out.extend_from_slice(bytes);
            self.depth.advance(bytes);
        }
    }

    fn follows_scheme(&self, buf: &[u8], at: usize) -> bool {
        let before = buf.get(self.floor..at).and_then(<[u8]>::last);
        before.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
    }

    /// The whole name around a word that was found at `start`.
    fn name(&self, buf: &[u8], start: usize) -> Range<usize> {
        let part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-.".contains(*byte);
        let lowest = start.saturating_sub(LONGEST).max(self.floor).min(start);
        let before = buf.get(lowest..start).unwrap_or_default();
        let after = buf.get(start..).unwrap_or_default();
        let mut begin = start - before.iter().rev().take_while(part).count();
        let end = start + after.iter().take(LONGEST).take_while(part).count();
        let head = buf.get(..begin).unwrap_or_default();
        match head.last() {
            // The letter of an escape such as `\t` is no part of the name, nor is a `%20`.
            Some(b'\\') if begin < start => begin += 1,
            Some(b'%') => {
                let encoded = percent(buf, begin - 1).map_or(0, |(_, long)| long - 1);
                begin = (begin + encoded).min(start);
            }
            _ => {}
        }
        begin..end
    }

    /// What stands before a name.
    fn before(&self, buf: &[u8], name: &Range<usize>) -> Before {
        let lowest = name.start.saturating_sub(CONTEXT).max(self.floor);
        let mut rest = buf.get(lowest..name.start).unwrap_or_default();
        let query = matches!(rest.last(), Some(b'?' | b'&'));
        while let Some((&byte, head)) = rest.split_last() {
            if is_blank(byte) || b"#;+->|*".contains(&byte) {
                rest = head;
            } else if byte == b't' && head.last() == Some(&b'\\') {
                rest = head.get(..head.len() - 1).unwrap_or_default();
            } else {
                break;
            }
        }
        let first = match rest {
            [] => lowest == 0 && !self.cut,
            [.., b'\\', b'n' | b'r'] => true,
            [.., b'"'] => self.depth.opened(),
            _ => false,
        };
        Before {
            query,
            first,
            strings: self.depth.strings(),
        }
    }
}
