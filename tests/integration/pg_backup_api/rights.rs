//! Who may do what here: the rights are those of the commands.

use serde_json::json;

use super::{Desk, MAIN, begun, ended, error, recovery};

const OTHER: &str = "/servers/other/operations";

#[test]
fn a_user_with_the_one_right_restores_and_follows_and_does_nothing_else() {
    let desk = Desk::new(&json!({}), &[]);
    let patroni = desk.caller("patroni");
    assert_eq!(patroni.get("/status").expect(200).body, b"\"OK\"");
    let id = begun(patroni.post(MAIN, &recovery("/srv/r/data")));
    assert_eq!(ended(&patroni, &id)["status"], "DONE");
    patroni.get(MAIN).expect(200);
    let switch = json!({"type": "config_switch", "reset": true});
    error(patroni.post(MAIN, &switch), 403);
    error(patroni.post(OTHER, &recovery("/srv/r/data")), 403);
    let update = json!({"type": "config_update", "changes": []});
    error(patroni.post("/operations", &update), 403);
    for target in [OTHER, "/operations", "/diagnose", &format!("{OTHER}/{id}")] {
        error(patroni.get(target), 403);
    }
    // Not even what a request must look like, or which servers there are.
    error(patroni.post(OTHER, &json!({})), 403);
    let there = error(patroni.get(OTHER), 403);
    let nowhere = error(patroni.get("/servers/nosuch/operations"), 403);
    assert_eq!(there.replace("other", "X"), nowhere.replace("nosuch", "X"));
    assert_eq!(desk.commands().len(), 1);
}

#[test]
fn a_right_to_one_kind_tells_nothing_about_another() {
    let desk = Desk::new(&json!({}), &[]);
    let switch = json!({"type": "config_switch"});
    error(desk.caller("patroni").post(MAIN, &switch), 403);
    let switcher = desk.caller("switcher");
    error(switcher.post(MAIN, &switch), 400);
    // Neither which backups there are, nor what is missing.
    for backup in ["latest", "20200101T000000"] {
        let body = json!({"type": "recovery", "backup_id": backup});
        error(switcher.post(MAIN, &body), 403);
    }
    error(switcher.post(MAIN, &json!({"type": "recovery"})), 403);
    let reset = json!({"type": "config_switch", "reset": true});
    let id = begun(switcher.post(MAIN, &reset));
    assert_eq!(ended(&switcher, &id)["status"], "DONE");
    assert_eq!(
        desk.stand_in.commands(),
        [["config-switch", "--reset", "--", "main"]]
    );
}

#[test]
fn a_denied_command_is_denied_here_too_and_so_is_a_denied_path() {
    let desk = Desk::new(&json!({"diagnose": {"stdout": "{}"}}), &[]);
    let barred = desk.caller("barred");
    error(barred.post(MAIN, &recovery("/srv/r/data")), 403);
    begun(barred.post(MAIN, &json!({"type": "config_switch", "reset": true})));
    let kept_out = desk.caller("kept-out");
    error(kept_out.post(MAIN, &recovery("/srv/r/data")), 403);
    error(kept_out.get(MAIN), 403);
    error(kept_out.get("/diagnose"), 403);
    begun(kept_out.post(OTHER, &recovery("/srv/r/data")));
    let reader = desk.caller("reader");
    error(reader.post(MAIN, &recovery("/srv/r/data")), 403);
    error(reader.get(MAIN), 403);
    let restores = desk.commands();
    let restores = restores.iter().filter(|words| words[0] == "restore");
    assert!(restores.count() <= 1);
}

#[test]
fn who_may_look_at_a_server_sees_its_operations_and_begins_none() {
    let desk = Desk::new(&json!({}), &[]);
    let id = begun(desk.caller("admin").post(MAIN, &recovery("/srv/r/data")));
    let watcher = desk.caller("watcher");
    let listed = watcher.get(MAIN).expect(200).json();
    assert_eq!(listed["operations"][0]["id"], *id);
    assert_eq!(ended(&watcher, &id)["status"], "DONE");
    error(watcher.post(MAIN, &recovery("/srv/r/more")), 403);
    error(watcher.get(OTHER), 403);
    error(watcher.get(&format!("{OTHER}/{id}")), 403);
}

