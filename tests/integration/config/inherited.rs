//! What Barman's parser makes of `[DEFAULT]`, of bytes that are no text, and of keys without values,
//! seen and changed over HTTP.

use super::*;

/// What the real Barman has for a key of each server, with these files.
fn obeyed(desk: &Desk, key: &str) -> [Value; 2] {
    ["main", "other"].map(|server| {
        let text = desk.files.barman(&["-f", "json", "show-servers", server]);
        let shown: Value = serde_json::from_str(&text).unwrap();
        shown[server][key].clone()
    })
}

#[test]
fn what_default_says_is_seen_and_overridden_as_barman_does() {
    everywhere(&[], |desk| {
        let text = "[DEFAULT]\nparallel_jobs = 6\n; in the middle\n[main]\ncheck_timeout = 5\n";
        desk.files.write("barman.d/zz.conf", text);
        let admin = desk.admin();
        let seen = || {
            let shown = admin.get("/config/barman").expect(200).json();
            ["main", "other"].map(|server| shown["list"][server]["parallel_jobs"].clone())
        };
        assert_eq!(seen(), [json!("6"), Value::Null]);
        assert_eq!(obeyed(desk, "parallel_jobs"), [json!(6), json!(1)]);
        change(&admin, &json!({"main.parallel_jobs": 7})).expect(200);
        assert_eq!(seen(), [json!("7"), Value::Null]);
        assert_eq!(obeyed(desk, "parallel_jobs"), [json!(7), json!(1)]);
        let now = desk.files.read("barman.d/zz.conf");
        assert_eq!(diff(text, &now), ["> parallel_jobs = 7"]);
        // Without a value of its own it has that of [DEFAULT] again, which is not what was asked for.
        let unset = json!({"unset": "main.parallel_jobs"});
        let told = change(&admin, &unset).expect(409).json();
        let told = told["message"].as_str().unwrap();
        assert!(told.contains("zz.conf, line 2 in [DEFAULT]"), "{told}");
        assert_eq!(desk.files.read("barman.d/zz.conf"), now);
    });
}

#[test]
fn a_secret_that_is_inherited_is_as_hidden_as_any() {
    everywhere(&[], |desk| {
        let text = "[DEFAULT]\nwal_conninfo = host=pg user=u password=s3cr3t-other\n\
                    azure_credential = s3cr3t-other\n[main]\ncheck_timeout = 5\n\
                    description = %(azure_credential)s\n";
        desk.files.write("barman.d/zz.conf", text);
        for user in ["admin", "reader"] {
            let answer = desk.server.login(user).get("/config/barman").expect(200);
            let shown = answer.json();
            let main = &shown["list"]["main"];
            assert_eq!(main["wal_conninfo"], "host=pg user=u password=*REDACTED*");
            assert_eq!(main["azure_credential"], "*REDACTED*");
            assert_eq!(main["description"], "*REDACTED*");
            assert!(!shown.to_string().contains("s3cr3t"), "{shown}");
        }
    });
}

#[test]
fn a_file_that_is_no_text_to_barman_is_none_to_us_and_stays() {
    everywhere(&[], |desk| {
        let path = desk.files.path("barman.d/zz.conf");
        let admin = desk.admin();
        for (bytes, line) in [
            (&b"[other]\n# caf\xe9\nparallel_jobs = 1\n"[..], 2),
            (b"[other]\nparallel_jobs\n", 2),
        ] {
            desk.files.write("barman.d/zz.conf", "");
            fs::write(&path, bytes).unwrap();
            let lab = Lab::get();
            let config = desk.files.path("barman.conf").display().to_string();
            let barman = lab
                .command(lab.fact("BARMAN"))
                .args(["-c", &config, "list-servers"])
                .output()
                .unwrap();
            assert!(!barman.status.success(), "{barman:?}");
            for answer in [
                admin.get("/config/barman"),
                admin.post("/config/barman/change", &json!({"main.parallel_jobs": 2})),
            ] {
                let told = answer.expect(502).json()["message"].to_string();
                let place = format!("zz.conf: line {line}");
                assert!(told.contains(&place), "{told}");
            }
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    });
}
