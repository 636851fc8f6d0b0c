//! The forms that values have to Barman's own reader (barman/config.py and
//! barman/retention_policies.py of 3.19.1), neither wider nor narrower.

use std::sync::LazyLock;

use regex::Regex;

/// How a boolean is written, for people.
pub(super) const BOOLEAN: &str = "true, t, yes, 1, on, false, f, no, 0 or off";

/// Two words of `backup_options` of which only one may be given.
pub(super) const CONFLICT: (&str, &str) = ("exclusive_backup", "concurrent_backup");

/// The most digits that Python turns into a number.
const DIGITS: usize = 4300;

/// The most days that Python holds as a time span.
const DAYS: u64 = 999_999_999;

#[expect(
    clippy::unwrap_used,
    reason = "constants; every one of them is used by a test"
)]
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

static BOOLEANS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^(?:true|t|yes|1|on|false|f|no|0|off)$"));
static INTEGER: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*[+-]?\d+(?:_\d+)*\s*$"));
static LEVEL: LazyLock<Regex> = LazyLock::new(|| pattern(r"^-?\d+$"));
static SIZE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\d+)\s*(?:k|Ki|M|Mi|G|Gi|T|Ti)?\s*$"));
static INTERVAL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^\s*(\d+)\s+(day|month|week|hour)s?\s*$"));
static REDUNDANCY: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^\s*redundancy\s+(\d+)\s*$"));
static WINDOW: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^\s*recovery\s+window\s+of\s+(\d+)\s+(day|month|week)s?\s*$"));

/// The value without a pair of quotes around it; `None` as it stands is no value.
pub(super) fn unquoted(written: &str) -> &str {
    if written == "None" {
        return "";
    }
    for quote in ['"', '\''] {
        let inside = written
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inside) = inside.filter(|inside| !inside.contains('\n')) {
            return inside;
        }
    }
    written
}

pub(super) fn is_boolean(value: &str) -> bool {
    BOOLEANS.is_match(value)
}

/// Whether there are no more digits than Python reads.
fn is_short(value: &str) -> bool {
    value.chars().filter(|c| c.is_numeric()).count() <= DIGITS
}

pub(super) fn is_integer(value: &str) -> bool {
    INTEGER.is_match(value) && is_short(value)
}

pub(super) fn is_count(value: &str) -> bool {
    let negative = value.trim_start().starts_with('-');
    let zero = value.chars().all(|c| !c.is_numeric() || c == '0');
    is_integer(value) && (!negative || zero)
}

pub(super) fn is_compression_level(value: &str) -> bool {
    let level = ["low", "medium", "high"].contains(&value.to_lowercase().as_str());
    level || (LEVEL.is_match(value) && is_short(value))
}

pub(super) fn is_log_level(value: &str) -> bool {
    let name = [
        "CRITICAL", "FATAL", "ERROR", "WARN", "WARNING", "INFO", "DEBUG", "NOTSET",
    ];
    name.contains(&value.to_uppercase().as_str()) || is_integer(value)
}

pub(super) fn is_size(value: &str) -> bool {
    SIZE.is_match(value) && is_short(value)
}

/// Whether a number of units is a time span to Python.
fn is_span(pattern: &Regex, value: &str) -> bool {
    let Some(found) = pattern.captures(value) else {
        return false;
    };
    let part = |number| found.get(number).map_or("", |part| part.as_str());
    let days = match part(2).to_ascii_lowercase().as_str() {
        "hour" => DAYS.saturating_mul(24).saturating_add(23),
        "week" => DAYS / 7,
        "month" => DAYS / 31,
        _ => DAYS,
    };
    // Digits of other scripts are digits to Python; nobody writes enough of them to matter.
    let number = part(1);
    !number.bytes().all(|b| b.is_ascii_digit())
        || number.parse::<u64>().is_ok_and(|number| number <= days)
}

pub(super) fn is_interval(value: &str) -> bool {
    is_span(&INTERVAL, value)
}

pub(super) fn is_retention_policy(value: &str) -> bool {
    (REDUNDANCY.is_match(value) && is_short(value)) || is_span(&WINDOW, value)
}

pub(super) fn is_slot_name(value: &str) -> bool {
    let value = value.to_lowercase();
    !value.is_empty()
        && value
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Whether a value with `://` in it is a URL that Barman knows a cloud for
/// (barman/cloud_providers/__init__.py).
pub(super) fn is_path_or_url(value: &str) -> bool {
    const GOOGLE: &str = "https://console.cloud.google.com/storage/browser/";
    if !value.contains("://") {
        return true;
    }
    let (scheme, host, path) = split_url(value);
    let google = value
        .strip_prefix(GOOGLE)
        .or_else(|| value.strip_prefix("gs://"))
        .is_some_and(|rest| !rest.starts_with(['/', '?', '#']) && !rest.is_empty());
    (scheme == "s3" && !host.is_empty())
        || google
        || (host.ends_with("blob.core.windows.net") && path.starts_with('/'))
}

/// Scheme in lower case, host and the rest, as Python's `urlparse` sees them.
fn split_url(value: &str) -> (String, &str, &str) {
    let is_scheme = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let (scheme, rest) = match value.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        _ => ("", value),
    };
    let rest = rest.strip_prefix("//").unwrap_or_default();
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    (scheme.to_ascii_lowercase(), host, path)
}

/// What is wrong with the `%` signs of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Percent {
    /// There is none that means anything, or `%%`, which stands for one.
    Plain,
    /// Names of other keys, `%(key)s`: the value is known to Barman alone.
    Names,
    /// One that Python's reader can't read, and Barman ends with it.
    Broken,
}

/// Looks at the `%` signs as Python's `BasicInterpolation` does.
pub(super) fn percent(value: &str) -> Percent {
    let mut found = Percent::Plain;
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        rest = if let Some(after) = after.strip_prefix('%') {
            after
        } else {
            let named = after
                .strip_prefix('(')
                .and_then(|name| name.split_once(')'))
                .filter(|(name, _)| !name.is_empty())
                .and_then(|(_, after)| after.strip_prefix('s'));
            let Some(after) = named else {
                return Percent::Broken;
            };
            found = Percent::Names;
            after
        };
    }
    found
}
