//! One client's stay: its connection is answered for as long as it keeps within its time.
//!
//! Nothing here reads HTTP. When a request begins and ends is told by whoever does (`visitors`).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};

use super::watched::Watched;
use super::{Limits, Reception};
use crate::visitors::Visitor;

/// The longest that nobody looks at the clock, as a part of the time for a head.
const LOOKS: u32 = 4;

/// How long a client may take to hear the end of an answer, and how many bytes it may still send
/// that nobody wants. Closing on unread bytes would take the answer away from it.
const FAREWELL: Duration = Duration::from_secs(1);
const UNWANTED: u64 = 1024 * 1024;

/// While the door closes, a connection without a request ends when nothing has moved for this long.
const STILL: Duration = Duration::from_millis(100);

/// Has a client answered until either side ends, patience ends, or it is shown out.
///
/// # Errors
/// When the connection breaks, or what comes can't be read.
pub(super) async fn stay<S>(
    stream: S,
    visitor: &Arc<Visitor>,
    limits: &Limits,
    reception: &impl Reception,
    closing: watch::Receiver<bool>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut stream = Watched::new(stream, visitor);
    let answered = tokio::select! {
        answered = reception.answer(&mut stream, visitor) => answered,
        () = patience(visitor, limits) => return Ok(()),
        () = closes(closing, visitor) => return Ok(()),
        () = visitor.shown_out() => return Ok(()),
    };
    drop(timeout(FAREWELL, farewell(&mut stream)).await);
    answered
}

/// Waits until the visitor's time is over.
async fn patience(visitor: &Visitor, limits: &Limits) {
    let longest = limits.head / LOOKS;
    loop {
        let now = Instant::now();
        let look = now + longest;
        let next = match visitor.patience(limits.head, limits.idle) {
            Some(until) if until <= now => return,
            Some(until) => until.min(look),
            None => look,
        };
        sleep_until(next.into()).await;
    }
}

/// Waits until the door closes and the visitor has nothing more to hear.
async fn closes(mut closing: watch::Receiver<bool>, visitor: &Visitor) {
    if closing.wait_for(|closing| *closing).await.is_err() {
        return;
    }
    while visitor.is_answered() || visitor.still_for() < STILL {
        sleep(STILL / 4).await;
    }
}

/// Says that there is no more, and lets the client finish what it was saying.
async fn farewell(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(UNWANTED), &mut tokio::io::sink()).await?;
    Ok(())
}
