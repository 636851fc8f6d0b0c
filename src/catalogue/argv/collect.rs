//! Which parameter a name means, and the values that each parameter got.

use std::collections::BTreeMap;

use super::error::cut;
use super::places::{Destination, Places};
use super::{ArgvError, MAX_CHANGES, MAX_VALUE, MAX_VALUES, Value, same_name};
use crate::catalogue::kinds::Kind;
use crate::catalogue::traits::Traits;
use crate::catalogue::{Command, CommandOption, Takes};
use crate::names::is_line_or_control;
use crate::parameters::fold;

/// The options of Barman itself, folded. They stand before the command's name, where no request
/// reaches, and they are not read as a command's parameters either, whatever its help says.
const GLOBAL: &[&str] = &[
    "c", "color", "colour", "config", "d", "debug", "f", "format", "h", "help", "loglevel", "q",
    "quiet", "v", "version",
];

/// The word of ours that names a restore target.
const TARGET: &str = "target";

/// What a name means in a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Positional(usize),
    Option(usize),
    Target,
}

/// The values of a request, by parameter.
#[derive(Debug, Default)]
pub(super) struct Given {
    values: BTreeMap<Slot, Vec<String>>,
}

/// Sorts parameters by what they mean, and checks what counts for every value.
pub(super) fn collect(
    command: &Command,
    traits: &Traits,
    parameters: &[(String, Value)],
) -> Result<Given, ArgvError> {
    let mut given = Given::default();
    let mut count = 0;
    for (name, value) in parameters {
        let slot = slot(command, traits, name)?;
        let parameter = Parameter::of(command, traits, slot);
        let texts = parameter.texts(value)?;
        count += texts.len();
        if count > MAX_VALUES {
            return Err(ArgvError::TooMany);
        }
        let values = given.values.entry(slot).or_default();
        values.extend(texts);
        if values.len() > parameter.max {
            return Err(ArgvError::Repeated {
                name: parameter.name.to_owned(),
            });
        }
    }
    given.check_positionals(command)?;
    Ok(given)
}

/// What one parameter takes.
struct Parameter<'a> {
    name: &'a str,
    kind: Option<Kind>,
    /// Whether `true` and `false` are values of it.
    truth: bool,
    max: usize,
}

impl<'a> Parameter<'a> {
    fn of(command: &'a Command, traits: &Traits, slot: Slot) -> Self {
        match slot {
            Slot::Positional(index) => {
                let positional = command.positionals.get(index);
                let name = positional.map_or("", |positional| positional.name.as_str());
                let max = positional.and_then(|positional| positional.max);
                Self {
                    name,
                    kind: traits.kind(command, name),
                    truth: false,
                    max: max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX)),
                }
            }
            Slot::Option(index) => {
                let option = command.options.get(index);
                let name = option.map_or("", CommandOption::name);
                let repeats = traits.of(command).repeats(name);
                Self {
                    name,
                    kind: traits.kind(command, name),
                    truth: option.is_some_and(|option| {
                        matches!(option.takes, Takes::None | Takes::Optional)
                    }),
                    max: if repeats { usize::MAX } else { 1 },
                }
            }
            Slot::Target => Self {
                name: TARGET,
                kind: Some(Kind::Text),
                truth: false,
                max: 1,
            },
        }
    }

    /// The texts of a value, as far as its JSON type fits.
    fn texts(&self, value: &Value) -> Result<Vec<String>, ArgvError> {
        let texts = match value {
            Value::Text(text) => vec![text.clone()],
            Value::Bool(truth) if self.truth => vec![truth.to_string()],
            Value::Number(number) if self.kind.is_some_and(Kind::takes_numbers) => {
                vec![number.clone()]
            }
            Value::List(texts) if self.max > 1 && !texts.is_empty() => texts.clone(),
            Value::Bool(truth) => return Err(self.wrong(&truth.to_string())),
            Value::Number(other) => return Err(self.wrong(other)),
            Value::List(_) => return Err(self.wrong("an array")),
        };
        let limit = match self.kind {
            Some(Kind::ConfigChanges) => MAX_CHANGES,
            _ => MAX_VALUE,
        };
        for text in &texts {
            let problem = if text.is_empty() {
                "a value that is not empty".to_owned()
            } else if text.len() > limit {
                format!("at most {limit} bytes")
            } else if self.kind != Some(Kind::ConfigChanges) && text.chars().any(is_line_or_control)
            {
                "no control characters and no line ends".to_owned()
            } else {
                continue;
            };
            return Err(ArgvError::value(self.name, text, problem));
        }
        Ok(texts)
    }

    fn wrong(&self, value: &str) -> ArgvError {
        let expected = match self.kind {
            _ if self.max > 1 => "text, or an array of texts",
            Some(kind) if kind.takes_numbers() => "text or a number",
            Some(Kind::ConfigChanges) => "an array of changes",
            _ if self.truth => "true or false",
            _ => "text",
        };
        ArgvError::value(self.name, value, expected)
    }
}

/// Finds what a name means.
fn slot(command: &Command, traits: &Traits, name: &str) -> Result<Slot, ArgvError> {
    let folded = fold(name);
    if GLOBAL.contains(&folded.as_str()) {
        return Err(ArgvError::Global { name: cut(name) });
    }
    // `target` is a word of ours where a target can be chosen, and nowhere else.
    if folded == TARGET && remote_command(command, traits).is_some() {
        return Ok(Slot::Target);
    }
    let is_word = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let slots: Vec<Slot> = names(command)
        .filter(|(_, known)| is_word && fold(known) == folded)
        .map(|(slot, _)| slot)
        .collect();
    match slots.as_slice() {
        [slot, others @ ..] if others.iter().all(|other| other == slot) => Ok(*slot),
        _ => Err(unknown(command, traits, name)),
    }
}

