//! Our own configuration over HTTP: what counts at once, what from the next start on, and what is
//! for the disk alone.

mod kept;
mod secrets;
mod told;

use std::fs;
use std::path::PathBuf;
use std::thread;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::rig::{Answer, Barman, Lab, Server, Site, StandIn, User};

const SECRET: &str = "Vn3xq0ZK7u1mT9bL5cR8wY2eS6dF4gHj";

/// A server with a commented configuration of its own.
struct Desk {
    server: Server,
    site: Site,
    _stand_in: StandIn,
}

impl Desk {
    fn new() -> Self {
        let stand_in = StandIn::new();
        let site = Site::new(&Barman::StandIn(&stand_in), &[]);
        let file = site.file("barmanapi.conf");
        let text = fs::read_to_string(&file).unwrap();
        let text = format!(
            "# Our service\n{text}; how long people stay\n[auth_token]\nsecret = {SECRET}\n# secret = {SECRET}-old\n\
             Token_Life:  5400\n\n[target:a]\ndirectories = /srv/a\n# the end"
        );
        Lab::get().write(&file, &text, 0o600);
        site.user("admin", &["--full"]);
        site.user("dba", &["--access", "config"]);
        let reader = [
            "--access",
            "config/barmanapi",
            "--deny",
            "config/barmanapi/change",
        ];
        site.user("reader", &reader);
        site.user("other", &["--access", "config/barman"]);
        let server = site.serve();
        Self {
            server,
            site,
            _stand_in: stand_in,
        }
    }

    fn dba(&self) -> User<'_> {
        self.server.login("dba")
    }

    fn file(&self) -> PathBuf {
        self.site.file("barmanapi.conf")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// How long a token is good that is given now, in seconds.
    fn token_life(&self) -> u64 {
        let token = self
            .server
            .basic("/auth/token", "admin", "correct horse battery");
        token.expect(200).json()["expires_in"].as_u64().unwrap()
    }
}

#[track_caller]
fn change(user: &User<'_>, body: &Value) -> Answer {
    user.post("/config/barmanapi/change", body)
}

fn message(answer: &Answer) -> String {
    answer.json()["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_change_counts_at_once_touches_one_line_and_can_be_taken_back() {
    let desk = Desk::new();
    let (dba, before) = (desk.dba(), desk.text());
    assert_eq!(desk.token_life(), 5400);
    let answer = change(&dba, &json!({"auth_token.TOKEN_LIFE": "77"})).expect(200);
    let body = answer.json();
    assert_eq!(body["applied"], json!(["auth_token.token_life"]));
    assert_eq!(body["restart"], json!([]));
    assert_eq!(body["changed"], json!(["auth_token.token_life"]));
    assert_eq!(body["list"]["auth_token"]["token_life"], "77");
    let lines = body["diff"].as_str().unwrap().lines();
    let lines: Vec<_> = lines.filter(|line| line.starts_with(['-', '+'])).collect();
    assert_eq!(lines[2..], ["-Token_Life:  5400", "+Token_Life:  77"]);
    assert_eq!(desk.text(), before.replace("5400", "77"));
    assert_eq!(desk.token_life(), 77);

    let list = dba.get("/config/barmanapi/revisions").expect(200).json();
    let revision = &list["list"][0];
    assert_eq!(revision["user"], "dba");
    assert_eq!(revision["revision"], body["revision"]);
    let id = body["revision"].as_str().unwrap();
    let one = dba
        .get(&format!("/config/barmanapi/revisions/{id}"))
        .expect(200);
    assert_eq!(one.json()["list"]["diff"], body["diff"]);

    let back = dba.post("/config/barmanapi/rollback", &json!({"revision": id}));
    assert_eq!(
        back.expect(200).json()["applied"],
        json!(["auth_token.token_life"])
    );
    assert_eq!(desk.text(), before);
    assert_eq!(desk.token_life(), 5400);
    // It was taken back: there is nothing left of it.
    let again = dba.post("/config/barmanapi/rollback", &json!({"revision": id}));
    assert!(message(&again.expect(409)).contains("was changed after"));

    let audit = fs::read_to_string(desk.server.store().join("logs/audit.log")).unwrap();
    let changes = audit.lines().filter(|line| line.contains("config_change"));
    let changes: Vec<Value> = changes
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0]["user"], "dba");
    assert_eq!(changes[0]["ticket"].as_str(), Some(id));
}

