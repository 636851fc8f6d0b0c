//! One command over the shared connection, against a connection of its own.

use std::time::Instant;

use super::site::{self, Site};
use super::{PAIRS, median, spread, verdict};

/// One request against one `ssh host barman …`, taking turns.
pub fn command_against_ssh(site: &Site) {
    let mut server = site.serve_over_ssh();
    let token = Site::token(server.port);
    let target = "/barman/list-backups?server_name=main";
    // The connection is there before the first request counts, as it is in service.
    let first = site::request(server.port, target, &token);
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let begin = Instant::now();
        let answer = site::request(server.port, target, &token);
        ours.push(begin.elapsed().as_secs_f64() * 1000.0);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let begin = Instant::now();
        let output = site.ssh_barman(&["list-backups", "main"]);
        theirs.push(begin.elapsed().as_secs_f64() * 1000.0);
        assert!(output.status.success(), "{output:?}");
    }
    server.stop();
    println!("\nlist-backups main with Barman over SSH, {PAIRS} pairs, milliseconds");
    println!(
        "  over HTTP        median {:6.1}   ({})",
        median(ours.clone()),
        spread(&ours)
    );
    println!(
        "  ssh host barman  median {:6.1}   ({})",
        median(theirs.clone()),
        spread(&theirs)
    );
    let ratio = median(ours) / median(theirs);
    println!(
        "  ratio {ratio:.2}; goal: at most 0.55: {}",
        verdict(ratio <= 0.55)
    );
}
