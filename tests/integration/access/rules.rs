//! What a rule covers, over HTTP and on the command line.

use serde_json::json;

use crate::rig::{Barman, Server, Site, StandIn, User, raw};

/// Every pair of names that Barman 3.19.1 has for one command.
const ALIASES: [(&str, &str); 8] = [
    ("list-server", "list-servers"),
    ("list-process", "list-processes"),
    ("list-backup", "list-backups"),
    ("recover", "restore"),
    ("show-server", "show-servers"),
    ("switch-xlog", "switch-wal"),
    ("show-backups", "show-backup"),
    ("verify", "verify-backup"),
];

/// Makes "op" the one other user, with these lists, by hand; the token is a new one.
fn op<'a>(site: &Site, server: &'a Server, access: &str, deny: &str) -> User<'a> {
    site.users(&format!(
        "[op]\npassword = 00000000000000000000000000000000\naccess = {access}\ndeny = {deny}\n"
    ));
    server.with_token(&site.token("op"))
}

#[test]
fn a_command_is_denied_by_every_name_and_allowed_by_every_name() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.users("");
    let server = site.serve();
    for (alias, name) in ALIASES {
        for (written, called) in [(alias, name), (name, alias), (alias, alias), (name, name)] {
            let denied = op(&site, &server, "[]", &format!("['barman/{written}']"));
            for target in [
                format!("/barman/{called}"),
                format!("/barman/{called}/help"),
            ] {
                let answer = denied.form(&target, "");
                assert_eq!(answer.status, 403, "deny {written}, call {target}");
            }
            let list = denied.get("/barman/help").expect(200).json();
            assert_eq!(list["list"].get(called), None, "deny {written}");
            let named = format!("['barman/{written}']");
            let allowed = op(&site, &server, &named, "[]");
            let answer = allowed.get(&format!("/barman/{called}/help"));
            assert_eq!(answer.status, 200, "allow {written}, call {called}");
        }
    }
    assert_eq!(stand_in.starts().len(), 0);
    let allowed = op(&site, &server, "['barman/list-backup']", "[]");
    allowed
        .form("/barman/list-backups", "server_name=main")
        .expect(200);
    assert_eq!(stand_in.commands(), [["list-backups", "--", "main"]]);
}

#[test]
fn paths_are_exact_and_rules_know_no_case() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.users("");
    let server = site.serve();
    let full = op(&site, &server, "[]", "[]");
    let odd = [
        "/barman/Backup",
        "/BARMAN/backup",
        "//barman/backup",
        "/barman//backup",
        "/barman/backup/",
        "/barman/./backup",
        "/barman/x/../backup",
        "/barman/../barman/backup",
        "/barman/%62ackup",
        "/barman%2fbackup",
        "/%62arman/backup",
        "/barman/backup%20",
        "/barman/backup%00",
        "/barman/backup%0a",
        "/barman/backup%e2%80%8b",
        "/barman/backup;x=1",
        "/barman/backup%2f",
        "/barman/backup%3fx",
        "/barman/backup/help/",
        "/barman/ba%63kup/help",
        "/barman/--help",
        "/barman/-c",
        "/barman/--version",
        "/barman/",
        "/barman",
    ];
    let denied = "['Barman/Backup']";
    for (deny, known) in [("[]", &[400, 404][..]), (denied, &[400, 403, 404])] {
        let caller = op(&site, &server, "[]", deny);
        for target in odd {
            let answer = caller.form(target, "server_name=main");
            assert!(known.contains(&answer.status), "{target}: {answer:?}");
            assert_eq!(answer.json()["status_code"], answer.status, "{target}");
        }
    }
    let caller = op(&site, &server, "[]", denied);
    assert_eq!(
        caller.form("/barman/backup", "server_name=main").status,
        403
    );
    // An absolute target is the same route, whatever host it names.
    for target in [
        "http://evil/barman/backup",
        "http://127.0.0.1/barman//backup",
    ] {
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: evil\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 16\r\n\r\nserver_name=main",
            caller.token
        );
        let answer = raw(server.port, request.as_bytes()).unwrap();
        assert!([400, 403, 404].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(stand_in.starts().len(), 0);
    drop(full);
    let full = op(&site, &server, "[]", "[]");
    full.form("/barman/backup", "server_name=main&async=false")
        .expect(200);
    assert_eq!(stand_in.commands(), [["backup", "--", "main"]]);
}

