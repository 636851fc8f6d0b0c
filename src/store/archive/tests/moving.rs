//! Ended jobs go into an archive and answer as before.

use std::fs::{self, File};
use std::io::Read;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Bench, LIMIT, reversed};

#[test]
fn an_archived_job_reads_as_before_and_plain_tar_reads_it_too() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(30);
    let before = bench.all_told(&tickets);
    assert!(before.values().all(Option::is_some));
    bench.rotate();
    assert!(!bench.store.month(&bench.month).exists());
    assert_eq!(bench.all_told(&tickets), before);
    assert_eq!(bench.listed(), reversed(&tickets));
    assert_eq!(bench.damaged(), 0);
    let unpacked = tempfile::tempdir().unwrap();
    let tar = Command::new("tar")
        .arg("xzf")
        .arg(bench.archive())
        .arg("-C")
        .arg(unpacked.path())
        .output()
        .unwrap();
    assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
    for ticket in &tickets {
        let folder = unpacked.path().join("202601").join(ticket.as_str());
        let out = fs::read_to_string(folder.join("stdout")).unwrap();
        assert!(out.starts_with(ticket.as_str()), "{out}");
        assert!(folder.join("job.json").exists() && folder.join("result.json").exists());
    }
    let list = Command::new("tar")
        .arg("tzf")
        .arg(bench.archive())
        .output()
        .unwrap();
    assert!(list.status.success() && list.stderr.is_empty(), "{list:?}");
    assert_eq!(
        String::from_utf8(list.stdout).unwrap().lines().count(),
        30 * 4
    );
}

#[test]
fn what_still_runs_stays_and_follows_when_it_has_ended() {
    let mut bench = Bench::new();
    let mut tickets = bench.tickets(3);
    let runs = bench.accepted(1);
    tickets.insert(2, runs.folder.ticket().clone());
    bench.rotate();
    assert!(runs.folder.path().exists());
    let mut listed = bench.listed();
    assert_eq!(listed.len(), 4);
    bench.end(&runs.folder);
    let before = bench.all_told(&tickets);
    // It has ended, and its supervisor has not let go of it yet.
    bench.rotate();
    assert!(runs.folder.path().exists());
    let folder = runs.folder.clone();
    drop(runs);
    bench.rotate();
    assert!(!folder.path().exists());
    assert!(!bench.store.month(&bench.month).exists());
    assert_eq!(bench.all_told(&tickets), before);
    listed.sort();
    let mut after = bench.listed();
    after.sort();
    assert_eq!(after, listed);
}

#[test]
fn jobs_of_one_second_are_listed_as_they_were_accepted_before_and_after() {
    let mut bench = Bench::new();
    let tickets: Vec<_> = (0..40).map(|n| bench.ended(n / 10)).collect();
    assert_eq!(bench.listed(), reversed(&tickets));
    let kept = bench.accepted(2);
    bench.rotate();
    let mut expected = reversed(&tickets);
    expected.insert(10, kept.folder.ticket().clone());
    assert_eq!(bench.listed(), expected);
    for behind in 0..expected.len() {
        let listing = bench
            .store
            .listing(&bench.month, Some(&expected[behind]))
            .unwrap();
        let rest: Vec<_> = listing
            .map(|entry| entry.unwrap().accepted.ticket)
            .collect();
        assert_eq!(rest, expected[behind + 1..]);
    }
    fs::remove_file(bench.index()).unwrap();
    assert_eq!(
        bench.listed(),
        expected,
        "the archive itself knows the order"
    );
}

#[test]
fn a_clock_that_was_set_back_puts_no_job_out_of_its_place() {
    let mut bench = Bench::new();
    let seconds = [10, 500, 500, 501, 20, 21, 22, 23, 600, 24, 601];
    let mut tickets: Vec<_> = seconds
        .iter()
        .enumerate()
        .map(|(n, second)| (*second, n, bench.ended(*second)))
        .collect();
    tickets.sort();
    let expected: Vec<_> = tickets
        .into_iter()
        .rev()
        .map(|(_, _, ticket)| ticket)
        .collect();
    assert_eq!(bench.listed(), expected);
    bench.rotate();
    assert_eq!(bench.listed(), expected);
}

#[test]
fn a_month_gets_jobs_again_after_it_was_archived() {
    let mut bench = Bench::new();
    let mut tickets = bench.tickets(5);
    bench.rotate();
    for second in [2, 100] {
        tickets.push(bench.ended(second));
    }
    let before = bench.all_told(&tickets);
    bench.rotate();
    assert_eq!(bench.all_told(&tickets), before);
    assert_eq!(bench.listed().len(), tickets.len());
}

#[test]
fn a_reader_beside_a_rotation_sees_every_job_once_and_the_same() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(300);
    let before = bench.all_told(&tickets);
    let done = AtomicBool::new(false);
    let bench = &bench;
    let asks_for_each = || {
        while !done.load(Ordering::Relaxed) {
            for ticket in &tickets {
                let here = bench.store.job(ticket).job().unwrap();
                let there = bench.store.archived(ticket, LIMIT).unwrap();
                assert!(here.is_some() || there.is_some(), "{ticket}");
            }
        }
    };
    let lists = || {
        while !done.load(Ordering::Relaxed) {
            let listing = bench.store.listing(&bench.month, None).unwrap();
            let listed: Vec<_> = listing
                .map(|entry| entry.unwrap().accepted.ticket)
                .collect();
            assert!(listed == reversed(&tickets), "{}", listed.len());
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(asks_for_each);
        scope.spawn(lists);
        bench.rotate();
        done.store(true, Ordering::Relaxed);
    });
    assert!(bench.all_told(&tickets) == before);
}

#[test]
fn no_byte_of_a_member_is_read_that_its_place_does_not_name() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(2);
    bench.rotate();
    let mut end = Vec::new();
    File::open(bench.archive())
        .unwrap()
        .read_to_end(&mut end)
        .unwrap();
    // Without blocks that end it, or tar would not see what follows.
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(end.as_slice())
        .read_to_end(&mut text)
        .unwrap();
    assert!(
        !text
            .windows(1024)
            .any(|two| two.iter().all(|byte| *byte == 0))
    );
    assert_eq!(tickets.len(), 2);
}
