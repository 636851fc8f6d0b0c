//! Connections to Rocket's own port that did not come through the listener.
//!
//! A request of theirs is refused (`endpoint`). One that never sends a request would stay for as long
//! as it likes, since Rocket has no time limits; any account of this host could take all descriptors
//! that way. So they are looked for, among the sockets of this process, and cut off.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, getpeername, getsockname, shutdown};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::App;
use crate::blocking;

/// How often they are looked for. One is cut off when it is seen for the second time: at the first, it
/// may be one that the listener is just about to tell of.
const PAUSE: Duration = Duration::from_secs(5);

/// Looks for strays at Rocket's port for as long as the service runs.
pub(super) async fn watch(port: SocketAddr, app: Arc<App>) {
    let mut seen = HashSet::new();
    loop {
        tokio::time::sleep(PAUSE).await;
        let app = Arc::clone(&app);
        let known = move |peer| app.guests.find(Some(peer)).is_some();
        match blocking::run(move || look(port, &seen, known))
            .await
            .flatten()
        {
            Ok(strays) => seen = strays,
            Err(error) => {
                tracing::debug!(%error, "strays can't be looked for");
                seen = HashSet::new();
            }
        }
    }
}

/// Cuts off the strays that were seen before and returns those that are new.
fn look(
    port: SocketAddr,
    before: &HashSet<SocketAddr>,
    known: impl Fn(SocketAddr) -> bool,
) -> io::Result<HashSet<SocketAddr>> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut new = HashSet::new();
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        // Other files are left alone: a copy of a descriptor holds its locks.
        let link = fs::read_link(entry.path()).unwrap_or_default();
        if !link.to_string_lossy().starts_with("socket:") {
            continue;
        }
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let Some(Ok(socket)) =
            number.map(|number| pidfd_getfd(&own, number, PidfdGetfdFlags::empty()))
        else {
            continue;
        };
        let Some(peer) = peer_at(&socket, port).filter(|peer| !known(*peer)) else {
            continue;
        };
        if before.contains(&peer) {
            tracing::info!(%peer, "a connection that did not come through the listener was cut off");
            // It may have gone by itself.
            shutdown(&socket, Shutdown::Both).ok();
        } else {
            new.insert(peer);
        }
    }
    Ok(new)
}

/// Who is at the other end of a connection to `port`.
fn peer_at(socket: &OwnedFd, port: SocketAddr) -> Option<SocketAddr> {
    let near = SocketAddr::try_from(getsockname(socket).ok()?).ok()?;
    let far = getpeername(socket).ok().flatten()?;
    (near == port).then(|| SocketAddr::try_from(far).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_stray_is_cut_off_at_the_second_look_and_nobody_else_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap();
        let connect = || {
            let client = TcpStream::connect(port).unwrap();
            let address = client.local_addr().unwrap();
            (client, address, listener.accept().unwrap().0)
        };
        let (mut guest, mut stray) = (connect(), connect());
        let known = |peer| peer == guest.1;
        let seen = look(port, &HashSet::new(), known).unwrap();
        assert_eq!(seen, HashSet::from([stray.1]));
        let mut late = connect();
        assert_eq!(look(port, &seen, known).unwrap(), HashSet::from([late.1]));
        assert_eq!(stray.0.read(&mut [0]).unwrap(), 0);
        for still in [&mut guest.0, &mut late.0] {
            still.set_nonblocking(true).unwrap();
            let error = still.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
