//! What help text cannot tell about commands: `share/commands.conf`, and the file that overrides it.
//!
//! The head of that file documents every key and type.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use super::kinds::Kind;
use super::{Catalogue, Command, lines};
use crate::names::CommandName;
use crate::parameters::fold;

/// The file that is built into the binary.
const BUILTIN: &str = include_str!("../../share/commands.conf");

/// The section whose value types count for every command.
const EVERY: &str = "*";

/// A line of a commands file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct TraitsError {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong, with the word in question.
    pub problem: String,
}

/// What is known of one command beyond its help text. The default is a command that is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of the file, independent of the others"
)]
pub struct CommandTraits {
    /// It changes nothing.
    pub read_only: bool,
    /// It may run for long: supervised from its start, even if read-only.
    pub long: bool,
    /// While one runs, an identical one is refused.
    pub exclusive: bool,
    /// Its standard output is bytes, not text.
    pub raw_stdout: bool,
    /// Its console output is one JSON document.
    pub json_console: bool,
    /// It runs only when `[barman] allow_commands` names it.
    pub off: bool,
    /// Names that mean the same command where the help does not say so.
    pub aliases: Vec<CommandName>,
    /// Options that may be given more than once.
    pub repeatable: Vec<String>,
    /// Parameters of which exactly one must be given.
    pub exactly_one: Vec<String>,
    /// Options with which the output is text, even where JSON is asked for.
    pub plain_with: Vec<String>,
    /// Value types by folded parameter name.
    types: BTreeMap<String, Kind>,
}

/// What is known of all commands.
#[derive(Debug, Clone)]
pub struct Traits {
    sections: HashMap<String, CommandTraits>,
    /// Alias to section.
    aliases: HashMap<String, String>,
    unknown: CommandTraits,
}

impl Traits {
    /// What is built in. A test holds that the built-in file can be read.
    #[must_use]
    pub fn builtin() -> Self {
        Self::with_override("").unwrap_or_else(|_| Self::empty())
    }

    /// What is built in, with another file read over it: its keys replace the built-in ones.
    ///
    /// # Errors
    /// At the first line of the other file that is not understood: unknown key or type, a value
    /// that is neither true nor false, a name that cannot be a command's, an alias of two commands.
    pub fn with_override(text: &str) -> Result<Self, TraitsError> {
        let mut traits = Self::empty();
        traits.merge(BUILTIN)?;
        traits.merge(text)?;
        Ok(traits)
    }

    fn empty() -> Self {
        Self {
            sections: HashMap::new(),
            aliases: HashMap::new(),
            unknown: CommandTraits::default(),
        }
    }

    fn merge(&mut self, text: &str) -> Result<(), TraitsError> {
        let problem = |(line, problem)| TraitsError { line, problem };
        for entry in lines::read(text).map_err(problem)? {
            let fail = |text: String| problem((entry.line, text));
            if entry.section != EVERY {
                CommandName::parse(entry.section).map_err(|error| fail(error.to_string()))?;
                if let Some(of) = self.aliases.get(entry.section) {
                    return Err(fail(format!(
                        "[{}] is an alias of {of}; write [{of}]",
                        entry.section
                    )));
                }
            }
            let section = self.sections.entry(entry.section.to_owned()).or_default();
            let Some(key) = entry.key else { continue };
            let value = entry
                .value
                .ok_or_else(|| fail(format!("{key:?} has no '= value'")))?;
            if entry.section == EVERY && !key.starts_with("type.") {
                return Err(fail(format!("[*] takes type.PARAM only, not {key:?}")));
            }
            section.set(key, value).map_err(&fail)?;
            if key == "aliases" {
                self.learn_aliases(entry.section).map_err(&fail)?;
            }
        }
        Ok(())
    }

    /// Notes which names lead to a section, after its aliases were set.
    fn learn_aliases(&mut self, section: &str) -> Result<(), String> {
        self.aliases.retain(|_, of| of != section);
        let names = self
            .sections
            .get(section)
            .map(|traits| traits.aliases.clone())
            .unwrap_or_default();
        for alias in names {
            if self.sections.contains_key(alias.as_str()) {
                return Err(format!("{alias} has a section of its own"));
            }
            if let Some(of) = self
                .aliases
                .insert(alias.as_str().to_owned(), section.to_owned())
            {
                return Err(format!("{alias} is an alias of {of} already"));
            }
        }
        Ok(())
    }

    /// The section that a name leads to.
    fn section(&self, name: &CommandName) -> Option<(&str, &CommandTraits)> {
        let name = self
            .aliases
            .get(name.as_str())
            .map_or(name.as_str(), String::as_str);
        self.sections
            .get_key_value(name)
            .map(|(name, traits)| (name.as_str(), traits))
    }

    /// Whether anything is known of a command of this name.
    #[must_use]
    pub fn knows(&self, name: &CommandName) -> bool {
        self.section(name).is_some()
    }

    /// Whether a command runs only when `[barman] allow_commands` names it.
    #[must_use]
    pub fn is_off(&self, name: &CommandName) -> bool {
        self.section(name).is_some_and(|(_, traits)| traits.off)
    }

    /// Every name of the commands that take a model's name.
    #[must_use]
    pub fn of_models(&self) -> Vec<&str> {
        let takes_one = |section: &str| {
            let traits = self.sections.get(section);
            traits.is_some_and(|traits| traits.types.values().any(|kind| *kind == Kind::Model))
        };
        let mut names = self.all_names();
        if !takes_one(EVERY) {
            names.retain(|name| takes_one(self.aliases.get(*name).map_or(name, String::as_str)));
        }
        names
    }

