//! Rotation that is killed, again and again, by one and by two processes.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{Ends, Past, all_pages, give, month, site, tickets_of, wait_until};
use crate::rig::StandIn;

/// Lives of the service that end by SIGKILL.
const LIVES: u64 = 14;

/// Jobs that come between two of them.
const JOBS: usize = 100;

/// What every answer about one of these tickets says, or nobody may believe it.
fn is_right(ticket: &str, answer: &Value) -> bool {
    let list = answer["list"].as_array();
    answer["ticket"] == ticket
        && answer["message"] == format!("err {ticket}\n")
        && list.is_some_and(|list| {
            list.len() >= 50
                && list
                    .iter()
                    .enumerate()
                    .all(|(n, line)| *line == format!("line {n} of {ticket}"))
        })
}

#[test]
fn a_rotation_that_is_killed_anywhere_loses_doubles_and_misanswers_nothing() {
    let stand_in = StandIn::new();
    let site = site(&stand_in, &[]);
    let closed = month(1);
    let mut past = Past::new(&site);
    past.hand_over();
    // The catalogue is learnt once, so that the lives are short.
    let token = site.serve().login("ada").token;
    let mut tickets: Vec<String> = Vec::new();
    let seed = getrandom::u64().unwrap();
    eprintln!("seed {seed}");
    let mut random = seed | 1;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0x1405_7B7E_F767_814F);
        (random >> 33) % below
    };
    let (asked, cut_short) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for life in 0..LIVES {
        tickets.extend(past.ended(&closed, JOBS));
        give(&past.root.join("active"), true);
        let mut servers = vec![site.serve_unready(&[])];
        if life % 3 == 2 {
            servers.push(site.serve_unready(&[]));
        }
        let wait = Duration::from_micros(next(400_000));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for server in &servers {
                let (over, asked, tickets, token) = (&over, &asked, &tickets, &token);
                scope.spawn(move || {
                    // A token lives on.
                    let user = format!("Bearer {token}");
                    for ticket in tickets.iter().rev().cycle() {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        let target = format!("/history/result?ticket={ticket}");
                        let headers = [("Authorization", user.as_str())];
                        let Some(answer) = server.try_request("GET", &target, &headers, b"") else {
                            break;
                        };
                        let answer = answer.expect(200).json();
                        assert!(is_right(ticket, &answer), "{answer}");
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let _ends = Ends(&over);
            std::thread::sleep(wait);
            for server in &servers {
                let pid = rustix::process::Pid::from_raw(server.pid().try_into().unwrap()).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            }
        });
        drop(servers);
        let begun = fs::metadata(past.store.archive(&closed)).is_ok_and(|found| found.len() > 0);
        cut_short.fetch_add(
            usize::from(begun && past.store.month(&closed).exists()),
            Ordering::Relaxed,
        );
    }
    let server = site.serve_unready(&[]);
    let ada = server.login("ada");
    wait_until("all is archived", || !past.store.month(&closed).exists());
    let mut times: HashMap<&str, usize> = HashMap::new();
    let listed = all_pages(&ada, &closed, 1000);
    for ticket in tickets_of(&listed) {
        *times.entry(ticket).or_default() += 1;
    }
    assert_eq!(times.len(), tickets.len());
    for ticket in &tickets {
        assert_eq!(times.get(ticket.as_str()), Some(&1), "{ticket}");
        let answer = ada.result(ticket);
        assert!(is_right(ticket, &answer), "{answer}");
    }
    let tar = std::process::Command::new("tar")
        .arg("tzf")
        .arg(past.store.archive(&closed))
        .output()
        .unwrap();
    assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
    assert_eq!(
        String::from_utf8(tar.stdout).unwrap().lines().count(),
        4 * tickets.len()
    );
    assert!(
        cut_short.load(Ordering::Relaxed) > 0,
        "no rotation was cut short"
    );
    println!(
        "{LIVES} lives, {} of them cut short, {} answers",
        cut_short.into_inner(),
        asked.into_inner()
    );
}
