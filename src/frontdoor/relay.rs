//! One client's connection: its bytes are passed to the HTTP server and back, as they are.
//!
//! Nothing here reads HTTP. Every client has a connection to the HTTP server for itself, so what the
//! one sends can't become part of another's request; and when a request begins and ends is told by
//! the HTTP server (`visitors`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::pin;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout, timeout_at};

use super::Limits;
use crate::visitors::{Visitor, Visitors};

/// What is passed on at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// The longest that nobody looks at the clock, as a part of the time for a head.
const LOOKS: u32 = 4;

/// How long a client may take to hear the end of an answer, and how many bytes it may still send
/// that nobody wants. Closing on unread bytes would take the answer away from it.
const FAREWELL: Duration = Duration::from_secs(1);
const UNWANTED: u64 = 1024 * 1024;

/// While the door closes, a connection without a request ends when nothing has moved for this long.
const STILL: Duration = Duration::from_millis(100);

/// What a connection needs of the door.
#[derive(Debug)]
pub(super) struct Hall {
    /// Where the HTTP server listens.
    pub(super) inner: SocketAddr,
    /// Where it looks up who is calling.
    pub(super) visitors: Arc<Visitors>,
    /// True from when the door closes.
    pub(super) closing: watch::Receiver<bool>,
}

/// Passes bytes on until either side ends, patience ends, or the visitor is shown out.
///
/// # Errors
/// When a connection breaks or the HTTP server can't be reached.
pub(super) async fn relay<C>(
    mut client: C,
    visitor: &Arc<Visitor>,
    limits: &Limits,
    hall: &Hall,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    // Whoever says nothing costs the HTTP server nothing.
    let mut first = vec![0; PIECE];
    let until = visitor.patience(limits.head, limits.idle);
    let until = until.unwrap_or_else(Instant::now);
    let read = tokio::select! {
        read = timeout_at(until.into(), client.read(&mut first)) => read,
        () = visitor.shown_out() => return Ok(()),
        () = closes(hall.closing.clone(), visitor) => return Ok(()),
    };
    let length = read.unwrap_or(Ok(0))?;
    let Some(first) = first.get(..length).filter(|first| !first.is_empty()) else {
        return Ok(());
    };
    visitor.received();
    let mut inner = TcpStream::connect(hall.inner).await?;
    inner.set_nodelay(true)?;
    let near = inner.local_addr()?;
    // Dropped before the connection is: variables go in the reverse of their order.
    let _entry = hall.visitors.enter(near, Arc::clone(visitor));
    inner.write_all(first).await?;

    let (mut client_reads, mut client_writes) = tokio::io::split(&mut client);
    {
        let (mut inner_reads, mut inner_writes) = inner.split();
        let inwards = inwards(&mut client_reads, &mut inner_writes, visitor);
        let outwards = outwards(&mut inner_reads, &mut client_writes, visitor, limits.idle);
        let patience = patience(visitor, limits);
        let closes = closes(hall.closing.clone(), visitor);
        pin!(inwards, outwards, patience, closes);
        let mut heard_all = false;
        loop {
            tokio::select! {
                // Who has said all, or can't be heard any more, may still be answered.
                read = &mut inwards, if !heard_all => match read {
                    Ok(()) | Err(Broken::Inner) => heard_all = true,
                    Err(Broken::Client) => return Ok(()),
                },
                written = &mut outwards => {
                    written?;
                    break;
                }
                () = &mut patience => return Ok(()),
                () = &mut closes => return Ok(()),
                () = visitor.shown_out() => return Ok(()),
            }
        }
    }
    drop(timeout(FAREWELL, farewell(&mut client_reads, &mut client_writes)).await);
    Ok(())
}

/// Which side of a connection broke.
enum Broken {
    Client,
    Inner,
}

async fn inwards(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    visitor: &Visitor,
) -> Result<(), Broken> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await.map_err(|_| Broken::Client)?;
        let Some(bytes) = piece.get(..length).filter(|bytes| !bytes.is_empty()) else {
            return to.shutdown().await.map_err(|_| Broken::Inner);
        };
        visitor.received();
        to.write_all(bytes).await.map_err(|_| Broken::Inner)?;
    }
}

/// A client that takes nothing for `limit` is not waited for.
async fn outwards(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    visitor: &Visitor,
    limit: Duration,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        // A reset behind the last answer is as good as an end.
        let length = from.read(&mut piece).await.unwrap_or(0);
        let Some(bytes) = piece.get(..length).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        let write = async {
            to.write_all(bytes).await?;
            to.flush().await
        };
        timeout(limit, write).await??;
        visitor.sent();
    }
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
async fn farewell(
    reads: &mut (impl AsyncRead + Unpin),
    writes: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    writes.shutdown().await?;
    tokio::io::copy(&mut reads.take(UNWANTED), &mut tokio::io::sink()).await?;
    Ok(())
}
