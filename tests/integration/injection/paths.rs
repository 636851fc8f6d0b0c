//! Paths and programs of the Barman host and of restore targets.

use std::os::unix::fs::symlink;

use super::{Bench, SSH_COMMAND};

/// A restore of the newest backup of `main`, with one more parameter.
fn restore<'a>(directory: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut pairs = vec![
        ("server_name", "main"),
        ("backup_id", "latest"),
        ("destination_directory", directory),
    ];
    pairs.extend(more);
    pairs
}

#[test]
fn a_restore_goes_into_an_allowed_directory_and_nowhere_else() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let root = bench.root.display().to_string();
    symlink("/etc", bench.root.join("out")).unwrap();
    symlink("/nowhere/at/all", bench.root.join("dangling")).unwrap();
    std::fs::create_dir(bench.root.join("dir")).unwrap();
    symlink("dir", bench.root.join("in")).unwrap();
    let long = bench.inside(&"x".repeat(4096));
    for (status, directory) in [
        (400, "x"),
        (400, "./x"),
        (400, "~/x"),
        (400, &format!("{root}/../../etc")),
        (400, &format!("{root}/./x")),
        (400, &format!("{root}//x")),
        (400, &format!("{root}/x/")),
        (400, &format!("{root}/a b")),
        (400, &format!("{root}/$(id)")),
        (400, &format!("{root}/x\0")),
        (400, &format!("{root}/x\ny")),
        (400, &long),
        (403, &bench.inside("out")),
        (403, &bench.inside("out/x")),
        (403, &bench.inside("dangling")),
        (403, &bench.inside("dangling/x")),
        (403, &format!("{root}x")),
        (403, "/etc"),
        (403, "/"),
    ] {
        let status = if directory == "/" { 400 } else { status };
        bench.refused(&admin, status, "restore", &restore(directory, &[]));
    }
    for directory in [
        root.clone(),
        bench.inside("new/deep"),
        bench.inside("in/x"),
        bench.inside("dir"),
    ] {
        let expected = ["restore", "--", "main", "latest", &directory];
        bench.accepted(&admin, "restore", &restore(&directory, &[]), &expected);
    }
    // By any of its names the same rule holds, and the canonical name runs.
    bench.refused(&admin, 403, "recover", &restore("/etc", &[]));
    let inside = bench.inside("r");
    bench.accepted(
        &admin,
        "recover",
        &restore(&inside, &[]),
        &["restore", "--", "main", "latest", &inside],
    );
    bench.logs_are_clean(&[&admin]);
}

#[test]
fn only_the_command_of_a_configured_target_reaches_another_host() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let inside = bench.inside("r");
    for command in [
        "id > /x/P; false",
        "ssh postgres@db3",
        "ssh postgres@db2 ",
        "ssh  postgres@db2",
        "SSH postgres@db2",
        "ssh postgres@db2; id",
        "ssh -o ProxyCommand=id postgres@db2",
    ] {
        let pairs = restore(&inside, &[("remote_ssh_command", command)]);
        bench.refused(&admin, 403, "restore", &pairs);
    }
    let option = format!("--remote-ssh-command={SSH_COMMAND}");
    let expected = ["restore", &option, "--", "main", "latest", &inside];
    bench.accepted(
        &admin,
        "restore",
        &restore(&inside, &[("remote_ssh_command", SSH_COMMAND)]),
        &expected,
    );
    bench.accepted(
        &admin,
        "restore",
        &restore(&inside, &[("target", "there")]),
        &expected,
    );
    let local = ["restore", "--", "main", "latest", &inside];
    bench.accepted(
        &admin,
        "restore",
        &restore(&inside, &[("target", "here")]),
        &local,
    );
    bench.refused(
        &admin,
        403,
        "restore",
        &restore(&inside, &[("target", "nowhere")]),
    );
    let both = restore(
        &inside,
        &[("target", "there"), ("remote_ssh_command", SSH_COMMAND)],
    );
    bench.refused(&admin, 400, "restore", &both);
    bench.refused(
        &admin,
        403,
        "restore",
        &restore("/etc", &[("target", "there")]),
    );
}

