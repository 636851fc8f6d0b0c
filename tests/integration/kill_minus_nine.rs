//! `kill -9` of the server at random moments: every job goes on, and every ticket tells the truth.
//!
//! `KILL_SEED` sets the seed, which is printed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::rig::{Answer, Barman, Lab, Server, Site, StandIn, User};

/// Kills while a backup of the real Barman runs, and while jobs of the stand-in run.
const REAL_KILLS: usize = 10;
const STAND_IN_KILLS: usize = 40;

/// Tickets handed out at least.
const TICKETS: usize = 100;

/// Random numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Milliseconds between two bounds.
    fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from))
    }
}

fn seed() -> u64 {
    match std::env::var("KILL_SEED") {
        Ok(text) => text.parse().expect("KILL_SEED is a number"),
        Err(_) => getrandom::u64().unwrap(),
    }
}

#[test]
fn every_ticket_tells_the_truth_after_the_server_was_killed_at_fifty_random_moments() {
    let seed = seed();
    println!("kill -9: KILL_SEED={seed}");
    let began = Instant::now();
    let (stand_in, real) = std::thread::scope(|scope| {
        let real = scope.spawn(|| kill_during_backups(Random(!seed)));
        let stand_in = kill_during_jobs(Random(seed));
        (stand_in, real.join().unwrap())
    });
    let kills = stand_in.kills + real.kills;
    let tickets = stand_in.tickets + real.tickets;
    let recorded = stand_in.recorded + real.recorded;
    println!(
        "kill -9: KILL_SEED={seed}: {kills} kills ({} with a real backup running); {tickets} tickets handed out ({} of real \
         backups), none lost, none started twice; {recorded} jobs recorded, of which {} were cut off before their ticket \
         was said or anything started; slowest restart {} ms; {} s",
        real.kills,
        real.tickets,
        stand_in.unspoken,
        stand_in.slowest.max(real.slowest).as_millis(),
        began.elapsed().as_secs(),
    );
    assert!(kills >= 50, "{kills}");
    assert!(tickets >= TICKETS, "{tickets}");
}

/// What was seen.
#[derive(Default)]
struct Seen {
    kills: usize,
    tickets: usize,
    recorded: usize,
    unspoken: usize,
    slowest: Duration,
}

/// Restarts a server that was killed.
fn restart(site: &Site, server: &mut Server, seen: &mut Seen) {
    let since = Instant::now();
    server.kill();
    *server = site.serve();
    seen.kills += 1;
    seen.slowest = seen.slowest.max(since.elapsed());
}

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
                (0, 0 | 1) | (1, 0) => (
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

/// The word of a request or of a start by which both are known as the same.
fn key(words: &str) -> Option<String> {
    let words = words.split(['&', ' ', '?']);
    words
        .filter_map(|word| {
            word.strip_prefix("name=")
                .or(word.strip_prefix("--name="))
                .or(word.strip_prefix("backup_id="))
                .or(Some(word).filter(|word| word.len() == 15 && word.as_bytes()[8] == b'T'))
        })
        .next()
        .map(str::to_owned)
}

fn kill_during_jobs(mut random: Random) -> Seen {
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
    for round in 0..STAND_IN_KILLS {
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

/// Every ticket of the list, page by page.
fn everything(user: &User<'_>) -> HashSet<String> {
    let (mut all, mut count, mut cursor) = (HashSet::new(), 0, String::new());
    loop {
        let page = user
            .get(&format!("/history/list?limit=50{cursor}"))
            .expect(200)
            .json();
        for item in page["list"].as_array().unwrap() {
            all.insert(item["ticket"].as_str().unwrap().to_owned());
            count += 1;
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(all.len(), count, "a ticket is listed twice");
    all
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
fn compare(
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

fn at_each_moment_one_ran(stand_in: &StandIn, moments: &[f64]) {
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

fn kill_during_backups(mut random: Random) -> Seen {
    let _other = Lab::hold("other");
    let site = Site::new(&Barman::Real, &[]);
    site.user("ada", &["--full"]);
    let mut server = site.serve();
    let token = server.login("ada").token;
    let mut seen = Seen::default();
    let before = catalogue();
    let mut taken = BTreeMap::new();
    while seen.kills < REAL_KILLS {
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
        assert_eq!(taken.insert(id, ticket), None, "{result}");
    }
    let after: BTreeMap<_, _> = catalogue()
        .into_iter()
        .filter(|(id, _)| !before.contains_key(id))
        .collect();
    assert_eq!(
        after.keys().collect::<Vec<_>>(),
        taken.keys().collect::<Vec<_>>()
    );
    for (id, status) in after {
        assert!(
            ["DONE", "WAITING_FOR_WALS"].contains(&status.as_str()),
            "{id} is {status}"
        );
    }
    let listed = everything(&server.with_token(&token));
    assert_eq!(listed, taken.into_values().collect());
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
