//! The door in front of a server of the test's own.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::*;

const QUICK: Limits = Limits {
    handshake: Duration::from_millis(200),
    head: Duration::from_millis(200),
    idle: Duration::from_millis(400),
    connections: 64,
    per_address: 64,
};

/// Longer than any limit, with room for a busy machine.
const LONG: Duration = Duration::from_secs(5);

/// Whose connection it is, and the test's end of it.
type Guest = (DuplexStream, Arc<Visitor>);

/// Passes on what clients send to the test, and back.
struct Passage(mpsc::UnboundedSender<Guest>);

impl Reception for Passage {
    async fn answer<S>(&self, mut stream: S, visitor: &Arc<Visitor>) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        self.0.send((far, Arc::clone(visitor))).unwrap();
        let mut from = [0; 4096];
        let mut to = [0; 4096];
        let (mut near_reads, mut near_writes) = tokio::io::split(&mut near);
        let (mut reads, mut writes) = tokio::io::split(&mut stream);
        loop {
            tokio::select! {
                read = reads.read(&mut from) => match read? {
                    0 => return Ok(()),
                    count => near_writes.write_all(&from[..count]).await?,
                },
                read = near_reads.read(&mut to) => match read? {
                    0 => return Ok(()),
                    count => writes.write_all(&to[..count]).await?,
                },
            }
        }
    }
}

struct Rig {
    guests: mpsc::UnboundedReceiver<Guest>,
    door: Arc<Door>,
    address: SocketAddr,
}

fn rig(limits: Limits) -> Rig {
    let (passage, guests) = mpsc::unbounded_channel();
    let door = Arc::new(Door::new(Arc::new(Live::new(limits))));
    let entrance = Entrance::bind("127.0.0.1:0".parse().unwrap(), Port::Plain).unwrap();
    let address = entrance.address().unwrap();
    let opened = Arc::clone(&door);
    tokio::spawn(async move { opened.open(entrance, &Arc::new(Passage(passage))).await });
    Rig {
        guests,
        door,
        address,
    }
}

impl Rig {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A client that has sent something, the server's end of it, and whose it is.
    async fn pair(&mut self) -> (TcpStream, DuplexStream, Arc<Visitor>) {
        let mut client = self.connect().await;
        client.write_all(b"hello").await.unwrap();
        let (mut inner, visitor) = self.guests.recv().await.unwrap();
        let mut read = [0; 5];
        inner.read_exact(&mut read).await.unwrap();
        (client, inner, visitor)
    }
}

/// Waits for the end of a connection, which must not come before `least`.
async fn ends(stream: &mut (impl AsyncRead + Unpin), least: Duration) {
    let began = Instant::now();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "it stays open");
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_answers_learns_whose_connection_it_is_and_that_it_ended() {
    let mut rig = rig(QUICK);
    let (client, mut inner, visitor) = rig.pair().await;
    assert_eq!(visitor.peer, client.local_addr().unwrap());
    inner.write_all(b"bye").await.unwrap();
    drop(client);
    ends(&mut inner, Duration::ZERO).await;
    tokio::time::timeout(LONG, rig.door.close(LONG))
        .await
        .unwrap();
    assert_eq!(Arc::strong_count(&visitor), 1);
}

#[tokio::test]
async fn who_says_nothing_is_sent_away() {
    let rig = rig(QUICK);
    let mut silent = rig.connect().await;
    ends(&mut silent, QUICK.head / 2).await;
}

#[tokio::test]
async fn drops_of_a_head_do_not_hold_a_connection() {
    let mut rig = rig(QUICK);
    let (client, inner, _) = rig.pair().await;
    let (mut reads, mut writes) = client.into_split();
    let dripping = tokio::spawn(async move {
        while writes.write_all(b"x").await.is_ok() {
            tokio::time::sleep(QUICK.head / 10).await;
        }
    });
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(LONG, reads.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it stays open");
    dripping.abort();
    drop(inner);
}

#[tokio::test]
async fn an_answer_may_take_longer_than_any_limit_and_what_follows_may_not() {
    let mut rig = rig(QUICK);
    let (mut client, mut inner, visitor) = rig.pair().await;
    visitor.asked();
    tokio::time::sleep(QUICK.idle * 2).await;
    visitor.answered();
    inner.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).await.unwrap();
    ends(&mut client, QUICK.idle / 2).await;
}

#[tokio::test]
async fn who_takes_no_answer_is_not_waited_for() {
    let mut rig = rig(QUICK);
    let (client, mut inner, visitor) = rig.pair().await;
    visitor.asked();
    visitor.answered();
    let long = vec![b'x'; 32 << 20];
    let written = tokio::time::timeout(LONG, inner.write_all(&long)).await;
    assert!(written.unwrap().is_err());
    drop(client);
}

#[tokio::test]
async fn an_early_answer_is_heard_by_a_client_that_still_speaks() {
    let mut rig = rig(QUICK);
    let (mut client, mut inner, visitor) = rig.pair().await;
    visitor.asked();
    client.write_all(&vec![b'x'; 200_000]).await.unwrap();
    visitor.answered();
    inner.write_all(b"too large").await.unwrap();
    drop(inner);
    let mut answer = [0; 9];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"too large");
}

#[tokio::test]
async fn a_closing_door_waits_for_answers_and_for_nothing_else() {
    let mut rig = rig(Limits {
        head: LONG * 4,
        idle: LONG * 4,
        ..QUICK
    });
    let (mut busy, mut inner, visitor) = rig.pair().await;
    visitor.asked();
    let mut silent = rig.connect().await;
    let closing = Arc::clone(&rig.door);
    let closed = tokio::spawn(async move { closing.close(LONG * 2).await });
    ends(&mut silent, Duration::ZERO).await;
    assert!(TcpStream::connect(rig.address).await.is_err());
    assert!(!closed.is_finished());
    inner.write_all(b"answer").await.unwrap();
    visitor.answered();
    let mut answer = Vec::new();
    busy.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"answer");
    tokio::time::timeout(LONG, closed).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_an_error() {
    let rig = rig(QUICK);
    let error = Entrance::bind(rig.address, Port::Plain).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}
