//! Backups of the real Barman.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{REAL_KILLS, Random, Seen, everything, restart};
use crate::rig::{Barman, Lab, Site};

pub(super) fn kill_during_backups(mut random: Random) -> Seen {
    let _other = Lab::hold("other");
    let site = Site::new(&Barman::Real, &[]);
    site.user("ada", &["--full"]);
    let mut server = site.serve();
    let token = server.login("ada").token;
    let mut seen = Seen::default();
    let before = catalogue();
    let mut by_id = BTreeMap::new();
    while seen.kills < REAL_KILLS {
        Lab::await_next_second();
        let ada = server.with_token(&token);
        let ticket = ada
            .post("/barman/backup", &json!({"server_name": "other"}))
            .ticket();
        seen.tickets += 1;
        loop {
            let ada = server.with_token(&token);
            match ada.result(&ticket)["state"].as_str().unwrap() {
                "queued" => continue,
                "running" => {}
                _ => break,
            }
            if seen.kills == REAL_KILLS {
                break;
            }
            std::thread::sleep(random.milliseconds(0, 1500));
            let kills = seen.kills;
            restart(&site, &mut server, &mut seen);
            let state = server.with_token(&token).result(&ticket)["state"].clone();
            if state != "running" {
                // It may have ended before the kill: that one does not count.
                seen.kills = kills;
            }
        }
        let result = server.with_token(&token).finished(&ticket);
        assert_eq!(result["status_code"], 200, "{result}");
        assert_eq!(result["state"], "done", "{result}");
        let lines = result["list"].as_array().unwrap();
        let lines: Vec<_> = lines.iter().map(|line| line.as_str().unwrap()).collect();
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("Backup completed")),
            "{result}"
        );
        let id = lines[0].rsplit('/').next().unwrap().to_owned();
        assert_eq!(by_id.insert(id, ticket), None, "{result}");
    }
    let after: BTreeMap<_, _> = catalogue()
        .into_iter()
        .filter(|(id, _)| !before.contains_key(id))
        .collect();
    assert_eq!(
        after.keys().collect::<Vec<_>>(),
        by_id.keys().collect::<Vec<_>>()
    );
    for (id, status) in after {
        assert!(
            ["DONE", "WAITING_FOR_WALS"].contains(&status.as_str()),
            "{id} is {status}"
        );
    }
    let listed = everything(&server.with_token(&token));
    assert_eq!(listed, by_id.into_values().collect());
    seen.recorded = listed.len();
    seen
}

/// The backups of `other` and their status, as Barman itself lists them.
fn catalogue() -> BTreeMap<String, String> {
    let output = Lab::get().barman(&["-f", "json", "list-backups", "other"]);
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let backups = listed["other"].as_array().unwrap();
    let word = |backup: &Value, key: &str| backup[key].as_str().unwrap().to_owned();
    backups
        .iter()
        .map(|backup| (word(backup, "backup_id"), word(backup, "status")))
        .collect()
}
