//! A service that may have few descriptors, processes or little memory.

use std::net::TcpStream;

use std::time::{Duration, Instant};

use serde_json::json;

use super::bench::Bench;
use super::rig::Lab;
use super::run::{Fault, Run, Times, at_last, eventually, ms};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "descriptors",
        how: "`RLIMIT_NOFILE` of 64 and 200 connections that say nothing, while others ask",
        provoke: descriptors,
    },
    Fault {
        name: "few_descriptors",
        how: "`RLIMIT_NOFILE` lowered step by step to what is open already, with requests at each step",
        provoke: few_descriptors,
    },
    Fault {
        name: "processes",
        how: "`RLIMIT_NPROC` lowered so that nothing can be started, and raised again",
        provoke: processes,
    },
    Fault {
        name: "memory",
        how: "`RLIMIT_AS` at 256 MiB, or 64 MiB above what is taken already, with logins, backups and lists by eight clients at once",
        provoke: memory,
    },
    Fault {
        name: "memory_gone",
        how: "the same with lists of 16 MiB each, for which there is no memory: the service may end then, as a program does that gets none; it is started again",
        provoke: memory_gone,
    },
];

/// Sets a limit of a process that runs.
fn limit(bench: &Bench, what: &str, value: &str) {
    let pid = bench.server.pid().to_string();
    let done = Lab::get()
        .command("prlimit")
        .args(["--pid", &pid, &format!("--{what}={value}:")])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

const REQUESTS: &[(&str, &str)] = &[
    ("POST", "/barman/backup?server_name=main&name=@"),
    ("GET", "/barman/list-backups?server_name=main"),
    (
        "POST",
        "/barman/keep?server_name=main&backup_id=latest&target=full",
    ),
    ("GET", "/history/list?limit=5"),
    ("GET", "/auth/user"),
];

/// Sends each request once; every answer must be one of those that fit.
fn ask_all(run: &mut Run, bench: &Bench, what: &str) {
    for (method, target) in REQUESTS {
        let target = target.replace('@', &format!("n{}", run.times));
        let answer = bench.ask(method, &target);
        run.once();
        // Without a descriptor there is no connection.
        let Some(answer) = answer else { continue };
        let fits = [200, 202, 429, 502, 503, 507].contains(&answer.status);
        run.hold(fits, || {
            format!(
                "{what}: {method} {target}: {} {}",
                answer.status,
                answer.json()
            )
        });
    }
}

/// Waits until the service does everything again, and says how long that took.
fn back(bench: &Bench, name: &str) -> Duration {
    let since = Instant::now();
    let target = format!("/barman/backup?server_name=other&name={name}");
    let ticket = at_last("ticket after the fault", || {
        match bench.ask("POST", &target) {
            Some(answer) if answer.status == 202 => Ok(answer.ticket()),
            Some(answer) => Err(answer.json().to_string()),
            None => Err(format!("no answer; its log:\n{}", bench.site.logged())),
        }
    });
    let took = since.elapsed();
    assert_eq!(bench.ended(&ticket)["state"], "done");
    eventually("command after the fault", || {
        let answer = bench.ask("GET", "/barman/list-backups?server_name=main")?;
        (answer.status == 200).then_some(())
    });
    took
}

fn the_end(run: &mut Run, bench: &Bench, times: &Times) {
    bench.settled();
    bench.no_panic(run);
    run.measure(format!(
        "does everything again after {} (slowest)",
        ms(times.slowest())
    ));
}

fn descriptors(run: &mut Run) {
    let bench = Bench::new(&json!({"*": {"stdout": "said\n"}}), &[]);
    let mut times = Times::default();
    for turn in 0..run.of(10, 1) {
        limit(&bench, "nofile", "64");
        let idle: Vec<_> = (0..200)
            .map_while(|_| TcpStream::connect(("127.0.0.1", bench.server.port)).ok())
            .collect();
        run.hold(idle.len() > 100, || format!("{} connections", idle.len()));
        // Some requests find no descriptor; they wait until there is one.
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| bench.ask("GET", "/auth/user"));
            std::thread::sleep(Duration::from_millis(300));
            drop(idle);
            let answer = asking.join().unwrap();
            run.hold(answer.is_some_and(|answer| answer.status == 200), || {
                "no answer after the connections were closed".to_owned()
            });
        });
        run.once();
        times.add(back(&bench, &format!("b{turn}")));
    }
    the_end(run, &bench, &times);
}

