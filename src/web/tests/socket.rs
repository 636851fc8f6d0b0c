//! The service on a real port, and what comes back over it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::app;
use super::play::{ANN_TOKEN, Play};
use crate::visitors::{Port, Visitor};
use crate::web::{App, attend, drain};

/// Lets everybody in. Time and room have their limits in the listener, which is not played here.
async fn accept(listener: TcpListener, app: Arc<App>) {
    loop {
        let (mut stream, peer) = listener.accept().await.unwrap();
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let visitor = Arc::new(Visitor::new(peer, Port::Plain));
            attend(&app, &mut stream, &visitor).await.ok();
            stream.shutdown().await.ok();
            let mut rest = (&mut stream).take(1 << 20);
            tokio::io::copy(&mut rest, &mut tokio::io::sink())
                .await
                .ok();
        });
    }
}

/// The service on a real port; it stops when this is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) play: Arc<Play>,
    pub(super) app: Arc<App>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start() -> Self {
        let play = Arc::new(Play::default());
        let app = Arc::new(app(&play));
        let (bound, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&app);
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap()
                .block_on(async {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    bound.send(listener.local_addr().unwrap()).unwrap();
                    let accepting = tokio::spawn(accept(listener, Arc::clone(&served)));
                    stopped.await.ok();
                    drain(&served).await;
                    accepting.abort();
                });
        });
        Self {
            address: address.recv_timeout(Duration::from_secs(30)).unwrap(),
            play,
            app,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Asks for the stop without waiting for it.
    pub(super) fn ask_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
    }

    /// Waits until the service has ended.
    pub(super) fn join(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Sends raw bytes and reads until the other side closes.
    pub(super) fn raw(&self, bytes: impl AsRef<[u8]>) -> Raw {
        let mut stream = self.connect();
        stream.write_all(bytes.as_ref()).unwrap();
        Raw::read(&mut stream)
    }

    /// A request with Ann's token that closes the connection.
    pub(super) fn request(&self, line: &str, headers: &str, body: &[u8]) -> Raw {
        let mut bytes = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {ANN_TOKEN}\r\n{headers}\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.raw(bytes)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// An answer as it came over the socket.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Raw {
    pub(super) fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A reset after the answer is as good as an end: the server did not want the rest.
        stream.read_to_end(&mut bytes).ok();
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    pub(super) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        Self {
            status: head
                .split(' ')
                .nth(1)
                .and_then(|code| code.parse().ok())
                .unwrap_or_default(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(super) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}