#[test]
fn what_needs_a_restart_is_listed_until_it_comes() {
    let mut desk = Desk::new();
    let body = json!({
        "auth_token.algorithm": "HS512",
        "barman.job_timeout.list-backups": "9 min",
        "log.backup_count": 3,
    });
    let answer = change(&desk.dba(), &body).expect(200).json();
    assert_eq!(answer["restart"], json!(["auth_token.algorithm"]));
    let applied = json!(["barman.job_timeout.list-backups", "log.backup_count"]);
    assert_eq!(answer["applied"], applied);
    assert_eq!(answer["not_in_force"], json!(["auth_token.algorithm"]));
    let token = |server: &Server| {
        let token = server.basic("/auth/token", "admin", "correct horse battery");
        let token = token.expect(200).json()["token"].clone();
        let head = token
            .as_str()
            .unwrap()
            .split('.')
            .next()
            .unwrap()
            .to_owned();
        let head = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(head)
            .unwrap();
        serde_json::from_slice::<Value>(&head).unwrap()["alg"].clone()
    };
    assert_eq!(token(&desk.server), "HS256");
    let shown = desk.dba().get("/config/barmanapi").expect(200).json();
    assert_eq!(shown["list"]["auth_token"]["algorithm"], "HS512");
    assert_eq!(shown["not_in_force"], json!(["auth_token.algorithm"]));
    assert_eq!(shown["defaults"]["barman"]["max_jobs"], "4");
    assert_eq!(shown["defaults"]["log"].get("backup_count"), None);
    desk.server.stop();
    desk.server = desk.site.serve();
    assert_eq!(token(&desk.server), "HS512");
    let shown = desk.dba().get("/config/barmanapi").expect(200).json();
    assert_eq!(shown["not_in_force"], json!([]));
}

/// Whoever asks.
#[test]
fn what_opens_a_door_is_for_the_disk_alone() {
    let desk = Desk::new();
    let (admin, before) = (desk.server.login("admin"), desk.text());
    for (key, value) in [
        ("user.config_file", "/x/mine"),
        ("user.secret", "x"),
        ("application.store_directory", "/tmp"),
        ("application.host", "0.0.0.0"),
        ("application.port", "80"),
        ("application.insecure", "true"),
        ("application.keep_months", "1"),
        ("barman.config_file", "/tmp/evil.conf"),
        ("barman.command", "/bin/sh"),
        ("barman.COMMAND", "/bin/sh -c id"),
        ("barman.remote", "true"),
        ("barman.remote_ssh", "sh -c id"),
        ("barman.any_target", "true"),
        ("barman.allow_commands", "put-wal"),
        ("barman.exchange_directory", "/"),
        ("target:a.ssh_command", "sh"),
        ("target:a.directories", "/"),
        ("target:new.directories", "/"),
        ("auth_token.secret", "x"),
        ("audit.keep_months", "1"),
        ("config.unlock", "pre_backup_script"),
    ] {
        let answer = change(&admin, &json!({key: value})).expect(403);
        let told = message(&answer);
        assert!(told.contains("on disk alone"), "{told}");
        let both = json!({"barman.max_jobs": 3, key: value});
        change(&admin, &both).expect(403);
        change(&admin, &json!({"unset": key})).expect(403);
    }
    assert_eq!(desk.text(), before);
    // Spellings that are no key of ours.
    for key in [
        " barman.command",
        "barman.command ",
        "barman.command:",
        "barman. command",
        "barman]\n[user.config_file",
        "Barman.max_jobs",
        "barman\u{2028}.max_jobs",
        "DEFAULT.max_jobs",
        "barman..max_jobs",
        "barman.max_jobs.x",
    ] {
        change(&admin, &json!({key: "1"})).expect(400);
    }
    assert_eq!(desk.text(), before);
}

