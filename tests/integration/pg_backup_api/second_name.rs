//! The program under its second name, `pg-backup-api`.

use std::process::{Command, Output};

use super::*;
use crate::rig::{Lab, argv, raw};

/// A user for requests without credentials, and one who may do everything.
const USERS: &str = "[local]\npassword = 00000000000000000000000000000000\naccess = ['barman/list-servers', 'barman/diagnose']\ndeny = []\n\
     [admin]\npassword = 00000000000000000000000000000000\naccess = []\ndeny = []\n";

/// The program as it is when it is called so, with a port behind all other words.
fn named(port: u16) -> Command {
    let lab = Lab::get();
    let mut command = lab.command("bash");
    let words = r#"exec -a /usr/bin/pg-backup-api "$0" "$@" --port "$PORT""#;
    command.args(["-c", words]).arg(&lab.binary);
    command.env("PORT", port.to_string());
    command
}

fn run(port: u16, words: &[&str]) -> Output {
    named(port).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// `status` as pg-backup-api 2.2 has it: its sentence and exit code when there is no `OK`.
#[track_caller]
fn is_not_well(port: u16, reason: &str) {
    let told = run(port, &["status"]);
    let sentence = "The Postgres Backup API does not appear to be available.\n";
    assert_eq!(text(&told.stdout), sentence);
    assert_eq!(told.status.code(), Some(255));
    let wanted = reason.replace("ADDRESS", &format!("127.0.0.1:{port}"));
    let why = text(&told.stderr);
    assert!(
        why.starts_with(&format!("pg-backup-api: {wanted}")),
        "{why}"
    );
}

#[test]
fn it_serves_on_its_port_and_tells_its_status_as_pg_backup_api_does() {
    let stand_in = StandIn::new();
    let local = "pgbackupapi.local_user = local";
    let site = Site::new(&Barman::StandIn(&stand_in), &[local]);
    site.users(USERS);
    let port = free_port();
    is_not_well(port, "nobody answers on ADDRESS: ");
    let mut server = site.serve_ready_by(named(port));
    let well = run(port, &["status"]);
    assert_eq!(
        (text(&well.stdout).as_str(), well.status.code()),
        ("OK\n", Some(0))
    );
    let ask = |target: &str| {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        raw(port, request.as_bytes()).unwrap()
    };
    assert_eq!(ask("/status").expect(200).body, b"\"OK\"");
    ask("/barman/list-servers").expect(200);
    ask("/barman/list-backups?server_name=main").expect(403);
    server.get("/status").expect(401);
    site.users("");
    is_not_well(port, "ADDRESS is not well: HTTP/1.1 401 ");
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    is_not_well(port, "nobody answers on ADDRESS: ");
}

#[test]
fn the_variable_names_barmans_file_as_long_as_the_service_runs() {
    let stand_in = StandIn::new();
    let local = "pgbackupapi.local_user = local";
    let site = Site::new(&Barman::StandIn(&stand_in), &[local]);
    site.users(USERS);
    let mut command = named(0);
    command.env("PG_BACKUP_API_BARMAN_CONF", "/etc/other/barman.conf");
    let server = site.serve_ready_by(command);
    let admin = server.with_token(&site.token("admin"));
    let conf_of_last = || {
        admin.get("/barman/list-servers").expect(200);
        let last = argv(stand_in.starts().last().unwrap());
        let at = last.iter().position(|word| word == "-c").unwrap();
        last[at + 1].clone()
    };
    assert_eq!(conf_of_last(), "/etc/other/barman.conf");
    let reloaded = site.run(&["reload"], "");
    assert!(reloaded.status.success(), "{reloaded:?}");
    assert!(!text(&reloaded.stdout).contains("restart"), "{reloaded:?}");
    assert_eq!(conf_of_last(), "/etc/other/barman.conf");
    // Nor does the file wait for a restart when it is looked at or changed over HTTP.
    let shown = admin.get("/config/barmanapi").expect(200).json();
    assert_eq!(shown["not_in_force"], json!([]));
    for form in ["barman.max_jobs=2&dry_run=true", "barman.max_jobs=2"] {
        let answer = admin.form("/config/barmanapi/change", form).expect(200);
        let answer = answer.json();
        assert_eq!(answer["applied"], json!(["barman.max_jobs"]));
        assert_eq!(answer["restart"], json!([]), "{form}");
    }
    assert_eq!(conf_of_last(), "/etc/other/barman.conf");
}

#[test]
fn what_it_does_not_understand_it_tells_as_pg_backup_api_does() {
    let bare = |words: &[&str]| {
        let lab = Lab::get();
        let mut command = lab.command("bash");
        let shell = r#"exec -a pg-backup-api "$0" "$@""#;
        command.args(["-c", shell]).arg(&lab.binary).args(words);
        command.output().unwrap()
    };
    let help = bare(&[]);
    assert_eq!(
        (help.status.code(), text(&help.stderr)),
        (Some(0), String::new())
    );
    assert!(
        text(&help.stdout).contains("Usage: pg-backup-api"),
        "{help:?}"
    );
    for words in [
        &["status", "--port", "http"][..],
        &["recovery", "--server-name", "main", "--operation-id", "1"],
        &["user", "list"],
    ] {
        let told = bare(words);
        assert_eq!(
            (told.status.code(), told.stdout.len()),
            (Some(2), 0),
            "{told:?}"
        );
    }
}

#[test]
fn without_a_user_for_the_local_port_it_says_what_to_write() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let config = site.file("barmanapi.conf").display().to_string();
    let refused = run(free_port(), &["serve", "--config", &config]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let told = text(&refused.stderr);
    assert!(
        told.starts_with(&format!("pg-backup-api: {config}: "))
            && told.contains("write local_user = NAME into [pgbackupapi]"),
        "{told}"
    );
    let wrong = "pgbackupapi.local_user = no such name";
    let site = Site::new(&Barman::StandIn(&stand_in), &[wrong, "barman.color = red"]);
    let config = site.file("barmanapi.conf").display().to_string();
    let refused = text(&run(free_port(), &["serve", "--config", &config]).stderr);
    for words in ["no name of a user", "there is no such key"] {
        assert!(refused.contains(words), "{refused}");
    }
}
