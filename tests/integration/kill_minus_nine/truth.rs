//! What the stand-in's log says, against what the tickets say.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use crate::rig::{Server, StandIn, User};

/// The word of a request or of a start by which both are known as the same.
pub(super) fn key(words: &str) -> Option<String> {
    let mut words = words.split(['&', ' ', '?']);
    words
        .find_map(|word| {
            word.strip_prefix("name=")
                .or(word.strip_prefix("--name="))
                .or(word.strip_prefix("backup_id="))
                .or(Some(word).filter(|word| word.len() == 15 && word.as_bytes()[8] == b'T'))
        })
        .map(str::to_owned)
}

/// A start in the stand-in's log and its end; a start without an end was killed.
struct Start {
    command: String,
    key: Option<String>,
    from: f64,
    exit: Option<(i64, f64)>,
}

fn starts(stand_in: &StandIn) -> Vec<Start> {
    let log = stand_in.log();
    let mut starts = Vec::new();
    let mut by_pid = BTreeMap::new();
    for line in &log {
        let pid = line["pid"].as_u64().unwrap();
        if let Some(command) = line.get("start").and_then(Value::as_str) {
            let argv = line["argv"].as_array().unwrap();
            let words: Vec<_> = argv.iter().map(|word| word.as_str().unwrap()).collect();
            by_pid.insert(pid, starts.len());
            starts.push(Start {
                command: command.to_owned(),
                key: key(&words.join(" ")),
                from: line["started_at"].as_f64().unwrap(),
                exit: None,
            });
        } else if let (Some(code), Some(start)) = (line.get("end"), by_pid.get(&pid)) {
            starts[*start].exit =
                Some((code.as_i64().unwrap(), line["ended_at"].as_f64().unwrap()));
        }
    }
    starts
}

/// Compares every ticket with the stand-in's log, and the log with the tickets; returns the number of
/// starts that belong to tickets.
pub(super) fn compare(
    user: &User<'_>,
    stand_in: &StandIn,
    handed_out: &BTreeMap<String, String>,
    all: &HashSet<String>,
    server: &Server,
) -> usize {
    let results: BTreeMap<&String, Value> = all
        .iter()
        .map(|ticket| (ticket, user.finished(ticket)))
        .collect();
    // All have ended, so the log is whole.
    let starts = starts(stand_in);
    let mut of_key: BTreeMap<&str, Vec<&Start>> = BTreeMap::new();
    for start in &starts {
        match &start.key {
            Some(key) => of_key.entry(key).or_default().push(start),
            None => assert!(
                ["list-backups", "list-servers"].contains(&start.command.as_str()),
                "{} was started without a ticket",
                start.command
            ),
        }
    }
    let mut keys = HashSet::new();
    for (ticket, result) in &results {
        let job = server
            .store()
            .join("active")
            .join(&ticket[..6])
            .join(ticket);
        let job: Value =
            serde_json::from_str(&std::fs::read_to_string(job.join("job.json")).unwrap()).unwrap();
        let arguments = job["arguments"].as_array().unwrap();
        let words: Vec<_> = arguments
            .iter()
            .map(|word| word.as_str().unwrap())
            .collect();
        let key = key(&words.join(" ")).unwrap_or_else(|| panic!("{job}"));
        if let Some(handed) = handed_out.get(&key) {
            assert_eq!(handed, *ticket, "{key} has two tickets");
        }
        let starts = of_key.get(key.as_str()).map_or(&[][..], Vec::as_slice);
        let state = result["state"].as_str().unwrap();
        match starts {
            [] => {
                // The server died before it could say the ticket; nothing was started, and it says so.
                assert!(!handed_out.contains_key(&key), "{key} never ran: {result}");
                assert_eq!(state, "lost", "{key}: {result}");
            }
            [start] => match start.exit {
                Some((0, _)) => {
                    assert_eq!(
                        (state, &result["exit_code"]),
                        ("done", &json!(0)),
                        "{key}: {result}"
                    );
                    assert_eq!(result["status_code"], 200, "{key}: {result}");
                }
                Some((code, _)) => {
                    assert_eq!(
                        (state, &result["exit_code"]),
                        ("failed", &json!(code)),
                        "{key}: {result}"
                    );
                    assert_eq!(result["status_code"], code, "{key}: {result}");
                    assert_eq!(result["message"], "no\n", "{key}: {result}");
                }
                None => {
                    assert_eq!(
                        (state, &result["signal"]),
                        ("failed", &json!(9)),
                        "{key}: {result}"
                    );
                    assert_eq!(result["status_code"], 137, "{key}: {result}");
                }
            },
            _ => panic!("{key} was started {} times", starts.len()),
        }
        if start_is_backup(starts) {
            assert_eq!(result["list"], json!(["backup"]), "{key}: {result}");
        }
        assert!(keys.insert(key), "two tickets for one command: {job}");
    }
    for key in of_key.keys() {
        assert!(keys.contains(*key), "{key} was started and has no ticket");
    }
    for key in handed_out.keys() {
        assert!(keys.contains(key), "{key} is lost");
    }
    of_key.len()
}

fn start_is_backup(starts: &[&Start]) -> bool {
    starts.iter().any(|start| start.command == "backup")
}

pub(super) fn at_each_moment_one_ran(stand_in: &StandIn, moments: &[f64]) {
    let starts = starts(stand_in);
    for moment in moments {
        let runs = |start: &&Start| {
            let until = start.exit.map_or(start.from, |(_, until)| until);
            start.key.is_some() && start.from < *moment && *moment < until
        };
        assert!(
            starts.iter().any(|start| runs(&start)),
            "nothing ran at {moment}"
        );
    }
}