#[test]
fn a_key_that_is_not_ours_is_named_with_its_route_or_its_nearest() {
    let desk = Desk::new();
    let (dba, before) = (desk.dba(), desk.text());
    for (body, words) in [
        (
            json!({"main.description": "x"}),
            "main.description is a key of barman's configuration: change it by /config/barman/change",
        ),
        (
            json!({"barman.barman_user": "x"}),
            "change it by /config/barman/change",
        ),
        (
            json!({"barman.max_job": 3}),
            "did you mean barman.max_jobs?",
        ),
        (
            json!({"log.nothing_like_it": 3}),
            "has no key log.nothing_like_it",
        ),
        (json!({"barman.max_jobs": 0}), "[barman] max_jobs"),
        (json!({"barman.max_jobs": "many"}), "[barman] max_jobs"),
        (json!({"auth_token.algorithm": "none"}), "HS256"),
        (
            json!({"barman.max_jobs": 3, "barman.queue": "x"}),
            "[barman] queue",
        ),
        (json!({"barman.max_jobs": "3\n[user]"}), "line end"),
        (json!({"barman.max_jobs": "3\\"}), "backslash"),
        (json!({"barman.max_jobs": 3, "create": true}), "create"),
        (json!({"dry_run": true}), "nothing to change"),
        (json!({"barman.max_jobs": [3]}), "not a list"),
    ] {
        let told = message(&change(&dba, &body).expect(400));
        assert!(told.contains(words), "{body}: {told}");
    }
    assert_eq!(desk.text(), before);
    // The other way round, and where both have a key of that name.
    let admin = desk.server.login("admin");
    for key in [
        "log.backup_count",
        "barman.job_timeout.check",
        "target:a.ssh_command",
    ] {
        let told = message(
            &admin
                .post("/config/barman/change", &json!({key: "1"}))
                .expect(400),
        );
        assert!(
            told.contains("changed by /config/barmanapi/change"),
            "{told}"
        );
    }
    let none = desk.server.login("other");
    none.get("/config/barmanapi").expect(403);
    let reader = desk.server.login("reader");
    reader.get("/config/barmanapi").expect(200);
    change(&reader, &json!({"barman.max_jobs": 3})).expect(403);
    assert_eq!(desk.text(), before);
}

#[test]
fn a_dry_run_and_a_stale_tag_write_nothing() {
    let desk = Desk::new();
    let (dba, before) = (desk.dba(), desk.text());
    let answer = change(&dba, &json!({"barman.max_jobs": 7, "dry_run": true}));
    let body = answer.expect(200).json();
    assert_eq!(body["applied"], json!(["barman.max_jobs"]));
    assert!(body["diff"].as_str().unwrap().contains("+max_jobs = 7"));
    assert_eq!(desk.text(), before);
    let shown = dba.get("/config/barmanapi").expect(200);
    let tag = shown.header("etag").unwrap().to_owned();
    let with = |tag: &str, value: u32| {
        let headers = [("Content-Type", "application/json"), ("If-Match", tag)];
        let body = json!({"barman.max_jobs": value}).to_string();
        dba.request(
            "POST",
            "/config/barmanapi/change",
            &headers,
            body.as_bytes(),
        )
    };
    with("\"0000\"", 5).expect(412);
    let next = with(&tag, 5).expect(200);
    with(&tag, 6).expect(412);
    with(next.header("etag").unwrap(), 6).expect(200);
    let half = json!({"barman.max_jobs": 6, "barman.queue": 9});
    let half = change(&dba, &half).expect(200);
    assert_eq!(half.json()["changed"], json!(["barman.queue"]));
    let same = change(&dba, &json!({"barman.max_jobs": 6})).expect(200);
    assert_eq!(same.json()["changed"], json!([]));
    assert!(desk.text().contains("max_jobs = 6\n"));
}

#[test]
fn a_file_that_was_broken_by_hand_is_mended_by_hand() {
    let desk = Desk::new();
    let dba = desk.dba();
    let broken = desk
        .text()
        .replace("[target:a]", "[barman]\nqueu = 3\n[target:a]");
    Lab::get().write(&desk.file(), &broken, 0o600);
    let told = message(&change(&dba, &json!({"barman.max_jobs": 3})).expect(409));
    assert!(
        told.contains("mended by hand") && told.contains("queu"),
        "{told}"
    );
    let shown = dba.get("/config/barmanapi").expect(200).json();
    assert!(shown["problems"].to_string().contains("queue"), "{shown}");
    assert_eq!(desk.text(), broken);
    // Bytes that no start would read, though they stand in a comment.
    let mut bytes = b"# caf\xe9\n".to_vec();
    bytes.extend(desk.text().replace("queu = 3\n", "").into_bytes());
    fs::write(desk.file(), bytes).unwrap();
    let told = message(&change(&dba, &json!({"barman.max_jobs": 3})).expect(409));
    assert!(told.contains(":1: the line is not UTF-8"), "{told}");
    let shown = dba.get("/config/barmanapi").expect(200).json();
    assert!(shown["problems"].to_string().contains("UTF-8"), "{shown}");
    Lab::get().write(&desk.file(), "[barman\n", 0o600);
    dba.get("/config/barmanapi").expect(409);
    fs::remove_file(desk.file()).unwrap();
    dba.get("/config/barmanapi").expect(409);
}

