//! Secrets in what is changed, told and taken back.

use super::*;

const SECRET: &str = "s3cr3t-other";

/// A file with secrets in every place where a diff shows lines.
fn write_secrets(files: &Files) {
    files.write(
        "barman.d/other.conf",
        "\
[other]
description = Other
# conninfo = host=old user=barman password=s3cr3t-other
;conninfo: host=older password = 's3cr3t-other x'
#password=s3cr3t-other
conninfo = host=127.0.0.1 port=@PORT@
    user=barman dbname=postgres
    password=s3cr3t-other
# encryption_passphrase_command = echo s3cr3t-other
 ; ssh_command = sshpass -p s3cr3t-other ssh
backup_method = local-rsync
# postgres://u:s3cr3t-other@h:5432/d
# streaming_conninfo = postgresql://u:s3cr3t-other@h/d?sslpassword=s3cr3t-other
# azure_credential = s3cr3t-other
archiver = on
parallel_jobs = 1
encryption_passphrase_command = echo s3cr3t-other
pre_backup_script = run s3cr3t-other
post_backup_script =
    run
    s3cr3t-other
",
    );
}

/// What only those with full access may see.
fn without_programs(text: &str) -> String {
    let mut text = text.to_owned();
    for known in [
        "run s3cr3t-other",
        "    s3cr3t-other",
        "run\\ns3cr3t-other",
        "sshpass -p s3cr3t-other ssh",
    ] {
        text = text.replace(known, "");
    }
    text
}

#[test]
fn diffs_revisions_and_rollbacks_show_no_secret_here_and_over_ssh() {
    everywhere(&["config.unlock = conninfo"], |desk| {
        write_secrets(&desk.files);
        let (admin, dba) = (desk.admin(), desk.server.login("dba"));
        let reader = desk.server.login("reader");
        let mut seen: Vec<(bool, Answer)> = Vec::new();
        let dry = json!({"other.parallel_jobs": 3, "other.backup_options": "concurrent_backup", "dry_run": true});
        seen.push((true, change(&admin, &dry).expect(200)));
        seen.push((false, change(&dba, &dry).expect(200)));
        let made = change(
            &dba,
            &json!({"other.parallel_jobs": 3, "other.description": "x"}),
        );
        let first = made.json()["revision"].as_str().unwrap().to_owned();
        seen.push((false, made.expect(200)));
        // The continued value itself is replaced, and put back.
        let lab = Lab::get();
        let conninfo = format!(
            "host=127.0.0.1 port={} user=barman dbname=postgres",
            lab.fact("PGPORT")
        );
        let made = change(&admin, &json!({"other.conninfo": conninfo})).expect(200);
        let second = made.json()["revision"].as_str().unwrap().to_owned();
        assert!(made.json()["diff"].to_string().contains("*REDACTED*"));
        seen.push((true, made));
        for id in [&first, &second] {
            let target = format!("/config/barman/revisions/{id}");
            seen.push((true, admin.get(&target).expect(200)));
            seen.push((false, dba.get(&target).expect(200)));
            seen.push((false, reader.get(&target).expect(200)));
            admin.get(&format!("{target}?reveal=true")).expect(400);
        }
        seen.push((false, dba.get("/config/barman/revisions").expect(200)));
        seen.push((true, roll_back(&admin, &second).expect(200)));
        seen.push((false, roll_back(&dba, &first).expect(200)));
        seen.push((false, reader.get("/config/barman").expect(200)));
        for (full, answer) in seen {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let text = if full { without_programs(&text) } else { text };
            assert!(!text.contains(SECRET), "{text}");
        }
        for target in [
            "/config/barman?reveal=true",
            "/config/barman?Reveal=1",
            "/config/barman/revisions?reveal=true",
            "/config/barmanapi?reveal=true",
            "/config/barman/change?main.parallel_jobs=2&reveal=true",
        ] {
            admin.get(target).expect(400);
        }
        admin
            .form(
                "/config/barman/rollback",
                &format!("revision={first}&reveal=true"),
            )
            .expect(400);
        assert!(
            desk.files
                .read("barman.d/other.conf")
                .contains("    password=s3cr3t-other\n")
        );
        for log in ["logs/general.log", "logs/audit.log"] {
            let text = fs::read_to_string(desk.server.store().join(log)).unwrap();
            assert!(!text.contains(SECRET), "{log}");
        }
        let told = fs::read_to_string(desk.site.file("stderr")).unwrap();
        assert!(!told.contains(SECRET));
    });
}

