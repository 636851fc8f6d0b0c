//! What callers see of Barman's configuration.

use std::fmt::Write as _;

use super::*;

#[test]
fn every_section_says_what_barman_reads_and_in_which_files_it_stands() {
    everywhere(&[], |desk| {
        desk.files
            .write("barman.d/zz.conf", "[main]\nparallel_jobs = 7\n");
        let admin = desk.admin();
        let answer = admin.get("/config/barman").expect(200);
        assert!(answer.header("etag").unwrap().starts_with('"'));
        let answer = answer.json();
        let main = &answer["list"]["main"];
        assert_eq!(main["parallel_jobs"], "7");
        assert_eq!(main["description"], "Main PostgreSQL");
        assert_eq!(main["archiver"], "on");
        assert_eq!(main["backup_options"], "\nconcurrent_backup");
        assert_eq!(answer["list"]["barman"]["immediate_checkpoint"], "true");
        let path = |name: &str| desk.files.path(name).display().to_string();
        assert_eq!(
            answer["files"],
            json!({
                "barman": [path("barman.conf")],
                "main": [path("barman.d/main.conf"), path("barman.d/zz.conf")],
                "other": [path("barman.d/other.conf")],
            })
        );
        // A change goes where the key counts.
        change(&admin, &json!({"main.parallel_jobs": 8})).expect(200);
        assert_eq!(
            desk.files.read("barman.d/zz.conf"),
            "[main]\nparallel_jobs = 8\n"
        );
        admin.get("/config/barman?x=1").expect(400);
    });
}

