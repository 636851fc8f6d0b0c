//! A configuration that changes while the service runs.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::{Bench, backup, eventually, signal};
use crate::rig::{Answer, Barman, Lab, Site, StandIn, User};

const LIST: &str = "/barman/list-backups?server_name=main";

/// Writes these values into the site's file, `section.key = value` each, and leaves the rest.
fn write(site: &Site, settings: &[&str]) {
    let file = site.file("barmanapi.conf");
    let text = fs::read_to_string(&file).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for setting in settings {
        let (path, value) = setting.split_once(" = ").unwrap();
        let (section, key) = path.split_once('.').unwrap();
        let header = format!("[{section}]");
        if !lines.contains(&header) {
            lines.push(header.clone());
        }
        let start = lines.iter().position(|line| *line == header).unwrap() + 1;
        let end = lines[start..].iter().position(|line| line.starts_with('['));
        let end = end.map_or(lines.len(), |end| start + end);
        let own = format!("{key} = ");
        let old = (start..end).find(|at| lines[*at].starts_with(&own));
        let line = format!("{key} = {value}");
        match old {
            Some(at) => lines[at] = line,
            None => lines.insert(start, line),
        }
    }
    // The service may read at any moment: it finds the old file or the new one.
    let fresh = site.file("barmanapi.conf.new");
    Lab::get().write(&fresh, &(lines.join("\n") + "\n"), 0o600);
    fs::rename(fresh, file).unwrap();
}

