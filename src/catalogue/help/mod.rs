//! Barman's help text, read into a catalogue.
//!
//! Barman prints its help with Python's argparse. What is read here is argparse's layout, as it
//! is from Python 2.7 on, at any width from 20 columns, with or without colours; no command,
//! option or version of Barman is known by name. Where a text contradicts itself, it is refused
//! whole: half a catalogue could hide an alias or an option that a rule names. The text is
//! hostile until read: every amount has a limit, and each text is passed over a fixed number of
//! times.
//!
//! Asking Barman for the texts, and what to do when they are refused, is not decided here.

mod command;
mod option;
mod overview;
mod page;
mod spec;
mod usage;
mod wrap;

#[cfg(test)]
mod tests;

use super::{Catalogue, Command};
use crate::names::{CommandName, NameError};
use page::Page;
use wrap::Words;

/// The most commands of one Barman. Barman 3.19 has 37.
pub const MAX_COMMANDS: usize = 500;

/// The most options of one command. Barman 3.19's `restore` has 32.
pub const MAX_OPTIONS: usize = 500;

/// The most bytes of help of all commands together. Barman 3.19 prints 60 KiB.
pub const MAX_TOTAL: usize = 4 << 20;

/// One command as `barman --help` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The canonical name.
    pub name: CommandName,
    /// Other names of the same command.
    pub aliases: Vec<CommandName>,
    /// What the command does, white space folded; empty when the list does not say.
    pub description: String,
}

/// Help text that gives no catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelpError {
    /// A text is longer than any help.
    #[error("the {what} has {size} bytes, more than {limit}; check the command that prints it")]
    TooLong {
        /// Which text.
        what: String,
        /// Its length in bytes.
        size: usize,
        /// The most bytes it may have.
        limit: usize,
    },
    /// There is more of something than any Barman has.
    #[error("more than {limit} {what}; check the command that prints the help")]
    TooMany {
        /// Of what, and in which text.
        what: String,
        /// The most there may be.
        limit: usize,
    },
    /// The version text names none.
    #[error("no version number in {start:?}; check that the command is Barman")]
    NoVersion {
        /// How the text starts.
        start: String,
    },
    /// A text has no usage line, so it is no help.
    #[error("the {what} has no usage line: {start:?}; check that the command is Barman")]
    NoUsage {
        /// Which text.
        what: String,
        /// How the text starts.
        start: String,
    },
    /// The overview lists no command.
    #[error("the overview lists no command; check that the command is Barman")]
    NoCommands,
    /// A text is the help of something else.
    #[error("the help of {command} is that of {found:?}")]
    WrongPage {
        /// The command that was asked for.
        command: CommandName,
        /// The words that start the usage.
        found: String,
    },
    /// There is no text for a command that the overview lists.
    #[error("there is no help of {command}; ask Barman again")]
    NoPage {
        /// The command.
        command: CommandName,
    },
    /// A command's name is not one.
    #[error("a name in the overview: {0}")]
    BadName(#[from] NameError),
    /// A line of the options is not in argparse's notation.
    #[error("the {what} lists an option that is not understood: {option:?}")]
    BadOption {
        /// Which text.
        what: String,
        /// The line's left column.
        option: String,
    },
    /// A text is not laid out as argparse does.
    #[error("the {what} is not understood: {detail}")]
    Malformed {
        /// Which text.
        what: String,
        /// Where.
        detail: String,
    },
    /// A name stands twice where it may stand once.
    #[error("the {what} names {name:?} twice")]
    Twice {
        /// Which text.
        what: String,
        /// The name.
        name: String,
    },
    /// One alias would lead to two commands.
    #[error("{alias} is said to be an alias of {command}, but it names {other}")]
    AliasClash {
        /// The alias.
        alias: CommandName,
        /// The command that claims it.
        command: CommandName,
        /// The command that has it.
        other: CommandName,
    },
    /// The usage and the list of one text contradict each other; the text may be cut.
    #[error("the usage of the {what} and its list disagree: {detail}")]
    Disagree {
        /// Which text.
        what: String,
        /// In what.
        detail: String,
    },
}

