//! The program: how it starts, what it refuses, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::until;
use crate::rig::{Barman, Lab, Site, StandIn};

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(text).unwrap()
}

/// A port that nothing listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn status_says_ok_while_a_service_answers_and_fails_when_none_does() {
    let stand_in = StandIn::new();
    let port = format!("application.port = {}", free_port());
    let site = Site::new(&Barman::StandIn(&stand_in), &[&port]);
    let output = site.run(&["status"], "");
    assert!(
        !output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    let mut server = site.serve();
    let output = site.run(&["status"], "");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"OK\n");
    assert_eq!(
        server.get("/readyz").expect(200).json(),
        json!({"status": "ready"})
    );
    assert_eq!(
        server.get("/healthz").expect(200).json(),
        json!({"status": "ok"})
    );
    // The port is taken now.
    let words = site.refuses_to_serve();
    assert!(words.contains("port"), "{words}");
    server.get("/healthz").expect(200);
    server.kill();
    assert!(!site.run(&["status"], "").status.success());
    // Somebody else who listens there is not the service.
    let port: u16 = port.rsplit(' ').next().unwrap().parse().unwrap();
    let other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let answering = std::thread::spawn(move || drop(other.accept().unwrap()));
    assert!(!site.run(&["status"], "").status.success());
    answering.join().unwrap();
}

