//! Detached jobs through lost links, crashes and races.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use barmanapi::runner::ssh::{JobName, LinkError, Run, remove_job};
use barmanapi::runner::{Ending, StartError, Stop};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{Desk, LONG, end, job_name, lines, stdout, until};
use crate::rig::{Lab, Process, Sshd, StandIn, processes};

/// The folder of a job on its host, which is this one.
fn folder(name: &JobName) -> PathBuf {
    PathBuf::from(Lab::get().fact("LAB_HOME"))
        .join(".barmanapi/jobs")
        .join(name.to_string())
}

/// Kills by SIGKILL.
fn kill(pid: i32) {
    // It may have ended by itself.
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap_or_default();
}

/// Kills every process whose command line has a word that holds `text`; at least one.
fn kill_all(text: &str) {
    let mut count = 0;
    until(LONG, || {
        for process in processes() {
            if process.words.iter().any(|word| word.contains(text)) {
                kill(process.pid);
                count += 1;
            }
        }
        count > 0
    });
}

/// The process that waits for the program of a job: the parent of Barman's.
fn keeper_of(stand_in: &StandIn) -> i32 {
    let start = &stand_in.starts()[0];
    i32::try_from(start["ppid"].as_i64().unwrap()).unwrap()
}

#[test]
fn a_job_runs_there_and_its_folder_is_removed() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"stdout": "out\n", "stderr": "err\n", "exit": 3}}));
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let name = job_name();
    let mut run = Run::start_job(&sshd.link(), &plan, &name).unwrap();
    let before = time::OffsetDateTime::now_utc() - run.started_at().unwrap();
    assert!(before < time::Duration::seconds(5), "{before}");
    assert_eq!(end(&mut run), Ending::Exited(3));
    assert_eq!(stdout(&plan), b"out\n");
    assert_eq!(fs::read(&plan.stderr).unwrap(), b"err\n");
    assert!(folder(&name).exists());
    remove_job(&sshd.link(), &name).unwrap();
    assert!(!folder(&name).exists());
    remove_job(&sshd.link(), &name).unwrap();
    assert_eq!(stand_in.starts().len(), 1);
}

#[test]
fn many_jobs_can_be_the_first_one_of_a_host() {
    let (sshd, stand_in) = (Sshd::start(&[]), StandIn::new());
    stand_in.control(&json!({"*": {"exit": 3}}));
    let noted = PathBuf::from(Lab::get().fact("LAB_HOME")).join(".barmanapi/python");
    for _ in 0..5 {
        drop(fs::remove_file(&noted));
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let (desk, name) = (Desk::new(), job_name());
                    let plan = desk.plan(&stand_in, &["backup", "main"]);
                    let mut run = Run::start_job(&sshd.link(), &plan, &name).unwrap();
                    assert_eq!(end(&mut run), Ending::Exited(3));
                    remove_job(&sshd.link(), &name).unwrap();
                });
            }
        });
        assert!(fs::read_to_string(&noted).unwrap().ends_with('\n'));
    }
}

#[test]
fn a_job_goes_on_once_whatever_happens_to_the_link() {
    let (mut sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"lines": {"count": 60, "every": 0.1}, "exit": 7}}));
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let name = job_name();
    let link = sshd.link();
    let mut run = Run::start_job(&link, &plan, &name).unwrap();
    let has = |count: usize| stdout(&plan).len() >= lines(count).len();
    until(LONG, || has(3));
    // A session.
    for pid in sshd.connections() {
        kill(pid);
    }
    until(LONG, || !run.is_reachable());
    let back = until(LONG, || run.is_reachable());
    assert!(back < Duration::from_secs(2), "{back:?}");
    until(LONG, || has(10));
    // The connection on our side.
    kill_all(&format!("{}/", link.sockets.display()));
    until(LONG, || !run.is_reachable());
    until(LONG, || run.is_reachable());
    until(LONG, || has(20));
    // The host's sshd, for a while.
    sshd.down();
    until(LONG, || !run.is_reachable());
    assert_eq!(run.wait(Duration::from_secs(1)).unwrap(), None);
    sshd.up();
    let back = until(LONG, || run.is_reachable());
    assert!(back < Duration::from_secs(2), "{back:?}");
    assert_eq!(end(&mut run), Ending::Exited(7));
    assert_eq!(stdout(&plan), lines(60));
    assert_eq!(stand_in.starts().len(), 1);
    remove_job(&link, &name).unwrap();
}

