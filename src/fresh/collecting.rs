//! The pause between two answers, in which those who have just been answered may come back.
//!
//! Clients that ask again as soon as they have an answer would otherwise fall apart into two groups
//! that take turns: while the one is answered the other one's question is on, and each question
//! serves half of them.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use super::Fresh;

/// The pause goes on as long as somebody comes within the longest of these: a moment, a part of the time
/// that the last answer took (to prepare a long one takes its time, too), and so much for each of those
/// who have heard it, who are answered one after another.
const MOMENT: Duration = Duration::from_millis(1);
const MOMENT_PART: u32 = 8;
const MOMENT_EACH: Duration = Duration::from_micros(20);

/// It lasts at most the longest of these, reckoned alike.
const PART: u32 = 4;
const EACH: Duration = Duration::from_micros(60);

/// When others are waited for before a question is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collecting {
    /// Never.
    Never,
    /// While those are coming back who have just been answered, when they were more than one or
    /// somebody else waits as well. Who is alone is never made to wait.
    Returning,
    /// As `Returning`, and a moment before the first question.
    Always,
}

/// How many are waited for, and how that is told.
pub(super) struct Roll {
    enough: usize,
    complete: Arc<Notify>,
}

impl Roll {
    /// Says how many are there.
    pub(super) fn call(&self, there: usize) {
        if there >= self.enough {
            self.complete.notify_one();
        }
    }
}

impl<K: Eq + Hash, T> Fresh<K, T> {
    /// Waits for those who come back, `heard` of whom have just had an answer that took so long.
    pub(super) async fn collect(&self, key: &K, heard: usize, took: Duration) {
        if self.collecting == Collecting::Never {
            return;
        }
        let Some((complete, mut there)) = self.call_roll(key, heard) else {
            return;
        };
        let each = u32::try_from(heard).unwrap_or(u32::MAX);
        let longest =
            |part: u32, one: Duration| MOMENT.max(took / part).max(one.saturating_mul(each));
        let moment = longest(MOMENT_PART, MOMENT_EACH);
        let until = Instant::now() + longest(PART, EACH);
        while timeout(moment, complete.notified()).await.is_err() {
            let now = self
                .lock()
                .get(key)
                .map_or(0, |waiting| waiting.callers.len());
            if now == there || Instant::now() >= until {
                break;
            }
            there = now;
        }
        if let Some(waiting) = self.lock().get_mut(key) {
            waiting.roll = None;
        }
    }

    /// Begins to wait for as many as were answered or are there already; nothing when there is
    /// nobody to wait for.
    pub(super) fn call_roll(&self, key: &K, heard: usize) -> Option<(Arc<Notify>, usize)> {
        let mut asked = self.lock();
        let waiting = asked.get_mut(key)?;
        let there = waiting.callers.len();
        if heard == 0 || heard + there < 2 {
            return None;
        }
        let complete = Arc::new(Notify::new());
        waiting.roll = Some(Roll {
            enough: heard + there,
            complete: Arc::clone(&complete),
        });
        Some((complete, there))
    }
}

/// A moment in which others may come.
pub(super) async fn a_moment() {
    tokio::time::sleep(MOMENT).await;
}
