//! Commands that only read, from a Barman that is kept warm.

mod both_ways;
mod over_ssh;
mod parent;

use std::fs;
use std::time::{Duration, Instant};

use crate::rig::{Answer, Barman, Server, Site, User};

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
        asker.get("/barman/list-servers").expect(200);
        eventually("a parent that works", || {
            asker.get("/barman/list-servers").expect(200);
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
        let own = self.bench.server.pid().to_string();
        let found = fs::read_dir("/proc").unwrap().flatten();
        let pids = found.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| stat(*pid).is_some_and(|fields| fields[1] == own))
            .filter(|pid| is_warm(*pid))
            .collect()
    }

    /// What the children of the warm parents have cost: page faults of those that have ended.
    fn worked(&self) -> u64 {
        let faults = |pid: i32| stat(pid)?[8].parse::<u64>().ok();
        self.parents().into_iter().filter_map(faults).sum()
    }
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
