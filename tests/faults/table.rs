//! The table of what was provoked and what was lost.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;

use super::rig::Lab;
use super::run::{Fault, Run};

/// The text of `share/doc/FAULTS.md` before the table.
const HEAD: &str = include_str!("head.md");

/// The rows so far.
pub struct Table {
    seed: u64,
    rows: Vec<Row>,
}

struct Row {
    family: &'static str,
    how: &'static str,
    times: String,
    wrong: usize,
    measured: String,
}

impl Table {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            rows: Vec::new(),
        }
    }

    pub fn add(&mut self, family: &'static str, fault: &Fault, run: &Run) {
        let mut measured = run.measured.join("; ");
        let mut times = run.times.to_string();
        if let Some(why) = &run.left_out {
            "not here".clone_into(&mut times);
            measured.clone_from(why);
        }
        self.rows.push(Row {
            family,
            how: fault.how,
            times,
            wrong: run.wrong.len(),
            measured,
        });
    }

    /// Writes the page.
    pub fn write(&self, path: &OsStr, seconds: f64) {
        let mut text = HEAD.to_owned();
        let lab = Lab::get();
        writeln!(
            text,
            "Seed {}, {:.0} minutes, {}, Barman {}, PostgreSQL {}, {} build.\n",
            self.seed,
            seconds / 60.0,
            machine(),
            lab.fact("BARMAN_VERSION"),
            lab.fact("PG_VERSION"),
            if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
        )
        .unwrap();
        for (family, title) in TITLES {
            let rows: Vec<&Row> = self
                .rows
                .iter()
                .filter(|row| row.family == *family)
                .collect();
            if rows.is_empty() {
                continue;
            }
            writeln!(text, "## {title}\n").unwrap();
            writeln!(text, "| what was done | times | lost or wrong | measured |").unwrap();
            writeln!(text, "|---|---|---|---|").unwrap();
            for row in rows {
                let Row {
                    how,
                    times,
                    wrong,
                    measured,
                    ..
                } = row;
                writeln!(text, "| {how} | {times} | {wrong} | {measured} |").unwrap();
            }
            text.push('\n');
        }
        fs::write(path, text.trim_end().to_owned() + "\n").unwrap();
    }
}

/// The families in the order of the page.
const TITLES: &[(&str, &str)] = &[
    ("crash", "Killed at every system call"),
    ("months", "Closed months"),
    ("room", "A disk that is full or can't be written"),
    ("shortage", "Calls that fail, and limits"),
    ("processes", "Processes that die, hang or flood"),
    ("host", "A host that stops"),
    ("links", "Barman on another host"),
    ("twins", "Two services on one store"),
    ("floods", "Many clients at once"),
    ("words", "Requests made up at random"),
];

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.split('-').next().unwrap_or_default().trim();
    format!(
        "{cores} cores, {} GiB of memory, Linux {kernel}",
        memory.div_ceil(1 << 20)
    )
}
