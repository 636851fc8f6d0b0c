//! From named parameters to an argument vector.
//!
//! The catalogue says which parameters a command has, `share/commands.conf` what their values may
//! be, and [`Places`] what the configuration allows. A value never becomes an option: options are
//! written joined (`--name=value`) and in their full spelling, positional arguments stand behind
//! `--` and never begin with a hyphen.
//!
//! Whether the servers exist and whether the caller may touch them is not decided here. Paths on
//! the Barman host are looked at on disk, so a call can block for as long as the disk does.

mod changes;
mod collect;
mod error;
mod places;
mod resolve;
mod restore;
#[cfg(test)]
mod tests;

pub use error::ArgvError;
pub use places::{Places, Target};
pub use resolve::{Resolve, ResolveError};
pub use restore::{Restore, Tablespace};

use std::path::{Path, PathBuf};

use self::collect::{Given, collect};
use self::places::{Destination, Roots};
use super::kinds::{self, Kind};
use super::traits::Traits;
use super::{Command, CommandOption, Takes};
use crate::names::{CommandName, Scope, ServerName};
use crate::parameters::{Value, fold};

/// The greatest number of values in one request.
pub const MAX_VALUES: usize = 200;
/// The greatest length of a value in bytes.
pub const MAX_VALUE: usize = 4096;
/// The greatest length of `config-update`'s JSON in bytes; the kernel takes 128 KiB for an argument.
pub const MAX_CHANGES: usize = 65536;

/// A checked start of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The canonical name.
    pub command: CommandName,
    /// All arguments behind the command's name, `--` included.
    pub arguments: Vec<String>,
    /// Which servers it touches.
    pub scope: Scope,
    /// Why only a user with full access may start it; `None` = the right to the command is enough.
    pub requires_full: Option<String>,
    /// Whether a rule that is written out for the command and the servers is enough instead.
    pub or_written_out: bool,
    /// While one runs, an identical one is refused.
    pub exclusive: bool,
    /// What it brings back, where it is a restore.
    pub restore: Option<Restore>,
}

/// Builds the argument vector of a command from named parameters.
///
/// `command` is the canonical one. Names go by the help text; case, `-` and `_` do not matter,
/// abbreviations do not pass. Order and repetition of `parameters` are as they came. The word
/// `target=NAME` is read where the command has an option of the type `remote_command`.
///
/// # Errors
/// When the parameters do not fit the command ([`ArgvError::is_forbidden`] is false), or ask for
/// what the configuration does not allow (it is true).
pub fn build(
    command: &Command,
    traits: &Traits,
    parameters: &[(String, Value)],
    places: &Places,
) -> Result<Invocation, ArgvError> {
    let of = traits.of(command);
    if of.off && !is_allowed(command, traits, places) {
        return Err(ArgvError::NotAllowed {
            command: command.name.clone(),
        });
    }
    let given = collect(command, traits, parameters)?;
    check_exactly_one(command, &of.exactly_one, &given)?;
    let mut builder = Builder {
        command,
        traits,
        places,
        destination: given.destination(command, traits, places)?,
        given: &given,
        scope: None,
        requires_full: None,
        names_model: None,
        fills: Vec::new(),
    };
    let mut arguments = Vec::new();
    for (index, option) in command.options.iter().enumerate() {
        builder.push_option(option, given.option(index), &mut arguments)?;
    }
    let mut words = Vec::new();
    for (index, positional) in command.positionals.iter().enumerate() {
        for value in given.positional(index) {
            let several = positional.max != Some(1);
            words.push(builder.checked(&positional.name, &positional.choices, value, several)?);
        }
    }
    if !words.is_empty() {
        arguments.push("--".to_owned());
        arguments.append(&mut words);
    }
    Ok(Invocation {
        command: command.name.clone(),
        arguments,
        scope: builder.scope.unwrap_or(Scope::Global),
        or_written_out: builder.requires_full.is_none() && builder.names_model.is_some(),
        requires_full: builder.requires_full.or(builder.names_model),
        exclusive: of.exclusive,
        restore: builder.destination.map(|destination| {
            let ssh_command = destination.ssh_command;
            Restore::of(command, traits, &given, ssh_command, &builder.fills)
        }),
    })
}

