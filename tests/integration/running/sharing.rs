//! Requests for the same short command share runs.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::Bench;
use crate::rig::{Answer, User};

const LIST: &str = "/barman/list-backups?server_name=main";

/// The most that was on at once of the commands that were started with these arguments.
fn at_once(bench: &Bench, named: &str) -> usize {
    let (mut on, mut most) = (HashSet::new(), 0);
    for line in bench.stand_in.log() {
        let pid = line["pid"].as_u64().unwrap();
        if line.get("end").is_some() {
            on.remove(&pid);
        } else if line["start"] == "list-backups"
            && line["argv"].as_array().unwrap().contains(&named.into())
        {
            on.insert(pid);
            most = most.max(on.len());
        }
    }
    most
}

/// Several clients that ask the same at the same time.
fn together(clients: usize, ask: impl Fn(usize) -> Answer + Sync) -> Vec<Answer> {
    let ready = Barrier::new(clients);
    std::thread::scope(|scope| {
        let asks: Vec<_> = (0..clients)
            .map(|number| {
                let (ready, ask) = (&ready, &ask);
                scope.spawn(move || {
                    ready.wait();
                    ask(number)
                })
            })
            .collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    })
}

/// Sends a request and does not wait for its answer.
fn sent(user: &User<'_>, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", user.server.port)).unwrap();
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        user.token
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn audited(bench: &Bench, what: impl Fn(&Value) -> bool) -> Vec<Value> {
    let text = std::fs::read_to_string(bench.server.store().join("logs/audit.log")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.filter(|line| what(line)).collect()
}

#[test]
fn many_requests_have_few_runs_one_at_a_time_and_a_line_each_in_the_audit_log() {
    let bench = Bench::new(
        &json!({"list-backups": {"sleep": 0.1, "stdout": "a\nb\n"}}),
        &[],
    );
    let admin = bench.admin();
    let (clients, rounds) = (32, 4);
    together(clients, |_| {
        for _ in 1..rounds {
            assert_eq!(
                admin.get(LIST).expect(200).json()["list"],
                json!(["a", "b"])
            );
        }
        admin.get(LIST).expect(200)
    });
    assert_eq!(at_once(&bench, "main"), 1);
    // Two groups that take turns would need eight.
    let starts = bench.stand_in.starts().len();
    assert!((rounds..=2 * rounds + 1).contains(&starts), "{starts}");
    let lines = audited(&bench, |line| line["command"] == "list-backups");
    assert_eq!(lines.len(), clients * rounds);
    for line in &lines {
        assert_eq!(
            (&line["event"], &line["status"]),
            (&json!("ran"), &json!(200))
        );
        assert_eq!(
            (&line["user"], &line["exit_code"]),
            (&json!("admin"), &json!(0))
        );
        assert_eq!(line["servers"], json!(["main"]));
    }
    let ids: HashSet<_> = lines
        .iter()
        .map(|line| line["request_id"].to_string())
        .collect();
    assert_eq!(ids.len(), lines.len());
}

#[test]
fn a_request_never_gets_the_answer_of_a_run_that_began_before_it() {
    let said = |words: &str| json!({"list-backups": {"sleep": 0.4, "stdout": words}});
    let bench = Bench::new(&said("old\n"), &[]);
    let admin = bench.admin();
    for round in 0..3 {
        let started = bench.stand_in.starts().len();
        let first = sent(&admin, LIST);
        bench.started(started + 1);
        // The run that is on has read what it will say.
        let new = format!("new {round}\n");
        bench.now_does(&said(&new));
        for answer in together(20, |_| admin.get(LIST)) {
            assert_eq!(answer.expect(200).json()["list"], json!([new.trim()]));
        }
        drop(first);
    }
    assert_eq!(at_once(&bench, "main"), 1);
}

#[test]
fn who_has_no_right_is_refused_while_a_run_is_on() {
    let bench = Bench::new(
        &json!({"list-backups": {"sleep": 0.5, "stdout": "a\n"}}),
        &[],
    );
    bench
        .site
        .user("main", &["--access", "barman/list-backups@main"]);
    bench
        .site
        .user("other", &["--access", "barman/list-backups@other"]);
    let (main, other) = (bench.server.login("main"), bench.server.login("other"));
    let first = sent(&main, LIST);
    bench.started(1);
    let answers = together(12, |number| {
        if number % 2 == 0 {
            main.get(LIST)
        } else {
            other.get(LIST)
        }
    });
    drop(first);
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = answer.expect(if number % 2 == 0 { 200 } else { 403 });
        assert_eq!(answer.json()["list"] == json!(["a"]), number % 2 == 0);
    }
    let refused = audited(&bench, |line| line["event"] == "refused");
    assert_eq!(refused.len(), 6);
    assert!(
        refused.iter().all(|line| line["user"] == "other"),
        "{refused:?}"
    );
}

#[test]
fn a_client_that_hangs_up_takes_the_answer_from_nobody() {
    let bench = Bench::new(
        &json!({"list-backups": {"sleep": 0.5, "stdout": "a\n"}}),
        &[],
    );
    let admin = bench.admin();
    // The first one, whose run is on, and the first of those who wait for the next.
    let first = sent(&admin, LIST);
    bench.started(1);
    let second = sent(&admin, LIST);
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..10).map(|_| scope.spawn(|| admin.get(LIST))).collect();
        drop((first, second));
        for other in others {
            assert_eq!(
                other.join().unwrap().expect(200).json()["list"],
                json!(["a"])
            );
        }
    });
    assert_eq!(at_once(&bench, "main"), 1);
}

