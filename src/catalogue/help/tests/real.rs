//! Texts that Barman printed, and texts in every notation of argparse.

use super::*;
use crate::catalogue::{Positional, Takes};

#[test]
fn the_version_is_the_first_number_with_a_dot() {
    for (text, version) in [
        (fixture!("barman-3.19.1-python3.13/version"), "3.19.1"),
        (fixture!("barman-3.19.1-columns20/version"), "3.19.1"),
        (fixture!("barman-2.15-python2.7/version"), "2.15"),
        ("\u{1b}[1m3.20.0rc1\u{1b}[0m Barman 4.5", "3.20.0"),
        ("barman v3.9.0.\n", "3.9.0"),
    ] {
        assert_eq!(parse_version(text).as_deref(), Ok(version));
    }
    for text in ["", "Barman 3", "1..2", &"1.".repeat(400)] {
        assert!(matches!(
            parse_version(text),
            Err(HelpError::NoVersion { .. })
        ));
    }
}

#[test]
fn the_overview_gives_names_and_aliases_in_its_order() {
    let entries = parse_overview(OVERVIEW).unwrap();
    assert_eq!(entries.len(), 37);
    assert_eq!(entries[0].name, name("archive-wal"));
    let restore = entries.iter().find(|e| e.name == name("restore")).unwrap();
    assert_eq!(restore.aliases, [name("recover")]);
    assert_eq!(
        restore.description,
        "Restore a server at a given time, name, LSN or xid"
    );
}

#[test]
fn one_barman_is_one_list_whatever_the_width() {
    let wide = parse_overview(OVERVIEW).unwrap();
    assert_eq!(parse_overview(NARROW_OVERVIEW), Ok(wide.clone()));
    assert_eq!(
        parse_overview(fixture!("barman-3.19.1-columns40/overview")),
        Ok(wide)
    );
    assert_eq!(
        read("backup", fixture!("barman-3.19.1-columns40/backup")),
        read("backup", BACKUP)
    );
}

#[test]
fn an_alias_that_is_its_own_command_is_dropped() {
    let entries = parse_overview(OVERVIEW).unwrap();
    let cleanup = entries
        .iter()
        .find(|entry| entry.name == name("lock-directory-cleanup"))
        .unwrap();
    assert_eq!(cleanup.aliases, []);
    assert_eq!(
        read(
            "lock-directory-cleanup",
            fixture!("barman-3.19.1-python3.13/lock-directory-cleanup")
        )
        .unwrap()
        .options,
        []
    );
}

#[test]
fn the_page_of_an_alias_shows_the_canonical_name() {
    assert!(parse_command(&name("recover"), &[name("restore")], RESTORE).is_ok());
    assert_eq!(
        read("recover", RESTORE),
        Err(HelpError::WrongPage {
            command: name("recover"),
            found: "barman restore".to_owned()
        })
    );
    assert!(matches!(
        read("backup", OVERVIEW),
        Err(HelpError::WrongPage { .. })
    ));
}

#[test]
fn argh_prints_defaults_and_docstrings() {
    let check = read("check", fixture!("barman-2.15-python2.7/check")).unwrap();
    assert_eq!(
        check.description,
        "Check if the server configuration is working. This command returns success if every \
         checks pass, or failure if any of these fails"
    );
    assert_eq!(option(&check, "--nagios").default.as_deref(), Some("False"));
    let recover = read("recover", OLD_RECOVER).unwrap();
    let jobs = option(&recover, "-j");
    assert_eq!(jobs.flags, ["--jobs", "-j"]);
    assert_eq!(jobs.metavar.as_deref(), Some("NJOBS"));
    assert_eq!(jobs.default, None);
    assert_eq!(
        jobs.description,
        "Run the copy in parallel using NJOBS processes. (default: -)"
    );
}

#[test]
fn a_value_may_be_optional_and_of_a_set() {
    let backup = read("backup", BACKUP).unwrap();
    assert_eq!(
        *option(&backup, "--reuse-backup"),
        CommandOption {
            flags: vec!["--reuse-backup".to_owned()],
            takes: Takes::Optional,
            metavar: None,
            choices: ["copy", "link", "off"].map(str::to_owned).to_vec(),
            default: None,
            description: "use the previous backup to improve transfer-rate. If no argument is \
                          given \"link\" is assumed"
                .to_owned(),
        }
    );
    let server = &backup.positionals[0];
    assert_eq!((server.min, server.max), (1, None));
    let text = fixture!("barman-3.19.1-columns40/sync-info");
    let bounds: Vec<_> = read("sync-info", text)
        .unwrap()
        .positionals
        .into_iter()
        .map(|positional| (positional.name, positional.min, positional.max))
        .collect();
    assert_eq!(
        bounds,
        [
            ("server_name".to_owned(), 1, Some(1)),
            ("last_wal".to_owned(), 0, Some(1)),
            ("last_position".to_owned(), 0, Some(1)),
        ]
    );
}

