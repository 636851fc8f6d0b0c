//! What argparse's own objects say of one Barman, and how a catalogue is held against it.

use std::collections::HashMap;
use std::fmt::Debug;

use barmanapi::catalogue::help::Entry;
use barmanapi::catalogue::{Catalogue, Command, CommandOption, Positional, Takes};
use barmanapi::names::CommandName;
use serde::Deserialize;

/// What `tests/lab/introspect.py` prints.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Truth {
    pub(crate) version: String,
    /// The version of the Python that ran.
    pub(crate) python: String,
    pub(crate) commands: Vec<TrueCommand>,
    /// Help texts by width and command; `""` is the overview.
    pub(crate) pages: HashMap<String, HashMap<String, String>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TrueCommand {
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    /// What the overview says.
    pub(crate) summary: String,
    pub(crate) description: String,
    pub(crate) positionals: Vec<TruePositional>,
    pub(crate) options: Vec<TrueOption>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TruePositional {
    pub(crate) name: String,
    pub(crate) min: u32,
    pub(crate) max: Option<u32>,
    pub(crate) choices: Vec<String>,
    pub(crate) description: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TrueOption {
    pub(crate) flags: Vec<String>,
    pub(crate) takes: Takes,
    pub(crate) metavar: Option<String>,
    pub(crate) choices: Vec<String>,
    pub(crate) default: Option<String>,
    pub(crate) description: String,
}

/// How many fields of a catalogue are as the truth has them.
///
/// The fields: the version; of each command its name, aliases, summary, description and the
/// numbers of its positionals and of its options; of each positional its name, least and greatest
/// number of values, choices and description; of each option its flags, how many values it takes,
/// the word for them, choices, default and description. What is missing counts with all its
/// fields as wrong, and so does what is too many with one.
#[derive(Debug, Default)]
pub(crate) struct Score {
    pub(crate) fields: usize,
    pub(crate) wrong: Vec<String>,
}

impl Score {
    pub(crate) fn of(truth: &Truth, entries: &[Entry], catalogue: &Catalogue) -> Self {
        let mut score = Self::default();
        score.field("version", &truth.version, &catalogue.version);
        for command in &truth.commands {
            let is_it = |name: &str| name == command.name;
            let found = catalogue.commands.iter().find(|c| is_it(c.name.as_str()));
            let entry = entries.iter().find(|entry| is_it(entry.name.as_str()));
            score.command(command, entry, found);
        }
        for command in &catalogue.commands {
            if !truth
                .commands
                .iter()
                .any(|c| c.name == command.name.as_str())
            {
                score
                    .wrong
                    .push(format!("{}: no such command", command.name));
            }
        }
        score
    }

    pub(crate) fn right(&self) -> usize {
        self.fields - self.wrong.len().min(self.fields)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "most callers make the value for the call"
    )]
    fn field<T: PartialEq<U> + Debug, U: Debug>(&mut self, name: &str, truth: T, found: U) {
        self.fields += 1;
        if truth != found {
            self.wrong
                .push(format!("{name}: {found:?}, truly {truth:?}"));
        }
    }

    fn command(&mut self, truth: &TrueCommand, entry: Option<&Entry>, found: Option<&Command>) {
        let name = &truth.name;
        let mut aliases: Vec<&str> = truth.aliases.iter().map(String::as_str).collect();
        let mut found_aliases: Vec<&str> = found
            .iter()
            .flat_map(|command| &command.aliases)
            .map(CommandName::as_str)
            .collect();
        aliases.sort_unstable();
        found_aliases.sort_unstable();
        let at = |part: &str| format!("{name} {part}");
        self.field(
            &at("name"),
            Some(name.as_str()),
            found.map(|c| c.name.as_str()),
        );
        self.field(&at("aliases"), aliases, found_aliases);
        self.field(
            &at("summary"),
            Some(&truth.summary),
            entry.map(|entry| &entry.description),
        );
        self.field(
            &at("description"),
            Some(&truth.description),
            found.map(|c| &c.description),
        );
        self.field(
            &at("positionals"),
            Some(truth.positionals.len()),
            found.map(|c| c.positionals.len()),
        );
        self.field(
            &at("options"),
            Some(truth.options.len()),
            found.map(|c| c.options.len()),
        );
        for (place, positional) in truth.positionals.iter().enumerate() {
            let found = found.and_then(|command| command.positionals.get(place));
            self.positional(&at(&positional.name), positional, found);
        }
        for option in &truth.options {
            let label = &option.flags[0];
            let found =
                found.and_then(|command| command.options.iter().find(|o| o.flags.contains(label)));
            self.option(&at(label), option, found);
        }
    }

    fn positional(&mut self, at: &str, truth: &TruePositional, found: Option<&Positional>) {
        let at = |part: &str| format!("{at} {part}");
        self.field(&at("name"), Some(&truth.name), found.map(|p| &p.name));
        self.field(&at("min"), Some(truth.min), found.map(|p| p.min));
        self.field(&at("max"), Some(truth.max), found.map(|p| p.max));
        self.field(
            &at("choices"),
            Some(&truth.choices),
            found.map(|p| &p.choices),
        );
        self.field(
            &at("description"),
            Some(&truth.description),
            found.map(|p| &p.description),
        );
    }

    fn option(&mut self, at: &str, truth: &TrueOption, found: Option<&CommandOption>) {
        let at = |part: &str| format!("{at} {part}");
        self.field(&at("flags"), Some(&truth.flags), found.map(|o| &o.flags));
        self.field(&at("takes"), Some(truth.takes), found.map(|o| o.takes));
        self.field(
            &at("metavar"),
            Some(&truth.metavar),
            found.map(|o| &o.metavar),
        );
        self.field(
            &at("choices"),
            Some(&truth.choices),
            found.map(|o| &o.choices),
        );
        self.field(
            &at("default"),
            Some(&truth.default),
            found.map(|o| &o.default),
        );
        self.field(
            &at("description"),
            Some(&truth.description),
            found.map(|o| &o.description),
        );
    }
}
