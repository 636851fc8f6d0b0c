//! Changes that are made: which bytes, what Barman makes of them, and how they are taken back.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

#[test]
fn a_retention_policy_is_changed_obeyed_and_rolled_back() {
    everywhere(&[], |desk| {
        let admin = desk.admin();
        let before = desk.files.all();
        let text = desk.files.read("barman.d/main.conf");
        let body = json!({"main.retention_policy": "RECOVERY WINDOW OF 7 DAYS"});
        let answer = change(&admin, &body).expect(200);
        let tag = answer.header("etag").unwrap().to_owned();
        assert_eq!(tag, etag(&admin));
        let answer = answer.json();
        assert_eq!(answer["changed"], json!(["main.retention_policy"]));
        assert_eq!(
            answer["list"]["main"]["retention_policy"],
            "RECOVERY WINDOW OF 7 DAYS"
        );
        let now = desk.files.read("barman.d/main.conf");
        assert_eq!(
            diff(&text, &now),
            [
                "< retention_policy   =   REDUNDANCY 3",
                "> retention_policy   =   RECOVERY WINDOW OF 7 DAYS"
            ]
        );
        assert!(now.ends_with("; the end"));
        let shown = desk.files.barman(&["show-servers", "main"]);
        assert!(
            shown.contains("retention_policy: RECOVERY WINDOW OF 7 DAYS"),
            "{shown}"
        );
        let revision = answer["revision"].as_str().unwrap();
        let undone = roll_back(&admin, revision).expect(200).json();
        assert_eq!(undone["changed"], json!(["main.retention_policy"]));
        assert_eq!(desk.files.all(), before);
        let shown = desk.files.barman(&["show-servers", "main"]);
        assert!(shown.contains("retention_policy: REDUNDANCY 3"), "{shown}");
    });
}

#[test]
fn a_new_server_gets_a_file_of_its_own_and_barman_lists_it() {
    let unlock = ["config.unlock = conninfo, backup_directory"];
    everywhere(&unlock, |desk| {
        let admin = desk.admin();
        // What is known of the servers before must not stay.
        admin
            .get("/barman/list-backups?server_name=third")
            .expect(404);
        let lab = Lab::get();
        let conninfo = format!(
            "host={} port={} user=barman dbname=postgres",
            lab.fact("PGHOST"),
            lab.fact("PGPORT")
        );
        let body = json!({
            "third.description": "The third",
            "third.conninfo": conninfo,
            "third.backup_method": "postgres",
            "third.archiver": true,
            "create": true,
        });
        let without = json!({"third.description": "The third"});
        change(&admin, &without).expect(404);
        let answer = change(&admin, &body).expect(200).json();
        assert_eq!(
            desk.files.read("barman.d/third.conf"),
            format!(
                "[third]\ndescription = The third\nconninfo = {conninfo}\nbackup_method = postgres\narchiver = true\n"
            )
        );
        let mode = desk.files.path("barman.d/third.conf").metadata().unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o640);
        assert_eq!(
            answer["files"]["third"],
            json!([desk.files.path("barman.d/third.conf").display().to_string()])
        );
        let servers = desk.files.barman(&["list-servers"]);
        assert!(servers.contains("third - The third\n"), "{servers}");
        let list = admin.get("/barman/list-servers").expect(200).json();
        assert!(list["list"].to_string().contains("third - The third"));
        // Barman is asked anew.
        let found = admin.get("/barman/list-backups?server_name=third").status;
        assert_eq!(found, 200);
        let revision = answer["revision"].as_str().unwrap();
        roll_back(&admin, revision).expect(200);
        assert!(!desk.files.path("barman.d/third.conf").exists());
        admin
            .get("/barman/list-backups?server_name=third")
            .expect(404);
    });
}

