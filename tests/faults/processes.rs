//! Processes of a job that die, are stopped, hang, flood, or leave somebody behind.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::bench::Bench;
use super::run::{Fault, Run, Times, eventually, ms};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "supervisor_killed",
        how: "SIGKILL to a supervisor at a random moment while Barman runs; the ticket says `lost`, and whether Barman still runs is compared with `/proc`",
        provoke: supervisor_killed,
    },
    Fault {
        name: "barman_killed",
        how: "SIGKILL to Barman at a random moment",
        provoke: barman_killed,
    },
    Fault {
        name: "stopped",
        how: "SIGSTOP to the supervisor or to Barman for 5 s (1 s in short runs), then SIGCONT",
        provoke: stopped,
    },
    Fault {
        name: "hanging",
        how: "a Barman that never ends and ignores SIGINT and SIGTERM: cancelled, it is gone after the grace of 10 s",
        provoke: hanging,
    },
    Fault {
        name: "flooding",
        how: "a Barman that prints without end (5 GiB, 256 MiB in short runs), as a job and within a request",
        provoke: flooding,
    },
    Fault {
        name: "grandchild",
        how: "a Barman that leaves a process behind which keeps its descriptors open",
        provoke: grandchild,
    },
];

fn number(value: &Value) -> i32 {
    i32::try_from(value.as_u64().unwrap()).unwrap()
}

fn signal(pid: i32, signal: Signal) {
    // It may have ended by itself.
    kill_process(Pid::from_raw(pid).unwrap(), signal).ok();
}

/// Whether a process runs; a zombie does not.
pub fn runs(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|text| {
            text.rsplit_once(')')
                .map(|(_, rest)| rest.trim_start().chars().next())
        })
        .flatten()
        .is_some_and(|state| state != 'Z' && state != 'X')
}

/// Submits a backup and waits for its start: ticket, Barman, supervisor.
fn started(bench: &Bench, name: &str) -> (String, i32, i32) {
    let target = format!("/barman/backup?server_name=main&name={name}");
    let ticket = bench.ada().request("POST", &target, &[], b"").ticket();
    let argument = format!("--name={name}");
    let start = eventually("start", || bench.starts_of(&argument).into_iter().next());
    (ticket, number(&start["pid"]), number(&start["ppid"]))
}

