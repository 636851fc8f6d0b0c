//! The text of a value, made into what its key takes.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::keys::Kind;
use crate::names::CommandName;

/// A value that its key does not take: what is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) words: String,
    /// The same without the value, where that is quoted.
    pub(super) bare: Option<String>,
    pub(super) write: String,
}

impl Wrong {
    pub(super) fn new(wrong: impl Into<String>, write: impl Into<String>) -> Self {
        Self {
            words: wrong.into(),
            bare: None,
            write: write.into(),
        }
    }

    /// What is wrong with a value, in words that follow it.
    pub(super) fn of(value: &str, wrong: &str, write: impl Into<String>) -> Self {
        Self {
            bare: Some(format!("the value {wrong}")),
            ..Self::new(format!("{value:?} {wrong}"), write)
        }
    }

    /// The same with the value told in no way; `wrong` quotes it, and these words do not.
    pub(super) fn without_value(self, words: &str) -> Self {
        Self {
            bare: Some(words.to_owned()),
            ..self
        }
    }
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Switch(bool),
    /// A number, a size in bytes or a time in seconds.
    Number(u64),
    Path(PathBuf),
    Address(IpAddr),
    Port(u16),
    Text(String),
    Words(Vec<String>),
    Commands(Vec<CommandName>),
    Paths(Vec<PathBuf>),
}

impl Value {
    /// Reads a value that is not blank. With `secret` the value itself is not told.
    pub(super) fn parse(kind: Kind, text: &str, secret: bool) -> Result<Self, Wrong> {
        Self::read(kind, text).map_err(|wrong| Wrong {
            words: match &wrong.bare {
                Some(words) if secret => words.clone(),
                _ => wrong.words,
            },
            ..wrong
        })
    }

    fn read(kind: Kind, text: &str) -> Result<Self, Wrong> {
        match kind {
            Kind::Switch => switch(text)
                .map(Self::Switch)
                .ok_or_else(|| Wrong::of(text, "is neither true nor false", "write true or false")),
            Kind::Number(low, high) => number(text, &[("", 1)], low, high, "a whole number"),
            Kind::Size(low, high) => number(
                text,
                &SIZES,
                low,
                high,
                "a size such as 512 KiB or 16 MiB (a bare number is bytes)",
            ),
            Kind::Time(low, high) => number(
                text,
                &TIMES,
                low,
                high,
                "a time such as 30 s, 5 min or 2 h (a bare number is seconds)",
            ),
            Kind::Path => path(text).map(Self::Path),
            Kind::Address => address(text).map(Self::Address).ok_or_else(|| {
                Wrong::of(
                    text,
                    "is no IP address",
                    "write an address such as 127.0.0.1 or ::1",
                )
            }),
            Kind::Port => text.parse().map(Self::Port).map_err(|_| {
                Wrong::of(
                    text,
                    "is no port",
                    "write a number from 0 to 65535, for example 1935",
                )
            }),
            Kind::Text => Ok(Self::Text(text.to_owned())),
            Kind::Choice(words) => {
                let found = words.iter().find(|word| word.eq_ignore_ascii_case(text));
                found
                    .map(|word| Self::Text((*word).to_owned()))
                    .ok_or_else(|| {
                        let write = format!("write one of {}", words.join(", "));
                        Wrong::of(text, "is not known", write)
                    })
            }
            Kind::Commands => each(text, |word| {
                CommandName::parse(word).map_err(|_| {
                    Wrong::of(
                        word,
                        "is no name of a command",
                        "write names as barman --help lists them, for example ['backup','cron']",
                    )
                })
            })
            .map(Self::Commands),
            Kind::Keys => each(text, |word| {
                let word = word.to_ascii_lowercase();
                let form =
                    |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
                if word.bytes().all(form) {
                    Ok(word)
                } else {
                    Err(Wrong::of(
                        &word,
                        "is no key of Barman's configuration",
                        "write names such as ['conninfo']",
                    ))
                }
            })
            .map(Self::Words),
            Kind::Paths => each(text, path).map(Self::Paths),
        }
    }
}

const SIZES: [(&str, u64); 5] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];
const TIMES: [(&str, u64); 4] = [("", 1), ("s", 1), ("min", 60), ("h", 3600)];

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn number(
    text: &str,
    units: &[(&str, u64)],
    low: u64,
    high: u64,
    form: &str,
) -> Result<Value, Wrong> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor);
    let Some(factor) = factor.filter(|_| !digits.is_empty()) else {
        let wrong = format!("is not {form}");
        return Err(Wrong::of(text, &wrong, format!("write {form}")));
    };
    let value = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    match value.filter(|value| (low..=high).contains(value)) {
        Some(value) => Ok(Value::Number(value)),
        None => Err(Wrong::of(
            text,
            "is out of bounds",
            format!("write {form}, from {low} to {high}"),
        )),
    }
}

fn address(text: &str) -> Option<IpAddr> {
    if text.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().ok()
}

