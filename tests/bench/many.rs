//! Read-only commands that many ask for at once, against as many processes of Barman.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::count::Starts;
use super::load::{self, Round};
use super::process::Process;
use super::site::{self, Site};
use super::{PAIRS, REST, median, spread, verdict};

/// What many ask for.
const TARGET: &str = "/barman/list-backups?server_name=main";
const WORDS: &[&str] = &["list-backups", "main"];

/// Requests of which no two are alike, and the words of the same for Barman.
const DISTINCT: &[(&str, &[&str])] = &[
    (
        "/barman/list-backups?server_name=main",
        &["list-backups", "main"],
    ),
    (
        "/barman/list-backups?server_name=other",
        &["list-backups", "other"],
    ),
    (
        "/barman/list-backups?server_name=main&minimal=true",
        &["list-backups", "--minimal", "main"],
    ),
    (
        "/barman/list-backups?server_name=other&minimal=true",
        &["list-backups", "--minimal", "other"],
    ),
    ("/barman/list-servers", &["list-servers"]),
    (
        "/barman/list-servers?minimal=true",
        &["list-servers", "--minimal"],
    ),
    (
        "/barman/show-backup?server_name=main&backup_id=latest",
        &["show-backup", "main", "latest"],
    ),
    (
        "/barman/list-files?server_name=main&backup_id=latest&target=wal",
        &["list-files", "--target", "wal", "main", "latest"],
    ),
];

/// Rounds of each comparison.
const ROUNDS: usize = 3;

/// How long plain processes are started one after another in a round.
const PLAIN: Duration = Duration::from_secs(6);

pub fn measure(site: &Site) {
    let mut server = site.serve_warm();
    let token = Site::token(server.port);
    // The first request finds nothing warm, and counts nowhere.
    for (target, _) in DISTINCT {
        let answer = site::request(server.port, target, &token);
        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
    }
    let before = rested(&server);
    let counted = Starts::of(site);
    site::request(server.port, TARGET, &token);
    assert_eq!(counted.since(), 1, "starts in one request");
    drop(counted);
    let single = one_client(site, server.port, &token);
    let mut asked = 0.0;
    for (clients, goal) in [(64, 250.0), (512, 1000.0)] {
        asked += alike(site, server.port, &token, clients, goal, single);
    }
    distinct(site, server.port, &token);
    memory(before, rested(&server), asked);
    server.stop();
}

/// One request against one process, taking turns; the median of the requests in milliseconds.
fn one_client(site: &Site, port: u16, token: &str) -> f64 {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for _ in 0..PAIRS {
        let begin = Instant::now();
        let answer = site::request(port, TARGET, token);
        ours.push(begin.elapsed().as_secs_f64() * 1000.0);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let begin = Instant::now();
        let output = site.plain(WORDS);
        theirs.push(begin.elapsed().as_secs_f64() * 1000.0);
        assert!(output.status.success(), "{output:?}");
        bytes = output.stdout.len();
    }
    println!("\nlist-backups main ({bytes} bytes), one client, {PAIRS} pairs, milliseconds");
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
    let single = median(ours);
    let ratio = single / median(theirs);
    println!(
        "  ratio {ratio:.3}; goal: at most 0.15: {}",
        verdict(ratio <= 0.15)
    );
    single
}

/// The same command for all. Returns how many requests that were.
fn alike(site: &Site, port: u16, token: &str, clients: u32, goal: f64, single: f64) -> f64 {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut starts = Vec::new();
    for _ in 0..ROUNDS {
        let counted = Starts::of(site);
        ours.push(load::ask(port, TARGET, clients, Some(token)));
        starts.push(counted.since() as f64);
        drop(counted);
        theirs.push(plain(site, clients, &[WORDS]));
    }
    println!(
        "\nlist-backups main, {clients} clients, {ROUNDS} rounds of 4 s, requests per second and milliseconds"
    );
    let p99 = median(ours.iter().map(|round| round.p99).collect());
    let asked = ours.iter().map(|round| round.rate * load::SECONDS).sum();
    let (ours, theirs) = (
        load::tell("barmanapi", &ours),
        load::tell("processes", &theirs),
    );
    println!(
        "    Barman was started {:.0} times in a round of ours",
        median(starts)
    );
    let ratio = ours / theirs;
    println!(
        "    ratio {ratio:.0}; goal: at least {goal}: {}",
        verdict(ratio >= goal)
    );
    print!("    p99 {p99:.1} ms, {:.1} single requests", p99 / single);
    // With more of them, to answer takes longer than to ask.
    if clients == 64 {
        print!("; goal: under 3: {}", verdict(p99 < 3.0 * single));
    }
    println!();
    asked
}

/// Each of eight clients asks for something of its own.
fn distinct(site: &Site, port: u16, token: &str) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let targets: Vec<&str> = DISTINCT.iter().map(|(target, _)| *target).collect();
    let words: Vec<&[&str]> = DISTINCT.iter().map(|(_, words)| *words).collect();
    for _ in 0..ROUNDS {
        ours.push(turns(8, |client| {
            let answer = site::request(port, targets[client], token);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }));
        theirs.push(plain(site, 8, &words));
    }
    println!(
        "\n8 commands of which no two are alike, 8 clients, {ROUNDS} rounds of 6 s, requests per second and milliseconds"
    );
    let (ours, theirs) = (
        load::tell("barmanapi", &ours),
        load::tell("processes", &theirs),
    );
    let ratio = ours / theirs;
    println!(
        "    ratio {ratio:.1}; goal: at least 6: {}",
        verdict(ratio >= 6.0)
    );
}

/// Processes of Barman, as many at once as there are clients.
fn plain(site: &Site, clients: u32, words: &[&[&str]]) -> Round {
    turns(clients as usize, |client| {
        let output = site.plain(words[client % words.len()]);
        assert!(output.status.success(), "{output:?}");
    })
}

/// Clients that do something again and again.
fn turns(clients: usize, once: impl Fn(usize) + Sync) -> Round {
    let over = AtomicBool::new(false);
    let begin = Instant::now();
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..clients)
            .map(|client| {
                let (over, once) = (&over, &once);
                scope.spawn(move || {
                    let mut times = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let begin = Instant::now();
                        once(client);
                        times.push(begin.elapsed().as_secs_f64() * 1000.0);
                    }
                    times
                })
            })
            .collect();
        std::thread::sleep(PLAIN);
        over.store(true, Ordering::Relaxed);
        all.into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    // Those that were under way are waited for, and count with their time.
    let seconds = begin.elapsed().as_secs_f64();
    let count = times.len() as f64;
    times.sort_by(f64::total_cmp);
    Round {
        rate: count / seconds,
        median: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
    }
}

/// Resident memory in MB after a minute of rest: of the service, and of the parent of warm Barmans.
fn rested(server: &Process) -> (f64, f64) {
    std::thread::sleep(REST);
    (server.resident(), server.resident_below("python"))
}

fn memory(before: (f64, f64), after: (f64, f64), asked: f64) {
    println!(
        "\nresident memory after {} s of rest, before and after more than {asked:.0} requests, MB",
        REST.as_secs()
    );
    for (name, before, after, goal) in [
        ("barmanapi", before.0, after.0, 25.0),
        ("warm parent", before.1, after.1, 60.0),
    ] {
        let grown = after / before;
        println!(
            "    {name:13}  {before:.1}, {after:.1}; goal: under {goal}: {}; {grown:.2} of it; goal: at most 1.10: {}",
            verdict(after < goal),
            verdict(grown <= 1.1)
        );
    }
}
