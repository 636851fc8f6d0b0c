//! Processes under measurement.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that listens; it ends when dropped.
pub struct Process {
    child: Child,
    pub port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Process {
    pub fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Resident memory in MB (10^6 bytes).
    pub fn resident(&self) -> f64 {
        resident(self.child.id())
    }

    /// Memory in MB of this process and all below it, pages that several have by their share.
    pub fn proportional(&self) -> f64 {
        let mut all = vec![self.child.id()];
        let mut at = 0;
        while at < all.len() {
            all.extend(children(all[at]));
            at += 1;
        }
        let sizes = all
            .into_iter()
            .filter_map(|pid| megabytes(pid, "smaps_rollup", "Pss:"));
        sizes.sum()
    }

    /// Resident memory in MB of the first process below it whose program is named so.
    pub fn resident_below(&self, name: &str) -> f64 {
        let is_named = |pid: &u32| {
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let own = program.file_name().unwrap_or_default();
            own.to_string_lossy().starts_with(name)
        };
        let below = children(self.child.id()).into_iter().find(is_named);
        resident(below.unwrap_or_else(|| panic!("there is no {name} below the service")))
    }

    /// A command that will listen on this port; it is waited for.
    pub fn started(mut command: Command, port: u16) -> Self {
        let process = Self {
            child: command.stdin(Stdio::null()).spawn().unwrap(),
            port,
        };
        let begin = Instant::now();
        // A connection to a port of this range that nobody listens on can be one with itself.
        let listens = || {
            let stream = TcpStream::connect(("127.0.0.1", port));
            stream.is_ok_and(|stream| stream.local_addr().unwrap() != stream.peer_addr().unwrap())
        };
        while !listens() {
            assert!(begin.elapsed() < Duration::from_secs(60), "nobody listens");
            std::thread::sleep(Duration::from_millis(20));
        }
        process
    }
}

/// The children of all threads of a process; none of one that has ended.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let files = tasks.flatten().map(|task| task.path().join("children"));
    let texts: String = files.flat_map(fs::read_to_string).collect();
    let pids = texts.split_whitespace().map(|pid| pid.parse().unwrap());
    pids.collect()
}

fn resident(pid: u32) -> f64 {
    megabytes(pid, "status", "VmRSS:").unwrap()
}

/// A number of a file of a process, which the kernel gives in KiB; one that has ended has none.
fn megabytes(pid: u32, file: &str, name: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes = line.trim().trim_end_matches("kB").trim();
    Some(kibibytes.parse::<f64>().unwrap() * 1024.0 / 1e6)
}

/// A program that says in its first line where it listens.
pub fn listen(mut command: Command) -> Process {
    let mut child = command
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let port = line
        .trim()
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    Process {
        child,
        port: port.unwrap_or_else(|| panic!("it said {line:?}")),
    }
}
