//! The catalogue as JSON: what `/barman/help` and `/barman/<command>/help` answer.
//!
//! `description`, `required`, `optional` and `values` have the form that clients of barmanapi
//! read; everything beside them is there so that a client can be built from this alone.

use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::traits::Traits;
use super::{Catalogue, Command, CommandOption, Positional, Takes};
use crate::names::CommandName;

/// Every command that is visible to the caller, and each alias as a reference to its command.
///
/// `async_commands` are those that the configuration names as asynchronous, by any name.
#[must_use]
pub fn overview(
    catalogue: &Catalogue,
    traits: &Traits,
    async_commands: &[CommandName],
    visible: impl Fn(&CommandName) -> bool,
) -> Value {
    let mut list = Map::new();
    for entry in &catalogue.commands {
        let name = &entry.name;
        let Some(canonical) = traits.canonical(name, catalogue) else {
            continue;
        };
        if !visible(&canonical.name) {
            continue;
        }
        if canonical.name != *name {
            list.insert(name.to_string(), json!({ "alias_of": canonical.name }));
            continue;
        }
        list.insert(
            name.to_string(),
            command(entry, catalogue, traits, async_commands),
        );
        for alias in aliases(entry, catalogue, traits) {
            list.entry(alias.as_str())
                .or_insert_with(|| json!({ "alias_of": name }));
        }
    }
    Value::Object(list)
}

/// One command.
#[must_use]
pub fn command(
    command: &Command,
    catalogue: &Catalogue,
    traits: &Traits,
    async_commands: &[CommandName],
) -> Value {
    let names = traits.names(command, catalogue);
    let aliases = aliases(command, catalogue, traits);
    let required = command
        .positionals
        .iter()
        .filter(|positional| positional.min > 0);
    let required: Vec<&str> = required
        .map(|positional| positional.name.as_str())
        .chain(["token"])
        .collect();
    let mut optional = Map::new();
    for positional in command
        .positionals
        .iter()
        .filter(|positional| positional.min == 0)
    {
        let values = values(&positional.choices, || positional.name.to_uppercase());
        optional.insert(
            positional.name.clone(),
            json!({ "values": values, "description": positional.description }),
        );
    }
    for entry in &command.options {
        optional.insert(entry.name().to_owned(), option(entry, command, traits));
    }
    let goes_to_targets =
        |entry: &CommandOption| traits.kind(command, entry.name()) == Some(Kind::RemoteCommand);
    if command.options.iter().any(goes_to_targets) {
        optional.insert("target".to_owned(), target());
    }
    let positionals: Vec<Value> = command.positionals.iter().map(positional).collect();
    json!({
        "description": command.description,
        "required": required,
        "optional": optional,
        "aliases": aliases,
        "positionals": positionals,
        "async": async_commands.iter().any(|name| names.contains(name)),
        "read_only": traits.of(command).read_only,
    })
}

/// The other names that this Barman knows for a command.
fn aliases(command: &Command, catalogue: &Catalogue, traits: &Traits) -> Vec<CommandName> {
    let names = traits.names(command, catalogue).into_iter().skip(1);
    names
        .filter(|name| catalogue.find(name).is_some())
        .collect()
}

fn positional(positional: &Positional) -> Value {
    json!({
        "name": positional.name,
        "min": positional.min,
        "max": positional.max,
        "choices": positional.choices,
        "description": positional.description,
    })
}

fn option(option: &CommandOption, command: &Command, traits: &Traits) -> Value {
    let metavar = || {
        option
            .metavar
            .clone()
            .unwrap_or_else(|| option.name().replace('-', "_").to_uppercase())
    };
    let values = match option.takes {
        Takes::None => "TRUE/FALSE".to_owned(),
        _ => values(&option.choices, metavar),
    };
    json!({
        "values": values,
        "description": option.description,
        "flags": option.flags,
        "takes": option.takes,
        "metavar": option.metavar,
        "choices": option.choices,
        "default": option.default,
        "repeatable": traits.of(command).repeats(option.name()),
    })
}

/// The word of ours that chooses where a restore goes.
fn target() -> Value {
    json!({
        "values": "NAME",
        "description": "where to: NAME of a [target:NAME] in the configuration of barmanapi",
        "flags": [],
        "takes": Takes::One,
        "metavar": "NAME",
        "choices": [],
        "default": null,
        "repeatable": false,
    })
}

