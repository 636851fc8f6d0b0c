//! The changes of configuration that `config-update` takes.

use serde_json::{Value, json};

use super::Bench;

/// The text of one change of `main`.
fn change(key: &str, value: &Value) -> String {
    json!([{"scope": "server", "server_name": "main", key: value}]).to_string()
}

#[test]
fn a_change_holds_no_second_line_and_no_other_section() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let server = |name: &str| {
        json!([{"scope": "server", "server_name": name, "description": "x"}]).to_string()
    };
    for changes in [
        change("description", &json!("hello\n[pwned]\ndescription = x")),
        change("description", &json!("hello\rx")),
        change("description", &json!("a\u{2028}b")),
        change("description", &json!("%(conninfo)s")),
        change("description", &json!({"a": 1})),
        change("description", &json!(null)),
        change("description = x\npre_backup_script", &json!("id")),
        server("x]\npre_backup_script = id\n[y"),
        server("x]"),
        server("all"),
        "[]".to_owned(),
        "{}".to_owned(),
        "[1]".to_owned(),
        "\"x\"".to_owned(),
        "no json".to_owned(),
        "[".repeat(20_000),
    ] {
        bench.refused(&admin, 400, "config-update", &[("json_changes", &changes)]);
    }
    let changes = change("description", &json!("hello [there]"));
    let expected = ["config-update", "--", &changes];
    bench.accepted(
        &admin,
        "config-update",
        &[("json_changes", &changes)],
        &expected,
    );
    bench.logs_are_clean(&[&admin]);
}

#[test]
fn every_value_reaches_barman_as_text() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    for (key, value, text) in [
        ("parallel_jobs", json!(2), "2"),
        ("immediate_checkpoint", json!(true), "true"),
        ("Parallel_Jobs", json!("3"), "3"),
    ] {
        let expected = change(&key.to_lowercase(), &json!(text));
        let expected = ["config-update", "--", &expected];
        bench.accepted(
            &admin,
            "config-update",
            &[("json_changes", &change(key, &value))],
            &expected,
        );
    }
}

#[test]
fn keys_that_run_programs_are_refused_in_every_case() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    for key in [
        "pre_backup_script",
        "PRE_BACKUP_SCRIPT",
        "post_archive_retry_script",
        "ssh_command",
        "barman_home",
        "no_such_key",
    ] {
        let changes = change(key, &json!("id"));
        bench.refused(&admin, 403, "config-update", &[("json_changes", &changes)]);
    }
    let two = json!([
        {"scope": "server", "server_name": "main", "parallel_jobs": "2"},
        {"scope": "server", "server_name": "main", "pre_backup_script": "id"},
    ]);
    bench.refused(
        &admin,
        403,
        "config-update",
        &[("json_changes", &two.to_string())],
    );
}

#[test]
fn a_caller_of_one_server_changes_that_server_alone() {
    let bench = Bench::new(&[]);
    let user = bench.server.login("main");
    let other =
        json!([{"scope": "server", "server_name": "other", "parallel_jobs": "2"}]).to_string();
    bench.refused(&user, 403, "config-update", &[("json_changes", &other)]);
    let model = json!([{"scope": "model", "model_name": "main:m", "cluster": "c"}]).to_string();
    bench.refused(&user, 403, "config-update", &[("json_changes", &model)]);
    let switch = [("server_name", "main"), ("model_name", "main:m")];
    bench.refused(&user, 403, "config-switch", &switch);
    let own = change("parallel_jobs", &json!("2"));
    bench.accepted(
        &user,
        "config-update",
        &[("json_changes", &own)],
        &["config-update", "--", &own],
    );
    let admin = bench.admin();
    bench.accepted(
        &admin,
        "config-switch",
        &switch,
        &["config-switch", "--", "main", "main:m"],
    );
}