#[test]
fn what_barman_refuses_is_answered_with_its_words_and_nothing_is_touched() {
    let unlock = ["config.unlock = backup_directory, conninfo, ssh_command"];
    everywhere(&unlock, |desk| {
        let admin = desk.admin();
        let before = desk.files.all();
        let home = desk.files.path("home/main").display().to_string();
        for (body, words) in [
            (json!({"other.backup_directory": home}), "Conflicting path"),
            (
                json!({"new.description": "no archiver", "create": true}),
                "No archiver enabled for server 'new'",
            ),
            (
                json!({"unset": "main.conninfo"}),
                "main (WARNING: disabled)",
            ),
            // Why, in Barman's words.
            (json!({"unset": "main.conninfo"}), "conninfo"),
        ] {
            let answer = change(&admin, &body);
            let answer = answer.expect(422).json();
            assert_eq!(answer["type"], "refused by barman");
            let message = answer["message"].as_str().unwrap();
            assert!(message.contains(words), "{message}");
            assert!(!message.contains("s3cr3t"), "{message}");
        }
        change(&admin, &json!({"barman.log_format": "100% wrong"})).expect(422);
        // Barman would take no answer to these, or warn and go on with another value.
        for body in [
            json!({"main.model": "maybe"}),
            json!({"main.backup_method": "bogus"}),
        ] {
            let told = change(&admin, &body).expect(400).json()["message"].to_string();
            assert!(told.contains("model") || told.contains("bogus"), "{told}");
        }
        assert_eq!(desk.files.all(), before);
        desk.files.barman(&["list-servers"]);
        assert!(admin.get("/config/barman/revisions").json()["list"] == json!([]));
    });
}

#[test]
fn values_are_read_back_as_they_were_given_and_barman_lives() {
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    for value in [
        "100% safe",
        "%%",
        "'); import os;os.system('id')#",
        "$(id)",
        "; not a comment",
        "ä = b: c",
        "",
    ] {
        let body = json!({"main.description": value});
        let answer = change(&admin, &body).expect(200).json();
        assert_eq!(answer["list"]["main"]["description"], value);
        let list = desk.files.barman(&["-f", "json", "list-servers"]);
        let list: Value = serde_json::from_str(&list).unwrap();
        assert_eq!(list["main"]["description"], value);
    }
    // The lines around have stayed.
    let text = desk.files.read("barman.d/main.conf");
    assert!(text.starts_with("# The main server\n\n[main]\ndescription ="));
}

#[test]
fn query_form_and_json_change_many_keys_at_once_or_none() {
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    let text = desk.files.read("barman.d/main.conf");
    let target =
        "/config/barman/change?main.parallel_jobs=4&other.parallel_jobs=2&barman.check_timeout=60";
    let answer = admin.get(target).expect(200).json();
    assert_eq!(
        answer["changed"],
        json!([
            "main.parallel_jobs",
            "other.parallel_jobs",
            "barman.check_timeout"
        ])
    );
    assert!(
        desk.files
            .read("barman.conf")
            .ends_with("check_timeout = 60\n")
    );
    assert!(
        desk.files
            .read("barman.d/other.conf")
            .contains("parallel_jobs = 2\n")
    );
    let form = "main.Parallel_Jobs=5&unset=other.parallel_jobs&unset=barman.check_timeout";
    let answer = admin.form("/config/barman/change", form).expect(200).json();
    assert_eq!(answer["list"]["main"]["parallel_jobs"], "5");
    assert_eq!(answer["list"]["other"].get("parallel_jobs"), None);
    let body = json!({"unset": ["main.parallel_jobs"], "other.parallel_jobs": 3});
    admin.post("/config/barman/change", &body).expect(200);
    assert_eq!(desk.files.read("barman.d/main.conf"), text);
    let before = desk.files.all();
    let body = json!({"main.parallel_jobs": 9, "main.parallel_jobz": 3});
    let answer = admin
        .post("/config/barman/change", &body)
        .expect(400)
        .json();
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("did you mean parallel_jobs?"), "{message}");
    assert_eq!(desk.files.all(), before);
    // What is so already is no revision.
    let body = json!({"other.parallel_jobs": "3"});
    let answer = admin
        .post("/config/barman/change", &body)
        .expect(200)
        .json();
    assert_eq!(answer["changed"], json!([]));
    assert_eq!(answer.get("revision"), None);
    let list = admin.get("/config/barman/revisions").json();
    assert_eq!(list["list"].as_array().unwrap().len(), 3);
}

