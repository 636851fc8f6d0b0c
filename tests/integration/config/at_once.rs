//! Many who change at once, and Barman's own writer among them.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Keys that take any number.
const NUMBERS: [&str; 20] = [
    "main.parallel_jobs",
    "main.check_timeout",
    "main.basebackup_retry_times",
    "main.basebackup_retry_sleep",
    "main.keepalive_interval",
    "main.primary_checkpoint_timeout",
    "main.backup_compression_level",
    "main.parallel_jobs_start_batch_size",
    "main.parallel_jobs_start_batch_period",
    "main.description",
    "other.parallel_jobs",
    "other.check_timeout",
    "other.basebackup_retry_times",
    "other.basebackup_retry_sleep",
    "other.keepalive_interval",
    "other.primary_checkpoint_timeout",
    "other.description",
    "barman.check_timeout",
    "barman.parallel_jobs",
    "barman.basebackup_retry_sleep",
];

/// Rounds of a short run, and of a long one (`CONFIG_ROUNDS`).
fn rounds() -> usize {
    let named = std::env::var("CONFIG_ROUNDS").ok();
    named.and_then(|text| text.parse().ok()).unwrap_or(2)
}

/// Twenty clients, each with a key of its own, for some rounds; nothing of it is lost.
fn crowd(desk: &Desk, rounds: usize) {
    let token = desk.admin().token;
    std::thread::scope(|scope| {
        for (client, key) in NUMBERS.iter().enumerate() {
            let (desk, token) = (desk, &token);
            scope.spawn(move || {
                let user = desk.server.with_token(token);
                for round in 1..=rounds {
                    let value = client * 100 + round;
                    let answer = user
                        .post("/config/barman/change", &json!({*key: value}))
                        .expect(200)
                        .json();
                    let (section, name) = key.split_once('.').unwrap();
                    assert_eq!(answer["list"][section][name], value.to_string());
                }
            });
        }
    });
    let admin = desk.admin();
    let list = admin.get("/config/barman").json();
    for (client, key) in NUMBERS.iter().enumerate() {
        let (section, name) = key.split_once('.').unwrap();
        let value = client * 100 + rounds;
        assert_eq!(list["list"][section][name], value.to_string(), "{key}");
    }
    desk.files.barman(&["list-servers"]);
    let limit = format!("/config/barman/revisions?limit={}", 1000);
    let revisions = admin.get(&limit).json();
    let revisions = revisions["list"].as_array().unwrap();
    assert_eq!(revisions.len(), (NUMBERS.len() * rounds).min(1000));
    assert!(revisions.iter().all(|one| one["state"] == "done"));
}

