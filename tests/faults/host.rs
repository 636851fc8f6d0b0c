//! A host that stops with everything on it, and comes back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::bench::{ask, ends};
use super::rig::{Barman, Lab, Server, Site, StandIn};
use super::run::{Fault, Run, eventually};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "restarted",
        how: "the service, supervisors and Barman in a PID namespace of their own are killed at once at a random moment; the service then starts under another boot id",
        provoke: |run| stop(run, true),
    },
    Fault {
        name: "stopped",
        how: "the same without another boot id, as when a container is stopped and started",
        provoke: |run| stop(run, false),
    },
];

/// Starts the service as the first of a world of its own processes; all of them die with it.
fn serve(site: &Site, boot: &Path) -> Server {
    let lab = Lab::get();
    let (uid, gid) = lab.account();
    let script = format!(
        "mount --bind {} /proc/sys/kernel/random/boot_id && \
         exec setpriv --reuid {uid} --regid {gid} --clear-groups \"$@\"",
        boot.display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount", "--mount-proc", "sh", "-c"])
        .args([&script, "sh"])
        .arg(&lab.binary)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", lab.fact("LAB_HOME"))
        .current_dir(lab.fact("LAB_DIR"));
    site.serve_by(command)
}

fn stop(run: &mut Run, restart: bool) {
    if !rustix::process::getuid().is_root() {
        run.left_out = Some("only root makes namespaces".to_owned());
        return;
    }
    let stand_in = StandIn::new();
    let site = Site::new(
        &Barman::StandIn(&stand_in),
        &["barman.max_jobs = 2", "barman.queue = 5000"],
    );
    site.user("ada", &["--full"]);
    let boot = site.file("boot_id");
    let mut boots = 0;
    let mut new_boot = || {
        boots += 1;
        fs::write(&boot, format!("00000000-0000-4000-8000-{boots:012}\n")).unwrap();
    };
    new_boot();
    let mut server = serve(&site, &boot);
    server.wait_until_ready();
    let token = server.login("ada").token;
    let mut states = BTreeMap::<String, usize>::new();
    for turn in 0..run.of(50, 4) {
        let sleep = run.random.milliseconds(100, 900).as_secs_f64();
        stand_in.control(&json!({"backup": {"stdout": "begun\n", "sleep": sleep, "exit": 3}}));
        let mut tickets = Vec::new();
        for job in 0..4 {
            let name = format!("t{turn}j{job}");
            let target = format!("/barman/backup?server_name=main&name={name}");
            let answer = ask(&server, &token, "POST", &target).unwrap();
            tickets.push((name, answer.ticket()));
        }
        std::thread::sleep(run.random.milliseconds(0, 1500));
        stop_all(&mut server);
        run.once();
        let store = server.store().to_owned();
        eventually("end of all processes", || {
            let alive = processes_of(&store);
            (alive == 0).then_some(())
        });
        if restart {
            new_boot();
        }
        server = serve(&site, &boot);
        server.wait_until_ready();
        let log = stand_in.log();
        for (name, ticket) in tickets {
            let result = server.with_token(&token).result(&ticket);
            look_at(run, &log, &name, &result, restart);
            let word = format!(
                "{} {}",
                result["state"].as_str().unwrap(),
                result["reason"].as_str().unwrap_or_default()
            );
            *states.entry(word.trim().to_owned()).or_default() += 1;
        }
    }
    stop_all(&mut server);
    let logged = site.logged();
    run.hold(!logged.contains("panicked"), || "a panic".to_owned());
    let states: Vec<_> = states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    run.measure(format!("told as {}", states.join(", ")));
}

/// Kills the first process of the namespace: all others die with it.
fn stop_all(server: &mut Server) {
    let children = format!("/proc/{0}/task/{0}/children", server.pid());
    let first = fs::read_to_string(children)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let first = rustix::process::Pid::from_raw(first).unwrap();
    rustix::process::kill_process(first, rustix::process::Signal::KILL).unwrap();
    server.kill();
}

/// The processes that run for a store, in whatever namespace.
fn processes_of(store: &Path) -> usize {
    let store = store.parent().unwrap().display().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| {
            fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&store))
        })
        .count()
}

fn look_at(run: &mut Run, log: &[Value], name: &str, result: &Value, restart: bool) {
    let argument = format!("--name={name}");
    let starts: Vec<&Value> = log
        .iter()
        .filter(|line| line.get("start").is_some() && super::bench::has_word(line, &argument))
        .collect();
    run.hold(starts.len() <= 1, || {
        format!("{name}: {} starts", starts.len())
    });
    // A process number comes back in the next world; the end that counts is of the same time.
    let ended = starts.first().and_then(|start| {
        let at = log.iter().position(|line| std::ptr::eq(line, *start))?;
        let pid = start["pid"].as_u64()?;
        let next = log[at + 1..]
            .iter()
            .position(|line| line.get("start").is_some() && line["pid"].as_u64() == Some(pid));
        let until = next.map_or(log.len(), |next| at + 1 + next);
        ends(&log[at..until]).get(&pid).copied()
    });
    let begun = json!(["begun"]);
    let holds = match result["state"].as_str().unwrap() {
        "failed" => ended == Some(3) && result["exit_code"] == 3 && result["list"] == begun,
        "lost" => {
            let reason = if restart && !result["started_at"].is_null() {
                "host_restarted"
            } else {
                "supervisor_died"
            };
            result["reason"] == reason && result["barman_still_runs"] == false
        }
        _ => false,
    };
    run.hold(holds, || format!("{name}: ended {ended:?} and {result}"));
}
