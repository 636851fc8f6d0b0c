//! A process dies at a system call: at each of them, one after the other.

use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use super::bench::{Bench, ask, ends, has_word};
use super::calls;
use super::rig::{Answer, Lab, Site};
use super::run::{Fault, Run, Times, eventually, ms};
use super::trace::{Deed, Orders, Trace};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "accept",
        how: "the service is killed at each system call of accepting a backup, and started again",
        provoke: accept,
    },
    Fault {
        name: "run_job",
        how: "the supervisor or the process that becomes Barman is killed at each system call, from its start to the recorded end of the job",
        provoke: run_job,
    },
    Fault {
        name: "users",
        how: "`barmanapi user add` and `user change` are killed at each system call",
        provoke: users,
    },
    Fault {
        name: "logout",
        how: "the service is killed at each system call of `/auth/logout`, which changes the users file",
        provoke: logout,
    },
];

/// The points of a short run.
const SAMPLES: usize = 8;

/// Kills at each call: `turn` gets the place of the call (none on the quiet run), and returns what the tracer told.
/// Ends when an operation went through without a kill.
pub fn points(run: &mut Run, turn: &mut dyn FnMut(&mut Run, Option<usize>) -> Vec<String>) {
    every(run, 1, turn);
}

/// As [`points`], in the long form too at one of so many calls; the seed decides at which.
pub fn every(
    run: &mut Run,
    stride: usize,
    turn: &mut dyn FnMut(&mut Run, Option<usize>) -> Vec<String>,
) {
    if !calls::KNOWN {
        run.left_out = Some("the system calls of this kind of machine are not known here".into());
        return;
    }
    let quiet = turn(run, None).len();
    assert!(quiet > 5, "only {quiet} system calls were seen");
    let step = run.of(stride, (quiet / SAMPLES).max(1));
    let mut at = 1 + run.random.below(step);
    loop {
        let told = turn(run, Some(at));
        // Other runs may have some calls more or fewer.
        if told.is_empty() && at >= quiet {
            break;
        }
        run.once();
        at += step;
        assert!(at < 20 * quiet, "the operation does not end");
        if !run.long && at > quiet {
            break;
        }
    }
    run.measure(format!("{quiet} system calls"));
}

pub fn deed(at: Option<usize>) -> Deed {
    at.map_or(Deed::Count, Deed::Kill)
}

fn accept(run: &mut Run) {
    let mut bench = Bench::new(
        &json!({"backup": {"stdout": "said\n"}}),
        &["barman.queue = 5000"],
    );
    let mut again = Times::default();
    let mut number = 0;
    let mut handed: Vec<(String, String)> = Vec::new();
    let mut unspoken = 0;
    points(run, &mut |run, at| {
        number += 1;
        let name = format!("k{number}");
        let trace = Trace::begin(&Orders {
            pid: bench.server.pid(),
            roles: "serve",
            names: "",
            deed: deed(at),
        });
        let target = format!("/barman/backup?server_name=main&name={name}");
        let answer = bench.ask("POST", &target);
        let told = trace.end();
        if at.is_none() {
            assert_eq!(answer.as_ref().unwrap().status, 202);
        }
        if !told.is_empty() && at.is_some() {
            let since = Instant::now();
            bench.restart();
            again.add(since.elapsed());
        }
        let ticket = answer.map(Answer::ticket);
        unspoken += look_at_accepted(run, &bench, &name, ticket.as_deref(), &told);
        handed.extend(ticket.map(|ticket| (name, ticket)));
        told
    });
    bench.settled();
    bench.no_panic(run);
    // Everything once more, at the end of all crashes.
    for (name, ticket) in &handed {
        let starts = bench.starts_of(&format!("--name={name}")).len();
        let state = bench.ada().result(ticket)["state"].clone();
        run.hold(starts == 1 && state == "done", || {
            format!("{name}: {starts} starts, {state}")
        });
    }
    run.measure(format!(
        "{} tickets, {unspoken} jobs whose ticket was not handed out any more; ready again after {} (slowest {})",
        handed.len(),
        ms(again.within(0.5)),
        ms(again.slowest())
    ));
}

