//! What must be on disk before something else is, where configurations and users are changed.

use std::process::Command;

use serde_json::json;

use super::bench::Bench;
use super::config::{self, Place, Way};
use super::order::{Call, Strace, hold};
use super::own_config;
use super::rig::{Process, Sshd, processes};
use super::run::{Fault, Run, eventually};

pub const FAULTS: &[Fault] = &[Fault {
    name: "order_of_changes",
    how: "changes of both configurations and their rollbacks, and of users over HTTP, replaced and in place, and over SSH with the processes of the Barman host among those that are watched with `strace`: a file is synced before it gets its name, all of it before the answer leaves, and the line in `audit.log` and the revision before a file is touched; then the trace without each of its syncs",
    provoke: order,
}];

/// What is watched.
struct Watched {
    /// The files that are changed: what their paths, and those of what is renamed to them, begin with.
    files: Vec<String>,
    /// What has to be on disk before that: the audit log and the journal.
    first: Vec<String>,
}

/// The sshd that listens and those that serve a connection.
fn of_host(sshd: &Sshd) -> Vec<u32> {
    let config = sshd.file("sshd_config").display().to_string();
    let listens = |process: &Process| process.words.iter().any(|word| word.contains(&config));
    let mut listener = processes().into_iter().filter(listens);
    let listener = listener.next().unwrap().pid;
    let pids = [vec![listener], sshd.connections()].concat();
    pids.into_iter().map(i32::cast_unsigned).collect()
}

/// One request, and what of it is wrong. Returns how many syncs are found missing when they are.
fn watch(
    run: &mut Run,
    bench: &Bench,
    sshd: Option<&Sshd>,
    watched: &Watched,
    target: &str,
) -> (usize, String) {
    let pids = || {
        let there = sshd.map(of_host).unwrap_or_default();
        [vec![bench.server.pid()], there].concat()
    };
    let strace = eventually("strace of all", || {
        let strace = Strace::attach(bench, &pids());
        // A connection may have come meanwhile.
        if pids().into_iter().all(Strace::follows) {
            return Some(strace);
        }
        strace.end();
        None
    });
    let answer = bench.ask("POST", target).unwrap().expect(200).json();
    let all = strace.end();
    let answers = |call: &Call| call.text.contains("\"HTTP/1.1 200");
    let both = [watched.files.as_slice(), &watched.first].concat();
    let mut seen = hold(run, target, &all, &both, &answers);
    // The first call that touches a file which is there already.
    let is_file = |path: &str| {
        watched
            .files
            .iter()
            .any(|file| path.starts_with(file.as_str()))
    };
    let place = all.iter().position(|call| match call.name() {
        "rename" | "renameat" | "renameat2" | "link" | "linkat" => {
            call.quoted().get(1).is_some_and(|to| is_file(to))
        }
        "write" | "pwrite64" | "writev" => {
            let path = call.descriptor().unwrap_or_default();
            is_file(path) && !path.contains("/.")
        }
        _ => false,
    });
    let Some(place) = place else {
        run.hold(false, || format!("{target}: no file was touched"));
        return (seen, String::new());
    };
    let before = &all[..=place];
    for first in &watched.first {
        // A mark is made when all is done, a record when nothing is.
        let is_there = before.iter().any(|call| {
            let writes = matches!(call.name(), "write" | "pwrite64" | "writev");
            writes
                && call
                    .descriptor()
                    .is_some_and(|path| path.starts_with(first.as_str()))
        });
        run.hold(is_there, || {
            format!("{target}: {first} was not written before a file was touched")
        });
    }
    let words = before.last().unwrap().text.clone();
    let begins = |call: &Call| call.text == words;
    seen += hold(run, target, before, &watched.first, &begins);
    let revision = answer["revision"].as_str().unwrap_or_default();
    (seen, revision.to_owned())
}

fn of_journal(bench: &Bench) -> Vec<String> {
    let store = bench.server.store();
    ["logs/audit.log", "config/revisions"]
        .map(|name| store.join(name).display().to_string())
        .into()
}

fn order(run: &mut Run) {
    if Command::new("strace").arg("-V").output().is_err() {
        run.left_out = Some("there is no strace".to_owned());
        return;
    }
    let mut seen = 0;
    for turn in 0..run.of(3, 1) {
        for (way, place) in [
            (Way::Replaced, Place::Here),
            (Way::InPlace, Place::Here),
            (Way::Replaced, Place::There),
            (Way::InPlace, Place::There),
        ] {
            seen += barman(run, turn, way, place);
        }
        for way in [Way::Replaced, Way::InPlace] {
            seen += own(run, turn, way);
        }
        seen += users(run, turn);
    }
    run.measure(format!(
        "{} violations; a trace without one of its syncs was found wrong for {seen} syncs",
        run.wrong.len(),
    ));
}

fn barman(run: &mut Run, turn: usize, way: Way, place: Place) -> usize {
    let desk = config::Desk::new(way, place);
    let folder = desk.folder.display().to_string();
    let watched = Watched {
        files: ["barman.conf", "barman.d/", "linked/", ".barmanapi"]
            .map(|name| format!("{folder}/{name}"))
            .into(),
        first: of_journal(&desk.bench),
    };
    let (bench, sshd) = (&desk.bench, desk.sshd.as_ref());
    let file = match way {
        Way::Replaced => "&new.description=new&create=true",
        Way::InPlace => "",
    };
    let target = format!(
        "/config/barman/change?barman.check_timeout=9{turn}&main.description=n{turn}{file}"
    );
    let (changed, revision) = watch(run, bench, sshd, &watched, &target);
    let target = format!("/config/barman/rollback?revision={revision}");
    let (back, _) = watch(run, bench, sshd, &watched, &target);
    bench.no_panic(run);
    changed + back
}

fn own(run: &mut Run, turn: usize, way: Way) -> usize {
    let desk = own_config::Desk::new(way);
    let folder = desk.file.parent().unwrap().display().to_string();
    let watched = Watched {
        files: vec![
            desk.file.display().to_string(),
            format!("{folder}/.barmanapi"),
        ],
        first: of_journal(&desk.bench),
    };
    let bench = &desk.bench;
    let target = format!("/config/barmanapi/change?barman.queue=9{turn}&log.backup_count=5{turn}");
    let (changed, revision) = watch(run, bench, None, &watched, &target);
    let target = format!("/config/barmanapi/rollback?revision={revision}");
    let (back, _) = watch(run, bench, None, &watched, &target);
    bench.no_panic(run);
    changed + back
}

fn users(run: &mut Run, turn: usize) -> usize {
    let bench = Bench::new(&json!({}), &[]);
    let file = |name: &str| bench.site.file(name).display().to_string();
    let watched = Watched {
        files: vec![file("client.conf"), file(".client.conf")],
        first: vec![
            bench
                .server
                .store()
                .join("logs/audit.log")
                .display()
                .to_string(),
        ],
    };
    let targets = [
        format!("/auth/user/add?username=eve&password=swordfish{turn}&access=history"),
        "/auth/user/change?username=eve&deny=barman/delete".to_owned(),
        "/auth/user/remove?username=eve".to_owned(),
    ];
    let seen = targets.map(|target| watch(run, &bench, None, &watched, &target).0);
    bench.no_panic(run);
    seen.iter().sum()
}
