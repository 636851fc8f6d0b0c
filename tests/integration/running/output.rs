//! What a command prints: how much of it is kept, and what of it can be read.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use super::{Bench, backup, eventually, number, peak};

const GIB: u64 = 1 << 30;
const LIMIT: u64 = 1 << 20;

/// Bytes that a job's folder takes on disk.
fn on_disk(bench: &Bench, ticket: &str) -> u64 {
    let files = std::fs::read_dir(bench.folder(ticket)).unwrap().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .map(|metadata| metadata.blocks() * 512)
        .sum()
}

/// A backup that prints a GiB between a first and a last line.
fn floods(newline: bool) {
    let unit = "x".repeat(99);
    let flood = json!({"backup": {
        "stdout": "the first line\n",
        "flood": {"bytes": GIB, "text": unit, "newline": newline},
        "grandchild": {"sleep": 0.2, "says": "\nthe last line\n"},
        "sleep": 5,
    }});
    let bench = Bench::new(&flood, &[&format!("barman.output_limit = {LIMIT}")]);
    let admin = bench.admin();
    let before = peak(bench.server.pid().into());
    let ticket = backup(&admin);
    let supervisor = number(&bench.started(1)[0]["ppid"]);
    // Most of it is given back as long as it still runs.
    let capture = bench.folder(&ticket).join("capture.stdout");
    eventually("end of the flood", || {
        (capture.metadata().ok()?.len() > GIB + 20).then_some(())
    });
    eventually("room given back", || {
        (on_disk(&bench, &ticket) < 8 * LIMIT).then_some(())
    });
    assert_eq!(admin.result(&ticket)["state"], "running");
    assert!(peak(supervisor) < 32 << 10, "{} KiB", peak(supervisor));
    let result = admin.finished(&ticket);
    assert_eq!(result["state"], "done");
    assert_eq!(result["truncated"], true);
    let total = "the first line\n".len() as u64 + GIB + "\nthe last line\n".len() as u64;
    assert_eq!(number(&result["bytes_total"]), total);
    let lines: Vec<&str> = result["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l.as_str().unwrap())
        .collect();
    assert_eq!(lines.first(), Some(&"the first line"));
    assert_eq!(lines.last(), Some(&"the last line"));
    let kept: u64 = lines.iter().map(|line| line.len() as u64 + 1).sum();
    assert!(
        (LIMIT..LIMIT + 100_000).contains(&kept),
        "{kept} bytes are kept"
    );
    let note = format!("[{} bytes left out]", total - LIMIT);
    assert!(lines.contains(&note.as_str()), "{note}");
    assert!(
        on_disk(&bench, &ticket) < 2 * LIMIT,
        "{}",
        on_disk(&bench, &ticket)
    );
    let grown = peak(bench.server.pid().into()).saturating_sub(before);
    assert!(grown < 32 << 10, "the server took {grown} KiB more");
}

#[test]
fn of_a_gibibyte_of_lines_the_first_and_the_last_half_are_kept() {
    floods(true);
}

#[test]
fn of_a_gibibyte_without_a_line_end_the_first_and_the_last_half_are_kept() {
    floods(false);
}

#[test]
fn a_flood_within_a_request_is_bounded_in_memory_and_on_disk() {
    let flood = json!({"list-backups": {
        "stdout": "the first line\n",
        "flood": {"bytes": GIB, "text": "x".repeat(99), "newline": true},
        "sleep": 2,
        "stderr": "the end\n",
    }});
    let bench = Bench::new(&flood, &[&format!("barman.output_limit = {LIMIT}")]);
    let admin = bench.admin();
    let server = u64::from(bench.server.pid());
    let before = peak(server);
    let garbage = bench.server.store().join("garbage");
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| admin.get("/barman/list-backups?server_name=main"));
        let started = bench.started(1);
        let pid = number(&started[0]["pid"]);
        // The descriptor of the running command leads to its capture file.
        let capture = std::path::PathBuf::from(format!("/proc/{pid}/fd/1"));
        let file = std::fs::read_link(&capture).unwrap();
        assert!(file.starts_with(&garbage), "{}", file.display());
        eventually("end of the flood", || {
            (file.metadata().unwrap().len() > GIB).then_some(())
        });
        eventually("room given back", || {
            (file.metadata().unwrap().blocks() * 512 < 8 * LIMIT).then_some(())
        });
        answer.join().unwrap()
    });
    let body = answer.expect(200).json();
    assert_eq!(body["truncated"], true);
    assert_eq!(number(&body["bytes_total"]), GIB + 15);
    assert_eq!(body["list"][0], "the first line");
    let grown = peak(server).saturating_sub(before);
    assert!(grown < 32 << 10, "the server took {grown} KiB more");
    eventually("an empty garbage folder", || {
        let mut folders = std::fs::read_dir(&garbage).unwrap().flatten();
        let own = folders.next().unwrap();
        (std::fs::read_dir(own.path()).unwrap().count() == 0).then_some(())
    });
}