#[test]
fn a_job_that_ends_while_the_host_is_away_is_told_afterwards() {
    let (mut sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"stdout": "before\n", "sleep": 0.7, "kill": "TERM"}}));
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let mut run = Run::start_job(&sshd.link(), &plan, &job_name()).unwrap();
    sshd.down();
    until(LONG, || !run.is_reachable());
    until(LONG, || stand_in.starts().len() == 1);
    let number = stand_in.starts()[0]["pid"].as_i64().unwrap();
    until(LONG, || {
        let runs = |process: &Process| i64::from(process.pid) == number;
        !processes().iter().any(runs)
    });
    sshd.up();
    assert_eq!(end(&mut run), Ending::Signalled(15));
    assert_eq!(stdout(&plan), b"before\n");
}

#[test]
fn of_one_name_a_job_starts_once_however_many_ask() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"stdout": "out\n", "sleep": 0.3, "exit": 5}}));
    let (name, link) = (job_name(), sshd.link());
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let plan = desk.plan(&stand_in, &["backup", "main"]);
                let mut run = Run::start_job(&link, &plan, &name).unwrap();
                assert_eq!(end(&mut run), Ending::Exited(5));
                assert_eq!(stdout(&plan), b"out\n");
            });
        }
    });
    assert_eq!(stand_in.starts().len(), 1);
    // Nor does a request that comes after its removal.
    remove_job(&link, &name).unwrap();
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let mut late = Run::start_job(&link, &plan, &name).unwrap();
    assert_eq!(end(&mut late), Ending::Unknown { restarted: false });
    assert_eq!(stand_in.starts().len(), 1);
}

#[test]
fn a_job_that_is_adopted_before_it_started_never_starts() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    let (name, link) = (job_name(), sshd.link());
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    assert!(Run::adopt(&link, &plan, &name).unwrap().is_none());
    assert!(Run::adopt(&link, &plan, &name).unwrap().is_none());
    let late = desk.plan(&stand_in, &["backup", "main"]);
    let mut late = Run::start_job(&link, &late, &name).unwrap();
    let error = late.wait(LONG).unwrap_err();
    assert!(
        error.to_string().contains("before it had started"),
        "{error}"
    );
    assert_eq!(stand_in.starts().len(), 0);
    remove_job(&link, &name).unwrap();
}

#[test]
fn an_adopted_job_is_read_on_from_what_has_arrived() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"lines": {"count": 15, "every": 0.05}, "exit": 9}}));
    let (name, link) = (job_name(), sshd.link());
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let first = Run::start_job(&link, &plan, &name).unwrap();
    until(LONG, || stdout(&plan).len() > 20);
    drop(first);
    std::thread::sleep(Duration::from_millis(100));
    let mut second = Run::adopt(&link, &plan, &name).unwrap().unwrap();
    assert!(second.elapsed() > Duration::from_millis(100));
    assert_eq!(end(&mut second), Ending::Exited(9));
    assert_eq!(stdout(&plan), lines(15));
    // And once more, when it has ended and what had arrived is gone.
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let mut third = Run::adopt(&link, &plan, &name).unwrap().unwrap();
    assert_eq!(end(&mut third), Ending::Exited(9));
    assert_eq!(stdout(&plan), lines(15));
    assert_eq!(stand_in.starts().len(), 1);
}

#[test]
fn a_job_whose_keeper_is_killed_is_orphaned_and_then_ends_unknown() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"stdout": "a\n", "lines": {"count": 3, "every": 0.8}}}));
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let (name, link) = (job_name(), sshd.link());
    let mut run = Run::start_job(&link, &plan, &name).unwrap();
    until(LONG, || stand_in.starts().len() == 1);
    assert!(!run.is_orphaned());
    kill(keeper_of(&stand_in));
    until(LONG, || run.is_orphaned());
    assert_eq!(run.wait(Duration::ZERO).unwrap(), None);
    let error = remove_job(&link, &name).unwrap_err();
    assert!(error.to_string().contains("still runs"), "{error}");
    assert_eq!(end(&mut run), Ending::Unknown { restarted: false });
    assert_eq!(stdout(&plan), [b"a\n".to_vec(), lines(3)].concat());
    remove_job(&link, &name).unwrap();
}

