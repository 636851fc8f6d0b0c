//! Archives and indexes that somebody else has put there.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use serde_json::Value;

use super::{Past, month, site, wait_until};
use crate::rig::{Answer, Lab, StandIn, User};

/// What is put behind an archive of ours.
type Plant<'a> = Box<dyn Fn(&mut GzEncoder<Vec<u8>>) + 'a>;

fn entry(name: &str, kind: u8, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[156] = kind;
    header.set_size(size);
    header.set_mode(0o4777);
    header.set_mtime(0);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// An answer, waited for while the index is being built.
#[track_caller]
fn ask(user: &User<'_>, target: &str) -> Answer {
    let since = Instant::now();
    loop {
        let answer = user.get(target);
        if answer.status != 503 {
            return answer;
        }
        assert_eq!(answer.header("retry-after"), Some("2"));
        assert!(
            since.elapsed() < Duration::from_secs(8),
            "it never gets ready"
        );
    }
}

fn damaged(page: &Value) -> u64 {
    page["damaged"].as_u64().unwrap_or_default()
}

#[test]
fn a_hostile_archive_is_read_within_limits_and_creates_nothing() {
    let stand_in = StandIn::new();
    let site = site(&stand_in, &[]);
    let closed = month(1);
    let mut past = Past::new(&site);
    let tickets = past.ended(&closed, 20);
    past.hand_over();
    let mut server = site.serve();
    wait_until("it is archived", || !past.store.month(&closed).exists());
    let archive = past.store.archive(&closed);
    let own = fs::read(&archive).unwrap();
    let right = server.login("ada").result(&tickets[7]);
    server.kill();
    let outside = site.file("outside");
    let absolute = format!("/tmp/planted-{:08x}", getrandom::u32().unwrap());
    let ghost = format!("{closed}05T000000-00000000000a");
    let zeros = vec![0; 1 << 20];
    let plants: Vec<(&str, Plant<'_>)> = vec![
        (
            "odd names and kinds",
            Box::new(|out| {
                for name in [
                    "../../outside",
                    &absolute,
                    &format!("{closed}/../../../outside"),
                ] {
                    out.write_all(&entry(name, b'0', 0)).unwrap();
                }
                for kind in *b"1234567gxLKSV" {
                    out.write_all(&entry(&format!("{closed}/{ghost}/job.json"), kind, 0))
                        .unwrap();
                }
            }),
        ),
        (
            "10 GiB in 10 MiB",
            Box::new(|out| {
                out.write_all(&entry(&format!("{closed}/{ghost}/stdout"), b'0', 10 << 30))
                    .unwrap();
                for _ in 0..2 << 10 {
                    out.write_all(&zeros).unwrap();
                }
            }),
        ),
        (
            "1 TiB that is not there",
            Box::new(|out| {
                out.write_all(&entry(&format!("{closed}/{ghost}/stdout"), b'S', 1 << 40))
                    .unwrap();
            }),
        ),
        (
            "a million entries",
            Box::new(|out| {
                let many = entry(&format!("{closed}/{ghost}/x"), b'0', 0).repeat(1000);
                for _ in 0..1000 {
                    out.write_all(&many).unwrap();
                }
            }),
        ),
    ];
    for (name, write) in plants {
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        write(&mut gzip);
        let bytes = [
            own.clone(),
            gzip.finish().unwrap(),
            b"and rubbish".repeat(99),
        ]
        .concat();
        fs::remove_file(&archive).unwrap();
        drop(fs::remove_file(past.store.archive_index(&closed)));
        fs::write(&archive, bytes).unwrap();
        Lab::get().own(&archive);
        let mut server = site.serve();
        let ada = server.login("ada");
        let before = server.size("VmRSS");
        let begin = Instant::now();
        let page = ask(&ada, &format!("/history/list?past={closed}"))
            .expect(200)
            .json();
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{name}: {:?}",
            begin.elapsed()
        );
        assert!(damaged(&page) >= 1, "{name}: {page}");
        assert_eq!(
            page["list"].as_array().unwrap().len(),
            tickets.len(),
            "{name}"
        );
        assert_eq!(ada.result(&tickets[7]), right, "{name}");
        let answer = ask(&ada, &format!("/history/result?ticket={ghost}"));
        assert!([200, 404].contains(&answer.status), "{name}: {answer:?}");
        let grown = server.size("VmHWM").saturating_sub(before);
        assert!(grown < 64 * 1024, "{name}: {grown} KiB");
        assert!(!outside.exists() && !std::path::Path::new(&absolute).exists());
        server.kill();
    }
}

#[test]
fn a_hostile_index_costs_a_new_one_and_no_answer() {
    let stand_in = StandIn::new();
    let site = site(&stand_in, &[]);
    let closed = month(1);
    let mut past = Past::new(&site);
    let tickets = past.ended(&closed, 60);
    past.hand_over();
    let server = site.serve();
    wait_until("it is archived", || !past.store.month(&closed).exists());
    let ada = server.login("ada");
    let index = past.store.archive_index(&closed);
    let good = fs::read_to_string(&index).unwrap();
    let right: Vec<_> = tickets.iter().map(|ticket| ada.result(ticket)).collect();
    for wrong in [
        String::new(),
        "x".repeat(100_000),
        good.replace("\"at\":0,", "\"at\":18446744073709551615,"),
        good.replace("\"len\":", "\"len\":9"),
        good.replace("\"at\":", "\"at\":1"),
        good.replace(&tickets[3], &tickets[4]),
        good.lines().rev().collect::<Vec<_>>().join("\n"),
        good[..good.len() / 2].to_owned(),
    ] {
        Lab::get().write(&index, &wrong, 0o600);
        let page = ask(&ada, &format!("/history/list?past={closed}&limit=1000"));
        let page = page.expect(200).json();
        assert_eq!(page["list"].as_array().unwrap().len(), tickets.len());
        assert_eq!(damaged(&page), 0);
        for (ticket, right) in tickets.iter().zip(&right) {
            assert_eq!(ada.result(ticket), *right);
        }
    }
    // A flipped byte costs its own job, which is told as damaged.
    let archive = past.store.archive(&closed);
    let mut bytes = fs::read(&archive).unwrap();
    let line = good.lines().nth(30).unwrap();
    let number = |name: &str| -> usize {
        let text = line.split(name).nth(1).unwrap();
        text[..text.find(|c: char| !c.is_ascii_digit()).unwrap()]
            .parse()
            .unwrap()
    };
    bytes[number("\"at\":") + number("\"len\":") / 2] ^= 4;
    fs::write(&archive, bytes).unwrap();
    let after: Vec<_> = tickets.iter().map(|ticket| ada.result(ticket)).collect();
    let changed: Vec<_> = after
        .iter()
        .zip(&right)
        .filter(|(after, right)| after != right)
        .collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].0["reason"], "record_damaged");
    assert_eq!(changed[0].0["state"], changed[0].1["state"]);
}
