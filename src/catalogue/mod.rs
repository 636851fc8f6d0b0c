//! What Barman can do: its commands, as its own help text tells them.
//!
//! The catalogue is data. `help` reads it from help text, `traits` adds what help text cannot
//! tell, `argv` turns named parameters into an argument vector. Asking Barman for its help, and
//! keeping the last good catalogue, is the work of `refresh`.

pub mod argv;
pub mod configkeys;
pub mod document;
pub mod help;
pub mod kinds;
mod lines;
pub mod manpage;
pub mod traits;

use serde::{Deserialize, Serialize};

use crate::names::CommandName;

/// Every command of one Barman.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// Barman's version, as `barman --version` prints it, for example `3.19.1`.
    pub version: String,
    /// The commands in the order of Barman's help.
    pub commands: Vec<Command>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The canonical name.
    pub name: CommandName,
    /// Other names of the same command.
    pub aliases: Vec<CommandName>,
    /// What the command does, in Barman's words, white space folded.
    pub description: String,
    /// Positional arguments in order.
    pub positionals: Vec<Positional>,
    /// Options in the order of the help text, `--help` left out.
    pub options: Vec<CommandOption>,
}

/// One positional argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positional {
    /// Its name in the help text, for example `server_name`.
    pub name: String,
    /// The least number of values.
    pub min: u32,
    /// The greatest number of values; `None` = no bound.
    pub max: Option<u32>,
    /// The values that are accepted; empty = any.
    pub choices: Vec<String>,
    /// What it is, in Barman's words.
    pub description: String,
}

/// One option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOption {
    /// Its spellings in the order of the help text, for example `--jobs`, `-j`.
    pub flags: Vec<String>,
    /// How many values it takes.
    pub takes: Takes,
    /// The word the help text shows for the value.
    pub metavar: Option<String>,
    /// The values that are accepted; empty = any.
    pub choices: Vec<String>,
    /// The default, where the help text states one (`(default: …)`).
    pub default: Option<String>,
    /// What it does, in Barman's words.
    pub description: String,
}

/// How many values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Takes {
    /// None: a flag.
    None,
    /// Exactly one.
    One,
    /// None or one (`[VALUE]`).
    Optional,
    /// One or more.
    Many,
}

impl Catalogue {
    /// Finds a command by its canonical name or an alias.
    #[must_use]
    pub fn find(&self, name: &CommandName) -> Option<&Command> {
        self.commands
            .iter()
            .find(|command| command.name == *name)
            .or_else(|| {
                self.commands
                    .iter()
                    .find(|command| command.aliases.contains(name))
            })
    }
}

impl CommandOption {
    /// The first long spelling without its dashes, for example `jobs`; the name parameters go by.
    #[must_use]
    pub fn name(&self) -> &str {
        self.flags
            .iter()
            .find_map(|flag| flag.strip_prefix("--"))
            .or_else(|| self.flags.first().map(|flag| flag.trim_start_matches('-')))
            .unwrap_or_default()
    }

    /// The first long spelling with its dashes, for example `--jobs`; what goes into an argv.
    #[must_use]
    pub fn long_flag(&self) -> &str {
        self.flags
            .iter()
            .find(|flag| flag.starts_with("--"))
            .or_else(|| self.flags.first())
            .map_or("", String::as_str)
    }
}