/// Reads the files until it is told to stop: raw, and by the real Barman. Every time they must be
/// whole. Returns how often it was done.
fn read_on(files: &Files, done: &AtomicBool) -> (usize, usize) {
    std::thread::scope(|scope| {
        let raw = scope.spawn(|| {
            let mut times = 0;
            while !done.load(Ordering::SeqCst) {
                // In the barest form: a reader opens a file and reads it in one go.
                for (name, first, last) in [
                    ("barman.conf", "; Barman of the lab\n", "\n"),
                    ("barman.d/main.conf", "# The main server\n", "; the end"),
                    ("barman.d/other.conf", "[other]\n", "\n"),
                ] {
                    let text = files.read(name);
                    assert!(
                        text.starts_with(first) && text.trim_end_matches('\n').len() > 100,
                        "{text}"
                    );
                    assert!(text.ends_with(last) || text.ends_with('\n'), "{text}");
                    assert!(!last.starts_with(';') || text.contains(last), "{text}");
                    let odd = text.lines().find(|line| {
                        let plain = line.trim_start().starts_with(['#', ';', '[']);
                        !(plain
                            || line.is_empty()
                            || line.contains(['=', ':'])
                            || *line == "    concurrent_backup")
                    });
                    assert_eq!(odd, None, "{text}");
                    times += 1;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            times
        });
        let mut runs = 0;
        while !done.load(Ordering::SeqCst) {
            let servers = files.barman(&["list-servers"]);
            assert!(
                servers.contains("main - ") && servers.contains("other - "),
                "{servers}"
            );
            runs += 1;
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        (raw.join().unwrap(), runs)
    })
}

/// Tells readers to stop, also when a test fails.
struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn twenty_clients_lose_nothing_and_who_reads_meanwhile_finds_whole_files() {
    let desk = Desk::here(&[]);
    let (done, rounds) = (AtomicBool::new(false), rounds());
    let since = std::time::Instant::now();
    let (raw, runs) = std::thread::scope(|scope| {
        let told = Told(&done);
        let reader = scope.spawn(|| read_on(&desk.files, &done));
        crowd(&desk, rounds);
        drop(told);
        reader.join().unwrap()
    });
    assert!(raw > 0 && runs > 0);
    eprintln!(
        "{} changes by {} clients in {:?}; meanwhile {raw} files and {runs} runs of Barman, all whole",
        NUMBERS.len() * rounds,
        NUMBERS.len(),
        since.elapsed()
    );
}

#[test]
fn twenty_clients_lose_nothing_over_ssh() {
    let desk = Desk::there(&[]);
    crowd(&desk, rounds().div_ceil(3));
}

#[test]
fn two_with_the_same_view_do_not_both_get_through() {
    let desk = Desk::here(&[]);
    let token = desk.admin().token;
    let tag = etag(&desk.admin());
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=4)
            .map(|value| {
                let (desk, token, tag) = (&desk, &token, &tag);
                scope.spawn(move || {
                    let user = desk.server.with_token(token);
                    change_with(&user, tag, &json!({"main.minimum_redundancy": value})).status
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    let mut sorted = statuses;
    sorted.sort_unstable();
    assert_eq!(sorted, [200, 412, 412, 412]);
}

#[test]
fn barmans_own_config_update_and_ours_do_not_tear_each_other() {
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    let done = AtomicBool::new(false);
    let turns = rounds().min(20) * 6;
    let since = std::time::Instant::now();
    let updates = std::thread::scope(|scope| {
        let updater = scope.spawn(|| {
            let mut made = 0;
            while !done.load(Ordering::SeqCst) && since.elapsed().as_secs() < 60 {
                let update = format!(
                    r#"[{{"scope": "server", "server_name": "main", "check_timeout": "{}"}}]"#,
                    100 + made
                );
                let lab = Lab::get();
                let mut command = lab.command(lab.fact("BARMAN"));
                command.arg("-c").arg(desk.files.path("barman.conf"));
                let output = command.args(["config-update", &update]).output().unwrap();
                // It does not wait for the lock.
                made += usize::from(output.status.success());
            }
            made
        });
        for jobs in 1..=turns {
            let answer = admin.post(
                "/config/barman/change",
                &json!({"main.parallel_jobs": jobs}),
            );
            // Who comes between is told.
            if answer.status != 200 {
                assert_eq!(answer.status, 412, "{answer:?}");
            }
            let text = desk.files.read("barman.d/main.conf");
            assert!(
                text.ends_with("; the end") || text.contains("; the end\n"),
                "{text}"
            );
        }
        done.store(true, Ordering::SeqCst);
        updater.join().unwrap()
    });
    assert!(updates > 0);
    change(&admin, &json!({"main.parallel_jobs": 77})).expect(200);
    let shown = desk.files.barman(&["show-servers", "main"]);
    assert!(shown.contains("parallel_jobs: 77"), "{shown}");
    assert!(
        shown.contains(&format!("check_timeout: {}", 99 + updates)),
        "{shown}"
    );
}

#[test]
fn a_lock_that_barman_holds_is_waited_for_and_then_told() {
    let desk = Desk::here(&[]);
    let path = desk.files.path("home/.config-update.lock");
    Lab::get().write(&path, "1", 0o600);
    let lock = std::fs::File::open(&path).unwrap();
    lock.lock().unwrap();
    let admin = desk.admin();
    let before = desk.files.all();
    let answer = admin
        .post("/config/barman/change", &json!({"main.parallel_jobs": 2}))
        .expect(503);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(desk.files.all(), before);
    drop(lock);
    admin
        .post("/config/barman/change", &json!({"main.parallel_jobs": 2}))
        .expect(200);
    let list = admin.get("/config/barman/revisions").json();
    assert_eq!(list["list"].as_array().unwrap().len(), 1);
}
