//! Restores go only where a target lets them.

use std::path::Path;
use std::sync::Arc;

use super::*;

/// A host on which every path leads to itself.
#[derive(Debug)]
struct ByText;

impl Resolve for ByText {
    fn resolve(&self, path: &Path) -> Result<PathBuf, ResolveError> {
        Ok(path.components().collect())
    }
}

/// A target on the Barman host, compared by text, so that no directory has to exist.
pub(super) fn local() -> Places {
    Places {
        elsewhere: Some(Arc::new(ByText)),
        targets: vec![target("here", "", &["/srv/r"])],
        ..Places::default()
    }
}

fn both() -> Places {
    let mut places = local();
    places
        .targets
        .push(target("db2", "ssh postgres@db2", &["/var/lib/pg", "/ts"]));
    places
}

fn target(name: &str, ssh_command: &str, directories: &[&str]) -> Target {
    Target {
        name: name.into(),
        ssh_command: ssh_command.into(),
        directories: directories.iter().map(PathBuf::from).collect(),
    }
}

fn restore(
    destination: &str,
    more: &[(&str, &str)],
    places: &Places,
) -> Result<Vec<String>, ArgvError> {
    let mut pairs = vec![
        ("server_name", "main"),
        ("backup_id", "auto"),
        ("destination_directory", destination),
    ];
    pairs.extend(more);
    start("restore", &text(&pairs), places).map(|invocation| invocation.arguments)
}

#[track_caller]
fn denied(destination: &str, more: &[(&str, &str)], places: &Places) {
    let error = restore(destination, more, places).unwrap_err();
    assert!(error.is_forbidden(), "{destination} {more:?}: {error}");
}

#[track_caller]
fn invalid(destination: &str, more: &[(&str, &str)], places: &Places) {
    let error = restore(destination, more, places).unwrap_err();
    assert!(!error.is_forbidden(), "{destination} {more:?}: {error}");
}

