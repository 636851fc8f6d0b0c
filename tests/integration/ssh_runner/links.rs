//! The connections: keys, sharing, limits, freezes, and hosts that answer with nonsense.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use barmanapi::runner::ssh::{Link, LinkError, Run};
use barmanapi::runner::{Ending, Plan, StartError};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{Desk, LONG, end, job_name, lines, stdout, until};
use crate::rig::{Lab, Process, Sshd, StandIn, processes};

/// Our connections to a host.
fn masters(link: &Link) -> Vec<Process> {
    let socket = format!("{}/", link.sockets.display());
    let mut all = processes();
    all.retain(|process| {
        process.state != 'Z' && process.words.iter().any(|word| word.contains(&socket))
    });
    all
}

#[track_caller]
fn link_error(outcome: Result<Run, StartError>) -> LinkError {
    match outcome {
        Err(StartError::Link(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_host_that_is_not_the_known_one_runs_nothing() {
    let (mut sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    let link = sshd.link();
    let try_both = |word: &str| {
        let plan = desk.plan(&stand_in, &["x"]);
        assert_eq!(link_error(Run::start(&link, &plan)).word(), word);
        let plan = desk.plan(&stand_in, &["x"]);
        let since = Instant::now();
        assert_eq!(
            link_error(Run::start_job(&link, &plan, &job_name())).word(),
            word
        );
        assert!(since.elapsed() < Duration::from_secs(3));
    };
    sshd.down();
    sshd.new_host_key();
    sshd.up();
    try_both("host key mismatch");
    Lab::get().write(&sshd.file("known_hosts"), "", 0o644);
    try_both("host key unknown");
    sshd.trust();
    Lab::get().write(&sshd.file("authorized_keys"), "", 0o600);
    try_both("permission denied");
    assert_eq!(stand_in.starts().len(), 0);
    // And without a restart all is well again.
    sshd.permit("");
    let plan = desk.plan(&stand_in, &["x"]);
    assert_eq!(
        end(&mut Run::start(&link, &plan).unwrap()),
        Ending::Exited(0)
    );
}

#[test]
fn a_job_outlives_a_new_host_key_and_is_followed_once_it_is_known() {
    let (mut sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"stdout": "out\n", "sleep": 0.5, "exit": 4}}));
    let plan = desk.plan(&stand_in, &["x"]);
    let mut run = Run::start_job(&sshd.link(), &plan, &job_name()).unwrap();
    sshd.down();
    sshd.new_host_key();
    sshd.up();
    assert_eq!(run.wait(Duration::from_secs(1)).unwrap(), None);
    assert!(!run.is_reachable());
    sshd.trust();
    assert_eq!(end(&mut run), Ending::Exited(4));
    assert_eq!(stdout(&plan), b"out\n");
}

#[test]
fn thirty_at_once_share_few_connections_and_none_is_refused() {
    let (sshd, stand_in, desk) = (Sshd::start(&["MaxSessions 8"]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"stdout": "out\n", "sleep": 1}}));
    let link = sshd.link();
    std::thread::scope(|scope| {
        for number in 0..30 {
            let (link, stand_in, desk) = (&link, &stand_in, &desk);
            scope.spawn(move || {
                let plan = desk.plan(stand_in, &["x"]);
                let mut run = if number % 2 == 0 {
                    Run::start(link, &plan).unwrap()
                } else {
                    Run::start_job(link, &plan, &job_name()).unwrap()
                };
                assert_eq!(end(&mut run), Ending::Exited(0));
                assert_eq!(stdout(&plan), b"out\n");
            });
        }
    });
    assert_eq!(stand_in.starts().len(), 30);
    let log = fs::read_to_string(sshd.file("log")).unwrap();
    assert!(!log.contains("no more sessions"), "{log}");
    assert!(masters(&link).len() <= 4, "{}", masters(&link).len());
    link.end_unused();
    until(LONG, || masters(&link).is_empty());
    assert_eq!(fs::read_dir(&link.sockets).unwrap().count(), 0);
}

#[test]
fn a_host_that_lets_fewer_sessions_on_a_connection_gets_more_connections() {
    let (sshd, stand_in, desk) = (Sshd::start(&["MaxSessions 2"]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"sleep": 0.5}}));
    let link = sshd.link();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let plan = desk.plan(&stand_in, &["x"]);
                assert_eq!(
                    end(&mut Run::start(&link, &plan).unwrap()),
                    Ending::Exited(0)
                );
            });
        }
    });
    assert!(masters(&link).len() >= 3);
}

