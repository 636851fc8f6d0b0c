//! Which parameter a name means, and how often it may come.

use super::*;

#[test]
fn the_order_of_the_request_does_not_change_the_start() {
    let one = start(
        "backup",
        &text(&[("server_name", "main"), ("jobs", "2"), ("wait", "true")]),
        &Places::default(),
    );
    let other = start(
        "backup",
        &text(&[("WAIT", "TRUE"), ("Jobs", "2"), ("SERVERNAME", "main")]),
        &Places::default(),
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one, other);
    assert_eq!(one.arguments, ["--jobs=2", "--wait", "--", "main"]);
    assert!(one.exclusive);
}

#[test]
fn abbreviations_and_short_spellings_do_not_pass() {
    for name in [
        "remote-ssh",
        "rem",
        "tablespac",
        "job",
        "j",
        "w",
        "wai",
        "-j",
        "--jobs",
        "_jobs",
    ] {
        malformed("backup", &[("server_name", "main"), (name, "1")]);
    }
    malformed(
        "restore",
        &[
            ("server_name", "main"),
            ("backup_id", "latest"),
            ("remote-ssh", "x"),
        ],
    );
    assert_eq!(
        argv("backup", &[("server_name", "main"), ("jobs", "1")]),
        ["--jobs=1", "--", "main"]
    );
}

#[test]
fn an_unknown_name_is_refused_by_name_with_the_nearest_one() {
    let error = refusal("show-backup", &[("servername2", "main")]);
    let ArgvError::Unknown {
        name,
        nearest,
        known,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(
        (name.as_str(), nearest.as_deref()),
        ("servername2", Some("server_name"))
    );
    assert_eq!(known, &["server_name", "backup_id"]);
    assert_eq!(
        error.to_string(),
        "show-backup has no parameter \"servername2\" (nearest: server_name); it takes server_name, backup_id"
    );
    malformed("list-servers", &[("foo", "1")]);
    malformed("list-servers", &[("", "1")]);
    malformed("show-backup", &[("s\u{131}erver_name", "main")]);
    for name in [
        "server_name",
        "SERVERNAME",
        "Server-Name",
        "servername",
        "SERVER_NAME",
    ] {
        assert_eq!(
            argv("show-backup", &[(name, "main"), ("BackupID", "last")]),
            ["--", "main", "last"]
        );
    }
}

#[test]
fn a_parameter_that_takes_one_value_is_not_repeated() {
    malformed(
        "show-backup",
        &[
            ("server_name", "main"),
            ("server_name", "other"),
            ("backup_id", "latest"),
        ],
    );
    malformed(
        "show-backup",
        &[
            ("server_name", "main"),
            ("SERVERNAME", "main"),
            ("backup_id", "latest"),
        ],
    );
    malformed(
        "backup",
        &[("server_name", "main"), ("jobs", "1"), ("jobs", "2")],
    );
    malformed(
        "backup",
        &[("server_name", "main"), ("wait", "false"), ("wait", "true")],
    );
    let many = start(
        "status",
        &text(&[("server_name", "main"), ("server_name", "other")]),
        &Places::default(),
    )
    .unwrap();
    assert_eq!(many.arguments, ["--", "main", "other"]);
    assert_eq!(many.scope, servers(&["main", "other"]));
}

#[test]
fn options_of_barman_itself_are_not_set_by_a_request() {
    for name in [
        "config",
        "c",
        "-c",
        "--config",
        "debug",
        "log_level",
        "log-level",
        "q",
        "quiet",
        "version",
        "help",
        "h",
        "color",
        "COLOUR",
        "format",
    ] {
        let error = refusal("backup", &[("server_name", "main"), (name, "true")]);
        assert!(matches!(error, ArgvError::Global { .. }), "{name}: {error}");
    }
    assert_eq!(argv("backup", &[("server_name", "main")]), ["--", "main"]);
}

#[test]
fn missing_positionals_are_named_and_none_slips_into_the_place_of_another() {
    let error = refusal("show-backup", &[("server_name", "main")]);
    assert_eq!(error.to_string(), "show-backup needs backup_id");
    malformed("backup", &[]);
    malformed(
        "sync-info",
        &[("server_name", "main"), ("last_position", "12")],
    );
    let wal = "000000010000000000000003";
    assert_eq!(
        argv(
            "sync-info",
            &[
                ("server_name", "main"),
                ("last_position", "12"),
                ("last_wal", wal)
            ]
        ),
        ["--", "main", wal, "12"]
    );
    assert_eq!(
        argv("sync-info", &[("server_name", "main")]),
        ["--", "main"]
    );
}

#[test]
fn all_stands_alone_and_only_where_several_servers_may() {
    let scope = |command: &str, names: &[&str]| {
        let pairs: Vec<_> = names.iter().map(|name| ("server_name", *name)).collect();
        start(command, &text(&pairs), &Places::default()).map(|invocation| invocation.scope)
    };
    assert_eq!(scope("list-backups", &["all"]), Ok(Scope::All));
    assert_eq!(
        scope("list-backups", &["main", "main"]),
        Ok(servers(&["main"]))
    );
    assert_eq!(
        scope("list-backups", &["main,other"]),
        Ok(servers(&["main,other"]))
    );
    assert_eq!(scope("diagnose", &[]), Ok(Scope::Global));
    for names in [&["all", "main"][..], &["main", "all"], &["all", "all"]] {
        assert!(scope("list-backups", names).is_err(), "{names:?}");
    }
    malformed(
        "show-backup",
        &[("server_name", "all"), ("backup_id", "latest")],
    );
}

#[test]
fn what_the_commands_file_does_not_know_is_for_full_access() {
    let mut catalogue = catalogue();
    let option = |flag: &str, takes| CommandOption {
        flags: vec![flag.to_owned()],
        takes,
        metavar: None,
        choices: Vec::new(),
        default: None,
        description: String::new(),
    };
    for name in ["backup", "status"] {
        let name = CommandName::parse(name).unwrap();
        let command = catalogue
            .commands
            .iter_mut()
            .find(|command| command.name == name)
            .unwrap();
        command.options.push(option("--brand-new", Takes::One));
        command.options.push(option("--new-flag", Takes::None));
        command.options.push(option("--config", Takes::One));
        command.options.push(option("-z", Takes::One));
    }
    let full = |command: &str, name: &str, value: &str| {
        let command = catalogue
            .find(&CommandName::parse(command).unwrap())
            .unwrap();
        let parameters = text(&[("server_name", "main"), (name, value)]);
        build(command, &Traits::builtin(), &parameters, &Places::default())
            .map(|invocation| invocation.requires_full.is_some())
    };
    assert_eq!(full("backup", "brand_new", "x"), Ok(true));
    assert_eq!(full("backup", "new_flag", "true"), Ok(false));
    assert_eq!(full("status", "brand_new", "x"), Ok(false));
    assert!(full("backup", "config", "/x/e").is_err());
    assert!(full("backup", "z", "x").is_err());
}
