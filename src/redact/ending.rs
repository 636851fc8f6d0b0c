//! Where a secret value ends.
//!
//! Every ending also ends at the quote of an enclosing string and at a line break written as an
//! escape within it, so that what is cut out of a JSON document leaves a JSON document.

use super::quotes::{level, own_slashes};

/// A run of blanks longer than this is taken for a part of the value.
const MOST_BLANKS: usize = 1024;

/// What ends a value that is being left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// White space.
    Word {
        /// The value stands in the query of a URI: `&` ends it too.
        query: bool,
        /// Words follow that belong to it, until one is the name in `name=value`.
        stretch: bool,
    },
    /// The end of the line; blanks there stay.
    Line,
    /// An apostrophe with as many backslashes before it as the opening one.
    Apostrophe {
        /// Backslashes before the opening apostrophe.
        slashes: usize,
        /// The closing apostrophe stays.
        keep: bool,
    },
    /// Two apostrophes, as SQL writes one within a string.
    Doubled,
    /// The quote of the string that is the value.
    String,
    /// A double quote of this level or a lower one, which goes with the value.
    Quote {
        /// The level of the opening quote.
        level: u32,
    },
    /// White space, `&`, or the percent-encoded form of one of them.
    Percent,
    /// A percent-encoded apostrophe.
    PercentApostrophe,
    /// What ends a number in JSON.
    Bare,
}

/// How far a search for the end came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The value ends before this byte.
    End(usize),
    /// The value goes on at this byte in another form.
    Then(usize, Ending),
    /// Up to this byte it is all value; the rest needs more text.
    More(usize),
}

/// Whether a byte separates words.
pub(super) fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b || byte == 0
}

/// The length of a percent-encoded character at `at` and the character: `%3D` and `%253D` are `=`.
pub(super) fn percent(buf: &[u8], at: usize) -> Option<(u8, usize)> {
    if buf.get(at) != Some(&b'%') {
        return None;
    }
    let mut digits = at + 1;
    while buf.get(digits..digits + 2) == Some(b"25") {
        digits += 2;
    }
    let text = std::str::from_utf8(buf.get(digits..digits + 2)?).ok()?;
    let byte = u8::from_str_radix(text, 16).ok()?;
    Some((byte, digits + 2 - at))
}

/// One step over a value: a run of backslashes and the byte behind it.
struct Unit {
    slashes: usize,
    /// Where the byte stands.
    at: usize,
    /// `None` at the end of the text.
    byte: Option<u8>,
}

impl Unit {
    fn read(buf: &[u8], from: usize) -> Self {
        let rest = buf.get(from..).unwrap_or_default();
        let slashes = rest.iter().take_while(|&&byte| byte == b'\\').count();
        let at = from + slashes;
        Self {
            slashes,
            at,
            byte: buf.get(at).copied(),
        }
    }

    /// Where an enclosing string ends here, if it does.
    fn closes(&self, strings: u32) -> Option<usize> {
        let level = level(self.slashes);
        (self.byte == Some(b'"') && level < strings).then(|| self.at - own_slashes(level))
    }

    /// Where a white-space escape such as `\n` begins, if this is one.
    fn escape(&self, strings: u32, letters: &[u8]) -> Option<usize> {
        let letter = self.byte.is_some_and(|byte| letters.contains(&byte));
        let own = self.slashes.trailing_zeros();
        (letter && self.slashes > 0 && own < strings).then(|| self.at - (1 << own))
    }

    /// Whether the text within the strings has a backslash right before the byte that escapes it.
    fn escaped(&self, strings: u32) -> bool {
        self.slashes.checked_shr(strings).unwrap_or(0) % 2 == 1
    }
}

impl Ending {
    /// Looks for the end of a value from `from` on, `strings` strings deep. With `last`, no text
    /// follows on this line.
    pub(super) fn find(self, buf: &[u8], from: usize, strings: u32, last: bool) -> Step {
        let mut at = from;
        loop {
            let unit = Unit::read(buf, at);
            let Some(byte) = unit.byte else {
                // A run of backslashes at the edge counts only as a whole.
                let kept = if last { 0 } else { unit.slashes % 256 };
                return if last {
                    Step::End(buf.len())
                } else {
                    Step::More(buf.len() - kept)
                };
            };
            if let Some(end) = unit.closes(strings) {
                return Step::End(end);
            }
            if let Some(step) = self.step(buf, &unit, byte, strings, last) {
                return step;
            }
            at = unit.at + 1;
        }
    }

