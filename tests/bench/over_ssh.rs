//! One command over the shared connection, against a connection of its own.

use std::path::Path;
use std::time::Instant;

use super::process::Process;
use super::site::{self, Site};
use super::{PAIRS, median, spread, verdict};

/// A process for each request, and a Barman that is kept warm.
pub fn command_against_ssh(site: &Site) {
    println!("\nlist-backups main with Barman over SSH, {PAIRS} pairs, milliseconds");
    let wrapper = site.file("barman");
    pairs(
        site,
        site.serve_over_ssh(),
        &wrapper,
        "its own process",
        0.55,
    );
    let launcher = Path::new(site.fact("BARMAN"));
    pairs(site, site.serve_over_ssh_warm(), launcher, "warm", 0.07);
}

/// One request against one `ssh host barman …`, taking turns.
fn pairs(site: &Site, mut server: Process, program: &Path, way: &str, goal: f64) {
    let token = Site::token(server.port);
    let target = "/barman/list-backups?server_name=main";
    // What is there in service is there before the first request counts.
    let first = site::request(server.port, target, &token);
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let begin = Instant::now();
        let answer = site::request(server.port, target, &token);
        ours.push(begin.elapsed().as_secs_f64() * 1000.0);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let begin = Instant::now();
        let output = site.ssh_barman(program, &["list-backups", "main"]);
        theirs.push(begin.elapsed().as_secs_f64() * 1000.0);
        assert!(output.status.success(), "{output:?}");
    }
    server.stop();
    println!(
        "  over HTTP, {way:15}  median {:6.1}   ({})",
        median(ours.clone()),
        spread(&ours)
    );
    println!(
        "  ssh host barman             median {:6.1}   ({})",
        median(theirs.clone()),
        spread(&theirs)
    );
    let ratio = median(ours) / median(theirs);
    println!(
        "  ratio {ratio:.3}; goal: at most {goal}: {}",
        verdict(ratio <= goal)
    );
}
