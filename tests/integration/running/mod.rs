//! How commands run, end, and are told about, held with the stand-in.

mod crashes;
mod endings;
mod limits;
mod output;
mod queue;
mod reloading;
mod sharing;
mod starting;
mod stopping;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rig::{Barman, Lab, Server, Site, StandIn, User};

/// The commands that the stand-in of these tests has, with their aliases: fewer than Barman's, and
/// so fewer questions at each start.
const COMMANDS: [&str; 9] = [
    "backup",
    "check",
    "cron",
    "delete",
    "get-wal",
    "list-backup",
    "list-backups",
    "list-server",
    "list-servers",
];

/// A server over a stand-in with few commands.
struct Bench {
    server: Server,
    site: Site,
    stand_in: StandIn,
}

/// What a stand-in with few commands does besides.
pub fn control(actions: &Value) -> Value {
    let text =
        fs::read_to_string(PathBuf::from(Lab::get().fact("HELP_DIR")).join("_help.txt")).unwrap();
    // The same page with fewer commands, in the set and in the list.
    let (before, set) = text.split_once("{archive-wal").unwrap();
    let (set, after) = set.split_once('}').unwrap();
    let fewer = format!("{{{}}}", COMMANDS.join(","));
    let text = format!(
        "{before}{fewer}{}",
        after.replace(&format!("{{archive-wal{set}}}"), &fewer)
    );
    let mut keeps = true;
    let lines = text.lines().filter(|line| {
        let words = line.trim_start();
        // The list of commands stands four deep, their long descriptions deeper.
        match line.len() - words.len() {
            4 => keeps = COMMANDS.contains(&words.split(' ').next().unwrap()),
            5.. => {}
            _ => keeps = true,
        }
        keeps
    });
    let kept: Vec<&str> = lines.chain([""]).collect();
    let kept = kept.join("\n");
    let mut control = json!({"--help": {"stdout": kept}});
    control
        .as_object_mut()
        .unwrap()
        .extend(actions.as_object().unwrap().clone());
    control
}

impl Bench {
    fn new(actions: &Value, settings: &[&str]) -> Self {
        let stand_in = StandIn::new();
        stand_in.control(&control(actions));
        let site = Site::new(&Barman::StandIn(&stand_in), settings);
        site.user("admin", &["--full"]);
        let server = site.serve();
        Self {
            server,
            site,
            stand_in,
        }
    }

    fn admin(&self) -> User<'_> {
        self.server.login("admin")
    }

    fn now_does(&self, actions: &Value) {
        self.stand_in.control(&control(actions));
    }

    /// The folder of a job.
    fn folder(&self, ticket: &str) -> PathBuf {
        self.server
            .store()
            .join("active")
            .join(&ticket[..6])
            .join(ticket)
    }

    /// The record of a job's end, as it stands on disk.
    fn record(&self, ticket: &str) -> Vec<u8> {
        fs::read(self.folder(ticket).join("result.json")).unwrap()
    }

    /// Waits until as many commands were started, and returns the starts.
    #[track_caller]
    fn started(&self, count: usize) -> Vec<Value> {
        eventually("a start", || {
            Some(self.stand_in.starts()).filter(|starts| starts.len() >= count)
        })
    }
}

/// A backup of `main`, accepted; with its ticket.
#[track_caller]
pub fn backup(user: &User<'_>) -> String {
    user.form("/barman/backup", "server_name=main").ticket()
}

/// Asks again and again until there is an answer, for 30 seconds at most.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "no {what} in 30 s"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A field of `/proc/PID/status`; `None` when there is no such process.
fn status_of(pid: u64, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
}

/// Whether a process runs, and is no zombie.
pub fn runs(pid: u64) -> bool {
    status_of(pid, "State").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// The greatest memory that a process had, in KiB.
fn peak(pid: u64) -> u64 {
    let text = status_of(pid, "VmHWM").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

pub fn signal(pid: u64, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

pub fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}
