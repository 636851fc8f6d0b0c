//! One rule: a path of whole segments and, perhaps, the servers it is for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::PolicyError;
use crate::names::is_line_or_control;

/// The greatest length of a rule in bytes.
pub const MAX_RULE: usize = 128;

/// A path of whole segments in lower case, optionally `@SERVER`.
///
/// `barman/check` covers itself and all below it (`barman/check/help`), and not
/// `barman/check-backup`. A segment may end in `*`. Behind `@` stands a server's name, in which
/// `*` stands for any text. [`fmt::Display`] is the inverse of [`Rule::parse`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    path: String,
    server: Option<String>,
}

impl Rule {
    /// Reads a rule; upper case in the path is taken as lower case.
    ///
    /// # Errors
    /// When it is longer than [`MAX_RULE`], a segment is empty, has a character other than
    /// `[a-z0-9_-]` or a `*` that is not its last character, or the server after `@` is empty,
    /// holds control characters, begins or ends with a blank, or has two `*` in a row.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let error = |problem| PolicyError::Rule {
            rule: text.chars().take(MAX_RULE).collect(),
            problem,
        };
        if text.len() > MAX_RULE {
            return Err(error("a rule has at most 128 bytes"));
        }
        let (path, server) = match text.split_once('@') {
            Some((path, server)) => (path, Some(server)),
            None => (text, None),
        };
        let path = path.to_ascii_lowercase();
        for segment in path.split('/') {
            let word = segment.strip_suffix('*').unwrap_or(segment);
            if segment.is_empty() {
                return Err(error(
                    "a path has no empty segment, no '/' first and none last",
                ));
            }
            if word.contains('*') {
                return Err(error("'*' stands only at the end of a segment"));
            }
            let is_legal =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
            if !word.bytes().all(is_legal) {
                return Err(error(
                    "a path has letters, digits, '_', '-', '/' and '*' only",
                ));
            }
        }
        if let Some(server) = server {
            if server.is_empty() || server.trim() != server || server.starts_with('-') {
                return Err(error("a server's name follows '@'"));
            }
            if server.chars().any(is_line_or_control) {
                return Err(error("a server's name has no control characters"));
            }
            if server.contains("**") {
                return Err(error("'*' does not stand twice in a row"));
            }
        }
        Ok(Self {
            path,
            server: server.map(str::to_owned),
        })
    }

    /// The path, without the server.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The server, perhaps with `*`; `None` = the rule is not for single servers.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// Whether the rule covers everything there is.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.path == "*" && self.server.is_none()
    }

    /// Whether the rule names one path and one server, and both word for word.
    #[must_use]
    pub fn is_written_out(&self) -> bool {
        let server = self.server.as_deref();
        !self.path.contains('*') && server.is_some_and(|server| !server.contains('*'))
    }

    /// The same rule for another path, when that can be one.
    pub(super) fn with_path(&self, path: &str) -> Option<Self> {
        let text = match &self.server {
            Some(server) => format!("{path}@{server}"),
            None => path.to_owned(),
        };
        Self::parse(&text).ok()
    }

    /// Whether the path lies in the rule's path: each segment of the rule meets that of the path.
    pub(super) fn meets_path(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        self.path
            .split('/')
            .all(|rule| segments.next().is_some_and(|segment| meets(rule, segment)))
    }

    /// Whether the rule is for a server: for all, or by its pattern.
    pub(super) fn meets_server(&self, server: &str) -> bool {
        self.server
            .as_deref()
            .is_none_or(|pattern| meets_pattern(pattern, server))
    }

    /// Whether the rule takes part in every decision that the other one takes part in.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let server = match (self.server.as_deref(), other.server.as_deref()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => pattern_covers(own, other),
        };
        let mut segments = other.path.split('/');
        server
            && self.path.split('/').all(|own| {
                segments
                    .next()
                    .is_some_and(|segment| match own.strip_suffix('*') {
                        Some(start) => segment.starts_with(start),
                        None => own == segment,
                    })
            })
    }

    /// Whether no decision exists that both take part in. Where that is hard to tell, the answer
    /// is no: a segment with `*` may meet a command by any of its names.
    pub(super) fn is_apart_from(&self, other: &Self) -> bool {
        let is_plain = |word: &str| !word.contains('*');
        let paths = self
            .path
            .split('/')
            .zip(other.path.split('/'))
            .take_while(|(one, other)| is_plain(one) && is_plain(other))
            .any(|(one, other)| one != other);
        let servers = match (self.server.as_deref(), other.server.as_deref()) {
            (Some(one), Some(other)) if is_plain(one) => !meets_pattern(other, one),
            (Some(one), Some(other)) if is_plain(other) => !meets_pattern(one, other),
            _ => false,
        };
        paths || servers
    }
}

/// Whether a segment of a rule meets a segment of a path, in any case of its letters.
fn meets(rule: &str, segment: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(start) => segment
            .get(..start.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(start)),
        None => rule.eq_ignore_ascii_case(segment),
    }
}

