//! What single commands ask for beyond the form of their parameters.

use super::*;

#[test]
fn a_part_of_last_failed_deletes_nothing() {
    for command in ["show-backup", "delete", "list-files"] {
        for id in ["", "a", "-", "last-", "failed", "fail", "auto", "latest "] {
            malformed(command, &[("server_name", "main"), ("backup_id", id)]);
        }
        for id in ["last-failed", "latest", "20261120T214304", "nightly"] {
            assert_eq!(
                argv(command, &[("server_name", "main"), ("backup_id", id)]),
                ["--", "main", id]
            );
        }
    }
    malformed(
        "backup",
        &[("server_name", "main"), ("incremental", "fail")],
    );
    assert_eq!(
        argv(
            "backup",
            &[("server_name", "main"), ("incremental", "latest-full")]
        ),
        ["--incremental=latest-full", "--", "main"]
    );
}

#[test]
fn a_wal_of_another_server_is_not_named() {
    for wal in [
        "../../other/wals/0000000100000000/000000010000000000000003",
        "/x/000000010000000000000003",
        "..\\x",
    ] {
        malformed("get-wal", &[("server_name", "main"), ("wal_name", wal)]);
    }
    let wal = "000000010000000000000003";
    for name in ["output-directory", "OUTPUT_DIRECTORY"] {
        forbidden(
            "get-wal",
            &[("server_name", "main"), ("wal_name", wal), (name, "/tmp")],
        );
    }
    malformed(
        "get-wal",
        &[("server_name", "main"), ("wal_name", wal), ("o", "/tmp")],
    );
    assert_eq!(
        argv(
            "get-wal",
            &[("server_name", "main"), ("wal_name", wal), ("peek", "3")]
        ),
        ["--peek=3", "--", "main", wal]
    );
}

#[test]
fn keep_and_config_switch_need_exactly_one_of_their_ways() {
    let keep = [("server_name", "main"), ("backup_id", "latest")];
    let with = |more: &[(&'static str, &'static str)]| [&keep[..], more].concat();
    malformed("keep", &keep);
    malformed("keep", &with(&[("release", "true"), ("target", "full")]));
    malformed("keep", &with(&[("status", "false")]));
    malformed("keep", &with(&[("target", "standby")]));
    assert_eq!(
        argv("keep", &with(&[("target", "full")])),
        ["--target=full", "--", "main", "latest"]
    );
    assert_eq!(
        argv("keep", &with(&[("release", "true"), ("status", "false")])),
        ["--release", "--", "main", "latest"]
    );
    malformed("config-switch", &[("server_name", "main")]);
    malformed(
        "config-switch",
        &[
            ("server_name", "main"),
            ("model_name", "m"),
            ("reset", "true"),
        ],
    );
    malformed(
        "config-switch",
        &[("server_name", "main"), ("model_name", "a]b")],
    );
    let model = start(
        "config-switch",
        &text(&[("server_name", "main"), ("model_name", "main:m")]),
        &Places::default(),
    )
    .unwrap();
    assert_eq!(model.arguments, ["--", "main", "main:m"]);
    assert!(model.requires_full.is_some() && model.or_written_out);
    let reset = start(
        "config-switch",
        &text(&[("server_name", "main"), ("reset", "true")]),
        &Places::default(),
    )
    .unwrap();
    assert_eq!(reset.requires_full, None);
    assert!(!reset.or_written_out);
}

#[test]
fn commands_of_database_hosts_are_off_until_the_configuration_names_them() {
    let push = text(&[
        ("server_name", "main"),
        ("wal_path", "/home/barman/.ssh/000000010000000000000001"),
    ]);
    for (command, parameters) in [
        ("put-wal", text(&[("server_name", "main")])),
        ("cloud-wal-archive", push.clone()),
        ("cloud-wal-restore", text(&[])),
    ] {
        let error = start(command, &parameters, &Places::default()).unwrap_err();
        assert!(
            matches!(error, ArgvError::NotAllowed { .. }) && error.is_forbidden(),
            "{error}"
        );
    }
    let places = Places {
        allow_commands: vec![
            CommandName::parse("put-wal").unwrap(),
            CommandName::parse("cloud-wal-archive").unwrap(),
        ],
        ..Places::default()
    };
    let put = start("put-wal", &text(&[("server_name", "main")]), &places).unwrap();
    assert_eq!(put.arguments, ["--", "main"]);
    assert!(
        start("cloud-wal-archive", &push, &places)
            .unwrap()
            .requires_full
            .is_some()
    );
    assert!(start("cloud-wal-restore", &text(&[]), &places).is_err());
}

#[test]
fn a_configuration_update_carries_its_servers() {
    let json = r#"[{"scope":"server","server_name":"main","description":"x"}]"#;
    let update = start(
        "config-update",
        &text(&[("json_changes", json)]),
        &Places::default(),
    )
    .unwrap();
    assert_eq!(update.arguments, ["--", json]);
    assert_eq!(update.scope, servers(&["main"]));
    forbidden(
        "config-update",
        &[(
            "json_changes",
            r#"[{"scope":"server","server_name":"main","pre_backup_script":"id"}]"#,
        )],
    );
    malformed("config-update", &[("json_changes", "[1]")]);
    malformed(
        "config-update",
        &[("json_changes", &format!("[{}]", "1,".repeat(40_000)))],
    );
}

#[test]
fn exports_and_imports_stay_in_the_exchange_directory() {
    let root = tempfile::tempdir().unwrap();
    let exchange = root.path().join("exchange");
    std::fs::create_dir(&exchange).unwrap();
    std::os::unix::fs::symlink("/etc", exchange.join("etc")).unwrap();
    let places = Places {
        exchange_directory: Some(exchange.clone()),
        ..Places::default()
    };
    let export = |directory: PathBuf, places: &Places| {
        let directory = directory.to_str().unwrap().to_owned();
        let pairs = [
            ("server_name", "main"),
            ("backup_id", "latest"),
            ("output_directory", directory.as_str()),
        ];
        start("export-backup", &text(&pairs), places)
    };
    let import = |file: PathBuf| {
        let file = file.to_str().unwrap().to_owned();
        start(
            "import-backup",
            &text(&[("server_name", "main"), ("input_tarball", file.as_str())]),
            &places,
        )
    };
    assert!(
        export(exchange.clone(), &Places::default())
            .unwrap_err()
            .is_forbidden()
    );
    for directory in [
        "/etc/cron.d".into(),
        exchange.join("etc"),
        exchange.join("etc/cron.d"),
        root.path().to_owned(),
    ] {
        assert!(export(directory, &places).unwrap_err().is_forbidden());
    }
    for file in [
        "/etc/shadow".into(),
        exchange.join("etc/shadow"),
        exchange.clone(),
    ] {
        assert!(import(file).unwrap_err().is_forbidden());
    }
    assert!(
        !export(exchange.join("../x"), &places)
            .unwrap_err()
            .is_forbidden()
    );
    let inside = exchange.join("x");
    let started = export(inside.clone(), &places).unwrap();
    assert_eq!(
        started.arguments,
        ["--", "main", "latest", inside.to_str().unwrap()]
    );
    assert_eq!(started.requires_full, None);
    assert!(import(exchange.join("backup-export-main.tar")).is_ok());
    assert!(export(exchange, &places).is_ok());
}
