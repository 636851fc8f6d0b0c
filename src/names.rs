//! The words that come from outside, each as a type with one constructor.
//!
//! A value of one of these types has been checked once and needs no further check. None of them
//! can be built from a plain string without going through `parse`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A word from outside that does not have the form its kind asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {value:?} is not valid: {expected}")]
pub struct NameError {
    /// What the word was meant to be.
    pub kind: &'static str,
    /// The word as it came, cut to 80 characters.
    pub value: String,
    /// The form that is accepted.
    pub expected: &'static str,
}

impl NameError {
    fn new(kind: &'static str, value: &str, expected: &'static str) -> Self {
        Self {
            kind,
            value: value.chars().take(80).collect(),
            expected,
        }
    }
}

/// Declares a newtype over `String` with `parse`, `as_str`, `Display`, `FromStr` and checked serde.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks a word from outside.
            ///
            /// # Errors
            /// When the word does not have the form described on the type.
            pub fn parse(word: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(word) {
                    Ok(Self(word.to_owned()))
                } else {
                    Err(NameError::new($kind, word, $expected))
                }
            }

            /// The word itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(word: &str) -> Result<Self, NameError> {
                Self::parse(word)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(word: String) -> Result<Self, NameError> {
                Self::parse(&word)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// A command of Barman: lower-case letters, digits and inner hyphens, 1 to 64 characters.
    CommandName,
    "command",
    "lower-case letters, digits and hyphens, starting with a letter, at most 64 characters",
    |word| {
        word.len() <= 64
            && word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    }
);

impl CommandName {
    /// The path that rules name the command by, for example `barman/backup`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("barman/{}", self.0)
    }
}

name!(
    /// A server of Barman's configuration: 1 to 255 bytes without control or line-separating
    /// characters, without surrounding white space and not starting with `-`.
    ///
    /// The word `all` is a valid name here; what it means is for the reader of the name to decide.
    ServerName,
    "server",
    "1 to 255 bytes, no control characters, no surrounding spaces, no leading hyphen",
    |word| {
        (1..=255).contains(&word.len())
            && !word.starts_with('-')
            && word.trim() == word
            && !word.chars().any(is_line_or_control)
    }
);

name!(
    /// A user of the API: a letter or digit, then letters, digits, `.`, `_`, `@` or `-`;
    /// at most 64 characters.
    UserName,
    "user name",
    "a letter or digit, then letters, digits, '.', '_', '@' or '-', at most 64 characters",
    |word| {
        word.len() <= 64
            && word.starts_with(|c: char| c.is_ascii_alphanumeric())
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | '-'))
    }
);

name!(
    /// A ticket, `YYYYmmddTHHMMSS-xxxxxxxxxxxx`: the UTC second in which a job was accepted, then
    /// 60 random bits as 12 letters of Crockford's base 32 in lower case.
    Ticket,
    "ticket",
    "YYYYmmddTHHMMSS, a hyphen and 12 lower-case letters or digits",
    is_ticket
);

/// Crockford's base 32 alphabet in lower case; it has no `i`, `l`, `o` and `u`.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl Ticket {
    /// Makes a ticket from a UTC time and random bits, of which the lower 60 are used.
    #[must_use]
    pub fn new(at: time::OffsetDateTime, random: u64) -> Self {
        let at = at.to_offset(time::UtcOffset::UTC);
        let mut word = format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}-",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        );
        for place in (0..12).rev() {
            let digit = usize::try_from((random >> (place * 5)) & 31).unwrap_or(0);
            word.push(BASE32.get(digit).copied().map_or('0', char::from));
        }
        Self(word)
    }

    /// The month the ticket belongs to.
    #[must_use]
    pub fn month(&self) -> Month {
        Month(self.0.chars().take(6).collect())
    }

    /// The part of the ticket that tells the second of acceptance, which sorts by time.
    #[must_use]
    pub fn second(&self) -> &str {
        self.0.get(..15).unwrap_or_default()
    }

    /// The second of acceptance as RFC 3339 text.
    #[must_use]
    pub fn accepted_at(&self) -> String {
        let part = |range: std::ops::Range<usize>| self.0.get(range).unwrap_or_default();
        format!(
            "{}-{}-{}T{}:{}:{}Z",
            part(0..4),
            part(4..6),
            part(6..8),
            part(9..11),
            part(11..13),
            part(13..15)
        )
    }

    /// The second of acceptance as `YYYYmmddHHMMSS`, as barmanapi's history lists it.
    #[must_use]
    pub fn date(&self) -> String {
        self.0
            .chars()
            .take(15)
            .filter(char::is_ascii_digit)
            .collect()
    }
}

