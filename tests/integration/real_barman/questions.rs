//! Commands that ask, JSON documents, WAL files, and maintenance.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::fixture::{Fixture, directly};
use crate::rig::{Barman, Lab, Site};

#[test]
fn the_servers_are_listed_under_both_names_of_the_command() {
    let fixture = Fixture::get();
    let ada = fixture.ada();
    let (lines, code) = directly(&["list-servers"]);
    assert_eq!(code, 0);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for target in [
        "/barman/list-servers".to_owned(),
        "/barman/list-server".to_owned(),
        format!("/barman/list-server?token={}", ada.token),
    ] {
        let answer = if target.contains("token=") {
            fixture.server.get(&target)
        } else {
            ada.get(&target)
        };
        let listed = answer.expect(200).json();
        assert_eq!(listed["list"], json!(lines), "{target}");
        assert_eq!(listed["status_code"], 200);
        assert_eq!(listed["exit_code"], 0);
        assert_eq!(listed["message"], "");
        assert_eq!(listed.get("data"), None);
    }
    let listed = ada.post("/barman/list-servers", &json!({"minimal": true}));
    assert_eq!(listed.expect(200).json()["list"], json!(["main", "other"]));
    let listed = ada
        .get("/barman/list-server?format=json")
        .expect(200)
        .json();
    let data = &listed["data"];
    assert_eq!(data["main"]["description"], "Main PostgreSQL of the lab");
    assert_eq!(data.as_object().unwrap().len(), 2);
}

#[test]
fn every_question_gives_a_document_where_json_is_asked_for() {
    let fixture = Fixture::get();
    let ada = fixture.ada();
    let data = |target: &str| -> Value {
        let answer = ada.get(&format!("{target}format=json")).expect(200).json();
        assert_eq!(answer["status_code"], 200, "{target}: {answer}");
        assert_eq!(answer.get("data_error"), None, "{target}: {answer}");
        answer["data"].clone()
    };
    let status = data("/barman/status?server_name=main&");
    assert_eq!(status["main"]["active"]["message"], "True", "{status}");
    let servers = data("/barman/show-servers?server_name=main&");
    assert_eq!(servers["main"]["active"], json!(true), "{servers}");
    assert!(servers["main"].as_object().unwrap().len() > 100);
    let both = data("/barman/show-server?server_name=all&");
    assert!(both["main"].is_object() && both["other"].is_object());
    let processes = data("/barman/list-processes?server_name=main&");
    assert!(processes["main"].is_array(), "{processes}");
    let backups = data("/barman/list-backups?server_name=main&");
    assert!(
        backups["main"]
            .as_array()
            .unwrap()
            .iter()
            .any(|backup| backup["backup_id"] == fixture.backup_id),
        "{backups}"
    );
    // Barman prints this one as a text inside a document, or as two documents.
    let diagnosis = data("/barman/diagnose?");
    assert!(
        diagnosis["global"]["system_info"].is_object(),
        "{diagnosis}"
    );
    assert!(diagnosis["servers"]["main"]["config"].is_object());
    assert!(diagnosis["servers"]["other"]["config"].is_object());
    let sync = data("/barman/sync-info?server_name=main&");
    assert!(sync["backups"][&fixture.backup_id].is_object(), "{sync}");
    assert_eq!(sync["config"]["name"], "main", "{sync}");
    // By ticket the document is the same.
    let ticket = ada
        .get("/barman/sync-info?server_name=main&format=json&async=true")
        .ticket();
    let by_ticket = ada.finished(&ticket);
    assert_eq!(by_ticket["data"]["config"]["name"], "main", "{by_ticket}");
}

#[test]
fn a_check_answers_with_its_exit_code_and_nagios_text_stays_text() {
    let fixture = Fixture::get();
    let ada = fixture.ada();
    let good = ada.get("/barman/check?server_name=main").expect(200).json();
    let (lines, code) = directly(&["check", "main"]);
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(good["exit_code"], 0, "{good}");
    assert_eq!(good["status_code"], 200, "{good}");
    assert_eq!(good["list"][0], "Server main:");
    assert!(
        good["list"]
            .as_array()
            .unwrap()
            .contains(&json!("\tPostgreSQL: OK")),
        "{good}"
    );
    let answer = ada.get("/barman/check?server_name=main&format=json");
    let good = answer.expect(200).json();
    assert_eq!(good["data"]["main"]["postgresql"]["status"], "OK", "{good}");
    let answer = ada.get("/barman/check?server_name=main&nagios=true&format=json");
    let nagios = answer.expect(200).json();
    assert_eq!(nagios["status_code"], 200, "{nagios}");
    let text = nagios["data"]["nagios"].as_str().unwrap();
    assert!(text.starts_with("BARMAN OK - Ready to serve"), "{nagios}");
    assert_eq!(nagios["list"], json!([text]), "{nagios}");
}

