//! The value behind a name: where it begins and what ends it.

use std::ops::Range;

use super::MASK;
use super::ending::{Ending, Step, after_blanks, percent, string_ends};
use super::names::{Meaning, meaning};
use super::quotes::{level, own_slashes};

/// More blanks than this do not stand around the sign between name and value.
const MOST_BLANKS: usize = 1024;

/// Text that must be at hand behind the beginning of a value to judge it.
const AHEAD: usize = 32;

/// Words that say that no secret is set.
const UNSET: [&[u8]; 8] = [
    b"None", b"null", b"True", b"true", b"False", b"false", b"on", b"off",
];

/// What stands before a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// The `?` or `&` of a URI's query.
    pub(super) query: bool,
    /// Nothing but blanks and the mark of a comment or a diff, on this line or in this string.
    pub(super) first: bool,
    /// How many strings are open.
    pub(super) strings: u32,
}

/// What stands behind a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// No sign, no value, or one that is no secret.
    None,
    /// More text is needed to tell.
    Unknown,
    /// A secret.
    Secret {
        /// Up to here the text stays.
        shown: usize,
        /// From here the end is looked for.
        from: usize,
        /// Quotes that the mask needs and the value did not have.
        quote: &'a [u8],
        /// What ends the value.
        ending: Ending,
        /// How many strings are open within the value.
        strings: u32,
    },
}

/// The sign between a name and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Equals,
    Colon,
    Percent,
}

/// Looks at what follows a name. With `last` the line ends with `buf`.
pub(super) fn find<'a>(
    buf: &'a [u8],
    name: &Range<usize>,
    before: Before,
    last: bool,
) -> Value<'a> {
    let kind = meaning(buf.get(name.clone()).unwrap_or_default());
    if kind == Meaning::Harmless {
        return Value::None;
    }
    let text = Text { buf, last };
    let closing = text.quote(name.end);
    let after = name.end + closing.map_or(0, <[u8]>::len);
    let (sign, at) = match text.sign(after) {
        Ok(found) => found,
        Err(value) => return value,
    };
    if !last && buf.len() - at < AHEAD {
        return Value::Unknown;
    }
    match (closing, sign) {
        (Some(quote), _) => text.quoted_name(at, quote, before.strings),
        (None, Sign::Percent) => text.encoded(at, before.strings),
        (None, sign) => text.plain(at, kind, sign, before),
    }
}

struct Text<'a> {
    buf: &'a [u8],
    last: bool,
}

impl<'a> Text<'a> {
    fn edge(&self) -> Value<'a> {
        if self.last {
            Value::None
        } else {
            Value::Unknown
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.buf.get(at).copied()
    }

    fn slashes(&self, at: usize) -> usize {
        let rest = self.buf.get(at..).unwrap_or_default();
        rest.iter().take_while(|&&byte| byte == b'\\').count()
    }

