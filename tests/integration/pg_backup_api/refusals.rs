//! What begins nothing, and the words that say why.

use serde_json::{Value, json};

use super::{Desk, MAIN, begun, error, recovery};

/// What is said of a body that says nothing.
const NOTHING: &str = "400 Bad Request: Minimum barman options not met for server 'main'";

#[test]
fn what_is_no_operation_is_refused_in_the_words_that_clients_know() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    let incomplete = "400 Bad Request: Make sure all options/arguments are met and try again";
    let without = |key: &str| {
        let mut body = recovery("/srv/r/x");
        body.as_object_mut().unwrap().remove(key);
        body
    };
    for (body, text) in [
        (json!({}), NOTHING),
        (json!(null), NOTHING),
        (
            without("backup_id"),
            "400 Bad Request: Request body is missing ``backup_id``",
        ),
        (without("destination_directory"), incomplete),
        (without("remote_ssh_command"), incomplete),
        (json!({"type": "config_switch"}), incomplete),
        (json!({"type": "config_switch", "reset": false}), incomplete),
        (
            json!({"type": "config_switch", "model_name": 1}),
            incomplete,
        ),
        (
            json!({"type": "config_switch", "model_name": "m", "reset": true}),
            incomplete,
        ),
    ] {
        assert_eq!(error(admin.post(MAIN, &body), 400), text, "{body}");
    }
    for body in [
        json!([1]),
        json!("x"),
        json!({"type": "nosuch"}),
        json!({"type": "config_update", "changes": []}),
        json!({"type": null}),
    ] {
        error(admin.post(MAIN, &body), 400);
    }
    for (key, values) in [
        (
            "backup_id",
            vec![
                json!(1),
                json!([]),
                json!({}),
                json!(true),
                Value::Null,
                json!(""),
            ],
        ),
        (
            "destination_directory",
            vec![json!(1), json!(["/srv/r/x"]), json!("relative"), json!("")],
        ),
        (
            "remote_ssh_command",
            vec![json!(1), json!(false), json!("")],
        ),
        ("server_name", vec![json!("other")]),
        ("unheard_of", vec![json!("x")]),
    ] {
        for value in values {
            let mut body = recovery("/srv/r/x");
            body[key] = value;
            error(admin.post(MAIN, &body), 400);
        }
    }
    assert_eq!(desk.commands(), Vec::<Vec<String>>::new());
}

#[test]
fn what_does_not_exist_is_named() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    let nowhere = "/servers/nosuch/operations";
    assert_eq!(
        error(admin.post(nowhere, &recovery("/srv/r/x")), 404),
        "404 Not Found: Server 'nosuch' does not exist"
    );
    let odd = json!({"type": "nosuch"});
    assert_eq!(
        error(admin.post(nowhere, &odd), 404),
        "404 Not Found: Server 'nosuch' does not exist"
    );
    for target in [nowhere.to_owned(), format!("{nowhere}/20240101T000000")] {
        assert_eq!(
            error(admin.get(&target), 404),
            "404 Not Found: No barman config found for 'nosuch'."
        );
    }
    let long = "x".repeat(5000);
    for word in [
        "20200101T000000",
        "a",
        "-",
        "last-",
        "failed",
        "--help",
        "20260102T000000\n",
        "../20260102T000000",
        &long,
    ] {
        let mut body = recovery("/srv/r/x");
        body["backup_id"] = word.into();
        let named: String = word.chars().take(200).collect();
        assert_eq!(
            error(admin.post(MAIN, &body), 404),
            format!("404 Not Found: Backup '{named}' does not exist")
        );
    }
    for id in [
        "x",
        "20200101T000000-000000000000",
        "20200101T000000",
        "..%2Fx",
    ] {
        assert_eq!(
            error(admin.get(&format!("{MAIN}/{id}")), 404),
            "404 Not Found: Resource not found",
            "{id}"
        );
    }
    assert_eq!(desk.commands(), Vec::<Vec<String>>::new());
}

#[test]
fn an_update_without_its_changes_and_a_body_without_its_form_begin_nothing() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    let instance = "/operations";
    assert_eq!(
        error(admin.post(instance, &json!({})), 400),
        "400 Bad Request: Minimum barman options not met for instance operation"
    );
    for body in [
        json!({"type": "config_update"}),
        json!({"changes": []}),
        json!({"type": "recovery"}),
        json!({"type": "config_update", "changes": "x"}),
        json!({"type": "config_update", "changes": [{"scope": "server"}]}),
    ] {
        error(admin.post(instance, &body), 400);
    }
    let raw = |headers: &[(&str, &str)], body: &[u8]| {
        error(admin.request("POST", MAIN, headers, body), 400)
    };
    raw(&[], b"{\"type\":\"recovery\"}");
    raw(&[("Content-Type", "text/plain")], b"{}");
    raw(&[("Content-Type", "application/json")], b"{");
    raw(
        &[("Content-Type", "application/json")],
        b"{\"type\":\"recovery\",\"type\":\"recovery\"}",
    );
    assert_eq!(raw(&[("Content-Type", "application/json")], b""), NOTHING);
    assert_eq!(desk.commands(), Vec::<Vec<String>>::new());
}