fn supervisor_killed(run: &mut Run) {
    let bench = Bench::new(&json!({}), &[]);
    let (mut still, mut over) = (0, 0);
    for turn in 0..run.of(100, 6) {
        let sleep = run.random.milliseconds(50, 600).as_secs_f64();
        bench
            .stand_in
            .control(&json!({"backup": {"stdout": "begun\n", "sleep": sleep, "exit": 3}}));
        let (ticket, pid, supervisor) = started(&bench, &format!("k{turn}"));
        std::thread::sleep(run.random.milliseconds(0, 400));
        signal(supervisor, Signal::KILL);
        run.once();
        eventually("end of a supervisor", || (!runs(supervisor)).then_some(()));
        loop {
            let ran_before = runs(pid);
            let result = bench.ada().result(&ticket);
            let runs_after = runs(pid);
            let told = result["barman_still_runs"].as_bool();
            match result["state"].as_str().unwrap() {
                // It was faster than the signal.
                "failed" => {
                    run.hold(result["exit_code"] == 3, || format!("{result}"));
                    break;
                }
                "lost" => {
                    let truth = match told {
                        Some(true) => ran_before,
                        Some(false) => !runs_after,
                        None => false,
                    };
                    run.hold(truth, || {
                        format!("barman ran before: {ran_before}, after: {runs_after}: {result}")
                    });
                    run.hold(result["exit_code"].is_null(), || format!("{result}"));
                    if told == Some(true) {
                        still += 1;
                    } else {
                        over += 1;
                        run.hold(result["list"] == json!(["begun"]), || format!("{result}"));
                        break;
                    }
                }
                _ => {
                    run.hold(false, || format!("no supervisor and {result}"));
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let starts = bench.starts_of(&format!("--name=k{turn}")).len();
        run.hold(starts == 1, || format!("{starts} starts"));
    }
    bench.settled();
    bench.no_panic(run);
    run.measure(format!(
        "{still} answers said that Barman still runs, {over} that it does not; all were true"
    ));
}

fn barman_killed(run: &mut Run) {
    let control = json!({"backup": {"stdout": "begun\n", "stderr": "so far\n", "hang": true}});
    let bench = Bench::new(&control, &[]);
    let mut times = Times::default();
    for turn in 0..run.of(100, 8) {
        let (ticket, pid, _) = started(&bench, &format!("k{turn}"));
        let kept = bench.folder(&ticket).join("stderr");
        eventually("output", || {
            fs::read(&kept)
                .is_ok_and(|text| !text.is_empty())
                .then_some(())
        });
        std::thread::sleep(run.random.milliseconds(0, 150));
        let since = Instant::now();
        signal(pid, Signal::KILL);
        let result = bench.ada().finished(&ticket);
        times.add(since.elapsed());
        run.once();
        let holds = result["state"] == "failed"
            && result["signal"] == 9
            && result["status_code"] == 137
            && result["list"] == json!(["begun"])
            && result["message"] == "so far\n";
        run.hold(holds, || format!("{result}"));
    }
    bench.no_panic(run);
    let slowest = times.slowest();
    run.hold(slowest < Duration::from_secs(2), || {
        format!("told after {}", ms(slowest))
    });
    run.measure(format!("told within {} (slowest)", ms(slowest)));
}

fn stopped(run: &mut Run) {
    let control = json!({"backup": {"lines": {"count": 20, "every": 0.02}, "exit": 3}});
    let bench = Bench::new(&control, &[]);
    let pause = Duration::from_secs(run.of(5, 1));
    for turn in 0..run.of(8, 2) {
        let (ticket, pid, supervisor) = started(&bench, &format!("k{turn}"));
        let whom = if turn % 2 == 0 { supervisor } else { pid };
        signal(whom, Signal::STOP);
        run.once();
        let since = Instant::now();
        while since.elapsed() < pause {
            let result = bench.ada().result(&ticket);
            run.hold(result["state"] == "running", || {
                format!("stopped and {result}")
            });
            std::thread::sleep(Duration::from_millis(100));
        }
        signal(whom, Signal::CONT);
        let result = bench.ada().finished(&ticket);
        let whole = result["list"].as_array().unwrap().len() == 20;
        run.hold(whole && result["exit_code"] == 3, || format!("{result}"));
    }
    bench.no_panic(run);
}

fn hanging(run: &mut Run) {
    let control =
        json!({"backup": {"ignore": ["INT", "TERM", "HUP"], "stdout": "begun\n", "hang": true}});
    let bench = Bench::new(&control, &[]);
    let jobs: Vec<_> = (0..run.of(4, 1))
        .map(|turn| started(&bench, &format!("k{turn}")))
        .collect();
    let mut asked = Vec::new();
    for (ticket, _, _) in &jobs {
        asked.push(Instant::now());
        let wish = bench
            .ada()
            .form("/history/cancel", &format!("ticket={ticket}"));
        run.hold(wish.status == 200, || format!("{}", wish.json()));
        run.once();
    }
    let mut times = Times::default();
    for ((ticket, pid, _), asked) in jobs.iter().zip(asked) {
        let result = bench.ada().finished(ticket);
        times.add(asked.elapsed());
        run.hold(result["state"] == "cancelled" && !runs(*pid), || {
            format!("{result}")
        });
        run.hold(result["list"] == json!(["begun"]), || format!("{result}"));
    }
    bench.no_panic(run);
    run.measure(format!("gone after {}", ms(times.slowest())));
}

/// The bytes that a file takes on disk.
fn on_disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map_or(0, |found| found.blocks() * 512)
}

/// A size of a process in KiB.
fn size(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

fn flooding(run: &mut Run) {
    const LIMIT: u64 = 1 << 20;
    let bytes: u64 = run.of(5 << 30, 256 << 20);
    let text = "0123456789abcde".repeat(4);
    let flood =
        json!({"stdout": "HEAD\n", "flood": {"bytes": bytes, "text": text, "newline": true}});
    let settings = ["barman.output_limit = 1MiB", "barman.sync_timeout = 600"];
    let bench = Bench::new(&json!({"backup": flood, "list-backups": flood}), &settings);
    let before = bench.server.size("VmRSS");
    let (ticket, pid, supervisor) = started(&bench, "flood");
    let capture = bench.folder(&ticket).join("capture.stdout");
    let (mut disk, mut memory) = (0, 0);
    let since = Instant::now();
    let result = loop {
        disk = disk.max(on_disk(&capture));
        memory = memory.max(size(supervisor, "VmHWM:"));
        let result = bench.ada().result(&ticket);
        if result["status_code"] != -99 {
            break result;
        }
        assert!(since.elapsed() < Duration::from_secs(240), "{result}");
        std::thread::sleep(Duration::from_millis(20));
    };
    run.once();
    run.hold(!runs(pid), || "barman runs on".to_owned());
    let seconds = since.elapsed().as_secs_f64();
    let lines = result["list"].as_array().unwrap();
    let kept: usize = lines
        .iter()
        .map(|line| line.as_str().unwrap().len() + 1)
        .sum();
    let holds = result["state"] == "done"
        && result["truncated"] == true
        && result["bytes_total"] == bytes + 5
        && lines[0] == "HEAD"
        && kept < usize::try_from(LIMIT + 4096).unwrap();
    run.hold(holds, || {
        format!("{kept} bytes kept, {} of {bytes}", result["bytes_total"])
    });
    // What Barman writes between two looks may stand there too; a disk takes what memory gives.
    let most = 256 << 20;
    run.hold(disk < most, || format!("{disk} bytes on disk"));
    run.hold(memory < 32 << 10, || {
        format!("a supervisor of {memory} KiB")
    });
    // The same within a request.
    let answer = bench
        .ask("GET", "/barman/list-backups?server_name=main")
        .unwrap();
    run.once();
    let body = answer.json();
    run.hold(
        answer.status == 200 && body["bytes_total"] == bytes + 5,
        || format!("{}: {}", answer.status, body["bytes_total"]),
    );
    let grown = bench.server.size("VmHWM").saturating_sub(before) / 1024;
    run.hold(grown < 64, || format!("the service grew by {grown} MiB"));
    bench.no_panic(run);
    run.measure(format!(
        "{} MiB in {seconds:.1} s; supervisor at most {} MiB of memory, the service {grown} MiB more than before, the capture file at most {} MiB on disk",
        bytes >> 20,
        memory / 1024,
        disk >> 20
    ));
}

fn grandchild(run: &mut Run) {
    let child = json!({"sleep": 20, "session": false});
    let control = json!({"backup": {"stdout": "begun\n", "grandchild": child, "exit": 3},
        "list-backups": {"stdout": "begun\n", "grandchild": child}});
    let bench = Bench::new(&control, &[]);
    let mut times = Times::default();
    for turn in 0..run.of(20, 3) {
        let (ticket, _, _) = started(&bench, &format!("k{turn}"));
        let since = Instant::now();
        let result = bench.ada().finished(&ticket);
        times.add(since.elapsed());
        run.once();
        let holds = result["exit_code"] == 3 && result["list"] == json!(["begun"]);
        run.hold(holds, || format!("{result}"));
    }
    let since = Instant::now();
    let answer = bench
        .ask("GET", "/barman/list-backups?server_name=main")
        .unwrap();
    times.add(since.elapsed());
    run.once();
    run.hold(answer.json()["list"] == json!(["begun"]), || {
        format!("{answer:?}")
    });
    run.hold(times.slowest() < Duration::from_secs(5), || {
        ms(times.slowest())
    });
    for line in bench.stand_in.log() {
        if let Some(pid) = line.get("grandchild") {
            signal(number(pid), Signal::KILL);
        }
    }
    bench.no_panic(run);
    run.measure(format!(
        "ended {} after Barman began (slowest)",
        ms(times.slowest())
    ));
}
