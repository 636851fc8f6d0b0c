//! What the audit log is told, and revisions that nobody may take back over HTTP.

use super::*;
use crate::rig::spelled;

/// The lines of one event about one route.
fn lines(desk: &Desk, event: &str, route: &str) -> Vec<Value> {
    let audit = fs::read_to_string(desk.server.store().join("logs/audit.log")).unwrap();
    let lines = audit
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["event"] == event && line["route"] == route)
        .collect()
}

#[test]
fn every_refusal_and_every_rollback_leaves_a_line() {
    let desk = Desk::new();
    let (admin, dba) = (desk.server.login("admin"), desk.dba());
    let made = change(&dba, &json!({"barman.max_jobs": 7, "barman.queue": 77}));
    let made = made.expect(200).json();
    let id = made["revision"].as_str().unwrap();
    let headers = [("Content-Type", "application/json"), ("If-Match", "\"x\"")];
    for (target, body, status) in [
        ("change", json!({"barman.command": "/bin/a-value"}), 403),
        ("change", json!({"unset": "user.config_file"}), 403),
        ("change", json!({"barman.no_such_key": "a-value"}), 400),
        ("change", json!({"barman.max_jobs": "a-value"}), 400),
        ("change", json!({"main.conninfo": "a-value"}), 400),
        ("rollback", json!({"revision": "a-value"}), 400),
        (
            "rollback",
            json!({"revision": "20261120T214304-k3v9m2x8q4c7"}),
            404,
        ),
        ("rollback", json!({"revision": id, "reveal": true}), 400),
    ] {
        let target = format!("/config/barmanapi/{target}");
        admin.post(&target, &body).expect(status);
    }
    for (target, body) in [
        ("change", json!({"barman.max_jobs": 8})),
        ("rollback", json!({"revision": id})),
    ] {
        let target = format!("/config/barmanapi/{target}");
        let body = body.to_string();
        let answer = admin.request("POST", &target, &headers, body.as_bytes());
        answer.expect(412);
        let reader = desk.server.login("reader");
        // The right to the file is not that to change it.
        if target.ends_with("change") {
            reader
                .request("POST", &target, &headers, body.as_bytes())
                .expect(403);
        }
    }
    let back = admin.post("/config/barmanapi/rollback", &json!({"revision": id}));
    let back = back.expect(200).json();
    admin
        .post("/config/barmanapi/rollback", &json!({"revision": id}))
        .expect(409);

    let change = "/config/barmanapi/change";
    let told = lines(&desk, "refused", change);
    let statuses: Vec<_> = told.iter().map(|line| line["status"].clone()).collect();
    assert_eq!(statuses, [403, 403, 400, 400, 400, 412, 403]);
    let users: Vec<_> = told.iter().map(|line| line["user"].clone()).collect();
    assert_eq!(users[5..], ["admin", "reader"]);
    assert_eq!(told[0]["outcome"], "barman.command");
    assert_eq!(told[1]["outcome"], "user.config_file");
    assert_eq!(told[3]["outcome"], "barman.max_jobs");
    let rollback = "/config/barmanapi/rollback";
    let told = lines(&desk, "refused", rollback);
    let statuses: Vec<_> = told.iter().map(|line| line["status"].clone()).collect();
    assert_eq!(statuses, [400, 404, 400, 412, 409]);
    let done = lines(&desk, "config_rollback", rollback);
    assert_eq!(done.len(), 1);
    assert_eq!(done[0]["user"], "admin");
    assert_eq!(done[0]["ticket"], back["revision"]);
    assert_eq!(done[0]["outcome"], "barman.max_jobs, barman.queue");
    assert_eq!(lines(&desk, "config_change", change).len(), 1);
    for log in ["audit.log", "general.log"] {
        let text = fs::read_to_string(desk.server.store().join("logs").join(log)).unwrap();
        assert!(!text.contains("a-value"), "{log}: {text}");
    }
}