#[test]
fn a_check_that_fails_is_an_answer_and_not_an_error() {
    let fixture = Fixture::get();
    let lab = Lab::get();
    let home = lab.folder("broken");
    let config = home.join("barman.conf");
    let text = format!(
        "[barman]\nbarman_user = {}\nbarman_home = {home}\nlog_file = {home}/barman.log\n\
         [broken]\ndescription = Out of reach\nbackup_method = postgres\narchiver = on\n\
         conninfo = host=127.0.0.1 port=1 user=barman dbname=postgres password=s3cr3t-of-broken\n\
         streaming_conninfo = host=127.0.0.1 port=1 user=streaming password=s3cr3t-of-broken\n",
        lab.fact("LAB_USER"),
        home = home.display(),
    );
    lab.write(&config, &text, 0o600);
    let file = format!("barman.config_file = {}", config.display());
    let site = Site::new(&Barman::Real, &[&file]);
    site.knows_what(&fixture.server);
    site.user("ada", &["--full"]);
    let server = site.serve();
    let ada = server.login("ada");
    let failed = ada
        .get("/barman/check?server_name=broken")
        .expect(200)
        .json();
    assert_eq!(failed["status_code"], 1, "{failed}");
    assert_eq!(failed["exit_code"], 1, "{failed}");
    assert_eq!(failed["state"], "failed", "{failed}");
    assert!(
        failed["list"]
            .as_array()
            .unwrap()
            .contains(&json!("\tPostgreSQL: FAILED")),
        "{failed}"
    );
    let answer = ada.get("/barman/check?server_name=broken&format=json");
    let failed = answer.expect(200).json();
    assert_eq!(failed["status_code"], 1, "{failed}");
    let postgres = &failed["data"]["broken"]["postgresql"];
    assert_eq!(postgres["status"], "FAILED", "{failed}");
    let answer = ada.get("/barman/check?server_name=broken&nagios=true&format=json");
    let nagios = answer.expect(200).json();
    assert_eq!(nagios["status_code"], 2, "{nagios}");
    let text = nagios["data"]["nagios"].as_str().unwrap();
    assert!(text.starts_with("BARMAN CRITICAL"), "{nagios}");
    assert!(!nagios.to_string().contains("s3cr3t-of-broken"));
    fs::remove_dir_all(home).unwrap();
}

/// The WAL files of `main` that are archived, the oldest first.
fn archived() -> Vec<PathBuf> {
    let wals = PathBuf::from(Lab::get().fact("BARMAN_HOME")).join("main/wals");
    let mut files: Vec<PathBuf> = fs::read_dir(wals)
        .unwrap()
        .flatten()
        .filter_map(|folder| fs::read_dir(folder.path()).ok())
        .flat_map(|folder| folder.flatten().map(|file| file.path()))
        .filter(|file| file.file_name().unwrap().len() == 24)
        .collect();
    files.sort();
    files
}

#[test]
fn a_wal_file_comes_as_the_bytes_it_is() {
    let fixture = Fixture::get();
    let ada = fixture.ada();
    let file = archived().pop().expect("an archived WAL file");
    let name = file.file_name().unwrap().to_str().unwrap();
    let content = fs::read(&file).unwrap();
    assert!(content.len() >= 1 << 20);
    let target = format!("/barman/get-wal?server_name=main&wal_name={name}");
    let answer = ada.get(&target).expect(200);
    let length = content.len().to_string();
    assert_eq!(answer.header("content-length"), Some(length.as_str()));
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    assert!(answer.body == content, "{} bytes", answer.body.len());
    let refused = ada.get(&format!("{target}&format=json"));
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["type"], "invalid parameter");
    ada.get(&format!("{target}&async=true")).expect(400);
    // One that is not there is told in the usual form.
    let answer = ada.get("/barman/get-wal?server_name=main&wal_name=0000000100000000FFFFFFFF");
    let failed = answer.expect(200).json();
    assert_ne!(failed["status_code"], 200, "{failed}");
    assert_eq!(failed["state"], "failed", "{failed}");
    assert!(!failed["message"].as_str().unwrap().is_empty(), "{failed}");
    ada.get("/barman/get-wal?server_name=main&wal_name=../../other/x")
        .expect(400);
}

#[test]
fn switching_the_wal_and_maintenance_do_what_they_do_in_barman() {
    let fixture = Fixture::get();
    let ada = fixture.ada();
    let before = archived();
    let query = "server_name=main&force=true&archive=true&archive_timeout=60";
    let switched = ada
        .request("POST", &format!("/barman/switch-wal?{query}"), &[], b"")
        .expect(200)
        .json();
    assert_eq!(switched["status_code"], 200, "{switched}");
    assert!(switched["ticket"].is_string(), "{switched}");
    let new: Vec<_> = archived()
        .into_iter()
        .filter(|file| !before.contains(file))
        .collect();
    let said = switched["list"].to_string();
    assert!(
        new.iter()
            .any(|file| said.contains(file.file_name().unwrap().to_str().unwrap())),
        "{new:?}: {switched}"
    );
    let answer = ada.get("/barman/cron").expect(202);
    let ticket = answer.ticket();
    let done = ada.finished(&ticket);
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(done["status_code"], 200, "{done}");
    // Its daemons run on and hold nothing of the job.
    let (_, code) = directly(&["check", "main"]);
    assert_eq!(code, 0);
}
