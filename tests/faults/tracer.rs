//! The process that stops others at a chosen system call: `faults trace PID ROLES WHAT`.
//!
//! It follows a process, its threads and its children by ptrace and counts the calls of all of
//! them as one series, in the order in which they are made. At the chosen one it kills the process that makes
//! it, or lets the call fail. A tool that counts for each thread alone can't name the n-th call of
//! an operation that moves from thread to thread.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::calls;

/// The first argument by which the harness knows that it shall trace.
pub const WORD: &str = "trace";

/// The role of a process between fork and exec.
const FORKED: &str = "forked";

/// What to do at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Count,
    Kill,
    Fail(i32),
}

struct Tracer {
    roles: Vec<String>,
    /// The only calls that count, where not all do.
    names: Vec<String>,
    /// A part of the path of a file, where only threads count that have opened it.
    begins: Option<String>,
    /// The threads that have.
    begun: HashSet<i32>,
    at: u64,
    deed: Deed,
    count: u64,
    /// The role of each process, by its number.
    known: HashMap<i32, String>,
    /// Threads whose present call fails when it returns.
    failing: HashMap<i32, i32>,
}

/// Runs the tracer until it is killed or nothing is left to trace.
pub fn run(arguments: &[String]) -> ExitCode {
    let [pid, roles, names, deed, at] = arguments else {
        return ExitCode::FAILURE;
    };
    let pid: i32 = pid.parse().unwrap();
    let list = |text: &str| -> Vec<String> {
        let words = text.split(',').filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let (begins, names) = list(names)
        .into_iter()
        .partition::<Vec<_>, _>(|name| name.starts_with('@'));
    let mut tracer = Tracer {
        roles: list(roles),
        names,
        begins: begins.first().map(|path| path[1..].to_owned()),
        begun: HashSet::new(),
        at: at.parse().unwrap(),
        deed: match deed.as_str() {
            "count" => Deed::Count,
            "kill" => Deed::Kill,
            number => Deed::Fail(number.parse().unwrap()),
        },
        count: 0,
        known: HashMap::new(),
        failing: HashMap::new(),
    };
    tracer.attach(pid);
    say("ready");
    tracer.follow();
    ExitCode::SUCCESS
}

fn say(line: &str) {
    let mut stdout = std::io::stdout();
    // Whoever asked may have heard enough.
    drop(
        stdout
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| stdout.flush()),
    );
}

/// What a process is here for: the first argument of our own program, nothing for any other.
fn role_of(pid: i32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0);
    let program = String::from_utf8_lossy(words.next()?).into_owned();
    let word = String::from_utf8_lossy(words.next()?).into_owned();
    program.contains("barmanapi").then_some(word)
}

fn group_of(tid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|text| text.trim().parse().ok())
        .unwrap_or(tid)
}

impl Tracer {
    fn attach(&mut self, pid: i32) {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC;
        self.known.insert(pid, role_of(pid).unwrap_or_default());
        let mut seized = Vec::new();
        loop {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            let tasks = tasks
                .flatten()
                .filter_map(|task| task.file_name().to_str()?.parse::<i32>().ok());
            let new: Vec<i32> = tasks.filter(|task| !seized.contains(task)).collect();
            if new.is_empty() {
                break;
            }
            for task in new {
                // A thread may have ended, or be traced by its birth.
                if ptrace::seize(Pid::from_raw(task), options).is_ok() {
                    ptrace::interrupt(Pid::from_raw(task)).ok();
                }
                seized.push(task);
            }
        }
    }