fn path(text: &str) -> Result<PathBuf, Wrong> {
    let path = Path::new(text);
    let up = path
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    if !path.is_absolute() {
        Err(Wrong::of(
            text,
            "is not an absolute path",
            "write a path that begins with /",
        ))
    } else if up {
        Err(Wrong::of(
            text,
            "goes up with ..",
            "write the path without ..",
        ))
    } else {
        Ok(path.to_owned())
    }
}

fn each<T>(text: &str, read: impl Fn(&str) -> Result<T, Wrong>) -> Result<Vec<T>, Wrong> {
    list(text)?.iter().map(|word| read(word)).collect()
}

/// The words of a list: `['a','b']`, JSON's `["a","b"]`, or `a, b`.
///
/// The text is data: nothing in it is evaluated, and a backslash has no meaning.
pub(super) fn list(text: &str) -> Result<Vec<String>, Wrong> {
    let wrong = || Wrong::of(text, "is no list", "write ['a','b'] or a, b");
    let (mut rest, bracketed) = match text.trim().strip_prefix('[') {
        Some(rest) => (
            rest.trim_end().strip_suffix(']').ok_or_else(wrong)?.trim(),
            true,
        ),
        None => (text.trim(), false),
    };
    let mut words = Vec::new();
    while !rest.is_empty() {
        let quote = rest
            .chars()
            .next()
            .filter(|c| bracketed && matches!(c, '\'' | '"'));
        let (word, after) = match quote {
            Some(quote) => {
                let (word, after) = rest
                    .get(1..)
                    .and_then(|rest| rest.split_once(quote))
                    .ok_or_else(wrong)?;
                let after = after.trim_start();
                (
                    word,
                    if after.is_empty() {
                        after
                    } else {
                        after.strip_prefix(',').ok_or_else(wrong)?
                    },
                )
            }
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        let word = word.trim();
        if word.is_empty() || word.contains(['[', ']', '\'', '"', '\\']) {
            return Err(wrong());
        }
        words.push(word.to_owned());
        rest = after.trim();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(kind: Kind, text: &str, wanted: &Value) {
        assert_eq!(
            Value::parse(kind, text, false).as_ref(),
            Ok(wanted),
            "{text:?}"
        );
    }

    #[track_caller]
    fn refuses(kind: Kind, texts: &[&str]) {
        for text in texts {
            assert!(Value::parse(kind, text, false).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_switch_is_read_in_any_case() {
        for text in ["true", "True", "YES", "1"] {
            reads(Kind::Switch, text, &Value::Switch(true));
        }
        for text in ["false", "False", "no", "0"] {
            reads(Kind::Switch, text, &Value::Switch(false));
        }
        refuses(Kind::Switch, &["on", "2", "tru", "true ; yes"]);
    }

    #[test]
    fn sizes_and_times_take_units_and_stay_within_bounds() {
        let size = Kind::Size(1, 1 << 30);
        reads(size, "20000", &Value::Number(20_000));
        reads(size, "16 MiB", &Value::Number(16 << 20));
        reads(size, "1gib", &Value::Number(1 << 30));
        refuses(
            size,
            &[
                "0",
                "2 GiB",
                "1 MB",
                "MiB",
                "-1",
                "1.5 MiB",
                "99999999999999999999",
                "18446744073709551615 GiB",
            ],
        );
        let time = Kind::Time(1, 7200);
        reads(time, "30 s", &Value::Number(30));
        reads(time, "5min", &Value::Number(300));
        reads(time, "2 h", &Value::Number(7200));
        refuses(time, &["0", "3 h", "30 sec", "1 d", ""]);
    }

    #[test]
    fn addresses_ports_and_paths_are_checked() {
        reads(
            Kind::Address,
            "localhost",
            &Value::Address("127.0.0.1".parse().unwrap()),
        );
        reads(
            Kind::Address,
            "[::1]",
            &Value::Address("::1".parse().unwrap()),
        );
        refuses(Kind::Address, &["example.com", "1.2.3", "127.0.0.1:80"]);
        reads(Kind::Port, "0", &Value::Port(0));
        refuses(Kind::Port, &["65536", "-1", "http"]);
        reads(
            Kind::Path,
            "/var/lib/x/",
            &Value::Path("/var/lib/x/".into()),
        );
        refuses(Kind::Path, &["var/lib", "~/x", "/var/../etc"]);
    }

    #[test]
    fn a_list_is_read_in_three_forms() {
        for text in [
            "['backup','cron']",
            r#"["backup", "cron"]"#,
            "backup, cron",
            "[backup,cron]",
            "['backup','cron',]",
        ] {
            assert_eq!(list(text).unwrap(), ["backup", "cron"], "{text}");
        }
        assert_eq!(list("[]").unwrap(), Vec::<String>::new());
        for text in [
            "['backup'",
            "['a' 'b']",
            "a,,b",
            "[[a]]",
            "'a'",
            "[a",
            "a]",
            "['a\\'b']",
            "__import__('os')",
        ] {
            assert!(list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wrong_secret_is_not_told() {
        let wrong = Value::parse(Kind::Number(1, 2), "s3cr3t", true).unwrap_err();
        assert!(!wrong.words.contains("s3cr3t"));
    }
}