#[test]
fn what_is_wrong_is_named_as_the_client_has_named_it() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    let update = |changes: &str| {
        let body = format!("{{\"type\":\"config_update\",\"changes\":{changes}}}");
        let json = [("Content-Type", "application/json")];
        error(
            admin.request("POST", "/operations", &json, body.as_bytes()),
            400,
        )
    };
    for changes in ["null", "1", "\"[]\"", "{}", "true"] {
        assert!(
            update(changes).ends_with("are met and try again"),
            "{changes}"
        );
    }
    for changes in [
        "[]",
        "[1]",
        "[{\"scope\":\"server\"}]",
        "[{\"scope\":\"x\"}]",
    ] {
        let told = update(changes);
        assert!(told.starts_with("400 Bad Request: changes is "), "{told}");
    }
    let told = |key: &str, value: &str| {
        let mut body = recovery("/srv/r/x");
        body[key] = value.into();
        error(admin.post(MAIN, &body), 400)
    };
    let text = told("remote_ssh_command", "");
    assert!(
        text.starts_with("400 Bad Request: remote_ssh_command is \"\": "),
        "{text}"
    );
    let text = told("destination_directory", "relative");
    let start = "400 Bad Request: destination_directory is \"relative\": expected ";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn a_restore_goes_to_a_target_and_nowhere_else_whoever_asks() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    for (key, value) in [
        ("remote_ssh_command", "id > /tmp/x; false"),
        ("remote_ssh_command", "ssh postgres@db3"),
        ("remote_ssh_command", "ssh  postgres@db2"),
        ("destination_directory", "/srv/other"),
        ("destination_directory", "/srv/rx"),
    ] {
        let mut body = recovery("/srv/r/x");
        body[key] = value.into();
        let text = error(admin.post(MAIN, &body), 403);
        assert!(text.contains("[target:NAME]"), "{value}: {text}");
    }
    let mut both = recovery("/srv/r/x");
    both["target"] = "db2".into();
    error(admin.post(MAIN, &both), 400);
    let mut unknown = recovery("/srv/r/x");
    unknown
        .as_object_mut()
        .unwrap()
        .remove("remote_ssh_command");
    unknown["target"] = "db3".into();
    error(admin.post(MAIN, &unknown), 403);
    assert_eq!(desk.commands(), Vec::<Vec<String>>::new());
}

