//! What systemd is told, where it started the service (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;

/// Requests are answered from now on. Where the unit has `WatchdogSec`, systemd hears from us twice
/// in that time, as long as tasks are run.
pub(super) fn ready() {
    tell(NotifyState::Ready);
    if let Some(limit) = sd_notify::watchdog_enabled() {
        tokio::spawn(stay_in_touch(limit / 2));
    }
}

/// Requests in flight are finished.
pub(super) fn stopping() {
    tell(NotifyState::Stopping);
}

async fn stay_in_touch(pause: Duration) {
    loop {
        tell(NotifyState::Watchdog);
        tokio::time::sleep(pause).await;
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd can't be told how the service is");
    }
}
