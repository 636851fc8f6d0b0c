//! What Barman can do, as the service learns and tells it.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::until;
use crate::rig::{Answer, Barman, Lab, Site, StandIn, User};

/// Asks for a rebuild, again as long as the last one is too near.
#[track_caller]
fn reload(caller: &User<'_>) -> Answer {
    let since = Instant::now();
    loop {
        let answer = caller.form("/barman/reload", "");
        if answer.status != 429 {
            return answer;
        }
        assert!(answer.header("retry-after").is_some());
        assert!(since.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn names(list: &Value) -> BTreeSet<String> {
    list["list"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn without_a_catalogue_nothing_runs_and_everybody_is_told() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({"--help": {"stderr": "ImportError: psycopg2\n", "exit": 1}}));
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve_unready(&[]);
    let admin = server.login("admin");
    until("barman was asked", || stand_in.overviews() > 0);
    for target in [
        "/barman/help",
        "/barman/backup/help",
        "/barman/backup?server_name=main",
    ] {
        let answer = admin.get(target).expect(503);
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert_eq!(answer.json()["type"], "unavailable");
    }
    server.get("/healthz").expect(200);
    until("the reason is told", || {
        let ready = server.get("/readyz").expect(503).json();
        assert_eq!(ready["status"], "not ready");
        ready["reasons"].to_string().contains("psycopg2")
    });
    let answer = reload(&admin).expect(502);
    assert_eq!(answer.json()["type"], "barman unreachable");
    admin.get("/history/list").expect(200);
    assert_eq!(stand_in.starts().len(), 0);

    stand_in.control(&json!({}));
    reload(&admin).expect(200);
    server.get("/readyz").expect(200);
    admin
        .get("/barman/list-backups?server_name=main")
        .expect(200);
}

/// The overview of the newest Barman.
fn overview() -> String {
    fs::read_to_string(format!("{}/_help.txt", Lab::get().fact("HELP_DIR"))).unwrap()
}

fn page(text: &str) -> Value {
    json!({"--help": {"stdout": text}})
}

/// Lets a Barman with a good catalogue turn hostile, in one way after the other.
fn survives(hostile: &[(&str, Value)]) {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let admin = server.login("admin");
    let before = admin.get("/barman/help").expect(200).json();
    assert_eq!(names(&before).len(), 45);
    let memory = server.size("VmRSS");
    for (what, control) in hostile {
        stand_in.control(control);
        let answer = reload(&admin);
        assert_eq!(answer.status, 502, "{what}: {answer:?}");
        let body = answer.json();
        assert_eq!(body["type"], "barman unreachable", "{what}");
        let message = body["message"].as_str().unwrap();
        assert!(message.len() < 2000, "{what}: {} bytes", message.len());
        assert_eq!(
            admin.get("/barman/help").expect(200).json(),
            before,
            "{what}"
        );
        server.get("/readyz").expect(503);
    }
    let most = server.size("VmHWM").saturating_sub(memory);
    assert!(most < 64 * 1024, "{most} KiB more");
    // The last good table still works, and survives a restart.
    admin
        .form("/barman/backup", "server_name=main&async=false")
        .expect(200);
    assert_eq!(stand_in.commands(), [["backup", "--", "main"]]);
    let again = site.serve_unready(&[]);
    let token = site.token("admin");
    assert_eq!(
        again
            .with_token(&token)
            .get("/barman/help")
            .expect(200)
            .json(),
        before
    );
    stand_in.control(&json!({}));
    reload(&admin).expect(200);
    server.get("/readyz").expect(200);
    let logged = site.logged();
    assert!(!logged.contains('\u{1b}') && !logged.contains("panicked"));
}

#[test]
fn help_without_end_changes_nothing_and_costs_little() {
    let flood = |stream: &str, text: &str| json!({"flood": {"bytes": 10_000_000, "text": text, "stream": stream}});
    let start = "usage: barman [-h]\n\npositional arguments:\n  {a}\n".to_owned();
    let endless = (0..20_000).fold(start, |text, n| {
        text + "    command" + &n.to_string() + "   x\n"
    });
    survives(&[
        ("10 MB", json!({"--help": flood("stdout", "a b\n")})),
        ("10 MB of errors", json!({"--help": flood("stderr", "x")})),
        (
            "10 MB in one page",
            json!({"backup --help": flood("stdout", "{")}),
        ),
        (
            "10 MB of a version",
            json!({"--version": flood("stdout", "3.19.1 ")}),
        ),
        ("commands without end", page(&endless)),
    ]);
}

#[test]
fn help_that_lies_changes_nothing() {
    let real = overview();
    let lie = |old: &str, new: &str| {
        let text = real.replace(old, new);
        assert_ne!(text, real);
        text
    };
    let cyclic = lie("list-servers (list-server)", "list-servers (list-backups)")
        .replace("list-backups (list-backup)", "list-backups (list-servers)");
    survives(&[
        ("cyclic aliases", page(&cyclic)),
        ("no usage", page(&real.replacen("usage:", "", 1))),
        (
            "a name with dots",
            page(&lie("check-backup", "../../etc/passwd")),
        ),
        (
            "a name with dashes",
            page(&lie("check-backup", "--config=/tmp/x")),
        ),
        (
            "another page",
            json!({"backup --help": {"stdout": "usage: rm [-h] file\n"}}),
        ),
    ]);
}

#[test]
fn help_that_is_none_changes_nothing() {
    let codes = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{1b}[31mbarman\u{1b}[0m\n";
    survives(&[
        ("a terminal's codes", page(codes)),
        ("nothing", page("\n")),
        ("bytes", json!({"--help": {"stdout_hex": "fffe00ff"}})),
        ("no page", json!({"backup --help": {"exit": 2}})),
        ("no version", json!({"--version": {"stdout": "hello\n"}})),
        ("death", json!({"--help": {"kill": "KILL"}})),
    ]);
}

#[test]
fn help_that_never_comes_is_not_waited_for_for_ever() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let admin = server.login("admin");
    let before = stand_in.overviews();
    stand_in.control(&json!({"--help": {"hang": true, "ignore": ["INT", "TERM"]}}));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| reload(&admin));
        until("barman was asked", || stand_in.overviews() > before);
        // Meanwhile everything else goes on with the last good table.
        stand_in.control(&json!({}));
        admin
            .get("/barman/list-backups?server_name=main")
            .expect(200);
        admin.get("/barman/help").expect(200);
        assert!(!asking.is_finished());
        asking.join().unwrap().expect(502);
    });
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    reload(&admin).expect(200);
}

#[test]
fn reloads_come_one_after_another_with_a_pause_between() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let admin = server.login("admin");
    let before = stand_in.overviews();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| admin.form("/barman/reload", "")))
            .collect();
        asking
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    let (done, later): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!done.is_empty());
    for answer in later {
        assert_eq!(answer.status, 429, "{answer:?}");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.json()["type"], "too many");
    }
    // However many ask, barman is asked once in a pause.
    assert!(
        stand_in.overviews() - before <= 2,
        "{}",
        stand_in.overviews() - before
    );
    reload(&admin).expect(200);
}

