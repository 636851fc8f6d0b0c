//! What time it is, as a field, so that tests can say so.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync {
    /// Seconds since 1970, UTC, for what tokens say.
    fn unix(&self) -> u64;

    /// Time since some fixed point, never going back, for what is counted per minute.
    fn elapsed(&self) -> Duration;
}

/// The clocks of the machine.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn unix(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default().as_secs()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
