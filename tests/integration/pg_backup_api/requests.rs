//! Every route, with the outcomes that clients tell apart.

use serde_json::{Value, json};

use super::{Desk, MAIN, begun, ended, error, recovery};

#[test]
fn a_client_that_waits_for_a_recovery_finds_every_word_it_reads() {
    let desk = Desk::new(
        &json!({"restore": {"stdout": "Copying the base backup.\n", "stderr": "WARNING: x\n"}}),
        &[],
    );
    let admin = desk.caller("admin");
    let status = admin.get("/status").expect(200);
    assert_eq!(status.body, b"\"OK\"");
    let id = begun(admin.post(MAIN, &recovery("/srv/r/data")));
    let end = ended(&admin, &id);
    assert_eq!(end["status"], "DONE", "{end}");
    assert_eq!(end["type"], "recovery");
    assert_eq!(end["output"], "Copying the base backup.\nWARNING: x\n");
    assert_eq!(end["exit_code"], 0);
    for time in ["started_at", "ended_at"] {
        assert!(end[time].as_str().unwrap().ends_with('Z'), "{end}");
    }
    assert_eq!(
        desk.commands(),
        [[
            "restore",
            "--remote-ssh-command=ssh postgres@db2",
            "--",
            "main",
            "latest",
            "/srv/r/data"
        ]]
    );
    let listed = admin.get(MAIN).expect(200).json();
    assert_eq!(listed["operations"][0]["id"], *id);
    assert_eq!(listed["operations"][0]["type"], "recovery");
    assert_eq!(listed.as_object().unwrap().len(), 1, "{listed}");
    // It is a ticket like any other.
    assert_eq!(admin.result(&id)["state"], "done");
    let other = admin.get("/servers/other/operations").expect(200).json();
    assert_eq!(other, json!({"operations": []}));
    for place in ["/servers/other/operations", "/operations"] {
        let answer = admin.get(&format!("{place}/{id}"));
        assert_eq!(error(answer, 404), "404 Not Found: Resource not found");
    }
}

#[test]
fn a_recovery_that_fails_says_failed_and_keeps_what_barman_said() {
    let desk = Desk::new(
        &json!({"restore": {"stderr": "ERROR: no room\n", "exit": 1}}),
        &[],
    );
    let admin = desk.caller("admin");
    let id = begun(admin.post(MAIN, &recovery("/srv/r/data")));
    let end = ended(&admin, &id);
    assert_eq!(end["status"], "FAILED", "{end}");
    assert_eq!(
        (&end["exit_code"], &end["output"]),
        (&json!(1), &json!("ERROR: no room\n"))
    );
}

#[test]
fn a_target_may_be_named_and_its_command_is_used() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    let mut body = recovery("/srv/r/named");
    let members = body.as_object_mut().unwrap();
    members.remove("remote_ssh_command");
    members.remove("type");
    members.insert("target".into(), "db2".into());
    members.insert("destination_directory".into(), "/srv/r/named/".into());
    let id = begun(admin.post(&format!("{MAIN}/"), &body));
    assert_eq!(ended(&admin, &id)["status"], "DONE");
    assert_eq!(
        desk.commands()[0][1],
        "--remote-ssh-command=ssh postgres@db2"
    );
    assert_eq!(desk.commands()[0].last().unwrap(), "/srv/r/named");
}

#[test]
fn a_backup_goes_by_every_word_that_barman_takes() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    let words = [
        "latest",
        "oldest",
        "last-failed",
        "auto",
        "latest-full",
        "weekly",
        "20260102T000000",
    ];
    for word in words {
        let mut body = recovery(&format!("/srv/r/{word}"));
        body["backup_id"] = word.into();
        begun(admin.post(MAIN, &body));
    }
}

#[test]
fn switches_and_updates_are_operations_of_their_own_place() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    let switch = |body: Value| begun(admin.post(MAIN, &body));
    let model = switch(json!({"type": "config_switch", "model_name": "main:m1"}));
    assert_eq!(ended(&admin, &model)["type"], "config_switch");
    let reset = switch(json!({"type": "config_switch", "reset": true}));
    assert_eq!(ended(&admin, &reset)["status"], "DONE");
    let changes = json!([{"scope": "server", "server_name": "main", "parallel_jobs": 2}]);
    let body = json!({"type": "config_update", "changes": changes});
    let update = begun(admin.post("/operations", &body));
    admin.finished(&update);
    let seen = admin.get(&format!("/operations/{update}/")).expect(200);
    assert_eq!(seen.json()["status"], "DONE");
    assert_eq!(seen.json()["type"], "config_update");
    let listed = admin.get("/operations").expect(200).json();
    let ids: Vec<&Value> = listed["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|operation| &operation["id"])
        .collect();
    assert_eq!(ids, [&json!(update)]);
    let mut commands = desk.commands();
    commands.sort();
    assert_eq!(
        commands,
        [
            vec!["config-switch", "--", "main", "main:m1"],
            vec!["config-switch", "--reset", "--", "main"],
            vec![
                "config-update",
                "--",
                r#"[{"scope":"server","server_name":"main","parallel_jobs":"2"}]"#
            ],
        ]
    );
}

#[test]
fn any_other_method_is_refused_with_those_that_work() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    for (target, allow) in [
        ("/status", "GET"),
        ("/diagnose", "GET"),
        ("/servers", "GET"),
        ("/operations", "GET, POST"),
        (MAIN, "GET, POST"),
        ("/operations/x", "GET"),
        ("/servers/main/operations/x", "GET"),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
            if allow.split(", ").any(|allowed| allowed == method) {
                continue;
            }
            let answer = admin.request(method, target, &[], b"");
            assert_eq!(answer.status, 405, "{method} {target}");
            assert_eq!(answer.header("allow"), Some(allow), "{method} {target}");
        }
        let stranger = desk.server.get(target);
        assert!(error(stranger, 401).starts_with("401 Unauthorized: "));
    }
}
