//! The same on the real Barman.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{MAIN, begun, ended, error};
use crate::rig::{Barman, Lab, Server, Site};

/// A server with a target on the Barman host itself.
fn served() -> (Site, Server) {
    let directories = format!(
        "target:lab.directories = {}",
        Lab::get().fact("RESTORE_DIR")
    );
    let site = Site::new(&Barman::Real, &[&directories, "target:lab.ssh_command = "]);
    site.user("ada", &["--full"]);
    let server = site.serve();
    (site, server)
}

/// Every key of a document in order, with what stands below it.
fn keys(value: &Value, path: &str, found: &mut Vec<String>) {
    if let Value::Object(members) = value {
        for (name, value) in members {
            let path = format!("{path}/{name}");
            found.push(path.clone());
            keys(value, &path, found);
        }
    }
}

#[test]
fn diagnose_is_what_barman_prints_but_for_its_secrets() {
    let (_site, server) = served();
    let ada = server.login("ada");
    let answer = ada.get("/diagnose").expect(200);
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let lab = Lab::get();
    for secret in ["OTHER_PASSWORD", "OTHER_STREAMING_PASSWORD"] {
        assert!(!text.contains(lab.fact(secret)), "{secret}");
    }
    assert!(text.contains("*REDACTED*"));
    let ours = answer.json();
    let output = lab.barman(&["diagnose"]);
    let direct: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (mut here, mut there) = (Vec::new(), Vec::new());
    keys(&ours, "", &mut here);
    keys(&direct, "", &mut there);
    // Other tests take backups meanwhile.
    let steady = |paths: Vec<String>| -> Vec<String> {
        let moves = |path: &String| path.contains("/backups/") || path.contains("/wals/");
        paths.into_iter().filter(|path| !moves(path)).collect()
    };
    assert_eq!(steady(here), steady(there));
    for key in ["global", "servers"] {
        assert!(ours[key].is_object(), "{key}");
    }
    for part in ["backups", "config", "status", "wals"] {
        assert!(ours["servers"]["main"].get(part).is_some(), "{part}");
    }
}

#[test]
fn a_recovery_restores_and_a_second_one_into_the_same_place_fails() {
    let (_site, server) = served();
    let ada = server.login("ada");
    {
        let _main = Lab::hold("main");
        let ticket = ada.get("/barman/backup?SERVERNAME=main").ticket();
        assert_eq!(ada.finished(&ticket)["state"], "done");
    }
    let name = format!("operation-{:016x}", getrandom::u64().unwrap());
    let directory = Path::new(Lab::get().fact("RESTORE_DIR")).join(name);
    let body = json!({
        "type": "recovery",
        "backup_id": "latest",
        "target": "lab",
        "destination_directory": directory,
    });
    let id = begun(ada.post(MAIN, &body));
    let end = ended(&ada, &id);
    assert_eq!(
        (&end["status"], &end["exit_code"]),
        (&json!("DONE"), &json!(0)),
        "{end}"
    );
    assert!(
        end["output"]
            .as_str()
            .unwrap()
            .contains("successfully prepared")
    );
    assert!(directory.join("global/pg_control").exists());
    let again = begun(ada.post(MAIN, &body));
    assert_ne!(again, id);
    assert_eq!(ended(&ada, &again)["status"], "FAILED");
    fs::remove_dir_all(directory).unwrap();
    let mut unknown = body.clone();
    unknown["backup_id"] = "20200101T000000".into();
    assert_eq!(
        error(ada.post(MAIN, &unknown), 404),
        "404 Not Found: Backup '20200101T000000' does not exist"
    );
}

#[test]
fn a_switch_that_barman_refuses_has_failed() {
    let (_site, server) = served();
    let ada = server.login("ada");
    let body = json!({"type": "config_switch", "model_name": "no-such-model"});
    let end = ended(&ada, &begun(ada.post(MAIN, &body)));
    assert_eq!(end["status"], "FAILED", "{end}");
    assert!(!end["output"].as_str().unwrap().is_empty(), "{end}");
}
