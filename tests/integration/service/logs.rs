//! What is written down, and what never is.

use std::fs;

use base64::Engine;
use serde_json::{Value, json};

use super::until;
use crate::rig::{Barman, Server, Site, StandIn, raw};

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The audit line of a request, by its id.
#[track_caller]
fn audited(site: &Site, id: &str, event: &str) -> Value {
    let lines = site.log_lines("audit.log");
    let found = lines
        .iter()
        .find(|line| line["request_id"] == id && line["event"] == event);
    found
        .unwrap_or_else(|| panic!("no line {event} of {id} in {lines:#?}"))
        .clone()
}

fn id_of(answer: &crate::rig::Answer) -> String {
    answer.header("x-request-id").unwrap().to_owned()
}

#[test]
fn the_audit_tells_who_did_what_from_where_and_how_it_ended() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({
        "backup": {"exit": 3}, "list-backups": {"exit": 4}, "delete": {"hang": true},
    }));
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    site.user("reader", &["--access", "barman/list-*"]);
    let server = site.serve();
    let (admin, reader) = (server.login("admin"), server.login("reader"));
    let is = |line: &Value, wanted: Value| {
        for (key, value) in wanted.as_object().unwrap() {
            assert_eq!(line[key], *value, "{key} in {line}");
        }
    };
    let from = "127.0.0.1";

    let answer = admin.form("/barman/backup", "server_name=main&name=marker7f3a");
    let (id, ticket) = (id_of(&answer), answer.ticket());
    admin.finished(&ticket);
    is(
        &audited(&site, &id, "accepted"),
        json!({"user": "admin", "from": from, "method": "POST",
        "command": "backup", "servers": ["main"], "ticket": ticket}),
    );
    until("its end is written", || {
        site.log_lines("audit.log")
            .iter()
            .any(|line| line["ticket"] == ticket && line["event"] == "ended")
    });
    is(
        &audited(&site, &id, "ended"),
        json!({"outcome": "failed", "exit_code": 3, "ticket": ticket}),
    );

    let answer = admin.get("/barman/list-backup?server_name=other");
    is(
        &audited(&site, &id_of(&answer), "ran"),
        json!({"user": "admin", "from": from, "method": "GET",
        "command": "list-backups", "servers": ["other"], "status": 200, "exit_code": 4}),
    );

    let answer = reader.form("/barman/backup", "server_name=main&name=marker7f3a");
    is(
        &audited(&site, &id_of(&answer), "refused"),
        json!({"user": "reader", "from": from,
        "command": "backup", "status": 403}),
    );
    let answer = admin.form("/barman/backup", "server_name=main&marker7f3a=marker7f3a");
    is(
        &audited(&site, &id_of(&answer), "refused"),
        json!({"user": "admin", "status": 400}),
    );
    let answer = reader.get("/history/list");
    is(
        &audited(&site, &id_of(&answer), "refused"),
        json!({"user": "reader", "from": from,
        "route": "/history/list", "status": 403}),
    );

    let ticket = admin
        .form(
            "/barman/delete",
            "server_name=main&backup_id=20260101T000000&async=true",
        )
        .ticket();
    until("it runs", || {
        stand_in
            .starts()
            .iter()
            .any(|start| start["start"] == "delete")
    });
    let answer = admin.form("/history/cancel", &format!("ticket={ticket}"));
    is(
        &audited(&site, &id_of(&answer), "cancel"),
        json!({"user": "admin", "from": from, "ticket": ticket}),
    );
    admin.finished(&ticket);
    let answer = admin.form("/barman/reload", "").expect(200);
    is(
        &audited(&site, &id_of(&answer), "reload"),
        json!({"user": "admin", "from": from}),
    );
    let answer = server.basic("/auth/token", "admin", "wrong");
    is(
        &audited(&site, &id_of(&answer), "login"),
        json!({"user": "admin", "from": from, "status": 401}),
    );
    let answer = reader.form("/auth/logout", "");
    is(
        &audited(&site, &id_of(&answer), "logout"),
        json!({"user": "reader", "from": from}),
    );

    // Neither log holds a value of a request.
    let logged = site.logged();
    assert!(!logged.contains("marker7f3a"), "{logged}");
    assert!(!logged.contains("20260101T000000"), "{logged}");
}

#[test]
fn the_audit_tells_of_nothing_that_was_not_done() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let admin = server.login("admin");
    admin.form("/barman/reload", "").expect(200);
    let answer = admin.form("/barman/reload", "").expect(429);
    let line = audited(&site, &id_of(&answer), "refused");
    assert_eq!(line["route"], "/barman/reload");
    assert_eq!(line["status"], 429);
    let unknown = "20260102T000000-000000000000";
    let answer = admin
        .form("/history/cancel", &format!("ticket={unknown}"))
        .expect(404);
    let line = audited(&site, &id_of(&answer), "refused");
    assert_eq!(line["ticket"], unknown);
    assert_eq!(line["status"], 404);
    let cancels = site.log_lines("audit.log");
    assert!(cancels.iter().all(|line| line["event"] != "cancel"));
}

#[test]
fn what_no_route_takes_leaves_no_query_in_the_logs() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &["application.debug = true"]);
    let server = site.serve();
    for line in [
        "GET /auth/user/add?tok%65n=marker7f3a",
        "POST /nosuch?a=marker7f3a",
        "GET /barman/backup/?name=marker7f3a",
        "FETCH /barman/backup?name=marker7f3a",
        "FETCH http://x:marker7f3a@y/barman/backup",
        "CONNECT marker7f3a:1",
        "OPTIONS *?marker7f3a",
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        drop(raw(server.port, request.as_bytes()));
    }
    let logged = site.logged();
    assert!(!logged.contains("marker7f3a"), "{logged}");
}