#[test]
fn the_help_tells_enough_to_build_a_client() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    // It was built by itself, at the first start.
    let server = site.serve_unready(&[]);
    until("it is built", || server.get("/readyz").status == 200);
    assert_eq!(stand_in.overviews(), 1);
    let admin = server.login("admin");
    let all = admin.get("/barman/help").expect(200).json();
    assert_eq!(all["status_code"], 200);
    let list = &all["list"];
    for (alias, name) in [
        ("recover", "restore"),
        ("list-backup", "list-backups"),
        ("switch-xlog", "switch-wal"),
    ] {
        assert_eq!(list[alias], json!({"alias_of": name}));
        let by_alias = admin
            .get(&format!("/barman/{alias}/help"))
            .expect(200)
            .json();
        let by_name = admin
            .get(&format!("/barman/{name}/help"))
            .expect(200)
            .json();
        assert_eq!(by_alias, by_name);
        assert_eq!(by_name["list"], list[name]);
    }
    for (name, command) in list.as_object().unwrap() {
        if command.get("alias_of").is_some() {
            continue;
        }
        let required = command["required"].as_array().unwrap();
        assert_eq!(required.last().unwrap(), "token", "{name}");
        assert!(command["description"].is_string(), "{name}");
        assert!(
            command["async"].is_boolean() && command["read_only"].is_boolean(),
            "{name}"
        );
        assert!(
            command["aliases"].is_array() && command["positionals"].is_array(),
            "{name}"
        );
        for (option, facts) in command["optional"].as_object().unwrap() {
            assert!(facts["values"].is_string(), "{name} {option}");
            assert!(facts["description"].is_string(), "{name} {option}");
        }
    }
    let restore = &list["restore"];
    let wanted = json!(["server_name", "backup_id", "destination_directory", "token"]);
    assert_eq!(restore["required"], wanted);
    assert_eq!(restore["aliases"], json!(["recover"]));
    assert_eq!([&restore["async"], &restore["read_only"]], [true, false]);
    assert_eq!(restore["optional"]["get-wal"]["values"], "TRUE/FALSE");
    assert_eq!(
        restore["optional"]["combine-mode"]["values"],
        "copy/link/clone/copy-file-range"
    );
    let jobs = &restore["optional"]["jobs"];
    assert_eq!(jobs["takes"], "one");
    assert!(jobs["flags"].as_array().unwrap().contains(&json!("-j")));
    let server_name = &list["list-backups"]["positionals"][0];
    assert_eq!(server_name["name"], "server_name");
    assert_eq!(
        [&server_name["min"], &server_name["max"]],
        [&json!(1), &Value::Null]
    );
    assert_eq!(list["list-backups"]["read_only"], true);
}

