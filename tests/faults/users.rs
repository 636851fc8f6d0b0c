//! The service dies while it changes users over HTTP: at each system call, one after the other.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::bench::{Bench, ask};
use super::config::{facts, names};
use super::crash::{deed, points};
use super::rig::Lab;
use super::run::{Fault, Run};
use super::trace::{Orders, Trace};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "user_add",
        how: "the service is killed at each system call of `/auth/user/add`, and started again",
        provoke: added,
    },
    Fault {
        name: "user_change",
        how: "the same of `/auth/user/change`, which changes rights",
        provoke: changed,
    },
    Fault {
        name: "user_remove",
        how: "the same of `/auth/user/remove`",
        provoke: removed,
    },
];

fn added(run: &mut Run) {
    provoke(run, "add");
}

fn changed(run: &mut Run) {
    provoke(run, "change");
}

fn removed(run: &mut Run) {
    provoke(run, "remove");
}

/// The section of a user, as lines; none when there is none.
fn section<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let header = format!("[{name}]");
    let lines = text.lines().skip_while(|line| *line != header);
    let mut lines = lines
        .enumerate()
        .take_while(|(at, line)| *at == 0 || !line.starts_with('['));
    let own: Vec<&str> = lines.by_ref().map(|(_, line)| line).collect();
    own.into_iter().filter(|line| !line.is_empty()).collect()
}

/// All but the section of a user.
fn rest<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let own = section(text, name);
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !own.contains(line));
    lines.collect()
}

/// Whether a section is one that a request of this task has written.
fn is_whole(section: &[&str], task: &str, number: usize) -> bool {
    if task == "remove" {
        return section.is_empty();
    }
    let deny = format!("deny = ['barman/n{number}']");
    let keys = [
        "password = $argon2id$",
        "access = ['history']",
        &deny,
        "stamp = ",
    ];
    section.len() == 5
        && keys.iter().all(|key| {
            let lines = section.iter().filter(|line| line.starts_with(key));
            lines.count() == 1
        })
}

fn provoke(run: &mut Run, task: &str) {
    let mut bench = Bench::new(&json!({}), &[]);
    let file = bench.site.file("client.conf");
    let path = file.to_str().unwrap();
    fs::rename(&file, bench.site.file("users.ini")).unwrap();
    symlink("users.ini", &file).unwrap();
    Lab::as_root(&["setfacl", "-m", "u:daemon:r,m::r", path]);
    // What the folder gives to new files must not widen what the old one allowed.
    let folder = bench.site.file("");
    let default = ["setfacl", "-d", "-m", "u:nobody:rw"];
    Lab::as_root(&[&default[..], &[folder.to_str().unwrap()]].concat());
    bench
        .site
        .user("eve", &["--access", "history", "--deny", "barman/n"]);
    let read = || fs::read_to_string(&file).unwrap();
    let with = read();
    let without: String = {
        bench.site.run(&["user", "remove", "eve"], "");
        read()
    };
    let (mut old, mut new, mut number) = (0, 0, 0);
    points(run, &mut |run, at| {
        number += 1;
        let before = if task == "add" { &without } else { &with };
        Lab::get().write(&file, before, 0o640);
        let as_made = facts(&file);
        let token = (task != "add").then(|| bench.site.token("eve"));
        let trace = Trace::begin(&Orders {
            pid: bench.server.pid(),
            roles: "serve",
            names: "",
            deed: deed(at),
        });
        let target = match task {
            "add" => format!(
                "/auth/user/add?username=eve&password=swordfish&access=history&deny=barman/n{number}"
            ),
            "change" => format!("/auth/user/change?username=eve&deny=barman/n{number}"),
            _ => "/auth/user/remove?username=eve".to_owned(),
        };
        let answer = bench.ask("GET", &target);
        let told = trace.end();
        if at.is_none() {
            assert_eq!(answer.as_ref().unwrap().status, 200);
        }
        if at.is_some() && !told.is_empty() {
            bench.restart();
        }
        let at = told.last().cloned().unwrap_or_default();
        let after = read();
        let is_old = after == *before;
        let is_new = is_whole(&section(&after, "eve"), task, number)
            && rest(&after, "eve") == rest(before, "eve");
        let now = facts(&file);
        run.hold(now == as_made, || format!("{as_made} is {now} ({at})"));
        run.hold(is_old != is_new, || {
            format!("a torn users file ({at}): {after}")
        });
        if let Some(answer) = answer {
            run.hold(answer.status != 200 || is_new, || {
                format!("answered and not made ({at})")
            });
        }
        // Whoever was there comes in still; the one who is changed as the file says.
        let known = bench.ask("GET", "/auth/user").unwrap().status;
        run.hold(known == 200, || format!("ada was told {known} ({at})"));
        if let Some(token) = token {
            let status = ask(&bench.server, &token, "GET", "/auth/user")
                .unwrap()
                .status;
            let lives = status != 401;
            run.hold(lives == is_old, || {
                format!("the token of before: {status} ({at})")
            });
        } else if is_new && number % 8 == 0 {
            let login = bench.server.basic("/auth/token", "eve", "swordfish").status;
            run.hold(login == 200, || {
                format!("the new user was told {login} ({at})")
            });
        }
        old += usize::from(is_old);
        new += usize::from(is_new);
        told
    });
    // The lock is free, and what the last crash left beside the file goes with the next change.
    let target = "/auth/user/change?username=ada&deny=[]";
    bench.ask("GET", target).unwrap().expect(200);
    let left = names(&bench.site.file(""));
    run.hold(left.iter().all(|name| !name.starts_with('.')), || {
        format!("left behind: {left:?}")
    });
    bench.no_panic(run);
    run.measure(format!("{old} times the old file, {new} times the new one"));
}