/// Sends what a user might type in the wrong place.
fn login_as(server: &Server, name: &str, password: &str) -> u16 {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    let header = format!("Basic {pair}");
    server
        .request("GET", "/auth/token", &[("Authorization", &header)], b"")
        .status
}

#[test]
fn no_word_of_a_request_makes_a_second_line_or_shows_a_secret() {
    let stand_in = StandIn::new();
    let secret = "s3cr3t-of-a-server";
    stand_in.control(&json!({
        "backup": {"stderr": format!("ERROR: host=x password={secret} user=y\n"), "exit": 1},
        "list-backups": {"stdout": format!("postgres://u:{secret}@h/db\n"), "exit": 1},
    }));
    let site = Site::new(&Barman::StandIn(&stand_in), &["application.debug = true"]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let admin = server.login("admin");
    let long = "y".repeat(20_000);
    let mut sent = 0;
    for target in [
        "/barman/x%0a%1b[31m%e2%80%a8",
        "/x%0d%0a{\"user\":\"admin\"}",
        "/barman/list-backups?server_name=a%0ab",
        "/barman/list-backups?%0a%1b=1",
        "/history/result?ticket=%0a%e2%80%a8",
        "/history/list?user=%1b%5b31m",
        &format!("/{long}"),
        &format!("/barman/list-backups?server_name={long}"),
    ] {
        admin.get(target);
        sent += 1;
    }
    for path in ["/barman/\u{1b}[31m", "/\u{85}x", "/a\u{2028}b"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUser-Agent: \u{1b}[2J\r\nAuthorization: {}\r\n\r\n",
            bearer(&admin.token)
        );
        drop(raw(server.port, request.as_bytes()));
    }
    // A password that was typed where the name belongs is not written down either.
    let typed = "my typed pass phrase";
    for (name, password) in [
        (typed, ""),
        ("admin", typed),
        ("a\nb", "x"),
        ("a\u{2028}b", "x"),
    ] {
        assert_eq!(login_as(&server, name, password), 401);
        sent += 1;
    }
    let answer = admin.form("/barman/backup", "server_name=main&async=false");
    assert!(
        !String::from_utf8_lossy(&answer.body).contains(secret),
        "{answer:?}"
    );
    let answer = admin.get("/barman/list-backups?server_name=main");
    assert!(
        !String::from_utf8_lossy(&answer.body).contains(secret),
        "{answer:?}"
    );
    sent += 2;

    let general = site.log_lines("general.log");
    let answered = general
        .iter()
        .filter(|line| line["message"] == "request answered")
        .count();
    assert!(answered >= sent, "{answered} lines for {sent} requests");
    for line in &general {
        assert!(
            line["time"].is_string() && line["level"].is_string(),
            "{line}"
        );
        assert!(line.to_string().len() < 4096, "{line}");
    }
    site.log_lines("audit.log");
    let logged = site.logged();
    for word in [
        typed,
        secret,
        "correct horse battery",
        admin.token.as_str(),
        "Authorization",
    ] {
        assert!(!logged.contains(word), "{word:?} is in the logs");
    }
    let key = fs::read_to_string(site.file("store/config/secret")).unwrap();
    assert!(!logged.contains(key.trim()));
    // Nor in what the service and its jobs were started with.
    let listed = std::process::Command::new("ps")
        .args(["-eo", "args"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(&admin.token));
}

#[test]
fn the_general_log_begins_anew_at_its_size_and_the_audit_does_not() {
    let stand_in = StandIn::new();
    let settings = ["log.max_bytes = 20000", "log.backup_count = 2"];
    let site = Site::new(&Barman::StandIn(&stand_in), &settings);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let admin = server.login("admin");
    for _ in 0..300 {
        admin.get("/barman/nosuch").expect(404);
    }
    let folder = site.file("store/logs");
    let listed = fs::read_dir(&folder).unwrap().flatten();
    let mut general: Vec<_> = listed
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name.starts_with("general.log") && !name.ends_with("lock"))
        .collect();
    general.sort();
    assert_eq!(general, ["general.log", "general.log.1", "general.log.2"]);
    for name in &general {
        let length = fs::metadata(folder.join(name)).unwrap().len();
        assert!(length <= 21_000, "{name}: {length}");
        site.log_lines(name);
    }
    let refused = site.log_lines("audit.log");
    let refused = refused
        .iter()
        .filter(|line| line["event"] == "refused")
        .count();
    assert_eq!(refused, 300);
}

#[test]
fn nothing_that_changes_state_is_done_while_the_audit_takes_no_line() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let admin = server.login("admin");
    let log = site.file("store/logs/audit.log");
    let away = site.file("away");
    fs::rename(&log, &away).unwrap();
    fs::create_dir(&log).unwrap();
    for target in [
        "/barman/backup?server_name=main",
        "/barman/backup?server_name=main&async=true",
    ] {
        let answer = admin.form(target, "").expect(503);
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    admin.form("/barman/reload", "").expect(503);
    assert_eq!(stand_in.starts().len(), 0);
    fs::remove_dir(&log).unwrap();
    fs::rename(&away, &log).unwrap();
    admin
        .form("/barman/backup", "server_name=main&async=false")
        .expect(200);
    assert_eq!(stand_in.starts().len(), 1);
    site.log_lines("audit.log");
}
