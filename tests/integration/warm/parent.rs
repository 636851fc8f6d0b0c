//! The warm parent is killed, outdated, left, or can't be had at all.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::{Bench, eventually, is_warm};
use crate::rig::Lab;

fn kill(pid: i32) {
    let pid = Pid::from_raw(pid).unwrap();
    // It may have ended by itself.
    drop(kill_process(pid, Signal::KILL).map_err(|error| error.to_string()));
}

#[test]
fn a_killed_parent_under_load_costs_no_answer_and_is_replaced() {
    let bench = Bench::new(&[]);
    let asker = bench.warmed();
    let target = "/barman/list-backups?server_name=main&minimal=true";
    let wanted = asker.get(target).expect(200).json()["list"].clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asks: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let asker = bench.started();
                    while !done.load(Ordering::Relaxed) {
                        let answer = asker.get(target).expect(200).json();
                        assert_eq!(answer["list"], wanted, "{answer}");
                    }
                })
            })
            .collect();
        for _ in 0..5 {
            let mut parents = asker.parents();
            eventually("a parent", || {
                parents = asker.parents();
                !parents.is_empty() && asker.worked() > 0
            });
            parents.iter().copied().for_each(kill);
            eventually("end of the parent", || {
                parents.iter().all(|pid| !asker.parents().contains(pid))
            });
        }
        done.store(true, Ordering::Relaxed);
        for ask in asks {
            ask.join().unwrap();
        }
    });
}

#[test]
fn a_parent_that_hangs_holds_nobody_up_for_long() {
    let bench = Bench::new(&[]);
    let asker = bench.warmed();
    let hanging = asker.parents();
    for pid in &hanging {
        kill_process(Pid::from_raw(*pid).unwrap(), Signal::STOP).unwrap();
    }
    asker.get("/barman/list-servers").expect(200);
    eventually("end of what hangs", || {
        hanging.iter().all(|pid| !is_warm(*pid))
    });
    asker.get("/barman/list-servers").expect(200);
}

#[test]
fn a_service_that_is_killed_leaves_no_parent() {
    let mut bench = Bench::new(&[]);
    let parents = bench.warmed().parents();
    assert_eq!(parents.len(), 1);
    bench.server.kill();
    eventually("end of the parent", || !is_warm(parents[0]));
}

#[test]
fn a_service_that_ends_or_does_without_leaves_no_parent() {
    let mut bench = Bench::new(&[]);
    let asker = bench.warmed();
    let parents = asker.parents();
    asker
        .user
        .form("/config/barmanapi/change", "barman.warm=off")
        .expect(200);
    eventually("end of the parent", || !is_warm(parents[0]));
    asker.get("/barman/list-servers").expect(200);
    assert_eq!(asker.parents(), Vec::<i32>::new());
    asker
        .user
        .form("/config/barmanapi/change", "barman.warm=auto")
        .expect(200);
    let parents = bench.warmed().parents();
    assert_eq!(bench.server.stop(), Some(0));
    eventually("end of the parent", || !is_warm(parents[0]));
}

#[test]
fn a_command_that_takes_too_long_is_stopped_with_its_parent_left_alive() {
    let lab = Lab::get();
    let folder = lab.folder("slow");
    // It takes connections and says nothing.
    let database = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = database.local_addr().unwrap().port();
    let (home, user) = (folder.display(), lab.fact("LAB_USER"));
    let conf = format!(
        "[barman]\nbarman_user = {user}\nbarman_home = {home}\nlog_file = {home}/barman.log\n\
         [slow]\ndescription = slow\nbackup_method = postgres\narchiver = on\n\
         conninfo = host=127.0.0.1 port={port} user=x dbname=x\n\
         streaming_conninfo = host=127.0.0.1 port={port} user=x\n"
    );
    let path = folder.join("barman.conf");
    lab.write(&path, &conf, 0o644);
    let config = format!("barman.config_file = {}", path.display());
    let bench = Bench::new(&[&config, "barman.sync_timeout = 1"]);
    let asker = bench.warmed();
    let parents = asker.parents();
    let ticket = std::thread::scope(|scope| {
        let ask = scope.spawn(|| asker.get("/barman/status?server_name=slow").ticket());
        eventually("a child of the parent", || !children(parents[0]).is_empty());
        ask.join().unwrap()
    });
    asker
        .user
        .form("/history/cancel", &format!("ticket={ticket}"));
    eventually("end of the child", || children(parents[0]).is_empty());
    assert_eq!(asker.parents(), parents);
    asker.get("/barman/list-servers").expect(200);
    assert_eq!(asker.user.closed(&ticket)["state"], "cancelled");
    drop(database);
    fs::remove_dir_all(folder).unwrap();
}

/// The processes that a process has started.
fn children(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// A launcher of the lab's Barman that a test may replace.
fn launcher(folder: &Path) -> PathBuf {
    let path = folder.join("barman");
    fs::copy(Lab::get().fact("BARMAN"), &path).unwrap();
    Lab::get().own(&path);
    path
}

#[test]
fn a_barman_that_was_replaced_is_kept_warm_anew_and_one_that_is_no_python_is_started_plainly() {
    let lab = Lab::get();
    let folder = lab.folder("launcher");
    let path = launcher(&folder);
    let bench = Bench::new(&[&format!("barman.command = {}", path.display())]);
    let asker = bench.warmed();
    let old = asker.parents();
    let text = fs::read_to_string(&path).unwrap();
    lab.write(&path, &format!("{text}# another\n"), 0o755);
    eventually("another parent that works", || {
        asker.get("/barman/list-servers").expect(200);
        let parents = asker.parents();
        !parents.is_empty() && !parents.contains(&old[0]) && asker.worked() > 0
    });
    let wrapper = format!("#!/bin/sh\nexec {} \"$@\"\n", lab.fact("BARMAN"));
    lab.write(&path, &wrapper, 0o755);
    eventually("plain starts", || {
        asker.get("/barman/list-servers").expect(200);
        asker.parents().is_empty() && bench.log().contains("barman can't be kept warm")
    });
    for _ in 0..3 {
        asker.get("/barman/list-servers").expect(200);
    }
    let told = bench.log().matches("barman can't be kept warm").count();
    assert_eq!(told, 1, "{}", bench.log());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o755
    );
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_launcher_that_does_more_than_to_start_barman_is_started_plainly() {
    let lab = Lab::get();
    let folder = lab.folder("launcher");
    let path = launcher(&folder);
    let text = fs::read_to_string(&path).unwrap();
    let other = text.replacen(
        "import sys\n",
        "import sys\nsys.path.insert(0, '/srv')\n",
        1,
    );
    assert_ne!(text, other);
    lab.write(&path, &other, 0o755);
    let bench = Bench::new(&[&format!("barman.command = {}", path.display())]);
    let asker = bench.started();
    eventually("the log to tell", || {
        asker.get("/barman/list-servers").expect(200);
        bench.log().contains("does more than to start barman.cli")
    });
    assert_eq!(asker.parents(), Vec::<i32>::new());
    fs::remove_dir_all(folder).unwrap();
}