fn few_descriptors(run: &mut Run) {
    let bench = Bench::new(
        &json!({"*": {"stdout": "said\n"}}),
        &["barman.queue = 5000"],
    );
    let mut times = Times::default();
    let open = || {
        let folder = format!("/proc/{}/fd", bench.server.pid());
        std::fs::read_dir(folder).unwrap().count()
    };
    for turn in 0..run.of(5, 1) {
        let base = open();
        for more in (0..12).rev() {
            limit(&bench, "nofile", &(base + more).to_string());
            // A connection takes three; too few for it is too few for an answer.
            if more > 2 {
                ask_all(run, &bench, &format!("{more} descriptors left"));
            }
        }
        limit(&bench, "nofile", "1024");
        times.add(back(&bench, &format!("b{turn}")));
    }
    the_end(run, &bench, &times);
}

fn processes(run: &mut Run) {
    let bench = Bench::new(
        &json!({"*": {"stdout": "said\n"}}),
        &["barman.queue = 5000"],
    );
    let mut times = Times::default();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let before = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max processes"))
        .and_then(|line| line.split_whitespace().next())
        .unwrap()
        .to_owned();
    for turn in 0..run.of(10, 2) {
        limit(&bench, "nproc", "1");
        for _ in 0..4 {
            ask_all(run, &bench, "no new process");
        }
        limit(&bench, "nproc", &before);
        times.add(back(&bench, &format!("b{turn}")));
    }
    the_end(run, &bench, &times);
}

fn memory(run: &mut Run) {
    let bench = Bench::new(
        &json!({"*": {"stdout": "said\n"}}),
        &["barman.queue = 5000"],
    );
    let mut times = Times::default();
    let size = bench.server.size("VmSize") / 1024;
    for turn in 0..run.of(5, 1) {
        limit(&bench, "as", &as_limit(&bench).to_string());
        crowd(&bench);
        ask_all(run, &bench, "little memory");
        limit(&bench, "as", "unlimited");
        times.add(back(&bench, &format!("b{turn}")));
    }
    run.measure(format!("{size} MiB of address space at first"));
    the_end(run, &bench, &times);
}

/// 256 MiB, or what a process that was built for debugging has and 64 MiB more.
fn as_limit(bench: &Bench) -> u64 {
    (256 << 20).max((bench.server.size("VmSize") << 10) + (64 << 20))
}

/// Lists and wrong logins by eight clients at once.
fn crowd(bench: &Bench) {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    drop(bench.ask("GET", "/barman/list-backups?server_name=main"));
                    let login = [("Authorization", "Basic YWRhOndyb25n")];
                    drop(bench.server.try_request("POST", "/auth/token", &login, b""));
                }
            });
        }
    });
}

fn memory_gone(run: &mut Run) {
    let flood = json!({"bytes": 16 << 20, "text": "0123456789abcde", "newline": true});
    let mut bench = Bench::new(
        &json!({"list-backups": {"flood": flood}, "backup": {"stdout": "said\n", "sleep": 0.5}}),
        &["barman.queue = 5000"],
    );
    let mut deaths = 0;
    for turn in 0..run.of(10, 1) {
        let target = format!("/barman/backup?server_name=main&name=n{turn}");
        let ticket = bench.ask("POST", &target).unwrap().ticket();
        limit(&bench, "as", &as_limit(&bench).to_string());
        crowd(&bench);
        run.once();
        if bench.ask("GET", "/healthz").is_none() {
            deaths += 1;
            bench.restart();
        } else {
            limit(&bench, "as", "unlimited");
        }
        let result = bench.ended(&ticket);
        let starts = bench.starts_of(&format!("--name=n{turn}")).len();
        let holds = starts == 1 && result["state"] == "done" && result["list"] == json!(["said"]);
        run.hold(holds, || format!("{starts} starts: {result}"));
    }
    bench.settled();
    run.measure(format!(
        "the service ended {deaths} times, its jobs did not"
    ));
}
