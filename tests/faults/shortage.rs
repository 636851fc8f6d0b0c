//! System calls that fail, and limits that are reached.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::libc;
use serde_json::{Value, json};

use super::bench::{Bench, ends, has_word};
use super::calls;
use super::requests::{REQUESTS, bench, prepare};
use super::rig::Answer;
use super::run::{Fault, Run, Times, eventually, ms};
use super::trace::{Deed, Orders, Trace};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "service",
        how: "a system call of the service fails during one request, as it does without room, descriptors, memory or processes, on a broken disk or a read-only one",
        provoke: in_service,
    },
    Fault {
        name: "job",
        how: "the same in the processes of one job",
        provoke: in_job,
    },
    Fault {
        name: "quota",
        how: "a quota is reached at each call that takes room, in each request that changes a user or a configuration",
        provoke: over_quota,
    },
];

/// The calls that are made to fail.
const NAMES: &[&str] = &[
    "openat",
    "write",
    "fsync",
    "fdatasync",
    "fallocate",
    "rename",
    "linkat",
    "link",
    "mkdir",
    "unlink",
    "unlinkat",
    "rmdir",
    "fchmod",
    "flistxattr",
    "fgetxattr",
    "fsetxattr",
    "ftruncate",
    "read",
    "pread64",
    "getdents64",
    "statx",
    "clone",
    "clone3",
    "vfork",
    "pipe2",
    "socketpair",
    "accept4",
    "pidfd_open",
    "execve",
    "epoll_ctl",
    "dup",
];

/// One call of one request that shall fail.
struct Failure {
    request: usize,
    name: String,
    at: usize,
    error: (&'static str, i32),
}

/// Every call that the requests make, with every error that it may have.
fn all_failures(quiet: &[Vec<String>]) -> Vec<Failure> {
    let mut all = Vec::new();
    for (request, told) in quiet.iter().enumerate() {
        let mut counts = BTreeMap::<&str, usize>::new();
        for line in told {
            let name = line.split(' ').next_back().unwrap();
            let at = counts.entry(name).or_default();
            *at += 1;
            for error in calls::errors(name) {
                all.push(Failure {
                    request,
                    name: name.to_owned(),
                    at: *at,
                    error: *error,
                });
            }
        }
    }
    all
}

/// As many as there is time for, in an order that the seed decides.
fn chosen(run: &mut Run, mut all: Vec<Failure>, count: usize) -> Vec<Failure> {
    for place in (1..all.len()).rev() {
        all.swap(place, run.random.below(place + 1));
    }
    all.truncate(count);
    all
}

fn trace(bench: &Bench, roles: &str, failure: Option<&Failure>) -> Trace {
    let all = NAMES.join(",");
    Trace::begin(&Orders {
        pid: bench.server.pid(),
        roles,
        names: failure.map_or(&all, |failure| &failure.name),
        deed: failure.map_or(Deed::Count, |failure| {
            Deed::Fail(failure.at, failure.error.1)
        }),
    })
}

fn in_service(run: &mut Run) {
    if !calls::KNOWN {
        run.left_out = Some("the system calls of this kind of machine are not known here".into());
        return;
    }
    let bench = bench();
    let first = bench
        .ada()
        .get("/barman/backup?server_name=main&name=begin")
        .ticket();
    bench.ada().closed(&first);
    let quiet: Vec<Vec<String>> = (0..REQUESTS.len())
        .map(|request| {
            let word = format!("20250101T0000{request:02}");
            let about = prepare(&bench, request, &word, &first);
            let trace = trace(&bench, "serve", None);
            let answer = about.send(&bench).unwrap();
            assert!(answer.status < 300, "{answer:?}");
            let told = trace.end();
            about.look_at(run, &bench, answer.status, "quiet");
            told
        })
        .collect();
    let help = bench.ada().get("/config/barman/help").expect(200).json();
    let all = all_failures(&quiet);
    run.measure(format!(
        "{} kinds of request, {} pairs of a call and an error",
        REQUESTS.len(),
        all.len()
    ));
    // Reading the help anew makes as many calls as all others together.
    let (reload, all): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|failure| REQUESTS[failure.request].1 == "/barman/reload");
    // So does a change of Barman's configuration, which is tried on a copy first.
    let (config, all): (Vec<_>, Vec<_>) = all.into_iter().partition(|failure| {
        let target = REQUESTS[failure.request].1;
        target.starts_with("/config/barman/change") || target.starts_with("/config/barman/roll")
    });
    let mut failures = chosen(run, all, run.of(600, 70));
    failures.extend(chosen(run, config, run.of(200, 30)));
    failures.extend(chosen(run, reload, run.of(40, 0)));
    let mut answers = BTreeMap::<u16, usize>::new();
    let mut back = Times::default();
    let mut changes = 0;
    for (number, failure) in failures.iter().enumerate() {
        let word = format!("2026{:02}01T{:06}", 1 + number / 1000, number % 1000);
        if REQUESTS[failure.request].1 == "/barman/reload" {
            // Two of them have to be some seconds apart.
            std::thread::sleep(Duration::from_millis(2100));
        }
        let about = prepare(&bench, failure.request, &word, &first);
        let trace = trace(&bench, "serve", Some(failure));
        let answer = about.send(&bench);
        let told = trace.end();
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        run.once();
        *answers.entry(status).or_default() += 1;
        let label = || {
            let (method, target) = REQUESTS[failure.request];
            format!(
                "{method} {target}, {} {} {}: {status} {}",
                failure.name,
                failure.at,
                failure.error.0,
                answer.as_ref().map_or_else(String::new, |answer| {
                    String::from_utf8_lossy(&answer.body).into_owned()
                })
            )
        };
        let since = Instant::now();
        eventually(&format!("answer after {}", label()), || {
            bench
                .ask("GET", "/auth/user")
                .filter(|answer| answer.status == 200)
        });
        back.add(since.elapsed());
        // A connection that can't be registered is closed; nothing was read of it.
        let closed = status == 0 && failure.name == "epoll_ctl";
        let fits = closed || [200, 202, 429, 502, 503, 507].contains(&status);
        run.hold(fits, label);
        if status == 503
            && let Some(answer) = &answer
        {
            run.hold(answer.header("retry-after").is_some(), || {
                format!("no Retry-After: {}", label())
            });
        }
        changes += usize::from(about.look_at(run, &bench, status, &label()));
        if told.is_empty() || ![0, 2].contains(&failure.request) {
            continue;
        }
        let ticket = answer.as_ref().and_then(ticket_in);
        look_at_job(run, &bench, &word, ticket.as_deref(), status, &label());
    }
    bench.settled();
    bench.no_panic(run);
    let told = bench.ada().get("/config/barman/help").expect(200).json();
    run.hold(told == help, || "another help than before".to_owned());
    let list = bench.ada().get("/auth/user/list").expect(200).json();
    run.hold(list.get("faults").is_none(), || {
        format!("a torn users file: {list}")
    });
    let answers: Vec<_> = answers
        .iter()
        .map(|(status, count)| format!("{count} × {status}"))
        .collect();
    run.measure(format!(
        "answers: {}; {changes} changes, whose files and revisions were as answered; answers again after {} (slowest {})",
        answers.join(", "),
        ms(back.within(0.5)),
        ms(back.slowest())
    ));
}

