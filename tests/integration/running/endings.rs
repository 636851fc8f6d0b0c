//! How a command ended, in every way it can.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Bench, backup, eventually, number, runs, signal};

#[test]
fn exit_codes_and_signals_are_told_apart() {
    let bench = Bench::new(&json!({}), &[]);
    let admin = bench.admin();
    let both = |action: &Value| {
        bench.now_does(&json!({"list-backups": action, "backup": action}));
        let direct = admin
            .get("/barman/list-backups?server_name=main")
            .expect(200)
            .json();
        let job = admin
            .form("/barman/backup", "server_name=main&async=false")
            .expect(200)
            .json();
        [direct, job]
    };
    for code in [0, 1, 2, 3, 120, 130, 137, 143, 255] {
        for body in both(&json!({"exit": code, "stdout": "out\n", "stderr": "err\n"})) {
            let status = if code == 0 { 200 } else { code };
            assert_eq!(body["status_code"], status, "{body}");
            assert_eq!(body["exit_code"], code, "{body}");
            assert_eq!(
                body["state"],
                if code == 0 { "done" } else { "failed" },
                "{body}"
            );
            assert!(body["signal"].is_null(), "{body}");
            assert_eq!(body["list"], json!(["out"]));
            assert_eq!(body["message"], "err\n");
        }
    }
    for (name, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11)] {
        for body in both(&json!({"kill": name, "stdout": "out\n"})) {
            assert_eq!(body["status_code"], 128 + number, "{body}");
            assert_eq!(body["signal"], number, "{body}");
            assert!(body["exit_code"].is_null(), "{body}");
            assert_eq!(body["state"], "failed", "{body}");
            assert_eq!(body["list"], json!(["out"]));
        }
    }
}

#[test]
fn a_killed_barman_is_told_at_once() {
    let bench = Bench::new(
        &json!({"backup": {"stdout": "so far\n", "hang": true}}),
        &[],
    );
    let admin = bench.admin();
    let ticket = backup(&admin);
    let pid = number(&bench.started(1)[0]["pid"]);
    eventually("output", || {
        let kept = std::fs::read(bench.folder(&ticket).join("stdout"));
        (kept.ok()? == b"so far\n").then_some(())
    });
    signal(pid, Signal::KILL);
    let since = Instant::now();
    let result = admin.finished(&ticket);
    assert!(
        since.elapsed() < Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(
        (&result["state"], &result["signal"]),
        (&json!("failed"), &json!(9))
    );
    assert_eq!(result["status_code"], 137);
    assert_eq!(result["list"], json!(["so far"]));
}

#[test]
fn a_grandchild_that_holds_the_output_open_does_not_keep_a_command_running() {
    let action = json!({"stdout": "own\n", "grandchild": {"sleep": 20, "says": "late\n"}});
    let bench = Bench::new(&json!({"backup": action, "list-backups": action}), &[]);
    let admin = bench.admin();
    let since = Instant::now();
    let direct = admin
        .get("/barman/list-backups?server_name=main")
        .expect(200)
        .json();
    let ticket = backup(&admin);
    let job = admin.finished(&ticket);
    assert!(
        since.elapsed() < Duration::from_secs(10),
        "{:?}",
        since.elapsed()
    );
    for body in [direct, job] {
        assert_eq!(
            (&body["state"], &body["list"]),
            (&json!("done"), &json!(["own"]))
        );
    }
    // It was not asked to stop, so it runs on, as daemons that cron starts must.
    let log = eventually("grandchildren", || {
        let mut log = bench.stand_in.log();
        log.retain(|line| line.get("grandchild").is_some());
        (log.len() == 2).then_some(log)
    });
    for line in log {
        let pid = number(&line["grandchild"]);
        assert!(runs(pid));
        signal(pid, Signal::KILL);
    }
}

#[test]
fn an_end_that_was_told_is_never_changed() {
    let mut bench = Bench::new(&json!({"backup": {"stdout": "x\n", "exit": 3}}), &[]);
    let admin = bench.admin();
    let ticket = backup(&admin);
    let told = admin.finished(&ticket);
    let record = bench.record(&ticket);
    let cancelled = admin
        .form("/history/cancel", &format!("ticket={ticket}"))
        .expect(200)
        .json();
    assert_eq!(cancelled, told);
    drop(admin);
    for _ in 0..2 {
        bench.server.kill();
        bench.server = bench.site.serve();
        let admin = bench.admin();
        // The new server has looked after open jobs once another one has begun and ended.
        let other = backup(&admin);
        admin.finished(&other);
        assert_eq!(admin.result(&ticket), told);
        assert_eq!(bench.record(&ticket), record);
    }
    assert!(!bench.folder(&ticket).join("cancel").exists());
}
