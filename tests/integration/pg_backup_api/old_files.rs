//! Operations that pg-backup-api has left behind.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Desk, MAIN, error};
use crate::rig::Lab;

/// A `barman_home` with the files of pg-backup-api, and a configuration that names it.
struct Home {
    folder: PathBuf,
}

impl Home {
    fn new() -> Self {
        let lab = Lab::get();
        let folder = lab.folder("home");
        for part in ["jobs", "output", "main", "main/jobs", "main/output"] {
            let path = folder.join(part);
            fs::create_dir(&path).unwrap();
            lab.own(&path);
        }
        let text = format!("[barman]\nbarman_home = {}\n", folder.display());
        lab.write(&folder.join("barman.conf"), &text, 0o644);
        Self { folder }
    }

    fn setting(&self) -> String {
        format!(
            "barman.config_file = {}",
            self.folder.join("barman.conf").display()
        )
    }

    /// An operation in these folders; without an end, it was never told.
    fn put(&self, place: &str, id: &str, kind: &str, success: Option<bool>) {
        let mut file = json!({
            "operation_type": kind,
            "start_time": "2024-01-02T03:04:05.000006",
            "backup_id": "latest",
        });
        let write = |part: &str, file: &Value| {
            let path = self
                .folder
                .join(place)
                .join(part)
                .join(format!("{id}.json"));
            Lab::get().write(&path, &file.to_string(), 0o644);
        };
        write("jobs", &file);
        if let Some(success) = success {
            file["success"] = success.into();
            file["end_time"] = "2024-01-02T03:05:05.000006".into();
            file["output"] = "password=hunter2\nthe end\n".into();
            write("output", &file);
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

#[test]
fn they_answer_by_their_ids_and_stand_in_the_lists() {
    let home = Home::new();
    home.put("main", "20240102T030405", "recovery", Some(true));
    home.put("main", "20240102T030406", "config_switch", Some(false));
    home.put("main", "20240102T030407", "recovery", None);
    home.put("", "20240102T030408", "config_update", Some(true));
    let odd = home.folder.join("main/jobs/notes.json");
    Lab::get().write(&odd, "{}", 0o644);
    let desk = Desk::new(&json!({}), &[&home.setting()]);
    let admin = desk.caller("admin");
    for (id, kind, status) in [
        ("20240102T030405", "recovery", "DONE"),
        ("20240102T030406", "config_switch", "FAILED"),
        ("20240102T030407", "recovery", "IN_PROGRESS"),
    ] {
        let body = admin.get(&format!("{MAIN}/{id}")).expect(200).json();
        assert_eq!(body["operation_id"], id, "{body}");
        assert_eq!(
            (&body["type"], &body["status"]),
            (&json!(kind), &json!(status))
        );
        if status != "IN_PROGRESS" {
            assert_eq!(body["output"], "password=*REDACTED*\nthe end\n");
            assert_eq!(body["ended_at"], "2024-01-02T03:05:05.000006");
        }
        error(admin.get(&format!("/operations/{id}")), 404);
        error(admin.get(&format!("/servers/other/operations/{id}")), 404);
    }
    let update = admin.get("/operations/20240102T030408").expect(200).json();
    assert_eq!(update["status"], "DONE");
    let listed = admin.get(MAIN).expect(200).json();
    assert_eq!(
        listed,
        json!({"operations": [
            {"id": "20240102T030407", "type": "recovery"},
            {"id": "20240102T030406", "type": "config_switch"},
            {"id": "20240102T030405", "type": "recovery"},
        ]})
    );
    let listed = admin.get("/operations").expect(200).json();
    assert_eq!(
        listed["operations"],
        json!([{"id": "20240102T030408", "type": "config_update"}])
    );
    // Who may restore and nothing else sees restores and nothing else.
    let patroni = desk.caller("patroni");
    let listed = patroni.get(MAIN).expect(200).json();
    assert_eq!(listed["operations"].as_array().unwrap().len(), 2);
    let unseen = error(patroni.get(&format!("{MAIN}/20240102T030406")), 404);
    let unknown = error(patroni.get(&format!("{MAIN}/20240102T030499")), 404);
    assert_eq!(unseen, unknown);
}

#[test]
fn no_id_leads_out_of_the_folder_and_no_file_holds_an_answer_up() {
    let home = Home::new();
    let secret = home.folder.join("main/secret.json");
    Lab::get().write(&secret, "{\"operation_type\": \"recovery\"}", 0o644);
    let jobs = home.folder.join("main/jobs");
    let link = jobs.join("20240102T030405.json");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &link,
        rustix::fs::Mode::from_raw_mode(0o666),
    )
    .unwrap();
    let desk = Desk::new(&json!({}), &[&home.setting()]);
    let admin = desk.caller("admin");
    for id in [
        "..%2Fsecret",
        "secret",
        "%2e%2e%2fsecret",
        "20240102T030406",
    ] {
        error(admin.get(&format!("{MAIN}/{id}")), 404);
    }
    error(admin.get(&format!("{MAIN}/20240102T030405")), 502);
    // What may not be read hides no others.
    Lab::get().write(&jobs.join("20240102T030406.json"), "{}", 0o000);
    error(admin.get(&format!("{MAIN}/20240102T030406")), 502);
    home.put("main", "20240102T030404", "recovery", Some(true));
    home.put("main", "20240102T030407", "recovery", None);
    let listed = admin.get(MAIN).expect(200).json();
    assert_eq!(
        listed,
        json!({"operations": [
            {"id": "20240102T030407", "type": "recovery"},
            {"id": "20240102T030404", "type": "recovery"},
        ]})
    );
}
