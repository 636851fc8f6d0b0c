//! Jobs that are stopped: by a caller, or by their time limit.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Bench, backup, eventually, number, runs};
use crate::rig::User;

fn cancel(user: &User<'_>, ticket: &str) -> Value {
    user.form("/history/cancel", &format!("ticket={ticket}"))
        .expect(200)
        .json()
}

fn signals(bench: &Bench) -> usize {
    let log = bench.stand_in.log();
    log.iter()
        .filter(|line| line.get("signal").is_some())
        .count()
}

/// The process of the stand-in and its grandchild, once both run.
fn family(bench: &Bench) -> (u64, u64) {
    eventually("a grandchild", || {
        let log = bench.stand_in.log();
        let line = log.iter().find(|line| line.get("grandchild").is_some())?;
        Some((number(&line["of"]), number(&line["grandchild"])))
    })
}

#[test]
fn a_cancelled_job_and_its_group_are_interrupted_and_it_says_by_whom() {
    let action = json!({"stdout": "so far\n", "grandchild": {"sleep": 60}, "hang": true});
    let bench = Bench::new(&json!({"backup": action}), &[]);
    bench.site.user("second", &["--full"]);
    let admin = bench.admin();
    let ticket = backup(&admin);
    let (pid, grandchild) = family(&bench);
    let told = cancel(&bench.server.login("second"), &ticket);
    assert_eq!(told["state"], "cancelled", "{told}");
    let result = admin.finished(&ticket);
    assert_eq!(result["status_code"], 130, "{result}");
    assert_eq!(result["reason"], "cancelled");
    assert_eq!(result["detail"], "cancelled by second");
    assert_eq!(result["exit_code"], 1, "{result}");
    assert_eq!(result["list"], json!(["so far"]));
    assert_eq!(result["message"], "ERROR: Process interrupted by user\n");
    assert_eq!(signals(&bench), 1);
    assert!(!runs(pid));
    eventually("end of the grandchild", || {
        (!runs(grandchild)).then_some(())
    });
    // A second wish changes nothing.
    let record = bench.record(&ticket);
    assert_eq!(cancel(&admin, &ticket), result);
    assert_eq!(bench.record(&ticket), record);
}

#[test]
fn a_job_that_ignores_the_interrupt_is_killed_with_its_group_after_the_grace() {
    let action = json!({"ignore": ["INT", "TERM"], "grandchild": {"sleep": 60}, "hang": true});
    let bench = Bench::new(&json!({"backup": action}), &[]);
    let admin = bench.admin();
    let ticket = backup(&admin);
    let (pid, grandchild) = family(&bench);
    let since = Instant::now();
    let told = cancel(&admin, &ticket);
    assert_eq!(told["state"], "running", "{told}");
    assert!(runs(pid) && runs(grandchild), "the grace has not passed");
    let result = admin.finished(&ticket);
    let took = since.elapsed();
    assert!(
        (Duration::from_secs(9)..Duration::from_secs(20)).contains(&took),
        "{took:?}"
    );
    assert_eq!(
        (&result["state"], &result["status_code"]),
        (&json!("cancelled"), &json!(130))
    );
    assert_eq!(result["signal"], 9);
    eventually("end of the group", || {
        (!runs(pid) && !runs(grandchild)).then_some(())
    });
}

#[test]
fn a_job_that_is_cancelled_while_it_waits_never_starts() {
    let bench = Bench::new(&json!({"delete": {"hang": true}}), &["barman.max_jobs = 1"]);
    let admin = bench.admin();
    let form = "server_name=main&backup_id=latest&async=true";
    let first = admin.form("/barman/delete", form).ticket();
    bench.started(1);
    let second = backup(&admin);
    assert_eq!(admin.result(&second)["state"], "queued");
    let told = cancel(&admin, &second);
    assert_eq!(
        (&told["state"], &told["status_code"]),
        (&json!("cancelled"), &json!(130)),
        "{told}"
    );
    assert_eq!(told["detail"], "cancelled by admin");
    assert!(
        told["started_at"].is_null() && told["exit_code"].is_null(),
        "{told}"
    );
    assert_eq!(cancel(&admin, &first)["state"], "cancelled");
    let third = backup(&admin);
    assert_eq!(admin.finished(&third)["state"], "done");
    let starts = bench.stand_in.starts();
    let started: Vec<&str> = starts
        .iter()
        .map(|start| start["start"].as_str().unwrap())
        .collect();
    assert_eq!(started, ["delete", "backup"], "the cancelled one never ran");
}

#[test]
fn the_time_limit_stops_a_job_and_is_told_as_such() {
    let polite = json!({"stdout": "so far\n", "hang": true});
    let rude = json!({"ignore": ["INT"], "hang": true});
    let bench = Bench::new(
        &json!({"backup": polite, "delete": rude, "cron": {"sleep": 0.3}}),
        &["barman.job_timeout = 1"],
    );
    let admin = bench.admin();
    let delete = "server_name=main&backup_id=latest&async=true";
    let tickets = [
        backup(&admin),
        admin.form("/barman/delete", delete).ticket(),
    ];
    let in_time = admin.form("/barman/cron", "").ticket();
    assert_eq!(admin.finished(&in_time)["state"], "done");
    let since = Instant::now();
    let [polite, rude] = tickets.map(|ticket| admin.finished(&ticket));
    assert!(
        since.elapsed() > Duration::from_secs(8),
        "the grace is given"
    );
    for result in [&polite, &rude] {
        assert_eq!(result["state"], "failed", "{result}");
        assert_eq!(result["reason"], "time_limit", "{result}");
        assert_eq!(result["status_code"], 124, "{result}");
    }
    assert_eq!(
        (&polite["exit_code"], &polite["list"]),
        (&json!(1), &json!(["so far"]))
    );
    assert!(number(&polite["duration_ms"]) < 3000, "{polite}");
    assert_eq!(rude["signal"], 9);
}