#[test]
fn bytes_that_are_no_text_are_told_and_break_nothing() {
    let odd: &[u8] = b"a\xff\xfe\xc0\xafb\0c\x1b[31mred\x1b[0m\rd\n\xe2\x80\xaee\xf0\x9f\nlast";
    let mut hex = String::new();
    for byte in odd {
        write!(hex, "{byte:02x}").unwrap();
    }
    let prints = json!({"stdout_hex": hex, "stderr_hex": "ff0a"});
    let bench = Bench::new(&json!({"list-backups": prints, "backup": prints}), &[]);
    let admin = bench.admin();
    let direct = admin
        .get("/barman/list-backups?server_name=main")
        .expect(200)
        .json();
    let ticket = backup(&admin);
    for body in [direct, admin.finished(&ticket)] {
        assert_eq!(body["status_code"], 200, "{body}");
        assert_eq!(body["encoding"], "lossy", "{body}");
        let expected = String::from_utf8_lossy(odd);
        let lines: Vec<&str> = expected.lines().collect();
        assert_eq!(body["list"], json!(lines));
        assert_eq!(body["message"], "\u{fffd}\n");
    }
    assert_eq!(
        std::fs::read(bench.folder(&ticket).join("stdout")).unwrap(),
        odd
    );
    // Where JSON is asked for, what is none of it is told beside the lines.
    for text in [
        "{\"a\": [1, 2",
        &"[".repeat(100_000),
        "{}{}",
        "",
        "\u{feff}{}",
    ] {
        bench.now_does(&json!({"list-backups": {"stdout": text}}));
        let body = admin
            .get("/barman/list-backups?server_name=main&format=json")
            .expect(200)
            .json();
        assert!(body["data"].is_null(), "{body}");
        assert!(body["data_error"].is_string(), "{body}");
    }
    bench.now_does(&json!({"list-backups": {"stdout": "{\"b\": 1.50, \"a\": []}"}}));
    let body = admin
        .get("/barman/list-backups?server_name=main&format=json")
        .expect(200);
    let text = String::from_utf8(body.body).unwrap();
    assert!(text.contains(r#""data":{"b":1.50,"a":[]}"#), "{text}");
}

#[test]
fn millions_of_short_lines_take_little_more_memory_than_their_bytes() {
    const BYTES: u64 = 16 << 20;
    let control = json!({"backup": {"flood": {"bytes": BYTES, "text": "x", "newline": true}}});
    let bench = Bench::new(&control, &[]);
    let admin = bench.admin();
    let before = peak(bench.server.pid().into());
    for target in ["server_name=main", "server_name=main&format=json"] {
        let ticket = admin.get(&format!("/barman/backup?{target}")).ticket();
        let result = admin.finished(&ticket);
        let lines = result["list"].as_array().unwrap();
        assert_eq!(lines.len() as u64, BYTES / 2);
        assert!(lines.iter().all(|line| line == "x"));
        let words = result["data_error"].as_str().unwrap_or_default();
        assert_eq!(words.contains("stands in list"), target.contains("json"));
    }
    let grown = peak(bench.server.pid().into()).saturating_sub(before) >> 10;
    assert!(grown < 160, "the server took {grown} MiB more");
}