    /// Every name of which anything is known, in the order of the alphabet.
    #[must_use]
    pub fn all_names(&self) -> Vec<&str> {
        let sections = self.sections.keys().filter(|name| *name != EVERY);
        let mut names: Vec<&str> = sections
            .chain(self.aliases.keys())
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        names
    }

    /// Every name of a command that only reads and does not take long, in the order of the alphabet.
    #[must_use]
    pub fn short_readers(&self) -> Vec<String> {
        let names = self.all_names().into_iter();
        let reads = |name: &str| {
            let section = self.aliases.get(name).map_or(name, String::as_str);
            let traits = self.sections.get(section);
            traits.is_some_and(|traits| traits.read_only && !traits.long && !traits.off)
        };
        names
            .filter(|name| reads(name))
            .map(str::to_owned)
            .collect()
    }

    /// What is known of a command, by any of its names; of an unknown one, that it changes state.
    #[must_use]
    pub fn of(&self, command: &Command) -> &CommandTraits {
        std::iter::once(&command.name)
            .chain(&command.aliases)
            .find_map(|name| self.section(name))
            .map_or(&self.unknown, |(_, traits)| traits)
    }

    /// The type of a parameter's value; `None` where none is known.
    #[must_use]
    pub fn kind(&self, command: &Command, parameter: &str) -> Option<Kind> {
        let parameter = fold(parameter);
        self.of(command).types.get(&parameter).copied().or_else(|| {
            self.sections
                .get(EVERY)
                .and_then(|every| every.types.get(&parameter).copied())
        })
    }

    /// The command that a name means in this Barman: by the help text's names and aliases, and by
    /// the built-in aliases where the help does not say.
    ///
    /// Where a Barman lists both names as commands of their own (`list-server`, `list-servers`),
    /// the newer one is meant as long as both take the same parameters.
    #[must_use]
    pub fn canonical<'a>(
        &self,
        name: &CommandName,
        catalogue: &'a Catalogue,
    ) -> Option<&'a Command> {
        let known = catalogue.find(name);
        let newest = self
            .section(known.map_or(name, |command| &command.name))
            .and_then(|(section, _)| CommandName::parse(section).ok())
            .and_then(|section| catalogue.find(&section));
        match (known, newest) {
            (Some(known), Some(newest)) if same_parameters(known, newest) => Some(newest),
            (Some(known), _) => Some(known),
            (None, Some(newest)) => Some(newest),
            (None, None) => self
                .section(name)?
                .1
                .aliases
                .iter()
                .find_map(|alias| catalogue.find(alias)),
        }
    }

    /// Every name of a command, the canonical one first: what its help says, and the built-in
    /// aliases, of which those are left out that this Barman knows as another command.
    #[must_use]
    pub fn names(&self, command: &Command, catalogue: &Catalogue) -> Vec<CommandName> {
        let mut names = vec![command.name.clone()];
        let mut add = |name: &CommandName| {
            if !names.contains(name) {
                names.push(name.clone());
            }
        };
        command.aliases.iter().for_each(&mut add);
        let family = std::iter::once(&command.name)
            .chain(&command.aliases)
            .find_map(|name| self.section(name));
        if let Some((section, traits)) = family {
            let section = CommandName::parse(section).ok();
            for name in section.iter().chain(&traits.aliases) {
                let another = catalogue.find(name).is_some_and(|found| {
                    found.name != command.name && !same_parameters(found, command)
                });
                if !another {
                    add(name);
                }
            }
        }
        names
    }

    /// The newest name that the built-in aliases know for a name; the name itself otherwise. For
    /// rules that are read while no catalogue is at hand.
    #[must_use]
    pub fn newest_name(&self, name: &CommandName) -> CommandName {
        self.section(name)
            .and_then(|(section, _)| CommandName::parse(section).ok())
            .unwrap_or_else(|| name.clone())
    }
}

impl CommandTraits {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let truth = || match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("{key} is true or false, not {value:?}")),
        };
        match key {
            "read_only" => self.read_only = truth()?,
            "long" => self.long = truth()?,
            "exclusive" => self.exclusive = truth()?,
            "raw_stdout" => self.raw_stdout = truth()?,
            "json_console" => self.json_console = truth()?,
            "off" => self.off = truth()?,
            "aliases" => {
                self.aliases = words(value)
                    .map(|word| CommandName::parse(word).map_err(|error| error.to_string()))
                    .collect::<Result<_, _>>()?;
            }
            "repeatable" => self.repeatable = words(value).map(fold).collect(),
            "exactly_one" => self.exactly_one = words(value).map(str::to_owned).collect(),
            "plain_with" => self.plain_with = words(value).map(str::to_owned).collect(),
            _ => {
                let parameter = key
                    .strip_prefix("type.")
                    .filter(|parameter| !parameter.is_empty())
                    .ok_or_else(|| format!("unknown key {key:?}"))?;
                let kind = Kind::parse(value).ok_or_else(|| format!("unknown type {value:?}"))?;
                self.types.insert(fold(parameter), kind);
            }
        }
        Ok(())
    }

    /// Whether an option may be given more than once.
    #[must_use]
    pub fn repeats(&self, option: &str) -> bool {
        self.repeatable.contains(&fold(option))
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

/// Whether two commands take the same parameters, whatever their help says about them.
fn same_parameters(one: &Command, other: &Command) -> bool {
    let positionals = |command: &Command| -> Vec<_> {
        let each = command.positionals.iter();
        each.map(|positional| (positional.name.clone(), positional.min, positional.max))
            .collect()
    };
    let options = |command: &Command| -> Vec<_> {
        let each = command.options.iter();
        each.map(|option| (option.flags.clone(), option.takes))
            .collect()
    };
    positionals(one) == positionals(other) && options(one) == options(other)
}
