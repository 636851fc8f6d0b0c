//! Jobs of the stand-in, by three clients at once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::truth::{at_each_moment_one_ran, compare, key};
use super::{Random, STAND_IN_KILLS, Seen, TICKETS, everything, restart};
use crate::rig::{Answer, Barman, Server, Site, StandIn};

/// A request of a user whose server may die any moment.
fn attempt(server: &Server, token: &str, method: &str, target: &str) -> Option<Answer> {
    let bearer = format!("Bearer {token}");
    server.try_request(method, target, &[("Authorization", &bearer)], b"")
}

/// The ticket in an answer; also a command that ended within its request has one.
fn ticket_in(answer: &Answer) -> Option<String> {
    let body = answer.json();
    let ticket = if answer.status == 202 {
        &body["list"]["ticket"]
    } else {
        &body["ticket"]
    };
    ticket.as_str().map(str::to_owned)
}

/// A word of its own in each command, by which its start is known in the stand-in's log.
struct Words<'a> {
    round: usize,
    random: &'a mut Random,
}

impl Words<'_> {
    /// The commands that one of the clients sends.
    fn lane(&mut self, lane: usize) -> Vec<(&'static str, String)> {
        let round = self.round;
        let backup_id = |n: usize| {
            format!(
                "2026{:02}{:02}T{lane:02}{n:02}00",
                1 + round / 28,
                1 + round % 28
            )
        };
        let commands = (0..4).map(|n| {
            let id = backup_id(n);
            match (lane, self.random.next() % 4) {
                (0, 0..=2) | (1, 0) => (
                    "POST",
                    format!("/barman/backup?server_name=main&name=r{round}-l{lane}-n{n}"),
                ),
                (0, _) => (
                    "GET",
                    format!("/barman/delete?server_name=main&backup_id={id}"),
                ),
                (1, 1) => (
                    "POST",
                    format!("/barman/keep?server_name=main&backup_id={id}&target=full"),
                ),
                (1, _) => (
                    "POST",
                    format!("/barman/verify-backup?server_name=other&backup_id={id}"),
                ),
                _ => ("GET", "/barman/list-backups?server_name=main".to_owned()),
            }
        });
        commands.collect()
    }
}

pub(super) fn kill_during_jobs(mut random: Random) -> Seen {
    let stand_in = StandIn::new();
    let site = Site::new(
        &Barman::StandIn(&stand_in),
        &["barman.max_jobs = 16", "barman.sync_timeout = 1"],
    );
    site.user("ada", &["--full"]);
    let mut server = site.serve();
    let token = server.login("ada").token;
    let mut seen = Seen::default();
    // Tickets handed out, by the word of the command.
    let handed_out = Mutex::new(BTreeMap::new());
    let note = |target: &str, answer: &Answer| {
        let Some(key) = key(target) else { return };
        assert!(
            matches!(answer.status, 200 | 202),
            "{target}: {:?}",
            answer.json()
        );
        let ticket = ticket_in(answer).unwrap_or_else(|| panic!("{target}: {}", answer.json()));
        let before = handed_out.lock().unwrap().insert(key, ticket);
        assert_eq!(before, None, "{target}");
    };
    let mut moments = Vec::new();
    let enough = || handed_out.lock().unwrap().len() >= TICKETS;
    for round in 0.. {
        if round >= STAND_IN_KILLS && enough() {
            break;
        }
        let seconds = |random: &mut Random, from, to| random.milliseconds(from, to).as_secs_f64();
        stand_in.control(&json!({
            "backup": {"stdout": "backup\n", "sleep": seconds(&mut random, 1000, 3000)},
            "delete": {"stderr": "no\n", "sleep": seconds(&mut random, 100, 500), "exit": 1 + round % 5},
            "keep": {"sleep": seconds(&mut random, 100, 300), "kill": "KILL"},
            "verify-backup": {"sleep": seconds(&mut random, 300, 1500)},
            "list-backups": {"sleep": 0.1},
        }));
        let hold = format!("/barman/backup?server_name=main&name=r{round}-hold");
        let answer = attempt(&server, &token, "POST", &hold).expect("an answer");
        assert_eq!(answer.status, 202);
        note(&hold, &answer);
        wait_for_start(&stand_in, &format!("--name=r{round}-hold"));
        let mut words = Words {
            round,
            random: &mut random,
        };
        let lanes = [words.lane(0), words.lane(1), words.lane(2)];
        let delay = random.milliseconds(0, 900);
        std::thread::scope(|scope| {
            for lane in lanes {
                let (server, token, note) = (&server, &token, &note);
                scope.spawn(move || {
                    for (method, target) in lane {
                        match attempt(server, token, method, &target) {
                            Some(answer) => note(&target, &answer),
                            None => break,
                        }
                    }
                });
            }
            std::thread::sleep(delay);
            let pid = i32::try_from(server.pid()).unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            moments.push(now());
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        restart(&site, &mut server, &mut seen);
    }
    let ada = server.with_token(&token);
    let handed_out = handed_out.into_inner().unwrap();
    seen.tickets = handed_out.len();
    let all = everything(&ada);
    seen.recorded = all.len();
    for (key, ticket) in &handed_out {
        assert!(all.contains(ticket), "{key}: {ticket} is not listed");
    }
    seen.unspoken = seen.recorded - compare(&ada, &stand_in, &handed_out, &all, &server);
    at_each_moment_one_ran(&stand_in, &moments);
    // What was cut short is cleared away.
    let open = server.store().join("active/open");
    let since = Instant::now();
    while std::fs::read_dir(&open).unwrap().count() > 0 {
        assert!(since.elapsed() < Duration::from_secs(10), "open jobs stay");
        std::thread::sleep(Duration::from_millis(50));
    }
    seen
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs_f64()
}

fn wait_for_start(stand_in: &StandIn, word: &str) {
    let path = stand_in.folder().join("starts.jsonl");
    let since = Instant::now();
    let word = format!("\"{word}\"");
    while !std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&word)) {
        assert!(since.elapsed() < Duration::from_secs(60), "no {word}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
