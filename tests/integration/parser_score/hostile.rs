//! The memory that hostile help takes, seen from outside: in a process of its own.

use std::process::Command;

use barmanapi::catalogue::help::{
    MAX_TOTAL, assemble, parse_command, parse_overview, parse_version,
};
use barmanapi::names::CommandName;

/// Set in the process that is measured.
const CHILD: &str = "PARSER_SCORE_HOSTILE_CHILD";

/// The most memory that reading may take, in KiB, the texts themselves among it.
const LIMIT: u64 = 64 * 1024;

/// The most memory this process has had, in KiB (`VmHWM` of proc(5)).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

/// A text as long as is read at all, made of one part again and again.
fn fill(start: &str, part: &str) -> String {
    let room = (1 << 20) - start.len();
    start.to_owned() + &part.repeat(room / part.len())
}

fn read_hostile_texts() {
    let run = CommandName::parse("run").unwrap();
    let texts = |text: &str| {
        drop(parse_version(text));
        drop(parse_overview(text));
        drop(parse_command(&run, &[], text));
    };
    texts(&"usage: barman run [-h]\n".repeat(10_000_000 / 23));
    let usage = "usage: barman run [-h]\n\n";
    let option = format!("{usage}options:\n  -h, --help  ");
    for (start, part) in [
        ("", "\n"),
        ("", "\u{1b}["),
        ("usage: barman run ", "["),
        ("usage: barman run ", "[-x] "),
        ("usage: barman {", "a,"),
        (usage, "ab "),
        (usage, "x\n"),
        (&option, "(default: "),
        (&option, "\n            ab-"),
        (&option, "\n  -a"),
        (&option, "\n  --aa A, -b"),
    ] {
        texts(&fill(start, part));
    }
    let set: Vec<String> = (0..500).map(|n| format!("c{n}")).collect();
    let set_text = set.join(",");
    let lines = set.join("  x\n    ");
    let overview = format!(
        "usage: barman [-h] {{{set_text}}} ...\n\npositional arguments:\n  {{{set_text}}}\n    \
         {lines}  x\n\noptions:\n  -h, --help  show\n"
    );
    // Every page is good and full of words; all of them together are just enough or too much.
    for (size, is_read) in [(MAX_TOTAL / 501, true), (MAX_TOTAL / 499, false)] {
        let page = |name: &String| {
            let mut page = format!("usage: barman {name} [-h]\n\n");
            let end = "\n\noptions:\n  -h, --help  show\n";
            let words = (0..).map(|n| format!("{name}x{n} "));
            let room = size - page.len() - end.len();
            let mut filled = 0;
            page.extend(words.take_while(|word| {
                filled += word.len();
                filled <= room
            }));
            page.push_str(&" ".repeat(size - page.len() - end.len()));
            page + end
        };
        let pages: Vec<String> = set.iter().map(page).collect();
        let catalogue = assemble("3.20", &overview, |name| {
            let at: usize = name.as_str()[1..].parse().unwrap();
            Some(pages[at].as_str())
        });
        match catalogue {
            Ok(catalogue) => {
                assert!(is_read);
                assert_eq!(catalogue.commands.len(), 500);
                assert!(catalogue.commands[499].description.len() > size / 2);
            }
            Err(error) => assert!(!is_read, "{error}"),
        }
    }
}

#[test]
fn hostile_help_takes_less_than_64_mib() {
    if std::env::var_os(CHILD).is_some() {
        let before = peak();
        read_hostile_texts();
        println!("peak: {} {}", before, peak());
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg("parser_score::hostile::hostile_help_takes_less_than_64_mib")
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{output:?}");
    let (_, peaks) = text.split_once("peak: ").unwrap();
    let mut peaks = peaks
        .split_whitespace()
        .map(|peak| peak.parse::<u64>().unwrap());
    let (before, after) = (peaks.next().unwrap(), peaks.next().unwrap());
    super::tell(&format!(
        "hostile help took {} KiB of memory",
        after - before
    ));
    assert!(
        after - before < LIMIT,
        "{before} KiB before, {after} KiB after"
    );
}
