//! Jobs whose server or supervisor dies.

use rustix::process::Signal;
use serde_json::json;

use super::{Bench, backup, eventually, number, runs, signal};

const PRINTS: &str = "before the crash\n";

/// A job that goes on for some seconds and prints at both ends.
fn goes_on(bench: &Bench) -> (String, u64) {
    let ticket = backup(&bench.admin());
    let start = bench.started(1).remove(0);
    (ticket, number(&start["pid"]))
}

#[test]
fn a_job_outlives_its_server_however_that_ends_and_the_next_one_tells_its_end() {
    for by_sigkill in [true, false] {
        let action = json!({"stdout": PRINTS, "lines": {"count": 20, "every": 0.1}, "exit": 3});
        let mut bench = Bench::new(&json!({"backup": action}), &[]);
        let (ticket, pid) = goes_on(&bench);
        if by_sigkill {
            bench.server.kill();
        } else {
            assert_eq!(bench.server.stop(), Some(0));
        }
        assert!(runs(pid), "the server's end is not the job's");
        bench.server = bench.site.serve();
        let admin = bench.admin();
        let early = admin.result(&ticket);
        assert_eq!(early["state"], "running", "{early}");
        let result = admin.finished(&ticket);
        assert_eq!(
            (&result["state"], &result["exit_code"]),
            (&json!("failed"), &json!(3))
        );
        let lines = result["list"].as_array().unwrap();
        assert_eq!(
            (lines.len(), &lines[0], &lines[20]),
            (21, &json!(PRINTS.trim()), &json!("line 20"))
        );
        assert_eq!(bench.stand_in.starts().len(), 1);
    }
}

#[test]
fn a_job_that_waits_outlives_its_server_too() {
    let mut bench = Bench::new(&json!({"delete": {"sleep": 3}}), &["barman.max_jobs = 1"]);
    let form = "server_name=main&backup_id=latest&async=true";
    let first = bench.admin().form("/barman/delete", form).ticket();
    bench.started(1);
    let second = backup(&bench.admin());
    bench.server.kill();
    bench.server = bench.site.serve();
    let admin = bench.admin();
    for ticket in [first, second] {
        assert_eq!(admin.finished(&ticket)["state"], "done");
    }
    assert_eq!(bench.stand_in.starts().len(), 2);
}

#[test]
fn a_job_without_its_supervisor_is_lost_and_says_whether_barman_still_runs() {
    let bench = Bench::new(
        &json!({"backup": {"stdout": PRINTS, "sleep": 3, "grandchild": {"sleep": 2, "says": "after\n"}}}),
        &[],
    );
    let admin = bench.admin();
    let ticket = backup(&admin);
    let start = bench.started(1).remove(0);
    let (pid, supervisor) = (number(&start["pid"]), number(&start["ppid"]));
    let kept = bench.folder(&ticket).join("stdout");
    eventually("kept output", || {
        (std::fs::read(&kept).ok()? == PRINTS.as_bytes()).then_some(())
    });
    signal(supervisor, Signal::KILL);
    eventually("end of the supervisor", || {
        (!runs(supervisor)).then_some(())
    });
    let lost = admin.result(&ticket);
    assert_eq!(
        (&lost["status_code"], &lost["state"]),
        (&json!(-98), &json!("lost")),
        "{lost}"
    );
    assert_eq!(lost["barman_still_runs"], true, "{lost}");
    assert_eq!(lost["list"], json!([PRINTS.trim()]), "{lost}");
    assert!(runs(pid));
    let captures =
        ["capture.stdout", "capture.stderr"].map(|name| bench.folder(&ticket).join(name));
    assert!(captures[0].exists());
    let listed = admin.get("/history/list").expect(200).json();
    assert_eq!(listed["list"][0]["state"], "lost", "{listed}");
    eventually("end of barman", || (!runs(pid)).then_some(()));
    let ended = eventually("a recorded end", || {
        Some(admin.result(&ticket)).filter(|result| result["barman_still_runs"] == false)
    });
    assert_eq!(
        (&ended["status_code"], &ended["state"]),
        (&json!(-98), &json!("lost")),
        "{ended}"
    );
    assert_eq!(ended["reason"], "supervisor_died", "{ended}");
    // What it printed without a supervisor is kept as well.
    assert_eq!(ended["list"], json!([PRINTS.trim(), "after"]), "{ended}");
    assert!(ended["exit_code"].is_null());
    for capture in captures {
        assert!(!capture.exists(), "{}", capture.display());
    }
    let record = bench.record(&ticket);
    assert_eq!(admin.result(&ticket), ended);
    assert_eq!(bench.record(&ticket), record);
}