    fn step(self, buf: &[u8], unit: &Unit, byte: u8, strings: u32, last: bool) -> Option<Step> {
        match self {
            Self::Word { query, stretch } => {
                if let Some(end) = unit.escape(strings, b"ntr") {
                    return Some(Step::End(end));
                }
                if query && byte == b'&' {
                    return Some(Step::End(unit.at));
                }
                if !is_blank(byte) || unit.escaped(strings) {
                    return None;
                }
                Some(if stretch {
                    self.stretched(buf, unit.at, strings, last)
                } else {
                    Step::End(unit.at)
                })
            }
            Self::Line => self.line(buf, unit, byte, strings, last),
            Self::Apostrophe { slashes, keep } => {
                let closes = byte == b'\''
                    && if slashes == 0 {
                        !unit.escaped(strings)
                    } else {
                        unit.slashes <= slashes
                    };
                let after = Self::Word {
                    query: false,
                    stretch: false,
                };
                match (closes, keep) {
                    (false, _) => None,
                    (true, true) => Some(Step::End(unit.at - slashes.min(unit.slashes))),
                    (true, false) => Some(Step::Then(unit.at + 1, after)),
                }
            }
            Self::Doubled if byte == b'\'' => {
                let after = Self::Word {
                    query: false,
                    stretch: false,
                };
                match buf.get(unit.at + 1) {
                    Some(b'\'') => Some(Step::Then(unit.at + 2, after)),
                    None if !last => Some(Step::More(unit.at - unit.slashes)),
                    _ => None,
                }
            }
            Self::Quote { level: own } => {
                let after = Self::Word {
                    query: false,
                    stretch: false,
                };
                let closes = byte == b'"' && level(unit.slashes) <= own;
                closes.then_some(Step::Then(unit.at + 1, after))
            }
            Self::Percent | Self::PercentApostrophe => self.percent(buf, unit, byte, strings, last),
            Self::Bare => {
                let ends = is_blank(byte) || matches!(byte, b',' | b'}' | b']' | b'"');
                ends.then_some(Step::End(unit.at - unit.slashes))
            }
            Self::Doubled | Self::String => None,
        }
    }

    fn line(self, buf: &[u8], unit: &Unit, byte: u8, strings: u32, last: bool) -> Option<Step> {
        if let Some(end) = unit.escape(strings, b"nr") {
            return Some(Step::End(end));
        }
        if !is_blank(byte) {
            return None;
        }
        let next = after_blanks(buf, unit.at);
        let behind = Unit::read(buf, next);
        let line_ends = behind.byte.is_none() && behind.slashes == 0;
        let string_ends =
            behind.closes(strings) == Some(next) || behind.escape(strings, b"nr") == Some(next);
        let unknown = behind.byte.is_none() && !last && buf.len() - unit.at < MOST_BLANKS;
        match (unknown, line_ends && last || string_ends) {
            (true, _) => Some(Step::More(unit.at)),
            (false, true) => Some(Step::End(unit.at)),
            (false, false) => Some(Step::Then(next, self)),
        }
    }

    fn percent(self, buf: &[u8], unit: &Unit, byte: u8, strings: u32, last: bool) -> Option<Step> {
        let quoted = self == Self::PercentApostrophe;
        if let Some(end) = unit.escape(strings, b"ntr") {
            return Some(Step::End(end));
        }
        if is_blank(byte) || byte == b'&' {
            return Some(Step::End(unit.at));
        }
        if byte == b'%' && buf.len() - unit.at < 32 && !last {
            return Some(Step::More(unit.at - unit.slashes));
        }
        match percent(buf, unit.at) {
            Some((b'\'', long)) if quoted => Some(Step::Then(unit.at + long, Self::Percent)),
            // The escape and what it escapes are one.
            Some((b'\\', long)) => {
                let next = percent(buf, unit.at + long).map_or(0, |(_, next)| next);
                Some(Step::Then(unit.at + long + next, self))
            }
            Some((b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'&' | 0, _)) if !quoted => {
                Some(Step::End(unit.at))
            }
            _ => None,
        }
    }

    /// After a blank at `at`: the value ends unless a further word follows that is no `name=`.
    fn stretched(self, buf: &[u8], at: usize, strings: u32, last: bool) -> Step {
        let next = after_blanks(buf, at);
        let rest = buf.get(next..).unwrap_or_default();
        let letter = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
        let name = rest.iter().take(65).take_while(letter).count();
        let sign = after_blanks(buf, next + name);
        let unit = Unit::read(buf, next);
        let edge = sign >= buf.len() || unit.byte.is_none();
        if edge && !last && buf.len() - at < MOST_BLANKS {
            return Step::More(at);
        }
        let ends = rest.is_empty()
            || unit.closes(strings).is_some()
            || unit.escape(strings, b"ntr").is_some()
            || (1..=64).contains(&name) && buf.get(sign) == Some(&b'=');
        if ends {
            Step::End(at)
        } else {
            Step::Then(next, self)
        }
    }
}

/// Whether an enclosing string, or a line within it, ends at `at`.
pub(super) fn string_ends(buf: &[u8], at: usize, strings: u32) -> bool {
    let unit = Unit::read(buf, at);
    unit.closes(strings) == Some(at) || unit.escape(strings, b"ntr") == Some(at)
}

/// The first byte from `at` on that is not blank.
pub(super) fn after_blanks(buf: &[u8], at: usize) -> usize {
    let rest = buf.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|&&byte| is_blank(byte)).count()
}
