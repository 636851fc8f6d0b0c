//! Backups: taken, shown, kept, deleted.

use serde_json::json;

use super::fixture::{Fixture, directly, in_catalogue};
use crate::rig::Lab;

#[test]
fn a_backup_by_ticket_is_in_barmans_catalogue() {
    let fixture = Fixture::get();
    let (accepted, location) = &fixture.accepted;
    assert_eq!(accepted["status_code"], 202);
    let ticket = accepted["list"]["ticket"].as_str().unwrap();
    assert_eq!(*location, format!("/history/result?ticket={ticket}"));
    let result = &fixture.backup;
    assert_eq!(result["status_code"], 200, "{result}");
    assert_eq!(result["state"], "done", "{result}");
    assert_eq!(result["exit_code"], 0, "{result}");
    assert_eq!(result["command"], "backup", "{result}");
    assert_eq!(result["ticket"], ticket, "{result}");
    let lines = result["list"].as_array().unwrap();
    for begin in [
        "Starting backup using postgres method for server main in ",
        "Backup start at LSN: ",
        "Backup size: ",
        "Backup completed (start time: ",
    ] {
        assert!(
            lines
                .iter()
                .any(|line| line.as_str().unwrap().starts_with(begin)),
            "{begin}: {result}"
        );
    }
    let listed = in_catalogue(&fixture.backup_id).expect("barman lists it");
    assert_eq!(listed["status"], "DONE", "{listed}");
    let ada = fixture.ada();
    let line = ada.get("/history/list?command=backup").expect(200).json();
    let line = line["list"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["ticket"] == ticket)
        .unwrap()
        .clone();
    assert_eq!(line["state"], "done", "{line}");
    assert_eq!(line["ended_at"], result["ended_at"], "{line}");
}

#[test]
fn a_backup_with_json_gives_data_and_can_be_kept_and_deleted() {
    let fixture = Fixture::get();
    let ada = fixture.ada();
    // Barman deletes nothing of a server that is being backed up.
    let _main = Lab::hold("main");
    let form = "server_name=main&format=json&name=for.good";
    let ticket = ada.form("/barman/backup", form).ticket();
    let result = ada.finished(&ticket);
    assert_eq!(result["status_code"], 200, "{result}");
    let data = &result["data"];
    assert!(data.is_object(), "{result}");
    let words = data["_INFO"].as_array().unwrap();
    let first = words[0].as_str().unwrap();
    assert!(first.starts_with("Starting backup using "), "{result}");
    let id = first.rsplit('/').next().unwrap().to_owned();
    let listed = in_catalogue(&id).expect("barman lists it");
    assert_eq!(listed["backup_name"], "for.good", "{listed}");

    let keep = format!("/barman/keep?server_name=main&backup_id={id}");
    let status = |expected: &str| {
        let answer = ada.get(&format!("{keep}&status=true")).expect(200).json();
        assert_eq!(answer["list"][1], format!("\tKeep: {expected}"), "{answer}");
        let (lines, _) = directly(&["keep", "--status", "main", &id]);
        assert_eq!(answer["list"], json!(lines));
    };
    status("nokeep");
    ada.get(&format!("{keep}&status=true&release=true"))
        .expect(400);
    ada.get(&keep).expect(400);
    let kept = ada
        .request("POST", &format!("{keep}&target=full"), &[], b"")
        .expect(200)
        .json();
    assert_eq!(kept["status_code"], 200, "{kept}");
    status("full");
    let refused = ada
        .get(&format!("/barman/delete?server_name=main&backup_id={id}"))
        .expect(200)
        .json();
    assert_eq!(refused["status_code"], 1, "{refused}");
    let words = refused["message"].as_str().unwrap();
    assert!(words.contains("current keep request"), "{refused}");
    assert!(in_catalogue(&id).is_some(), "{refused}");
    let released = ada.get(&format!("{keep}&release=TRUE")).expect(200).json();
    assert_eq!(released["status_code"], 200, "{released}");
    status("nokeep");

    let deleted = ada
        .post(
            "/barman/delete",
            &json!({"server_name": "main", "backup_id": id}),
        )
        .expect(200)
        .json();
    assert_eq!(deleted["status_code"], 200, "{deleted}");
    assert_eq!(deleted["state"], "done", "{deleted}");
    assert_eq!(in_catalogue(&id), None);
    // A command that changes state has a ticket even when nobody asked for one.
    let ticket = deleted["ticket"].as_str().unwrap();
    assert_eq!(ada.result(ticket), deleted);
}

