//! The way to a Barman on another host, over a real sshd that is killed, frozen, restarted and re-keyed.

mod commands;
mod hostile;
mod jobs;
mod links;
mod room;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use barmanapi::names::Ticket;
use barmanapi::runner::ssh::{JobName, Run};
use barmanapi::runner::{Ending, Plan};

use crate::rig::StandIn;

/// How long anything may take that needs no limit of its own.
const LONG: Duration = Duration::from_secs(60);

/// A folder for outputs, and plans that write there.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn plan(&self, stand_in: &StandIn, arguments: &[&str]) -> Plan {
        self.plan_of(stand_in.program(), arguments)
    }

    fn plan_of(&self, program: PathBuf, arguments: &[&str]) -> Plan {
        let random = getrandom::u64().unwrap();
        let file = |name: &str| self.folder.path().join(format!("{name}-{random:x}"));
        Plan {
            program,
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            environment: vec![("LANG".into(), "C.UTF-8".into())],
            stdout: file("stdout"),
            stderr: file("stderr"),
            record: None,
        }
    }
}

fn stdout(plan: &Plan) -> Vec<u8> {
    std::fs::read(&plan.stdout).unwrap()
}

/// The lines that the stand-in prints.
fn lines(count: usize) -> Vec<u8> {
    let lines = (1..=count).map(|n| format!("line {n}\n"));
    lines.collect::<String>().into_bytes()
}

fn job_name() -> JobName {
    let random = getrandom::u64().unwrap();
    JobName {
        store: format!("{:016x}", getrandom::u64().unwrap()),
        ticket: Ticket::new(time::OffsetDateTime::now_utc(), random),
    }
}

#[track_caller]
fn end(run: &mut Run) -> Ending {
    run.wait(LONG).unwrap().expect("an end")
}

/// Waits until something holds.
#[track_caller]
fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < limit, "it does not hold within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    since.elapsed()
}