#[test]
fn a_job_of_before_a_restart_of_its_host_ends_unknown() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"hang": true}}));
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let (name, link) = (job_name(), sshd.link());
    let first = Run::start_job(&link, &plan, &name).unwrap();
    until(LONG, || stand_in.starts().len() == 1);
    drop(first);
    // As a crash of the host leaves it.
    kill(keeper_of(&stand_in));
    kill(i32::try_from(stand_in.starts()[0]["pid"].as_i64().unwrap()).unwrap());
    let record = folder(&name).join("running");
    let text = fs::read_to_string(&record).unwrap();
    let fields: Vec<_> = text.split(' ').collect();
    let earlier = [fields[0], fields[1], "another-boot", fields[3]].join(" ");
    Lab::get().write(&record, &earlier, 0o600);
    let mut run = Run::adopt(&link, &plan, &name).unwrap().unwrap();
    assert_eq!(end(&mut run), Ending::Unknown { restarted: true });
    assert_eq!(run.started_at(), None);
}

#[test]
fn an_end_that_finds_no_room_is_written_when_there_is_some() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let (name, link) = (job_name(), sshd.link());
    stand_in.control(&json!({"*": {"stdout": "out\n", "sleep": 0.3, "exit": 6}}));
    let mut run = Run::start_job(&link, &plan, &name).unwrap();
    let folder = folder(&name);
    let allow = |mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(0o500);
    until(LONG, || {
        stand_in.log().iter().any(|line| line.get("end").is_some())
    });
    assert_eq!(run.wait(Duration::from_millis(600)).unwrap(), None);
    allow(0o700);
    assert_eq!(end(&mut run), Ending::Exited(6));
}

#[test]
fn a_flood_arrives_whole_and_its_room_there_is_given_back() {
    use std::os::unix::fs::MetadataExt;
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    let length = 48 << 20;
    stand_in.control(&json!({"*": {"flood": {"bytes": length, "text": "0123456789abcdef"}}}));
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let (name, link) = (job_name(), sshd.link());
    let mut run = Run::start_job(&link, &plan, &name).unwrap();
    assert_eq!(end(&mut run), Ending::Exited(0));
    let seen = stdout(&plan);
    assert_eq!(seen.len(), length);
    assert!(seen.chunks(16).all(|chunk| chunk == b"0123456789abcdef"));
    let there = fs::metadata(folder(&name).join("stdout")).unwrap();
    let held = there.blocks() * 512;
    // A file system without holes keeps all of it.
    assert!(held >= length as u64 || held <= 40 << 20, "{held} bytes");
    remove_job(&link, &name).unwrap();
}

#[test]
fn a_job_is_stopped_as_soon_as_there_is_a_link_again() {
    let (mut sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"hang": true}}));
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let mut run = Run::start_job(&sshd.link(), &plan, &job_name()).unwrap();
    until(LONG, || stand_in.starts().len() == 1);
    sshd.down();
    until(LONG, || !run.is_reachable());
    run.stop(Stop::TimeLimit).unwrap();
    run.stop(Stop::Cancel).unwrap();
    assert_eq!(run.wait(Duration::from_millis(300)).unwrap(), None);
    sshd.up();
    assert_eq!(end(&mut run), Ending::Exited(1));
    assert_eq!(run.stopped_by(), Some(Stop::TimeLimit));
    let interrupts = stand_in.log();
    let count = interrupts
        .iter()
        .filter(|line| line.get("signal").is_some())
        .count();
    assert_eq!(count, 1);
}

#[test]
fn a_host_that_is_down_is_tried_for_ten_seconds_and_nothing_runs() {
    let (mut sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    let link = sshd.link();
    sshd.down();
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let since = Instant::now();
    let error = Run::start(&link, &plan).map(|_| ()).unwrap_err();
    assert!(since.elapsed() < Duration::from_secs(2));
    let StartError::Link(error @ LinkError::NoRoute { .. }) = error else {
        panic!("{error:?}");
    };
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let (name, since) = (job_name(), Instant::now());
    let error = Run::start_job(&link, &plan, &name).map(|_| ()).unwrap_err();
    assert!(matches!(error, StartError::Link(LinkError::NoRoute { .. })));
    let passed = since.elapsed();
    assert!((9..14).contains(&passed.as_secs()), "{passed:?}");
    // One that comes back in time is no trouble at all.
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| Run::start_job(&link, &plan, &name));
        std::thread::sleep(Duration::from_millis(700));
        sshd.up();
        assert_eq!(end(&mut run.join().unwrap().unwrap()), Ending::Exited(0));
    });
    assert_eq!(stand_in.starts().len(), 1);
}
