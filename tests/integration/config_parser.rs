//! What `inifile` reads is what Python's own `ConfigParser` reads, set up as Barman sets it up.
//!
//! Generated files and changed real ones go to one Python process and to us, and everything is
//! compared: what is refused and at which line, the sections and keys in order, raw values,
//! interpolated values and the kinds of interpolation errors. `CONFIG_PARSER_SEED` sets the seed,
//! which is printed, `CONFIG_PARSER_FILES` how many files there are.

mod edits;
mod features;
mod generate;
mod python;

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use barmanapi::inifile::Document;

use features::{ACCEPTED, REFUSED, features};
use generate::Generator;
use python::{Python, our_answer, show};

/// How many files are compared.
const FILES: usize = 20_000;

/// Of a hundred files, how many must have each feature.
const LEAST: usize = 5;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    }
}

#[test]
fn twenty_thousand_files_are_read_as_python_reads_them() {
    let seed = number("CONFIG_PARSER_SEED", 1);
    let files = usize::try_from(number("CONFIG_PARSER_FILES", FILES as u64)).unwrap();
    println!("config parser: CONFIG_PARSER_SEED={seed}");
    let began = Instant::now();
    let (mut questions, answers) = Python::start();
    let (asked, to_compare) = sync_channel::<Vec<u8>>(256);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut refused = 0;
    let mut different = 0;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut generator = Generator::new(seed);
            for _ in 0..files {
                let text = generator.file();
                if questions.ask(&text).is_err() || asked.send(text).is_err() {
                    return;
                }
            }
        });
        // Python ends with its answers, so that a failure here does not leave the other thread behind.
        let mut answers = answers;
        for (number, text) in to_compare.into_iter().enumerate() {
            let document = Document::parse(&text);
            let (ours, theirs) = (our_answer(&document), answers.answer());
            if ours != theirs {
                different += 1;
                println!(
                    "file {number} of seed {seed} differs: {:?}\n  Python: {}\n  ours:   {}",
                    String::from_utf8_lossy(&text),
                    show(&theirs),
                    show(&ours)
                );
                assert!(different < 10, "too many differences");
            }
            refused += usize::from(document.is_err());
            for feature in features(&text, &document) {
                *counts.entry(feature).or_default() += 1;
            }
        }
    });
    println!(
        "config parser: {files} files compared in {:.1} s, {refused} refused by Python and by us, {different} differences",
        began.elapsed().as_secs_f64()
    );
    let mut rare = Vec::new();
    for (kind, names) in [("read", ACCEPTED), ("refused", REFUSED)] {
        for name in names {
            let count = counts.remove(name).unwrap_or_default();
            let tenths = count * 1000 / files;
            println!(
                "  {kind:8} {name:40} {count:6} = {}.{} %",
                tenths / 10,
                tenths % 10
            );
            if count * 100 < files * LEAST {
                rare.push(*name);
            }
        }
    }
    assert_eq!(different, 0);
    assert!(rare.is_empty(), "too few files have {rare:?}");
    assert!(
        refused * 100 >= files * LEAST && refused < files / 2,
        "{refused} refused"
    );
    assert!(counts.is_empty(), "features without a name: {counts:?}");
}
