//! How deep a byte stands in strings within strings.
//!
//! A JSON document that is itself a string of a JSON document (as `barman -f json diagnose` prints
//! it) writes its quotes as `\"`, one level further in as `\\\"`. The level of a quote follows from
//! the number of backslashes before it: every level doubles them and adds one.

/// The level of a double quote with `slashes` backslashes before it: 0 for `"`, 1 for `\"`.
pub(super) fn level(slashes: usize) -> u32 {
    slashes.trailing_ones()
}

/// How many of the backslashes before a quote of this level belong to the quote itself.
pub(super) fn own_slashes(level: u32) -> usize {
    1usize.checked_shl(level).map_or(0, |width| width - 1)
}

/// Follows the strings of one line.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Depth {
    strings: u32,
    slashes: usize,
    /// The last quote opened a string.
    opened: bool,
}

impl Depth {
    /// How many strings are open.
    pub(super) fn strings(self) -> u32 {
        self.strings
    }

    /// Whether the last quote opened a string.
    pub(super) fn opened(self) -> bool {
        self.opened
    }

    /// Reads on over bytes that stay in the text.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\\' => self.slashes += 1,
                b'"' => {
                    let level = level(self.slashes);
                    self.opened = level >= self.strings;
                    self.strings = level + u32::from(self.opened);
                    self.slashes = 0;
                }
                _ => self.slashes = 0,
            }
        }
    }

    /// Notes how many strings are open.
    pub(super) fn set(&mut self, strings: u32) {
        *self = Self {
            strings,
            ..Self::default()
        };
    }

    /// Notes that the bytes before the next ones were replaced.
    pub(super) fn skip(&mut self) {
        self.slashes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(text: &str) -> u32 {
        let mut depth = Depth::default();
        depth.advance(text.as_bytes());
        depth.strings()
    }

    #[test]
    fn a_string_within_a_string_is_one_deeper() {
        assert_eq!(depth(r#"{"a": "#), 0);
        assert_eq!(depth(r#"{"a": ""#), 1);
        assert_eq!(depth(r#"{"a": "{\"b\": "#), 1);
        assert_eq!(depth(r#"{"a": "{\"b\": \""#), 2);
        assert_eq!(depth(r#"{"a": "{\"b\": \"{\\\"c"#), 3);
        assert_eq!(depth(r#"{"a": "{\"b\": \"c\"}""#), 0);
    }

    #[test]
    fn a_backslash_before_a_closing_quote_does_not_keep_the_string_open() {
        assert_eq!(depth(r#""C:\\""#), 0);
        assert_eq!(depth(r#""{\"a\":\"C:\\\\\""#), 1);
    }
}
