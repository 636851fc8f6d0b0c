//! Tickets: which there are, who gives them, and when.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::json;

use super::{backup, page, serve, site, starts_of, tickets};
use crate::rig::{Lab, StandIn};

#[test]
fn a_word_that_is_no_ticket_is_refused_and_an_unknown_ticket_is_not_found() {
    let stand_in = StandIn::new();
    let site = site(&stand_in, &[]);
    let server = serve(&site);
    let ada = server.login("ada");
    let ticket = ada.get(&backup("one")).ticket();
    ada.finished(&ticket);
    let wrong = [
        "../x".to_owned(),
        "a/b".to_owned(),
        "..%2F..%2Fconfig".to_owned(),
        String::new(),
        format!("{ticket}%00"),
        format!("{ticket}%0A"),
        format!("{ticket}/"),
        format!("%20{ticket}"),
        ticket.to_ascii_uppercase(),
        ticket.to_ascii_lowercase(),
        ticket[..ticket.len() - 1].to_owned(),
        format!("{ticket}a"),
        ticket[..15].to_owned(),
        "x".repeat(7000),
    ];
    for word in wrong.iter().filter(|word| **word != ticket) {
        for answer in [
            ada.get(&format!("/history/result?ticket={word}")),
            ada.request("POST", &format!("/history/cancel?ticket={word}"), &[], b""),
        ] {
            assert_eq!(answer.status, 400, "{word}");
        }
    }
    // A megabyte does not even get as far.
    let long = ada.get(&format!("/history/result?ticket={}", "x".repeat(1 << 20)));
    assert!((400..500).contains(&long.status), "{}", long.status);
    let last = if ticket.ends_with('a') { "b" } else { "a" };
    let unknown = format!("{}{last}", &ticket[..ticket.len() - 1]);
    ada.get(&format!("/history/result?ticket={unknown}"))
        .expect(404);
    let cancel = format!("/history/cancel?ticket={unknown}");
    ada.request("POST", &cancel, &[], b"").expect(404);
    ada.get("/history/result").expect(400);
    ada.get(&format!("/history/cancel?ticket={ticket}"))
        .expect(405);
    assert_eq!(tickets(&page(&ada, "")), [ticket]);
}

#[test]
fn jobs_of_one_second_and_one_token_have_a_ticket_each() {
    const JOBS: usize = 60;
    let stand_in = StandIn::new();
    let site = site(&stand_in, &["barman.max_jobs = 8"]);
    let server = serve(&site);
    let ada = server.login("ada");
    let submitted: Vec<(usize, String)> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..4)
            .map(|lane| {
                let ada = &ada;
                scope.spawn(move || {
                    let numbers = (0..JOBS).filter(move |n| n % 4 == lane);
                    numbers
                        .map(|n| (n, ada.get(&backup(&format!("n{n}"))).ticket()))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        lanes
            .into_iter()
            .flat_map(|lane| lane.join().unwrap())
            .collect()
    });
    let distinct: HashSet<_> = submitted.iter().map(|(_, ticket)| ticket).collect();
    assert_eq!(distinct.len(), JOBS);
    let seconds: HashSet<_> = submitted.iter().map(|(_, ticket)| &ticket[..15]).collect();
    assert!(
        seconds.len() < JOBS,
        "no two of them fell into the same second"
    );
    for (n, ticket) in &submitted {
        assert_eq!(ada.finished(ticket)["status_code"], 200);
        assert_eq!(starts_of(&stand_in, &format!("n{n}")), 1, "n{n}");
    }
    let listed = tickets(&page(&ada, "limit=1000"));
    assert_eq!(listed.iter().collect::<HashSet<_>>(), distinct);
    assert_eq!(listed.len(), JOBS);
}

#[test]
fn whether_a_ticket_is_wanted_is_for_the_caller_to_say() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({"*": {"stdout": "said\n"}, "backup": {"stdout": "said\n"}}));
    let site = site(&stand_in, &[]);
    let server = serve(&site);
    let ada = server.login("ada");
    let prefer = [("Prefer", "wait=5, respond-async")];
    let switch = "/barman/switch-wal?server_name=main";
    let list = "/barman/list-backups?server_name=main";
    // Without a word, the configuration decides.
    let at_once = ada.get(switch).expect(200).json();
    assert_eq!(at_once["list"], json!(["said"]));
    for answer in [
        ada.request("GET", switch, &prefer, b""),
        ada.get(&format!("{switch}&async=true")),
        ada.get(&format!("{switch}&async=TRUE")),
        ada.request("POST", list, &prefer, b""),
        ada.get(&format!("{list}&async=true")),
        ada.get(&backup("by-itself")),
    ] {
        let location = answer.header("location").map(str::to_owned);
        let ticket = answer.ticket();
        assert_eq!(
            location.as_deref(),
            Some(format!("/history/result?ticket={ticket}").as_str())
        );
        let result = ada.finished(&ticket);
        assert_eq!(result["list"], json!(["said"]), "{result}");
        assert_eq!(result["status_code"], 200, "{result}");
    }
    // What the parameter says stands above the header and the configuration.
    let name = format!("{}&async=false", backup("at-once"));
    let waited = ada.request("GET", &name, &prefer, b"").expect(200).json();
    assert_eq!(waited["list"], json!(["said"]));
    assert_eq!(waited["state"], "done");
    let ticket = waited["ticket"].as_str().unwrap();
    assert_eq!(ada.result(ticket), waited);
    for wrong in ["maybe", "1", "", "true&async=true"] {
        ada.get(&format!("{switch}&async={wrong}")).expect(400);
    }
    // A bare `wait` asks for nothing.
    ada.request("GET", switch, &[("Prefer", "wait=5")], b"")
        .expect(200);
    assert_eq!(stand_in.starts().len(), 1 + 6 + 1 + 1);
}

