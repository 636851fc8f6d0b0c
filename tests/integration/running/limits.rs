//! Requests that end before their command does.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Bench, eventually, number, runs};

#[test]
fn a_command_that_outlives_its_request_becomes_a_ticket_and_nothing_of_it_is_lost() {
    let action = json!({"lines": {"count": 12, "every": 0.2}, "exit": 3, "stderr": "w\n"});
    let bench = Bench::new(
        &json!({"list-backups": action, "delete": action}),
        &["barman.sync_timeout = 1"],
    );
    let admin = bench.admin();
    for (command, form, starts) in [
        // What changes nothing is stopped and begins anew; what changes something never does.
        ("list-backups", "server_name=main", 2),
        ("delete", "server_name=main&backup_id=latest", 1),
    ] {
        let before = bench.stand_in.starts().len();
        let since = Instant::now();
        let answer = admin.form(&format!("/barman/{command}"), form).expect(202);
        assert!(
            since.elapsed() < Duration::from_secs(4),
            "{:?}",
            since.elapsed()
        );
        let location = answer.header("location").unwrap().to_owned();
        let ticket = answer.ticket();
        assert_eq!(location, format!("/history/result?ticket={ticket}"));
        let result = admin.finished(&ticket);
        let lines: Vec<String> = (1..=12).map(|n| format!("line {n}")).collect();
        assert_eq!(result["list"], json!(lines), "{command}");
        assert_eq!(result["exit_code"], 3);
        assert_eq!(result["message"], "w\n");
        let started = bench.stand_in.starts().split_off(before);
        assert_eq!(started.len(), starts, "{command}");
        for start in started {
            eventually("end of each start", || {
                (!runs(number(&start["pid"]))).then_some(())
            });
        }
    }
}

#[test]
fn bytes_that_no_ticket_can_keep_are_told_to_take_too_long() {
    let bench = Bench::new(
        &json!({"get-wal": {"hang": true}}),
        &["barman.sync_timeout = 1"],
    );
    let admin = bench.admin();
    let target = "/barman/get-wal?server_name=main&wal_name=000000010000000000000001";
    let answer = admin.get(target).expect(502).json();
    assert!(
        answer["message"].as_str().unwrap().contains("sync_timeout"),
        "{answer}"
    );
    let list = admin.get("/history/list").expect(200).json();
    assert_eq!(list["list"], json!([]));
    let start = &bench.started(1)[0];
    eventually("its end", || (!runs(number(&start["pid"]))).then_some(()));
}

#[test]
fn many_commands_that_outlive_their_requests_block_nothing_afterwards() {
    let bench = Bench::new(
        &json!({"list-backups": {"hang": true}}),
        &["barman.sync_timeout = 1"],
    );
    let admin = bench.admin();
    let tickets: Vec<String> = std::thread::scope(|scope| {
        let asks =
            (0..20).map(|_| scope.spawn(|| admin.get("/barman/list-backups?server_name=main")));
        let asks: Vec<_> = asks.collect();
        let answers = asks.into_iter().map(|ask| ask.join().unwrap());
        answers
            .filter_map(|answer| match answer.status {
                202 => Some(answer.ticket()),
                429 => {
                    assert!(answer.header("retry-after").is_some());
                    None
                }
                status => panic!("{status}: {}", answer.json()),
            })
            .collect()
    });
    assert!(tickets.len() >= 8, "{tickets:?}");
    for ticket in tickets {
        admin
            .form("/history/cancel", &format!("ticket={ticket}"))
            .expect(200);
        assert_eq!(admin.finished(&ticket)["state"], "cancelled");
    }
    bench.now_does(&json!({}));
    eventually("a free place", || {
        let since = Instant::now();
        let answer = admin.get("/barman/list-backups?server_name=main");
        (answer.status == 200 && since.elapsed() < Duration::from_secs(1)).then_some(())
    });
}

#[test]
fn a_client_that_goes_away_leaves_a_ticket_behind_where_anything_ran() {
    let action = json!({"lines": {"count": 8, "every": 0.1}});
    let bench = Bench::new(
        &json!({"delete": action, "list-backups": {"sleep": 1}}),
        &[],
    );
    let admin = bench.admin();
    let leave = |target: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", bench.server.port)).unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
            admin.token
        );
        let before = bench.stand_in.starts().len();
        stream.write_all(request.as_bytes()).unwrap();
        let pid = number(&bench.started(before + 1)[before]["pid"]);
        drop(stream);
        pid
    };
    let pid = leave("/barman/delete?server_name=main&backup_id=latest");
    let list = admin.get("/history/list?command=delete").expect(200).json();
    let ticket = list["list"][0]["ticket"].as_str().unwrap().to_owned();
    let result = admin.finished(&ticket);
    assert_eq!(result["state"], "done");
    assert_eq!(result["list"].as_array().unwrap().len(), 8, "{result}");
    assert!(!runs(pid));
    // What changes nothing has no ticket, and ends by itself without holding a place.
    for _ in 0..3 {
        leave("/barman/list-backups?server_name=main");
    }
    let starts = bench.stand_in.starts();
    for start in &starts {
        eventually("end of each", || {
            (!runs(number(&start["pid"]))).then_some(())
        });
    }
    bench.now_does(&json!({}));
    let since = Instant::now();
    admin
        .get("/barman/list-backups?server_name=main")
        .expect(200);
    assert!(since.elapsed() < Duration::from_secs(1));
    let list = admin.get("/history/list").expect(200).json();
    assert_eq!(list["list"].as_array().unwrap().len(), 1, "{list}");
}