#[test]
fn a_lost_job_whose_barman_runs_on_can_be_stopped() {
    let bench = Bench::new(&json!({"backup": {"stdout": PRINTS, "hang": true}}), &[]);
    let admin = bench.admin();
    let ticket = backup(&admin);
    let start = bench.started(1).remove(0);
    let (pid, supervisor) = (number(&start["pid"]), number(&start["ppid"]));
    signal(supervisor, Signal::KILL);
    eventually("end of the supervisor", || {
        (!runs(supervisor)).then_some(())
    });
    admin
        .form("/history/cancel", &format!("ticket={ticket}"))
        .expect(200);
    eventually("end of barman", || (!runs(pid)).then_some(()));
    let ended = eventually("a recorded end", || {
        Some(admin.result(&ticket)).filter(|result| result["barman_still_runs"] == false)
    });
    assert_eq!(ended["state"], "lost", "nobody saw how it ended: {ended}");
    assert_eq!(ended["list"], json!([PRINTS.trim()]));
    // The same job may run again.
    bench.now_does(&json!({}));
    let next = backup(&admin);
    assert_eq!(admin.finished(&next)["state"], "done");
}

#[test]
fn a_stop_without_a_supervisor_is_asked_once_and_comes_to_its_end_whoever_dies() {
    let stubborn = json!({"ignore": ["TERM", "HUP"], "stdout": PRINTS, "hang": true});
    let mut bench = Bench::new(&json!({"backup": stubborn}), &[]);
    let ticket = backup(&bench.admin());
    let start = bench.started(1).remove(0);
    let (pid, supervisor) = (number(&start["pid"]), number(&start["ppid"]));
    signal(supervisor, Signal::KILL);
    eventually("end of the supervisor", || {
        (!runs(supervisor)).then_some(())
    });
    // As long as it is stopped it takes no SIGINT: the SIGKILL after the grace ends it.
    signal(pid, Signal::STOP);
    for _ in 0..3 {
        bench
            .admin()
            .form("/history/cancel", &format!("ticket={ticket}"))
            .expect(200);
    }
    let asked = bench.folder(&ticket).join("cancel");
    let first = std::fs::read(&asked).unwrap();
    // The service dies within the grace; the next one remembers.
    bench.server.kill();
    bench.server = bench.site.serve();
    assert!(runs(pid), "the grace has not passed");
    eventually("end of barman", || (!runs(pid)).then_some(()));
    let ended = eventually("a recorded end", || {
        Some(bench.admin().result(&ticket)).filter(|result| result["barman_still_runs"] == false)
    });
    assert_eq!(ended["state"], "lost", "{ended}");
    assert_eq!(ended["list"], json!([PRINTS.trim()]), "{ended}");
    assert_eq!(std::fs::read(asked).unwrap(), first);
}