/// Reads what `barman --version` prints: the first number with a dot in it.
///
/// # Errors
/// When there is none, or the text is too long.
pub fn parse_version(text: &str) -> Result<String, HelpError> {
    const LONGEST: usize = 32;
    let text = page::clean(text, "version")?;
    text.split_whitespace()
        .filter_map(|word| {
            let word = word.trim_start_matches(|c: char| !c.is_ascii_digit());
            let end = word
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(word.len());
            word.get(..end).map(|number| number.trim_end_matches('.'))
        })
        .find(|number| number.len() <= LONGEST && number.contains('.') && !number.contains(".."))
        .map(str::to_owned)
        .ok_or_else(|| HelpError::NoVersion {
            start: start(&text),
        })
}

/// Reads `barman --help`: the commands in the order of its list.
///
/// An alias that is its command's own name is dropped.
///
/// # Errors
/// When the text is no overview, contradicts itself, or exceeds a limit.
pub fn parse_overview(text: &str) -> Result<Vec<Entry>, HelpError> {
    let text = page::clean(text, "overview")?;
    let page = Page::parse(&text, "overview")?;
    let mut words = Words::default();
    overview::learn(&page, &mut words);
    overview::read(&page, &words)
}

/// Reads `barman COMMAND --help`. `name` and `aliases` are those of the overview: the usage of
/// an alias shows the canonical name.
///
/// # Errors
/// When the text is not the help of that command, contradicts itself, or exceeds a limit.
pub fn parse_command(
    name: &CommandName,
    aliases: &[CommandName],
    text: &str,
) -> Result<Command, HelpError> {
    let what = format!("help of {name}");
    let text = page::clean(text, &what)?;
    let page = Page::parse(&text, &what)?;
    let mut words = Words::default();
    command::learn(&page, &mut words);
    command::read(name, aliases, &page, &words)
}

/// Reads a whole catalogue. `help` gives the text of `barman COMMAND --help` for a canonical name.
///
/// Where a text is wrapped, what the other texts say helps to join it.
///
/// # Errors
/// When one text is missing or refused; there is no catalogue of the others then.
pub fn assemble<'t>(
    version: &str,
    overview: &str,
    help: impl Fn(&CommandName) -> Option<&'t str>,
) -> Result<Catalogue, HelpError> {
    let version = parse_version(version)?;
    let overview = page::clean(overview, "overview")?;
    let overview = Page::parse(&overview, "overview")?;
    let mut words = Words::default();
    overview::learn(&overview, &mut words);
    let entries = overview::read(&overview, &words)?;

    let mut texts = Vec::new();
    let mut size = 0usize;
    for entry in &entries {
        let text = help(&entry.name).ok_or_else(|| HelpError::NoPage {
            command: entry.name.clone(),
        })?;
        size = size.saturating_add(text.len());
        if size > MAX_TOTAL {
            return Err(HelpError::TooLong {
                what: "help of all commands".to_owned(),
                size,
                limit: MAX_TOTAL,
            });
        }
        let text = page::clean(text, &format!("help of {}", entry.name))?;
        command::learn(
            &Page::parse(&text, &format!("help of {}", entry.name))?,
            &mut words,
        );
        texts.push(text);
    }

    let entries = overview::read(&overview, &words)?;
    let mut commands = Vec::new();
    for (entry, text) in entries.iter().zip(&texts) {
        let page = Page::parse(text, &format!("help of {}", entry.name))?;
        let mut command = command::read(&entry.name, &entry.aliases, &page, &words)?;
        if command.description.is_empty() {
            command.description.clone_from(&entry.description);
        }
        commands.push(command);
    }
    Ok(Catalogue { version, commands })
}

/// The first characters of a text, for an error.
fn start(text: &str) -> String {
    text.chars().take(80).collect()
}
