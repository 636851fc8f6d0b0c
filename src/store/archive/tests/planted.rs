//! Archives that somebody else has written.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::super::StoreError;
use super::{Bench, LIMIT, reversed};
use crate::names::Ticket;

/// What to put behind the sound entries.
type Plant<'a> = Box<dyn Fn(&mut flate2::write::GzEncoder<File>) + 'a>;

/// Writes the archive of the month as some other program would.
fn plant(bench: &Bench, write: impl FnOnce(&mut flate2::write::GzEncoder<File>)) {
    let file = File::create(bench.archive()).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    write(&mut gzip);
    gzip.finish().unwrap();
    drop(fs::remove_file(bench.index()));
}

fn header(name: &[u8], kind: u8, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.as_mut_bytes()[156] = kind;
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_cksum();
    header
}

fn put(out: &mut impl Write, name: &[u8], kind: u8, bytes: &[u8]) {
    out.write_all(header(name, kind, bytes.len() as u64).as_bytes())
        .unwrap();
    out.write_all(bytes).unwrap();
    out.write_all(&vec![0; (512 - bytes.len() % 512) % 512])
        .unwrap();
}

fn put_job(out: &mut impl Write, bench: &Bench, ticket: &Ticket) {
    let folder = bench.store.job(ticket);
    for name in ["stdout", "result.json", "job.json", "stderr"] {
        let bytes = fs::read(folder.file(name)).unwrap();
        put(
            out,
            format!("202601/{ticket}/{name}").as_bytes(),
            b'0',
            &bytes,
        );
    }
}

