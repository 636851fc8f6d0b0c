//! The same with Barman on another host.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::both_ways::without_clocks;
use super::{eventually, is_warm, stat};
use crate::rig::{Barman, Lab, Server, Site, Sshd, User};

/// A server whose Barman, under a launcher of its own, is behind an sshd of its own.
struct Far {
    server: Server,
    site: Site,
    sshd: Sshd,
    launcher: PathBuf,
}

impl Far {
    fn new(settings: &[&str]) -> Self {
        let lab = Lab::get();
        let launcher = lab.folder("far").join("barman");
        fs::copy(lab.fact("BARMAN"), &launcher).unwrap();
        lab.own(&launcher);
        let sshd = Sshd::start(&[]);
        let way = format!("barman.remote_ssh = {}", sshd.remote_ssh());
        let command = format!("barman.command = {}", launcher.display());
        let mut all = vec!["barman.remote = true", &way, &command];
        all.extend(settings);
        let site = Site::new(&Barman::Real, &all);
        site.user("reader", &["--full"]);
        let server = site.serve();
        Self {
            server,
            site,
            sshd,
            launcher,
        }
    }

    /// The warm parents of this launcher, without their children.
    fn parents(&self) -> Vec<i32> {
        let launcher = self.launcher.display().to_string();
        let of_launcher = |pid: i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            is_warm(pid) && String::from_utf8_lossy(&line).contains(&launcher)
        };
        let found = fs::read_dir("/proc").unwrap().flatten();
        let pids = found.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let all: Vec<i32> = pids.filter(|pid| of_launcher(*pid)).collect();
        let is_child = |pid: &i32| {
            let parent = stat(*pid).and_then(|fields| fields[1].parse().ok());
            parent.is_some_and(|parent: i32| all.contains(&parent))
        };
        all.iter().filter(|pid| !is_child(pid)).copied().collect()
    }

    /// A caller, once a parent works.
    fn warmed(&self) -> User<'_> {
        let user = self.server.login("reader");
        eventually("a parent that works", || {
            user.get("/barman/list-servers").expect(200);
            self.worked() > 0
        });
        user
    }

    /// What the children of the warm parents have cost.
    fn worked(&self) -> u64 {
        let faults = |pid: i32| stat(pid)?[8].parse::<u64>().ok();
        self.parents().into_iter().filter_map(faults).sum()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(self.launcher.parent().unwrap()));
    }
}

fn kill(pid: i32) {
    // It may have ended by itself.
    drop(
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).map_err(|error| error.to_string()),
    );
}

#[test]
fn an_answer_over_ssh_is_the_same_warm_and_the_parent_there_ends_with_the_service() {
    let mut far = Far::new(&[]);
    let plain = Far::new(&["barman.warm = off"]);
    let (warm, other) = (far.warmed(), plain.server.login("reader"));
    for target in [
        "/barman/list-servers?format=json",
        "/barman/list-backups?server_name=main",
        "/barman/show-backup?server_name=main&backup_id=20200101T000000&format=json",
        "/barman/replication-status?server_name=main",
        "/barman/get-wal?server_name=main&wal_name=0000000100000000000000FF",
    ] {
        let (of_warm, of_plain) = (warm.get(target), other.get(target));
        assert_eq!(of_warm.status, of_plain.status, "{target}");
        let of_warm = without_clocks(of_warm.json());
        assert_eq!(of_warm, without_clocks(of_plain.json()), "{target}");
    }
    assert_eq!(plain.parents(), Vec::<i32>::new());
    let parents = far.parents();
    assert_eq!(parents.len(), 1);
    far.server.kill();
    eventually("end of the parent", || !is_warm(parents[0]));
}

/// Ends those who ask, however the test ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_killed_parent_or_connection_costs_no_wrong_answer() {
    let far = Far::new(&[]);
    let user = far.warmed();
    let target = "/barman/list-backups?server_name=main&minimal=true";
    let wanted = user.get(target).expect(200).json()["list"].clone();
    let (done, cut) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        let asks: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let user = far.server.login("reader");
                    while !done.load(Ordering::Relaxed) {
                        let answer = user.get(target);
                        // Without a connection nobody can answer.
                        if answer.status == 502 && cut.load(Ordering::Relaxed) {
                            continue;
                        }
                        assert_eq!(answer.expect(200).json()["list"], wanted);
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            let mut parents = far.parents();
            eventually("a parent", || {
                parents = far.parents();
                !parents.is_empty() && far.worked() > 0
            });
            parents.iter().copied().for_each(kill);
            eventually("end of the parent", || {
                !parents.iter().any(|pid| is_warm(*pid))
            });
        }
        cut.store(true, Ordering::Relaxed);
        far.sshd.connections().into_iter().for_each(kill);
        eventually("an answer", || user.get(target).status == 200);
        done.store(true, Ordering::Relaxed);
        for ask in asks {
            ask.join().unwrap();
        }
    });
    drop(user);
    far.warmed();
    let log = fs::read_to_string(far.site.file("store/logs/general.log")).unwrap();
    assert!(log.contains("barman is kept warm"), "{log}");
}
