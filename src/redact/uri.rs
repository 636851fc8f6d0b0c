//! The password in `scheme://user:password@host`, also percent-encoded.

use super::ending::{is_blank, percent};
use super::quotes::level;

/// User and password longer than this together are not looked for.
pub(super) const LONGEST: usize = 64 * 1024;

/// What stands behind a `://`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A password between these bytes.
    Password(usize, usize),
    /// No password.
    Nothing,
    /// More text is needed to tell.
    Unknown,
}

/// What is known of the word that a URI stands in, so that a word of many `://` is read once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Word {
    end: usize,
    last_at: Option<usize>,
}

/// Looks for a password behind the `://` that ends at `from`, `strings` strings deep.
pub(super) fn password(
    buf: &[u8],
    from: usize,
    strings: u32,
    encoded: bool,
    last: bool,
    word: &mut Word,
) -> Found {
    let reader = Reader {
        buf,
        strings,
        encoded,
    };
    let limit = from.saturating_add(LONGEST);
    if buf.get(from) == Some(&b'[') {
        return Found::Nothing;
    }
    let mut colon = None;
    let mut port = true;
    let mut sign = None;
    let mut at = from;
    let slash = loop {
        match reader.read(at) {
            Piece::Edge if !last && at < limit => return Found::Unknown,
            Piece::Edge | Piece::End => break None,
            Piece::Mark(b'/', _) => break Some(at),
            Piece::Mark(b':', long) if colon.is_none() => {
                colon = Some(at + long);
                at += long;
            }
            Piece::Mark(mark, long) => {
                if mark == b'@' {
                    sign = Some(at);
                }
                port &= colon.is_none() || mark.is_ascii_digit();
                at += long;
            }
        }
        if at >= limit {
            break None;
        }
    };
    let Some(colon) = colon else {
        return Found::Nothing;
    };
    let between = |sign: usize| {
        if colon < sign {
            Found::Password(colon, sign)
        } else {
            Found::Nothing
        }
    };
    match (sign, slash) {
        (Some(sign), _) => between(sign),
        // No host has such a port: a slash within the password.
        (None, Some(slash)) if !port => match reader.last_at(slash, limit, last, word) {
            Ok(sign) => sign.map_or(Found::Nothing, between),
            Err(()) => Found::Unknown,
        },
        _ => Found::Nothing,
    }
}

enum Piece {
    /// A character and its length.
    Mark(u8, usize),
    /// What ends the word.
    End,
    /// The end of the text at hand.
    Edge,
}

struct Reader<'a> {
    buf: &'a [u8],
    strings: u32,
    encoded: bool,
}

impl Reader<'_> {
    fn read(&self, at: usize) -> Piece {
        let Some(&byte) = self.buf.get(at) else {
            return Piece::Edge;
        };
        if is_blank(byte) || byte == b'?' || self.encoded && byte == b'&' {
            return Piece::End;
        }
        match byte {
            b'\\' => {
                let rest = self.buf.get(at..).unwrap_or_default();
                let slashes = rest.iter().take_while(|&&byte| byte == b'\\').count();
                match self.buf.get(at + slashes) {
                    None => Piece::Edge,
                    Some(b'"') if level(slashes) < self.strings => Piece::End,
                    Some(b'n' | b'r' | b't') if slashes.trailing_zeros() < self.strings => {
                        Piece::End
                    }
                    Some(b'"') => Piece::Mark(b'"', slashes + 1),
                    Some(_) => Piece::Mark(b'\\', slashes),
                }
            }
            b'"' if self.strings > 0 => Piece::End,
            b'%' if self.encoded => match percent(self.buf, at) {
                Some((b'?' | b' ' | b'"' | b'\n' | b'\t' | b'&', _)) => Piece::End,
                Some((mark, long)) => Piece::Mark(mark, long),
                None if self.buf.len() - at < 32 => Piece::Edge,
                None => Piece::Mark(byte, 1),
            },
            byte => Piece::Mark(byte, 1),
        }
    }

    /// The last `@` of the word behind `from`.
    fn last_at(
        &self,
        from: usize,
        limit: usize,
        last: bool,
        word: &mut Word,
    ) -> Result<Option<usize>, ()> {
        if word.end <= from {
            let mut found = Word {
                end: from,
                last_at: None,
            };
            loop {
                match self.read(found.end) {
                    Piece::Edge if !last && found.end < limit => return Err(()),
                    Piece::Edge | Piece::End => break,
                    Piece::Mark(mark, long) => {
                        if mark == b'@' {
                            found.last_at = Some(found.end);
                        }
                        found.end += long;
                    }
                }
                if found.end >= limit {
                    break;
                }
            }
            *word = found;
        }
        Ok(word.last_at.filter(|&sign| sign > from))
    }
}
