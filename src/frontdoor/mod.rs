//! The listener: accepts, keeps slow and many clients within bounds, ends TLS, and hands each
//! connection to whoever answers. It reads no HTTP and takes no decision about users.

mod seats;
mod stay;
mod tls;
mod watched;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::certificates::Tls;
use crate::live::Live;
use crate::visitors::{Port, Visitor};
use seats::Seats;
use stay::stay;
use tls::shake_hands;

/// Connections that may stand before the door; the system may allow fewer (`net.core.somaxconn`).
const BACKLOG: u32 = 1024;

/// How long nothing is accepted when the process has no descriptor left.
const OUT_OF_BREATH: Duration = Duration::from_millis(50);

/// Descriptors that are left to everything else, where a quarter of all is not less.
const RESERVE: usize = 128;

/// What a client may take of time and room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request to the last one of its head.
    pub head: Duration,
    /// Between two requests, and to take a piece of an answer.
    pub idle: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address other than the loopback.
    pub per_address: usize,
}

/// Answers those who were let in.
pub trait Reception: Send + Sync + 'static {
    /// Answers what a client sends, until one side wants no more; the stream is left open.
    fn answer<S>(
        &self,
        stream: S,
        visitor: &Arc<Visitor>,
    ) -> impl Future<Output = io::Result<()>> + Send
    where
        S: AsyncRead + AsyncWrite + Unpin + Send;
}

/// An address that is listened on.
#[derive(Debug)]
pub struct Entrance {
    listener: TcpListener,
    port: Port,
    tls: Option<Arc<Live<Tls>>>,
}

impl Entrance {
    /// Listens on an address for plain HTTP; nobody is let in before [`Door::open`].
    ///
    /// # Errors
    /// When the address is taken or not of this machine.
    pub fn bind(address: SocketAddr, port: Port) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        Ok(Self {
            listener,
            port,
            tls: None,
        })
    }

    /// The same for TLS alone.
    ///
    /// # Errors
    /// As [`Entrance::bind`].
    pub fn bind_tls(address: SocketAddr, tls: Arc<Live<Tls>>) -> io::Result<Self> {
        Ok(Self {
            tls: Some(tls),
            ..Self::bind(address, Port::Tls)?
        })
    }

    /// The address, with the port that the system chose.
    ///
    /// # Errors
    /// When the system does not tell it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Lets clients in.
#[derive(Debug)]
pub struct Door {
    limits: Arc<Live<Limits>>,
    seats: Arc<Seats>,
    closing: watch::Sender<bool>,
}

impl Door {
    /// A closed door.
    #[must_use]
    pub fn new(limits: Arc<Live<Limits>>) -> Self {
        let (wanted, room) = (limits.get().connections, room());
        if wanted > room {
            tracing::warn!(
                wanted,
                room,
                "the descriptors of the process do not last for that many connections; raise its limit (LimitNOFILE)"
            );
        }
        Self {
            limits,
            seats: Arc::default(),
            closing: watch::Sender::new(false),
        }
    }

    /// Lets clients in at an entrance until the door closes.
    ///
    /// Give it a thread that answers nobody: whoever comes anew would wait for its turn among those
    /// who are being answered.
    pub async fn open<R: Reception>(&self, entrance: Entrance, reception: &Arc<R>) {
        let mut closing = self.closing.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = entrance.listener.accept() => accepted,
                _ = closing.wait_for(|closing| *closing) => return,
            };
            match accepted {
                Ok((stream, peer)) => self.let_in(stream, peer, &entrance, reception).await,
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted just now");
                    self.seats.give_up_one();
                    tokio::time::sleep(OUT_OF_BREATH).await;
                }
            }
        }
    }

    async fn let_in<R: Reception>(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        entrance: &Entrance,
        reception: &Arc<R>,
    ) {
        let limits = *self.limits.get();
        let visitor = Arc::new(Visitor::new(peer, entrance.port));
        let connections = limits.connections.min(room());
        let seat = self.seats.seat(&visitor, connections, limits.per_address);
        let Some(seat) = seat.await else {
            tracing::debug!(from = %peer.ip(), "too many connections; one was refused");
            return;
        };
        let (reception, tls) = (Arc::clone(reception), entrance.tls.clone());
        let closing = self.closing.subscribe();
        tokio::spawn(async move {
            let done = async {
                stream.set_nodelay(true)?;
                match tls {
                    None => stay(stream, &visitor, &limits, &*reception, closing).await,
                    Some(tls) => {
                        let stream = checked(stream, &tls, &visitor, &limits).await?;
                        stay(stream, &visitor, &limits, &*reception, closing).await
                    }
                }
            };
            if let Err(error) = done.await {
                tracing::debug!(%error, from = %peer.ip(), "a connection broke");
            }
            drop(seat);
        });
    }

    /// Puts new certificates and lists in force: for handshakes from now on, and for clients that are
    /// here, of whom those are sent away whose certificate is no longer good.
    pub fn renew(&self, tls: &Live<Tls>, new: Tls) {
        tls.set(new);
        let new = tls.get();
        for visitor in self.seats.visitors() {
            let Some(certificate) = visitor.certificate() else {
                continue;
            };
            if let Err(error) = new.verify(&certificate.chain) {
                tracing::info!(%error, from = %visitor.peer.ip(), "a client was sent away: its certificate is no longer good");
                visitor.show_out();
            }
        }
    }

    /// Lets nobody in any more, and waits until everybody has heard their answer and left, `limit` at
    /// most.
    pub async fn close(&self, limit: Duration) {
        self.closing.send_replace(true);
        drop(timeout(limit, self.seats.empty()).await);
    }
}

/// Shakes hands within the time for it.
async fn checked(
    stream: TcpStream,
    tls: &Live<Tls>,
    visitor: &Visitor,
    limits: &Limits,
) -> io::Result<TlsStream<TcpStream>> {
    let used = tls.get();
    let (stream, certificate) = tokio::select! {
        done = timeout(limits.handshake, shake_hands(stream, &used)) => done??,
        () = visitor.shown_out() => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    visitor.shook_hands(certificate);
    // Whoever renews looks at the visitors that can be seen by then.
    let now = tls.get();
    if let Some(certificate) = visitor.certificate()
        && !Arc::ptr_eq(&used, &now)
    {
        let good = now.verify(&certificate.chain);
        good.map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error))?;
    }
    Ok(stream)
}

/// Errors of `accept` that concern the connection alone (accept(2)).
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// How many connections the descriptors of the process last for.
fn room() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.unwrap_or(usize::MAX);
    (limit - RESERVE.min(limit / 4)).max(1)
}

#[cfg(test)]
mod tests;
