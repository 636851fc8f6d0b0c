//! The users file: by the command line, and by hand.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::rig::{Barman, Lab, Site, StandIn};

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_user_is_added_with_rights_that_are_said_and_a_password_that_is_not_an_argument() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let file = site.file("client.conf");
    for arguments in [
        &["user", "add", "ann", "--password-stdin"][..],
        &["user", "add", "ann", "--password-stdin", "--deny", "barman"],
        &[
            "user",
            "add",
            "ann",
            "--password-stdin",
            "--full",
            "--access",
            "barman",
        ],
        &["user", "add", "ann", "--full", "--password", "geheim"],
        &["user", "add", "ann", "--full", "geheim"],
        &["user", "add", "ann", "--full", "--password-stdin=geheim"],
        &["user", "add", "--full", "--password-stdin"],
        &["user", "passwd", "ann", "geheim"],
        // Without a terminal there is nobody to ask.
        &["user", "add", "ann", "--full"],
    ] {
        let output = site.run(arguments, "geheim\n");
        assert!(!output.status.success(), "{arguments:?}: {}", said(&output));
        assert!(!file.exists(), "{arguments:?} wrote the users file");
    }
    let add = ["user", "add", "ann", "--full", "--password-stdin"];
    let output = site.run(&add, "\n");
    assert!(!output.status.success(), "an empty password");
    let output = site.run(&add, "geheim\nand more\n");
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("added user ann"),
        "{}",
        said(&output)
    );
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("[ann]") && text.contains("$argon2id$") && !text.contains("geheim"));
    let output = site.run(&add, "another\n");
    assert!(
        !output.status.success() && said(&output).contains("ann"),
        "{}",
        said(&output)
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), text);

    let output = site.run(&["user", "list"], "");
    assert_eq!(said(&output), "ann  may do everything\n");
    let rules = [
        "--access",
        "barman/list-*,barman/backup@main",
        "--deny",
        "barman/list-files",
    ];
    let add = [&["user", "add", "op", "--password-stdin"][..], &rules].concat();
    assert!(site.run(&add, "geheim\n").status.success());
    let output = site.run(&["user", "list"], "");
    assert_eq!(
        said(&output),
        "ann  may do everything\n\
         op   may do barman/list-*,barman/backup@main but not barman/list-files\n"
    );
}

#[test]
fn the_last_user_with_full_access_stays_unless_it_is_forced() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("ann", &["--full"]);
    site.user("op", &["--access", "barman"]);
    let text = || fs::read_to_string(site.file("client.conf")).unwrap();
    let before = text();
    for arguments in [
        &["user", "remove", "ann"][..],
        &["user", "change", "ann", "--access", "barman"],
        &["user", "change", "ann", "--deny", "barman/backup"],
    ] {
        let output = site.run(arguments, "");
        assert!(
            !output.status.success() && said(&output).contains("--force"),
            "{arguments:?}"
        );
        assert_eq!(text(), before, "{arguments:?}");
    }
    for arguments in [
        &["user", "remove", "nobody"][..],
        &["user", "change", "nobody", "--full"],
        &["user", "passwd", "nobody", "--password-stdin"],
        &["token", "nobody"],
        &["user", "change", "op"],
    ] {
        assert!(
            !site.run(arguments, "geheim\n").status.success(),
            "{arguments:?}"
        );
        assert_eq!(text(), before, "{arguments:?}");
    }
    assert!(
        site.run(&["user", "change", "op", "--full"], "")
            .status
            .success()
    );
    assert!(site.run(&["user", "remove", "ann"], "").status.success());
    assert!(!text().contains("[ann]"));
    assert!(
        site.run(&["user", "remove", "op", "--force"], "")
            .status
            .success()
    );
    assert!(!text().contains("[op]"));
}

#[test]
fn an_edit_by_hand_counts_from_the_next_request_on() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("ann", &["--full"]);
    let server = site.serve();
    let before = fs::read_to_string(site.file("client.conf")).unwrap();
    for _ in 0..5 {
        let token = site.token("ann");
        assert_eq!(super::status_with(&server, &token), 200);
        server
            .with_token(&token)
            .get("/barman/list-backups?server_name=main")
            .expect(200);
        site.users(&before.replace("access = []", "access = ['auth']"));
        assert_eq!(super::status_with(&server, &token), 401, "older tokens end");
        let token = site.token("ann");
        assert_eq!(super::status_with(&server, &token), 200);
        let answer = server
            .with_token(&token)
            .get("/barman/list-backups?server_name=main");
        assert_eq!(answer.status, 403);
        site.users(&before);
    }
    let token = site.token("ann");
    // Times of files are coarse: edits in place, as long as each other and in one tick of the
    // clock, must all be seen.
    let allowed = before.replace("access = []", "access = ['auth']");
    let denied = before.replace("access = []", "access = ['autx']");
    site.users(&allowed);
    let edited = site.token("ann");
    let file = fs::File::options()
        .write(true)
        .open(site.file("client.conf"))
        .unwrap();
    for _ in 0..100 {
        file.write_all_at(denied.as_bytes(), 0).unwrap();
        assert_eq!(super::status_with(&server, &edited), 401);
        file.write_all_at(allowed.as_bytes(), 0).unwrap();
        assert_eq!(super::status_with(&server, &edited), 200);
    }
    site.users("");
    assert_eq!(super::status_with(&server, &token), 401);
    site.users(&before);
    assert_eq!(super::status_with(&server, &token), 200);
    // What is no ini text lets nobody in, and is told; it takes the service down with nothing.
    site.users(&format!("{before}\n[broken\n"));
    assert_eq!(super::status_with(&server, &token), 401);
    let output = site.run(&["user", "list"], "");
    assert!(!output.status.success(), "{}", said(&output));
    server.get("/healthz").expect(200);
    assert!(site.logged().contains("client.conf"), "{}", site.logged());
    server
        .basic("/auth/token", "ann", "correct horse battery")
        .expect(401);
    site.users(&before.replace("access = []", "access = ['x"));
    assert_eq!(super::status_with(&server, &token), 401);
    server
        .basic("/auth/token", "ann", "correct horse battery")
        .expect(401);
    // Whoever looks into the log for why somebody is kept out finds it beside the refusal.
    let log = site.logged();
    for words in [
        "the users file is not ini text: ",
        "the user's section can't be used: ",
    ] {
        for refused in ["a token was refused", "a login failed"] {
            let told = |line: &&str| line.contains(words) && line.contains(refused);
            assert_eq!(
                log.lines().filter(told).count(),
                1,
                "{words} {refused}: {log}"
            );
        }
    }
    assert!(!log.contains("argon2id"), "{log}");
    site.users(&before);
    server.login("ann");
}

