//! Values: of servers, backups, names and recovery targets.

use serde_json::json;

use super::Bench;

/// Texts that a shell would read as more than themselves.
const SHELL: &[&str] = &[
    "; id", "$(id)", "`id`", "| id", "&& id", "a\"b", "a'b", "a\\b", "*", "~", "!x", "${HOME}",
    "#c", ">y", "ä", "😀", "a b", "%s", "$IFS", "\\x41",
];

#[test]
fn shell_characters_name_no_server_and_reach_barman_byte_for_byte_where_they_do() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    for name in SHELL {
        bench.refused(&admin, 404, "list-backups", &[("server_name", name)]);
    }
    bench.refused(&admin, 400, "list-backups", &[("server_name", "a\tb")]);
    bench.accepted(
        &admin,
        "list-backups",
        &[("server_name", "main")],
        &["list-backups", "--", "main"],
    );
    bench.logs_are_clean(&[&admin]);

    let named = Bench::with(&json!({ "servers": SHELL }), &[]);
    let admin = named.admin();
    for name in SHELL {
        named.accepted(
            &admin,
            "list-backups",
            &[("server_name", name)],
            &["list-backups", "--", name],
        );
    }
}

#[test]
fn a_value_never_becomes_an_option() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let inside = bench.inside("r");
    for smuggled in [
        "--remote-ssh-command=touch /x/P",
        "--rem=touch /x/P",
        "-c/x/e",
        "-h",
        "--",
        "-",
    ] {
        for place in 0..3 {
            let mut values = ["main", "latest", inside.as_str()];
            values[place] = smuggled;
            let [server, backup, directory] = values;
            let pairs = [
                ("server_name", server),
                ("backup_id", backup),
                ("destination_directory", directory),
            ];
            bench.refused(&admin, 400, "restore", &pairs);
        }
        bench.refused(
            &admin,
            400,
            "list-backups",
            &[("server_name", "main"), ("server_name", smuggled)],
        );
    }
    let pairs = [
        ("server_name", "main"),
        ("backup_id", "latest"),
        ("destination_directory", inside.as_str()),
    ];
    bench.accepted(
        &admin,
        "restore",
        &pairs,
        &["restore", "--", "main", "latest", &inside],
    );
    // The value of an option is part of the option's own word.
    let pairs = [pairs[0], pairs[1], pairs[2], ("target_name", "-x")];
    let expected = [
        "restore",
        "--target-name=-x",
        "--",
        "main",
        "latest",
        &inside,
    ];
    bench.accepted(&admin, "restore", &pairs, &expected);
    let pairs = [pairs[0], pairs[1], pairs[2], ("target_name", "--get-wal")];
    let expected = [
        "restore",
        "--target-name=--get-wal",
        "--",
        "main",
        "latest",
        &inside,
    ];
    bench.accepted(&admin, "restore", &pairs, &expected);
    bench.logs_are_clean(&[&admin]);
}

#[test]
fn parts_of_barmans_words_are_no_backup() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let commands = [
        "show-backup",
        "delete",
        "list-files",
        "check-backup",
        "verify-backup",
        "generate-manifest",
    ];
    for command in commands {
        for id in ["", "a", "-", "last-", "failed", "t-f", "../20261120T214304"] {
            bench.refused(
                &admin,
                400,
                command,
                &[("server_name", "main"), ("backup_id", id)],
            );
        }
        let pairs = [("server_name", "main"), ("backup_id", "last-failed")];
        bench.accepted(
            &admin,
            command,
            &pairs,
            &[command, "--", "main", "last-failed"],
        );
    }
    let pairs = |id| [("server_name", "main"), ("backup_id", id)];
    bench.refused(&admin, 400, "show-backup", &pairs("auto"));
    for id in ["20261120T214304", "nightly.1"] {
        bench.accepted(
            &admin,
            "show-backup",
            &pairs(id),
            &["show-backup", "--", "main", id],
        );
    }
    let inside = bench.inside("r");
    let restore = |id| {
        [
            ("server_name", "main"),
            ("backup_id", id),
            ("destination_directory", inside.as_str()),
        ]
    };
    for id in ["", "a", "failed"] {
        bench.refused(&admin, 400, "restore", &restore(id));
    }
    bench.accepted(
        &admin,
        "restore",
        &restore("auto"),
        &["restore", "--", "main", "auto", &inside],
    );
}

#[test]
fn a_backups_name_has_one_line_and_no_more_than_a_name() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    for name in [
        "a\nb",
        "a\rb",
        "a\u{85}b",
        "a\u{2028}b",
        "a\u{2029}b",
        "a\u{b}b",
        "a\u{c}b",
        "a\u{1b}[1mb",
        "a=b",
        "a b",
        "a\nstatus=DONE\nserver_name=other",
        "-x",
        ".x",
        "latest",
        "20261120T214304",
        "last-",
        "",
        &"x".repeat(65),
    ] {
        bench.refused(
            &admin,
            400,
            "backup",
            &[("server_name", "main"), ("name", name)],
        );
    }
    let longest = "x".repeat(64);
    for name in ["a.b", longest.as_str()] {
        let pairs = [("server_name", "main"), ("name", name)];
        bench.accepted(
            &admin,
            "backup",
            &pairs,
            &["backup", &format!("--name={name}"), "--", "main"],
        );
    }
    bench.accepted(
        &admin,
        "list-backups",
        &[("server_name", "main")],
        &["list-backups", "--", "main"],
    );
}

#[test]
fn recovery_targets_hold_no_line_of_configuration() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let inside = bench.inside("r");
    for (name, illegal, legal) in [
        (
            "target-name",
            "x'\narchive_command = 'id",
            "before release 1.2",
        ),
        ("target-name", "x'", "x"),
        ("target-xid", "1'\nx", "123456"),
        ("target-xid", "-1", "0"),
        ("target-lsn", "3/64000000'", "3/64000000"),
        ("target-time", "now' x", "2026-11-20 21:43:04+00:00"),
        ("target-tli", "1;2", "latest"),
        ("target-action", "promote x", "promote"),
        ("recovery-option-port", "5432 -c x", "5432"),
        ("recovery-option-port", "65536", "65535"),
        ("recovery-conf-filename", "../../x", "postgresql.auto.conf"),
        ("recovery-conf-filename", ".x", "x"),
        ("recovery-conf-filename", "a/b", "a_b"),
        ("jobs", "2 --get-wal", "2"),
        ("bwlimit", "1e3", "1000"),
    ] {
        let restore = |value| {
            [
                ("server_name", "main"),
                ("backup_id", "latest"),
                ("destination_directory", inside.as_str()),
                (name, value),
            ]
        };
        bench.refused(&admin, 400, "restore", &restore(illegal));
        let option = format!("--{name}={legal}");
        let expected = ["restore", &option, "--", "main", "latest", &inside];
        bench.accepted(&admin, "restore", &restore(legal), &expected);
    }
    bench.logs_are_clean(&[&admin]);
}