/// Writes values and has the service take them; returns what `barmanapi reload` says of it.
#[track_caller]
fn change(site: &Site, settings: &[&str]) -> String {
    write(site, settings);
    let output = site.run(&["reload"], "");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A deletion that is a job from its start.
fn delete(user: &User<'_>, backup: u32) -> Answer {
    let form = format!("server_name=main&backup_id=20261121T{backup:06}&async=true");
    user.form("/barman/delete", &form)
}

#[test]
fn limits_of_jobs_count_for_the_next_job_and_leave_others_alone() {
    let actions = json!({"backup": {"hang": true}, "delete": {"hang": true}, "check": {"stdout": "x".repeat(5000)}});
    let bench = Bench::new(&actions, &["barman.max_jobs = 1", "barman.queue = 0"]);
    let (admin, site) = (bench.admin(), &bench.site);
    let first = backup(&admin);
    bench.started(1);
    delete(&admin, 1).expect(429);
    let told = change(site, &["barman.queue = 1"]);
    assert!(told.contains("new values of [barman] queue\n"), "{told}");
    let second = delete(&admin, 2).ticket();
    delete(&admin, 3).expect(429);
    // The second waits: what a job was accepted with it keeps.
    change(site, &["barman.max_jobs = 2", "barman.queue = 1"]);
    let third = delete(&admin, 3).ticket();
    assert_eq!(admin.result(&second)["state"], "queued");
    admin
        .form("/history/cancel", &format!("ticket={second}"))
        .expect(200);
    bench.started(2);
    for ticket in [&first, &third] {
        assert_eq!(admin.result(ticket)["state"], "running");
        admin
            .form("/history/cancel", &format!("ticket={ticket}"))
            .expect(200);
        assert_eq!(admin.finished(ticket)["state"], "cancelled");
    }

    let check = |wanted: bool| {
        let answer = admin.get("/barman/check?server_name=main").expect(200);
        assert_eq!(answer.json()["truncated"] == true, wanted);
    };
    check(false);
    change(site, &["barman.output_limit = 1 KiB"]);
    check(true);
}

#[test]
fn timeouts_and_the_way_a_command_runs_count_from_the_next_request_on() {
    let actions =
        json!({"list-backups": {"sleep": 3}, "backup": {"hang": true}, "delete": {"hang": true}});
    let bench = Bench::new(&actions, &[]);
    let (admin, site) = (bench.admin(), &bench.site);
    admin.get("/barman/check?server_name=main").expect(200);
    change(
        site,
        &["barman.sync_timeout = 1", "barman.async_command = check"],
    );
    let slow = admin.get(LIST).expect(202).ticket();
    admin.get("/barman/check?server_name=main").expect(202);
    change(
        site,
        &[
            "barman.async_command = backup",
            "barman.job_timeout.backup = 1",
        ],
    );
    admin.get("/barman/check?server_name=main").expect(200);
    assert_eq!(admin.finished(&backup(&admin))["reason"], "time_limit");
    change(site, &["barman.job_timeout = 2"]);
    let limited = admin.finished(&delete(&admin, 1).ticket());
    assert_eq!(limited["reason"], "time_limit");
    assert_eq!(limited["duration_ms"].as_u64().unwrap() / 1000, 2);
    // It was started before there was a limit.
    assert_eq!(admin.finished(&slow)["state"], "done");
}

#[test]
fn what_requests_may_look_like_counts_from_the_next_one_on() {
    let bench = Bench::new(&json!({}), &[]);
    let (admin, site) = (bench.admin(), &bench.site);
    let in_query = format!("{LIST}&token={}", admin.token);
    let deletion = "/barman/delete?server_name=main&backup_id=latest";
    bench.server.get(&in_query).expect(200);
    admin.get(deletion).expect(200);
    let told = change(
        site,
        &[
            "application.get_changes = false",
            "auth_token.query_token = false",
        ],
    );
    assert!(
        told.contains("new values of [application] get_changes, [auth_token] query_token\n"),
        "{told}"
    );
    bench.server.get(&in_query).expect(401);
    admin.get(deletion).expect(405);
    admin.get("/auth/logout").expect(405);
    change(site, &["application.get_changes = true"]);
    admin.get(deletion).expect(200);
    bench.server.get(&in_query).expect(401);
}

#[test]
fn another_token_life_counts_for_new_tokens_and_for_those_given_before() {
    let bench = Bench::new(&json!({}), &[]);
    let site = &bench.site;
    let long = bench.admin();
    change(site, &["auth_token.token_life = 100"]);
    long.get("/auth/user").expect(200);
    let password = "correct horse battery";
    let answer = bench.server.basic("/auth/token", "admin", password);
    assert_eq!(answer.expect(200).json()["expires_in"], 100);
    change(site, &["auth_token.token_life = 1"]);
    eventually("the end of a token", || {
        (long.get("/auth/user").status == 401).then_some(())
    });
    change(site, &["auth_token.token_life = 200"]);
    long.get("/auth/user").expect(401);
    let answer = bench.server.basic("/auth/token", "admin", password);
    let token = answer.expect(200).json()["token"].clone();
    let token = token.as_str().unwrap();
    bench.server.with_token(token).get("/auth/user").expect(200);
}

#[test]
fn the_log_takes_its_level_and_its_sizes() {
    let bench = Bench::new(&json!({}), &[]);
    let (admin, site) = (bench.admin(), &bench.site);
    let debug = || site.logged().matches("\"DEBUG\"").count();
    admin.get(LIST).expect(200);
    assert_eq!(debug(), 0);
    change(site, &["application.debug = true"]);
    admin.get(LIST).expect(200);
    eventually("a line of debug", || (debug() == 1).then_some(()));
    let exists = |number: u32| {
        let name = format!("store/logs/general.log.{number}");
        site.file(&name).exists()
    };
    assert!(!exists(1));
    change(site, &["log.max_bytes = 300", "log.backup_count = 3"]);
    eventually("older files", || {
        bench.server.get("/healthz").expect(200);
        admin.get("/auth/user").expect(200);
        exists(3).then_some(())
    });
    assert!(!exists(4));
    change(site, &["log.backup_count = 1", "application.debug = false"]);
    eventually("fewer older files", || {
        admin.get("/auth/user").expect(200);
        (!exists(2) && !exists(3)).then_some(())
    });
    assert!(exists(1));
}

#[test]
fn months_that_are_kept_count_for_history_and_for_the_audit_log() {
    let bench = Bench::new(&json!({}), &[]);
    let (admin, site) = (bench.admin(), &bench.site);
    // Months are counted from one that the store has.
    let ticket = backup(&admin);
    admin.finished(&ticket);
    let old = "/history/result?ticket=20200105T000000-rdgtt2gmw2ds";
    admin.get(old).expect(404);
    change(site, &["application.keep_months = 3"]);
    let gone = admin.get(old).expect(410).json();
    assert!(gone["message"].as_str().unwrap().contains("keeps 3 closed"));
    change(site, &["application.keep_months = 0"]);
    admin.get(old).expect(404);

    let log = |name: &str| site.file(&format!("store/logs/{name}"));
    let line = "{\"ts\":\"2020-02-01T00:00:00Z\",\"event\":\"ran\"}\n";
    // The log stands in a month that is over; the next event closes it.
    let a_month_is_over = || {
        Lab::get().write(&log("audit-202001.log"), line, 0o600);
        Lab::get().write(&log("audit.log"), line, 0o600);
        admin.get(LIST).expect(200);
        eventually("the month to be closed", || {
            let text = fs::read_to_string(log("audit.log")).unwrap_or_default();
            (!text.contains("2020-") && !text.is_empty()).then_some(())
        });
    };
    a_month_is_over();
    assert!(log("audit-202001.log").exists() && log("audit-202002.log").exists());
    change(site, &["audit.keep_months = 2"]);
    a_month_is_over();
    eventually("the old months to go", || {
        (!log("audit-202001.log").exists() && !log("audit-202002.log").exists()).then_some(())
    });
}

#[test]
fn where_restores_may_go_and_which_commands_are_on_counts_at_once() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let admin = server.login("admin");
    let form = "server_name=main&backup_id=latest&destination_directory=/var/tmp/restored";
    let restore = || admin.form("/barman/restore", form);
    restore().expect(403);
    change(&site, &["target:here.directories = /var/tmp/restored"]);
    // While one runs, an identical one is refused.
    admin.finished(&restore().expect(202).ticket());
    change(&site, &["target:here.directories = /var/tmp/elsewhere"]);
    restore().expect(403);
    change(&site, &["barman.any_target = true"]);
    // Where tablespaces go decides nothing then.
    stand_in.control(&json!({"show-backup": {"exit": 1}}));
    admin.finished(&restore().expect(202).ticket());
    stand_in.control(&json!({}));
    change(&site, &["barman.any_target = false"]);
    restore().expect(403);

    // Refused before, and accepted with one more key.
    let config = json!([{"scope": "server", "server_name": "main", "conninfo": "host=x"}]);
    for (route, form, setting) in [
        (
            "export-backup",
            "server_name=main&backup_id=latest&output_directory=/var/tmp/x",
            "barman.exchange_directory = /var/tmp",
        ),
        (
            "cloud-wal-archive",
            "server_name=main&wal_path=/home/barman/.ssh/000000010000000000000001",
            "barman.allow_commands = cloud-wal-archive",
        ),
        (
            "config-update",
            &format!("json_changes={config}"),
            "config.unlock = conninfo",
        ),
    ] {
        let ask = || admin.form(&format!("/barman/{route}"), form);
        ask().expect(403);
        change(&site, &[setting]);
        let now = ask();
        assert!([200, 202].contains(&now.status), "{route}: {now:?}");
    }
}

