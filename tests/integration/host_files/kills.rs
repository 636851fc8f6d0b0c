//! `kill -9` of whoever replaces files or tries some out.

use std::fs;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::player::{on, who_has_open};
use super::trials::{alone, runs, script, trials};
use super::{Side, both, change, names, until};
use crate::rig::{Process, Sshd, processes};

/// Follows the threads of a process and kills it when the `at`-th system call begins; `false` when it
/// ended before.
fn kill_at(process: i32, at: usize, go: impl FnOnce()) -> bool {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut threads: Vec<_> = tasks
        .map(|task| task.unwrap().file_name().to_string_lossy().parse().unwrap())
        .map(Pid::from_raw)
        .collect();
    for &thread in &threads {
        ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD).unwrap();
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
    }
    go();
    for &thread in &threads {
        ptrace::syscall(thread, None).unwrap();
    }
    let (mut inside, mut calls, mut killed) = (Vec::new(), 0, false);
    while !threads.is_empty() {
        threads.retain(|&thread| {
            let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
            match waitpid(thread, Some(flags)) {
                Ok(WaitStatus::StillAlive) => std::thread::yield_now(),
                Ok(WaitStatus::PtraceSyscall(_)) => {
                    // A call stops it twice.
                    if let Some(index) = inside.iter().position(|found| *found == thread) {
                        inside.remove(index);
                    } else {
                        inside.push(thread);
                        calls += 1;
                    }
                    if calls == at && !killed {
                        killed = true;
                        kill(Pid::from_raw(process), Signal::SIGKILL).unwrap();
                    }
                    ptrace::syscall(thread, None).unwrap_or_default();
                }
                Ok(WaitStatus::Stopped(_, signal)) => {
                    ptrace::syscall(thread, signal).unwrap_or_default();
                }
                Ok(WaitStatus::PtraceEvent(..)) => {
                    ptrace::syscall(thread, None).unwrap_or_default();
                }
                Ok(_) | Err(_) => return false,
            }
            true
        });
    }
    killed
}

/// One replacement of two files, killed at a call; whether it came so far.
fn kill_a_writer(side: &Side, at: usize) -> bool {
    let (old, new) = ("old\n".repeat(3000), "new ".repeat(2000));
    let files = [side.put("one", &old, 0o600), side.put("two", &old, 0o640)];
    let lock = side.put("lock", "", 0o600);
    let held = fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    let paths = [&lock, &files[0], &files[1]].map(|path| path.to_str().unwrap());
    let killed = std::thread::scope(|scope| {
        let mut child = on(
            side,
            scope,
            &["replace", paths[0], &new, paths[1], paths[2]],
        );
        let started = child.as_ref().map(|child| child.id().cast_signed());
        let mut waiting = None;
        until(|| {
            // Others hold it for a moment between fork and exec.
            let parents = side.sshd.as_ref().map_or(vec![], Sshd::connections);
            let is_ours = |process: &Process| {
                Some(process.pid) == started || parents.contains(&process.parent)
            };
            let open = who_has_open(&lock, is_ours);
            waiting = open.first().copied();
            waiting.is_some()
        });
        let killed = kill_at(waiting.unwrap(), at, || held.unlock().unwrap());
        if let Some(child) = &mut child {
            child.wait().unwrap_or_default();
        }
        killed
    });
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        assert!(text == old || (text == new), "call {at}: {text:.40}");
    }
    assert!(killed || fs::read_to_string(&files[1]).unwrap() == new);
    side.ask(|host| host.replace(Some(&lock), &[change(&files[0], "next")]))
        .unwrap();
    assert_eq!(names(&side.folder), ["lock", "one", "two"], "call {at}");
    killed
}

/// Kills writers at every call, or at one of `step`; returns how many were.
fn kill_writers(side: &Side, step: usize) -> usize {
    let (mut at, mut kills) = (1 + std::process::id() as usize % step, 0);
    while kill_a_writer(side, at) {
        at += step;
        kills += 1;
    }
    println!("{}: killed at {kills} of {at} system calls", side.name());
    kills
}

#[test]
fn a_writer_that_is_killed_at_any_system_call_leaves_the_old_or_the_new_file() {
    assert!(kill_writers(&Side::here(), 1) > 60);
}

#[test]
fn a_writer_behind_ssh_that_is_killed_leaves_the_old_or_the_new_file() {
    assert!(kill_writers(&Side::there(), 4) > 20);
}

#[test]
fn the_folder_of_a_trial_that_is_killed_is_removed_by_the_next_one() {
    let _alone = alone();
    both(|side| {
        let mark = format!("3{:010}", getrandom::u32().unwrap());
        std::thread::scope(|scope| {
            let child = on(side, scope, &["try", &mark]);
            until(|| runs(&mark));
            let left = names(&trials());
            assert_eq!(left.len(), 1, "{left:?}");
            let maker = who_has_open(&trials().join(&left[0]), |_| true);
            let sleeps = |pid: i32| {
                let process = processes().into_iter().find(|process| process.pid == pid);
                process.is_some_and(|process| process.words.contains(&mark))
            };
            for pid in maker.into_iter().filter(|&pid| !sleeps(pid)) {
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            }
            if let Some(mut child) = child {
                child.wait().unwrap();
            }
            // A live one is left alone.
            assert_eq!(names(&trials()), left);
        });
        side.ask(|host| host.try_out(&script("true"))).unwrap();
        assert_eq!(names(&trials()), [""; 0]);
        for process in processes() {
            if process.words.contains(&mark) {
                kill(Pid::from_raw(process.pid), Signal::SIGKILL).unwrap();
            }
        }
    });
}

#[test]
fn a_trial_that_runs_is_left_alone_by_others() {
    let _alone = alone();
    both(|side| {
        let go = side.path("go");
        let text = format!(
            "while [ ! -e {} ]; do sleep 0.01; done; cat kept",
            go.display()
        );
        let mut trial = script(&text);
        trial.files = vec![("kept".into(), b"still there".to_vec())];
        std::thread::scope(|scope| {
            let first = scope.spawn(|| side.ask(|host| host.try_out(&trial)));
            until(|| {
                trials().exists()
                    && names(&trials())
                        .iter()
                        .any(|name| name.starts_with("trial."))
            });
            side.ask(|host| host.try_out(&script("true"))).unwrap();
            fs::write(&go, "").unwrap();
            let outcome = first.join().unwrap().unwrap();
            assert_eq!(outcome.tried[0].stdout, b"still there");
        });
    });
}
