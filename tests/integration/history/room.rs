//! A store without room.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{backup, page, serve, starts_of, tickets};
use crate::rig::{Barman, Lab, Site, StandIn};

/// A small file system of its own, where a store will be.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of 2 MiB.
    pub fn mount(path: PathBuf) -> Self {
        let lab = Lab::get();
        fs::create_dir_all(&path).unwrap();
        let (uid, gid) = lab.account();
        let options = format!("size=2m,mode=0700,uid={uid},gid={gid}");
        let place = path.display().to_string();
        Lab::as_root(&[
            "mount",
            "-t",
            "tmpfs",
            "-o",
            &options,
            "barmanapi-test",
            &place,
        ]);
        Self(path)
    }

    /// Takes all room but this many pages.
    pub fn fill(&self, pages_left: u64) {
        let ballast = self.ballast();
        let mut file = fs::File::create(&ballast).unwrap();
        let page = [0; 4096];
        let mut written = 0;
        while file.write_all(&page).is_ok() {
            written += 4096;
        }
        assert!(written > 0);
        file.set_len(written - pages_left * 4096).unwrap();
    }

    /// Gives the room back.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Lab::as_root(&["umount", "-l", &self.0.display().to_string()]);
    }
}

#[test]
fn a_full_store_gives_no_ticket_starts_nothing_and_recovers_by_itself() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({"*": {"stdout": "said\n"}, "backup": {"stdout": "said\n"}}));
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let disk = SmallDisk::mount(site.file("store"));
    site.user("ada", &["--full"]);
    let server = serve(&site);
    let ada = server.login("ada");
    let list = "/barman/list-backups?server_name=main";
    let first = ada.get(&backup("begin")).ticket();
    assert_eq!(ada.finished(&first)["list"], json!(["said"]));
    ada.get(list).expect(200);
    let mut given = vec![first.clone()];
    let mut refused = 0;
    for pages_left in (0..12).chain((12..44).step_by(4)).chain([80]) {
        disk.fill(pages_left);
        let before = stand_in.starts().len();
        let name = format!("p{pages_left}");
        let answer = ada.get(&backup(&name));
        if pages_left == 0 {
            assert_eq!(answer.status, 507);
            // A command without a ticket has no room for its output either.
            let direct = ada.get(list);
            assert_eq!(direct.clone().status, 507, "{}", direct.json());
            let sync = ada.get("/barman/switch-wal?server_name=main");
            assert_eq!(sync.status, 507);
            // What needs no room goes on.
            assert_eq!(tickets(&page(&ada, "")), given);
            assert_eq!(ada.result(&first)["state"], "done");
        }
        if answer.status == 507 {
            refused += 1;
            assert_eq!(answer.json()["type"], "store full");
            assert_eq!(stand_in.starts().len(), before, "{name}");
            disk.free();
        } else {
            let ticket = answer.ticket();
            given.insert(0, ticket.clone());
            // The end of the job may need the room that is not there.
            let accepted = Instant::now();
            while ada.result(&ticket)["status_code"] == -99
                && accepted.elapsed() < Duration::from_millis(100)
            {}
            disk.free();
            let result = ada.closed(&ticket);
            match result["status_code"].as_i64().unwrap() {
                200 => assert_eq!(starts_of(&stand_in, &name), 1, "{result}"),
                502 => assert_eq!(starts_of(&stand_in, &name), 0, "{result}"),
                _ => panic!("{pages_left} pages left: {result}"),
            }
        }
    }
    assert!(refused > 0);
    // Room again: everything works at once, and nothing was lost, left or doubled.
    ada.get(list).expect(200);
    let after = ada.get(&backup("end")).ticket();
    assert_eq!(ada.closed(&after)["list"], json!(["said"]));
    given.insert(0, after);
    assert_eq!(tickets(&page(&ada, "limit=1000")), given);
    let month = server.store().join("active").join(&first[..6]);
    assert_eq!(job_folders(&month), given.len());
    let open = fs::read_dir(server.store().join("active/open")).unwrap();
    assert_eq!(open.count(), 0);
}

fn job_folders(month: &Path) -> usize {
    let entries = fs::read_dir(month).unwrap().flatten();
    entries
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .count()
}

#[test]
fn an_end_that_finds_the_disk_full_is_recorded_when_there_is_room_again() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({"backup": {"stdout": "before\n", "sleep": 1.0, "exit": 3}}));
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let disk = SmallDisk::mount(site.file("store"));
    site.user("ada", &["--full"]);
    let mut server = serve(&site);
    let ada = server.login("ada");
    let ticket = ada.get(&backup("long")).ticket();
    let since = Instant::now();
    while starts_of(&stand_in, "long") == 0 || ada.result(&ticket)["state"] != "running" {
        assert!(since.elapsed() < Duration::from_secs(30));
    }
    // What was printed is copied before there is no room for it.
    let kept = server
        .store()
        .join("active")
        .join(&ticket[..6])
        .join(&ticket);
    while fs::read(kept.join("stdout")).unwrap_or_default().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(30));
    }
    disk.fill(0);
    let pid = stand_in.starts()[0]["pid"].as_u64().unwrap();
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(since.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(10));
    }
    // Barman has ended and its supervisor knows; a new server on the full store waits with it.
    let ended = Instant::now();
    server.kill();
    let server = serve(&site);
    let ada = server.login("ada");
    while ended.elapsed() < Duration::from_millis(1500) {
        assert_eq!(ada.result(&ticket)["state"], "running");
        std::thread::sleep(Duration::from_millis(50));
    }
    disk.free();
    let freed = Instant::now();
    let result = ada.finished(&ticket);
    assert!(freed.elapsed() < Duration::from_secs(5));
    assert_eq!(result["state"], "failed", "{result}");
    assert_eq!(result["exit_code"], 3, "{result}");
    assert_eq!(result["list"], json!(["before"]), "{result}");
    assert_eq!(tickets(&page(&ada, "state=failed")), [ticket]);
}

#[test]
fn a_job_that_is_lost_on_a_full_store_is_told_as_lost() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({"backup": {"stdout": "before\n", "sleep": 0.7}}));
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let disk = SmallDisk::mount(site.file("store"));
    site.user("ada", &["--full"]);
    let server = serve(&site);
    let ada = server.login("ada");
    let ticket = ada.get(&backup("long")).ticket();
    let since = Instant::now();
    while starts_of(&stand_in, "long") == 0 {
        assert!(since.elapsed() < Duration::from_secs(30));
    }
    disk.fill(0);
    let supervisor = stand_in.starts()[0]["ppid"].as_i64().unwrap();
    let supervisor = rustix::process::Pid::from_raw(supervisor.try_into().unwrap()).unwrap();
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
    loop {
        let lost = ada.result(&ticket);
        if lost["state"] == "lost" && lost["barman_still_runs"] == false {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{lost}");
    }
    assert_eq!(
        tickets(&page(&ada, "state=lost")),
        std::slice::from_ref(&ticket)
    );
    disk.free();
    let result = ada.closed(&ticket);
    assert_eq!(result["list"], json!(["before"]), "{result}");
    assert_eq!(result["reason"], "supervisor_died", "{result}");
}