#[test]
fn a_file_that_the_service_may_not_write_says_so() {
    let desk = Desk::new();
    let (dba, before) = (desk.dba(), desk.text());
    let group = Lab::get().fact("LAB_GID");
    let (file, folder) = (desk.file(), desk.site.file(""));
    Lab::as_root(&[
        "chown",
        &format!("root:{group}"),
        &file.display().to_string(),
    ]);
    Lab::as_root(&["chown", "root", &folder.display().to_string()]);
    Lab::as_root(&["chmod", "755", &folder.display().to_string()]);
    Lab::as_root(&["chmod", "640", &file.display().to_string()]);
    dba.get("/config/barmanapi").expect(200);
    let told = message(&change(&dba, &json!({"barman.max_jobs": 3})).expect(409));
    assert!(told.contains("barmanapi.conf"), "{told}");
    let list = dba.get("/config/barmanapi/revisions").expect(200).json();
    assert_eq!(list["list"], json!([]));
    Lab::as_root(&["chmod", "644", &file.display().to_string()]);
    assert_eq!(desk.text(), before);
}

#[test]
fn twenty_clients_change_different_keys_and_none_is_lost() {
    let desk = Desk::new();
    let commands = [
        "archive-wal",
        "backup",
        "check",
        "check-backup",
        "cron",
        "delete",
        "diagnose",
        "generate-manifest",
        "get-wal",
        "keep",
        "list-backups",
        "list-files",
        "list-servers",
        "rebuild-xlogdb",
        "receive-wal",
        "recover",
        "replication-status",
        "show-backup",
        "show-servers",
        "status",
    ];
    let dba = &desk.dba();
    for round in 1..=3 {
        thread::scope(|scope| {
            for (client, command) in commands.iter().enumerate() {
                scope.spawn(move || {
                    let seconds = round * 100 + client;
                    let key = format!("barman.job_timeout.{command}");
                    change(dba, &json!({key: seconds})).expect(200);
                });
            }
        });
        let shown = dba.get("/config/barmanapi").expect(200).json();
        for (client, command) in commands.iter().enumerate() {
            let value = &shown["list"]["barman"][format!("job_timeout.{command}")];
            assert_eq!(*value, (round * 100 + client).to_string(), "{command}");
        }
        assert_eq!(shown["not_in_force"], json!([]));
    }
    let list = dba.get("/config/barmanapi/revisions?limit=1000");
    let list = list.expect(200).json();
    assert_eq!(list["list"].as_array().unwrap().len(), 60);
    let states = list["list"].as_array().unwrap().iter();
    assert!(states.into_iter().all(|one| one["state"] == "done"));
}

#[test]
fn a_file_that_was_left_half_written_is_whole_at_the_next_start() {
    let mut desk = Desk::new();
    let before = desk.text();
    let changed = change(&desk.dba(), &json!({"barman.sync_timeout": "3 min"})).expect(200);
    let (after, id) = (desk.text(), changed.json()["revision"].clone());
    desk.server.kill();
    // As a loss of power leaves a write in place: the new beginning, the old rest, no mark.
    let journal = desk.server.store().join("config/revisions/barmanapi");
    let entries = fs::read_dir(&journal).unwrap();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let ends = |end: &str| {
        let found = paths
            .iter()
            .find(|path| path.to_string_lossy().ends_with(end));
        found.unwrap().clone()
    };
    fs::remove_file(ends(".done")).unwrap();
    let record = fs::read_to_string(ends(".json")).unwrap();
    let record = record.replace("\"in_place\":false", "\"in_place\":true");
    Lab::get().write(&ends(".json"), &record, 0o600);
    let cut = after.find("sync_timeout").unwrap() + 6;
    let torn = format!("{}{}", &after[..cut], &before[cut..]);
    assert!(torn != before && torn != after);
    Lab::get().write(&desk.file(), &torn, 0o600);
    desk.server = desk.site.serve();
    assert_eq!(desk.text(), after);
    let list = desk.dba().get("/config/barmanapi/revisions").expect(200);
    assert_eq!(list.json()["list"][0]["revision"], id);
    assert_eq!(list.json()["list"][0]["state"], "done");
}
