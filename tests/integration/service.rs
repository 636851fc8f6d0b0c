//! The service itself: its routes, its program, its catalogue and its logs.

mod catalogue;
mod checking;
mod doors;
mod logs;
mod packaged;
mod program;
mod routes;

use std::time::{Duration, Instant};

/// Waits until something is so; what takes longer than a minute has failed.
#[track_caller]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !so() {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "not within a minute: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
