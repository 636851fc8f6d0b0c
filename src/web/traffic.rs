//! What is being answered right now, and whether more is taken: what a graceful stop needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Counts requests that are being answered.
#[derive(Debug, Default)]
pub struct Traffic {
    stopping: AtomicBool,
    in_flight: AtomicUsize,
    left: Notify,
}

impl Traffic {
    /// From now on, new requests are refused.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether new requests are refused.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Lets one request in, unless the service is stopping.
    pub(super) fn enter(self: &Arc<Self>) -> Option<InFlight> {
        // Counted before the flag is read: whoever sets the flag and then finds nobody inside can
        // rely on nobody coming in.
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let entered = InFlight(Arc::clone(self));
        (!self.is_stopping()).then_some(entered)
    }

    /// Waits until nothing is being answered, `limit` at most; says whether that came true.
    pub async fn drained(&self, limit: Duration) -> bool {
        let empty = async {
            loop {
                let left = self.left.notified();
                if self.in_flight.load(Ordering::SeqCst) == 0 {
                    return;
                }
                left.await;
            }
        };
        tokio::time::timeout(limit, empty).await.is_ok()
    }
}

/// One request that is being answered; it counts until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Traffic>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn draining_waits_for_the_last_request() {
        let traffic = Arc::new(Traffic::default());
        let one = traffic.enter().unwrap();
        let other = traffic.enter().unwrap();
        traffic.stop();
        drop(one);
        assert!(!traffic.drained(SHORT).await);
        let waiting = Arc::clone(&traffic);
        let drained = tokio::spawn(async move { waiting.drained(Duration::from_secs(10)).await });
        tokio::task::yield_now().await;
        drop(other);
        assert!(drained.await.unwrap());
    }

    #[tokio::test]
    async fn nobody_comes_in_after_the_stop() {
        let traffic = Arc::new(Traffic::default());
        traffic.stop();
        assert!(traffic.enter().is_none());
        assert!(traffic.drained(SHORT).await);
    }
}