    /// A quote with its backslashes at `at`, double or single.
    fn quote(&self, at: usize) -> Option<&'a [u8]> {
        let slashes = self.slashes(at);
        let whole = match self.byte(at + slashes)? {
            b'"' => slashes == own_slashes(level(slashes)),
            b'\'' => true,
            _ => false,
        };
        self.buf.get(at..=at + slashes).filter(|_| whole)
    }

    /// Blanks from `at` on, also percent-encoded ones.
    fn blanks(&self, mut at: usize) -> usize {
        loop {
            at = after_blanks(self.buf, at);
            match percent(self.buf, at) {
                Some((b' ' | b'\t', long)) => at += long,
                _ => return at,
            }
        }
    }

    /// The sign from `after` on and where the value begins.
    fn sign(&self, after: usize) -> Result<(Sign, usize), Value<'a>> {
        let at = self.blanks(after);
        if at - after > MOST_BLANKS {
            return Err(Value::None);
        }
        if !self.last && self.buf.len() < at + AHEAD {
            return Err(Value::Unknown);
        }
        let (sign, behind) = match self.byte(at) {
            Some(b'=') => (Sign::Equals, at + 1),
            Some(b':') => match self.buf.get(at + 1..).unwrap_or_default() {
                [b':', ..] | [b'/', b'/', ..] => return Err(Value::None),
                [b'=', ..] => (Sign::Equals, at + 2),
                _ => (Sign::Colon, at + 1),
            },
            Some(b'%') => match percent(self.buf, at) {
                Some((b'=' | b':', long)) => (Sign::Percent, at + long),
                _ => return Err(Value::None),
            },
            // An `=` as some JSON writers put it.
            Some(b'\\') => {
                let sign = at + self.slashes(at);
                match self.buf.get(sign..sign + 5) {
                    Some(text) if text.eq_ignore_ascii_case(b"u003d") => (Sign::Equals, sign + 5),
                    _ => return Err(Value::None),
                }
            }
            _ => return Err(Value::None),
        };
        let more = self.buf.get(behind..).unwrap_or_default();
        let behind = behind
            + more
                .iter()
                .take(8)
                .take_while(|&&byte| matches!(byte, b'=' | b'>'))
                .count();
        let value = self.blanks(behind);
        match self.byte(value) {
            _ if value - behind > MOST_BLANKS => Err(Value::None),
            None => Err(self.edge()),
            Some(_) => Ok((sign, value)),
        }
    }

    /// The value behind a name in quotes, as JSON and Python print it.
    fn quoted_name(&self, at: usize, name_quote: &'a [u8], strings: u32) -> Value<'a> {
        let strings = match name_quote.split_last() {
            Some((b'"', slashes)) => level(slashes.len()),
            _ => strings,
        };
        if string_ends(self.buf, at, strings) {
            return Value::None;
        }
        if let Some(quote) = self.quote(at) {
            let from = at + quote.len();
            let slashes = quote.len() - 1;
            let (ending, strings) = if quote.ends_with(b"'") {
                (
                    Ending::Apostrophe {
                        slashes,
                        keep: true,
                    },
                    strings,
                )
            } else {
                (Ending::String, level(slashes) + 1)
            };
            let empty = self.buf.get(from..).unwrap_or_default().starts_with(quote);
            return if empty {
                Value::None
            } else {
                secret(from, from, ending, strings)
            };
        }
        match self.byte(at) {
            Some(b'[' | b'{' | b',' | b'}' | b']' | b'\\') | None => Value::None,
            _ if self.unset(at, strings) => Value::None,
            _ => Value::Secret {
                shown: at,
                from: at,
                quote: name_quote,
                ending: Ending::Bare,
                strings,
            },
        }
    }

    /// The value behind a percent-encoded sign.
    fn encoded(&self, at: usize, strings: u32) -> Value<'a> {
        let (from, ending) = match percent(self.buf, at) {
            Some((b'\'', long)) => (at + long, Ending::PercentApostrophe),
            _ => (at, Ending::Percent),
        };
        if from == at && ending.find(self.buf, at, strings, self.last) == Step::End(at) {
            return Value::None;
        }
        secret(at, from, ending, strings)
    }

    /// The value behind a name without quotes.
    fn plain(&self, at: usize, kind: Meaning, sign: Sign, before: Before) -> Value<'a> {
        let masked = self
            .buf
            .get(at..)
            .is_some_and(|rest| rest.starts_with(MASK));
        let Before {
            query,
            first,
            strings,
        } = before;
        let own_line = match (kind, sign) {
            _ if query => false,
            (Meaning::Phrase, _) => true,
            (Meaning::Word, Sign::Equals) => false,
            _ => first,
        };
        let stretch = kind == Meaning::Word && sign == Sign::Equals && first && !query && !masked;
        let ending = if own_line {
            Ending::Line
        } else {
            Ending::Word { query, stretch }
        };
        if string_ends(self.buf, at, strings) || query && self.byte(at) == Some(b'&') {
            return Value::None;
        }
        if (own_line || sign == Sign::Colon) && self.unset(at, strings) {
            return Value::None;
        }
        if own_line {
            return secret(at, at, ending, strings);
        }
        let slashes = self.slashes(at);
        let from = at + slashes + 1;
        match self.byte(at + slashes) {
            Some(b'\'') if slashes == 0 && self.byte(from) == Some(b'\'') => {
                let empty = after_blanks(self.buf, from + 1) > from + 1
                    || from + 1 == self.buf.len()
                    || string_ends(self.buf, from + 1, strings);
                if empty {
                    Value::None
                } else {
                    secret(at, from + 1, Ending::Doubled, strings)
                }
            }
            Some(b'\'') => secret(
                at,
                from,
                Ending::Apostrophe {
                    slashes,
                    keep: false,
                },
                strings,
            ),
            Some(b'"') if level(slashes) >= strings => secret(
                at,
                from,
                Ending::Quote {
                    level: level(slashes),
                },
                strings,
            ),
            _ => secret(at, at, ending, strings),
        }
    }

    /// Whether the value is a word that says that nothing is set, and nothing else.
    fn unset(&self, at: usize, strings: u32) -> bool {
        let rest = self.buf.get(at..).unwrap_or_default();
        UNSET
            .iter()
            .filter(|word| rest.starts_with(word))
            .any(|word| {
                let behind = at + word.len();
                let next = after_blanks(self.buf, behind);
                match self.byte(next) {
                    None => true,
                    Some(byte) => {
                        matches!(byte, b',' | b'}' | b']') || string_ends(self.buf, next, strings)
                    }
                }
            })
    }
}

fn secret<'a>(shown: usize, from: usize, ending: Ending, strings: u32) -> Value<'a> {
    Value::Secret {
        shown,
        from,
        quote: b"",
        ending,
        strings,
    }
}