#[test]
fn a_run_that_fails_fails_those_alone_who_share_it() {
    let bench = Bench::new(
        &json!({"list-backups": {"sleep": 0.5, "stderr": "ERROR: no\n", "exit": 1}}),
        &[],
    );
    let admin = bench.admin();
    let mut first = sent(&admin, LIST);
    bench.started(1);
    bench.now_does(&json!({"list-backups": {"stdout": "a\n"}}));
    for answer in together(10, |_| admin.get(LIST)) {
        assert_eq!(answer.expect(200).json()["state"], "done");
    }
    let mut failed = String::new();
    first.read_to_string(&mut failed).unwrap();
    assert!(
        failed.contains("\"exit_code\":1") && failed.contains("ERROR: no"),
        "{failed}"
    );
}

#[test]
fn barman_that_can_not_be_started_is_told_to_each_with_a_cause_in_the_log() {
    let bench = Bench::new(&json!({}), &[]);
    let admin = bench.admin();
    let program = bench.stand_in.program();
    std::fs::rename(&program, program.with_extension("away")).unwrap();
    for answer in together(10, |_| admin.get(LIST)) {
        let id = answer.header("x-request-id").unwrap().to_owned();
        let told = answer.expect(502).json();
        assert!(
            told["message"]
                .as_str()
                .unwrap()
                .contains("can't be started"),
            "{told}"
        );
        let log = std::fs::read_to_string(bench.server.store().join("logs/general.log")).unwrap();
        let causes = log
            .lines()
            .filter(|line| line.contains(&id) && line.contains("cause"));
        assert_eq!(causes.count(), 1, "{id}");
    }
}

#[test]
fn different_commands_run_side_by_side() {
    let bench = Bench::new(&json!({"list-backups": {"sleep": 1, "stdout": "a\n"}}), &[]);
    let admin = bench.admin();
    together(12, |number| {
        let server = ["main", "other"][number % 2];
        let form = ["console", "json"][number / 2 % 2];
        let target = format!("/barman/list-backups?server_name={server}&format={form}");
        admin.get(&target).expect(200)
    });
    for server in ["main", "other"] {
        // With and without `-f json`.
        assert_eq!(at_once(&bench, server), 2, "{server}");
    }
    assert_eq!(at_once(&bench, "list-backups"), 4);
}

#[test]
fn who_runs_out_of_time_gets_a_ticket_that_no_other_user_has() {
    let bench = Bench::new(
        &json!({"list-backups": {"sleep": 2.5, "stdout": "a\n"}}),
        &["barman.sync_timeout = 1"],
    );
    bench.site.user("bea", &["--full"]);
    let users = [bench.admin(), bench.server.login("bea")];
    let answers = together(16, |number| users[number % 2].get(LIST));
    let mut tickets = [HashSet::new(), HashSet::new()];
    for (number, answer) in answers.into_iter().enumerate() {
        tickets[number % 2].insert(answer.ticket());
    }
    assert!(tickets[0].is_disjoint(&tickets[1]));
    for (user, tickets) in users.iter().zip(&tickets) {
        // Those who come at the same moment; the machine may be slow.
        assert!((1..=4).contains(&tickets.len()), "{tickets:?}");
        for ticket in tickets {
            assert_eq!(user.finished(ticket)["list"], json!(["a"]));
        }
        let listed = user.get("/history/list").expect(200).json();
        assert!(listed["list"].as_array().unwrap().len() >= tickets.len());
    }
    let lines = audited(&bench, |line| {
        line["command"] == "list-backups" && line["event"] != "ended"
    });
    assert_eq!(lines.len(), 16, "{lines:?}");
    for line in lines {
        let is_bea = usize::from(line["user"] == "bea");
        assert!(
            tickets[is_bea].contains(line["ticket"].as_str().unwrap()),
            "{line}"
        );
    }
}

#[test]
fn long_answers_are_compressed_for_those_who_take_gzip_and_bytes_never_are() {
    let lines =
        "main 20260101T000000 - F - Thu Jan  1 00:00:00 2026 - Size: 31.2 MiB\n".repeat(500);
    let bench = Bench::new(
        &json!({"list-backups": {"stdout": lines}, "check": {"stdout": "a\n"}, "get-wal": {"stdout": lines}}),
        &[],
    );
    let admin = bench.admin();
    let gzip = ("Accept-Encoding", "br, gzip;q=0.8");
    let plain = admin.get(LIST).expect(200);
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("Accept-Encoding"));
    for answer in together(8, |_| admin.request("GET", LIST, &[gzip], b"")) {
        let answer = answer.expect(200);
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert!(length == answer.body.len() && length < plain.body.len() / 5);
        let mut read = Vec::new();
        GzDecoder::new(&answer.body[..])
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, plain.body);
    }
    let short = admin.request("GET", "/barman/check?server_name=main", &[gzip], b"");
    assert_eq!(short.expect(200).header("content-encoding"), None);
    let wal = "/barman/get-wal?server_name=main&wal_name=000000010000000000000001";
    let wal = admin.request("GET", wal, &[gzip], b"").expect(200);
    assert_eq!(wal.body, lines.as_bytes());
    assert_eq!(
        (wal.header("content-encoding"), wal.header("vary")),
        (None, None)
    );
}

#[test]
fn two_who_ask_for_the_same_bytes_have_a_run_each() {
    let bench = Bench::new(&json!({"get-wal": {"sleep": 0.3, "stdout": "bytes"}}), &[]);
    let admin = bench.admin();
    let wal = "/barman/get-wal?server_name=main&wal_name=000000010000000000000001";
    for answer in together(4, |_| admin.get(wal)) {
        assert_eq!(answer.expect(200).body, b"bytes");
    }
    assert_eq!(bench.stand_in.starts().len(), 4);
}
