//! Values stay values, of the right type and size.

use super::*;

#[test]
fn options_are_joined_and_positionals_stand_behind_two_hyphens() {
    assert_eq!(
        argv(
            "backup",
            &[
                ("server_name", "main"),
                ("wait", "true"),
                ("jobs", "2"),
                ("name", "nightly"),
                ("no-retry", "false")
            ],
        ),
        ["--jobs=2", "--wait", "--name=nightly", "--", "main"]
    );
    assert_eq!(argv("list-servers", &[]), [""; 0]);
    assert_eq!(argv("list-servers", &[("minimal", "TRUE")]), ["--minimal"]);
}

#[test]
fn a_value_of_a_positional_never_becomes_an_option() {
    for value in ["--remote-ssh-command=touch /x/P", "-", "--", "-x", "--help"] {
        malformed(
            "show-backup",
            &[("server_name", "main"), ("backup_id", value)],
        );
        malformed(
            "show-backup",
            &[("server_name", value), ("backup_id", "latest")],
        );
    }
    assert_eq!(
        argv(
            "show-backup",
            &[("server_name", "main"), ("backup_id", "latest")]
        ),
        ["--", "main", "latest"]
    );
}

#[test]
fn a_value_of_an_option_that_begins_with_a_hyphen_stays_a_value() {
    let places = restores::local();
    let restore = |name: &str| {
        start(
            "restore",
            &text(&[
                ("server_name", "main"),
                ("backup_id", "latest"),
                ("destination_directory", "/srv/r/x"),
                ("target-name", name),
            ]),
            &places,
        )
    };
    assert_eq!(
        restore("-x").unwrap().arguments,
        ["--target-name=-x", "--", "main", "latest", "/srv/r/x"]
    );
    assert!(!restore("-x'").unwrap_err().is_forbidden());
}

#[test]
fn nul_control_characters_and_line_ends_pass_nowhere() {
    for bad in [
        "a\0",
        "a\nb",
        "a\rb",
        "a\u{85}b",
        "a\u{2028}b",
        "a\u{b}b",
        "a\nstatus=DONE\nserver_name=other",
        "a\u{1b}[0m",
    ] {
        malformed("backup", &[("server_name", "main"), ("name", bad)]);
        malformed("backup", &[("server_name", bad)]);
        malformed(
            "terminate-process",
            &[("server_name", "main"), ("task", bad)],
        );
        malformed(
            "show-backup",
            &[("server_name", "main"), ("backup_id", bad)],
        );
    }
    assert_eq!(
        argv("backup", &[("server_name", "main"), ("name", "a.b")]),
        ["--name=a.b", "--", "main"]
    );
}

#[test]
fn shell_characters_in_a_server_name_stay_one_argument() {
    for name in [
        "; id", "$(id)", "`id`", "| id", "a\"b", "a'b", "a\\b", "*", "~", "${HOME}", "#c", ">y",
        "ä", "😀",
    ] {
        let name = name.trim();
        assert_eq!(argv("list-backups", &[("server_name", name)]), ["--", name]);
    }
}

#[test]
fn what_is_too_big_is_refused_and_what_just_fits_is_not() {
    malformed("list-backups", &[("server_name", &"a".repeat(200 * 1024))]);
    malformed("list-backups", &[("server_name", &"a".repeat(256))]);
    let many = |count: usize| {
        let names = (0..count).map(|index| format!("s{index}")).collect();
        start(
            "list-backups",
            &[("server_name".to_owned(), Value::List(names))],
            &Places::default(),
        )
    };
    assert_eq!(many(201).unwrap_err(), ArgvError::TooMany);
    assert_eq!(many(10_000).unwrap_err(), ArgvError::TooMany);
    assert_eq!(many(200).unwrap().arguments.len(), 201);
    assert!(
        start(
            "list-backups",
            &text(&vec![("server_name", "s"); 201]),
            &Places::default()
        )
        .is_err()
    );
}

#[test]
fn json_values_of_the_wrong_type_are_refused() {
    let odd = [
        Value::Number("1".into()),
        Value::Bool(true),
        Value::List(vec!["a".into()]),
        Value::List(Vec::new()),
    ];
    for value in &odd {
        let parameters = |name: &str| {
            let mut parameters = text(&[("server_name", "main"), ("backup_id", "latest")]);
            parameters.retain(|(known, _)| known != name);
            parameters.push((name.to_owned(), value.clone()));
            parameters
        };
        for name in ["server_name", "backup_id"] {
            let error = start("delete", &parameters(name), &Places::default()).unwrap_err();
            assert!(!error.is_forbidden(), "{name} {value:?}");
        }
        let flag = start(
            "list-servers",
            &[("minimal".to_owned(), value.clone())],
            &Places::default(),
        );
        assert_eq!(flag.is_ok(), *value == Value::Bool(true), "{value:?}");
    }
    let jobs = |value: Value| {
        let mut parameters = text(&[("server_name", "main")]);
        parameters.push(("jobs".to_owned(), value));
        start("backup", &parameters, &Places::default()).map(|invocation| invocation.arguments)
    };
    assert_eq!(
        jobs(Value::Number("2".into())).unwrap(),
        ["--jobs=2", "--", "main"]
    );
    for number in ["-0", "-1", "1e400", "1.5", "1e2", "99999999999999999999"] {
        assert!(jobs(Value::Number(number.into())).is_err(), "{number}");
    }
    assert!(jobs(Value::Bool(true)).is_err());
    let list = Value::List(vec!["a".into(), "b".into()]);
    let names = start(
        "status",
        &[("server_name".to_owned(), list)],
        &Places::default(),
    )
    .unwrap();
    assert_eq!(names.scope, servers(&["a", "b"]));
}

#[test]
fn flags_take_true_and_false_and_nothing_else() {
    for value in ["yes", "1", "on", "", "True", "tRUE", "x"] {
        malformed("list-servers", &[("minimal", value)]);
    }
    assert_eq!(argv("list-servers", &[("minimal", "FALSE")]), [""; 0]);
}

#[test]
fn an_optional_value_is_joined_bare_or_absent() {
    let reuse = |value: &str| {
        argv(
            "backup",
            &[("server_name", "main"), ("reuse_backup", value)],
        )
    };
    assert_eq!(reuse("copy"), ["--reuse-backup=copy", "--", "main"]);
    assert_eq!(reuse("true"), ["--reuse-backup", "--", "main"]);
    assert_eq!(reuse("false"), ["--", "main"]);
    malformed(
        "backup",
        &[("server_name", "main"), ("reuse_backup", "main")],
    );
}

#[test]
fn the_one_text_that_argparse_drops_is_no_value() {
    let mut places = restores::local();
    places
        .allow_commands
        .push(CommandName::parse("cloud-wal-restore").unwrap());
    let with = |spool: &str| {
        let pairs = [
            ("server_name", "main"),
            ("wal_name", "000000010000000000000003"),
            ("wal_dest", "/x"),
            ("spool_dir", spool),
        ];
        start("cloud-wal-restore", &text(&pairs), &places)
    };
    for spool in ["-", "---", "--x"] {
        let wanted = format!("--spool-dir={spool}");
        assert!(with(spool).unwrap().arguments.contains(&wanted));
    }
    assert!(matches!(with("--"), Err(ArgvError::Value { .. })));
}