fn over_quota(run: &mut Run) {
    if !calls::KNOWN {
        run.left_out = Some("the system calls of this kind of machine are not known here".into());
        return;
    }
    let bench = bench();
    let mut quiet = vec![Vec::new(); REQUESTS.len()];
    for (request, (_, target)) in REQUESTS.iter().enumerate() {
        let about = prepare(&bench, request, &format!("20250101T0000{request:02}"), "");
        let trace = trace(&bench, "serve", None);
        if about.changes() {
            about.send(&bench).unwrap().expect(200);
        }
        quiet[request] = trace.end();
        run.hold(about.changes() != quiet[request].is_empty(), || {
            format!("{target} makes {} calls", quiet[request].len())
        });
    }
    let mut answers = BTreeMap::<u16, usize>::new();
    let failures = all_failures(&quiet);
    let reached = failures
        .iter()
        .filter(|failure| failure.error.1 == libc::EDQUOT);
    for (number, failure) in reached.enumerate() {
        let word = format!("20260101T{number:06}");
        let about = prepare(&bench, failure.request, &word, "");
        let trace = trace(&bench, "serve", Some(failure));
        let answer = about.send(&bench).unwrap();
        trace.end();
        run.once();
        *answers.entry(answer.status).or_default() += 1;
        let label = format!(
            "{}, {} {}: {answer:?}",
            REQUESTS[failure.request].1, failure.name, failure.at
        );
        // What is opened to be read or started takes no room; that fails as it does on other grounds.
        let fits = [200, 503, 507].contains(&answer.status)
            || failure.name == "openat" && answer.status == 502;
        run.hold(fits, || label.clone());
        about.look_at(run, &bench, answer.status, &label);
    }
    bench.no_panic(run);
    let answers: Vec<_> = answers
        .iter()
        .map(|(status, count)| format!("{count} × {status}"))
        .collect();
    run.measure(format!("answers: {}", answers.join(", ")));
}

