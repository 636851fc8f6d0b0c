//! What a request wants changed.

use super::candidate::MESSAGES;
use super::error::ConfigError;
use crate::audit;
use crate::catalogue::configkeys::is_key;
use crate::names::{ServerName, is_line_or_control};
use crate::parameters::{Parameters, Value, same};

/// Words that steer the request; a key of a configuration always has a dot before it.
const UNSET: &str = "unset";
const CREATE: &str = "create";

/// With it nothing is written.
pub(super) const DRY_RUN: &str = "dry_run";

/// Characters of a value.
const LONGEST: usize = 16 * 1024;

/// How a parameter names a section and a key.
pub(super) type Split = fn(&str) -> Result<(String, String), ConfigError>;

/// One key that is to be another.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The section, as the files have it.
    pub(super) section: String,
    /// The key, lower-cased.
    pub(super) key: String,
    /// The value as it shall be read; `None` = the key goes.
    pub(super) value: Option<String>,
}

impl Wanted {
    /// How errors, logs and revisions name it.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }
}

/// All that a request wants.
pub(super) struct Wish {
    /// The keys, in the order in which they were named.
    pub(super) wanted: Vec<Wanted>,
    /// Whether sections that are not there are made.
    pub(super) create: bool,
    /// Whether nothing is written.
    pub(super) dry_run: bool,
}

impl Wish {
    /// Reads parameters: `SECTION.KEY=VALUE`, `unset=SECTION.KEY`, `create` and `dry_run`.
    pub(super) fn read(mut parameters: Parameters, split: Split) -> Result<Self, ConfigError> {
        let create = switch(&mut parameters, CREATE)?;
        let dry_run = switch(&mut parameters, DRY_RUN)?;
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            let (section, key) = split(name)?;
            let more = Wanted {
                section,
                key,
                value,
            };
            let is_same = |other: &&Wanted| other.section == more.section && other.key == more.key;
            if wanted.iter().any(|other| is_same(&other)) {
                let words = format!("{} is named more than once", more.name());
                return Err(ConfigError::Invalid(words));
            }
            wanted.push(more);
            Ok(())
        };
        for (name, value) in parameters {
            if same(&name, UNSET) {
                for name in value.texts() {
                    add(&name, None).map_err(|error| match error {
                        ConfigError::Invalid(words) => {
                            ConfigError::Invalid(format!("{UNSET}: {words}"))
                        }
                        other => other,
                    })?;
                }
                continue;
            }
            if matches!(value, Value::List(_)) {
                let words = format!("{}: a value is one text, not a list", told(&name));
                return Err(ConfigError::Invalid(words));
            }
            let text = value.texts().next().unwrap_or_default().into_owned();
            check_text(&name, &text)?;
            add(&name, Some(text))?;
        }
        if wanted.is_empty() {
            let words = "nothing to change: give SECTION.KEY=VALUE or unset=SECTION.KEY";
            return Err(ConfigError::invalid(words));
        }
        Ok(Self {
            wanted,
            create,
            dry_run,
        })
    }
}

/// The keys that parameters name, for the audit log: those that have the form of a key, whatever
/// else is wrong with them. Values are never among them.
pub(super) fn named(parameters: &Parameters, split: Split) -> Option<String> {
    let mut names = Vec::new();
    for (name, value) in parameters.iter() {
        if same(name, UNSET) {
            names.extend(value.texts().map(std::borrow::Cow::into_owned));
        } else {
            names.push(name.to_owned());
        }
    }
    let names = names.iter().filter_map(|name| split(name).ok());
    let names: Vec<_> = names
        .map(|(section, key)| format!("{section}.{key}"))
        .collect();
    (!names.is_empty()).then(|| audit::names(&names))
}

/// Section and key of `SECTION.KEY` in Barman's files, at the last dot: keys have none.
pub(super) fn of_barman(name: &str) -> Result<(String, String), ConfigError> {
    let Some((section, key)) = name.rsplit_once('.') else {
        return Err(nameless(name));
    };
    let key = key.to_ascii_lowercase();
    if !is_key(&key) {
        let words = format!(
            "{}: a key is lower-case letters, digits and _, and begins with a letter",
            told(&key)
        );
        return Err(ConfigError::Invalid(words));
    }
    // In Barman's JSON, messages stand where servers do.
    let reserved = ["DEFAULT", "all", ".", ".."];
    if ServerName::parse(section).is_err()
        || reserved.contains(&section)
        || MESSAGES.contains(&section)
        || section.contains(['[', ']', '/', '\\'])
    {
        let words = format!("{} can't be a section of barman's", told(section));
        return Err(ConfigError::Invalid(words));
    }
    Ok((section.to_owned(), key))
}

