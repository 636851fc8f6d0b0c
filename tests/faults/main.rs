//! `make faults`: what breaks on machines, provoked on purpose, and what was lost then.
//!
//! Every fault is one row of the table in `share/doc/FAULTS.md`. A new one is a [`Fault`] in the list of
//! its family. Without `FAULTS_DOC` the harness runs in its short form, as one of the tests.
//!
//! ```text
//! FAULTS_SEED=NUMBER   repeats a run
//! FAULTS_DOC=FILE      the long form; writes the table there
//! FAULTS_LONG=1        the long form without the table
//! ```
//! Arguments name the faults to run, by parts of `family::name`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::missing_panics_doc,
    clippy::too_many_lines,
    clippy::format_push_string,
    reason = "a test that can't go on fails, and says so"
)]

mod bench;
mod calls;
mod closed;
mod config;
mod crash;
mod damage;
mod floods;
mod host;
mod limits;
mod links;
mod malformed;
mod months;
mod oracle;
mod order;
mod order_of_changes;
mod own_config;
#[allow(dead_code, reason = "the integration tests use the rest")]
#[path = "../integration/archive/past.rs"]
mod past;
mod processes;
mod requests;
#[allow(
    dead_code,
    unused_imports,
    reason = "the integration tests use the rest"
)]
#[path = "../integration/rig/mod.rs"]
mod rig;
mod rollback;
mod room;
mod run;
mod shortage;
mod table;
mod trace;
mod tracer;
#[allow(dead_code, reason = "the integration tests use the rest")]
#[path = "../integration/kill_minus_nine/truth.rs"]
mod truth;
mod twins;
mod users;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use run::{Fault, Run};

/// All faults, by family.
const FAMILIES: &[(&str, &[Fault])] = &[
    ("room", room::FAULTS),
    ("host", host::FAULTS),
    ("links", links::FAULTS),
    ("twins", twins::FAULTS),
    ("floods", floods::FAULTS),
    ("words", malformed::FAULTS),
    ("words", oracle::FAULTS),
    ("processes", processes::FAULTS),
    ("crash", crash::FAULTS),
    ("crash", order::FAULTS),
    ("crash", order_of_changes::FAULTS),
    ("crash", config::FAULTS),
    ("crash", own_config::FAULTS),
    ("crash", rollback::FAULTS),
    ("crash", users::FAULTS),
    ("months", months::FAULTS),
    ("months", damage::FAULTS),
    ("shortage", shortage::FAULTS),
    ("shortage", limits::FAULTS),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((word, rest)) = arguments.split_first()
        && word == tracer::WORD
    {
        return tracer::run(rest);
    }
    // What cargo tells every harness is about others.
    let wanted: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    if arguments.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    let doc = std::env::var_os("FAULTS_DOC");
    let long = doc.is_some() || std::env::var_os("FAULTS_LONG").is_some();
    let seed = std::env::var("FAULTS_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| getrandom::u64().unwrap() >> 16);
    let (mut passed, mut failed, mut filtered) = (0, 0, 0);
    let mut table = table::Table::new(seed);
    let began = Instant::now();
    for (family, faults) in FAMILIES {
        for fault in *faults {
            let name = format!("{family}::{}", fault.name);
            if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
                filtered += 1;
                continue;
            }
            println!("fault {name} (seed {seed})");
            let mut run = Run::new(&name, seed, long);
            let outcome = catch_unwind(AssertUnwindSafe(|| (fault.provoke)(&mut run)));
            // Other tests look at that folder as a whole.
            config::forget_trials();
            if let Err(panic) = &outcome {
                run.wrong.push(words_of(panic.as_ref()));
            }
            let verdict = if run.wrong.is_empty() { "ok" } else { "FAILED" };
            println!(
                "fault {name}: {verdict}, {} times, {:.1} s",
                run.times,
                run.elapsed().as_secs_f64()
            );
            if run.wrong.is_empty() {
                passed += 1;
            } else {
                failed += 1;
            }
            table.add(family, fault, &run);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    if let Some(doc) = doc {
        table.write(&doc, seconds);
    }
    // The line by which `make test` counts.
    println!(
        "\ntest result: {}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out; finished in {seconds:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" }
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        println!("repeat with FAULTS_SEED={seed}");
        ExitCode::FAILURE
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("a panic without words");
    let short: String = text.chars().take(2000).collect();
    short
}
