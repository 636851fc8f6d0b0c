//! What nobody can do to Barman over HTTP.

use super::*;

/// The keys that make Barman run a program, or change which.
const PROGRAMS: [&str; 26] = [
    "pre_backup_script",
    "post_backup_script",
    "pre_archive_script",
    "post_archive_script",
    "pre_delete_script",
    "post_delete_script",
    "pre_recovery_script",
    "post_recovery_script",
    "pre_wal_delete_script",
    "post_wal_delete_script",
    "pre_backup_retry_script",
    "post_backup_retry_script",
    "pre_archive_retry_script",
    "post_archive_retry_script",
    "pre_delete_retry_script",
    "post_delete_retry_script",
    "pre_recovery_retry_script",
    "post_recovery_retry_script",
    "pre_wal_delete_retry_script",
    "post_wal_delete_retry_script",
    "ssh_command",
    "primary_ssh_command",
    "custom_compression_filter",
    "custom_decompression_filter",
    "encryption_passphrase_command",
    "path_prefix",
];

#[test]
fn no_spelling_of_a_key_that_runs_a_program_gets_through() {
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    let before = desk.files.all();
    for key in PROGRAMS {
        for (spelling, status) in [
            (key.to_owned(), 403),
            (key.to_uppercase(), 403),
            (format!(" {key}"), 400),
            (format!("{key} "), 400),
            (format!("{key}:"), 400),
            (format!("{key}: id #"), 400),
            (format!("{key}\t"), 400),
            (
                key.to_uppercase().replace('I', "ı"),
                if key.contains('i') { 400 } else { 403 },
            ),
        ] {
            let body = json!({format!("main.{spelling}"): "id"});
            let answer = admin.post("/config/barman/change", &body);
            assert_eq!(answer.status, status, "{spelling:?} {answer:?}");
        }
        let target = format!("/config/barman/change?main.{key}=id");
        admin.get(&target).expect(403);
        let body = json!({"unset": format!("main.{key}")});
        admin.post("/config/barman/change", &body).expect(403);
    }
    assert_eq!(desk.files.all(), before);
}

#[test]
fn keys_of_paths_hosts_and_programs_want_unlock_and_full_access() {
    let keys = [
        ("main.backup_directory", "/etc"),
        ("main.wals_directory", "s3://evil/x"),
        ("main.conninfo", "host=evil"),
        ("main.streaming_backup_name", "evil"),
    ];
    let locked = Desk::here(&[]);
    let before = locked.files.all();
    for (key, value) in keys {
        let answer = change(&locked.admin(), &json!({key: value}))
            .expect(403)
            .json();
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains("unlock"), "{message}");
    }
    assert_eq!(locked.files.all(), before);
    let unlock = "config.unlock = backup_directory, wals_directory, conninfo, streaming_backup_name, streaming_archiver_name, pre_backup_script";
    let open = Desk::here(&[unlock]);
    let before = open.files.all();
    for (key, value) in keys {
        let answer = change(&open.server.login("dba"), &json!({key: value}));
        let message = answer.expect(403).json()["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains("full access"), "{message}");
    }
    assert_eq!(open.files.all(), before);
    let body = json!({"main.pre_backup_script": "/bin/true", "main.streaming_backup_name": "b"});
    change(&open.admin(), &body).expect(200);
    for name in ["streaming_backup_name", "streaming_archiver_name"] {
        let body = json!({format!("main.{name}"): "x host=evil.example"});
        change(&open.admin(), &body).expect(400);
    }
}

#[test]
fn what_moves_the_installation_is_never_changed() {
    let keys = [
        "barman_home",
        "barman_lock_directory",
        "barman_user",
        "config_changes_queue",
        "configuration_files_directory",
        "log_file",
    ];
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    let before = desk.files.all();
    for key in keys {
        let answer = change(&admin, &json!({format!("barman.{key}"): "/tmp/x"})).expect(403);
        let words = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(words.contains("never"), "{words}");
        change(&admin, &json!({"unset": format!("barman.{key}")})).expect(403);
    }
    assert_eq!(desk.files.all(), before);
}

