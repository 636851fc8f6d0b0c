//! The line of connections that stand before the door until they are accepted.
//!
//! The standard library, and Rocket with it, lets 128 stand there. Whoever comes when it is full is
//! not told: the client's kernel tries again after 1, 3 and 7 seconds. `listen` may be called again
//! for a longer line; since Rocket keeps its socket to itself, it is found among our descriptors.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{getsockname, listen, sockopt::socket_acceptconn};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Connections that may stand there; the system may allow fewer (`net.core.somaxconn`).
const LENGTH: i32 = 1024;

/// Lengthens the line before the socket that listens at `bound`.
///
/// # Errors
/// When the socket is not found or the system refuses; the line then stays as short as it is.
pub(super) fn lengthen(bound: SocketAddr) -> io::Result<()> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        // One that is gone by now, and the one of this very listing, are no sockets that listen.
        let Some(Ok(socket)) =
            number.map(|number| pidfd_getfd(&own, number, PidfdGetfdFlags::empty()))
        else {
            continue;
        };
        if listens_at(&socket, bound) {
            return Ok(listen(&socket, LENGTH)?);
        }
    }
    Err(io::Error::from(io::ErrorKind::NotFound))
}

fn listens_at(socket: &OwnedFd, bound: SocketAddr) -> bool {
    socket_acceptconn(socket).unwrap_or(false)
        && getsockname(socket)
            .ok()
            .and_then(|name| SocketAddr::try_from(name).ok())
            .is_some_and(|name| name == bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_128_connections_may_stand_before_the_door() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = listener.local_addr().unwrap();
        lengthen(bound).unwrap();
        // Nobody accepts; a connection that finds no place is not made within the second.
        let within = std::time::Duration::from_millis(800);
        let connections: Result<Vec<_>, _> = (0..300)
            .map(|_| std::net::TcpStream::connect_timeout(&bound, within))
            .collect();
        assert_eq!(connections.unwrap().len(), 300);
    }
}
