//! What comes from a warm Barman is what a plain start says, byte for byte.

use std::path::{Path, PathBuf};

use barmanapi::catalogue::traits::Traits;
use serde_json::Value;

use super::Bench;
use crate::rig::{Answer, Lab};

/// A folder with the texts that run on a Barman host, and the scripts that ask them.
fn scripts() -> PathBuf {
    let lab = Lab::get();
    let folder = lab.folder("warm");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(here.join(name)).unwrap();
    let joined = |names: &[&str]| {
        let parts: Vec<_> = names.iter().map(|name| read(name)).collect();
        format!("{}\nmain()\n", parts.concat())
    };
    let remote = ["share/remote.py", "share/remote_warm.py"];
    let warm = [
        "share/warm.py",
        "share/warm_child.py",
        "share/warm_memory.py",
        "share/warm_barman.py",
    ];
    for (name, text) in [
        ("remote.py", joined(&remote[..1])),
        ("remote_warm.py", joined(&remote)),
        ("warm.py", joined(&warm)),
        ("asking.py", read("tests/integration/warm/asking.py")),
        ("both_ways.py", read("tests/integration/warm/both_ways.py")),
        (
            "surroundings.py",
            read("tests/integration/warm/surroundings.py"),
        ),
    ] {
        lab.write(&folder.join(name), &text, 0o644);
    }
    folder
}

fn holds(script: &str, words: &[&str]) {
    let lab = Lab::get();
    let folder = scripts();
    let mut command = lab.command(lab.fact("BARMAN_PYTHON"));
    command
        .env("LC_ALL", "C.UTF-8")
        .envs(std::env::var_os("WARM_ALL").map(|all| ("WARM_ALL", all)))
        .arg(folder.join(script))
        .args(words)
        .arg(std::env::var("LAB_ENV").unwrap());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{wrong}");
    println!("{said}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn every_command_that_only_reads_says_the_same_warm_and_started_anew_here_and_over_ssh() {
    let commands = Traits::builtin().short_readers();
    assert!(commands.len() > 15, "{commands:?}");
    holds("both_ways.py", &[&commands.join(",")]);
}

#[test]
fn a_child_of_the_parent_finds_what_a_plain_start_finds_and_ends_with_it() {
    holds("surroundings.py", &[]);
}

/// Asks both; what they say has to be the same, while what a plain start says does not change by
/// itself: a database goes on writing.
#[track_caller]
pub(super) fn assert_alike(
    target: &str,
    warm: impl Fn(&str) -> Answer,
    plain: impl Fn(&str) -> Answer,
) {
    let read = |answer: Answer| (answer.status, without_clocks(answer.json()));
    let mut before = read(plain(target));
    for _ in 0..10 {
        let (of_warm, after) = (read(warm(target)), read(plain(target)));
        if before == after {
            assert_eq!(of_warm, after, "{target}");
            return;
        }
        before = after;
    }
    panic!("what a plain start says changes all the time: {target}");
}

/// An answer without what a clock has a part in.
fn without_clocks(mut answer: Value) -> Value {
    let parts = answer.as_object_mut().unwrap();
    for part in ["started_at", "ended_at", "duration_ms"] {
        parts.remove(part);
    }
    answer
}

#[test]
fn an_answer_is_the_same_with_a_warm_barman_and_without() {
    let warm = Bench::new(&[]);
    let plain = Bench::new(&["barman.warm = off"]);
    let (warm, plain) = (warm.warmed(), plain.started());
    for target in [
        "/barman/list-servers",
        "/barman/list-servers?format=json",
        "/barman/list-backups?server_name=main",
        "/barman/list-backups?server_name=other&format=json&minimal=true",
        "/barman/show-backup?server_name=main&backup_id=20200101T000000",
        "/barman/list-files?server_name=main&backup_id=20200101T000000&format=json",
        "/barman/replication-status?server_name=main",
        "/barman/sync-info?server_name=nosuch",
        "/barman/get-wal?server_name=main&wal_name=0000000100000000000000FF",
    ] {
        assert_alike(
            target,
            |target| warm.get(target),
            |target| plain.get(target),
        );
    }
    assert!(warm.worked() > 0);
    assert_eq!(plain.parents(), Vec::<i32>::new());
}
