//! The usage line: the one place that tells how many values a positional argument takes.

use std::collections::{HashMap, HashSet};

use super::HelpError;
use super::option::Listed;
use super::spec::{self, Spec};

/// The most tokens of a usage line.
const MAX_TOKENS: usize = 2000;

/// A usage line, taken apart.
pub(super) struct Usage<'t> {
    /// The words before the arguments: the program and its command.
    pub(super) program: Vec<&'t str>,
    /// The options as they stand there, without brackets: `--jobs NJOBS`.
    pub(super) options: Vec<&'t str>,
    /// What is left.
    rest: Vec<&'t str>,
}

impl<'t> Usage<'t> {
    /// Takes a usage apart. `names` are the words of which the last of the program is one, needed
    /// where no option marks its end.
    pub(super) fn parse(
        text: &'t str,
        is_command: impl Fn(&str) -> bool,
        what: &str,
    ) -> Result<Self, HelpError> {
        let tokens = spec::tokens(text, what)?;
        if tokens.len() > MAX_TOKENS {
            return Err(HelpError::TooMany {
                what: format!("words in the usage of the {what}"),
                limit: MAX_TOKENS,
            });
        }
        let words = tokens
            .iter()
            .take_while(|token| !token.starts_with(['[', '(', '{', '-']))
            .count();
        // Without an option, the positional arguments follow the command at once.
        let end = tokens
            .iter()
            .take(words)
            .skip(1)
            .position(|token| is_command(token))
            .map_or(words, |at| at + 2);
        let (program, rest) = tokens.split_at_checked(end).unwrap_or((&tokens, &[]));
        let mut usage = Self {
            program: program.to_vec(),
            options: Vec::new(),
            rest: Vec::new(),
        };
        for token in rest {
            usage.take(token);
        }
        Ok(usage)
    }

    fn take(&mut self, token: &'t str) {
        let group = spec::inside(token, '[', ']').or_else(|| spec::inside(token, '(', ')'));
        match group {
            Some(group) if group.starts_with('-') => {
                self.options.extend(spec::alternatives(group));
            }
            _ => self.rest.push(token),
        }
    }

    /// Holds the options of the usage against those of the list, and gives the tokens that remain.
    ///
    /// An option that must be given stands without brackets, so that only the list tells which of
    /// the following tokens are its values.
    ///
    /// # Errors
    /// When one names an option that the other does not.
    pub(super) fn check_options(
        &self,
        listed: &[Listed<'_, '_>],
        what: &str,
    ) -> Result<Vec<&'t str>, HelpError> {
        let disagree = |detail: String| HelpError::Disagree {
            what: what.to_owned(),
            detail,
        };
        let by_flag: HashMap<&str, usize> = listed
            .iter()
            .enumerate()
            .flat_map(|(at, option)| option.flags.iter().map(move |flag| (flag.as_str(), at)))
            .collect();
        let mut found = HashSet::new();
        let mut find = |flag: &str| {
            let at = by_flag.get(flag).copied();
            found.extend(at);
            at.and_then(|at| listed.get(at))
                .map(|option| &option.spec)
                .ok_or_else(|| disagree(format!("{:?} is not listed", super::start(flag))))
        };
        for option in &self.options {
            let (flag, value) = option.split_once(' ').unwrap_or((option, ""));
            let spec = find(flag)?;
            if Spec::parse(value).as_ref() != Some(spec) {
                return Err(disagree(format!("{flag} takes other values in the list")));
            }
        }
        let mut remain = Vec::new();
        let mut tokens = self.rest.iter().peekable();
        while let Some(token) = tokens.next() {
            if !token.starts_with('-') {
                remain.push(*token);
                continue;
            }
            let spec = find(token)?;
            let mut values = Spec::parse("").unwrap_or_else(|| spec.clone());
            while values != *spec && tokens.next_if(|token| values.more(token)).is_some() {}
            if values != *spec {
                return Err(disagree(format!("{token} takes other values in the list")));
            }
        }
        match listed
            .iter()
            .enumerate()
            .find(|(at, option)| !found.contains(at) && !option.is_help())
        {
            Some((_, option)) => Err(disagree(format!(
                "{} is not in it",
                option.flags.join(", ")
            ))),
            None => Ok(remain),
        }
    }
}

/// Reads the positional arguments from the tokens that remain of a usage.
///
/// # Errors
/// When a token is not in argparse's notation.
pub(super) fn positionals(tokens: &[&str], what: &str) -> Result<Vec<Spec>, HelpError> {
    let mut positionals: Vec<Spec> = Vec::new();
    for token in tokens {
        if positionals.last_mut().is_some_and(|last| last.more(token)) {
            continue;
        }
        match Spec::parse(token) {
            Some(spec) => positionals.push(spec),
            None => {
                return Err(HelpError::Malformed {
                    what: what.to_owned(),
                    detail: format!("{:?} in its usage is not understood", super::start(token)),
                });
            }
        }
    }
    Ok(positionals)
}
