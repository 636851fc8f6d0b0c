//! How many jobs run and wait.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Bench, backup, eventually, runs, signal, status_of};
use crate::rig::User;

/// The number of jobs of the stand-in that ran at once, at most.
fn most_at_once(log: &[Value]) -> usize {
    let mut events: Vec<(f64, i32)> = log
        .iter()
        .filter_map(|line| {
            let start = line["started_at"].as_f64().map(|at| (at, 1));
            start.or_else(|| line["ended_at"].as_f64().map(|at| (at, -1)))
        })
        .collect();
    events.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut now, mut most) = (0, 0);
    for (_, change) in events {
        now += change;
        most = most.max(now);
    }
    usize::try_from(most).unwrap()
}

#[test]
fn no_more_jobs_run_at_once_than_may_and_the_first_come_is_the_first_served() {
    let bench = Bench::new(&json!({"delete": {"sleep": 0.3}}), &["barman.max_jobs = 2"]);
    let admin = bench.admin();
    let tickets: Vec<String> = (0..12)
        .map(|n| {
            let day = n + 10;
            let form = format!("server_name=main&backup_id=202611{day}T214304&async=true");
            admin.form("/barman/delete", &form).ticket()
        })
        .collect();
    let states: Vec<Value> = tickets
        .iter()
        .map(|ticket| admin.result(ticket)["state"].clone())
        .collect();
    assert!(
        states.contains(&json!("queued")) && states.contains(&json!("running")),
        "{states:?}"
    );
    for ticket in &tickets {
        assert_eq!(admin.finished(ticket)["state"], "done");
    }
    let log = bench.stand_in.log();
    assert_eq!(most_at_once(&log), 2);
    let order: Vec<String> = bench
        .stand_in
        .commands()
        .into_iter()
        .map(|words| words.last().unwrap().clone())
        .collect();
    assert_eq!(order.len(), 12);
    for (place, backup) in order.iter().enumerate() {
        let day: usize = backup[6..8].parse().unwrap();
        assert!((place + 10).abs_diff(day) <= 2, "{order:?}");
    }
}

/// A job that removes the backup of this day, accepted; with its ticket.
fn delete(user: &User<'_>, day: usize) -> String {
    let form = format!("server_name=main&backup_id=202611{day}T214304&async=true");
    user.form("/barman/delete", &form).ticket()
}

/// The days of the backups that were removed, in the order of the starts.
fn days(bench: &Bench) -> Vec<usize> {
    let backups = bench.stand_in.commands().into_iter();
    let backups = backups.filter_map(|words| words.last()?.get(6..8)?.parse().ok());
    backups.collect()
}

/// The supervisor of a job.
#[track_caller]
fn supervisor(ticket: &str) -> u64 {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_it = |pid: &u64| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        words.contains(&b"run-job".as_slice()) && words.contains(&ticket.as_bytes())
    };
    numbers.find(is_it).expect("a supervisor")
}

fn cancel(user: &User<'_>, ticket: &str) {
    let form = format!("ticket={ticket}");
    user.form("/history/cancel", &form).expect(200);
    assert_eq!(user.finished(ticket)["state"], "cancelled");
}

fn names_in_line(bench: &Bench) -> usize {
    let line = bench.server.store().join("active/line");
    std::fs::read_dir(line).unwrap().count()
}

#[test]
fn a_job_that_is_slow_to_take_its_turn_is_not_overtaken() {
    let bench = Bench::new(&json!({"delete": {"hang": true}}), &["barman.max_jobs = 1"]);
    let admin = bench.admin();
    let runs_now = delete(&admin, 10);
    bench.started(1);
    let [cancelled, slow, last] = [11, 12, 13].map(|day| delete(&admin, day));
    let slow_one = supervisor(&slow);
    signal(slow_one, Signal::STOP);
    // Whoever stood before it is gone, and then there is a place.
    cancel(&admin, &cancelled);
    bench.now_does(&json!({}));
    cancel(&admin, &runs_now);
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(700) {
        assert_eq!(admin.result(&last)["state"], "queued");
    }
    signal(slow_one, Signal::CONT);
    for ticket in [slow, last] {
        assert_eq!(admin.finished(&ticket)["state"], "done");
    }
    assert_eq!(days(&bench), [10, 12, 13]);
    assert_eq!(names_in_line(&bench), 0);
}

#[test]
fn the_order_holds_over_two_processes_a_killed_one_and_killed_waiters() {
    let mut bench = Bench::new(&json!({"delete": {"hang": true}}), &["barman.max_jobs = 1"]);
    let second = bench.site.serve();
    let mut tickets = Vec::new();
    {
        let askers = [bench.admin(), second.login("admin")];
        for (number, asker) in askers.iter().cycle().take(8).enumerate() {
            tickets.push(delete(asker, number + 10));
            bench.started(1);
        }
    }
    bench.server.kill();
    // The first in the line, one in its middle, and the last.
    for place in [1, 4, 7] {
        let killed = supervisor(&tickets[place]);
        signal(killed, Signal::KILL);
        eventually("end of the supervisor", || (!runs(killed)).then_some(()));
    }
    bench.server = bench.site.serve();
    let admin = bench.admin();
    cancel(&admin, &tickets[3]);
    bench.now_does(&json!({}));
    cancel(&admin, &tickets[0]);
    let states = tickets
        .iter()
        .map(|ticket| admin.finished(ticket)["state"].clone());
    let states: Vec<Value> = states.collect();
    assert_eq!(
        states,
        [
            "cancelled",
            "lost",
            "done",
            "cancelled",
            "lost",
            "done",
            "done",
            "lost"
        ]
    );
    assert_eq!(days(&bench), [10, 12, 15, 16]);
    // What the last one has left is removed by the next one.
    let next = delete(&admin, 18);
    assert_eq!(admin.finished(&next)["state"], "done");
    assert_eq!(names_in_line(&bench), 0);
}