#[test]
fn check_config_tells_every_problem_with_its_line_and_what_to_write() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let file = site.file("barmanapi.conf");
    let good = fs::read_to_string(&file).unwrap();
    let output = site.run(&["check-config"], "");
    assert!(output.status.success(), "{}", said(&output));
    let bad = "; a comment\n[aplication]\n[auth_token]\nalgorithm = none\nsecret = Deneme\n\
               [barman]\nsync_timout = 5\nmax_jobs = many\n";
    let text = format!("{bad}{}", good.replace("[barman]\n", ""));
    Lab::get().write(&file, &text, 0o600);
    let output = site.run(&["check-config"], "");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let told = said(&output);
    let name = file.display();
    for (line, words) in [
        (2, "application"),
        (4, "HS256"),
        (5, "secret"),
        (7, "sync_timeout"),
        (8, "max_jobs"),
    ] {
        let start = format!("{name}:{line}:");
        let found = told.lines().find(|told| told.starts_with(&start));
        let found = found.unwrap_or_else(|| panic!("nothing about line {line} in {told}"));
        assert!(found.contains(words), "{found}");
    }
    assert!(!told.contains("Deneme"), "{told}");
    // The service starts with none of it, and says the same.
    let words = site.refuses_to_serve();
    assert!(words.contains(&format!("{name}:7:")), "{words}");
    assert!(!words.contains("Deneme"), "{words}");

    // What it names is looked at, too.
    let missing = good.replace("command = ", "command = /nowhere");
    Lab::get().write(&file, &missing, 0o600);
    let output = site.run(&["check-config"], "");
    assert!(
        !output.status.success() && said(&output).contains("/nowhere"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let lab = Lab::get();
    for word in ["serve", "runserver", "status", "check-config", "reload"] {
        let output = lab
            .command(&lab.binary)
            .args([word, "--config", "/nowhere/barmanapi.conf"])
            .output()
            .unwrap();
        assert!(!output.status.success(), "{word}");
        assert!(
            said(&output).contains("/nowhere/barmanapi.conf"),
            "{}",
            said(&output)
        );
        let by_environment = lab
            .command(&lab.binary)
            .env("BARMANAPI_CONFIG", "/elsewhere/barmanapi.conf")
            .arg(word)
            .output()
            .unwrap();
        let words = said(&by_environment);
        assert!(words.contains("/elsewhere/barmanapi.conf"), "{words}");
    }
    let nothing = lab.command(&lab.binary).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
}

#[test]
fn runserver_is_another_word_for_serve() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let lab = Lab::get();
    let mut child = lab
        .command(&lab.binary)
        .args(["runserver", "--config"])
        .arg(site.file("barmanapi.conf"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    drop(child.kill());
    child.wait().unwrap();
    assert!(
        line.starts_with("barmanapi: listening on http://127.0.0.1:"),
        "{line}"
    );
}

#[test]
fn root_is_refused_before_anything_is_made() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    if !rustix::process::geteuid().is_root() {
        // Whoever can't be root can't try; the same start as this account is the other half.
        site.serve();
        return;
    }
    let mut child = Command::new(&Lab::get().binary)
        .args(["serve", "--config"])
        .arg(site.file("barmanapi.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() && since.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(child.kill());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"");
    assert!(said(&output).contains("root"), "{}", said(&output));
    assert!(!site.file("store").exists(), "root made the store");
}

#[test]
fn a_store_or_an_address_that_others_reach_is_refused() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    drop(site.serve());
    let set = |name: &str, mode: u32| {
        fs::set_permissions(site.file(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    for (name, mode) in [
        ("store", 0o777),
        ("store", 0o770),
        ("store/active", 0o775),
        ("store/logs", 0o702),
    ] {
        set(name, mode);
        let words = site.refuses_to_serve();
        let path = site.file(name).display().to_string();
        assert!(words.contains(&path), "{words}");
        set(name, 0o700);
    }
    let secret = site.file("store/config/secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(site.refuses_to_serve().contains("chmod"));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    // What only can be read is closed inside; a look at all of it follows below.
    set("store", 0o755);
    set("store/active", 0o755);
    set("store/logs", 0o750);
    drop(site.serve());

    let file = site.file("barmanapi.conf");
    let text = fs::read_to_string(&file).unwrap();
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let open = text.replace(
            "[application]\n",
            &format!("[application]\nhost = {host}\n"),
        );
        Lab::get().write(&file, &open, 0o600);
        let words = site.refuses_to_serve();
        assert!(
            words.contains("insecure") && words.contains("barmanapi.conf:"),
            "{words}"
        );
    }
    let accepted = "[application]\nhost = 0.0.0.0\ninsecure = true\n";
    Lab::get().write(&file, &text.replace("[application]\n", accepted), 0o600);
    site.serve().get("/healthz").expect(200);

    // All that the service makes is its own.
    let mut folders = vec![site.file("store")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", entry.path().display());
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

#[test]
fn reload_makes_every_running_service_ask_barman_again() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let output = site.run(&["reload"], "");
    assert!(!output.status.success(), "{}", said(&output));
    let (one, other) = (site.serve(), site.serve());
    let before = stand_in.overviews();
    let output = site.run(&["reload"], "");
    assert!(output.status.success(), "{}", said(&output));
    for server in [&one, &other] {
        let pid = format!("process {} ", server.pid());
        assert!(said(&output).contains(&pid), "{}", said(&output));
    }
    until("both have asked", || stand_in.overviews() >= before + 2);
    one.get("/healthz").expect(200);
    other.get("/healthz").expect(200);
}

#[test]
fn a_stop_finishes_what_is_being_answered_and_leaves_jobs_running() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({
        "list-backups": {"sleep": 0.5, "stdout": "done\n"},
        "backup": {"lines": {"count": 40, "every": 0.2}},
    }));
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let mut server = site.serve();
    let token = site.token("admin");
    let admin = server.with_token(&token);
    let ticket = admin.form("/barman/backup", "server_name=main").ticket();
    until("the job runs", || stand_in.starts().len() == 1);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || admin.get("/barman/list-backups?server_name=main");
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
        // All are inside before the signal comes: each holds a connection.
        until("requests are being answered", || {
            stand_in.starts().len() > 1
        });
        until("all are inside", || connections(server.port) >= 20);
        server.terminate();
        // Who comes now is sent away, and those who watch still get an answer.
        let mut refused = false;
        until("new requests are refused", || {
            refused = server
                .try_request("GET", "/auth/user", &[], b"")
                .is_none_or(|answer| {
                    answer.status == 503 && answer.header("retry-after").is_some()
                });
            refused
        });
        asking
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    let began = Instant::now();
    assert_eq!(server.wait(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(35));
    let jobs = stand_in.starts();
    let job = jobs
        .iter()
        .find(|start| start["start"] == "backup")
        .unwrap();
    let ended = |line: &serde_json::Value| line["pid"] == job["pid"] && line.get("end").is_some();
    assert!(
        !stand_in.log().iter().any(ended),
        "the job was over before the service"
    );
    assert_eq!(answers.len(), 20);
    for answer in answers {
        assert_eq!(answer.expect(200).json()["list"], json!(["done"]));
    }
    assert!(!site.logged().contains("panicked"));
    assert!(
        stand_in
            .log()
            .iter()
            .all(|line| line.get("signal").is_none())
    );
    let again = site.serve();
    let result = again.with_token(&token).finished(&ticket);
    assert_eq!(result["state"], "done", "{result}");
    assert_eq!(result["list"].as_array().unwrap().len(), 40);
    assert_eq!(
        stand_in
            .starts()
            .iter()
            .filter(|start| start["start"] == "backup")
            .count(),
        1
    );
}

/// Established connections to a port of this host, as the kernel lists them.
fn connections(port: u16) -> usize {
    let listed = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{port:04X}");
    let rows = listed.lines().filter(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(&local) && words.nth(1) == Some("01")
    });
    rows.count()
}

#[test]
fn an_idle_service_stops_at_once_and_a_second_signal_cuts_short() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({"list-backups": {"sleep": 25}}));
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let mut server = site.serve();
    let began = Instant::now();
    assert_eq!(server.stop(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );

    let mut server = site.serve();
    let token = site.token("admin");
    std::thread::scope(|scope| {
        let (port, token) = (server.port, &token);
        scope.spawn(move || {
            let target = "/barman/list-backups?server_name=main";
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            drop(crate::rig::raw(port, request.as_bytes()));
        });
        until("the request is being answered", || {
            stand_in.starts().len() == 1
        });
        let began = Instant::now();
        server.terminate();
        until("new requests are refused", || {
            server.get("/auth/user").status == 503
        });
        assert_eq!(server.stop(), Some(0));
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    });
}