/// `move` of a program that uses every notation of argparse, most of which Barman does not.
#[test]
fn every_notation_of_argparse_is_read() {
    let texts = [
        fixture!("notation/python2.7-move"),
        fixture!("notation/python3.12-move"),
        fixture!("notation/python3.13-move"),
    ];
    for text in texts {
        let command = read("move", text).unwrap();
        let option = |flag| option(&command, flag);
        let takes = |flag| (option(flag).takes, option(flag).metavar.as_deref());
        assert_eq!(takes("--needed"), (Takes::One, Some("PLACE")));
        assert_eq!(takes("--all"), (Takes::None, None));
        assert_eq!(takes("--some"), (Takes::Many, Some("PART")));
        assert_eq!(option("--some").default.as_deref(), Some("first"));
        assert_eq!(takes("--slow"), (Takes::None, None));
        assert_eq!(takes("--any"), (Takes::Many, Some("ANY")));
        assert_eq!(takes("--pair"), (Takes::Many, Some("N")));
        assert_eq!(takes("--level"), (Takes::One, None));
        assert_eq!(option("--level").choices, ["low", "high"]);
        assert_eq!(takes("-s"), (Takes::Optional, Some("HOW")));
        assert_eq!(option("-s").flags, ["--quiet-mode", "-q", "-s"]);
        assert_eq!(option("-s").description, "");
        assert_eq!(option("--port").default.as_deref(), Some("22"));
        assert_eq!(command.options.len(), 10);
        let positional = |name: &str, min, max, choices: &[&str], description: &str| Positional {
            name: name.to_owned(),
            min,
            max,
            choices: choices.iter().map(|&choice| choice.to_owned()).collect(),
            description: description.to_owned(),
        };
        assert_eq!(
            command.positionals,
            [
                positional("carrier", 1, Some(1), &[], "who carries it"),
                positional("value", 1, Some(1), &["full", "part"], "which kind"),
                positional("backup_id", 0, Some(1), &[], "which backup"),
                positional("FILE", 0, None, &[], "other files"),
            ]
        );
    }
}

#[test]
fn a_section_of_commands_may_have_a_title() {
    for (text, aliases) in [
        (fixture!("notation/python2.7-overview"), vec![]),
        (
            fixture!("notation/python3.13-overview"),
            vec![name("ma"), name("moves")],
        ),
    ] {
        let entries = parse_overview(text).unwrap();
        assert_eq!(entries.len(), 2, "the command without help is hidden");
        assert_eq!(entries[1].name, name("move-all"));
        assert_eq!(entries[1].aliases, aliases);
        assert_eq!(entries[1].description, "Move all");
    }
}

#[test]
fn commands_without_help_are_read() {
    let text = overview("a,bb,c", &["a", "bb (c)"]);
    let entries = parse_overview(&text).unwrap();
    assert_eq!(entries[1].aliases, [name("c")]);
    assert_eq!(entries[1].description, "");
}

#[test]
fn a_catalogue_takes_the_description_from_where_it_is() {
    let text = overview("run,stop", &["run   Run it twice", "stop  Stop it"]);
    let page = |command: &str| {
        let bare = format!("usage: barman {command} [-h]\n\noptions:\n  -h, --help  show\n");
        if command == "run" { run("", &[]) } else { bare }
    };
    let pages = [page("run"), page("stop")];
    let of = |name: &CommandName| Some(pages[usize::from(name.as_str() == "stop")].as_str());
    let catalogue = assemble("3.20 Barman", &text, of).unwrap();
    assert_eq!(catalogue.version, "3.20");
    assert_eq!(catalogue.commands[0].description, "Run it.");
    assert_eq!(catalogue.commands[1].description, "Stop it");
    assert_eq!(
        assemble("3.20 Barman", &text, |_| None),
        Err(HelpError::NoPage {
            command: name("run")
        })
    );
}