#[test]
fn a_tablespace_that_stays_where_it_was_is_a_destination_like_any_other() {
    let shown = |location: &str| {
        let tablespace = json!({"name": "fast", "location": location, "oid": 16400});
        let shown = json!({"status": "DONE", "tablespaces": [tablespace]});
        let stdout = json!({"main": shown}).to_string();
        json!({"show-backup": {"stdout": stdout}, "restore": {"hang": true}})
    };
    let desk = Desk::new(&shown("/ts/fast"), &[]);
    let admin = desk.caller("admin");
    let text = error(admin.post(MAIN, &recovery("/srv/r/x")), 403);
    for word in [
        "\"fast\" is restored where it was",
        "/ts/fast",
        "[target:NAME]",
        "tablespace=fast:",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let target = "target=db2&backup_id=latest&server_name=main&async=true";
    let restore = |more: &str| admin.form("/barman/restore", &format!("{target}{more}"));
    restore("&destination_directory=/srv/r/x").expect(403);
    restore("&destination_directory=/srv/r/x&tablespace=slow:/srv/r/ts").expect(403);
    assert_eq!(desk.commands(), Vec::<Vec<String>>::new());
    let relocated = restore("&destination_directory=/srv/r/x&tablespace=fast:/srv/r/ts").ticket();

    // Inside the target it may stay where it was, and nothing else may write there meanwhile.
    let mut control = shown("/srv/r/was");
    control["list-backups"] = json!({"stdout": super::backups().to_string()});
    desk.stand_in.control(&control);
    let stays = begun(admin.post(MAIN, &recovery("/srv/r/y")));
    let text = error(admin.post(MAIN, &recovery("/srv/r/was/z")), 409);
    assert!(text.contains(&stays), "{text}");
    for odd in ["relative", "/srv/r/../../etc", ""] {
        let mut control = shown(odd);
        control["list-backups"] = json!({"stdout": super::backups().to_string()});
        desk.stand_in.control(&control);
        error(admin.post(MAIN, &recovery("/srv/r/z")), 403);
    }
    // What can't be understood vouches for nothing.
    for (stdout, status) in [
        ("", 502),
        ("{}", 502),
        ("[]", 502),
        ("{\"main\": {}}", 502),
        ("{\"main\": {\"status\": \"DONE\"}}", 502),
        ("{\"main\": {\"status\": \"STARTED\"}}", 409),
    ] {
        control["show-backup"] = json!({"stdout": stdout});
        desk.stand_in.control(&control);
        error(admin.post(MAIN, &recovery("/srv/r/z")), status);
    }
    control["show-backup"] = json!({"stderr": "ERROR: Unknown backup", "exit": 1});
    desk.stand_in.control(&control);
    let told = error(admin.post(MAIN, &recovery("/srv/r/z")), 502);
    assert!(told.contains("ERROR: Unknown backup"), "{told}");
    restore("&destination_directory=/srv/r/z").expect(502);
    // Barman is to choose, and there is nothing yet to choose from.
    control["list-backups"] = json!({"stdout": "{\"main\": []}"});
    desk.stand_in.control(&control);
    let form = "target=db2&backup_id=auto&server_name=main&target_time=2030-01-01";
    let form = format!("{form}&destination_directory=/srv/r/z");
    admin.form("/barman/restore", &form).expect(404);
    for ticket in [&relocated, &stays] {
        admin
            .form("/history/cancel", &format!("ticket={ticket}"))
            .expect(200);
        admin.finished(ticket);
    }
    let mut began = desk.commands();
    let wanted =
        |words: &Vec<String>| ["/srv/r/x", "/srv/r/y"].contains(&words[words.len() - 1].as_str());
    began.retain(|words| !wanted(words));
    assert_eq!(began, Vec::<Vec<String>>::new());
}

#[test]
fn a_value_of_any_other_type_is_refused_in_every_place() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let values = [
        "1", "-0", "1.5", "1e400", "true", "null", "[]", "[\"x\"]", "{}", &deep,
    ];
    let json = [("Content-Type", "application/json")];
    let refused = |target: &str, body: &str| {
        let answer = admin.request("POST", target, &json, body.as_bytes());
        let text = error(answer, 400);
        assert!(text.len() < 500, "{text}");
    };
    let recovery = recovery("/srv/r/x");
    for value in values {
        for (key, _) in recovery.as_object().unwrap() {
            let mut body = recovery.clone();
            body[key] = "HERE".into();
            refused(MAIN, &body.to_string().replace("\"HERE\"", value));
        }
        let target = r#"{"backup_id":"latest","destination_directory":"/srv/r/x","target":HERE}"#;
        refused(MAIN, &target.replace("HERE", value));
        let switch = r#"{"type":"config_switch","model_name":HERE}"#;
        refused(MAIN, &switch.replace("HERE", value));
        let update = r#"{"type":"config_update","changes":HERE}"#;
        refused("/operations", &update.replace("HERE", value));
        let entry = r#"{"type":"config_update","changes":[HERE]}"#;
        refused("/operations", &entry.replace("HERE", value));
        if value != "true" {
            let reset = r#"{"type":"config_switch","reset":HERE}"#;
            refused(MAIN, &reset.replace("HERE", value));
        }
    }
    assert_eq!(desk.commands(), Vec::<Vec<String>>::new());
}

#[test]
fn a_directory_that_only_looks_as_if_it_lay_inside_is_refused() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    let long = format!("/srv/r/{}", "x".repeat(4096));
    for directory in [
        "x",
        "./x",
        "/srv/r/../../etc",
        "/srv/r/..",
        "/srv/r/x/../../../etc",
        "/",
        "//",
        "/srv",
        "/srv/rx",
        "/srv/r/\0",
        "/srv/r/x\n/etc",
        "/srv/r/x\u{1b}",
        "-x",
        &long,
    ] {
        let answer = admin.post(MAIN, &recovery(directory));
        assert!(
            [400, 403].contains(&answer.status),
            "{directory:?}: {answer:?}"
        );
        let status = answer.status;
        error(answer, status);
    }
    assert_eq!(desk.commands(), Vec::<Vec<String>>::new());
}

#[test]
fn an_update_sets_no_program_and_writes_no_line_of_its_own() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    let update = |changes: &Value| {
        let body = json!({"type": "config_update", "changes": [changes]});
        admin.post("/operations", &body)
    };
    for key in [
        "pre_backup_script",
        "PRE_BACKUP_SCRIPT",
        "ssh_command",
        "barman_home",
    ] {
        let change = json!({"scope": "server", "server_name": "main", key: "id"});
        let answer = update(&change);
        let status = answer.status;
        assert!([400, 403].contains(&status), "{key}: {answer:?}");
        assert!(error(answer, status).contains(&key.to_lowercase()), "{key}");
    }
    for (key, value) in [
        ("description", "hello\n[pwned]\ndescription = x"),
        ("description", "x\r[pwned]"),
        ("server_name", "x]\npre_backup_script = id\n[y"),
        ("scope", "global"),
    ] {
        let mut change = json!({"scope": "server", "server_name": "main", "description": "x"});
        change[key] = value.into();
        let answer = update(&change);
        let status = answer.status;
        assert!([400, 403, 404].contains(&status), "{value:?}: {answer:?}");
        error(answer, status);
    }
    assert_eq!(desk.commands(), Vec::<Vec<String>>::new());
}
