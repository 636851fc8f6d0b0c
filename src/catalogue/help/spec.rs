//! The notation of argparse for arguments: `[-h]`, `--jobs NJOBS`, `[{a,b}]`, `name [name ...]`.

use super::HelpError;
use crate::catalogue::Takes;

/// The most characters of an option, a positional argument or a value's word.
const MAX_NAME: usize = 64;

/// The most values one set may have.
const MAX_CHOICES: usize = 1000;

/// What stands for one or more values: how many, and the word or the set shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    /// The least number of values.
    pub(super) min: u32,
    /// The greatest number of values; `None` = no bound.
    pub(super) max: Option<u32>,
    /// The word shown, none where a set is shown or nothing.
    pub(super) word: Option<String>,
    /// The set shown.
    pub(super) choices: Vec<String>,
}

/// Splits at white space that is not inside brackets.
///
/// # Errors
/// When brackets don't match.
pub(super) fn tokens<'t>(text: &'t str, what: &str) -> Result<Vec<&'t str>, HelpError> {
    split(text, ' ').ok_or_else(|| HelpError::Malformed {
        what: what.to_owned(),
        detail: "its brackets do not match".to_owned(),
    })
}

/// Splits at a character outside brackets, empty parts left out; `None` when brackets don't match.
fn split(text: &str, at: char) -> Option<Vec<&str>> {
    let mut depth = 0usize;
    let mut parts = Vec::new();
    let mut start = 0;
    for (index, c) in text.char_indices() {
        match c {
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth = depth.checked_sub(1)?,
            c if c == at && depth == 0 => {
                parts.extend(text.get(start..index).filter(|part| !part.is_empty()));
                start = index + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..).filter(|part| !part.is_empty()));
    (depth == 0).then_some(parts)
}

/// What is inside a group of these brackets, if the token is one.
pub(super) fn inside(token: &str, open: char, close: char) -> Option<&str> {
    token.strip_prefix(open)?.strip_suffix(close)
}

/// The alternatives of a group such as `-a | -b`; a group without `|` is one alternative.
pub(super) fn alternatives(group: &str) -> Vec<&str> {
    split(group, '|').map_or_else(
        || vec![group],
        |parts| parts.into_iter().map(str::trim).collect(),
    )
}

/// The members of a set, `{a,b}`; `None` when the token is no set.
pub(super) fn set(token: &str) -> Option<Vec<String>> {
    let members: Vec<String> = inside(token, '{', '}')?
        .split(',')
        .map(|member| member.trim().to_owned())
        .collect();
    (members.len() <= MAX_CHOICES
        && members
            .iter()
            .all(|member| !member.is_empty() && !member.contains(['{', '}'])))
    .then_some(members)
}

/// The spellings of a label, `--jobs NJOBS, -j NJOBS`, and what the last of them takes.
///
/// # Errors
/// When a spelling is not one of an option, or what follows it is not in argparse's notation.
pub(super) fn option(label: &str, what: &str) -> Result<(Vec<String>, Spec), HelpError> {
    let mut flags = Vec::new();
    let mut value = "";
    for spelling in label.split(", ") {
        let (flag, rest) = spelling.split_once(' ').unwrap_or((spelling, ""));
        flags.push(flag.to_owned());
        value = rest;
    }
    match Spec::parse(value) {
        Some(spec) if flags.iter().all(|flag| is_flag(flag)) => Ok((flags, spec)),
        _ => Err(HelpError::BadOption {
            what: what.to_owned(),
            option: super::start(label),
        }),
    }
}

/// Whether a word is an option: one or two hyphens, then a letter or digit, then these and hyphens.
fn is_flag(word: &str) -> bool {
    let name = word
        .strip_prefix("--")
        .or_else(|| word.strip_prefix('-'))
        .unwrap_or_default();
    word.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Whether a word can stand for a value.
fn is_word(word: &str) -> bool {
    (1..=MAX_NAME).contains(&word.len())
        && !word.starts_with('-')
        && !word.contains(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '{' | '}' | '|'))
}

impl Spec {
    /// Nothing: a flag.
    fn none() -> Self {
        Self {
            min: 0,
            max: Some(0),
            word: None,
            choices: Vec::new(),
        }
    }

    /// Reads one word or set.
    pub(super) fn one(token: &str) -> Option<Self> {
        let choices = set(token);
        if choices.is_none() && !is_word(token) {
            return None;
        }
        Some(Self {
            min: 1,
            max: Some(1),
            word: choices.is_none().then(|| token.to_owned()),
            choices: choices.unwrap_or_default(),
        })
    }

    /// Reads the values of one argument: `X`, `[X]`, `X [X ...]`, `[X ...]`, `[X [X ...]]`,
    /// `X X`, `...`, or nothing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut spec = Self::none();
        for token in split(text, ' ')? {
            if !spec.more(token) {
                return None;
            }
        }
        Some(spec)
    }

    /// Adds the next token where it belongs to the same argument; `false` = it does not.
    pub(super) fn more(&mut self, token: &str) -> bool {
        let first = *self == Self::none();
        if token == "..." {
            // The rest of the command line: after a word, that many more.
            self.max = None;
            return true;
        }
        let Some(group) = inside(token, '[', ']') else {
            let Some(one) = Self::one(token) else {
                return false;
            };
            if first {
                *self = one;
                return true;
            }
            let Some(max) = self.max.filter(|max| *max == self.min && self.shows(&one)) else {
                return false;
            };
            self.min = max.saturating_add(1);
            self.max = Some(self.min);
            return true;
        };
        let (word, rest) = group.split_once(' ').unwrap_or((group, ""));
        let Some(one) = Self::one(word) else {
            return false;
        };
        let repeated = rest == "..." || inside(rest, '[', ']') == Some(&format!("{word} ..."));
        let fits = if first {
            rest.is_empty() || repeated
        } else {
            repeated && self.shows(&one)
        };
        if !fits {
            return false;
        }
        if first {
            *self = Self { min: 0, ..one };
        }
        if repeated {
            self.max = None;
        }
        true
    }

    /// Whether both stand for values by the same word or set.
    pub(super) fn shows(&self, other: &Self) -> bool {
        self.word == other.word && self.choices == other.choices
    }

    /// The word or the set, as an error names it.
    pub(super) fn label(&self) -> String {
        let set = || format!("{{{}}}", self.choices.join(","));
        super::start(&self.word.clone().unwrap_or_else(set))
    }

    /// How many values an option with this notation takes.
    pub(super) fn takes(&self) -> Takes {
        match (self.min, self.max) {
            (0, Some(0)) => Takes::None,
            (1, Some(1)) => Takes::One,
            (0, Some(1)) => Takes::Optional,
            _ => Takes::Many,
        }
    }
}
