//! What a crash leaves and what bad disks do.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

use super::{Bench, LIMIT, reversed};
use crate::store::StoreError;

#[test]
fn what_a_crash_leaves_is_put_in_order_and_no_job_is_lost_or_doubled() {
    type Crash = fn(&Bench, u64, Vec<u8>);
    let crashes: [(&str, Crash); 8] = [
        ("appended, not in the index", |bench, _, index| {
            fs::write(bench.index(), index).unwrap();
        }),
        ("a half member", |bench, before, index| {
            fs::write(bench.index(), index).unwrap();
            let archive = File::options().write(true).open(bench.archive()).unwrap();
            let length = archive.metadata().unwrap().len();
            archive.write_all_at(&[0; 8], before + 16).unwrap();
            archive.set_len(before + (length - before) / 3).unwrap();
        }),
        ("a few bytes", |bench, before, index| {
            fs::write(bench.index(), index).unwrap();
            let archive = File::options().write(true).open(bench.archive()).unwrap();
            archive.set_len(before + 3).unwrap();
        }),
        ("zeros", |bench, before, index| {
            fs::write(bench.index(), index).unwrap();
            let archive = File::options().write(true).open(bench.archive()).unwrap();
            let length = archive.metadata().unwrap().len();
            archive.set_len(before).unwrap();
            archive.set_len(length).unwrap();
        }),
        (
            "more rubbish than is written later",
            |bench, before, index| {
                fs::write(bench.index(), index).unwrap();
                let archive = File::options().write(true).open(bench.archive()).unwrap();
                archive.write_all_at(&[b'x'; 9_000], before).unwrap();
            },
        ),
        ("no index, a half member", |bench, before, _| {
            fs::remove_file(bench.index()).unwrap();
            let archive = File::options().write(true).open(bench.archive()).unwrap();
            let length = archive.metadata().unwrap().len();
            archive.write_all_at(&[0; 8], before + 16).unwrap();
            archive.set_len(before + (length - before) / 3).unwrap();
        }),
        ("in the index, folders still there", |_, _, _| {}),
        ("in the index, and cut off again", |bench, before, _| {
            let archive = File::options().write(true).open(bench.archive()).unwrap();
            archive.set_len(before).unwrap();
        }),
    ];
    for (name, crash) in crashes {
        let mut bench = Bench::new();
        let mut tickets = bench.tickets(4);
        bench.rotate();
        let (length, index) = (
            fs::metadata(bench.archive()).unwrap().len(),
            fs::read(bench.index()).unwrap(),
        );
        let late: Vec<_> = (10..13).map(|second| bench.ended(second)).collect();
        tickets.extend(late.clone());
        let before = bench.all_told(&tickets);
        let copy = tempfile::tempdir().unwrap();
        let saved = copy.path().join("month");
        assert!(
            Command::new("cp")
                .arg("-a")
                .arg(bench.store.month(&bench.month))
                .arg(&saved)
                .status()
                .unwrap()
                .success()
        );
        bench.rotate();
        assert!(
            Command::new("cp")
                .arg("-a")
                .arg(&saved)
                .arg(bench.store.month(&bench.month))
                .status()
                .unwrap()
                .success()
        );
        crash(&bench, length, index);
        assert_eq!(bench.all_told(&tickets), before, "{name}");
        assert_eq!(bench.listed(), reversed(&tickets), "{name}");
        bench.rotate();
        assert!(!bench.store.month(&bench.month).exists(), "{name}");
        assert_eq!(bench.all_told(&tickets), before, "{name}");
        assert_eq!(bench.listed(), reversed(&tickets), "{name}");
        assert_eq!(bench.damaged(), 0, "{name}");
        let tar = Command::new("tar")
            .arg("tzf")
            .arg(bench.archive())
            .output()
            .unwrap();
        assert!(
            tar.status.success() && tar.stderr.is_empty(),
            "{name}: {tar:?}"
        );
        assert_eq!(
            String::from_utf8(tar.stdout).unwrap().lines().count(),
            28,
            "{name}"
        );
    }
}

