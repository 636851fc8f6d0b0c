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

/// Rounds, which `CONFIG_ROUNDS` makes more.
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

/// The lines of a text that set a key.
fn lines_of<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let is_key = |line: &&str| {
        let name = line.split(['=', ':']).next().unwrap_or_default();
        line.contains(['=', ':']) && name.trim() == key
    };
    text.lines().filter(is_key).collect()
}

/// Sets a key as often as it takes, since who is overtaken by another writer is told to look again.
/// Returns how often that was.
fn insist(user: &User<'_>, key: &str, value: usize) -> usize {
    let since = std::time::Instant::now();
    for times in 0.. {
        let answer = user.post("/config/barman/change", &json!({ key: value }));
        if answer.status == 200 {
            return times;
        }
        assert_eq!(answer.status, 412, "{answer:?}");
        assert!(since.elapsed().as_secs() < 300, "{key}: {times} times");
    }
    unreachable!()
}

/// Lets Barman write its own file until it is told to stop. Returns how often it did.
fn update_on(files: &Files, done: &AtomicBool) -> usize {
    let lab = Lab::get();
    let mut made = 0;
    while !done.load(Ordering::SeqCst) {
        let update = format!(
            r#"[{{"scope": "server", "server_name": "main", "check_timeout": "{}"}}]"#,
            100 + made
        );
        let mut command = lab.command(lab.fact("BARMAN"));
        command.arg("-c").arg(files.path("barman.conf"));
        let output = command.args(["config-update", &update]).output().unwrap();
        // It does not wait for the lock.
        made += usize::from(output.status.success());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    made
}

#[test]
fn many_writers_barmans_own_and_readers_together_lose_nothing() {
    const KEYS: [&str; 4] = [
        "main.parallel_jobs",
        "main.basebackup_retry_times",
        "other.parallel_jobs",
        "barman.parallel_jobs",
    ];
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    let done = AtomicBool::new(false);
    let turns = rounds().max(50);
    let (overtaken, updates, (raw, runs)) = std::thread::scope(|scope| {
        let told = Told(&done);
        let updater = scope.spawn(|| update_on(&desk.files, &done));
        let reader = scope.spawn(|| read_on(&desk.files, &done));
        let writers = KEYS.map(|key| {
            let token = &admin.token;
            let server = &desk.server;
            scope.spawn(move || {
                let user = server.with_token(token);
                let times = (1..=turns).map(|turn| insist(&user, key, turn));
                times.sum::<usize>()
            })
        });
        let overtaken: usize = writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .sum();
        drop(told);
        (overtaken, updater.join().unwrap(), reader.join().unwrap())
    });
    assert!(updates > 0 && raw > 0 && runs > 0, "{updates} {raw} {runs}");
    for key in KEYS {
        let (section, name) = key.split_once('.').unwrap();
        let file = match section {
            "barman" => "barman.conf".to_owned(),
            server => format!("barman.d/{server}.conf"),
        };
        let text = desk.files.read(&file);
        let [line] = lines_of(&text, name)[..] else {
            panic!("{key} in {text}");
        };
        assert!(line.ends_with(&format!(" {turns}")), "{line}");
    }
    let auto = desk.files.read("home/.barman.auto.conf");
    let wanted = format!("check_timeout = {}", 99 + updates);
    assert_eq!(lines_of(&auto, "check_timeout"), [wanted.as_str()]);
    let list = admin.get("/config/barman/revisions?limit=1000").json();
    let list = list["list"].as_array().unwrap().clone();
    assert_eq!(list.len(), KEYS.len() * turns);
    assert!(list.iter().all(|one| one["state"] == "done"));
    let shown = desk.files.barman(&["show-servers", "main"]);
    for line in [
        format!("parallel_jobs: {turns}\n"),
        format!("check_timeout: {}\n", 99 + updates),
    ] {
        assert!(shown.contains(&line), "{line} in {shown}");
    }
    eprintln!(
        "{} changes, {overtaken} times overtaken, {updates} of Barman's own, {raw} files and {runs} runs of Barman meanwhile",
        KEYS.len() * turns
    );
}

#[test]
fn a_hundred_keys_changed_at_once_are_all_there() {
    let files = Files::new();
    let server = |number: usize| format!("s{number}");
    for number in 0..10 {
        let name = server(number);
        let text = format!(
            "; {name}\n[{name}]\ndescription = {name}\nconninfo = host=127.0.0.1 dbname=postgres\nbackup_method = postgres\n; the end of {name}\n"
        );
        files.write(&format!("barman.d/{name}.conf"), &text);
    }
    // Barman itself takes half a second to read them, twice for each of the hundred; a shell is quick.
    let stand_in = StandIn::new();
    let (program, slow) = (stand_in.program(), stand_in.folder().join("slow"));
    fs::rename(&program, &slow).unwrap();
    let mut names: Vec<_> = (0..10).map(server).collect();
    names.extend(["main".to_owned(), "other".to_owned()]);
    let told: serde_json::Map<_, _> = names
        .into_iter()
        .map(|name| (name, json!({"description": "told by a shell"})))
        .collect();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *list-servers) echo '{}';; *) exec {} \"$@\";; esac\n",
        Value::Object(told),
        slow.display()
    );
    Lab::get().write(&program, &script, 0o755);
    let config = files.path("barman.conf").display().to_string();
    let config = format!("barman.config_file = {config}");
    let site = Site::new(&Barman::StandIn(&stand_in), &[&config]);
    site.user("admin", &["--full"]);
    let barmanapi = site.serve();
    let token = barmanapi.login("admin").token;
    let keys: Vec<_> = (0..100)
        .map(|number| {
            let (_, key) = NUMBERS[number / 10].split_once('.').unwrap();
            (server(number % 10), key, 1000 + number)
        })
        .collect();
    std::thread::scope(|scope| {
        for (section, key, value) in &keys {
            let user = barmanapi.with_token(&token);
            scope.spawn(move || {
                let body = json!({format!("{section}.{key}"): value});
                user.post("/config/barman/change", &body).expect(200);
            });
        }
    });
    let user = barmanapi.with_token(&token);
    let list = user.get("/config/barman").expect(200).json();
    for (section, key, value) in &keys {
        let value = value.to_string();
        assert_eq!(list["list"][section][key], value, "{section}.{key}");
        let text = files.read(&format!("barman.d/{section}.conf"));
        let line = format!("{key} = {value}");
        assert_eq!(lines_of(&text, key), [line.as_str()], "{text}");
        assert!(
            text.contains(&format!("; the end of {section}\n")),
            "{text}"
        );
    }
    let revisions = user.get("/config/barman/revisions?limit=1000").json();
    let revisions = revisions["list"].as_array().unwrap();
    let changed: std::collections::BTreeSet<_> = revisions
        .iter()
        .map(|one| one["changed"][0].to_string())
        .collect();
    assert_eq!((revisions.len(), changed.len()), (100, 100));
    assert!(revisions.iter().all(|one| one["state"] == "done"));
    files.barman(&["list-servers"]);
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