#[test]
fn a_rule_covers_whole_segments_and_deny_wins() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.users("");
    let server = site.serve();
    let main = "server_name=main";
    for (access, deny, target, form, status) in [
        (
            "['barman/check']",
            "[]",
            "/barman/check-backup",
            "server_name=main&backup_id=latest",
            403,
        ),
        ("['barman/check']", "[]", "/barman/check", main, 200),
        ("['barman/check-backup']", "[]", "/barman/check", main, 403),
        ("['barm']", "[]", "/barman/check", main, 403),
        ("['barman']", "[]", "/barman/check", main, 200),
        ("['barman']", "[]", "/history/list", "", 403),
        ("['barman']", "[]", "/auth/user", "", 403),
        ("[]", "['barman/list']", "/barman/list-backups", main, 200),
        ("[]", "['barman/list-*']", "/barman/list-backups", main, 403),
        ("[]", "[]", "/barman/list-backups", main, 200),
        ("[]", "['*']", "/barman/list-backups", main, 403),
        ("['*']", "['barman']", "/barman/list-backups", main, 403),
        ("['*']", "['barman']", "/history/list", "", 200),
        (
            "['barman']",
            "['barman/backup']",
            "/barman/backup",
            main,
            403,
        ),
        ("['barman/list-*']", "[]", "/barman/list-backups", main, 200),
        ("['barman/list-*']", "[]", "/barman/backup", main, 403),
        ("['barman/list-*']", "[]", "/barman/reload", "", 403),
        ("['barman/help']", "[]", "/barman/help", "", 200),
        ("barman/list-backups, history", "", "/history/list", "", 200),
        (
            "[\"barman/list-backups\"]",
            "",
            "/barman/list-backups",
            main,
            200,
        ),
    ] {
        let answer = op(&site, &server, access, deny).form(target, form);
        assert_eq!(
            answer.status, status,
            "{access} {deny} {target}: {answer:?}"
        );
    }
    // A section without `access` grants nothing, and neither does one that can't be read.
    for text in [
        "",
        "access = [\n",
        "access = ['a*b']\n",
        "access = __import__('os')\n",
    ] {
        let token = op(&site, &server, "[]", "[]").token;
        site.users(&format!(
            "[op]\npassword = 00000000000000000000000000000000\n{text}"
        ));
        assert_eq!(super::status_with(&server, &token), 401, "{text}");
        assert!(!site.run(&["token", "op"], "").status.success(), "{text}");
    }
}

#[test]
fn what_is_no_rule_is_refused_on_the_command_line_and_nothing_is_written() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("op", &["--access", "barman/list-*"]);
    let file = || std::fs::read(site.file("client.conf")).unwrap();
    let before = file();
    let many = vec!["barman/check"; 10_000].join(",");
    let long = "a".repeat(129);
    for rule in [
        "[",
        "[]",
        "",
        " ",
        ",",
        "**",
        "a*a*a*a*a*a*a*b",
        "*b",
        "barman//check",
        "/barman",
        "barman/",
        "barman/ch\neck",
        "x\npassword = y",
        "x]\n[y",
        "b\u{e4}rman",
        "barman/check@",
        "barman/check@a\nb",
        "__import__('os').popen('id').read()",
        "['barman/check'",
        "{\"barman\": 1}",
        &many,
        &long,
    ] {
        for option in ["--access", "--deny"] {
            let empties = rule.trim().is_empty() || rule == "[]";
            if option == "--deny" && empties {
                // To deny nothing is a wish that can be had.
                continue;
            }
            let arguments = ["user", "change", "op", option, rule];
            let output = site.run(&arguments, "");
            assert!(!output.status.success(), "{option} {rule:?}");
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!words.contains("panicked"), "{words}");
        }
        let arguments = ["user", "add", "new", "--password-stdin", "--access", rule];
        assert!(
            !site.run(&arguments, "a password\n").status.success(),
            "{rule:?}"
        );
    }
    for name in ["x]\npassword = y\n[z", "", "a b", "../x", "-x", "DEFAULT"] {
        let arguments = ["user", "add", "--password-stdin", "--full", "--", name];
        let output = site.run(&arguments, "a password\n");
        assert!(!output.status.success(), "{name:?}: {output:?}");
    }
    assert!(file() == before, "the users file was changed");
    let rules = "barman/List-*,auth/user@main,*";
    assert!(
        site.run(&["user", "change", "op", "--access", rules], "")
            .status
            .success()
    );
    let server = site.serve();
    let list = server
        .with_token(&site.token("op"))
        .get("/auth/user")
        .expect(200)
        .json();
    let wanted = json!(["barman/list-*", "auth/user@main", "*"]);
    assert_eq!(list["list"]["access"], wanted);
}

#[test]
fn no_word_of_a_request_makes_it_another_method() {
    let stand_in = StandIn::new();
    let site = Site::new(
        &Barman::StandIn(&stand_in),
        &["application.get_changes = false"],
    );
    site.users("");
    let server = site.serve();
    let full = op(&site, &server, "[]", "[]");
    let target = "/barman/backup?server_name=main";
    let post = [
        ("X-HTTP-Method-Override", "POST"),
        ("X-Method-Override", "POST"),
    ];
    for method in ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET"] {
        let answer = full.request(method, target, &post, b"").expect(405);
        let allow = answer.header("allow").unwrap();
        assert!(allow.contains("POST"), "{method}: {allow}");
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    for body in [
        "_method=delete&server_name=main",
        "server_name=main&_method=put",
    ] {
        let answer = full.request("POST", "/barman/backup", &form, body.as_bytes());
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    full.get("/auth/logout").expect(405);
    full.get("/barman/reload").expect(405);
    assert_eq!(stand_in.starts().len(), 0);
    full.get("/barman/list-backups?server_name=main")
        .expect(200);
    full.form("/barman/backup", "server_name=main&async=false")
        .expect(200);
    let started: Vec<_> = stand_in
        .commands()
        .into_iter()
        .map(|words| words[0].clone())
        .collect();
    assert_eq!(started, ["list-backups", "backup"]);
}