#[test]
fn without_a_target_a_restore_is_refused_and_told_what_to_write() {
    let error = restore("/srv/r/x", &[], &Places::default()).unwrap_err();
    assert!(error.is_forbidden());
    let told = error.to_string();
    for word in ["[target:NAME]", "ssh_command", "directories"] {
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn a_restore_on_the_barman_host_stays_inside_its_directories() {
    let places = both();
    assert_eq!(
        restore("/srv/r/x", &[], &places).unwrap(),
        ["--", "main", "auto", "/srv/r/x"]
    );
    assert_eq!(
        restore("/srv/r", &[("target", "here")], &places).unwrap(),
        ["--", "main", "auto", "/srv/r"]
    );
    for path in ["/etc", "/srv", "/srv/rx", "/var/lib/pg/x"] {
        denied(path, &[], &places);
    }
    for path in [
        "x",
        "./x",
        "/srv/r/../../etc",
        "/srv/r//x",
        "/srv/r/.",
        "/srv/r/x/",
        "/srv/r/a b",
        "/srv/r/$(id)",
        "/srv/r/x;id",
        "/srv/r/%p",
    ] {
        invalid(path, &[], &places);
    }
    invalid(&format!("/srv/r/{}", "a".repeat(4096)), &[], &places);
    invalid("/srv/r/x\0", &[], &places);
}

#[test]
fn a_link_inside_the_directory_does_not_lead_a_restore_out() {
    let root = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(root.path()).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let places = Places {
        targets: vec![target("here", "", &[root.to_str().unwrap()])],
        ..Places::default()
    };
    denied(&path("link"), &[], &places);
    denied(&path("link/x"), &[], &places);
    denied(
        &path("x"),
        &[("tablespace", &format!("ts:{}", path("link/ts")))],
        &places,
    );
    assert_eq!(
        restore(&path("x"), &[], &places).unwrap(),
        ["--", "main", "auto", &path("x")]
    );
}

#[test]
fn only_the_exact_command_of_a_target_is_run() {
    let places = both();
    let wanted = [
        "--remote-ssh-command=ssh postgres@db2",
        "--",
        "main",
        "auto",
        "/var/lib/pg/x",
    ];
    assert_eq!(
        restore("/var/lib/pg/x", &[("target", "db2")], &places).unwrap(),
        wanted
    );
    let same = [("remote_ssh_command", "ssh postgres@db2")];
    assert_eq!(restore("/var/lib/pg/x", &same, &places).unwrap(), wanted);
    for command in [
        "id > /x/P; false",
        "ssh postgres@db2 ",
        "ssh  postgres@db2",
        "ssh postgres@db2 -o ProxyCommand=id",
        "SSH postgres@db2",
    ] {
        denied("/var/lib/pg/x", &[("remote_ssh_command", command)], &places);
    }
    denied("/srv/r/x", &same, &places);
    denied("/srv/r/x", &[("target", "db2")], &places);
    denied("/srv/r/x", &[("target", "nosuch")], &places);
    invalid("/srv/r/x", &[("remote_ssh_command", "")], &places);
    invalid("/var/lib/pg/x", &[("target", "db2"), same[0]], &places);
}

#[test]
fn tablespaces_and_staging_stay_inside_too() {
    let places = both();
    let destination = "/var/lib/pg/x";
    let db2 = |more: &[(&'static str, &'static str)]| [&[("target", "db2")], more].concat();
    let two = restore(
        destination,
        &db2(&[("tablespace", "a:/ts/a"), ("tablespace", "b:/ts/b")]),
        &places,
    )
    .unwrap();
    assert_eq!(two[..2], ["--tablespace=a:/ts/a", "--tablespace=b:/ts/b"]);
    denied(destination, &db2(&[("tablespace", "x:/etc")]), &places);
    denied(
        destination,
        &db2(&[("tablespace", "a:/ts/a"), ("tablespace", "x:/srv/r/x")]),
        &places,
    );
    invalid(
        destination,
        &db2(&[("tablespace", "x:/ts/../etc")]),
        &places,
    );
    invalid(destination, &db2(&[("tablespace", "/ts/x")]), &places);
    for (name, inside, outside) in [
        ("staging_wal_directory", "/var/lib/pg/wal", "/srv/r/wal"),
        ("recovery_staging_path", "/var/lib/pg/s", "/srv/r/s"),
        ("local_staging_path", "/srv/r/s", "/var/lib/pg/s"),
    ] {
        assert!(
            restore(destination, &db2(&[(name, inside)]), &places).is_ok(),
            "{name}"
        );
        denied(destination, &db2(&[(name, outside)]), &places);
        invalid(destination, &db2(&[(name, "s")]), &places);
        invalid(destination, &db2(&[(name, "/srv/r/$(id)")]), &places);
    }
    for (place, inside, outside) in [
        ("local", "/srv/r/s", "/var/lib/pg/s"),
        ("remote", "/var/lib/pg/s", "/srv/r/s"),
    ] {
        let stage = |path| db2(&[("staging_location", place), ("staging_path", path)]);
        assert!(restore(destination, &stage(inside), &places).is_ok());
        denied(destination, &stage(outside), &places);
    }
    invalid(
        destination,
        &db2(&[("staging_path", "/var/lib/pg/s")]),
        &places,
    );
    assert!(restore("/srv/r/x", &[("staging_path", "/srv/r/s")], &places).is_ok());
}

#[test]
fn the_wal_staging_that_is_removed_in_the_end_never_holds_the_restore() {
    let places = local();
    for wal in ["/srv/r/x", "/srv/r/x/.."] {
        invalid("/srv/r/x", &[("staging_wal_directory", wal)], &places);
    }
    invalid(
        "/srv/r/x/data",
        &[("staging_wal_directory", "/srv/r/x")],
        &places,
    );
    invalid(
        "/srv/r/x",
        &[
            ("staging_wal_directory", "/srv/r/t"),
            ("tablespace", "t:/srv/r/t/ts"),
        ],
        &places,
    );
    denied("/srv/r", &[("staging_wal_directory", "/srv/wal")], &places);
    assert!(
        restore(
            "/srv/r/x",
            &[("staging_wal_directory", "/srv/r/x/barman_wal")],
            &places
        )
        .is_ok()
    );
}

#[test]
fn recovery_targets_cannot_write_settings() {
    let places = local();
    let target =
        |name: &'static str, value: &'static str| restore("/srv/r/x", &[(name, value)], &places);
    for (name, good, bad) in [
        ("target_name", "before upgrade", "x'\narchive_command = 'id"),
        ("target_name", "x", "x'"),
        ("target_xid", "731", "1' --"),
        ("target_lsn", "3/64000000", "3/6'"),
        ("target_time", "2026-11-20 21:43:04", "2026'"),
        ("target_tli", "latest", "x"),
        ("target_action", "promote", "x"),
        ("recovery_option_port", "5432", "5432;id"),
        ("recovery_conf_filename", "postgresql.auto.conf", "../../x"),
        ("combine_mode", "copy", "x"),
    ] {
        let argument = format!("--{}={good}", name.replace('_', "-"));
        assert_eq!(target(name, good).unwrap().first(), Some(&argument));
        assert!(!target(name, bad).unwrap_err().is_forbidden(), "{name}");
    }
}

#[test]
fn commands_and_cloud_accounts_are_refused() {
    let places = local();
    for name in [
        "restore_command",
        "snapshot_recovery_instance",
        "snapshot_recovery_zone",
        "gcp_zone",
        "azure_resource_group",
        "aws_region",
    ] {
        denied("/srv/r/x", &[(name, "x")], &places);
    }
    forbidden(
        "backup",
        &[("server_name", "main"), ("cloud_staging_directory", "/tmp")],
    );
    assert_eq!(
        restore("/srv/r/x", &[("get_wal", "true")], &places).unwrap(),
        ["--get-wal", "--", "main", "auto", "/srv/r/x"]
    );
    assert_eq!(
        argv(
            "backup",
            &[("server_name", "main"), ("cloud_staging_max_size", "30Gi")]
        ),
        ["--cloud-staging-max-size=30Gi", "--", "main"]
    );
}

#[test]
fn any_target_leaves_only_the_form_of_paths_and_commands() {
    let places = Places {
        any_target: true,
        ..Places::default()
    };
    assert_eq!(
        restore("/anywhere", &[], &places).unwrap(),
        ["--", "main", "auto", "/anywhere"]
    );
    let remote = restore(
        "/anywhere",
        &[("remote_ssh_command", "ssh postgres@db3")],
        &places,
    )
    .unwrap();
    assert_eq!(remote[0], "--remote-ssh-command=ssh postgres@db3");
    for path in ["anywhere", "/a/../b", "/a b", "/a;id", "/a'b"] {
        invalid(path, &[], &places);
    }
    invalid(
        "/anywhere",
        &[("remote_ssh_command", "id > /x/P; false")],
        &places,
    );
    denied("/anywhere", &[("target", "nosuch")], &places);
}

#[test]
fn the_word_target_is_ours_on_a_restore_alone() {
    malformed(
        "delete",
        &[
            ("server_name", "main"),
            ("backup_id", "latest"),
            ("target", "db2"),
        ],
    );
    assert_eq!(
        argv(
            "list-files",
            &[
                ("server_name", "main"),
                ("backup_id", "latest"),
                ("target", "wal")
            ]
        ),
        ["--target=wal", "--", "main", "latest"]
    );
    invalid(
        "/srv/r/x",
        &[("target", "here"), ("target", "here")],
        &local(),
    );
}

/// What a restore tells of itself.
fn told(destination: &str, more: &[(&str, &str)], places: &Places) -> Restore {
    let mut pairs = vec![
        ("server_name", "main"),
        ("backup_id", "auto"),
        ("destination_directory", destination),
    ];
    pairs.extend(more);
    let invocation = start("restore", &text(&pairs), places).unwrap();
    invocation.restore.unwrap()
}

#[test]
fn a_restore_tells_every_directory_that_it_writes_to_with_links_resolved() {
    let root = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(root.path()).unwrap();
    std::fs::create_dir(root.join("real")).unwrap();
    std::os::unix::fs::symlink("real", root.join("link")).unwrap();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let mut places = Places {
        targets: vec![target("here", "", &[root.to_str().unwrap()])],
        ..Places::default()
    };
    for any_target in [false, true] {
        places.any_target = any_target;
        let restore = told(
            &path("link/x"),
            &[
                ("tablespace", &format!("a:{}", path("link/ts"))),
                ("staging_wal_directory", &path("wal")),
                ("recovery_staging_path", &path("shared")),
                ("target_time", "2026-11-20 21:43:04"),
            ],
            &places,
        );
        let mut directories = restore.destinations.directories.clone();
        directories.sort();
        let expected = ["real/ts", "real/x", "wal"].map(|name| root.join(name));
        assert_eq!(directories, expected, "{any_target}");
        assert_eq!(restore.destinations.ssh_command, "");
        assert_eq!((restore.backup.as_str(), restore.to_target), ("auto", true));
    }
    assert!(!told(&path("x"), &[], &places).to_target);
    let backup = start("backup", &text(&[("server_name", "main")]), &places).unwrap();
    assert_eq!(backup.restore, None);
}

#[test]
fn a_tablespace_that_stays_where_it_was_lies_in_the_target_too() {
    let places = both();
    let at = |name: &str, location: &str| Tablespace {
        name: name.to_owned(),
        location: location.to_owned(),
    };
    let by_command = [("remote_ssh_command", "ssh postgres@db2")];
    let by_name = [("target", "db2")];
    for more in [&by_command[..], &by_name] {
        let mut restore = told("/var/lib/pg/x", more, &places);
        restore
            .keep(&[at("a", "/ts/a"), at("b", "/var/lib/pg/b")], &places)
            .unwrap();
        let directories = ["/var/lib/pg/x", "/ts/a", "/var/lib/pg/b"].map(PathBuf::from);
        assert_eq!(restore.destinations.directories, directories);
        for outside in ["/srv/r/a", "/tsx", "/", "ts/a", "/ts/../etc", "", "/etc\n"] {
            let mut restore = told("/var/lib/pg/x", more, &places);
            let error = restore.keep(&[at("a", outside)], &places).unwrap_err();
            assert!(error.is_forbidden(), "{outside:?}: {error}");
            let words = error.to_string();
            assert!(words.contains("\"a\" is restored where it was"), "{words}");
        }
        let relocated = [more, &[("tablespace", "a:/ts/new")]].concat();
        let mut restore = told("/var/lib/pg/x", &relocated, &places);
        restore.keep(&[at("a", "/etc")], &places).unwrap();
        restore
            .keep(&[at("a", "/etc"), at("b", "/etc")], &places)
            .unwrap_err();
    }
    let mut local = told("/srv/r/x", &[], &places);
    local.keep(&[at("a", "/srv/r/a")], &places).unwrap();
    local.keep(&[at("a", "/ts/a")], &places).unwrap_err();
}