#[test]
fn a_password_gets_into_no_connection_string_of_any_kind() {
    const NEW: &str = "n3w-s3cr3t";
    let keys = [
        "conninfo",
        "streaming_conninfo",
        "primary_conninfo",
        "wal_conninfo",
        "wal_streaming_conninfo",
    ];
    let desk = Desk::here(&[&format!("config.unlock = {}", keys.join(", "))]);
    let admin = desk.admin();
    let before = desk.files.all();
    for key in keys {
        for value in [
            format!("host=pg password={NEW}"),
            format!("postgresql://u:{NEW}@h/d"),
            format!("host=pg PassWord='{NEW}'"),
            format!("host=pg sslpassword={NEW}"),
            format!("host=pg scram_client_key={NEW}"),
            format!("postgresql://u@h/d?scram_server_key={NEW}"),
        ] {
            for body in [
                json!({format!("main.{key}"): value}),
                json!({format!("main.{key}"): value, "dry_run": true}),
                json!({format!("new.{key}"): value, "create": true, "new.archiver": true}),
                json!({format!("new.{key}"): value, "create": true, "dry_run": true}),
                json!({format!("main:m1.{key}"): value, "create": true,
                    "main:m1.model": true, "main:m1.cluster": "main"}),
            ] {
                let answer = change(&admin, &body).expect(400);
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(text.contains(".pgpass"), "{body}: {text}");
                assert!(!text.contains(NEW), "{text}");
            }
        }
    }
    assert_eq!(desk.files.all(), before);
    // The name of a method, though it is the word.
    let body = json!({"main.conninfo": "host=pg require_auth=password", "dry_run": true});
    change(&admin, &body).expect(200);
    let store = desk.server.store().display().to_string();
    let found = std::process::Command::new("grep")
        .args(["-rl", NEW, &store])
        .output()
        .unwrap();
    assert!(found.stdout.is_empty(), "{found:?}");
}

#[test]
fn nothing_secret_is_written_down_by_a_service_that_debugs() {
    const PASSWORDS: [&str; 6] = [
        "first-pass-phrase",
        "second-pass-phrase",
        "guessed-pass-phrase",
        "asked-pass-phrase",
        "typed-pass-phrase",
        "n3w-s3cr3t",
    ];
    let [first, second, guessed, asked, typed, new] = PASSWORDS;
    everywhere(
        &["application.debug = true", "config.unlock = conninfo"],
        |desk| {
            write_secrets(&desk.files);
            let (admin, dba) = (desk.admin(), desk.server.login("dba"));
            let add = json!({"username": "eve", "password": first, "access": ["barman/check"]});
            admin.post("/auth/user/add", &add).expect(200);
            let add = json!({"username": "eva", "password": first, "access": ["barman/check"]});
            dba.post("/auth/user/add", &add).expect(403);
            let eve = json!({"username": "eve", "password": second});
            admin.post("/auth/user/change", &eve).expect(200);
            let own = |old: &str, new: &str| json!({"username": "eve", "old_password": old, "password": new});
            let basic = |target: &str| desk.server.basic(target, "eve", second);
            let token = basic("/auth/token").expect(200).json();
            let token = token["token"].as_str().unwrap().to_owned();
            let user = desk.server.with_token(&token);
            user.post("/auth/user/change", &own(guessed, first))
                .expect(403);
            user.post("/auth/user/change", &own(second, asked))
                .expect(200);
            // In a query, and with a word that is not known beside it.
            let target = format!("/auth/user/change?username=eve&password={typed}");
            admin.get(&target).expect(200);
            admin.get(&format!("{target}&pasword={first}")).expect(400);
            assert_eq!(desk.server.basic("/auth/token", "eve", guessed).status, 401);
            for body in [
                json!({"main.conninfo": format!("host=pg password={new}")}),
                json!({"main.azure_credential": new}),
                json!({"main.no_such_key": new}),
                json!({"main.ssh_command": format!("sshpass -p {new} ssh")}),
                json!({"main.parallel_jobs": new}),
            ] {
                let answer = change(&admin, &body);
                assert!([400, 403].contains(&answer.status), "{answer:?}");
            }
            let target = format!("/config/barman/change?main.conninfo=password%3D{new}");
            admin.get(&target).expect(400);
            // Barman's own words have the text of a key in them that it can't read.
            let text = desk.files.read("barman.d/other.conf");
            let broken = format!("{text}post_delete_script = run {SECRET} %(nope)s\n");
            desk.files.write("barman.d/other.conf", &broken);
            let words = change(&admin, &json!({"main.parallel_jobs": 3})).expect(502);
            let words = words.json()["message"].to_string();
            assert!(words.contains("nope"), "{words}");
            desk.files.write("barman.d/other.conf", &text);
            let made = change(&admin, &json!({"other.parallel_jobs": 3})).expect(200);
            let id = made.json()["revision"].as_str().unwrap().to_owned();
            roll_back(&admin, &id).expect(200);
            for body in [
                json!({"auth_token.secret": new}),
                json!({"user.secret": new}),
                json!({"barman.max_jobs": new}),
            ] {
                let answer = admin.post("/config/barmanapi/change", &body);
                assert!([400, 403].contains(&answer.status), "{answer:?}");
            }
            admin.form("/auth/user/remove", "username=eve").expect(200);

            for name in ["general.log", "audit.log"] {
                let lines = desk.site.log_lines(name);
                assert!(lines.len() > 10, "{name}: {lines:?}");
            }
            let logged = desk.site.logged();
            let set = admin.get("/config/barmanapi").expect(200).json();
            assert_eq!(set["list"]["application"]["debug"], "true");
            let own = fs::read_to_string(desk.site.file("store/config/secret")).unwrap();
            let others = [
                "correct horse battery",
                SECRET,
                &token,
                &admin.token,
                own.trim(),
            ];
            for word in PASSWORDS.into_iter().chain(others) {
                assert!(!logged.contains(word), "{word:?} in {logged}");
            }
            for word in ["argon2", "Basic ", "Bearer "] {
                assert!(!logged.contains(word), "{word:?} in {logged}");
            }
        },
    );
}
