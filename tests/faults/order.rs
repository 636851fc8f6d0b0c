//! What must be on disk before something else is: read from the system calls of quiet operations.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::bench::Bench;
use super::run::{Fault, Run, eventually};

pub const FAULTS: &[Fault] = &[Fault {
    name: "order",
    how: "accepting a job, running and ending it, adding and changing a user, and logging out, watched with `strace`: a file is synced before it gets its name, a name before the answer leaves or the job counts as ended; then the trace without each of its syncs, in which the check must find the fault",
    provoke: order,
}];

/// A call that succeeded.
#[derive(Clone)]
pub struct Call {
    pub text: String,
}

impl Call {
    pub fn name(&self) -> &str {
        self.text.split('(').next().unwrap_or_default()
    }

    /// The paths in quotes.
    pub fn quoted(&self) -> Vec<&str> {
        self.text.split('"').skip(1).step_by(2).collect()
    }

    /// The path behind the first descriptor, or behind the result.
    pub fn descriptor(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once('<')?;
        Some(rest.split_once('>')?.0)
    }
}

/// The calls that succeeded, in the order in which they ended.
fn calls(trace: &str) -> Vec<Call> {
    let mut begun = BTreeMap::<&str, String>::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, text)) = line.split_once(' ') else {
            continue;
        };
        let text = text.trim_start();
        let whole = if let Some((start, _)) = text.split_once(" <unfinished ...>") {
            begun.insert(pid, start.to_owned());
            continue;
        } else if let Some((_, rest)) = text.split_once(" resumed>") {
            begun.remove(pid).unwrap_or_default() + rest
        } else {
            text.to_owned()
        };
        let succeeded = whole
            .rsplit_once(" = ")
            .is_some_and(|(_, result)| !result.starts_with('-'));
        if succeeded {
            calls.push(Call { text: whole });
        }
    }
    calls
}

fn parent(path: &str) -> String {
    Path::new(path).parent().unwrap().display().to_string()
}

/// What is not durable when it has to be. `watched` are the folders that count; `says` tells the call
/// by which somebody is told that the operation is done.
fn violations(calls: &[Call], watched: &[String], says: &dyn Fn(&Call) -> bool) -> Vec<String> {
    let counts = |path: &str| {
        watched
            .iter()
            .any(|folder| path.starts_with(folder.as_str()))
            && !path.contains("/capture.")
            && !path.ends_with("/general.log")
    };
    let (mut unsynced, mut names) = (BTreeSet::<String>::new(), BTreeSet::<String>::new());
    let (mut found, mut told) = (Vec::new(), false);
    for call in calls {
        match call.name() {
            "write" | "pwrite64" | "writev" => {
                if let Some(path) = call.descriptor().filter(|path| counts(path)) {
                    unsynced.insert(path.to_owned());
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(path) = call.descriptor() {
                    unsynced.remove(path);
                    names.retain(|name| parent(name) != path);
                }
            }
            "openat" if call.text.contains("O_CREAT") && call.text.contains("O_EXCL") => {
                if let [path, ..] = call.quoted().as_slice()
                    && counts(path)
                    && !path.contains("/.")
                {
                    names.insert((*path).to_owned());
                }
            }
            "mkdir" | "mkdirat" => {
                if let [path, ..] = call.quoted().as_slice()
                    && counts(path)
                {
                    names.insert((*path).to_owned());
                }
            }
            "rename" | "renameat" | "renameat2" | "link" | "linkat" => {
                if let [from, to] = call.quoted().as_slice()
                    && counts(to)
                {
                    if unsynced.contains(*from) {
                        found.push(format!("{to} got its name before its bytes were synced"));
                    }
                    names.insert((*to).to_owned());
                }
            }
            "unlink" | "unlinkat" => {
                if let [path, ..] = call.quoted().as_slice() {
                    unsynced.remove(*path);
                    names.remove(*path);
                }
            }
            _ => {}
        }
        if says(call) {
            told = true;
            for path in unsynced.iter().chain(&names) {
                found.push(format!("{path} was not synced before {}", call.text));
            }
        }
    }
    if !told {
        found.push("nobody was told".to_owned());
    }
    found
}

/// Watches processes, their threads and their children.
pub struct Strace {
    child: Child,
    output: std::path::PathBuf,
}

const TRACED: &str = "trace=openat,write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,exit_group";

impl Strace {
    pub fn attach(bench: &Bench, pids: &[u32]) -> Self {
        let output = bench.site.file("strace");
        let mut command = Command::new("strace");
        command
            .args(["-f", "-y", "-s", "200", "-e", TRACED, "-o"])
            .arg(&output);
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        for pid in pids {
            eventually("strace", || Self::follows(*pid).then_some(()));
        }
        Self { child, output }
    }

    /// Whether a process is watched, or is gone.
    pub fn follows(pid: u32) -> bool {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/status")) else {
            return true;
        };
        let mut lines = text.lines();
        let tracer = lines.find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|tracer| tracer.trim() != "0")
    }

    pub fn end(mut self) -> Vec<Call> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().unwrap();
        let trace = fs::read_to_string(&self.output).unwrap();
        fs::remove_file(&self.output).unwrap();
        calls(&trace)
    }
}