#[test]
fn an_older_index_loses_nothing_of_a_newer_archive() {
    let mut bench = Bench::new();
    let mut tickets = bench.tickets(4);
    bench.rotate();
    let index = fs::read(bench.index()).unwrap();
    tickets.extend((10..13).map(|second| bench.ended(second)));
    let before = bench.all_told(&tickets);
    bench.rotate();
    fs::write(bench.index(), index).unwrap();
    let last = bench.ended(20);
    bench.rotate();
    assert_eq!(bench.all_told(&tickets), before);
    assert!(bench.told(&last).unwrap().contains(last.as_str()));
    assert_eq!(bench.listed().len(), 8);
}

#[test]
fn an_index_that_is_missing_garbled_or_of_another_archive_is_built_anew() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(200);
    let before = bench.all_told(&tickets);
    bench.rotate();
    let good = fs::read(bench.index()).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let header = text.lines().next().unwrap();
    let swapped = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    let line = |n: usize| text.lines().nth(n).unwrap();
    let unsorted = {
        let mut lines: Vec<_> = text.lines().collect();
        lines[1..].reverse();
        (lines.join("\n") + "\n").into_bytes()
    };
    let mut wrong = Vec::new();
    let (ours, other) = (line(50), line(120));
    wrong.push(text.replace(&ours[29..], &other[29..]).into_bytes());
    let offset = &ours[29..ours.find("\"order\"").unwrap()];
    for lie in [
        r#"{"place":{"at":99999999999,"len":100},"#,
        r#"{"place":{"at":18446744073709551615,"len":18446744073709551615},"#,
        r#"{"place":{"at":0,"len":18446744073709551615},"#,
        r#"{"place":{"at":5,"len":700},"#,
        r#"{"place":{"at":0,"len":700,"inner":[18446744073709551615,5]},"#,
        r#"{"place":{"at":-1,"len":700},"#,
    ] {
        wrong.push(swapped(offset, lie));
    }
    wrong.extend([
        Vec::new(),
        b"\n".to_vec(),
        good[..good.len() / 2].to_vec(),
        good[1..].to_vec(),
        vec![b'x'; 100_000],
        [header.as_bytes(), b"\n"].concat(),
        [header.as_bytes(), b"\n", &vec![b'0'; 300_000], b"\n"].concat(),
        unsorted.clone(),
        swapped("202601 ", "202512 "),
        swapped("length=0", "length=9"),
        text.replace("ended_at", "ended_it").into_bytes(),
    ]);
    for (n, wrong) in wrong.iter().enumerate() {
        fs::write(bench.index(), wrong).unwrap();
        // What is asked first must not matter, but that halving an unsorted file finds some.
        if n % 2 == 0 && *wrong != unsorted {
            assert!(bench.all_told(&tickets) == before, "{n}");
        }
        assert!(bench.listed() == reversed(&tickets), "{n}");
        assert!(bench.all_told(&tickets) == before, "{n}");
    }
    fs::remove_file(bench.index()).unwrap();
    assert_eq!(bench.all_told(&tickets), before);
    assert_eq!(fs::read(bench.index()).unwrap(), good);
    // Another archive comes under an index that is sound in itself.
    let mut other = Bench::new();
    let theirs: Vec<_> = (1000..1250).map(|second| other.ended(second)).collect();
    other.rotate();
    fs::copy(other.archive(), bench.archive()).unwrap();
    assert!(bench.told(&theirs[7]).unwrap().contains(theirs[7].as_str()));
    assert_eq!(bench.listed(), reversed(&theirs));
}

/// What the list tells of each job.
fn entries(bench: &Bench) -> Result<Vec<String>, StoreError> {
    let listing = bench.store.listing(&bench.month, None)?;
    listing
        .map(|entry| entry.map(|entry| format!("{:?} {:?}", entry.accepted, entry.ended)))
        .collect()
}

/// What there is, also when an index is found not to hold while it is read.
fn eventually<T>(mut read: impl FnMut() -> Result<T, StoreError>) -> T {
    let mut tries = 0;
    loop {
        match read() {
            Err(StoreError::IndexNotReady { .. }) if tries < 3 => tries += 1,
            read => break read.unwrap(),
        }
    }
}