#[test]
fn a_wrong_file_changes_nothing_and_every_problem_is_logged_with_its_line() {
    let bench = Bench::new(&json!({}), &[]);
    let (admin, site) = (bench.admin(), &bench.site);
    let file = site.file("barmanapi.conf");
    let good = fs::read_to_string(&file).unwrap();
    write(
        site,
        &["auth_token.query_token = false", "barman.max_jobs = 9"],
    );
    let changed = fs::read_to_string(&file).unwrap();
    let bad = format!("{changed}[log]\nmax_bytes = many\nsecret_x = s3cr3t-value\n");
    Lab::get().write(&file, &bad, 0o600);
    let lines = changed.lines().count();
    signal(bench.server.pid().into(), Signal::HUP);
    for (line, words) in [(lines + 2, "max_bytes"), (lines + 3, "secret_x")] {
        let told = format!("barmanapi.conf:{line}: [log] {words}:");
        eventually("a line about the problem", || {
            site.logged().contains(&told).then_some(())
        });
    }
    // As all the problems are logged, the rest was not taken.
    let in_query = format!("{LIST}&token={}", admin.token);
    bench.server.get(&in_query).expect(200);
    assert!(!site.logged().contains("s3cr3t-value"));
    let output = site.run(&["reload"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains(&format!("barmanapi.conf:{}:", lines + 2)),
        "{told}"
    );

    // What only the service sees is told by it.
    Lab::get().write(&file, &changed, 0o666);
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let output = site.run(&["reload"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains(&format!(
            "process {} keeps its configuration",
            bench.server.pid()
        )) && told.contains("every account may write the file"),
        "{told}"
    );
    bench.server.get(&in_query).expect(200);

    Lab::get().write(&file, &changed, 0o600);
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    change(site, &[]);
    bench.server.get(&in_query).expect(401);
    Lab::get().write(&file, &good, 0o600);
    change(site, &[]);
    bench.server.get(&in_query).expect(200);
}

#[test]
fn a_key_that_needs_a_restart_is_named_until_the_restart_and_all_else_counts() {
    let mut bench = Bench::new(&json!({}), &[]);
    let port = bench.server.port;
    let told = change(
        &bench.site,
        &["application.port = 1", "auth_token.query_token = false"],
    );
    let needed = "needs a restart for [application] port\n";
    assert!(
        told.contains(needed) && told.contains("new values of [auth_token] query_token\n"),
        "{told}"
    );
    let told = change(&bench.site, &[]);
    assert!(
        told.contains(needed) && told.contains("nothing new is in force"),
        "{told}"
    );
    let logged = bench.site.logged();
    let line = logged
        .lines()
        .find(|line| line.contains("these keys count from the next start"))
        .unwrap();
    assert!(
        line.contains("[application] port") && line.contains("WARN"),
        "{line}"
    );
    assert_eq!(bench.server.port, port);
    let admin = bench.admin();
    let in_query = format!("{LIST}&token={}", admin.token);
    bench.server.get(&in_query).expect(401);
    write(&bench.site, &["application.port = 0"]);
    drop(admin);
    bench.server = bench.site.serve();
    let told = change(&bench.site, &[]);
    assert!(!told.contains("needs a restart"), "{told}");
}

#[test]
fn a_barman_that_does_not_answer_holds_no_setting_back() {
    let bench = Bench::new(&json!({}), &[]);
    let in_query = format!("{LIST}&token={}", bench.admin().token);
    bench.now_does(&json!({"--version": {"hang": true}}));
    change(&bench.site, &[]);
    let since = Instant::now();
    change(&bench.site, &["auth_token.query_token = false"]);
    bench.server.get(&in_query).expect(401);
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
}

/// Ends the work of others when dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn storms_of_hangups_under_load_lose_no_request() {
    let bench = Bench::new(&json!({}), &[]);
    let (admin, site) = (bench.admin(), &bench.site);
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ticket = backup(&admin);
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (admin, over, answered) = (&admin, &over, &answered);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let answer = match worker % 3 {
                        0 => admin.get(LIST),
                        1 => admin.get("/auth/user"),
                        _ => admin.get("/history/list"),
                    };
                    answer.expect(200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // However this ends: who waits for the workers has to tell them.
        let _stop = Stop(&over);
        for number in 0..200 {
            let value = match number % 3 {
                0 => "barman.max_jobs = 5",
                1 => "barman.max_jobs = none",
                _ => "barman.max_jobs = 6",
            };
            write(site, &[value]);
            signal(bench.server.pid().into(), Signal::HUP);
            std::thread::sleep(Duration::from_millis(5));
        }
        // A hangup of the storm that comes late may be the one that takes it.
        change(site, &["barman.max_jobs = 7"]);
    });
    assert!(answered.load(Ordering::Relaxed) > 20, "{answered:?}");
    assert_eq!(admin.finished(&ticket)["state"], "done");
    assert!(
        site.logged()
            .contains("[barman] max_jobs: the value is not")
    );
    assert!(!site.logged().contains("panicked"));
    let job = delete(&admin, 1).ticket();
    let record = fs::read_to_string(bench.folder(&job).join("job.json")).unwrap();
    assert!(record.contains("\"max_jobs\":7"), "{record}");
    println!("{answered:?} requests were answered");
}