/// What must hold for one accepted, or not accepted, backup. Returns the jobs that nobody has a ticket of.
fn look_at_accepted(
    run: &mut Run,
    bench: &Bench,
    name: &str,
    ticket: Option<&str>,
    told: &[String],
) -> usize {
    let ada = bench.ada();
    let list = ada.get("/history/list?limit=20").expect(200).json();
    let at = told.last().cloned().unwrap_or_default();
    let argument = format!("--name={name}");
    let own = list["list"].as_array().unwrap().iter().filter(|item| {
        let ticket = item["ticket"].as_str().unwrap();
        let job = fs::read_to_string(bench.folder(ticket).join("job.json")).unwrap();
        job.contains(&format!("\"{argument}\""))
    });
    let own: Vec<&str> = own.map(|item| item["ticket"].as_str().unwrap()).collect();
    run.hold(own.len() <= 1, || {
        format!("{name}: {} jobs ({at})", own.len())
    });
    let Some(found) = own.first() else {
        run.hold(ticket.is_none(), || {
            format!("{name}: ticket {ticket:?} is gone ({at})")
        });
        let starts = bench.starts_of(&argument).len();
        run.hold(starts == 0, || format!("{name} ran without a job ({at})"));
        return 0;
    };
    run.hold(ticket.is_none_or(|ticket| ticket == *found), || {
        format!("{name}: {ticket:?} is {found} now ({at})")
    });
    let result = bench.ended(found);
    let starts = bench.starts_of(&argument).len();
    let true_state = match result["state"].as_str().unwrap() {
        "done" => starts == 1 && result["list"] == json!(["said"]),
        "lost" => {
            starts == 0 && ticket.is_none() && result["detail"] == "Barman had not been started"
        }
        _ => false,
    };
    run.hold(true_state, || {
        format!("{name}: {starts} starts and {result} ({at})")
    });
    usize::from(ticket.is_none())
}

fn run_job(run: &mut Run) {
    let bench = Bench::new(
        &json!({"backup": {"stdout": "one\ntwo\n", "stderr": "three\n", "exit": 3}}),
        &[],
    );
    let mut number = 0;
    let mut states = std::collections::BTreeMap::<String, usize>::new();
    points(run, &mut |run, at| {
        number += 1;
        let name = format!("k{number}");
        let trace = Trace::begin(&Orders {
            pid: bench.server.pid(),
            roles: "run-job,launch,forked",
            names: "",
            deed: deed(at),
        });
        let target = format!("/barman/backup?server_name=main&name={name}");
        let answer = bench.ask("POST", &target).unwrap();
        let ticket = match answer.status {
            202 => answer.ticket(),
            // The supervisor died before it could take over: the ticket stands in the message.
            502 => {
                let message = answer.json()["message"].as_str().unwrap().to_owned();
                message.rsplit(' ').next().unwrap().to_owned()
            }
            other => panic!("{name}: {other}: {}", answer.json()),
        };
        let result = bench.ended(&ticket);
        let told = trace.end();
        look_at_ended(run, &bench, &name, &result, &told);
        if at.is_some() && !told.is_empty() {
            let state = result["state"].as_str().unwrap().to_owned();
            *states.entry(state).or_default() += 1;
        }
        told
    });
    bench.settled();
    bench.no_panic(run);
    let states: Vec<_> = states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    run.measure(format!("told as {}", states.join(", ")));
}

/// What must hold for a job whose supervisor or starter may have been killed.
fn look_at_ended(run: &mut Run, bench: &Bench, name: &str, result: &Value, told: &[String]) {
    let at = told.last().cloned().unwrap_or_default();
    let argument = format!("--name={name}");
    let log = bench.stand_in.log();
    let starts: Vec<&Value> = log
        .iter()
        .filter(|line| line.get("start").is_some() && has_word(line, &argument))
        .collect();
    run.hold(starts.len() <= 1, || {
        format!("{name}: {} starts ({at})", starts.len())
    });
    let ended = starts
        .first()
        .and_then(|start| ends(&log).get(&start["pid"].as_u64().unwrap()).copied());
    let said = json!(["one", "two"]);
    let holds = match result["state"].as_str().unwrap() {
        // Its own end, with its own words.
        "failed" if result["exit_code"] == 3 => {
            ended == Some(3) && result["list"] == said && result["message"] == "three\n"
        }
        // It could not be started.
        "failed" if result["reason"] == "could_not_start" => starts.is_empty(),
        // Killed between its last word and the first step of Barman.
        "failed" => starts.is_empty() && result["signal"] == 9 && at.starts_with("launch "),
        // Nobody saw the end; it has come, and what was said is kept.
        "lost" => {
            result["barman_still_runs"] == false
                && (starts.is_empty() || result["list"] == said)
                && (ended.is_some() || starts.is_empty())
        }
        _ => false,
    };
    run.hold(holds, || {
        format!("{name}: {starts:?} ended {ended:?} and {result} ({at})")
    });
    // The lock is free, and the end stays what it is.
    let ticket = result["ticket"].as_str().unwrap();
    eventually(&format!("free lock of {name} ({at})"), || {
        // The supervisor ends a moment after the job counts as ended.
        let folder = fs::File::open(bench.folder(ticket)).unwrap();
        folder.try_lock().ok()
    });
    run.hold(bench.ada().result(ticket) == *result, || {
        format!("{name}: another result later ({at})")
    });
}