/// The servers that a request names, before anything else of it is judged; `None` when the command
/// takes none by name.
///
/// # Errors
/// When a parameter is unknown, missing or repeated, or a server's name is malformed.
pub fn named_servers(
    command: &Command,
    traits: &Traits,
    parameters: &[(String, Value)],
) -> Result<Option<Scope>, ArgvError> {
    let places = Places::default();
    let given = collect(command, traits, parameters)?;
    let mut builder = Builder {
        command,
        traits,
        places: &places,
        destination: None,
        given: &given,
        scope: None,
        requires_full: None,
        names_model: None,
        fills: Vec::new(),
    };
    for (index, positional) in command.positionals.iter().enumerate() {
        if builder.kind(&positional.name) == Some(Kind::Server) {
            for value in given.positional(index) {
                builder.add_server(&positional.name, value, positional.max != Some(1))?;
            }
        }
    }
    Ok(builder.scope)
}

/// Whether [`build`] may look at a disk of the Barman host for this command, and so may block.
#[must_use]
pub fn looks_at_disk(command: &Command, traits: &Traits) -> bool {
    let options = command.options.iter().map(CommandOption::name);
    let positionals = command.positionals.iter();
    let mut names = options.chain(positionals.map(|positional| positional.name.as_str()));
    names.any(|name| traits.kind(command, name).is_some_and(Kind::is_place))
}

fn is_allowed(command: &Command, traits: &Traits, places: &Places) -> bool {
    places.allow_commands.iter().any(|name| {
        *name == command.name
            || command.aliases.contains(name)
            || traits.newest_name(name) == traits.newest_name(&command.name)
    })
}

fn check_exactly_one(command: &Command, names: &[String], given: &Given) -> Result<(), ArgvError> {
    let is_given = |name: &&String| given.has(command, name);
    if names.is_empty() || names.iter().filter(is_given).count() == 1 {
        return Ok(());
    }
    Err(ArgvError::ExactlyOne {
        command: command.name.clone(),
        names: names.join(", "),
    })
}

struct Builder<'a> {
    command: &'a Command,
    traits: &'a Traits,
    places: &'a Places,
    destination: Option<Destination<'a>>,
    given: &'a Given,
    scope: Option<Scope>,
    requires_full: Option<String>,
    /// The same, for the name of a model alone.
    names_model: Option<String>,
    /// Directories that a restore writes to.
    fills: Vec<PathBuf>,
}