/// Holds one operation, and that the check would see each sync that were left out. Returns how many
/// it would see.
pub fn hold(
    run: &mut Run,
    what: &str,
    calls: &[Call],
    watched: &[String],
    says: &dyn Fn(&Call) -> bool,
) -> usize {
    run.once();
    for words in violations(calls, watched, says) {
        run.hold(false, || format!("{what}: {words}"));
    }
    let syncs = (0..calls.len()).filter(|at| matches!(calls[*at].name(), "fsync" | "fdatasync"));
    let seen = syncs
        .filter(|at| {
            let mut without = calls.to_vec();
            without.remove(*at);
            !violations(&without, watched, says).is_empty()
        })
        .count();
    run.hold(seen > 0, || format!("{what}: the check sees nothing"));
    seen
}

fn order(run: &mut Run) {
    if Command::new("strace").arg("-V").output().is_err() {
        run.left_out = Some("there is no strace".to_owned());
        return;
    }
    let mut bench = Bench::new(&json!({"backup": {"stdout": "said\n"}}), &[]);
    let mut seen = Vec::new();
    for turn in 0..run.of(10, 1) {
        // Accepted: all of it on disk before 202 leaves.
        let strace = Strace::attach(&bench, &[bench.server.pid()]);
        let target = format!("/barman/backup?server_name=main&name=n{turn}");
        let ticket = bench.ada().request("POST", &target, &[], b"").ticket();
        bench.ended(&ticket);
        let all = strace.end();
        let place = |call: &Call, word: &str| call.text.contains(word);
        let answers = |call: &Call| place(call, "\"HTTP/1.1 202");
        let until = all.iter().position(answers).unwrap();
        let accepting = &all[..=until];
        let folders = ["active/open", "active/20", "logs/audit.log"]
            .map(|name| bench.server.store().join(name).display().to_string());
        // The supervisor begins before the answer leaves, and its files are the next row's.
        let of_accept = |path: &str| {
            ["/job.json", "/.job.json", "/index", "/audit.log"]
                .iter()
                .any(|end| path.contains(end))
                || path.ends_with(&ticket)
        };
        let accepting: Vec<Call> = accepting
            .iter()
            .filter(|call| {
                let quoted = call.quoted();
                let path = call.descriptor().filter(|path| path.starts_with('/'));
                answers(call)
                    || matches!(call.name(), "fsync" | "fdatasync")
                    || quoted.last().copied().or(path).is_some_and(of_accept)
                    || path.is_some_and(of_accept)
            })
            .cloned()
            .collect();
        seen.push(hold(run, "accept", &accepting, &folders, &answers));
        // Ended: all of it on disk before the job no longer counts as open.
        let marker = format!("active/open/{ticket}\"");
        let closes = |call: &Call| call.name().starts_with("unlink") && place(call, &marker);
        let folder = bench.folder(&ticket).display().to_string();
        let ending: Vec<Call> = all
            .iter()
            .filter(|call| !place(call, "audit.log"))
            .cloned()
            .collect();
        seen.push(hold(run, "end", &ending, &[folder], &closes));
        // Users; the tokens of before are gone with each logout.
        let users = bench.site.file("client.conf").display().to_string();
        let strace = Strace::attach(&bench, &[bench.server.pid()]);
        let token = bench.site.token("ada");
        bench
            .server
            .with_token(&token)
            .form("/auth/logout", "")
            .expect(200);
        let all = strace.end();
        let answers = |call: &Call| place(call, "\"HTTP/1.1 200");
        let home = parent(&users) + "/client.conf";
        let hidden = parent(&users) + "/.client.conf";
        seen.push(hold(
            run,
            "logout",
            &all,
            &[home.clone(), hidden.clone()],
            &answers,
        ));
        for words in [
            vec!["user", "add", "eve", "--password-stdin", "--full"],
            vec!["user", "change", "eve", "--deny", "barman/delete"],
        ] {
            let mut child =
                super::crash::held_command(&bench.site, &words, "correct horse battery\n");
            let strace = Strace::attach(&bench, &[child.id()]);
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
            assert!(child.wait().unwrap().success());
            let all = strace.end();
            let ends = |call: &Call| call.name() == "exit_group";
            let mut all: Vec<Call> = all;
            // It has no result, and so it is not among those that succeeded.
            all.push(Call {
                text: "exit_group(0) = ?".to_owned(),
            });
            seen.push(hold(
                run,
                words[1],
                &all,
                &[home.clone(), hidden.clone()],
                &ends,
            ));
        }
        bench.token = bench.site.token("ada");
        let removed = bench.site.run(&["user", "remove", "eve"], "");
        assert!(removed.status.success(), "{removed:?}");
    }
    run.measure(format!(
        "{} violations; a trace without one of its syncs was found wrong for {} syncs",
        run.wrong.len(),
        seen.iter().sum::<usize>()
    ));
}