#[test]
fn no_form_of_a_secret_is_ever_shown() {
    let desk = Desk::here(&[]);
    let secret = "s3cr3t-other";
    let mut text = String::from("[other]\n");
    for (key, value) in [
        (
            "streaming_conninfo",
            format!("host=pg password='a {secret}'"),
        ),
        (
            "wal_conninfo",
            format!("host=pg PASSWORD = {secret} user=barman"),
        ),
        (
            "wal_streaming_conninfo",
            format!("postgres://u:{secret}@h:5432/d"),
        ),
        (
            "primary_conninfo",
            format!("postgresql://u:{secret}@h/d?sslpassword={secret}"),
        ),
        ("description", "%%(conninfo)s".to_owned()),
        ("encryption_passphrase_command", format!("echo {secret}")),
        ("ssh_command", format!("sshpass -p {secret} ssh")),
        ("pre_backup_script", format!("run {secret}")),
        ("azure_credential", secret.to_owned()),
        ("azure_subscription_id", "7f3a".to_owned()),
        ("gcp_project", "backups-7f3a".to_owned()),
        ("cluster", "%%(streaming_conninfo)s".to_owned()),
        ("slot_name", format!("password%%%%3d{secret}")),
        ("unknown_secret", secret.to_owned()),
    ] {
        writeln!(text, "{key} = {value}").unwrap();
    }
    text.push_str("\n[twice]\nconninfo = s3cr3t-other\nconninfo = host=x passfile=/s3cr3t-other\ndescription = %(conninfo)s\n");
    desk.files.write("barman.d/zz.conf", &text);
    for user in ["admin", "dba", "reader"] {
        let user = desk.server.login(user);
        let answer = user.get("/config/barman").expect(200);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let answer = answer.json();
        let other = &answer["list"]["other"];
        assert_eq!(
            other["conninfo"].as_str().unwrap().split(' ').next(),
            Some("host=127.0.0.1")
        );
        assert!(other["conninfo"].as_str().unwrap().contains("user=barman"));
        assert_eq!(other["description"], "*REDACTED*");
        assert_eq!(other["cluster"], "*REDACTED*");
        assert_eq!(answer["list"]["twice"]["description"], "*REDACTED*");
        assert_eq!(other["azure_credential"], "*REDACTED*");
        // Names, which open nothing.
        assert_eq!(other["azure_subscription_id"], "7f3a");
        assert_eq!(other["gcp_project"], "backups-7f3a");
        assert_eq!(
            other["wal_streaming_conninfo"],
            "host=h port=5432 dbname=d user=u password=*REDACTED*"
        );
        // Programs are for those who may run any.
        let is_admin = other["pre_backup_script"] == format!("run {secret}");
        let shown = text
            .replace(&format!("run {secret}"), "")
            .replace(&format!("sshpass -p {secret} ssh"), "");
        if !is_admin {
            assert_eq!(other["pre_backup_script"], "*REDACTED*");
            assert_eq!(shown, text);
        }
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn what_config_update_wrote_is_seen_and_left_to_it() {
    everywhere(&[], |desk| {
        let update = r#"[{"scope": "server", "server_name": "main", "parallel_jobs": "6"}]"#;
        desk.files.barman(&["config-update", update]);
        let auto = desk.files.read("home/.barman.auto.conf");
        let admin = desk.admin();
        let answer = admin.get("/config/barman").expect(200).json();
        assert_eq!(answer["list"]["main"]["parallel_jobs"], "6");
        let file = desk
            .files
            .path("home/.barman.auto.conf")
            .display()
            .to_string();
        assert!(answer["files"]["main"].to_string().contains(&file));
        for body in [
            json!({"main.parallel_jobs": 3}),
            json!({"unset": "main.parallel_jobs"}),
        ] {
            let answer = change(&admin, &body).expect(409).json();
            let message = answer["message"].as_str().unwrap();
            assert!(
                message.contains(&file) && message.contains("config-update"),
                "{message}"
            );
        }
        // Other keys of that server are ours to change.
        change(&admin, &json!({"main.check_timeout": 33})).expect(200);
        assert_eq!(desk.files.read("home/.barman.auto.conf"), auto);
        assert!(
            desk.files
                .read("barman.d/main.conf")
                .contains("check_timeout   =   33\n")
        );
    });
}

#[test]
fn the_help_has_every_key_of_this_barman_with_its_place() {
    everywhere(&[], |desk| {
        let admin = desk.admin();
        for path in [
            "/config/barman/help",
            "/config/barman/reload",
            "/config/barman/help",
        ] {
            let answer = admin.get(path).expect(200).json();
            assert_eq!(answer["message"], "");
            let list = &answer["list"];
            assert_eq!(list["retention_policy"]["type"], "Global/Server/Model");
            let about = list["retention_policy"]["description"].as_str().unwrap();
            assert!(about.contains("retention"), "{about}");
            assert!(list.as_object().unwrap().len() > 120);
        }
    });
}

#[test]
fn a_file_that_is_no_ini_text_is_named_with_its_line() {
    let desk = Desk::here(&[]);
    desk.files
        .write("barman.d/broken.conf", "[x]\nkey = 1\nnonsense\n");
    let answer = desk.admin().get("/config/barman").expect(502).json();
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("broken.conf: line 3"), "{message}");
}

#[test]
fn a_thousand_servers_with_every_key_are_shown_in_a_moment() {
    let desk = Desk::here(&[]);
    let keys: Vec<String> = (0..121)
        .map(|key| format!("some_key_number_{key}"))
        .collect();
    for file in 0..10 {
        let mut text = String::new();
        for section in 0..100 {
            writeln!(text, "[server_{file}_{section}]").unwrap();
            for key in &keys {
                writeln!(text, "{key} = value {section}").unwrap();
            }
        }
        desk.files
            .write(&format!("barman.d/many{file}.conf"), &text);
    }
    let answer = desk.admin().get("/config/barman").expect(200);
    // What the service says of it: reading megabytes here is this program's own business.
    let log = fs::read_to_string(desk.server.store().join("logs/general.log")).unwrap();
    let line = log
        .lines()
        .rfind(|line| line.contains("\"/config/barman\""));
    let line: Value = serde_json::from_str(line.unwrap()).unwrap();
    let took = line["fields"]["duration_ms"].as_f64().unwrap();
    eprintln!(
        "1000 sections of 121 keys: {took} ms, {} bytes",
        answer.body.len()
    );
    assert!(answer.body.len() < 8 << 20);
    // The tests run an unoptimised program, which takes about ten times as long.
    assert!(took < 10_000.0, "{took} ms");
    let answer = answer.json();
    assert_eq!(answer["list"].as_object().unwrap().len(), 1003);
    assert_eq!(
        answer["list"]["server_9_99"].as_object().unwrap().len(),
        121
    );
}
