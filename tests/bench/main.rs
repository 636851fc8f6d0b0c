//! `make bench`: what barmanapi costs, side by side with what it stands on, in one run, as ratios.
//!
//! The program under measurement is this very binary, started once more: as the service, or as a
//! bare Rocket that answers with the same bytes. `wrk` asks both. Nothing here passes or fails by
//! time; a goal that is missed is said to be.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement that can't go on says so and ends"
)]

mod bare;
mod count;
mod load;
mod many;
mod months;
mod over_ssh;
mod peer;
mod process;
mod site;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use barmanapi::cli;
use barmanapi::jobs::supervise;
use barmanapi::runner::launch;
use site::Site;

/// Rounds of each comparison; both sides take turns in each.
const ROUNDS: usize = 5;

/// Pairs of one request and one process.
const PAIRS: usize = 30;

/// Logins before the memory is read, and the rest between.
const LOGINS: usize = 100;
const REST: Duration = Duration::from_secs(60);

/// A part of what is measured, by its name.
type Part = (&'static str, fn(&Site));

const PARTS: &[Part] = &[
    ("requests", requests),
    ("ssh", over_ssh::command_against_ssh),
    ("peer", peer::measure),
    ("many", many::measure),
    ("months", months::measure),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(word) if word == launch::WORD => launch::run(arguments),
        Some(word) if word == supervise::WORD => supervise::run(arguments),
        Some(word) if word == "serve" || word == "user" => cli::run(),
        Some(word) if word == "bare" => bare::serve(arguments.map(|a| a.into_string().unwrap())),
        _ => measure(),
    }
}

/// Measures the parts that are named, `cargo bench --bench bench -- peer many`, or all.
fn measure() -> ExitCode {
    let words = std::env::args().skip(1);
    let words: Vec<String> = words.filter(|word| !word.starts_with("--")).collect();
    let is_wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    let site = Site::new();
    println!(
        "machine: {} cores; Barman {}",
        cores(),
        site.fact("BARMAN_VERSION")
    );
    for (name, part) in PARTS {
        if is_wanted(name) {
            part(&site);
        }
    }
    ExitCode::SUCCESS
}

/// What a request costs, and the memory after many.
fn requests(site: &Site) {
    let mut server = site.serve();
    let token = Site::token(server.port);
    route_against_bare_rocket(site, server.port, &token);
    list_against_process(site, server.port, &token);
    memory_after_logins(&server);
    server.stop();
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn spread(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    format!("{low:.0} to {high:.0}")
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// A named route that needs a token and runs nothing, against bare Rocket with the same answer.
fn route_against_bare_rocket(site: &Site, port: u16, token: &str) {
    let target = "/auth/user";
    let answer = site::request(port, target, token);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let bare = site.bare(&answer);
    let same = site::request(bare.port, target, token);
    assert_eq!(
        site::shape(&answer),
        site::shape(&same),
        "the answers differ in shape"
    );
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(load::ask(port, target, 64, Some(token)));
        theirs.push(load::ask(bare.port, target, 64, Some(token)));
    }
    println!(
        "\n{target} with a token, 64 clients, {ROUNDS} rounds of 4 s, requests per second and milliseconds"
    );
    let (ours, theirs) = (
        load::tell("barmanapi", &ours),
        load::tell("bare Rocket", &theirs),
    );
    let ratio = ours / theirs;
    println!(
        "  ratio {ratio:.2}; goal: at least 0.80: {}",
        verdict(ratio >= 0.8)
    );
}

/// One request against one process of Barman, taking turns.
fn list_against_process(site: &Site, port: u16, token: &str) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut starts = Vec::new();
    let target = "/barman/list-backups?server_name=main";
    for _ in 0..PAIRS {
        let before = site.starts();
        let begin = Instant::now();
        let answer = site::request(port, target, token);
        ours.push(begin.elapsed().as_secs_f64() * 1000.0);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        starts.push(site.starts() - before);
        let begin = Instant::now();
        let output = site.barman(&["list-backups", "main"]);
        theirs.push(begin.elapsed().as_secs_f64() * 1000.0);
        assert!(output.status.success(), "{output:?}");
    }
    // The first request may have asked for the servers as well.
    let once = starts.iter().skip(1).filter(|starts| **starts == 1).count();
    println!("\nlist-backups main, {PAIRS} pairs, milliseconds");
    println!(
        "  over HTTP       median {:6.1}   ({})",
        median(ours.clone()),
        spread(&ours)
    );
    println!(
        "  barman process  median {:6.1}   ({})",
        median(theirs.clone()),
        spread(&theirs)
    );
    println!(
        "  exactly one start of Barman in {once} of {} requests",
        PAIRS - 1
    );
    let more = median(ours) - median(theirs);
    println!(
        "  {more:.1} ms on top; goal: at most 10 ms: {}",
        verdict(more <= 10.0)
    );
}

/// Resident memory after many logins and a rest.
fn memory_after_logins(server: &process::Process) {
    for _ in 0..LOGINS {
        Site::token(server.port);
    }
    let after = server.resident();
    std::thread::sleep(REST);
    let rested = server.resident();
    println!("\nresident memory, MB");
    println!("  after {LOGINS} logins  {after:.1}");
    println!(
        "  after {} s of rest  {rested:.1}; goal: under 25: {}",
        REST.as_secs(),
        verdict(rested < 25.0)
    );
}