/// The values in barmanapi's text form: the choices, or a word for any value.
fn values(choices: &[String], any: impl Fn() -> String) -> String {
    if choices.is_empty() {
        any()
    } else {
        choices.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        serde_json::from_str(include_str!("../../tests/fixtures/catalogue-3.19.1.json")).unwrap()
    }

    fn name(word: &str) -> CommandName {
        CommandName::parse(word).unwrap()
    }

    #[test]
    fn a_command_tells_enough_to_call_it() {
        let all = overview(&catalogue(), &Traits::builtin(), &[name("recover")], |_| {
            true
        });
        let restore = &all["restore"];
        assert_eq!(
            restore["required"],
            json!(["server_name", "backup_id", "destination_directory", "token"])
        );
        assert_eq!(restore["async"], true);
        assert_eq!(restore["read_only"], false);
        assert_eq!(restore["aliases"], json!(["recover"]));
        assert_eq!(all["recover"], json!({ "alias_of": "restore" }));
        let optional = &restore["optional"];
        assert_eq!(optional["get-wal"]["values"], "TRUE/FALSE");
        assert_eq!(
            optional["combine-mode"]["values"],
            "copy/link/clone/copy-file-range"
        );
        assert_eq!(optional["tablespace"]["values"], "NAME:LOCATION");
        assert_eq!(optional["tablespace"]["repeatable"], true);
        assert_eq!(optional["jobs"]["flags"], json!(["--jobs", "-j"]));
        assert_eq!(optional["jobs"]["takes"], "one");
        assert_eq!(optional["jobs"]["metavar"], "NJOBS");
        let backup = &all["backup"];
        assert_eq!(backup["optional"]["reuse-backup"]["takes"], "optional");
        assert_eq!(backup["async"], false);
        assert_eq!(
            backup["positionals"][0],
            json!({
                "name": "server_name", "min": 1, "max": null, "choices": [],
                "description": catalogue().find(&name("backup")).unwrap().positionals[0].description,
            })
        );
        assert_eq!(
            all["sync-info"]["optional"]["last_wal"]["values"],
            "LAST_WAL"
        );
        assert_eq!(all["list-servers"]["required"], json!(["token"]));
        assert_eq!(all.as_object().unwrap().len(), 37 + 8);
    }

    #[test]
    fn what_is_not_visible_is_not_there_by_any_name() {
        let all = overview(&catalogue(), &Traits::builtin(), &[], |name| {
            name.as_str() != "restore"
        });
        assert!(all.get("restore").is_none() && all.get("recover").is_none());
        assert!(all.get("backup").is_some());
    }

    #[test]
    fn a_name_of_a_newer_barman_is_not_listed() {
        let mut old = catalogue();
        old.commands
            .retain(|command| command.name == name("restore"));
        old.commands[0].name = name("recover");
        old.commands[0].aliases.clear();
        let all = overview(&old, &Traits::builtin(), &[name("restore")], |_| true);
        assert_eq!(all["recover"]["aliases"], json!([]));
        assert_eq!(all["recover"]["async"], true);
        assert!(all.get("restore").is_none());
    }

    #[test]
    fn an_alias_that_the_help_does_not_tell_is_a_reference_too() {
        let mut old = catalogue();
        old.commands
            .retain(|command| command.name == name("list-servers"));
        old.commands[0].aliases.clear();
        let mut second = old.commands[0].clone();
        second.name = name("list-server");
        old.commands.insert(0, second);
        let all = overview(&old, &Traits::builtin(), &[], |_| true);
        assert_eq!(all["list-server"], json!({ "alias_of": "list-servers" }));
        assert_eq!(all["list-servers"]["aliases"], json!(["list-server"]));
    }

    #[test]
    fn our_word_for_a_restore_target_stands_with_the_options_of_a_restore_alone() {
        let (catalogue, traits) = (catalogue(), Traits::builtin());
        for (word, has) in [("restore", true), ("recover", true), ("backup", false)] {
            let found = traits.canonical(&name(word), &catalogue).unwrap();
            let described = command(found, &catalogue, &traits, &[]);
            assert_eq!(described["optional"].get("target").is_some(), has, "{word}");
        }
    }
}