#[test]
fn comments_and_unknown_lines_survive_every_change_byte_for_byte() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let head = "\u{feff}# Users of this place; caf\u{e9}\r\n; another comment\n\n[memin]\n\
        password : 26588e932c7ccfa1df309280702fe1b5\n   \nAccess=[ ]\n# inside\nphone = +49 30\n\tand more\n\n";
    let tail = "\n\n[ann]  \npassword = 00000000000000000000000000000000\naccess = ['barman',\n  'auth']\n\
        deny = []\n;last\nodd key = \"quoted\\\\\"\n# no end of line here";
    site.users(&format!(
        "{head}[op]\npassword = 1\naccess = ['barman']\n{tail}"
    ));
    let text = || fs::read_to_string(site.file("client.conf")).unwrap();
    let kept = |what: &str| {
        let text = text();
        assert!(text.starts_with(head), "{what}: {text}");
        assert!(text.trim_end_matches('\n').contains(tail), "{what}: {text}");
    };
    let run = |arguments: &[&str]| {
        let output = site.run(arguments, "geheim\n");
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        kept(arguments[1]);
    };
    run(&[
        "user",
        "change",
        "op",
        "--access",
        "barman/list-*",
        "--deny",
        "barman/cron",
    ]);
    assert!(text().contains("access = ['barman/list-*']"));
    run(&["user", "passwd", "op", "--password-stdin"]);
    run(&["user", "add", "new", "--full", "--password-stdin"]);
    run(&["user", "change", "new", "--access", "barman", "--force"]);
    run(&["user", "remove", "op"]);
    assert!(!text().contains("[op]"));
    // A login that replaces the md5, and a logout, touch their own lines alone.
    let server = site.serve();
    let token = server
        .basic("/auth/token", "memin", "1258")
        .expect(200)
        .json();
    let after = text();
    let differ: Vec<(&str, &str)> = head
        .lines()
        .zip(after.lines())
        .filter(|(old, new)| old != new)
        .collect();
    assert_eq!(differ.len(), 1, "{differ:?}");
    assert!(
        differ[0].1.starts_with("password : $argon2id$"),
        "{differ:?}"
    );
    assert!(after.trim_end_matches('\n').contains(tail));
    let token = token["token"].as_str().unwrap();
    server
        .with_token(token)
        .form("/auth/logout", "")
        .expect(200);
    assert_eq!(super::status_with(&server, token), 401);
    assert!(text().contains("\tand more\n") && text().contains(tail));
}

/// What a file has besides its bytes.
fn facts(file: &Path) -> String {
    let found = fs::metadata(file).unwrap();
    let list = Command::new("getfacl").arg("-cp").arg(file).output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    let (mode, uid, gid) = (found.mode(), found.uid(), found.gid());
    format!("{mode:o} {uid} {gid}\n{list}")
}

#[test]
fn link_mode_owner_and_access_list_of_the_users_file_stay() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("ada", &["--full"]);
    let (link, file) = (site.file("client.conf"), site.file("users.ini"));
    fs::rename(&link, &file).unwrap();
    symlink("users.ini", &link).unwrap();
    let path = file.to_str().unwrap();
    Lab::as_root(&["chmod", "640", path]);
    Lab::as_root(&["setfacl", "-m", "u:daemon:r,m::r", path]);
    // What the folder gives to new files must not widen what the old one allowed.
    let folder = site.file("");
    let folder = folder.to_str().unwrap();
    Lab::as_root(&["setfacl", "-d", "-m", "u:nobody:rw", folder]);
    let before = facts(&file);
    assert!(before.contains("user:daemon:r--"), "{before}");
    let server = site.serve();
    let ada = server.with_token(&site.token("ada"));
    for (task, body) in [
        (
            "add",
            json!({"username": "eve", "password": "x", "access": ["history"]}),
        ),
        ("change", json!({"username": "eve", "deny": ["barman"]})),
        ("remove", json!({"username": "eve"})),
    ] {
        let text = fs::read(&file).unwrap();
        ada.post(&format!("/auth/user/{task}"), &body).expect(200);
        assert_ne!(fs::read(&file).unwrap(), text, "{task}");
        assert_eq!(facts(&file), before, "{task}");
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("users.ini"));
    }
    // Without a list of its own the file gets none.
    Lab::as_root(&["setfacl", "-b", path]);
    let before = facts(&file);
    site.user("eve", &["--access", "history"]);
    assert_eq!(facts(&file), before);
}