#[test]
fn every_further_path_of_a_restore_is_held_to_the_same_directories() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let (inside, other) = (bench.inside("r"), bench.inside("other"));
    for (name, value) in [
        ("tablespace", "x:/etc"),
        ("staging-wal-directory", "/etc"),
        ("staging-path", "/etc"),
        ("local-staging-path", "/etc"),
        ("recovery-staging-path", "/etc"),
        ("restore-command", "id"),
        ("snapshot-recovery-instance", "x"),
        ("snapshot-recovery-zone", "x"),
        ("gcp-zone", "x"),
        ("azure-resource-group", "x"),
        ("aws-region", "x"),
    ] {
        bench.refused(&admin, 403, "restore", &restore(&inside, &[(name, value)]));
    }
    let above = bench.root.display().to_string();
    for (name, value) in [
        ("tablespace", "x:etc"),
        ("tablespace", "x"),
        ("tablespace", &format!("x'y:{other}")),
        ("staging-wal-directory", &format!("{other};id")),
        // PostgreSQL removes it in the end, and the restore with it.
        ("staging-wal-directory", inside.as_str()),
        ("staging-wal-directory", &above),
    ] {
        bench.refused(&admin, 400, "restore", &restore(&inside, &[(name, value)]));
    }
    let mapped = format!("ts 1:{other}");
    for (name, value) in [
        ("tablespace", &mapped),
        ("staging-wal-directory", &other),
        ("staging-path", &other),
        ("local-staging-path", &other),
        ("recovery-staging-path", &other),
    ] {
        let option = format!("--{name}={value}");
        let expected = ["restore", &option, "--", "main", "latest", &inside];
        bench.accepted(
            &admin,
            "restore",
            &restore(&inside, &[(name, value)]),
            &expected,
        );
    }
    let two = restore(
        &inside,
        &[("tablespace", &mapped), ("tablespace", "y:/etc")],
    );
    bench.refused(&admin, 403, "restore", &two);
    // Names of cloud places and directories of a backup are refused in the same way.
    let cloud = [("server_name", "main"), ("cloud_staging_directory", "/tmp")];
    bench.refused(&admin, 403, "backup", &cloud);
}

#[test]
fn exports_and_imports_stay_in_the_exchange_directory() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let exchange = bench.exchange.display().to_string();
    std::fs::write(bench.exchange.join("b.tar"), "").unwrap();
    symlink("/etc/shadow", bench.exchange.join("shadow")).unwrap();
    let export = |directory| {
        [
            ("server_name", "main"),
            ("backup_id", "latest"),
            ("output_directory", directory),
        ]
    };
    bench.refused(&admin, 403, "export-backup", &export("/etc/cron.d"));
    bench.refused(&admin, 400, "export-backup", &export("x"));
    bench.accepted(
        &admin,
        "export-backup",
        &export(&exchange),
        &["export-backup", "--", "main", "latest", &exchange],
    );
    let import = |file| [("server_name", "main"), ("input_tarball", file)];
    let link = format!("{exchange}/shadow");
    bench.refused(&admin, 403, "import-backup", &import("/etc/shadow"));
    bench.refused(&admin, 403, "import-backup", &import(&link));
    bench.refused(&admin, 403, "import-backup", &import(&exchange));
    let file = format!("{exchange}/b.tar");
    bench.accepted(
        &admin,
        "import-backup",
        &import(&file),
        &["import-backup", "--", "main", &file],
    );
}

#[test]
fn commands_of_database_hosts_are_off_until_the_configuration_names_them() {
    let path = "/home/barman/.ssh/000000010000000000000001";
    let archive = [("server_name", "main"), ("wal_path", path)];
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    bench.refused(&admin, 403, "cloud-wal-archive", &archive);
    bench.refused(&admin, 403, "put-wal", &[("server_name", "main")]);
    let wal = [
        ("server_name", "main"),
        ("wal_name", "000000010000000000000001"),
        ("wal_dest", "/x"),
    ];
    bench.refused(&admin, 403, "cloud-wal-restore", &wal);

    let allowed = Bench::new(&["barman.allow_commands = cloud-wal-archive"]);
    let admin = allowed.admin();
    allowed.refused(&admin, 403, "put-wal", &[("server_name", "main")]);
    allowed.refused(
        &allowed.server.login("main"),
        403,
        "cloud-wal-archive",
        &archive,
    );
    allowed.accepted(
        &admin,
        "cloud-wal-archive",
        &archive,
        &["cloud-wal-archive", "--", "main", path],
    );
}

#[test]
fn standard_input_never_comes_from_a_request() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let tar = ("Content-Type", "application/octet-stream");
    let big = vec![b'x'; 10 << 20];
    for target in [
        "/barman/put-wal?server_name=main",
        "/barman/list-backups?server_name=main",
    ] {
        for body in [&big[..], &big[..1000]] {
            let answer = admin.server.try_request(
                "POST",
                target,
                &[("Authorization", &format!("Bearer {}", admin.token)), tar],
                body,
            );
            // A server may close the connection while a body that it refused is still sent.
            if let Some(answer) = answer {
                let status = if body.len() > 1000 { 413 } else { 415 };
                bench.refuses(&answer, status, target);
            }
            assert!(bench.new_starts().is_empty());
        }
    }
    // `runs` looks at the standard input of each start.
    bench.accepted(
        &admin,
        "list-backups",
        &[("server_name", "main")],
        &["list-backups", "--", "main"],
    );
}