#[test]
fn a_new_barman_is_learnt_without_a_restart() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let admin = server.login("admin");
    let before = names(&admin.get("/barman/help").expect(200).json());
    admin.get("/barman/frobnicate/help").expect(404);

    // As a package manager does it: new files first, then the program, under its old name.
    let help = stand_in.own_help();
    let overview = fs::read_to_string(help.join("_help.txt")).unwrap();
    fs::write(
        help.join("_help.txt"),
        overview.replace("check-backup", "frobnicate"),
    )
    .unwrap();
    let page = fs::read_to_string(help.join("check-backup.txt")).unwrap();
    fs::write(
        help.join("frobnicate.txt"),
        page.replace("check-backup", "frobnicate"),
    )
    .unwrap();
    fs::remove_file(help.join("check-backup.txt")).unwrap();
    let lab = Lab::get();
    let program = fs::read_to_string(stand_in.program()).unwrap();
    lab.write(
        &stand_in.program(),
        &format!("{program}\n# another\n"),
        0o755,
    );

    until("the new command is known", || {
        admin.get("/barman/frobnicate/help").status == 200
    });
    server.get("/readyz").expect(200);
    admin.get("/barman/check-backup/help").expect(404);
    let after = names(&admin.get("/barman/help").expect(200).json());
    let gone: Vec<&str> = before.difference(&after).map(String::as_str).collect();
    let new: Vec<&str> = after.difference(&before).map(String::as_str).collect();
    assert_eq!((gone, new), (vec!["check-backup"], vec!["frobnicate"]));
    let form = "server_name=main&backup_id=latest&async=false";
    admin.form("/barman/frobnicate", form).expect(200);
    assert_eq!(
        stand_in.commands(),
        [["frobnicate", "--", "main", "latest"]]
    );

    // One that is gone is told, the table stays; when it is back, so is all.
    let away = stand_in.folder().join("away");
    fs::rename(stand_in.program(), &away).unwrap();
    until("its absence is told", || {
        server.get("/readyz").status == 503
    });
    admin.get("/barman/frobnicate/help").expect(200);
    let answer = admin.form("/barman/backup", "server_name=nosuch");
    assert!([404, 502].contains(&answer.status), "{answer:?}");
    fs::rename(&away, stand_in.program()).unwrap();
    reload(&admin).expect(200);
    until("it is ready again", || server.get("/readyz").status == 200);
}
