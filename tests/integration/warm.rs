//! Commands that only read, from a Barman that is kept warm.

mod both_ways;
mod load;
mod over_ssh;
mod parent;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::rig::{Answer, Barman, Lab, Server, Site, User};

/// A site over the lab's Barman.
struct Bench {
    site: Site,
    server: Server,
}

/// A caller of a bench.
struct Asker<'a> {
    bench: &'a Bench,
    user: User<'a>,
}

impl Bench {
    fn new(settings: &[&str]) -> Self {
        let site = Site::new(&Barman::Real, settings);
        site.user("reader", &["--full"]);
        let server = site.serve();
        Self { site, server }
    }

    fn started(&self) -> Asker<'_> {
        Asker {
            bench: self,
            user: self.server.login("reader"),
        }
    }

    /// The same, with a warm parent that has begun to work.
    fn warmed(&self) -> Asker<'_> {
        let asker = self.started();
        eventually("a parent that works", || {
            // Where nobody may wait for long, a plain start may take longer than that.
            asker.get("/barman/list-servers");
            asker.worked() > 0
        });
        asker
    }

    fn log(&self) -> String {
        fs::read_to_string(self.site.file("store/logs/general.log")).unwrap()
    }
}

impl Asker<'_> {
    #[track_caller]
    fn get(&self, target: &str) -> Answer {
        self.user.get(target)
    }

    /// The warm parents of the service.
    fn parents(&self) -> Vec<i32> {
        parents_of(self.bench.server.pid())
    }

    /// What the children of the warm parents have cost: page faults of those that have ended.
    fn worked(&self) -> u64 {
        let faults = |pid: i32| stat(pid)?[8].parse::<u64>().ok();
        self.parents().into_iter().filter_map(faults).sum()
    }
}

/// A launcher of the lab's Barman, and a virtual environment that can be gone for a while.
struct OwnVenv {
    folder: PathBuf,
}

impl OwnVenv {
    fn new() -> Self {
        let lab = Lab::get();
        let own = Self {
            folder: lab.folder("own"),
        };
        own.show();
        let text = fs::read_to_string(lab.fact("BARMAN")).unwrap();
        let (_, rest) = text.split_once('\n').unwrap();
        let python = own.folder.join("venv/bin/python3");
        let text = format!("#!{}\n{rest}", python.display());
        lab.write(&own.launcher(), &text, 0o755);
        own
    }

    fn launcher(&self) -> PathBuf {
        self.folder.join("barman")
    }

    fn show(&self) {
        let python = PathBuf::from(Lab::get().fact("BARMAN_PYTHON"));
        let venv = python.parent().unwrap().parent().unwrap();
        std::os::unix::fs::symlink(venv, self.folder.join("venv")).unwrap();
    }

    fn hide(&self) {
        fs::remove_file(self.folder.join("venv")).unwrap();
    }
}

impl Drop for OwnVenv {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// A server of Barman's whose PostgreSQL takes connections and says nothing.
struct MuteServer {
    folder: PathBuf,
    _database: TcpListener,
}

impl MuteServer {
    fn new() -> Self {
        let lab = Lab::get();
        let folder = lab.folder("mute");
        let database = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = database.local_addr().unwrap().port();
        let (home, user) = (folder.display(), lab.fact("LAB_USER"));
        let conf = format!(
            "[barman]\nbarman_user = {user}\nbarman_home = {home}\nlog_file = {home}/barman.log\n\
             [mute]\ndescription = mute\nbackup_method = postgres\narchiver = on\n\
             conninfo = host=127.0.0.1 port={port} user=x dbname=x\n\
             streaming_conninfo = host=127.0.0.1 port={port} user=x\n"
        );
        lab.write(&folder.join("barman.conf"), &conf, 0o644);
        Self {
            folder,
            _database: database,
        }
    }

    fn setting(&self) -> String {
        let conf = self.folder.join("barman.conf");
        format!("barman.config_file = {}", conf.display())
    }
}

impl Drop for MuteServer {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// The processes that a process has started.
fn children(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// The children of a warm parent that run a command: one that waits has the pipe that brings its words
/// as its first descriptor after the outputs.
fn working(parent: i32) -> Vec<i32> {
    let waits = |pid: &i32| {
        let words = fs::read_link(format!("/proc/{pid}/fd/3")).unwrap_or_default();
        words.to_string_lossy().starts_with("pipe:")
    };
    let mut found = children(parent);
    found.retain(|pid| !waits(pid));
    found
}

/// The warm parents of a service.
fn parents_of(service: u32) -> Vec<i32> {
    let own = service.to_string();
    let found = fs::read_dir("/proc").unwrap().flatten();
    let pids = found.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|fields| fields[1] == own))
        .filter(|pid| is_warm(*pid))
        .collect()
}

/// Whether a process runs the text of the warm parent.
fn is_warm(pid: i32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains("<barmanapi warm>")
}

/// The fields of a process from its state on.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = text.rsplit_once(") ")?.1;
    Some(rest.split(' ').map(str::to_owned).collect())
}

/// Polls until something holds.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(30), "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
