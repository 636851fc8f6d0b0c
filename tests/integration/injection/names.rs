//! Names of parameters: which there are, and that each is given once.

use super::Bench;

fn list<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut pairs = vec![("server_name", "main")];
    pairs.extend(more);
    pairs
}

#[test]
fn abbreviated_and_unknown_names_are_refused_by_name() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let inside = bench.inside("r");
    let restore = |name, value| {
        [
            ("server_name", "main"),
            ("backup_id", "latest"),
            ("destination_directory", inside.as_str()),
            (name, value),
        ]
    };
    for name in [
        "remote-ssh",
        "rem",
        "target-n",
        "targetnam",
        "target_names",
        "--target-name",
        "-t",
    ] {
        let message = bench.refused(&admin, 400, "restore", &restore(name, "x"));
        assert!(message.contains(name), "{message}");
    }
    for name in ["target_name", "TARGETNAME", "Target-Name"] {
        let expected = [
            "restore",
            "--target-name=x",
            "--",
            "main",
            "latest",
            &inside,
        ];
        bench.accepted(&admin, "restore", &restore(name, "x"), &expected);
    }
    for name in [
        "servername2",
        "foo",
        "server",
        "name",
        "минимал",
        "minimal2",
        "min",
    ] {
        let message = bench.refused(&admin, 400, "list-backups", &list(&[(name, "true")]));
        assert!(message.contains(name), "{message}");
    }
    bench.logs_are_clean(&[&admin]);
}

#[test]
fn the_options_of_barman_itself_are_out_of_reach() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    for (name, value) in [
        ("config", "/x/e"),
        ("c", "/x/e"),
        ("C", "/x/e"),
        ("debug", "true"),
        ("d", "true"),
        ("log_level", "DEBUG"),
        ("quiet", "true"),
        ("color", "always"),
        ("help", "true"),
        ("h", "true"),
        ("version", "true"),
        ("f", "json"),
        ("format", "xml"),
        ("format", ""),
        ("format", "JSON"),
    ] {
        bench.refused(&admin, 400, "list-backups", &list(&[(name, value)]));
    }
    for path in [
        "-c",
        "--version",
        "-h",
        "%2d%2dversion",
        "list-backups%20-c",
        "..",
        "",
        "Backup",
        "nosuch",
    ] {
        bench.refuses(
            &admin.get(&format!("/barman/{path}?server_name=main")),
            404,
            path,
        );
    }
    let plain = ["list-backups", "--minimal", "--", "main"];
    bench.accepted(
        &admin,
        "list-backups",
        &list(&[("MINIMAL", "TRUE")]),
        &plain,
    );
    bench.accepted(
        &admin,
        "list-backups",
        &list(&[("minimal", "false")]),
        &["list-backups", "--", "main"],
    );
    let json = ["-f", "json", "list-backups", "--", "main"];
    bench.accepted(&admin, "list-backups", &list(&[("format", "json")]), &json);
    bench.accepted(
        &admin,
        "list-backups",
        &list(&[("format", "console")]),
        &["list-backups", "--", "main"],
    );
    bench.logs_are_clean(&[&admin]);
}

#[test]
fn nothing_is_taken_from_a_parameter_that_comes_twice() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let show = [("server_name", "main"), ("backup_id", "latest")];
    for twice in ["server_name", "SERVERNAME", "server-name"] {
        bench.refused(
            &admin,
            400,
            "show-backup",
            &[show[0], show[1], (twice, "other")],
        );
        bench.refused(
            &admin,
            400,
            "show-backup",
            &[show[0], show[1], (twice, "main")],
        );
    }
    bench.refused(
        &admin,
        400,
        "list-backups",
        &list(&[("minimal", "true"), ("minimal", "true")]),
    );
    bench.refused(
        &admin,
        400,
        "list-backups",
        &list(&[("format", "json"), ("Format", "json")]),
    );
    let json = |body: &str| {
        let kind = [("Content-Type", "application/json")];
        admin.request("POST", "/barman/show-backup", &kind, body.as_bytes())
    };
    for body in [
        r#"{"server_name":"main","backup_id":"latest","server_name":"other"}"#,
        r#"{"server_name":"main","backup_id":"latest","SERVER_NAME":"other"}"#,
        r#"{"server_name":["main","other"],"backup_id":"latest"}"#,
        r#"{"server_name":"main","backup_id":"latest","server_n\u0061me":"main"}"#,
    ] {
        bench.refuses(&json(body), 400, body);
    }
    // The same name in the query and in the body, in whatever spelling.
    for body in ["server_name=main", "SERVERNAME=main", "server_name=other"] {
        let target = "/barman/list-backups?server_name=main";
        bench.refuses(&admin.form(target, body), 400, body);
    }
    let answer = admin.form("/barman/show-backup?server_name=main", "backup_id=latest");
    bench.runs(
        &answer,
        &["show-backup", "--", "main", "latest"],
        "query and form",
    );
    bench.accepted(
        &admin,
        "show-backup",
        &show,
        &["show-backup", "--", "main", "latest"],
    );
}