#[test]
fn a_backup_is_shown_and_its_files_are_listed_as_barman_does() {
    let fixture = Fixture::get();
    let ada = fixture.ada();
    let id = fixture.backup_id.as_str();
    let query = format!("server_name=main&backup_id={id}");
    let answer = ada.get(&format!("/barman/show-backup?{query}&format=json"));
    let shown = answer.expect(200).json();
    let backup = &shown["data"]["main"];
    assert_eq!(backup["backup_id"], id, "{shown}");
    assert_eq!(backup["status"], "DONE", "{shown}");
    let answer = ada.get(&format!("/barman/show-backup?{query}"));
    let lines = answer.expect(200).json()["list"].clone();
    assert_eq!(lines[0], format!("Backup {id}:"));

    for target in ["data", "standalone", "full"] {
        let barmans = || {
            let (lines, code) = directly(&["list-files", "--target", target, "main", id]);
            assert_eq!(code, 0);
            assert!(!lines.is_empty());
            lines
        };
        // WAL files come in meanwhile; what counts is an answer in a moment in which none does.
        let (listed, lines) = (0..10)
            .find_map(|_| {
                let before = barmans();
                let answer = ada.get(&format!("/barman/list-files?{query}&target={target}"));
                let listed = answer.expect(200).json();
                (barmans() == before).then_some((listed, before))
            })
            .expect("a moment without a new WAL file");
        assert_eq!(listed["list"], json!(lines), "{target}");
    }
    let end = format!("/barman/list-files?{query}&target=data");
    let listed = ada.get(&end).expect(200).json();
    let paths = listed["list"].as_array().unwrap();
    assert!(
        paths
            .iter()
            .any(|path| path.as_str().unwrap().ends_with("/PG_VERSION")
                || path.as_str().unwrap().contains(".tar")),
        "{listed}"
    );
    ada.get(&format!("/barman/list-files?{query}&target=odd"))
        .expect(400);
}

#[test]
fn a_command_that_fails_is_answered_with_its_exit_code_and_its_words() {
    let fixture = Fixture::get();
    let ada = fixture.ada();
    let unknown = "server_name=main&backup_id=20200101T000000";
    for command in ["show-backup", "list-files", "delete"] {
        let answer = ada.get(&format!("/barman/{command}?{unknown}"));
        let failed = answer.expect(200).json();
        assert_eq!(failed["status_code"], 1, "{failed}");
        assert_eq!(failed["exit_code"], 1, "{failed}");
        assert_eq!(failed["state"], "failed", "{failed}");
        let message = failed["message"].as_str().unwrap();
        assert!(message.contains("20200101T000000"), "{failed}");
        assert!(message.starts_with("ERROR: "), "{failed}");
    }
    // With JSON the words are in the document, and nothing is on standard error.
    let answer = ada.get(&format!("/barman/show-backup?{unknown}&format=json"));
    let failed = answer.expect(200).json();
    assert_eq!(failed["status_code"], 1, "{failed}");
    let words = failed["data"]["_ERROR"][0].as_str().unwrap();
    assert!(words.contains("20200101T000000"), "{failed}");
    // By ticket it is the same.
    let answer = ada.get(&format!("/barman/show-backup?{unknown}&async=true"));
    let failed = ada.finished(&answer.ticket());
    assert_eq!(failed["status_code"], 1, "{failed}");
    assert_eq!(failed["state"], "failed", "{failed}");
    // What Barman's configuration does not have is refused before anything runs.
    ada.get("/barman/show-backup?server_name=nobody&backup_id=latest")
        .expect(404);
}