#[test]
fn two_servers_on_one_store_both_accept_and_both_answer_for_every_ticket() {
    let stand_in = StandIn::new();
    let site = site(&stand_in, &["barman.max_jobs = 6"]);
    let first = serve(&site);
    let second = serve(&site);
    assert_ne!(first.port, second.port);
    let users = [first.login("ada"), second.login("ada")];
    let submitted: Vec<(String, String)> = std::thread::scope(|scope| {
        let lanes: Vec<_> = users
            .iter()
            .enumerate()
            .map(|(lane, user)| {
                scope.spawn(move || {
                    let submit = |n| {
                        let name = format!("s{lane}-{n}");
                        let ticket = user.get(&backup(&name)).ticket();
                        (name, ticket)
                    };
                    (0..15).map(submit).collect::<Vec<_>>()
                })
            })
            .collect();
        lanes
            .into_iter()
            .flat_map(|lane| lane.join().unwrap())
            .collect()
    });
    // A token of one is one of the other, too.
    let crossed = first.with_token(&users[1].token);
    let mut lists = Vec::new();
    for user in [&users[0], &users[1], &crossed] {
        for (_, ticket) in &submitted {
            assert_eq!(user.finished(ticket)["state"], "done");
        }
        lists.push(page(user, "limit=1000")["list"].clone());
    }
    assert_eq!(lists[0].as_array().unwrap().len(), submitted.len());
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[0], lists[2]);
    for (name, _) in &submitted {
        assert_eq!(starts_of(&stand_in, name), 1, "{name}");
    }
    // The same exclusive job is refused by the one while it runs by the other.
    stand_in.control(&json!({"backup": {"hang": true}}));
    let running = users[0].get(&backup("same")).ticket();
    users[1].get(&backup("same")).expect(409);
    // What one was asked to do, the other can be asked to stop.
    let cancel = format!("/history/cancel?ticket={running}");
    users[1].request("POST", &cancel, &[], b"").expect(200);
    assert_eq!(users[0].finished(&running)["state"], "cancelled");
}

#[test]
fn the_store_is_private_whatever_the_umask_and_barman_gets_its_usual_one() {
    let stand_in = StandIn::new();
    let site = site(&stand_in, &[]);
    for umask in ["000", "077"] {
        let become_it = format!("umask {umask}; exec \"$@\"");
        let server = site.serve_through(&["/bin/sh", "-c", &become_it, "sh"], &[]);
        server.wait_until_ready();
        let ada = server.login("ada");
        let ticket = ada.get(&backup(&format!("u{umask}"))).ticket();
        assert_eq!(ada.closed(&ticket)["state"], "done");
        ada.get("/barman/list-backups?server_name=main").expect(200);
        page(&ada, "");
    }
    let mut files = 0;
    check_private(&site.file("store"), &mut files);
    // Two jobs with four files each, at least.
    assert!(files >= 8, "{files} files");
    for start in stand_in.starts() {
        assert_eq!(start["umask"], "0022");
    }
}

fn check_private(path: &Path, files: &mut usize) {
    let found = fs::symlink_metadata(path).unwrap();
    let (mode, uid) = (found.mode() & 0o7777, found.uid());
    assert_eq!(uid, Lab::get().account().0, "{}", path.display());
    if found.is_dir() {
        assert_eq!(mode, 0o700, "{}", path.display());
        for entry in fs::read_dir(path).unwrap() {
            check_private(&entry.unwrap().path(), files);
        }
    } else {
        assert_eq!(mode, 0o600, "{}", path.display());
        *files += 1;
    }
}

#[test]
fn a_store_that_others_may_write_to_or_own_keeps_the_server_from_starting() {
    use std::os::unix::fs::PermissionsExt;
    let stand_in = StandIn::new();
    let site = site(&stand_in, &[]);
    drop(site.serve_unready(&[]));
    let lab = Lab::get();
    let start = || {
        let mut command = lab.command("/usr/bin/timeout");
        command
            .args(["20"])
            .arg(&lab.binary)
            .args(["serve", "--config"]);
        command.arg(site.file("barmanapi.conf")).output().unwrap()
    };
    for (folder, mode) in [
        ("store", 0o770),
        ("store/active", 0o707),
        ("store/logs", 0o720),
    ] {
        let path = site.file(folder);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let output = start();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{folder}: {output:?}");
        assert_ne!(output.status.code(), Some(124), "{folder}: it started");
        assert!(said.contains(&path.display().to_string()), "{said}");
        assert!(said.contains("700"), "{said}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    // What others may only read is closed instead.
    let logs = site.file("store/logs");
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o755)).unwrap();
    drop(site.serve_unready(&[]));
    let mode = fs::metadata(&logs).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