    fn follow(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::__WALL)) {
            match status {
                WaitStatus::PtraceSyscall(pid) => {
                    self.call(pid);
                    go_on(pid, None);
                }
                WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => {
                    if let Some(role) = role_of(pid.as_raw()) {
                        self.known.insert(pid.as_raw(), role);
                        go_on(pid, None);
                    } else {
                        self.known.remove(&pid.as_raw());
                        ptrace::detach(pid, None).ok();
                    }
                }
                WaitStatus::PtraceEvent(pid, _, _) => go_on(pid, None),
                WaitStatus::Stopped(pid, signal) => go_on(pid, signal),
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _) => {
                    self.known.remove(&pid.as_raw());
                }
                _ => {}
            }
        }
    }

    /// A thread enters a call or returns from one.
    fn call(&mut self, pid: Pid) {
        let Ok(info) = ptrace::syscall_info(pid) else {
            return;
        };
        if info.op == libc::PTRACE_SYSCALL_INFO_EXIT {
            if let Some(error) = self.failing.remove(&pid.as_raw()) {
                fail(pid, error);
            }
        } else if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
            self.enter(pid);
        }
    }

    fn enter(&mut self, pid: Pid) {
        let Ok(Some((name, [descriptor, path]))) = called(pid) else {
            return;
        };
        let group = group_of(pid.as_raw());
        let role = self.known.get(&group).map_or(FORKED, String::as_str);
        if !self.roles.iter().any(|wanted| wanted == role) {
            return;
        }
        if let Some(begins) = &self.begins
            && !self.begun.contains(&pid.as_raw())
        {
            if name != "openat" || !text_at(pid, path).contains(begins) {
                return;
            }
            self.begun.insert(pid.as_raw());
        }
        if !self.names.is_empty() && !self.names.iter().any(|wanted| wanted == name) {
            return;
        }
        // What wakes threads up is no file, and a socket or a pipe no disk.
        if matches!(self.deed, Deed::Fail(_)) || !self.names.is_empty() {
            let target = fs::read_link(format!("/proc/{group}/fd/{descriptor}"));
            let inside = target.is_ok_and(|target| {
                let target = target.to_string_lossy();
                ["anon_inode:", "socket:", "pipe:"]
                    .iter()
                    .any(|kind| target.starts_with(kind))
            });
            if inside && matches!(name, "write" | "read") {
                return;
            }
        }
        self.count += 1;
        if self.count != self.at {
            if self.deed == Deed::Count {
                say(&format!("{role} {name}"));
            }
            return;
        }
        match self.deed {
            Deed::Count => say(&format!("{role} {name}")),
            // Told first: whoever sees the death ends the tracing.
            Deed::Kill => {
                say(&format!("{role} {name}"));
                kill(Pid::from_raw(group), Signal::SIGKILL).ok();
            }
            Deed::Fail(error) => {
                skip(pid);
                self.failing.insert(pid.as_raw(), error);
                say(&format!("{role} {name}"));
            }
        }
    }
}

fn go_on(pid: Pid, signal: impl Into<Option<Signal>>) {
    // It may have been killed meanwhile.
    ptrace::syscall(pid, signal).ok();
}

/// The text that begins at a place in the memory of a thread, as far as a path may be long.
fn text_at(pid: Pid, at: u64) -> String {
    let mut bytes = vec![0; 4096];
    let memory = fs::File::open(format!("/proc/{pid}/mem"));
    let read = memory.and_then(|memory| memory.read_at(&mut bytes, at));
    let text = &bytes[..read.unwrap_or_default()];
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The name and the first two arguments of the call that a thread enters, when it counts.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn called(pid: Pid) -> nix::Result<Option<(&'static str, [u64; 2])>> {
    let registers = ptrace::getregs(pid)?;
    let number = i64::try_from(registers.orig_rax).unwrap_or(-1);
    Ok(calls::name(number).map(|name| (name, [registers.rdi, registers.rsi])))
}

/// Makes the kernel do nothing for the call that a thread enters.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn skip(pid: Pid) {
    if let Ok(mut registers) = ptrace::getregs(pid) {
        registers.orig_rax = u64::MAX;
        ptrace::setregs(pid, registers).ok();
    }
}

/// Gives the thread an error for its call.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn fail(pid: Pid, error: i32) {
    if let Ok(mut registers) = ptrace::getregs(pid) {
        registers.rax = i64::from(-error).cast_unsigned();
        ptrace::setregs(pid, registers).ok();
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn called(_: Pid) -> nix::Result<Option<(&'static str, [u64; 2])>> {
    Ok(None)
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn skip(_: Pid) {}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn fail(_: Pid, _: i32) {}
