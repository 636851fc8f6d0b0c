//! `kill -9` of the server at random moments: every job goes on, and every ticket tells the truth.
//!
//! `KILL_SEED` sets the seed, which is printed.

mod backups;
mod jobs;
mod truth;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::rig::{Server, Site, User};

/// Kills while a backup of the real Barman runs, and while jobs of the stand-in run.
const REAL_KILLS: usize = 10;
const STAND_IN_KILLS: usize = 40;

/// Tickets handed out at least.
const TICKETS: usize = 100;

/// Random numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Milliseconds between two bounds.
    fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from))
    }
}

fn seed() -> u64 {
    match std::env::var("KILL_SEED") {
        Ok(text) => text.parse().expect("KILL_SEED is a number"),
        Err(_) => getrandom::u64().unwrap(),
    }
}

#[test]
fn every_ticket_tells_the_truth_after_the_server_was_killed_at_fifty_random_moments() {
    let seed = seed();
    println!("kill -9: KILL_SEED={seed}");
    let began = Instant::now();
    let (stand_in, real) = std::thread::scope(|scope| {
        let real = scope.spawn(|| backups::kill_during_backups(Random(!seed)));
        let stand_in = jobs::kill_during_jobs(Random(seed));
        (stand_in, real.join().unwrap())
    });
    let kills = stand_in.kills + real.kills;
    let tickets = stand_in.tickets + real.tickets;
    let recorded = stand_in.recorded + real.recorded;
    println!(
        "kill -9: KILL_SEED={seed}: {kills} kills ({} with a real backup running); {tickets} tickets handed out ({} of real \
         backups), none lost, none started twice; {recorded} jobs recorded, of which {} were cut off before their ticket \
         was said or anything started; slowest restart {} ms; {} s",
        real.kills,
        real.tickets,
        stand_in.unspoken,
        stand_in.slowest.max(real.slowest).as_millis(),
        began.elapsed().as_secs(),
    );
    assert!(kills >= 50, "{kills}");
    assert!(tickets >= TICKETS, "{tickets}");
}

/// What was seen.
#[derive(Default)]
struct Seen {
    kills: usize,
    tickets: usize,
    recorded: usize,
    unspoken: usize,
    slowest: Duration,
}

/// Restarts a server that was killed.
fn restart(site: &Site, server: &mut Server, seen: &mut Seen) {
    let since = Instant::now();
    server.kill();
    *server = site.serve();
    seen.kills += 1;
    seen.slowest = seen.slowest.max(since.elapsed());
}

/// Every ticket of the list, page by page.
fn everything(user: &User<'_>) -> HashSet<String> {
    let (mut all, mut count, mut cursor) = (HashSet::new(), 0, String::new());
    loop {
        let page = user
            .get(&format!("/history/list?limit=50{cursor}"))
            .expect(200)
            .json();
        for item in page["list"].as_array().unwrap() {
            all.insert(item["ticket"].as_str().unwrap().to_owned());
            count += 1;
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(all.len(), count, "a ticket is listed twice");
    all
}
