//! One client's connection: its bytes are passed to the HTTP server and back, as they are.
//!
//! Nothing here reads HTTP. Every client has a connection to the HTTP server for itself, so what the
//! one sends can't become part of another's request; and when a request begins and ends is told by
//! the HTTP server (`visitors`).

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::pin;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout, timeout_at};

use super::Limits;
use crate::visitors::{Visitor, Visitors};

/// The most that is passed on at a time, in bytes.
const PIECE: usize = 8 * 1024;

/// The longest that nobody looks at the clock, as a part of the time for a head.
const LOOKS: u32 = 4;

/// How long a client may take to hear the end of an answer, and how many bytes it may still send
/// that nobody wants. Closing on unread bytes would take the answer away from it.
const FAREWELL: Duration = Duration::from_secs(1);
const UNWANTED: u64 = 1024 * 1024;

/// While the door closes, a connection without a request ends when nothing has moved for this long.
const STILL: Duration = Duration::from_millis(100);

/// How soon it is tried again to reach the HTTP server.
const AGAIN: Duration = Duration::from_millis(20);

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
    let until = visitor.patience(limits.head, limits.idle);
    let until = until.unwrap_or_else(Instant::now);
    let read = tokio::select! {
        read = timeout_at(until.into(), piece(&mut client)) => read,
        () = visitor.shown_out() => return Ok(()),
        () = closes(hall.closing.clone(), visitor) => return Ok(()),
    };
    let first = read.unwrap_or(Ok(Vec::new()))?;
    if first.is_empty() {
        return Ok(());
    }
    visitor.received();
    let mut inner = connect(hall.inner, limits.head).await?;
    inner.set_nodelay(true)?;
    let near = inner.local_addr()?;
    // Dropped before the connection is: variables go in the reverse of their order.
    let _entry = hall.visitors.enter(near, Arc::clone(visitor));
    inner.write_all(&first).await?;
    drop(first);

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

/// A connection to the HTTP server. A process that is out of descriptors may have one in a moment.
async fn connect(inner: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let until = Instant::now() + limit;
    loop {
        match TcpStream::connect(inner).await {
            Err(error)
                if Instant::now() < until && error.kind() != ErrorKind::ConnectionRefused =>
            {
                sleep(AGAIN).await;
            }
            connected => return connected,
        }
    }
}

/// The next bytes, none at the end. A connection that is waited for holds no room for them.
async fn piece(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    poll_fn(|context| {
        let mut room = [0; PIECE];
        let mut read = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut *from).poll_read(context, &mut read))?;
        Poll::Ready(Ok(read.filled().to_vec()))
    })
    .await
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
    loop {
        let bytes = piece(from).await.map_err(|_| Broken::Client)?;
        if bytes.is_empty() {
            return to.shutdown().await.map_err(|_| Broken::Inner);
        }
        visitor.received();
        to.write_all(&bytes).await.map_err(|_| Broken::Inner)?;
    }
}

/// A client that takes nothing for `limit` is not waited for.
async fn outwards(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    visitor: &Visitor,
    limit: Duration,
) -> io::Result<()> {
    loop {
        // A reset behind the last answer is as good as an end.
        let bytes = piece(from).await.unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        let write = async {
            to.write_all(&bytes).await?;
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