#[test]
fn a_full_queue_is_told_and_starts_nothing() {
    let bench = Bench::new(
        &json!({"delete": {"hang": true}}),
        &["barman.max_jobs = 1", "barman.queue = 2"],
    );
    let admin = bench.admin();
    let ask = || {
        admin.form(
            "/barman/delete",
            "server_name=main&backup_id=latest&async=true",
        )
    };
    let deletes = || {
        let starts = bench.stand_in.starts();
        let deletes = starts.iter().filter(|start| start["start"] == "delete");
        deletes.count()
    };
    let first = ask().ticket();
    eventually("the first job", || (deletes() == 1).then_some(()));
    let tickets = [first, ask().ticket(), ask().ticket()];
    for _ in 0..3 {
        let refused = ask().expect(429);
        let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!(seconds > 0);
        assert_eq!(refused.json()["type"], "too many");
    }
    // What needs no place runs all the same.
    admin
        .get("/barman/list-backups?server_name=main")
        .expect(200);
    let list = admin.get("/history/list").expect(200).json();
    assert_eq!(list["list"].as_array().unwrap().len(), 3, "{list}");
    for ticket in tickets.iter().rev() {
        admin
            .form("/history/cancel", &format!("ticket={ticket}"))
            .expect(200);
        assert_eq!(admin.finished(ticket)["state"], "cancelled");
    }
    let again = ask().ticket();
    eventually("the next job", || (deletes() > 1).then_some(()));
    admin
        .form("/history/cancel", &format!("ticket={again}"))
        .expect(200);
    assert_eq!(admin.finished(&again)["state"], "cancelled");
    assert_eq!(
        deletes(),
        2,
        "the two that waited were cancelled before they ran"
    );
}

#[test]
fn the_same_backup_runs_once_at_a_time_and_the_refusal_names_its_ticket() {
    let bench = Bench::new(&json!({"backup": {"hang": true}}), &["barman.max_jobs = 3"]);
    let admin = bench.admin();
    let ticket = backup(&admin);
    for form in [
        "server_name=main",
        "SERVERNAME=main",
        "server_name=main&async=false",
    ] {
        let refused = admin.form("/barman/backup", form).expect(409).json();
        assert_eq!(refused["type"], "conflict");
        assert!(
            refused["message"].as_str().unwrap().contains(&ticket),
            "{refused}"
        );
    }
    let other = admin.form("/barman/backup", "server_name=other").ticket();
    bench.started(2);
    for ticket in [&ticket, &other] {
        admin
            .form("/history/cancel", &format!("ticket={ticket}"))
            .expect(200);
        assert_eq!(admin.finished(ticket)["state"], "cancelled");
    }
    bench.now_does(&json!({}));
    let next = backup(&admin);
    assert_eq!(admin.finished(&next)["state"], "done");
    assert_eq!(bench.stand_in.starts().len(), 3);
}

/// The children of a process that have ended and were not awaited.
fn zombies_of(parent: u64) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid| {
            status_of(*pid, "PPid") == Some(parent.to_string())
                && status_of(*pid, "State").is_some_and(|state| state.starts_with('Z'))
        })
        .count()
}

#[test]
fn two_hundred_tickets_at_once_are_distinct_and_leave_no_zombie_and_no_descriptor() {
    let bench = Bench::new(&json!({"delete": {"exit": 0}}), &["barman.max_jobs = 8"]);
    let admin = bench.admin();
    let server = u64::from(bench.server.pid());
    let descriptors = || {
        std::fs::read_dir(format!("/proc/{server}/fd"))
            .unwrap()
            .count()
    };
    let one = || {
        admin
            .get("/barman/list-backups?server_name=main")
            .expect(200);
        let form = "server_name=main&backup_id=latest&async=true";
        admin.form("/barman/delete", form).ticket()
    };
    admin.finished(&one());
    let before = descriptors();
    let tickets: BTreeSet<String> = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..25).map(|_| one()).collect::<Vec<_>>()))
            .collect();
        askers
            .into_iter()
            .flat_map(|asker| asker.join().unwrap())
            .collect()
    });
    assert_eq!(tickets.len(), 200);
    for ticket in &tickets {
        assert_eq!(admin.finished(ticket)["state"], "done");
    }
    let list = admin.get("/history/list?limit=1000").expect(200).json();
    assert_eq!(list["list"].as_array().unwrap().len(), 201);
    eventually("end of all children", || {
        (zombies_of(server) == 0).then_some(())
    });
    eventually("the descriptors of before", || {
        (descriptors() <= before + 2).then_some(())
    });
    assert!(most_at_once(&bench.stand_in.log()) <= 16);
    let open = std::fs::read_dir(bench.server.store().join("active/open")).unwrap();
    assert_eq!(open.count(), 0);
}
