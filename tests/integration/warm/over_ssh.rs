//! The same with Barman on another host.

use std::cell::RefCell;
use std::fs;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::both_ways::assert_alike;
use super::load::under_load;
use super::{MuteServer, OwnVenv, eventually, is_warm, stat, working};
use crate::rig::{Barman, Server, Site, Sshd, User};

/// A server whose Barman, under a launcher of its own, is behind an sshd of its own.
struct Far {
    server: Server,
    site: Site,
    sshd: Sshd,
    barman: OwnVenv,
}

impl Far {
    fn new(settings: &[&str]) -> Self {
        Self::behind(Sshd::start(&[]), settings)
    }

    fn behind(sshd: Sshd, settings: &[&str]) -> Self {
        let barman = OwnVenv::new();
        let way = format!("barman.remote_ssh = {}", sshd.remote_ssh());
        let command = format!("barman.command = {}", barman.launcher().display());
        let mut all = vec!["barman.remote = true", &way, &command];
        all.extend(settings);
        let site = Site::new(&Barman::Real, &all);
        site.user("reader", &["--full"]);
        let server = site.serve();
        Self {
            server,
            site,
            sshd,
            barman,
        }
    }

    /// The warm parents of this launcher, without their children.
    fn parents(&self) -> Vec<i32> {
        let launcher = self.barman.launcher().display().to_string();
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
        assert_alike(
            target,
            |target| warm.get(target),
            |target| other.get(target),
        );
    }
    assert_eq!(plain.parents(), Vec::<i32>::new());
    let parents = far.parents();
    assert_eq!(parents.len(), 1);
    far.server.kill();
    eventually("end of the parent", || !is_warm(parents[0]));
}

#[test]
fn a_command_there_that_takes_too_long_is_stopped_with_its_parent_left_alive() {
    let mute = MuteServer::new();
    let far = Far::new(&[&mute.setting(), "barman.sync_timeout = 1"]);
    let user = far.server.login("reader");
    // Where nobody may wait for long, a plain start may take longer than that.
    eventually("a parent that works", || {
        user.get("/barman/list-servers");
        far.worked() > 0
    });
    let parents = far.parents();
    let ticket = std::thread::scope(|scope| {
        let ask = scope.spawn(|| user.get("/barman/status?server_name=mute").ticket());
        eventually("a child of the parent", || !working(parents[0]).is_empty());
        ask.join().unwrap()
    });
    eventually("end of the child", || working(parents[0]).is_empty());
    assert_eq!(far.parents(), parents);
    user.form("/history/cancel", &format!("ticket={ticket}"));
    assert_eq!(user.closed(&ticket)["state"], "cancelled");
}

#[test]
fn a_service_that_does_without_leaves_no_parent_there() {
    let far = Far::new(&[]);
    let user = far.warmed();
    let parents = far.parents();
    user.form("/config/barmanapi/change", "barman.warm=off")
        .expect(200);
    eventually("end of the parent", || !is_warm(parents[0]));
    user.get("/barman/list-servers").expect(200);
    assert_eq!(far.parents(), Vec::<i32>::new());
}

#[test]
fn a_host_that_lets_one_session_on_a_connection_keeps_one_warm_all_the_same() {
    let far = Far::behind(Sshd::start(&["MaxSessions 1"]), &[]);
    let user = far.warmed();
    let parents = far.parents();
    // One that the parent does not take has a connection of its own.
    let target = "/barman/list-backups?server_name=main";
    user.get(&format!("{target}&async=true")).ticket();
    user.get(target).expect(200);
    assert_eq!(far.parents(), parents);
}

#[test]
fn a_parent_there_that_is_killed_under_load_costs_no_answer() {
    let far = Far::new(&[]);
    drop(far.warmed());
    under_load(&far.server, |load| {
        for _ in 0..3 {
            let mut parents = Vec::new();
            eventually("a parent that works", || {
                parents = far.parents();
                !parents.is_empty() && far.worked() > 0
            });
            parents.iter().copied().for_each(kill);
            eventually("end of the parent", || {
                !parents.iter().any(|pid| is_warm(*pid))
            });
        }
        load.nobody_noticed();
    });
}

#[test]
fn an_sshd_that_dies_under_load_makes_nobody_wait_and_is_used_again_at_once() {
    let mut far = Far::new(&[]);
    drop(far.warmed());
    let Far { server, sshd, .. } = &mut far;
    let sshd = RefCell::new(sshd);
    under_load(server, |load| {
        load.without(|| sshd.borrow_mut().down(), || sshd.borrow_mut().up());
    });
    drop(far.warmed());
}

#[test]
fn a_barman_there_that_vanishes_under_load_is_used_again_at_once() {
    let far = Far::new(&[]);
    drop(far.warmed());
    under_load(&far.server, |load| {
        load.without(|| far.barman.hide(), || far.barman.show());
    });
    drop(far.warmed());
}

#[test]
fn connections_that_are_cut_under_load_are_made_anew() {
    let far = Far::new(&[]);
    drop(far.warmed());
    under_load(&far.server, |load| {
        for _ in 0..3 {
            let cut = Instant::now();
            far.sshd.connections().into_iter().for_each(kill);
            load.serves_since(cut);
        }
    });
    drop(far.warmed());
    let log = fs::read_to_string(far.site.file("store/logs/general.log")).unwrap();
    assert!(log.contains("barman is kept warm"), "{log}");
}