#[test]
fn a_dry_run_shows_the_difference_and_writes_nothing() {
    everywhere(&["config.unlock = conninfo"], |desk| {
        let admin = desk.admin();
        let before = desk.files.all();
        let tag = etag(&admin);
        let body = json!({
            "other.conninfo": "host=127.0.0.1 user=barman dbname=postgres",
            "main.parallel_jobs": 3,
            "dry_run": true,
        });
        let answer = change(&admin, &body).expect(200);
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
        let answer = answer.json();
        let text = answer["diff"].as_str().unwrap();
        assert!(text.contains("+parallel_jobs   =   3\n"), "{text}");
        assert!(
            text.contains("\n-conninfo = host=127.0.0.1 port="),
            "{text}"
        );
        assert!(text.contains("password=*REDACTED*"), "{text}");
        assert!(!text.contains("s3cr3t"), "{text}");
        assert!(
            text.contains(" retention_policy   =   REDUNDANCY 3\n"),
            "{text}"
        );
        assert_eq!(answer["list"]["main"]["parallel_jobs"], "3");
        assert_eq!(answer.get("revision"), None);
        assert_eq!(desk.files.all(), before);
        assert_eq!(etag(&admin), tag);
        let list = admin.get("/config/barman/revisions").json();
        assert_eq!(list["list"], json!([]));
    });
}

#[test]
fn mode_owner_and_link_of_a_changed_file_stay() {
    everywhere(&[], |desk| {
        let real = desk.files.path("real.conf");
        let link = desk.files.path("barman.d/main.conf");
        std::fs::rename(&link, &real).unwrap();
        symlink(&real, &link).unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o604)).unwrap();
        let before = real.metadata().unwrap();
        let admin = desk.admin();
        let body = json!({"main.parallel_jobs": 2});
        admin.post("/config/barman/change", &body).expect(200);
        let after = real.metadata().unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(
            (before.mode(), before.uid(), before.gid()),
            (after.mode(), after.uid(), after.gid())
        );
        assert!(
            desk.files
                .read("real.conf")
                .contains("parallel_jobs   =   2\n")
        );
    });
}

#[test]
fn a_file_whose_folder_may_not_be_written_is_written_in_place() {
    let desk = Desk::here(&["config.unlock = conninfo"]);
    let folder = desk.files.path("barman.d");
    let set = |mode| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode));
    std::os::unix::fs::chown(&folder, Some(0), Some(0)).unwrap();
    set(0o755).unwrap();
    let inode = desk
        .files
        .path("barman.d/main.conf")
        .metadata()
        .unwrap()
        .ino();
    let admin = desk.admin();
    let body = json!({"main.parallel_jobs": 2});
    admin.post("/config/barman/change", &body).expect(200);
    assert!(
        desk.files
            .read("barman.d/main.conf")
            .contains("parallel_jobs   =   2\n")
    );
    let now = desk
        .files
        .path("barman.d/main.conf")
        .metadata()
        .unwrap()
        .ino();
    assert_eq!(now, inode);
    // A new file can't be made there; the answer says why.
    let told = change(&admin, &third()).expect(409).json();
    let told = told["message"].as_str().unwrap();
    assert!(
        told.contains("third.conf") && told.contains("may not"),
        "{told}"
    );
    assert!(!desk.files.path("barman.d/third.conf").exists());
}

#[test]
fn a_file_that_barman_can_not_read_is_mended_as_far_as_it_is_ini_text() {
    let desk = Desk::here(&[]);
    desk.files
        .write("barman.d/zz.conf", "[other]\ndescription = 100% wrong\n");
    let admin = desk.admin();
    let shown = admin.get("/config/barman").expect(200).json();
    assert_eq!(shown["list"]["other"]["description"], Value::Null);
    let fault = shown["faults"]["other.description"].as_str().unwrap();
    assert!(fault.contains("zz.conf, line 2"), "{fault}");
    let body = json!({"other.description": "100% right"});
    change(&admin, &body).expect(200);
    let list = desk.files.barman(&["list-servers"]);
    assert!(list.contains("other - 100% right"), "{list}");
}