/// A command of ours that waits until it is traced.
pub fn held_command(site: &Site, arguments: &[&str], input: &str) -> Child {
    let lab = Lab::get();
    let mut command = lab.command("/bin/sh");
    let mut child = command
        .args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""])
        .arg(&lab.binary)
        .args(arguments)
        .arg("--config")
        .arg(site.file("barmanapi.conf"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    eventually("stopped shell", || {
        let text = fs::read_to_string(&stat).ok()?;
        text.contains(") T ").then_some(())
    });
    child
}

fn users(run: &mut Run) {
    let bench = Bench::new(&json!({}), &[]);
    let file = bench.site.file("client.conf");
    let (mut old, mut new, mut number) = (0, 0, 0);
    for change in [false, true] {
        bench.site.user("bob", &["--full"]);
        points(run, &mut |run, at| {
            number += 1;
            let name = format!("eve{number}");
            let before = fs::read_to_string(&file).unwrap();
            let (arguments, input) = if change {
                (vec!["user", "change", "bob", "--deny", &name], "")
            } else {
                let words = vec!["user", "add", &name, "--password-stdin", "--full"];
                (words, "correct horse battery\n")
            };
            let mut child = held_command(&bench.site, &arguments, input);
            let trace = Trace::begin(&Orders {
                pid: child.id(),
                roles: "user",
                names: "",
                deed: deed(at),
            });
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
            let status = child.wait().unwrap();
            let told = trace.end();
            let killed = at.is_some() && !told.is_empty();
            assert!(killed || status.success(), "{status:?}");
            let after = fs::read_to_string(&file).unwrap();
            let at = told.last().cloned().unwrap_or_default();
            let changed = after != before;
            let whole = !changed
                || if change {
                    let line = format!("deny = ['{name}']");
                    after.matches(&line).count() == 1
                } else {
                    after.starts_with(before.trim_end()) && after.matches(&name).count() == 1
                };
            run.hold(whole, || {
                format!("{name}: a torn users file ({at}): {after}")
            });
            // Whoever had a token before may still come in; the new one can when it is there.
            let known = ask(&bench.server, &bench.token, "GET", "/auth/user").unwrap();
            run.hold(known.status == 200, || format!("{name}: {}", known.status));
            if !change && (changed || run.times % 16 == 0) {
                let login = bench
                    .server
                    .basic("/auth/token", &name, "correct horse battery");
                let wanted = if changed { 200 } else { 401 };
                run.hold(login.status == wanted, || {
                    format!("{name}: {} instead of {wanted} ({at})", login.status)
                });
            }
            if changed {
                new += 1;
            } else {
                old += 1;
            }
            told
        });
        // The lock is free and nothing stands in the way.
        bench.site.user(&format!("last{change}"), &["--full"]);
        bench.site.run(&["user", "remove", "bob"], "");
    }
    bench.no_panic(run);
    run.measure(format!("{old} times the old file, {new} times the new one"));
}

fn logout(run: &mut Run) {
    let mut bench = Bench::new(&json!({}), &[]);
    let (mut old, mut new) = (0, 0);
    points(run, &mut |run, at| {
        let token = bench.site.token("ada");
        let file = bench.site.file("client.conf");
        let before = fs::read_to_string(&file).unwrap();
        let trace = Trace::begin(&Orders {
            pid: bench.server.pid(),
            roles: "serve",
            names: "",
            deed: deed(at),
        });
        let answer = ask(&bench.server, &token, "POST", "/auth/logout");
        let told = trace.end();
        if at.is_some() && !told.is_empty() {
            bench.restart();
        }
        let at = told.last().cloned().unwrap_or_default();
        let after = fs::read_to_string(&file).unwrap();
        let dead = ask(&bench.server, &token, "GET", "/auth/user")
            .unwrap()
            .status
            == 401;
        run.hold(dead == (before != after), || {
            format!("the token says {dead} and the file something else ({at})")
        });
        run.hold(dead || answer.is_none(), || {
            format!("answered {answer:?} and not logged out ({at})")
        });
        let lines = (before.lines().count(), after.lines().count());
        run.hold(lines.0 == lines.1, || {
            format!("a torn users file ({at}): {after}")
        });
        if dead {
            new += 1;
        } else {
            old += 1;
        }
        told
    });
    bench.no_panic(run);
    run.measure(format!(
        "{old} times logged in as before, {new} times logged out"
    ));
}