#[test]
fn a_flipped_byte_costs_one_job_at_most_and_never_changes_an_answer() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(5);
    let before = bench.all_told(&tickets);
    bench.rotate();
    let right = entries(&bench).unwrap();
    let (archive, index) = (
        fs::read(bench.archive()).unwrap(),
        fs::read(bench.index()).unwrap(),
    );
    for with_index in [true, false] {
        for at in (0..archive.len()).step_by(if with_index { 13 } else { 29 }) {
            let mut flipped = archive.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(bench.archive(), &flipped).unwrap();
            if with_index {
                fs::write(bench.index(), &index).unwrap();
            } else {
                fs::remove_file(bench.index()).unwrap();
            }
            let after = bench.all_told(&tickets);
            let differ: Vec<_> = tickets
                .iter()
                .filter(|ticket| after[*ticket] != before[*ticket])
                .collect();
            assert!(differ.len() <= 1, "{at}: {differ:?}");
            for ticket in differ {
                let told = after[ticket].as_deref();
                // Without any index nobody knows who stood where the beginning is unreadable.
                assert!(
                    told == Some("damaged") || (!with_index && told.is_none()),
                    "{at}: {told:?}"
                );
            }
            // What is listed is what it was, or not there, which is told.
            let listed = eventually(|| entries(&bench));
            assert!(listed.iter().all(|entry| right.contains(entry)), "{at}");
            assert!(listed.len() >= right.len() - 1, "{at}");
            assert!(listed.len() == right.len() || bench.damaged() > 0, "{at}");
            let after = bench.all_told(&tickets);
            // What is damaged is not asked for the rest of time: a second look agrees.
            assert_eq!(bench.all_told(&tickets), after, "{at}");
        }
    }
}

#[test]
fn a_flipped_bit_of_an_index_changes_no_answer_no_list_and_hides_no_job() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(3);
    let before = bench.all_told(&tickets);
    let stranger = bench.accepted(1).folder.ticket().clone();
    bench.rotate();
    let right = entries(&bench).unwrap();
    let good = fs::read(bench.index()).unwrap();
    let first = getrandom::u64().unwrap() % 7;
    for at in (usize::try_from(first).unwrap()..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(bench.index(), &bad).unwrap();
        // One way of reading or the other is first to meet it.
        let list = |what| {
            let listed = eventually(|| entries(&bench));
            assert_eq!(listed, right, "byte {at}, {what}");
            assert_eq!(bench.damaged(), 0, "byte {at}, {what}");
        };
        if at % 2 == 0 {
            list("first");
        }
        assert_eq!(bench.all_told(&tickets), before, "byte {at}");
        let archived = bench.store.archived(&stranger, LIMIT).unwrap();
        assert!(archived.is_none(), "byte {at}");
        list("last");
    }
}

#[test]
fn a_damaged_member_does_not_keep_later_jobs_from_being_archived() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(3);
    bench.rotate();
    let mut archive = fs::read(bench.archive()).unwrap();
    let at = archive.len() / 2;
    archive[at] ^= 1;
    fs::write(bench.archive(), archive).unwrap();
    let late = bench.ended(50);
    bench.rotate();
    assert!(bench.told(&late).unwrap().contains(late.as_str()));
    assert!(!bench.store.month(&bench.month).exists());
    let damaged = tickets
        .iter()
        .filter(|t| bench.told(t).unwrap() == "damaged")
        .count();
    assert_eq!(damaged, 1);
}

#[test]
fn a_truncated_archive_still_gives_what_stands_before_the_cut() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(6);
    let before = bench.all_told(&tickets);
    bench.rotate();
    let whole = fs::read(bench.archive()).unwrap();
    let index = fs::read(bench.index()).unwrap();
    for cut in [whole.len() - 1, whole.len() * 3 / 4, whole.len() / 2, 10, 0] {
        fs::write(bench.archive(), &whole[..cut]).unwrap();
        fs::write(bench.index(), &index).unwrap();
        let after = bench.all_told(&tickets);
        let kept = cut * tickets.len() / whole.len();
        for (n, ticket) in tickets.iter().enumerate() {
            if n + 1 < kept {
                assert_eq!(after[ticket], before[ticket], "{cut}");
            } else if after[ticket] != before[ticket] {
                assert!(
                    matches!(after[ticket].as_deref(), None | Some("damaged")),
                    "{cut}"
                );
            }
        }
    }
}