name!(
    /// A month, `YYYYmm`, from 2000 to 2099, in ASCII digits.
    Month,
    "month",
    "YYYYmm, for example 202611",
    |word| {
        word.len() == 6
            && word.bytes().all(|b| b.is_ascii_digit())
            && word.starts_with("20")
            && word.get(4..).and_then(|mm| mm.parse::<u8>().ok()).is_some_and(|mm| (1..=12).contains(&mm))
    }
);

impl Month {
    /// The month of a UTC time.
    #[must_use]
    pub fn of(at: time::OffsetDateTime) -> Self {
        let at = at.to_offset(time::UtcOffset::UTC);
        Self(format!("{:04}{:02}", at.year(), u8::from(at.month())))
    }

    /// How many months this one lies before another; 0 when it does not.
    #[must_use]
    pub fn months_before(&self, other: &Self) -> u32 {
        other.number().saturating_sub(self.number())
    }

    fn number(&self) -> u32 {
        let part = |range: std::ops::Range<usize>| self.0.get(range)?.parse::<u32>().ok();
        part(0..4).unwrap_or_default() * 12 + part(4..6).unwrap_or_default()
    }
}

fn is_ticket(word: &str) -> bool {
    let Some((second, random)) = word.split_once('-') else {
        return false;
    };
    let Some((day, clock)) = second.split_once('T') else {
        return false;
    };
    let number = |text: &str| text.parse::<u8>().unwrap_or(u8::MAX);
    let within = |text: Option<&str>, low: u8, high: u8| {
        text.is_some_and(|text| (low..=high).contains(&number(text)))
    };
    word.is_ascii()
        && day.len() == 8
        && clock.len() == 6
        && random.len() == 12
        && second.bytes().all(|b| b.is_ascii_digit() || b == b'T')
        && day
            .get(..6)
            .is_some_and(|month| Month::parse(month).is_ok())
        && within(day.get(6..8), 1, 31)
        && within(clock.get(..2), 0, 23)
        && within(clock.get(2..4), 0, 59)
        && within(clock.get(4..6), 0, 60)
        && random.bytes().all(|b| BASE32.contains(&b))
}

/// Whether a character is a control character or one that some reader takes for a line end
/// (C0, C1, U+2028, U+2029).
#[must_use]
pub fn is_line_or_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Which servers a request touches: what a decision on a right is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// No server by name: what concerns the whole installation, or none of its servers.
    Global,
    /// Every configured server.
    All,
    /// These servers.
    Servers(Vec<ServerName>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_ticket_carries_its_second_and_its_month() {
        let at = time::macros::datetime!(2026-11-20 21:43:04 UTC);
        let ticket = Ticket::new(at, u64::MAX);
        assert_eq!(ticket.as_str(), "20261120T214304-zzzzzzzzzzzz");
        assert_eq!(ticket.month().as_str(), "202611");
        assert_eq!(ticket.date(), "20261120214304");
        assert_eq!(Ticket::parse(ticket.as_str()), Ok(ticket));
    }

    #[test]
    fn a_ticket_of_another_form_is_refused() {
        for word in [
            "",
            "../x",
            "a/b",
            "20261120T214304-k3v9m2x8q4c",
            "20261120T214304-k3v9m2x8q4cu",
            "20261320T214304-k3v9m2x8q4c7",
            "20261120T244304-k3v9m2x8q4c7",
            "20261120T214304-K3V9M2X8Q4C7",
            "20261120T214304-k3v9m2x8q4c7\n",
            "２０261120T214304-k3v9m2x8q4c7",
        ] {
            assert!(Ticket::parse(word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_month_is_six_ascii_digits_of_this_century() {
        assert!(Month::parse("202611").is_ok());
        for word in [
            "000000",
            "202613",
            "202600",
            "２０２６１０",
            "202610/..",
            "/etc",
            "*",
            "19991",
        ] {
            assert!(Month::parse(word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_server_name_never_reads_as_an_option_or_a_second_line() {
        assert!(ServerName::parse("bad server name !").is_ok());
        for word in [
            "",
            "-main",
            "--all",
            " main",
            "main ",
            "a\nb",
            "a\u{2028}b",
            "a\u{85}b",
            "a\0",
        ] {
            assert!(ServerName::parse(word).is_err(), "{word:?}");
        }
    }

    proptest! {
        #[test]
        fn parse_and_display_are_inverse(word in "\\PC{0,80}") {
            if let Ok(name) = UserName::parse(&word) {
                prop_assert_eq!(name.to_string(), word.clone());
            }
            if let Ok(name) = ServerName::parse(&word) {
                prop_assert_eq!(name.to_string(), word.clone());
                prop_assert!(!word.starts_with('-'));
            }
        }

        #[test]
        fn every_made_ticket_parses(second in 946_684_800i64..4_102_444_799, random: u64) {
            let at = time::OffsetDateTime::from_unix_timestamp(second).unwrap();
            let ticket = Ticket::new(at, random);
            prop_assert_eq!(Ticket::parse(ticket.as_str()), Ok(ticket));
        }
    }
}