#[test]
fn every_key_of_a_change_stands_in_the_line_however_many_they_are() {
    let desk = Desk::new();
    let dba = desk.dba();
    let keys: Vec<String> = (0..90)
        .map(|at| format!("barman.job_timeout.a-command-of-its-own-{at}"))
        .collect();
    let body: serde_json::Map<String, Value> =
        keys.iter().map(|key| (key.clone(), json!(60))).collect();
    change(&dba, &Value::Object(body.clone())).expect(200);
    let mut wrong = body;
    wrong.insert("barman.queue".to_owned(), json!("x"));
    change(&dba, &Value::Object(wrong)).expect(400);
    for event in ["config_change", "refused"] {
        let told = lines(&desk, event, "/config/barmanapi/change");
        let outcome = told[0]["outcome"].as_str().unwrap();
        let mut named: Vec<&str> = outcome.split(", ").collect();
        named.retain(|name| *name != "barman.queue");
        named.sort_unstable();
        let mut wanted: Vec<&str> = keys.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        assert_eq!(named, wanted, "{event}");
    }
}

#[test]
fn a_revision_from_which_a_key_of_the_disk_would_come_back_is_not_taken_back() {
    let desk = Desk::new();
    let (admin, old) = (desk.server.login("admin"), desk.text());
    let made = change(&admin, &json!({"barman.max_jobs": 7})).expect(200);
    let id = made.json()["revision"].as_str().unwrap().to_owned();
    let now = desk.text();
    // As if those keys had been free to all when the revision was made.
    let folder = desk.server.store().join("config/revisions/barmanapi");
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut paths = entries.map(|entry| entry.path());
    let path = paths.find(|path| path.to_string_lossy().ends_with(".json"));
    let path = path.unwrap();
    let record = fs::read_to_string(&path).unwrap();
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    assert!(record.contains(&encode(&old)));
    for line in [
        "[barman]\nallow_commands = put-wal\n",
        "[config]\nunlock = pre_backup_script\n",
        "[target:b]\ndirectories = /\n",
        "[barman]\nany_target = true\n",
    ] {
        let section = line.lines().next().unwrap();
        let rest = &line[section.len() + 1..];
        let other = if old.contains(section) {
            old.replacen(&format!("{section}\n"), &format!("{section}\n{rest}"), 1)
        } else {
            format!("{old}\n\n{line}")
        };
        let record = record.replace(&encode(&old), &encode(&other));
        Lab::get().write(&path, &record, 0o600);
        let answer = admin.post("/config/barmanapi/rollback", &json!({"revision": id}));
        let told = message(&answer.expect(403));
        assert!(told.contains("on disk alone"), "{told}");
        assert_eq!(desk.text(), now, "{line}");
    }
    Lab::get().write(&path, &record, 0o600);
    admin
        .post("/config/barmanapi/rollback", &json!({"revision": id}))
        .expect(200);
    assert_eq!(desk.text(), old);
}

#[test]
fn no_control_character_gets_into_our_own_file_in_any_spelling() {
    let desk = Desk::new();
    let (admin, before) = (desk.server.login("admin"), desk.text());
    let controls = (0..0x20_u8).chain(0x7f..0xa0).map(char::from);
    for bad in controls.chain(['\u{2028}', '\u{2029}']) {
        let encoded = spelled(&bad.to_string());
        for (name, value) in [
            ("auth_token.algorithm".to_owned(), format!("HS512{bad}")),
            ("auth_token.algorithm".to_owned(), format!("{bad}HS512")),
            (
                "auth_token.algorithm".to_owned(),
                format!("HS512{bad}command = /bin/sh"),
            ),
            (format!("auth_token.algorithm{bad}"), "HS512".to_owned()),
            (format!("{bad}auth_token.algorithm"), "HS512".to_owned()),
        ] {
            let answer = change(&admin, &json!({name.as_str(): value}));
            assert_eq!(answer.status, 400, "{name:?} {value:?} {answer:?}");
            let sent = |text: &str| text.replace(bad, &encoded).replace(' ', "+");
            let pair = format!("{}={}", sent(&name), sent(&value));
            let answer = admin.form("/config/barmanapi/change", &pair);
            assert_eq!(answer.status, 400, "{pair} {answer:?}");
        }
    }
    assert_eq!(desk.text(), before);
    let refused = desk.site.log_lines("audit.log");
    let refused = refused.iter().filter(|line| line["event"] == "refused");
    assert!(refused.count() >= 67 * 10);
    desk.site.log_lines("general.log");
}