#[test]
fn keys_that_can_lose_data_want_to_know_what_was_seen() {
    everywhere(&[], |desk| {
        let admin = desk.admin();
        let before = desk.files.all();
        for (key, value) in [
            ("main.retention_policy", "REDUNDANCY 1"),
            ("main.active", "false"),
            ("main.minimum_redundancy", "0"),
        ] {
            let body = json!({key: value});
            let answer = admin.post("/config/barman/change", &body).expect(428);
            assert_eq!(answer.json()["type"], "precondition required");
            for stale in ["\"0000\"", "*", "W/\"x\"", ""] {
                change_with(&admin, stale, &body).expect(412);
            }
        }
        assert_eq!(desk.files.all(), before);
        // Two who have seen the same: the second one is told.
        let tag = etag(&admin);
        change_with(
            &admin,
            &tag,
            &json!({"main.retention_policy": "REDUNDANCY 2"}),
        )
        .expect(200);
        let second = change_with(&admin, &tag, &json!({"main.minimum_redundancy": 1}));
        assert_eq!(second.expect(412).json()["type"], "stale");
        // A change by hand counts as well, and so does one of another file.
        let tag = etag(&admin);
        desk.files.write("barman.d/zz.conf", "; nothing\n");
        change_with(&admin, &tag, &json!({"main.parallel_jobs": 2})).expect(412);
    });
}

#[test]
fn no_section_name_reaches_beyond_its_own_file() {
    let desk = Desk::here(&["config.unlock = conninfo"]);
    let admin = desk.admin();
    let before = desk.files.all();
    let long = "x".repeat(300);
    for section in [
        "x]\n[y",
        "DEFAULT",
        "all",
        "..",
        "../evil",
        "",
        long.as_str(),
        "main]",
        " main",
        "main ",
        ".hidden",
        "a b",
        "a/b",
        "/etc/x",
        "-x",
        "x\u{2028}y",
        "x\ry",
        "\\x",
        "~",
    ] {
        let body = json!({format!("{section}.archiver"): true, "create": true});
        let answer = change(&admin, &body);
        assert_eq!(answer.status, 400, "{section:?} {answer:?}");
    }
    // [barman] is there, and only in the main file.
    let body = json!({"barman.immediate_checkpoint": true, "create": true});
    change(&admin, &body).expect(200);
    assert_eq!(desk.files.all(), before);
    let body = json!({"barman.immediate_checkpoint": false, "create": true});
    change(&admin, &body).expect(200);
    let text = desk.files.read("barman.conf");
    assert!(text.contains("immediate_checkpoint = false\n"), "{text}");
    assert!(!desk.files.path("barman.d/barman.conf").exists());
}

#[test]
fn no_value_ends_its_line() {
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    let before = desk.files.all();
    for text in [
        "\n", "\r", "\r\n", "\n ", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\u{85}", "\u{2028}",
        "\u{2029}", "\0", "\x1b", "\u{9b}", "\t",
    ] {
        let value = format!("a{text}pre_backup_script = id");
        let answer = admin.post("/config/barman/change", &json!({"main.description": value}));
        assert_eq!(answer.status, 400, "{text:?} {answer:?}");
        assert!(
            !String::from_utf8_lossy(&answer.body).contains("= id"),
            "{answer:?}"
        );
    }
    for value in ["%(conninfo)s", "%%(conninfo)s", "x %(name)s"] {
        let body = json!({"main.description": value});
        admin.post("/config/barman/change", &body).expect(400);
    }
    assert_eq!(desk.files.all(), before);
}