/// Whether a pattern, in which `*` stands for any text, meets a name.
///
/// Each piece between two `*` is taken where it is first found, which is enough to decide and
/// never goes back: the time is linear in the name for each piece, and the pieces are short.
fn meets_pattern(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        let Some((_, behind)) = rest.split_once(piece) else {
            return false;
        };
        rest = behind;
    }
    rest.ends_with(last)
}

/// Whether a pattern meets every name that the other one meets, as far as that is plain to see.
fn pattern_covers(own: &str, other: &str) -> bool {
    if own == other || !other.contains('*') {
        return meets_pattern(own, other);
    }
    // Only `START*` is compared with another pattern: it covers all that begins with START.
    own.strip_suffix('*')
        .is_some_and(|start| !start.contains('*') && other.starts_with(start))
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.server {
            Some(server) => write!(f, "@{server}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for Rule {
    type Error = PolicyError;

    fn try_from(text: String) -> Result<Self, PolicyError> {
        Self::parse(&text)
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn rule(text: &str) -> Rule {
        Rule::parse(text).unwrap()
    }

    #[test]
    fn a_rule_covers_whole_segments_and_what_lies_below() {
        for (text, path, met) in [
            ("barman/check", "barman/check", true),
            ("barman/check", "barman/check/help", true),
            ("barman/check", "barman/check-backup", false),
            ("barman", "barman/check", true),
            ("barman", "barmanx/check", false),
            ("barman/list", "barman/list-backups", false),
            ("barman/list-*", "barman/list-backups", true),
            ("barman/list-*", "barman/list", false),
            ("barman/*", "barman", false),
            ("barman/*", "barman/cron", true),
            ("*", "auth/user", true),
            ("Barman/Backup", "barman/backup", true),
            ("barman/backup", "BARMAN/backup", true),
            ("*/list", "auth/list", true),
            ("*/list", "auth/x", false),
            ("servers/main", "servers/main/backups", true),
        ] {
            assert_eq!(rule(text).meets_path(path), met, "{text} {path}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "",
            "[",
            "**",
            "a*a*a*a*a*a*a*b",
            "a*b",
            "a**",
            "/barman",
            "barman/",
            "barman//x",
            "a\0",
            "a\nb",
            "barman/backup@",
            "barman@-x",
            "barman@a**b",
            "barman@ a",
            "barman@a\nb",
            "a.b",
            "b\u{e4}r",
            "a b",
            "@main",
            "__import__('os').popen('id').read()",
            &"a".repeat(129),
        ] {
            assert!(Rule::parse(text).is_err(), "{text:?}");
        }
        for text in [
            "*",
            "a*",
            "barman/backup@*",
            "barman@pg-*-prod",
            "barman@a b!",
            &"a".repeat(128),
        ] {
            assert_eq!(rule(text).to_string(), text);
        }
    }

    #[test]
    fn the_worst_legal_rule_is_decided_in_less_than_a_millisecond() {
        let pattern = format!("a@{}", "a*".repeat(63));
        let paths = format!("{}@x", "a*/".repeat(42) + "*").replace("@x", "");
        let (pattern, deep) = (rule(&pattern), rule(&paths));
        let name = format!("{}b", "a".repeat(254));
        let path = format!("{}b", "a/".repeat(2000));
        let fastest = (0..20)
            .map(|_| {
                let start = Instant::now();
                std::hint::black_box(pattern.meets_server(&name));
                std::hint::black_box(deep.meets_path(&path));
                start.elapsed()
            })
            .min()
            .unwrap();
        assert!(fastest < Duration::from_millis(1), "{fastest:?}");
    }

    /// The plainest pattern matcher there is.
    fn reference(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) if reference(rest, name) => true,
            (Some(('*', _)), Some((_, behind))) => reference(pattern, behind),
            (Some((one, rest)), Some((other, behind))) => one == other && reference(rest, behind),
            _ => false,
        }
    }

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    proptest! {
        #[test]
        fn patterns_meet_what_the_plainest_matcher_meets(pattern in "[ab*]{1,8}", name in "[abß]{0,10}") {
            prop_assume!(!pattern.contains("**"));
            prop_assert_eq!(meets_pattern(&pattern, &name), reference(&chars(&pattern), &chars(&name)));
        }

        #[test]
        fn paths_meet_what_the_plainest_matcher_meets(rule_text in "[ab]{0,2}\\*?(/[ab]{1,2}\\*?){0,2}", path in "[ab]{1,3}(/[ab]{1,3}){0,3}") {
            let Ok(rule) = Rule::parse(&rule_text) else { return Ok(()) };
            let parts: Vec<&str> = path.split('/').collect();
            let rules: Vec<&str> = rule_text.split('/').collect();
            let met = rules.len() <= parts.len()
                && rules.iter().zip(&parts).all(|(rule, part)| reference(&chars(rule), &chars(part)));
            prop_assert_eq!(rule.meets_path(&path), met);
        }

        #[test]
        fn parse_and_display_are_inverse(text in "\\PC{0,40}|[a-z*/@-]{1,12}") {
            if let Ok(rule) = Rule::parse(&text) {
                prop_assert_eq!(Rule::parse(&rule.to_string()), Ok(rule));
            }
        }
    }
}
