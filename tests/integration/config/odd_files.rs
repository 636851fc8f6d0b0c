//! Files that are there already, and that nobody would write.

use super::*;

/// A change that any configuration takes that Barman can read.
fn any_change(user: &User<'_>) -> Answer {
    user.post("/config/barman/change", &json!({"main.parallel_jobs": 2}))
}

#[test]
fn what_barman_ends_with_an_error_on_is_told_and_nothing_is_written_over_it() {
    everywhere(&[], |desk| {
        let admin = desk.admin();
        let mut statuses = Vec::new();
        for (text, looked) in [
            ("[barman]\nlog_level = DEBUG\n", 200),
            ("[all]\ndescription = everyone\n", 200),
            ("\u{feff}[other]\ndescription = x\n", 502),
        ] {
            desk.files.write("barman.d/zz.conf", text);
            let before = desk.files.all();
            admin.get("/config/barman").expect(looked);
            let answer = any_change(&admin);
            statuses.push(answer.status);
            let told = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(!told.is_empty());
            assert_eq!(desk.files.all(), before, "{text:?}");
            assert_eq!(
                admin.get("/config/barman/revisions").json()["list"],
                json!([])
            );
        }
        assert_eq!(statuses, [502, 502, 502]);
        // A section for all, or one of [barman], can't be made either.
        fs::remove_file(desk.files.path("barman.d/zz.conf")).unwrap();
        let body = json!({"all.description": "x", "create": true});
        admin.post("/config/barman/change", &body).expect(400);
        any_change(&admin).expect(200);
        desk.files.barman(&["list-servers"]);
    });
}

#[test]
fn a_file_of_carriage_returns_and_a_long_one_change_in_one_line() {
    everywhere(&[], |desk| {
        let admin = desk.admin();
        let old = "; a\r[other]\rparallel_jobs = 1\r# b\rcheck_timeout: 3";
        desk.files.write("barman.d/zz.conf", old);
        let body = json!({"other.parallel_jobs": 7, "other.check_timeout": 8});
        admin.post("/config/barman/change", &body).expect(200);
        assert_eq!(
            desk.files.read("barman.d/zz.conf"),
            old.replace("= 1", "= 7").replace(": 3", ": 8")
        );
        let long = "; a comment of some length, as there are many of them\n".repeat(20_000);
        let old = format!("{long}[other]\nparallel_jobs = 1\n{long}");
        assert!(old.len() > 2 << 20);
        desk.files.write("barman.d/zz.conf", &old);
        let answer = admin.post("/config/barman/change", &json!({"other.parallel_jobs": 9}));
        let body = answer.expect(200).json();
        assert!(body["diff"].as_str().unwrap().len() < 1000);
        assert!(desk.files.read("barman.d/zz.conf") == old.replace("= 1\n", "= 9\n"));
        // Beyond the limit nothing is read, and so nothing is written.
        let old = format!("{old}{long}{long}");
        assert!(old.len() > 4 << 20);
        desk.files.write("barman.d/zz.conf", &old);
        let answer = any_change(&admin);
        let told = answer.expect(502).json()["message"].to_string();
        assert!(told.contains("zz.conf"), "{told}");
        admin.get("/config/barman").expect(502);
        assert!(desk.files.read("barman.d/zz.conf") == old);
        desk.files.barman(&["list-servers"]);
        fs::remove_file(desk.files.path("barman.d/zz.conf")).unwrap();
        any_change(&admin).expect(200);
    });
}

#[test]
fn models_are_made_and_changed_under_the_same_rules() {
    let unlock = ["config.unlock = conninfo, pre_backup_script"];
    everywhere(&unlock, |desk| {
        let (admin, dba) = (desk.admin(), desk.server.login("dba"));
        let body = json!({
            "main:m1.model": true,
            "main:m1.cluster": "main",
            "main:m1.parallel_jobs": 5,
            "create": true,
        });
        // Without the cluster it is none.
        let without = json!({"main:m1.model": true, "main:m1.parallel_jobs": 5, "create": true});
        let told = change(&dba, &without).expect(422).json()["message"].to_string();
        assert!(
            told.contains("cluster") && told.contains("[main:m1]"),
            "{told}"
        );
        dba.post("/config/barman/change", &body).expect(428);
        let made = change(&dba, &body).expect(200).json();
        assert_eq!(made["list"]["main:m1"]["parallel_jobs"], "5");
        let text = desk.files.read("barman.d/main:m1.conf");
        assert!(text.starts_with("[main:m1]\n"), "{text}");
        let listed = desk.files.barman(&["list-servers"]);
        assert!(!listed.contains("m1"), "{listed}");
        // Barman itself can switch to it, and keeps that in the server's folder.
        let home = desk.files.path("home/main");
        fs::create_dir_all(&home).unwrap();
        Lab::get().own(&home);
        desk.files.barman(&["config-switch", "main", "main:m1"]);
        let shown = desk.files.barman(&["show-servers", "main"]);
        assert!(shown.contains("parallel_jobs: 5"), "{shown}");
        desk.files.barman(&["config-switch", "main", "--reset"]);
        for (key, value, status) in [
            ("ssh_command", "id", 403),
            ("path_prefix", "/tmp", 403),
            ("custom_decompression_filter", "id", 403),
            ("staging_path", "/tmp", 403),
            ("conninfo", "host=evil", 403),
            ("pre_backup_script", "id", 403),
            ("barman_home", "/tmp", 403),
            ("retention_policy", "REDUNDANCY 1", 428),
            ("cluster", "other", 428),
            ("parallel_jobs", "x", 400),
            ("log_level", "DEBUG", 400),
            ("parallel_jobs", "6", 200),
        ] {
            let body = json!({format!("main:m1.{key}"): value});
            let answer = dba.post("/config/barman/change", &body);
            assert_eq!(answer.status, status, "{key} {answer:?}");
        }
        // No hook and no folder of a server has a place in a model, whoever asks.
        let body = json!({"main:m1.pre_backup_script": "id"});
        change(&admin, &body).expect(400);
        desk.files.barman(&["list-servers"]);
        desk.files.barman(&["config-switch", "main", "main:m1"]);
    });
}