fn ticket_in(answer: &Answer) -> Option<String> {
    let body = answer.json();
    let ticket = if answer.status == 202 {
        &body["list"]["ticket"]
    } else {
        &body["ticket"]
    };
    ticket.as_str().map(str::to_owned)
}

/// What was answered to a command, and what became of it.
fn look_at_job(
    run: &mut Run,
    bench: &Bench,
    word: &str,
    ticket: Option<&str>,
    status: u16,
    label: &str,
) {
    bench.settled();
    let list = bench.ada().get("/history/list?limit=5").expect(200).json();
    let own: Vec<Value> = list["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["ticket"].as_str().unwrap())
        .filter(|ticket| {
            let job = std::fs::read_to_string(bench.folder(ticket).join("job.json")).unwrap();
            job.contains(word)
        })
        .map(|ticket| bench.ada().result(ticket))
        .collect();
    let log = bench.stand_in.log();
    let starts = log
        .iter()
        .filter(|line| line.get("start").is_some())
        .filter(|line| has_word(line, word) || has_word(line, &format!("--name=n{word}")))
        .count();
    let accepted = status == 202 || status == 200;
    let told: Vec<_> = own
        .iter()
        .map(|job| job["state"].as_str().unwrap())
        .collect();
    let holds = match told.as_slice() {
        ["done"] => starts == 1 && ticket.is_none_or(|ticket| own[0]["ticket"] == ticket),
        [] | ["failed" | "lost"] => starts == 0 && !accepted,
        _ => false,
    };
    run.hold(holds, || format!("{starts} starts, {own:?}: {label}"));
    // Whoever is told that it was not done must not find it done.
    run.hold(accepted || starts == 0, || {
        format!("refused and done all the same, {own:?}: {label}")
    });
}

fn in_job(run: &mut Run) {
    if !calls::KNOWN {
        run.left_out = Some("the system calls of this kind of machine are not known here".into());
        return;
    }
    let said = json!({"stdout": "one\ntwo\n", "stderr": "three\n", "exit": 3});
    let bench = Bench::new(&json!({"backup": said}), &["barman.queue = 5000"]);
    let roles = "run-job,launch,forked";
    let submit = |word: &str, failure: Option<&Failure>| {
        let trace = trace(&bench, roles, failure);
        let target = format!("/barman/backup?server_name=main&name={word}");
        let answer = bench.ask("POST", &target).unwrap();
        let ticket = match answer.status {
            202 => answer.ticket(),
            502 | 503 => {
                let message = answer.json()["message"].as_str().unwrap().to_owned();
                message.rsplit(' ').next().unwrap().to_owned()
            }
            _ => panic!("{:?}", answer.json()),
        };
        let result = bench.ended(&ticket);
        (result, trace.end())
    };
    let (_, told) = submit("quiet", None);
    let all = all_failures(&[told]);
    run.measure(format!("{} pairs of a call and an error", all.len()));
    let failures = chosen(run, all, run.of(400, 30));
    let mut states = BTreeMap::<String, usize>::new();
    for (number, failure) in failures.iter().enumerate() {
        let word = format!("n{number}");
        let (result, told) = submit(&word, Some(failure));
        run.once();
        let label = || {
            format!(
                "{} {} {} ({told:?}): {result}",
                failure.name, failure.at, failure.error.0
            )
        };
        let log = bench.stand_in.log();
        let argument = format!("--name={word}");
        let starts: Vec<&Value> = log
            .iter()
            .filter(|line| line.get("start").is_some() && has_word(line, &argument))
            .collect();
        let ended = starts
            .first()
            .and_then(|start| ends(&log).get(&start["pid"].as_u64().unwrap()).copied());
        let whole = result["list"] == json!(["one", "two"]) && result["message"] == "three\n";
        let state = result["state"].as_str().unwrap();
        let holds = match state {
            "failed" if result["exit_code"] == 3 => {
                starts.len() == 1 && ended == Some(3) && (whole || result["truncated"] == true)
            }
            "failed" => starts.is_empty() && result["reason"] == "could_not_start",
            "cancelled" => starts.is_empty() && result["reason"] == "not_permitted",
            "lost" => starts.is_empty() || ended.is_some(),
            _ => false,
        };
        run.hold(holds, || format!("{} starts: {}", starts.len(), label()));
        *states.entry(state.to_owned()).or_default() += 1;
    }
    bench.settled();
    bench.no_panic(run);
    let states: Vec<_> = states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    run.measure(format!("told as {}", states.join(", ")));
}