#[test]
fn a_key_of_the_other_file_is_sent_where_it_belongs() {
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    for key in [
        "application.store_directory",
        "barman.command",
        "auth_token.secret",
        "barman.job_timeout.check",
    ] {
        let answer = change(&admin, &json!({key: "x"}));
        let message = answer.clone().json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(answer.status, 400, "{answer:?}");
        if key != "barman.job_timeout.check" {
            assert!(message.contains("/config/barmanapi/change"), "{message}");
        }
    }
    for (key, own) in [
        ("main.command", "barman.command"),
        ("main.Token_Life", "auth_token.token_life"),
        ("new.secret", "user.secret"),
    ] {
        let answer = change(&admin, &json!({key: "x"})).expect(400);
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        let words = format!("file has {own}, which is changed by /config/barmanapi/change");
        assert!(message.contains(&words), "{message}");
    }
    for (key, words) in [
        ("barman.conninfo", "belongs in"),
        ("main.log_level", "belongs in"),
        ("main.parallel_jobs", "parallel_jobs"),
        ("main.backup_method", "backup_method"),
    ] {
        let unlocked = change(&admin, &json!({key: "nonsense"}));
        if key == "barman.conninfo" {
            assert_eq!(unlocked.status, 403);
            continue;
        }
        let message = unlocked.expect(400).json()["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_password_is_not_written_into_a_connection_string() {
    let unlock = ["config.unlock = conninfo, streaming_conninfo, primary_conninfo"];
    let desk = Desk::here(&unlock);
    let admin = desk.admin();
    let before = desk.files.all();
    for conninfo in [
        "host=pg password=n3w-s3cr3t",
        "host=pg PASSWORD = 'n3w-s3cr3t x'",
        "postgres://u:n3w-s3cr3t@h/d",
        "postgresql://u@h/d?password=n3w-s3cr3t",
        "host=pg sslpassword=n3w-s3cr3t",
        "host=pg password%3dn3w-s3cr3t",
        "dbname='host=pg password=n3w-s3cr3t'",
    ] {
        for key in ["conninfo", "streaming_conninfo"] {
            let answer = change(&admin, &json!({format!("main.{key}"): conninfo})).expect(400);
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(text.contains(".pgpass"), "{text}");
            assert!(!text.contains("n3w-s3cr3t"), "{text}");
        }
    }
    let body = json!({"main.description": "password=n3w-s3cr3t"});
    change(&admin, &body).expect(400);
    assert_eq!(desk.files.all(), before);
    let all = ["logs/general.log", "logs/audit.log"]
        .map(|name| std::fs::read_to_string(desk.server.store().join(name)).unwrap());
    assert!(!all.concat().contains("n3w-s3cr3t"));
    assert!(
        !std::fs::read_to_string(desk.site.file("stderr"))
            .unwrap()
            .contains("n3w-s3cr3t")
    );
}

#[test]
fn without_the_right_nothing_is_learnt_and_with_get_changes_off_nothing_is_changed() {
    let desk = Desk::here(&["application.get_changes = false"]);
    let before = desk.files.all();
    desk.site
        .user("writer", &["--access", "config/barman/change"]);
    let nobody = desk.server.login("writer");
    for path in [
        "/config/barman",
        "/config/barman/revisions",
        "/config/barman/help",
    ] {
        nobody.get(path).expect(403);
    }
    nobody
        .post("/config/barman/rollback", &json!({"revision": "x"}))
        .expect(403);
    let admin = desk.admin();
    admin
        .get("/config/barman/change?main.parallel_jobs=2")
        .expect(405);
    admin
        .request(
            "HEAD",
            "/config/barman/change?main.parallel_jobs=2",
            &[],
            b"",
        )
        .expect(405);
    admin.get("/config/barman/rollback?revision=x").expect(405);
    assert_eq!(desk.files.all(), before);
    nobody
        .post("/config/barman/change", &json!({"main.parallel_jobs": 2}))
        .expect(200);
}

#[test]
fn every_change_and_every_refusal_is_in_the_audit_log_without_values() {
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    change(
        &admin,
        &json!({"main.description": "a-value-of-mine", "main.parallel_jobs": 2}),
    )
    .expect(200);
    change(&admin, &json!({"main.ssh_command": "a-value-of-mine"})).expect(403);
    change(&admin, &json!({"nowhere.description": "a-value-of-mine"})).expect(404);
    change_with(&admin, "\"x\"", &json!({"main.active": true})).expect(412);
    admin
        .post(
            "/config/barman/change",
            &json!({"active": "a-value-of-mine"}),
        )
        .expect(400);
    let lines = desk.audit();
    let of = |event: &str| -> Vec<Value> {
        let lines = lines.iter().filter(|line| line["event"] == event);
        let lines = lines.filter(|line| line["route"] == "/config/barman/change");
        lines.cloned().collect()
    };
    let changes = of("config_change");
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0]["user"], "admin");
    assert_eq!(
        changes[0]["outcome"],
        "main.description, main.parallel_jobs"
    );
    assert!(changes[0]["ticket"].is_string());
    let refused = of("refused");
    let statuses: Vec<_> = refused.iter().map(|line| line["status"].clone()).collect();
    assert_eq!(statuses, [403, 404, 412, 400]);
    assert_eq!(refused[0]["outcome"], "main.ssh_command");
    let text = std::fs::read_to_string(desk.server.store().join("logs/audit.log")).unwrap();
    let general = std::fs::read_to_string(desk.server.store().join("logs/general.log")).unwrap();
    assert!(!text.contains("a-value-of-mine") && !general.contains("a-value-of-mine"));
}
