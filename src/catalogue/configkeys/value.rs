//! The types of values, and whether Barman would take a value.

use super::forms;

/// What a value must look like for Barman to take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueType {
    kind: Kind,
    may_be_empty: bool,
    /// `None` in quotes is nothing as well.
    or_quoted_none: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Text,
    Path,
    AbsolutePath,
    PathOrUrl,
    Boolean,
    PlainBoolean,
    Integer,
    Count,
    Size,
    Interval,
    RetentionPolicy,
    CompressionLevel,
    LogLevel,
    SlotName,
    Names,
    TablespaceLimits,
    Any(Vec<String>),
    Exact(Vec<String>),
    List(Vec<String>),
    Fixed,
}

/// The types without words of their own: name in `share/config-keys.conf`, type, and the form of
/// a value for people.
const PLAIN: &[(&str, Kind, &str)] = &[
    ("text", Kind::Text, "any text"),
    ("path", Kind::Path, "a path"),
    (
        "absolute-path",
        Kind::AbsolutePath,
        "a path that begins with '/'",
    ),
    (
        "path-or-url",
        Kind::PathOrUrl,
        "a path, or a URL like s3://bucket/path, gs://bucket/path or https://account.blob.core.windows.net/container",
    ),
    ("boolean", Kind::Boolean, forms::BOOLEAN),
    ("plain-boolean", Kind::PlainBoolean, forms::BOOLEAN),
    ("integer", Kind::Integer, "a whole number"),
    ("count", Kind::Count, "a whole number of 0 or more"),
    (
        "size",
        Kind::Size,
        "a whole number with k, Ki, M, Mi, G, Gi, T or Ti behind it or nothing",
    ),
    (
        "interval",
        Kind::Interval,
        "a whole number and HOURS, DAYS, WEEKS or MONTHS, for example 1 DAY",
    ),
    (
        "retention-policy",
        Kind::RetentionPolicy,
        "REDUNDANCY n, or RECOVERY WINDOW OF n DAYS, WEEKS or MONTHS",
    ),
    (
        "compression-level",
        Kind::CompressionLevel,
        "low, medium, high or a whole number",
    ),
    (
        "log-level",
        Kind::LogLevel,
        "DEBUG, INFO, WARNING, ERROR, CRITICAL or a whole number",
    ),
    (
        "slot-name",
        Kind::SlotName,
        "letters from a to z, digits and '_'",
    ),
    (
        "names",
        Kind::Names,
        "names with commas between, none of them empty",
    ),
    (
        "tablespace-limits",
        Kind::TablespaceLimits,
        "TABLESPACE:NUMBER, several with blanks between",
    ),
    ("fixed", Kind::Fixed, "no value"),
];

impl ValueType {
    /// Any text.
    pub(super) const TEXT: Self = Self {
        kind: Kind::Text,
        may_be_empty: true,
        or_quoted_none: false,
    };

    /// The type of a word of `share/config-keys.conf`.
    pub(super) fn parse(word: &str) -> Option<Self> {
        let (name, may_be_empty) = match word.strip_suffix('?') {
            Some(name) => (name, true),
            None => (word, false),
        };
        let (name, or_quoted_none) = match name.strip_suffix('?') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let words = |text: &str| -> Option<Vec<String>> {
            let words: Vec<_> = text.split('|').map(str::to_owned).collect();
            words.iter().all(|word| !word.is_empty()).then_some(words)
        };
        let kind = match name.split_once(':') {
            Some(("any", text)) => Kind::Any(words(text)?),
            Some(("exact", text)) => Kind::Exact(words(text)?),
            Some(("list", text)) => Kind::List(words(text)?),
            Some(_) => return None,
            None => PLAIN
                .iter()
                .find(|(known, ..)| *known == name)
                .map(|(_, kind, _)| kind.clone())?,
        };
        Some(Self {
            kind,
            may_be_empty,
            or_quoted_none,
        })
    }

    /// Whether Barman takes no value at all.
    pub(super) fn is_fixed(&self) -> bool {
        self.kind == Kind::Fixed
    }

    /// Whether a value is any text to Barman: nothing can be wrong with it.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.kind, Kind::Text | Kind::Path)
    }

    /// What a value may be, in words that fit behind "it takes".
    #[must_use]
    pub fn wants(&self) -> String {
        let one_of = |words: &[String]| format!("one of {}", words.join(", "));
        let mut wants = match &self.kind {
            Kind::Any(words) | Kind::Exact(words) if words.len() > 1 => one_of(words),
            Kind::Any(words) | Kind::Exact(words) => words.join(", "),
            Kind::List(words) => {
                let mut wants = format!("{}, several with commas between", one_of(words));
                if words.iter().any(|word| word == forms::CONFLICT.0) {
                    wants.push_str(", not both of the first two");
                }
                wants
            }
            kind => PLAIN
                .iter()
                .find(|(_, known, _)| known == kind)
                .map_or_else(String::new, |(.., wants)| (*wants).to_owned()),
        };
        if self.may_be_empty && !self.is_text() {
            wants.push_str(", or nothing");
        }
        wants
    }

    /// Whether Barman takes a value as it stands in the file, interpolation undone.
    pub(super) fn takes(&self, written: &str) -> bool {
        if self.kind == Kind::PlainBoolean {
            // Barman looks at this one before it takes quotes away.
            return forms::is_boolean(written);
        }
        let value = forms::unquoted(written);
        let is_empty = value.is_empty() || (self.or_quoted_none && value == "None");
        if is_empty && self.may_be_empty {
            return true;
        }
        let among = |words: &[String], value: &str| words.iter().any(|word| *word == value);
        match &self.kind {
            Kind::Text | Kind::Path => true,
            Kind::Fixed => false,
            Kind::AbsolutePath => value.starts_with('/'),
            Kind::PathOrUrl => forms::is_path_or_url(value),
            Kind::Boolean | Kind::PlainBoolean => forms::is_boolean(value),
            Kind::Integer => forms::is_integer(value),
            Kind::Count => forms::is_count(value),
            Kind::Size => forms::is_size(value),
            Kind::Interval => forms::is_interval(value),
            Kind::RetentionPolicy => forms::is_retention_policy(value),
            Kind::CompressionLevel => forms::is_compression_level(value),
            Kind::LogLevel => forms::is_log_level(value),
            Kind::SlotName => forms::is_slot_name(value),
            Kind::Names => value.split(',').all(|name| !name.is_empty()),
            Kind::TablespaceLimits => value.split_whitespace().all(|rule| {
                rule.split_once(':')
                    .is_some_and(|(_, limit)| forms::is_integer(limit))
            }),
            Kind::Any(words) => words.iter().any(|word| value.to_lowercase() == *word),
            Kind::Exact(words) => among(words, value),
            Kind::List(words) => {
                let given: Vec<_> = value
                    .split(',')
                    .map(|word| word.trim().to_lowercase())
                    .collect();
                let has = |word: &str| given.iter().any(|given| given == word);
                given.iter().all(|given| among(words, given))
                    && !(has(forms::CONFLICT.0) && has(forms::CONFLICT.1))
            }
        }
    }
}
