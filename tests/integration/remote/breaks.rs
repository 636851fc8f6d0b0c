//! What breaks between here and the Barman host, while a job goes on there.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::Far;
use crate::rig::Lab;
use crate::running::{backup, eventually, number, runs, signal};

/// A job of some seconds that prints all the time.
fn goes_on(seconds: u32) -> Value {
    json!({"backup": {"lines": {"count": seconds * 10, "every": 0.1, "text": "line {n}"}, "exit": 3}})
}

/// The job ended by itself, once, and all that it printed is there.
#[track_caller]
fn is_whole(far: &Far, ticket: &str, lines: u32) {
    let result = far.admin().finished(ticket);
    assert_eq!(
        (&result["state"], &result["exit_code"]),
        (&json!("failed"), &json!(3)),
        "{result}"
    );
    let listed = result["list"].as_array().unwrap();
    assert_eq!(listed.len(), lines as usize, "{result}");
    assert!(far.stand_in.starts().len() == 1, "started once");
    let there = far.folder_there(ticket);
    eventually("an empty place", || (!there.exists()).then_some(()));
}

/// Waits until the ticket says that its host can be reached, or not.
#[track_caller]
fn until_reachable(far: &Far, ticket: &str, wanted: bool) -> Value {
    let admin = far.admin();
    eventually("word about the link", || {
        Some(admin.result(ticket)).filter(|result| result["reachable"] == wanted)
    })
}

#[test]
fn a_job_goes_on_when_sessions_and_connections_are_killed() {
    let far = Far::new(&goes_on(5), &[]);
    let ticket = backup(&far.admin());
    far.started(1);
    for _ in 0..3 {
        until_reachable(&far, &ticket, true);
        for pid in far.sshd.connections() {
            signal(u64::try_from(pid).unwrap(), Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    is_whole(&far, &ticket, 50);
}

#[test]
fn a_job_that_ends_while_its_host_is_away_is_told_when_it_is_back() {
    let mut far = Far::new(&goes_on(2), &[]);
    let ticket = backup(&far.admin());
    let start = far.started(1).remove(0);
    far.sshd.down();
    let away = until_reachable(&far, &ticket, false);
    assert_eq!(
        (&away["state"], &away["status_code"]),
        (&json!("running"), &json!(-99)),
        "{away}"
    );
    eventually("the end of it there", || {
        (!runs(number(&start["pid"]))).then_some(())
    });
    assert_eq!(far.admin().result(&ticket)["state"], "running");
    far.sshd.up();
    let since = Instant::now();
    is_whole(&far, &ticket, 20);
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
}

#[test]
fn a_frozen_link_is_told_as_such_and_not_as_an_end() {
    let far = Far::new(&goes_on(30), &[]);
    let ticket = backup(&far.admin());
    far.started(1);
    far.sshd.signal(Signal::STOP);
    let since = Instant::now();
    until_reachable(&far, &ticket, false);
    assert!(
        since.elapsed() < Duration::from_secs(22),
        "{:?}",
        since.elapsed()
    );
    far.sshd.signal(Signal::CONT);
    until_reachable(&far, &ticket, true);
    is_whole(&far, &ticket, 300);
}

#[test]
fn a_job_whose_supervisor_or_server_is_killed_gets_another_one() {
    let mut far = Far::new(&goes_on(6), &[]);
    let ticket = backup(&far.admin());
    until_reachable(&far, &ticket, true);
    for with_server in [false, true] {
        let supervisor = eventually("a supervisor", || supervisor_of(&ticket));
        if with_server {
            far.server.kill();
        }
        signal(supervisor, Signal::KILL);
        eventually("its end", || (!runs(supervisor)).then_some(()));
        if with_server {
            far.server = far.site.serve();
        }
        let result = far.admin().result(&ticket);
        assert_eq!(result["state"], "running", "{result}");
    }
    is_whole(&far, &ticket, 60);
}

/// The process that looks after a ticket.
fn supervisor_of(ticket: &str) -> Option<u64> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok())
        .find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("\0run-job\0") && line.contains(ticket)
        })
}

