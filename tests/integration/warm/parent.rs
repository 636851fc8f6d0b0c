//! The warm parent is killed, outdated, left, or can't be had at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::load::under_load;
use super::{Bench, MuteServer, OwnVenv, children, eventually, is_warm, parents_of, working};
use crate::rig::Lab;

fn kill(pid: i32) {
    let pid = Pid::from_raw(pid).unwrap();
    // It may have ended by itself.
    drop(kill_process(pid, Signal::KILL).map_err(|error| error.to_string()));
}

#[test]
fn a_parent_that_is_killed_under_load_costs_no_answer_and_is_replaced() {
    let bench = Bench::new(&[]);
    let asker = bench.warmed();
    under_load(&bench.server, |load| {
        for _ in 0..3 {
            let mut parents = Vec::new();
            eventually("a parent that works", || {
                parents = asker.parents();
                !parents.is_empty() && asker.worked() > 0
            });
            parents.iter().copied().for_each(kill);
            eventually("end of the parent", || {
                parents.iter().all(|pid| !asker.parents().contains(pid))
            });
        }
        load.nobody_noticed();
    });
}

#[test]
fn a_barman_that_vanishes_under_load_is_used_again_at_once_and_kept_warm_anew() {
    let own = OwnVenv::new();
    let bench = Bench::new(&[&format!("barman.command = {}", own.launcher().display())]);
    let old = bench.warmed().parents();
    under_load(&bench.server, |load| {
        load.without(|| own.hide(), || own.show());
    });
    let asker = bench.warmed();
    assert!(!asker.parents().contains(&old[0]));
}

#[test]
fn two_services_have_a_parent_each_and_one_ends_without_the_other() {
    let bench = Bench::new(&[]);
    let mut other = bench.site.serve();
    let asker = bench.warmed();
    let user = other.login("reader");
    let of_other = || parents_of(other.pid());
    eventually("a parent of the other", || {
        user.get("/barman/list-servers").expect(200);
        !of_other().is_empty()
    });
    let (first, second) = (asker.parents(), of_other());
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second);
    assert_eq!(other.stop(), Some(0));
    // It has ended before the service that it belongs to.
    assert!(!is_warm(second[0]));
    asker.get("/barman/list-servers").expect(200);
    assert_eq!(asker.parents(), first);
}

#[test]
fn a_parent_at_rest_is_small() {
    let bench = Bench::new(&[]);
    let asker = bench.warmed();
    let parents = asker.parents();
    let status = fs::read_to_string(format!("/proc/{}/status", parents[0])).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let size: u64 = line
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap();
    assert!(size < 60 * 1024, "{size} KiB");
    println!("{size} KiB");
}

#[test]
fn a_child_that_waits_has_made_the_memory_its_own_that_commands_write_to() {
    let bench = Bench::new(&[]);
    let asker = bench.started();
    let of_who_waits = || {
        let parent = *asker.parents().first()?;
        let child = children(parent)
            .into_iter()
            .find(|child| !working(parent).contains(child))?;
        let memory = fs::read_to_string(format!("/proc/{child}/smaps_rollup")).ok()?;
        let line = memory
            .lines()
            .find(|line| line.starts_with("Private_Dirty:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    // The first command makes the parent, and runs plainly.
    asker.get("/barman/list-servers").expect(200);
    let mut before = None;
    eventually("child that waits", || {
        // It has nothing left to do when nothing is added.
        let last = std::mem::replace(&mut before, of_who_waits());
        std::thread::sleep(Duration::from_millis(200));
        before.is_some() && before == last
    });
    let wanted = before.unwrap() + 1024;
    for _ in 0..5 {
        asker
            .get("/barman/list-backups?server_name=main")
            .expect(200);
    }
    eventually("child with memory of its own", || {
        of_who_waits().is_some_and(|size| size > wanted)
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
    let mute = MuteServer::new();
    let bench = Bench::new(&[&mute.setting(), "barman.sync_timeout = 1"]);
    let asker = bench.warmed();
    let parents = asker.parents();
    let ticket = std::thread::scope(|scope| {
        let ask = scope.spawn(|| asker.get("/barman/status?server_name=mute").ticket());
        eventually("a child of the parent", || !working(parents[0]).is_empty());
        ask.join().unwrap()
    });
    asker
        .user
        .form("/history/cancel", &format!("ticket={ticket}"));
    eventually("end of the child", || working(parents[0]).is_empty());
    assert_eq!(asker.parents(), parents);
    asker.get("/barman/list-servers").expect(200);
    assert_eq!(asker.user.closed(&ticket)["state"], "cancelled");
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