fn everything_below(path: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap().flatten() {
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(everything_below(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn an_archive_that_tar_has_packed_anew_reads_and_is_not_written_to() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(12);
    let before = bench.all_told(&tickets);
    bench.rotate();
    let unpacked = tempfile::tempdir().unwrap();
    let tar = |words: &[&str]| {
        let done = Command::new("tar")
            .args(words)
            .arg("-C")
            .arg(unpacked.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let archive = bench.archive();
    let archive = archive.to_str().unwrap();
    tar(&["xzf", archive]);
    let done = Command::new("tar")
        .args(["czf", archive, "202601"])
        .current_dir(unpacked.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(bench.all_told(&tickets), before);
    assert_eq!(bench.damaged(), 0);
    let bytes = fs::read(archive).unwrap();
    let late = bench.ended(100);
    let _lock = bench.store.lock_rotation().unwrap();
    assert!(matches!(
        bench.store.rotate_some(&bench.month),
        Err(StoreError::ForeignArchive { .. })
    ));
    assert_eq!(fs::read(archive).unwrap(), bytes);
    assert!(bench.store.job(&late).path().exists());
    let mut expected = reversed(&tickets);
    expected.insert(0, late);
    assert_eq!(bench.listed(), expected);
}

#[test]
fn a_planted_archive_gives_what_is_readable_and_creates_nothing() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(2);
    let before = bench.all_told(&tickets);
    let ghost = "20260110T000000-00000000000a";
    plant(&bench, |out| {
        put(out, b"../../x", b'0', b"x");
        put(out, b"/tmp/barmanapi-planted", b'0', b"x");
        put(out, b"202601/../../../x", b'0', b"x");
        put(
            out,
            format!("202601/{ghost}/job.json").as_bytes(),
            b'2',
            b"",
        );
        put(out, format!("202601/{ghost}/stdout").as_bytes(), b'1', b"");
        for kind in *b"3467gSxK" {
            put(
                out,
                format!("202601/{ghost}/result.json").as_bytes(),
                kind,
                b"",
            );
        }
        put(out, b"././@LongLink", b'L', &[b'n'; 5_000]);
        put(
            out,
            b"202601/20260110T000000-00000000000b/job.json",
            b'0',
            b"{}",
        );
        put_job(out, &bench, &tickets[0]);
        put(
            out,
            b"202602/20260210T000000-00000000000b/job.json",
            b'0',
            b"{}",
        );
        put_job(out, &bench, &tickets[1]);
        put_job(out, &bench, &tickets[0]);
        out.write_all(&[0; 1024]).unwrap();
    });
    let mut file = File::options().append(true).open(bench.archive()).unwrap();
    file.write_all(&[b'j'; 5_000]).unwrap();
    for ticket in &tickets {
        fs::remove_dir_all(bench.store.job(ticket).path()).unwrap();
    }
    let there = everything_below(bench.store.root());
    assert_eq!(bench.all_told(&tickets), before);
    assert_eq!(bench.listed(), reversed(&tickets));
    assert!(bench.damaged() >= 10, "{}", bench.damaged());
    assert!(bench.told(&Ticket::parse(ghost).unwrap()).is_none());
    let mut after = everything_below(bench.store.root());
    after.retain(|path| *path != bench.index());
    assert_eq!(after, there);
}

#[test]
fn bombs_and_floods_of_entries_cost_little_time_and_hide_nothing_before_them() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(1);
    let before = bench.all_told(&tickets);
    let ghost = "20260110T000000-00000000000a";
    let zeros = vec![0; 1 << 20];
    let plants: Vec<(&str, Plant<'_>)> = vec![
        (
            "a record of 256 MiB",
            Box::new(|out| {
                out.write_all(
                    header(format!("202601/{ghost}/job.json").as_bytes(), b'0', 1 << 28).as_bytes(),
                )
                .unwrap();
                for _ in 0..1 << 8 {
                    out.write_all(&zeros).unwrap();
                }
            }),
        ),
        (
            "a file that says it has 1 TiB",
            Box::new(|out| {
                out.write_all(
                    header(format!("202601/{ghost}/stdout").as_bytes(), b'0', 1 << 40).as_bytes(),
                )
                .unwrap();
                out.write_all(&zeros).unwrap();
            }),
        ),
        (
            "a long name of 256 MiB",
            Box::new(|out| {
                out.write_all(header(b"././@LongLink", b'L', 1 << 28).as_bytes())
                    .unwrap();
                for _ in 0..1 << 8 {
                    out.write_all(&zeros).unwrap();
                }
            }),
        ),
        (
            "a million entries",
            Box::new(|out| {
                let entry = header(b"x", b'0', 0);
                let many = entry.as_bytes().repeat(1_000);
                for _ in 0..1_000 {
                    out.write_all(&many).unwrap();
                }
            }),
        ),
    ];
    for (name, write) in plants {
        plant(&bench, |out| {
            put_job(out, &bench, &tickets[0]);
            write(out);
        });
        let folder = bench.store.job(&tickets[0]).path().to_owned();
        let aside = folder.with_extension("aside");
        fs::rename(&folder, &aside).unwrap();
        let begin = Instant::now();
        let told = loop {
            match bench.store.archived(&tickets[0], LIMIT) {
                Err(StoreError::IndexNotReady { .. }) => {}
                _ => break bench.told(&tickets[0]),
            }
        };
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{name}: {:?}",
            begin.elapsed()
        );
        assert_eq!(told, before[&tickets[0]], "{name}");
        assert!(bench.damaged() >= 1, "{name}");
        assert!(
            bench
                .told(&Ticket::parse(ghost).unwrap())
                .is_none_or(|told| told == "damaged"),
            "{name}"
        );
        fs::rename(aside, folder).unwrap();
    }
}

#[test]
fn what_is_no_plain_file_is_not_opened() {
    let mut bench = Bench::new();
    let tickets = bench.tickets(1);
    for make in ["mkfifo", "mkdir"] {
        assert!(
            Command::new(make)
                .arg(bench.archive())
                .status()
                .unwrap()
                .success()
        );
        assert!(
            bench
                .told(&Ticket::parse("20260110T000000-00000000000a").unwrap())
                .is_none()
        );
        assert_eq!((bench.listed(), bench.damaged()), (tickets.clone(), 1));
        assert!(matches!(
            bench.store.rotate_some(&bench.month),
            Err(StoreError::ForeignArchive { .. })
        ));
        assert!(
            Command::new("rm")
                .arg("-r")
                .arg(bench.archive())
                .status()
                .unwrap()
                .success()
        );
    }
    std::os::unix::fs::symlink("/etc/passwd", bench.archive()).unwrap();
    assert_eq!(bench.damaged(), 1);
    assert!(matches!(
        bench.store.rotate_some(&bench.month),
        Err(StoreError::ForeignArchive { .. })
    ));
}
