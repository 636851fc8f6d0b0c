//! The built-in file against a whole catalogue, overrides, and names.

use super::*;

fn name(word: &str) -> CommandName {
    CommandName::parse(word).unwrap()
}

fn command(word: &str) -> Command {
    Command {
        name: name(word),
        aliases: Vec::new(),
        description: String::new(),
        positionals: Vec::new(),
        options: Vec::new(),
    }
}

fn catalogue(words: &[&str]) -> Catalogue {
    Catalogue {
        version: "0".into(),
        commands: words.iter().map(|word| command(word)).collect(),
    }
}

fn full() -> Catalogue {
    serde_json::from_str(include_str!(
        "../../../tests/fixtures/catalogue-3.19.1.json"
    ))
    .unwrap()
}

#[test]
fn the_built_in_file_reads_and_names_only_what_barman_has() {
    let traits = Traits::with_override("").unwrap();
    let catalogue = full();
    for section in traits.sections.keys().filter(|section| *section != EVERY) {
        let command = catalogue.find(&name(section)).unwrap();
        assert_eq!(command.name.as_str(), section, "not the newest name");
        let known: Vec<String> = command
            .positionals
            .iter()
            .map(|positional| fold(&positional.name))
            .chain(command.options.iter().map(|option| fold(option.name())))
            .collect();
        let traits = traits.of(command);
        let named = traits.types.keys().cloned();
        let listed = [&traits.repeatable, &traits.exactly_one, &traits.plain_with];
        for parameter in named.chain(listed.into_iter().flatten().map(|word| fold(word))) {
            assert!(known.contains(&parameter), "{section} has no {parameter}");
        }
    }
}

#[test]
fn every_value_of_the_newest_barman_has_a_type() {
    let traits = Traits::builtin();
    for command in &full().commands {
        let options = command.options.iter();
        let options = options.filter(|option| option.takes != super::super::Takes::None);
        let names = options.map(super::super::CommandOption::name).chain(
            command
                .positionals
                .iter()
                .map(|positional| positional.name.as_str()),
        );
        for parameter in names {
            assert!(
                traits.kind(command, parameter).is_some(),
                "{} {parameter}",
                command.name
            );
        }
    }
}

#[test]
fn an_unknown_command_changes_state_and_still_has_a_server() {
    let traits = Traits::builtin();
    let unknown = command("brand-new");
    assert!(!traits.of(&unknown).read_only);
    assert_eq!(traits.kind(&unknown, "SERVERNAME"), Some(Kind::Server));
    assert_eq!(traits.kind(&unknown, "path"), None);
}

#[test]
fn an_override_replaces_keys_and_leaves_the_others() {
    let traits = Traits::with_override(
        "[restore]\ntype.restore-command = full\n\n[brand-new]\nread_only = true\n",
    )
    .unwrap();
    let restore = command("recover");
    assert_eq!(traits.kind(&restore, "restore_command"), Some(Kind::Full));
    assert_eq!(traits.kind(&restore, "target-xid"), Some(Kind::Xid));
    assert!(traits.of(&restore).exclusive);
    assert!(traits.of(&command("brand-new")).read_only);
}

#[test]
fn an_override_that_is_not_understood_is_refused_with_its_line() {
    for (text, line) in [
        ("[backup]\nread_onyl = true\n", 2),
        ("[backup]\nread_only = yes\n", 2),
        ("[backup]\n\ntype.name = nonsense\n", 3),
        ("[backup]\ntype. = text\n", 2),
        ("[backup]\nlong\n", 2),
        ("[../x]\n", 1),
        ("[recover]\n", 1),
        ("[backup]\naliases = recover\n", 2),
        ("[backup]\naliases = restore\n", 2),
        ("[backup]\naliases = A B\n", 2),
        ("[*]\nread_only = true\n", 2),
        ("x = 1\n", 1),
    ] {
        assert_eq!(
            Traits::with_override(text).unwrap_err().line,
            line,
            "{text:?}"
        );
    }
}

#[test]
fn both_names_of_a_pair_lead_to_the_one_that_this_barman_has() {
    let traits = Traits::builtin();
    let canonical = |word: &str, catalogue: &Catalogue| {
        traits
            .canonical(&name(word), catalogue)
            .map(|command| command.name.to_string())
    };
    let old = catalogue(&["list-server", "recover", "switch-wal", "switch-xlog"]);
    assert_eq!(canonical("recover", &old).as_deref(), Some("recover"));
    assert_eq!(canonical("restore", &old).as_deref(), Some("recover"));
    assert_eq!(
        canonical("switch-xlog", &old).as_deref(),
        Some("switch-wal")
    );
    assert_eq!(
        canonical("list-servers", &old).as_deref(),
        Some("list-server")
    );
    assert_eq!(canonical("verify", &old), None);
    let between = catalogue(&["list-server", "list-servers"]);
    assert_eq!(
        canonical("list-server", &between).as_deref(),
        Some("list-servers")
    );
    let new = full();
    for (alias, of) in [
        ("list-server", "list-servers"),
        ("list-process", "list-processes"),
        ("list-backup", "list-backups"),
        ("recover", "restore"),
        ("show-server", "show-servers"),
        ("switch-xlog", "switch-wal"),
        ("show-backups", "show-backup"),
        ("verify", "verify-backup"),
    ] {
        assert_eq!(canonical(alias, &new).as_deref(), Some(of));
        assert_eq!(canonical(of, &new).as_deref(), Some(of));
        assert_eq!(traits.newest_name(&name(alias)).as_str(), of);
    }
}

#[test]
fn a_name_that_means_another_command_here_is_no_alias() {
    let traits = Traits::builtin();
    let mut odd = catalogue(&["verify", "verify-backup"]);
    odd.commands[0].positionals.push(super::super::Positional {
        name: "config".into(),
        min: 1,
        max: Some(1),
        choices: Vec::new(),
        description: String::new(),
    });
    let verify = traits.canonical(&name("verify"), &odd).unwrap();
    assert_eq!(verify.name.as_str(), "verify");
    let names = traits.names(&odd.commands[1], &odd);
    assert_eq!(names, [name("verify-backup")]);
    let old = catalogue(&["recover"]);
    assert_eq!(
        traits.names(&old.commands[0], &old),
        [name("recover"), name("restore")]
    );
}

#[test]
fn every_command_of_a_barman_is_known_by_each_of_its_names() {
    let traits = Traits::builtin();
    for command in &full().commands {
        for name in std::iter::once(&command.name).chain(&command.aliases) {
            assert!(traits.knows(name), "{name}");
            assert!(traits.all_names().contains(&name.as_str()), "{name}");
        }
    }
    assert!(traits.is_off(&name("put-wal")) && !traits.is_off(&name("backup")));
    assert!(!traits.knows(&name("bakup")) && !traits.is_off(&name("bakup")));
}

#[test]
fn the_commands_that_take_a_model_are_known_by_each_of_their_names() {
    assert_eq!(Traits::builtin().of_models(), ["config-switch"]);
    let own = "[keep]\naliases = hold\ntype.target = model\n";
    let traits = Traits::with_override(own).unwrap();
    assert_eq!(traits.of_models(), ["config-switch", "hold", "keep"]);
}