impl Builder<'_> {
    fn push_option(
        &mut self,
        option: &CommandOption,
        values: &[String],
        arguments: &mut Vec<String>,
    ) -> Result<(), ArgvError> {
        let Some(flag) = collect::long_flag(option) else {
            return Ok(());
        };
        let is_command = self.kind(option.name()) == Some(Kind::RemoteCommand);
        if let (true, Some(destination)) = (is_command, &self.destination) {
            if !destination.ssh_command.is_empty() {
                arguments.push(format!("{flag}={}", destination.ssh_command));
            }
            return Ok(());
        }
        for value in values {
            let bare = match option.takes {
                Takes::None => true,
                Takes::Optional => !option.choices.contains(value),
                Takes::One | Takes::Many => false,
            };
            match (bare, collect::truth(value)) {
                (true, Some(true)) => arguments.push(flag.to_owned()),
                (true, Some(false)) => {}
                (true, None) if option.takes == Takes::None => {
                    return Err(ArgvError::value(option.name(), value, "true or false"));
                }
                _ => {
                    let several = self.traits.of(self.command).repeats(option.name());
                    let value = self.checked(option.name(), &option.choices, value, several)?;
                    if value == "--" {
                        // Python's argparse drops this one text, even from `--name=--`.
                        return Err(ArgvError::value(
                            option.name(),
                            &value,
                            "a text, and not --",
                        ));
                    }
                    arguments.push(format!("{flag}={value}"));
                }
            }
        }
        Ok(())
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        self.traits.kind(self.command, name)
    }

    /// Checks a value by its choices and its type; the value to write.
    fn checked(
        &mut self,
        name: &str,
        choices: &[String],
        value: &str,
        several: bool,
    ) -> Result<String, ArgvError> {
        if !choices.is_empty() && !choices.iter().any(|choice| choice == value) {
            return Err(ArgvError::value(
                name,
                value,
                format!("one of {}", choices.join(", ")),
            ));
        }
        let Some(kind) = self.kind(name) else {
            if !self.traits.of(self.command).read_only {
                self.require_full(format!("{name} is not known to share/commands.conf"));
            }
            return Ok(value.to_owned());
        };
        if kind == Kind::Refused {
            return Err(ArgvError::Refused {
                name: name.to_owned(),
                reason: "it could run programs or touch files and accounts beyond the backup; \
                    /etc/barmanapi/commands.conf can give it another type"
                    .into(),
            });
        }
        if !kind.accepts(value) {
            return Err(ArgvError::value(name, value, kind.expected()));
        }
        match kind {
            Kind::Server => self.add_server(name, value, several)?,
            Kind::Model => {
                let reason = format!("{name} can change which programs barman runs");
                self.names_model.get_or_insert(reason);
            }
            Kind::Full => self.require_full(format!("{name} is for full access")),
            Kind::ConfigChanges => {
                let changes = changes::read(name, value, self.places)?;
                if let Some(reason) = changes.requires_full {
                    self.require_full(reason);
                }
                self.scope = Some(changes.scope);
                return Ok(changes.json);
            }
            _ => self.check_place(kind, name, value)?,
        }
        Ok(value.to_owned())
    }

    fn require_full(&mut self, reason: String) {
        self.requires_full.get_or_insert(reason);
    }

    fn add_server(&mut self, name: &str, value: &str, several: bool) -> Result<(), ArgvError> {
        let invalid = |expected: &str| ArgvError::value(name, value, expected);
        let server = ServerName::parse(value).map_err(|error| invalid(error.expected))?;
        let is_all = value == "all";
        match &mut self.scope {
            _ if is_all && !several => return Err(invalid("the name of one server")),
            None if is_all => self.scope = Some(Scope::All),
            None => self.scope = Some(Scope::Servers(vec![server])),
            Some(Scope::Servers(servers)) if !is_all => {
                if !servers.contains(&server) {
                    servers.push(server);
                }
            }
            Some(_) => return Err(invalid("all by itself, or names without all")),
        }
        Ok(())
    }

    /// Checks that a path lies where the configuration lets it.
    fn check_place(&mut self, kind: Kind, name: &str, value: &str) -> Result<(), ArgvError> {
        let inside = |roots: &Roots<'_>, strictly| roots.hold(name, value, strictly).map(drop);
        match kind {
            Kind::ExchangeDirectory => return inside(&self.places.exchange_roots(), false),
            Kind::ExchangeFile => return inside(&self.places.exchange_roots(), true),
            Kind::LocalStaging => return inside(&self.places.local_roots(), false),
            _ => {}
        }
        let Some(destination) = &self.destination else {
            return Ok(());
        };
        let roots = &destination.roots;
        match kind {
            Kind::RestoreDirectory => {
                let directory = roots.hold(name, value, false)?;
                let mut positionals = self.command.positionals.iter();
                // An option of this type is a directory for a while, which several may share.
                if positionals.any(|positional| same_name(&positional.name, name)) {
                    self.fills.push(directory);
                }
            }
            Kind::Tablespace => {
                let (_, directory) = kinds::split_tablespace(value).unwrap_or_default();
                self.fills.push(roots.hold(name, directory, false)?);
            }
            Kind::WalStaging => {
                let values = |kind| self.given.values_of(self.command, self.traits, kind);
                let tablespaces = values(Kind::Tablespace)
                    .filter_map(kinds::split_tablespace)
                    .map(|(_, directory)| directory);
                let holds_restore = values(Kind::RestoreDirectory)
                    .chain(tablespaces)
                    .any(|path| Path::new(path).starts_with(value));
                if holds_restore {
                    let expected = "a directory that does not hold the restore itself, since PostgreSQL removes it in the end";
                    return Err(ArgvError::value(name, value, expected));
                }
                self.fills.push(roots.hold(name, value, true)?);
            }
            Kind::Staging => match self.given.text(self.command, "staging-location") {
                Some("local") => inside(&self.places.local_roots(), false)?,
                None if !destination.ssh_command.is_empty() => {
                    let expected = "staging_location=local or staging_location=remote beside it";
                    return Err(ArgvError::value(name, value, expected));
                }
                _ => inside(roots, false)?,
            },
            _ => {}
        }
        Ok(())
    }
}

/// Whether two parameter names are one.
fn same_name(one: &str, other: &str) -> bool {
    fold(one) == fold(other)
}
