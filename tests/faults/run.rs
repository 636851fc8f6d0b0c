//! What a fault is to the harness, and what one run of it has shown.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A fault and how it is provoked.
pub struct Fault {
    /// Its name, by which it can be run alone.
    pub name: &'static str,
    /// What happens and how, for the table.
    pub how: &'static str,
    /// Provokes it and looks at what is left. What it finds wrong it notes, or panics.
    pub provoke: fn(&mut Run),
}

/// One run of one fault.
pub struct Run {
    /// Whether there is time for all of it.
    pub long: bool,
    /// Numbers from the seed, another series for each fault.
    pub random: Random,
    /// How often the fault was provoked.
    pub times: usize,
    /// What was lost or answered wrongly.
    pub wrong: Vec<String>,
    /// What was measured.
    pub measured: Vec<String>,
    /// Why nothing could be provoked on this machine.
    pub left_out: Option<String>,
    began: Instant,
    told: Instant,
}

impl Run {
    pub fn new(name: &str, seed: u64, long: bool) -> Self {
        let own = name.bytes().fold(seed, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self {
            long,
            random: Random(own | 1),
            times: 0,
            wrong: Vec::new(),
            measured: Vec::new(),
            left_out: None,
            began: Instant::now(),
            told: Instant::now(),
        }
    }

    /// The first when there is time for all of it, else the second.
    pub fn of<T>(&self, long: T, short: T) -> T {
        if self.long { long } else { short }
    }

    /// Counts one provocation, and tells of the progress now and then.
    pub fn once(&mut self) {
        self.times += 1;
        if self.told.elapsed() > Duration::from_secs(10) {
            println!(
                "    {} times so far, {:.0} s",
                self.times,
                self.elapsed().as_secs_f64()
            );
            self.told = Instant::now();
        }
    }

    /// Notes what was lost or answered wrongly, when it was.
    pub fn hold(&mut self, holds: bool, words: impl FnOnce() -> String) {
        if !holds {
            let words = words();
            println!("    WRONG: {words}");
            self.wrong.push(words);
        }
    }

    /// Notes a measurement.
    pub fn measure(&mut self, words: impl Display) {
        println!("    {words}");
        self.measured.push(words.to_string());
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Numbers that are the same whenever the seed is.
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit as u64).unwrap()
    }

    pub fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    pub fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.number() % (to - from))
    }
}

/// Times in order, of which some say enough.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The time within which this share of all was done.
    pub fn within(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list"
        )]
        let place = (sorted.len() as f64 * share) as usize;
        let place = place.min(sorted.len().saturating_sub(1));
        sorted.get(place).copied().unwrap_or_default()
    }

    pub fn slowest(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Tells the threads of a fault to stop, also when the one that holds it can't go on.
pub struct Stopping<'a>(pub &'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A time in milliseconds.
pub fn ms(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

/// Tries until there is something; the patience is for a machine under load.
#[track_caller]
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    at_last(what, || found().ok_or(""))
}

/// The same, told what stood in the way of the last try.
#[track_caller]
pub fn at_last<T, E: Display>(what: &str, mut tried: impl FnMut() -> Result<T, E>) -> T {
    let since = Instant::now();
    loop {
        match tried() {
            Ok(found) => return found,
            Err(why) if since.elapsed() > Duration::from_secs(40) => panic!("no {what}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