#[test]
fn who_waited_there_may_die_and_the_job_is_lost_and_says_whether_barman_runs() {
    let action = json!({"backup": {"stdout": "before\n", "sleep": 4}});
    let far = Far::new(&action, &[]);
    let admin = far.admin();
    let ticket = backup(&admin);
    let start = far.started(1).remove(0);
    until_reachable(&far, &ticket, true);
    let (pid, keeper) = (number(&start["pid"]), number(&start["ppid"]));
    signal(keeper, Signal::KILL);
    let lost = eventually("word of it", || {
        Some(admin.result(&ticket)).filter(|result| result["state"] == "lost")
    });
    assert!(runs(pid));
    assert_eq!(lost["barman_still_runs"], true, "{lost}");
    eventually("end of barman", || (!runs(pid)).then_some(()));
    let ended = eventually("a recorded end", || {
        Some(admin.result(&ticket)).filter(|result| result["barman_still_runs"] == false)
    });
    assert_eq!(
        (&ended["state"], &ended["reason"]),
        (&json!("lost"), &json!("supervisor_died")),
        "{ended}"
    );
    assert_eq!(ended["list"], json!(["before"]), "{ended}");
}

#[test]
fn a_cancelled_job_is_stopped_there_with_its_children() {
    let action = json!({"backup": {"grandchild": {"sleep": 60}, "hang": true}});
    let far = Far::new(&action, &[]);
    let admin = far.admin();
    let ticket = backup(&admin);
    let start = far.started(1).remove(0);
    let group = number(&start["pgid"]);
    assert!(in_group(group) >= 1);
    admin
        .form("/history/cancel", &format!("ticket={ticket}"))
        .expect(200);
    let result = admin.finished(&ticket);
    assert_eq!(result["state"], "cancelled", "{result}");
    eventually("an empty group", || (in_group(group) == 0).then_some(()));
    let signals = far.stand_in.log();
    assert!(
        signals.iter().any(|line| line["signal"] == "INT"),
        "{signals:?}"
    );
}

/// How many processes a group has.
fn in_group(group: u64) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
            let mut fields = after.split_whitespace();
            let state = fields.next();
            state.is_some_and(|state| state != "Z")
                && fields.nth(1) == Some(group.to_string().as_str())
        })
        .count()
}

#[test]
fn one_dead_host_keeps_nobody_from_cleaning_up_on_others() {
    let far = Far::new(&json!({}), &[]);
    let admin = far.admin();
    let tickets = [(); 3].map(|()| {
        let ticket = backup(&admin);
        assert_eq!(admin.finished(&ticket)["state"], "done");
        ticket
    });
    let marker = |ticket: &str| far.server.store().join("active/abroad").join(ticket);
    eventually("an end of it all", || {
        tickets
            .iter()
            .all(|ticket| !marker(ticket).exists())
            .then_some(())
    });
    let month = far.server.store().join("active").join(&tickets[0][..6]);
    let folder = month.join(&tickets[0]);
    let job: Value =
        serde_json::from_slice(&std::fs::read(folder.join("job.json")).unwrap()).unwrap();
    let here = job["remote"].clone();
    let mut dead = here.clone();
    dead["remote"]["port"] = json!(1);
    let there = far.folder_there(&tickets[2]);
    let lab = Lab::get();
    std::fs::create_dir(&there).unwrap();
    lab.own(&there);
    lab.write(&there.join("status"), "exit 0", 0o600);
    for (ticket, host) in tickets.iter().zip([&dead, &dead, &here]) {
        lab.write(&marker(ticket), &host.to_string(), 0o600);
    }
    let left = || tickets.each_ref().map(|ticket| marker(ticket).exists());
    eventually("an empty place", || (!there.exists()).then_some(()));
    eventually("an end of it", || {
        (left() == [true, true, false]).then_some(())
    });
    let log = || std::fs::read_to_string(far.server.store().join("logs/general.log")).unwrap();
    let told = eventually("word of it", || {
        Some(log().matches("ended jobs leave files").count()).filter(|count| *count > 0)
    });
    assert_eq!(told, 1, "{}", log());
}

#[test]
fn a_request_waits_for_a_host_no_longer_than_for_a_command() {
    let far = Far::new(&json!({}), &["barman.sync_timeout = 3 s"]);
    let admin = far.admin();
    let target = "/barman/list-backups?server_name=main";
    admin.get(target).expect(200);
    far.sshd.signal(Signal::STOP);
    let since = Instant::now();
    let ticket = admin.get(target).ticket();
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
    far.sshd.signal(Signal::CONT);
    assert_eq!(admin.finished(&ticket)["state"], "done");
}