/// Section and key of `SECTION.KEY` in our own file, at the first dot: keys of commands have one more.
pub(super) fn of_ours(name: &str) -> Result<(String, String), ConfigError> {
    let Some((section, key)) = name.split_once('.') else {
        return Err(nameless(name));
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    if name.len() > 200 || section.is_empty() || key.is_empty() || !name.chars().all(plain) {
        let words = format!("barmanapi's file has no key {}", told(name));
        return Err(ConfigError::Invalid(words));
    }
    Ok((section.to_owned(), key.to_ascii_lowercase()))
}

fn nameless(name: &str) -> ConfigError {
    ConfigError::Invalid(format!(
        "there is no parameter {} here; a key is named SECTION.KEY",
        told(name)
    ))
}

/// What Barman would take for the end of a line is none of a value's business.
fn check_text(name: &str, text: &str) -> Result<(), ConfigError> {
    let wrong = if text.chars().any(is_line_or_control) {
        "has a line end or a control character; a value is one line of text"
    } else if text.trim() != text {
        "begins or ends with blanks, which nobody would see"
    } else if text.contains("%(") {
        "has %(, which would show another key; write the value itself"
    } else if text.chars().count() > LONGEST {
        "is too long"
    } else {
        return Ok(());
    };
    let words = format!("the value of {} {wrong}", told(name));
    Err(ConfigError::Invalid(words))
}

/// Takes out a parameter that is true or false.
pub(super) fn switch(parameters: &mut Parameters, word: &str) -> Result<bool, ConfigError> {
    let value = parameters
        .take(word)
        .map_err(|error| ConfigError::invalid(error.to_string()))?;
    match value {
        None | Some(Value::Bool(false)) => Ok(false),
        Some(Value::Bool(true)) => Ok(true),
        Some(Value::Text(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::Text(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(ConfigError::Invalid(format!(
            "parameter {word} takes true or false"
        ))),
    }
}

/// A word of a request in an answer: quoted, and cut.
pub(super) fn told(word: &str) -> String {
    let cut: String = word.chars().take(80).collect();
    format!("{cut:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Wish, ConfigError> {
        let pairs = pairs.iter();
        let pairs = pairs.map(|(name, text)| ((*name).to_owned(), Value::Text((*text).to_owned())));
        Wish::read(pairs.collect(), of_barman)
    }

    #[test]
    fn a_key_is_split_at_the_last_dot_and_lower_cased() {
        let wish = read(&[("a.b.Retention_Policy", "x"), ("unset", "main.active")]).unwrap();
        let names: Vec<_> = wish.wanted.iter().map(Wanted::name).collect();
        assert_eq!(names, ["a.b.retention_policy", "main.active"]);
        assert!(wish.wanted[1].value.is_none());
        assert!(!wish.create && !wish.dry_run);
        assert!(
            read(&[("main.x", "1"), ("Dry-Run", "TRUE")])
                .unwrap()
                .dry_run
        );
    }

    #[test]
    fn what_is_no_key_no_section_or_no_line_is_refused() {
        for name in [
            "main",
            "x",
            "",
            ".",
            "main.",
            ".k",
            "main.k ",
            "main. k",
            "main.k:",
            "main.k: id #",
            "main.k\t",
            "main.actıve",
            "main.1k",
            "x]\n[y.k",
            "DEFAULT.k",
            "all.k",
            "..k",
            "...k",
            "_WARNING.k",
            "_DEBUG.k",
            "../evil.k",
            "main].k",
            " main.k",
            "main\u{2028}.k",
        ] {
            assert!(read(&[(name, "v")]).is_err(), "{name:?}");
        }
        assert!(read(&[(&format!("{}.k", "x".repeat(300)), "v")]).is_err());
        for value in [
            "a\nb",
            "a\rb",
            "a\r\nb",
            "a\n b",
            "a\x0bb",
            "a\x0cb",
            "a\x1cb",
            "a\u{85}b",
            "a\u{2028}b",
            "a\tb",
            "a\0b",
            "a\u{7f}b",
            "a\u{9b}b",
            " a",
            "a ",
            "%(conninfo)s",
            "100%(",
            "a%%(x)s",
        ] {
            assert!(read(&[("main.k", value)]).is_err(), "{value:?}");
        }
        for value in [
            "",
            "100% safe",
            "%%",
            "ä",
            "'); import os;os.system('id')#",
            "$(id)",
        ] {
            assert!(read(&[("main.k", value)]).is_ok(), "{value:?}");
        }
        assert!(read(&[("main.k", "1"), ("main.K", "2")]).is_err());
        assert!(read(&[("main.k", "1"), ("unset", "main.k")]).is_err());
        assert!(read(&[("dry_run", "true")]).is_err());
        assert!(read(&[("main.k", "1"), ("create", "maybe")]).is_err());
    }
}
