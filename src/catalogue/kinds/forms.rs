//! The forms of single words: what a value must look like to be of a type.

/// Words that Barman takes for a backup instead of an id.
const BACKUP_WORDS: &[&str] = &[
    "latest",
    "last",
    "oldest",
    "first",
    "last-failed",
    "latest-full",
    "last-full",
];

/// Barman compares with `in ("last-failed")`, a test for a part of that text: each part of it
/// means the last failed backup (barman/utils.py, get_backup_id_using_shortcut, 2.15 to 3.19.1).
const TEXT_OF_PARTS: &str = "last-failed";

/// Whether a path is absolute, in its shortest form, and free of every character that a shell,
/// PostgreSQL's `restore_command` or its configuration file would read as more than itself:
/// Barman pastes destinations unquoted into `restore_command` and `recovery_end_command`.
#[must_use]
pub fn is_path(value: &str) -> bool {
    value.strip_prefix('/').is_some_and(|rest| {
        rest.split('/')
            .all(|segment| !matches!(segment, "" | "." | ".."))
    }) && value
        .chars()
        .all(|c| c.is_alphanumeric() || "/._-+=,:@".contains(c))
}

/// The name and the directory of a tablespace rule.
#[must_use]
pub fn split_tablespace(value: &str) -> Option<(&str, &str)> {
    value.split_once(':').filter(|(name, directory)| {
        (1..=63).contains(&name.len())
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || "_-.$ ".contains(c))
            && is_path(directory)
    })
}

/// Whether a text is safe to stand in a command line unquoted: no character of it means anything
/// to a shell but to separate words.
#[must_use]
pub fn is_plain_command(value: &str) -> bool {
    !value.is_empty()
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " @%+=:,./_-".contains(c))
}

/// ASCII letters, digits and some more characters.
pub(super) fn of(value: &str, length: std::ops::RangeInclusive<usize>, more: &str) -> bool {
    length.contains(&value.len())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

pub(super) fn digits(value: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit())
}

pub(super) fn hexadecimal(value: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}

pub(super) fn is_backup_id(value: &str) -> bool {
    value
        .split_once('T')
        .is_some_and(|(day, clock)| digits(day, 8..=8) && digits(clock, 6..=6))
}

pub(super) fn is_backup_name(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_alphanumeric()) && of(value, 1..=64, "_.:-")
}

/// A word that Barman takes for something else than a backup of that name.
pub(super) fn is_word(value: &str) -> bool {
    value == "auto" || BACKUP_WORDS.contains(&value) || TEXT_OF_PARTS.contains(value)
}

pub(super) fn is_backup(value: &str) -> bool {
    is_backup_id(value)
        || BACKUP_WORDS.contains(&value)
        || (is_backup_name(value) && !is_word(value))
}

pub(super) fn is_wal_name(value: &str) -> bool {
    match value.split_once('.') {
        None => hexadecimal(value, 24..=24),
        Some((name, "partial")) => hexadecimal(name, 24..=24),
        Some((name, "history")) => hexadecimal(name, 8..=8),
        Some((name, rest)) => {
            hexadecimal(name, 24..=24)
                && rest
                    .strip_suffix(".backup")
                    .is_some_and(|offset| hexadecimal(offset, 8..=8))
        }
    }
}

pub(super) fn is_size(value: &str) -> bool {
    let unit = value.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = value.strip_suffix(unit).unwrap_or_default();
    let unit = unit.strip_suffix('B').unwrap_or(unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    digits(number, 1..=18) && matches!(unit, "" | "k" | "K" | "M" | "G" | "T" | "P" | "E")
}