#[test]
fn a_tenant_sees_its_own_server_among_the_servers_and_changes_no_other() {
    let desk = Desk::new(&json!({}), &[]);
    let all = desk.caller("admin").get("/servers").expect(200).json();
    assert_eq!(
        all,
        json!({"servers": [{"name": "main"}, {"name": "other"}]})
    );
    let tenant = desk.caller("tenant");
    let own = tenant.get("/servers").expect(200).json();
    assert_eq!(own, json!({"servers": [{"name": "main"}]}));
    error(desk.caller("patroni").get("/servers"), 403);
    let update = |server: &str| {
        let change = json!({"scope": "server", "server_name": server, "parallel_jobs": "2"});
        tenant.post(
            "/operations",
            &json!({"type": "config_update", "changes": [change]}),
        )
    };
    error(update("other"), 403);
    let id = begun(update("main"));
    tenant.finished(&id);
    tenant.get(&format!("/operations/{id}")).expect(200);
    for target in ["/operations", "/diagnose"] {
        error(tenant.get(target), 403);
    }
    // A model needs more than all of `barman` on that server.
    let switch = json!({"type": "config_switch", "model_name": "main:m1"});
    error(tenant.post(MAIN, &switch), 403);
}

#[test]
fn a_model_needs_full_access_or_a_rule_that_names_the_command_and_the_server() {
    let desk = Desk::new(&json!({}), &[]);
    let rules = [
        ("by-path", "['barman/config-switch']", "[]"),
        ("by-any-server", "['barman/config-switch@*']", "[]"),
        ("by-pattern", "['barman/config-*@main']", "[]"),
        ("by-server", "['barman@main']", "[]"),
        ("by-nothing-denied", "[]", "['barman/delete']"),
        ("elsewhere", "['barman/config-switch@other']", "[]"),
        (
            "denied",
            "['barman/config-switch@main']",
            "['barman/config-switch@m*']",
        ),
        ("patroni", "['barman/config-switch@main']", "[]"),
    ];
    let sections = rules.map(|(name, access, deny)| {
        format!(
            "[{name}]\npassword = {:032}\naccess = {access}\ndeny = {deny}\n",
            0
        )
    });
    desk.site.users(&sections.concat());
    let switch = json!({"type": "config_switch", "model_name": "main:m1"});
    for (name, ..) in &rules[..rules.len() - 1] {
        let text = error(desk.caller(name).post(MAIN, &switch), 403);
        let told = text.contains("access names barman/config-switch@SERVER");
        assert_eq!(told, name.starts_with("by-"), "{name}: {text}");
    }
    assert_eq!(desk.commands(), Vec::<Vec<String>>::new());
    let patroni = desk.caller("patroni");
    let id = begun(patroni.post(MAIN, &switch));
    assert_eq!(ended(&patroni, &id)["status"], "DONE");
    // It is that of /barman, too, and nothing else: not other models' changes, not another server.
    let form = "server_name=main&model_name=main:m1";
    patroni.form("/barman/config-switch", form).expect(200);
    let form = "server_name=other&model_name=main:m1";
    patroni.form("/barman/config-switch", form).expect(403);
    error(patroni.post(OTHER, &switch), 403);
    error(patroni.post(MAIN, &recovery("/srv/r/data")), 403);
    let change = json!([{"scope": "model", "model_name": "main:m1", "parallel_jobs": "2"}]);
    let update = json!({"type": "config_update", "changes": change});
    error(patroni.post("/operations", &update), 403);
    assert_eq!(desk.commands().len(), 2);
}

#[test]
fn an_operation_of_another_server_is_as_unknown_as_one_that_never_was() {
    let desk = Desk::new(&json!({}), &[]);
    let id = begun(desk.caller("admin").post(OTHER, &recovery("/srv/r/data")));
    let tenant = desk.caller("tenant");
    let anothers = error(tenant.get(&format!("{MAIN}/{id}")), 404);
    let random = error(
        tenant.get(&format!("{MAIN}/20261120T214304-k3v9m2x8q4c7")),
        404,
    );
    assert_eq!(anothers, random);
}
