//! What a caller of one server gets of another.

use super::Bench;

const WAL: &str = "000000010000000000000003";

#[test]
fn another_server_is_forbidden_in_every_spelling_and_whether_it_exists_or_not() {
    let bench = Bench::new(&[]);
    let user = bench.server.login("main");
    let mut messages = Vec::new();
    for name in [
        "other",
        "unknown",
        "all",
        "ALL",
        "main,other",
        "main other",
        "Main",
        "m*",
        "*",
    ] {
        messages.push(bench.refused(&user, 403, "list-backups", &[("server_name", name)]));
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
    let both = [("server_name", "main"), ("server_name", "other")];
    bench.refused(&user, 403, "list-backups", &both);
    bench.refused(&user, 403, "list-backups", &[both[1], both[0]]);
    for name in ["main\nother", " main", "main "] {
        bench.refused(&user, 400, "list-backups", &[("server_name", name)]);
    }
    for pairs in [
        &[("server_name", "main"), ("server_name", "all")],
        &[("server_name", "all"), ("server_name", "main")],
    ] {
        bench.refused(&user, 400, "list-backups", pairs);
    }
    bench.accepted(
        &user,
        "list-backups",
        &[("server_name", "main")],
        &["list-backups", "--", "main"],
    );
    let twice = [("server_name", "main"), ("server_name", "main")];
    bench.accepted(
        &user,
        "list-backups",
        &twice,
        &["list-backups", "--", "main", "main"],
    );
    let admin = bench.admin();
    bench.accepted(
        &admin,
        "list-backups",
        &both,
        &["list-backups", "--", "main", "other"],
    );
    bench.accepted(
        &admin,
        "list-backups",
        &[("server_name", "all")],
        &["list-backups", "--", "all"],
    );
    bench.logs_are_clean(&[&user, &admin]);
}

#[test]
fn a_wal_is_read_by_its_name_alone_and_written_nowhere() {
    let bench = Bench::new(&[]);
    let user = bench.server.login("main");
    for wal in [
        format!("../../other/wals/0000000100000000/{WAL}"),
        format!("/var/lib/barman/other/wals/0000000100000000/{WAL}"),
        format!("..\\..\\other\\wals\\{WAL}"),
        format!("%2e%2e%2f{WAL}"),
        format!("./{WAL}"),
        format!("{WAL}/"),
        WAL.to_lowercase() + "x",
        format!("{WAL}.gz"),
    ] {
        bench.refused(
            &user,
            400,
            "get-wal",
            &[("server_name", "main"), ("wal_name", &wal)],
        );
    }
    // What an encoded slash decodes to is looked at, not how it was written.
    let raw = format!("/barman/get-wal?server_name=main&wal_name=%2e%2e%2f{WAL}");
    bench.refuses(&user.get(&raw), 400, &raw);
    let pairs = [("server_name", "main"), ("wal_name", WAL)];
    bench.accepted(&user, "get-wal", &pairs, &["get-wal", "--", "main", WAL]);
    for name in ["output-directory", "output_directory", "OUTPUTDIRECTORY"] {
        let directory = bench.inside("other/wals/0000000100000000");
        let pairs = [pairs[0], pairs[1], (name, directory.as_str())];
        bench.refused(&user, 403, "get-wal", &pairs);
        bench.refused(&bench.admin(), 403, "get-wal", &pairs);
    }
    for name in ["o", "output", "-o", "--output-directory"] {
        bench.refused(&user, 400, "get-wal", &[pairs[0], pairs[1], (name, "/x")]);
    }
}

#[test]
fn a_restore_over_barmans_own_files_is_refused() {
    let bench = Bench::new(&[]);
    let user = bench.server.login("main");
    for directory in [
        "/var/lib/barman/other/base/20261120T214304",
        "/etc/barman.d",
        "/var/lib/barman/.ssh",
        "/etc/barmanapi",
    ] {
        let pairs = [
            ("server_name", "main"),
            ("backup_id", "latest"),
            ("destination_directory", directory),
        ];
        bench.refused(&user, 403, "restore", &pairs);
    }
    let inside = bench.inside("r");
    let pairs = [
        ("server_name", "main"),
        ("backup_id", "latest"),
        ("destination_directory", inside.as_str()),
    ];
    bench.accepted(
        &user,
        "restore",
        &pairs,
        &["restore", "--", "main", "latest", &inside],
    );
    // The same restore of a server that is not the caller's.
    let pairs = [("server_name", "other"), pairs[1], pairs[2]];
    bench.refused(&user, 403, "restore", &pairs);
}