#[test]
fn a_supervisor_that_dies_before_barman_starts_leaves_a_lost_job_that_never_ran() {
    let bench = Bench::new(&json!({"delete": {"hang": true}}), &["barman.max_jobs = 1"]);
    let admin = bench.admin();
    let form = "server_name=main&backup_id=latest&async=true";
    let first = admin.form("/barman/delete", form).ticket();
    bench.started(1);
    let second = backup(&admin);
    let supervisor = supervisor_of(&second);
    signal(supervisor, Signal::KILL);
    let result = admin.finished(&second);
    assert_eq!(
        (&result["state"], &result["status_code"]),
        (&json!("lost"), &json!(-98)),
        "{result}"
    );
    assert_eq!(result["barman_still_runs"], false);
    assert!(result["started_at"].is_null());
    admin
        .form("/history/cancel", &format!("ticket={first}"))
        .expect(200);
    let third = backup(&admin);
    assert_eq!(admin.finished(&third)["state"], "done");
    assert_eq!(bench.stand_in.starts().len(), 2);
}

/// The supervisor is the process that has the ticket among its arguments.
fn supervisor_of(ticket: &str) -> u64 {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok())
        .find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("run-job") && line.contains(ticket))
        })
        .unwrap()
}

#[test]
fn whoever_starts_barman_inherits_the_lock_and_barman_does_not() {
    let bench = Bench::new(&json!({"backup": {"hang": true}}), &[]);
    let admin = bench.admin();
    let ticket = backup(&admin);
    let start = bench.started(1).remove(0);
    let supervisor = number(&start["ppid"]);
    let folder = bench.folder(&ticket).canonicalize().unwrap();
    // Descriptors 0 to 2 of whatever it starts are others.
    let inherited = std::fs::read_dir(format!("/proc/{supervisor}/fd"))
        .unwrap()
        .flatten()
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == folder))
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|fd| fd.parse::<u32>().unwrap() > 2)
        .filter(|fd| {
            let info = std::fs::read_to_string(format!("/proc/{supervisor}/fdinfo/{fd}")).unwrap();
            let flags = info
                .lines()
                .find_map(|line| line.strip_prefix("flags:"))
                .unwrap();
            let close_on_exec = 0o2_000_000;
            u64::from_str_radix(flags.trim(), 8).unwrap() & close_on_exec == 0
        })
        .count();
    assert_eq!(inherited, 1);
    let descriptors = start["fds"].as_object().unwrap();
    let folder = folder.display().to_string();
    assert!(
        descriptors.values().all(|target| *target != folder),
        "{start}"
    );
    admin
        .form("/history/cancel", &format!("ticket={ticket}"))
        .expect(200);
    admin.finished(&ticket);
}

#[test]
fn a_lost_job_keeps_both_halves_of_a_long_output_and_is_audited() {
    let flood = json!({"bytes": 3 << 20, "text": "y".repeat(63), "newline": true});
    let bench = Bench::new(
        &json!({"delete": {"stdout": "HEAD\n", "flood": flood, "sleep": 1}}),
        &["barman.output_limit = 64KiB"],
    );
    let admin = bench.admin();
    let form = "server_name=main&backup_id=latest&async=true";
    let ticket = admin.form("/barman/delete", form).ticket();
    let start = bench.started(1).remove(0);
    let capture = bench.folder(&ticket).join("capture.stdout");
    let blocks = || {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(&capture).ok()?;
        (found.len() == (3 << 20) + 5).then(|| found.blocks() * 512)
    };
    // The middle was given back.
    eventually("a shorter capture file", || {
        (blocks()? < 2 << 20).then_some(())
    });
    signal(number(&start["ppid"]), Signal::KILL);
    let lost = eventually("a recorded end", || {
        Some(admin.result(&ticket)).filter(|result| result["barman_still_runs"] == false)
    });
    assert_eq!(
        (&lost["state"], &lost["truncated"]),
        (&json!("lost"), &json!(true))
    );
    let lines = lost["list"].as_array().unwrap();
    assert_eq!(lines[0], "HEAD");
    assert_eq!(lines[1], "y".repeat(63));
    assert_eq!(lines.last().unwrap(), &json!("y".repeat(63)));
    let audit = bench.server.store().join("logs/audit.log");
    eventually("a line in the audit log", || {
        let text = std::fs::read_to_string(&audit).ok()?;
        text.lines()
            .any(|line| line.contains(&ticket) && line.contains(r#""outcome":"lost""#))
            .then_some(())
    });
}