/// The names that a command's parameters go by: positionals by their name, options by each of
/// their long spellings.
fn names(command: &Command) -> impl Iterator<Item = (Slot, &str)> {
    let positionals = command.positionals.iter().enumerate();
    let options = command.options.iter().enumerate();
    positionals
        .map(|(index, positional)| (Slot::Positional(index), positional.name.as_str()))
        .chain(options.flat_map(|(index, option)| {
            let flags = option.flags.iter().filter(|flag| is_long(flag));
            flags.map(move |flag| (Slot::Option(index), flag.trim_start_matches('-')))
        }))
}

/// The spelling of an option that is written into an argument vector.
pub(super) fn long_flag(option: &CommandOption) -> Option<&str> {
    let mut flags = option.flags.iter().map(String::as_str);
    flags.find(|flag| is_long(flag))
}

/// Whether a spelling is a long one that can be written `--name=value`.
fn is_long(flag: &str) -> bool {
    flag.strip_prefix("--").is_some_and(|name| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    })
}

fn remote_command<'a>(command: &'a Command, traits: &Traits) -> Option<&'a CommandOption> {
    command
        .options
        .iter()
        .find(|option| traits.kind(command, option.name()) == Some(Kind::RemoteCommand))
}

fn unknown(command: &Command, traits: &Traits, name: &str) -> ArgvError {
    let mut known: Vec<String> = command
        .positionals
        .iter()
        .map(|positional| positional.name.clone())
        .chain(
            command
                .options
                .iter()
                .map(|option| option.name().to_owned()),
        )
        .collect();
    if remote_command(command, traits).is_some() {
        known.push(TARGET.to_owned());
    }
    let name = cut(name);
    let nearest = known
        .iter()
        .map(|known| (strsim::jaro_winkler(&fold(known), &fold(&name)), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, known)| known.clone());
    ArgvError::Unknown {
        command: command.name.clone(),
        name,
        nearest,
        known,
    }
}

/// What a flag's text says; `None` when it says neither.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "TRUE" => Some(true),
        "false" | "FALSE" => Some(false),
        _ => None,
    }
}

impl Given {
    fn values(&self, slot: Slot) -> &[String] {
        self.values.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// The values of a positional, by its place.
    pub(super) fn positional(&self, index: usize) -> &[String] {
        self.values(Slot::Positional(index))
    }

    /// The values of an option, by its place.
    pub(super) fn option(&self, index: usize) -> &[String] {
        self.values(Slot::Option(index))
    }

    /// The values of each parameter that has a type.
    pub(super) fn values_of(
        &self,
        command: &Command,
        traits: &Traits,
        kind: Kind,
    ) -> impl Iterator<Item = &str> {
        names(command)
            .filter(move |(_, name)| traits.kind(command, name) == Some(kind))
            .flat_map(|(slot, _)| self.values(slot))
            .map(String::as_str)
    }

    /// The first value of a parameter, by its name.
    pub(super) fn text(&self, command: &Command, name: &str) -> Option<&str> {
        names(command)
            .find(|(_, known)| same_name(known, name))
            .and_then(|(slot, _)| self.values(slot).first())
            .map(String::as_str)
    }

    /// Whether a parameter is given; a flag that is `false` is not.
    pub(super) fn has(&self, command: &Command, name: &str) -> bool {
        let is_flag = command
            .options
            .iter()
            .any(|option| same_name(option.name(), name) && option.takes == Takes::None);
        self.text(command, name)
            .is_some_and(|text| !is_flag || truth(text) != Some(false))
    }

    /// The restore target that is named.
    pub(super) fn target(&self) -> Option<&str> {
        self.values(Slot::Target).first().map(String::as_str)
    }

    /// Where a restore goes; `None` for a command that restores nothing.
    pub(super) fn destination<'a>(
        &'a self,
        command: &Command,
        traits: &Traits,
        places: &'a Places,
    ) -> Result<Option<Destination<'a>>, ArgvError> {
        if remote_command(command, traits).is_none() {
            return Ok(None);
        }
        let target = self.target();
        let ssh_command = self.values_of(command, traits, Kind::RemoteCommand).next();
        if let (Some(_), Some(text)) = (target, ssh_command) {
            return Err(ArgvError::value(
                "remote_ssh_command",
                text,
                "target or remote_ssh_command, not both",
            ));
        }
        places.destination(target, ssh_command).map(Some)
    }

    fn check_positionals(&self, command: &Command) -> Result<(), ArgvError> {
        let mut left_out = None;
        for (index, positional) in command.positionals.iter().enumerate() {
            let values = self.positional(index);
            if let Some(value) = values.iter().find(|value| value.starts_with('-')) {
                return Err(ArgvError::value(
                    &positional.name,
                    value,
                    "a value that does not begin with '-'",
                ));
            }
            let min = usize::try_from(positional.min).unwrap_or(usize::MAX);
            let missing = if values.len() < min {
                Some(&positional.name)
            } else if values.is_empty() {
                left_out = left_out.or(Some(&positional.name));
                None
            } else {
                // Barman would read this value as the one that is left out.
                left_out
            };
            if let Some(name) = missing {
                return Err(ArgvError::Missing {
                    command: command.name.clone(),
                    name: name.clone(),
                });
            }
        }
        Ok(())
    }
}