/// What Python's own reader makes of a file: a line for each section and key.
fn python(path: &Path) -> Vec<String> {
    const READ: &str = "import configparser, sys
c = configparser.RawConfigParser(strict=False)
c.read(sys.argv[1])
print('\\n'.join('%s.%s=%r' % (s, k, v) for s in c.sections() for k, v in c.items(s)))";
    let python = Lab::get().fact("PYTHON");
    let output = std::process::Command::new(python)
        .args(["-c", READ])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn of_an_oddly_written_file_one_line_changes_and_no_other() {
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    let odd = "; \u{e4}\r\n[other]\r\n\r\nCHECK_TIMEOUT:30\r\n\t# deep\r\n[main]\t; not a key\r\nTags = a\r\n\tb = c\r\n\r\n\t[d]\r\nbandwidth_limit\t=\t'4'\r\n[other]\r\nparallel_jobs=1\r\nPARALLEL_JOBS = 2\r\ndescription = \"C:\\x\" ; kept";
    for (key, value, old, new) in [
        (
            "other.check_timeout",
            "60",
            "CHECK_TIMEOUT:30\r\n",
            "CHECK_TIMEOUT:60\r\n",
        ),
        ("main.bandwidth_limit", "5", "\t=\t'4'\r\n", "\t=\t5\r\n"),
        (
            "other.parallel_jobs",
            "7",
            "PARALLEL_JOBS = 2\r\n",
            "PARALLEL_JOBS = 7\r\n",
        ),
        ("other.description", "x", "= \"C:\\x\" ; kept", "= x"),
        (
            "main.check_timeout",
            "9",
            "'4'\r\n",
            "'4'\r\ncheck_timeout\t=\t9\r\n",
        ),
    ] {
        desk.files.write("barman.d/zz.conf", odd);
        let path = desk.files.path("barman.d/zz.conf");
        let before = python(&path);
        let answer = admin.post("/config/barman/change", &json!({key: value}));
        answer.expect(200);
        assert_eq!(
            desk.files.read("barman.d/zz.conf"),
            odd.replacen(old, new, 1),
            "{key}"
        );
        let after = python(&path);
        let changed: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
        assert_eq!(changed, [&format!("{key}='{value}'")]);
        let gone = before.iter().filter(|line| !after.contains(line)).count();
        assert_eq!(gone, usize::from(key != "main.check_timeout"));
    }
}

#[test]
fn where_there_is_no_room_the_old_file_stays_and_a_later_try_works() {
    let desk = Desk::here(&[]);
    let folder = desk.files.path("barman.d");
    let path = folder.display().to_string();
    let kept = desk.files.path("kept");
    Lab::as_root(&["cp", "-a", &path, &kept.display().to_string()]);
    Lab::as_root(&[
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=64k,mode=755",
        "tmpfs",
        &path,
    ]);
    let mounted = Mounted(path.clone());
    let copy = format!("{}/.", kept.display());
    Lab::as_root(&["cp", "-a", &copy, &path]);
    Lab::get().own(&folder);
    let admin = desk.admin();
    let before = desk.files.read("barman.d/main.conf");
    let body = json!({"main.parallel_jobs": 2});
    std::fs::write(folder.join("full"), vec![0; 1 << 20]).unwrap_err();
    admin.post("/config/barman/change", &body).expect(507);
    assert_eq!(desk.files.read("barman.d/main.conf"), before);
    std::fs::remove_file(folder.join("full")).unwrap();
    Lab::as_root(&["mount", "-o", "remount,ro", &path]);
    let answer = admin.post("/config/barman/change", &body);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(desk.files.read("barman.d/main.conf"), before);
    Lab::as_root(&["mount", "-o", "remount,rw", &path]);
    admin.post("/config/barman/change", &body).expect(200);
    let names = std::fs::read_dir(&folder).unwrap().flatten();
    let hidden = names.filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
    let list = admin.get("/config/barman/revisions").json();
    assert_eq!(list["list"].as_array().unwrap().len(), 1);
    drop(mounted);
}

/// A file system that goes with the test.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        Lab::as_root(&["umount", "-l", &self.0]);
    }
}
