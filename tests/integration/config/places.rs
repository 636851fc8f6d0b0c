//! Where Barman looks for its files, and values that it stumbles over.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_folder_below_the_home_of_barmans_account_is_found() {
    let lab = Lab::get();
    everywhere(&[], |desk| {
        let home = PathBuf::from(lab.fact("LAB_HOME"));
        let name = format!("below-{:08x}", getrandom::u32().unwrap());
        Lab::as_root(&[
            "mv",
            &desk.files.path("barman.d").display().to_string(),
            &home.join(&name).display().to_string(),
        ]);
        let text = desk.files.read("barman.conf");
        let old = format!("{}/barman.d", desk.files.folder.display());
        let text = text.replace(&old, &format!("~/{name}"));
        assert!(text.contains("= ~/"), "{text}");
        desk.files.write("barman.conf", &text);
        let shown = desk.admin().get("/config/barman").expect(200).json();
        let answer = change(&desk.admin(), &json!({"main.parallel_jobs": 3}));
        fs::remove_dir_all(home.join(&name)).unwrap();
        fs::create_dir(desk.files.path("barman.d")).unwrap();
        assert!(shown["list"]["main"].is_object(), "{shown}");
        assert_eq!(
            answer.expect(200).json()["changed"],
            json!(["main.parallel_jobs"])
        );
    });
}

#[test]
fn what_barman_quotes_of_a_secret_is_not_passed_on() {
    for line in [
        "encryption_passphrase_command = echo HUNTER %(foo)s",
        "conninfo = host=127.0.0.1 user=barman password=HUNTER%zzTAIL",
        "ssh_command = ssh HUNTER@pg %(foo)s",
    ] {
        let desk = Desk::here(&[]);
        let bad =
            format!("[third]\ndescription = x\nbackup_method = postgres\narchiver = on\n{line}\n");
        desk.files.write("barman.d/third.conf", &bad);
        let before = desk.files.all();
        for who in ["dba", "admin"] {
            let user = desk.server.login(who);
            let body = json!({"main.parallel_jobs": "9", "dry_run": true});
            let answer = user.post("/config/barman/change", &body).expect(502);
            let told = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(told.contains("as it is"), "{told}");
            let hidden = who == "dba" || !line.starts_with("ssh");
            let leaks = ["HUNTER", "TAIL"].iter().any(|word| told.contains(word));
            assert!(!(hidden && leaks), "{line}: {told}");
        }
        assert_eq!(desk.files.all(), before);
        // Who runs the service may read the commands that run for it; passwords nobody.
        for log in ["general.log", "audit.log"] {
            let text = fs::read_to_string(desk.server.store().join("logs").join(log)).unwrap();
            assert!(
                line.starts_with("ssh") || !text.contains("HUNTER"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_rollback_writes_no_file_where_barman_does_not_look() {
    let desk = Desk::here(&["config.unlock = conninfo"]);
    let admin = desk.admin();
    let made = change(&admin, &third()).expect(200).json();
    let gone = roll_back(&admin, made["revision"].as_str().unwrap()).expect(200);
    let gone = gone.json()["revision"].as_str().unwrap().to_owned();
    let other = desk.files.path("other.d");
    fs::create_dir(&other).unwrap();
    Lab::get().own(&other);
    let text = desk.files.read("barman.conf");
    desk.files
        .write("barman.conf", &text.replace("/barman.d", "/other.d"));
    let told = roll_back(&admin, &gone).expect(409).json();
    let told = told["message"].as_str().unwrap();
    assert!(told.contains("configuration_files_directory"), "{told}");
    assert!(!desk.files.path("barman.d/third.conf").exists());
}

#[test]
fn no_server_is_called_like_a_message_of_barmans() {
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    let before = desk.files.all();
    for name in ["_DEBUG", "_INFO", "_WARNING", "_ERROR", "_EXCEPTION"] {
        let body = json!({format!("{name}.description"): "x", "create": true});
        change(&admin, &body).expect(400);
    }
    assert_eq!(desk.files.all(), before);
}

#[test]
fn a_new_file_where_none_can_be_made_is_a_conflict() {
    everywhere(&["config.unlock = conninfo"], |desk| {
        let admin = desk.admin();
        let path = desk.files.path("barman.d/third.conf");
        symlink(desk.files.path("nowhere/third"), &path).unwrap();
        let told = change(&admin, &third()).expect(409).json();
        assert!(told.to_string().contains("third.conf"), "{told}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let told = change(&admin, &third()).expect(409).json();
        assert!(told.to_string().contains("third.conf"), "{told}");
        fs::remove_dir(&path).unwrap();
        fs::remove_dir_all(desk.files.path("barman.d")).unwrap();
        let told = change(&admin, &third()).expect(409).json();
        assert!(told.to_string().contains("barman.d"), "{told}");
        let list = admin.get("/config/barman/revisions").expect(200).json();
        assert_eq!(list["list"], json!([]));
        fs::create_dir(desk.files.path("barman.d")).unwrap();
        Lab::get().own(&desk.files.path("barman.d"));
        change(&admin, &third()).expect(200);
    });
}

#[test]
fn the_file_is_named_that_makes_another_key_change_too() {
    let desk = Desk::here(&[]);
    let text = "[third]\narchiver = on\nbackup_options = concurrent_backup\n\
                description = %(backup_options)s\n";
    desk.files.write("barman.d/third.conf", text);
    let body = json!({"third.backup_options": "exclusive_backup"});
    let told = change(&desk.admin(), &body).expect(409).json();
    let told = told["message"].as_str().unwrap();
    assert!(told.contains("description would change too"), "{told}");
    assert!(told.contains("barman.d/third.conf"), "{told}");
}