#[test]
fn a_frozen_connection_of_ours_is_replaced_and_takes_nothing_away_when_it_thaws() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    let link = sshd.link();
    let run = || {
        let plan = desk.plan(&stand_in, &["x"]);
        end(&mut Run::start(&link, &plan).unwrap())
    };
    assert_eq!(run(), Ending::Exited(0));
    let frozen = masters(&link).remove(0).pid;
    let signal = |signal| kill_process(Pid::from_raw(frozen).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    assert_eq!(run(), Ending::Exited(0));
    // As it ends it removes a socket that is its successor's by now.
    signal(Signal::CONT);
    signal(Signal::TERM);
    until(LONG, || {
        masters(&link).iter().all(|master| master.pid != frozen)
    });
    for _ in 0..3 {
        assert_eq!(run(), Ending::Exited(0));
    }
    assert!(masters(&link).len() <= 3);
}

/// What another process of this test shall run: it hangs there until it is killed.
const ORDER: &str = "SSH_RUNNER_ORDER";

/// The other process. Without an order there is nothing to do.
#[test]
fn what_another_process_runs() {
    let Some(order) = std::env::var_os(ORDER) else {
        return;
    };
    let order = fs::read_to_string(order).unwrap();
    let (link, program, folder): (Link, _, std::path::PathBuf) =
        serde_json::from_str(&order).unwrap();
    let plan = Plan {
        program,
        arguments: vec!["hang".to_owned()],
        environment: Vec::new(),
        stdout: folder.join("stdout"),
        stderr: folder.join("stderr"),
        record: None,
    };
    let mut run = Run::start(&link, &plan).unwrap();
    run.wait(Duration::from_secs(120)).unwrap();
}

fn another_process(link: &Link, stand_in: &StandIn, desk: &Desk) -> Child {
    let order = desk.folder.path().join("order");
    let folder = desk.folder.path();
    let text = serde_json::to_string(&(link, stand_in.program(), folder)).unwrap();
    fs::write(&order, text).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ssh_runner::links::what_another_process_runs"])
        .env(ORDER, &order)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn connections_are_shared_survive_nobody_for_long_and_freezes_are_noticed() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"hang": {"hang": true}}));
    let link = sshd.link();
    let mut other = another_process(&link, &stand_in, &desk);
    until(LONG, || stand_in.starts().len() == 1);
    let plan = desk.plan(&stand_in, &["x"]);
    assert_eq!(
        end(&mut Run::start(&link, &plan).unwrap()),
        Ending::Exited(0)
    );
    assert_eq!(masters(&link).len(), 1, "it is not shared");
    other.kill().unwrap();
    other.wait().unwrap();
    let killed = Instant::now();
    until(LONG, || {
        stand_in
            .log()
            .iter()
            .any(|line| line.get("signal").is_some())
    });

    // Another host is frozen meanwhile.
    let frozen = Sshd::start(&[]);
    stand_in
        .control(&json!({"hang": {"hang": true}, "*": {"lines": {"count": 200, "every": 0.1}}}));
    let job_plan = desk.plan(&stand_in, &["backup"]);
    let mut job = Run::start_job(&frozen.link(), &job_plan, &job_name()).unwrap();
    let plan = desk.plan(&stand_in, &["hang"]);
    let mut short = Run::start(&frozen.link(), &plan).unwrap();
    until(LONG, || !stdout(&job_plan).is_empty());
    frozen.signal(Signal::STOP);
    let noticed = until(LONG, || !job.is_reachable());
    assert!(noticed < Duration::from_secs(20), "{noticed:?}");
    let error = short.wait(Duration::from_secs(5)).unwrap_err();
    assert!(
        error.to_string().contains("link to the host broke"),
        "{error}"
    );
    assert_eq!(job.wait(Duration::ZERO).unwrap(), None);
    frozen.signal(Signal::CONT);
    let back = until(LONG, || job.is_reachable());
    assert!(back < Duration::from_secs(2), "{back:?}");
    assert_eq!(end(&mut job), Ending::Exited(0));
    assert_eq!(stdout(&job_plan), lines(200));

    until(LONG, || masters(&link).is_empty());
    let gone = killed.elapsed();
    assert!(gone < Duration::from_secs(36), "{gone:?}");
}
