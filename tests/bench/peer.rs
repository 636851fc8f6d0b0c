//! The routes of pg-backup-api, against pg-backup-api itself under gunicorn with two workers.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::load::{ask_for, tell};
use super::process::Process;
use super::site::{self, Site};
use super::{REST, ROUNDS, verdict};

/// Clients at once; gunicorn's workers answer one each at a time.
const CLIENTS: u32 = 16;

/// Operations that pg-backup-api has left: both list them.
const LEFT: u32 = 20;

/// Both services on the lab's Barman, taking turns.
pub fn measure(site: &Site) {
    let Some(peer) = serve_peer(site) else {
        println!("\npg-backup-api is not installed in this lab, so it is left out");
        return;
    };
    leave_operations(site);
    let server = site.serve_warm();
    let token = Site::token(server.port);
    // The first request finds nothing warm, and counts nowhere.
    for target in [
        "/diagnose",
        "/status",
        "/diagnose",
        "/servers/main/operations",
    ] {
        let (ours, theirs) = (
            site::request(server.port, target, &token),
            site::request(peer.port, target, ""),
        );
        for answer in [&ours, &theirs] {
            assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
        }
        if target != "/diagnose" {
            assert_eq!(document(&ours), document(&theirs), "{target}");
        }
    }
    println!(
        "\nthe routes of pg-backup-api, {ROUNDS} rounds, requests per second and milliseconds; pg-backup-api runs under gunicorn with 2 workers"
    );
    let status = ("/status", CLIENTS, 4.0, 4.0);
    let operations = ("/servers/main/operations", CLIENTS, 4.0, 15.0);
    // Rounds so long, for one answer more or less not to count.
    let diagnose = |clients, goal| ("/diagnose", clients, 10.0, goal);
    // So long, for each client of pg-backup-api to be answered.
    let crowd = ("/diagnose", 256, 30.0, 100.0);
    for goal in [
        status,
        operations,
        diagnose(1, 1.0),
        diagnose(CLIENTS, 8.0),
        crowd,
    ] {
        compare(server.port, peer.port, &token, goal);
    }
    println!("with a Barman for each request (`warm = off`)");
    let plain = site.serve();
    for goal in [status, operations, diagnose(CLIENTS, 1.0)] {
        compare(plain.port, peer.port, &token, goal);
    }
    std::thread::sleep(REST);
    println!(
        "  memory of all processes after {} s of rest, MB, shared pages by their share",
        REST.as_secs()
    );
    let theirs = peer.proportional();
    println!("    pg-backup-api {theirs:.1}");
    weigh("with a Barman that is kept warm", &server, theirs);
    weigh("with a Barman for each request", &plain, theirs);
    remove_operations(site);
}

/// Both take turns with a route: its path, clients at once, seconds of a round and the ratio to reach.
fn compare(
    ours: u16,
    theirs: u16,
    token: &str,
    (target, clients, seconds, goal): (&str, u32, f64, f64),
) {
    let (mut own, mut its) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        own.push(ask_for(seconds, ours, target, clients, Some(token)));
        its.push(ask_for(seconds, theirs, target, clients, None));
        // It answers those who have left, too, before it takes anybody anew.
        let after = site::request(theirs, "/status", "");
        assert!(after.starts_with("HTTP/1.1 200"), "{after}");
    }
    println!("  {target}, {clients} clients, {seconds} s a round");
    let (own, its) = (tell("barmanapi", &own), tell("pg-backup-api", &its));
    let ratio = own / its;
    println!(
        "    ratio {ratio:.1}; goal: at least {goal}: {}",
        verdict(ratio >= goal)
    );
}

fn weigh(manner: &str, server: &Process, theirs: f64) {
    let ours = server.proportional();
    let ratio = ours / theirs;
    println!(
        "    barmanapi {manner} {ours:.1}, ratio {ratio:.2}; goal: at most 0.25: {}",
        verdict(ratio <= 0.25)
    );
}

/// The body of an answer as a document: spaces, the order of keys and that of operations, which
/// pg-backup-api lists as its file system does, are not compared.
fn document(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut document: serde_json::Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {body}"));
    if let Some(operations) = document
        .get_mut("operations")
        .and_then(|list| list.as_array_mut())
    {
        operations.sort_by_key(|operation| operation["id"].to_string());
    }
    document
}

/// pg-backup-api in the lab, when it was installed there.
fn serve_peer(site: &Site) -> Option<Process> {
    let lab = Path::new(site.fact("LAB_DIR"));
    if !lab.join("peer/installed").exists() {
        return None;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port.local_addr().unwrap().port();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/pg-backup-api.sh");
    let log = fs::File::create(lab.join("log/peer.log")).unwrap();
    let mut command = Command::new(script);
    command
        .arg("serve")
        .arg(lab)
        .args([&port.to_string(), "2"])
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    Some(Process::started(command, port))
}

fn leave_operations(site: &Site) {
    let home = Path::new(site.fact("BARMAN_HOME")).join("main");
    for number in 0..LEFT {
        let id = format!("20250101T0000{number:02}");
        for (folder, more) in [
            ("jobs", ""),
            (
                "output",
                r#", "success": true, "end_time": "2025-01-01T00:01:00", "output": "done""#,
            ),
        ] {
            let folder = home.join(folder);
            fs::create_dir_all(&folder).unwrap();
            let text = format!(
                r#"{{"operation_type": "recovery", "start_time": "2025-01-01T00:00:{number:02}", "backup_id": "latest"{more}}}"#
            );
            fs::write(folder.join(format!("{id}.json")), text).unwrap();
            site.own_all(&folder);
        }
    }
}

fn remove_operations(site: &Site) {
    let home = Path::new(site.fact("BARMAN_HOME")).join("main");
    for folder in ["jobs", "output"] {
        fs::remove_dir_all(home.join(folder)).unwrap();
    }
}