#[test]
fn what_an_archive_that_was_cut_has_lost_is_told_as_damaged_and_comes_back_with_it() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(6);
    let before = bench.all_told(&tickets);
    bench.rotate();
    let whole = fs::read(bench.archive()).unwrap();
    let index = fs::read_to_string(bench.index()).unwrap();
    let at = |n: usize| place(&index, n);
    // Between two members, behind the beginning of one, inside one, and everything.
    for (cut, left) in [(at(4), 4), (at(4) + 30, 4), (at(4) + 200, 4), (0, 0)] {
        fs::write(bench.archive(), &whole[..cut]).unwrap();
        fs::write(bench.index(), &index).unwrap();
        for turn in 0..2 {
            for (n, ticket) in tickets.iter().enumerate() {
                let told = bench.told(ticket);
                let wanted = Some("damaged".to_owned());
                let wanted = if n < left { &before[ticket] } else { &wanted };
                assert_eq!(told, *wanted, "{cut}, {n}, {turn}");
            }
            assert!(bench.damaged() > 0, "{cut}, {turn}");
            assert_eq!(bench.listed(), reversed(&tickets), "{cut}, {turn}");
            // Once more, with an index that has to be built anew but for its lines.
            let built = fs::read_to_string(bench.index()).unwrap();
            let worse = built.replacen("\"order\":0", "\"order\":1", left.min(1));
            fs::write(bench.index(), &worse).unwrap();
        }
    }
    // Other jobs take the place of those.
    fs::write(bench.archive(), &whole[..at(4)]).unwrap();
    fs::write(bench.index(), &index).unwrap();
    assert_eq!(bench.told(&tickets[5]).as_deref(), Some("damaged"));
    let later = bench.ended(50);
    let right = bench.told(&later);
    bench.rotate();
    assert!(!bench.store.job(&later).path().exists());
    assert_eq!(bench.told(&later), right);
    assert_eq!(bench.told(&tickets[5]).as_deref(), Some("damaged"));
    // The archive comes back from a backup.
    fs::write(bench.archive(), &whole).unwrap();
    assert_eq!(bench.all_told(&tickets), before);
    assert_eq!(bench.damaged(), 0);
}

/// Where the index says that its n-th job begins.
fn place(index: &str, n: usize) -> usize {
    let line = index.lines().nth(n + 1).unwrap();
    let at = line.split("\"at\":").nth(1).unwrap();
    at.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn a_damaged_beginning_does_not_hide_what_a_cut_has_lost() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(6);
    let before = bench.all_told(&tickets);
    bench.rotate();
    let whole = fs::read(bench.archive()).unwrap();
    let index = fs::read_to_string(bench.index()).unwrap();
    // In the first member: what it is, its length, the ticket that it names, its bytes.
    for flipped in [0, 18, 62, 100] {
        let mut left = whole[..place(&index, 4)].to_vec();
        left[flipped] ^= 1;
        fs::write(bench.archive(), left).unwrap();
        fs::write(bench.index(), &index).unwrap();
        for (n, ticket) in tickets.iter().enumerate() {
            let told = bench.told(ticket);
            let is_damaged = told.as_deref() == Some("damaged");
            match n {
                0 => assert!(is_damaged || told == before[ticket], "{flipped}: {told:?}"),
                1..4 => assert_eq!(told, before[ticket], "{flipped}, {n}"),
                _ => assert!(is_damaged, "{flipped}, {n}: {told:?}"),
            }
        }
        let listed = bench.listed();
        assert_eq!(listed[..5], reversed(&tickets)[..5], "{flipped}");
    }
}
