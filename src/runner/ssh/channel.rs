//! One session with the program text of ours at its other end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openssh::{Child, Error, Session, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};

use super::frame::{self, Frame};
use super::master::Place;
use super::request::{COMMAND, NO_PYTHON, Wanted};
use super::{Link, LinkError, error};

/// How long a place may be waited for.
const PLACE_WAIT: Duration = Duration::from_secs(30);

/// How long the host may take until it answers at all.
const FIRST_ANSWER: Duration = Duration::from_secs(15);

/// After this time without a sign of life, which comes every 5 seconds, the link is lost.
const SILENCE: Duration = Duration::from_secs(17);

/// How often we give one.
const BEAT: Duration = Duration::from_secs(5);

/// What start-up files may print before the answer begins.
const NOISE: usize = 1 << 20;

/// How long the exit status and the last words of a session that has ended may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Bytes kept of what the other side prints on standard error.
const STDERR: usize = 4096;

/// Why there is no channel, and whether the request may have arrived.
#[derive(Debug)]
pub(super) struct NotOpened {
    pub(super) error: LinkError,
    pub(super) sent: bool,
}

impl<E: Into<LinkError>> From<E> for NotOpened {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            sent: false,
        }
    }
}

/// A session that answers.
pub(super) struct Channel {
    place: Place,
    child: Option<Child<Arc<Session>>>,
    stdout: openssh::ChildStdout,
    buffer: Vec<u8>,
    /// The end of standard error so far; its sender goes when that is closed.
    said: watch::Receiver<Vec<u8>>,
    orders: mpsc::UnboundedSender<Vec<u8>>,
    heard: Instant,
}

impl Channel {
    /// Sends a request and waits until it is answered.
    ///
    /// A connection that turns out dead before anything was sent is made anew, once.
    pub(super) async fn open(
        link: &Link,
        program: &Path,
        wanted: Wanted<'_>,
    ) -> Result<Self, NotOpened> {
        let mut word = [0; 16];
        getrandom::fill(&mut word).map_err(std::io::Error::other)?;
        let word = format!("{:032x}", u128::from_be_bytes(word));
        let bytes = wanted.bytes(program, &word)?;
        let piped = || Ok([Stdio::piped(), Stdio::piped(), Stdio::piped()]);
        let (place, child) = session(link, wanted.is_long(), piped).await?;
        let mut channel = Self::new(place, child, bytes)?;
        match channel.first_answer(&word).await {
            Ok(()) => Ok(channel),
            Err(error) => {
                let sent = !matches!(error, LinkError::Shell { .. } | LinkError::NoPython);
                Err(NotOpened { error, sent })
            }
        }
    }

    fn new(
        place: Place,
        mut child: Child<Arc<Session>>,
        bytes: Vec<u8>,
    ) -> Result<Self, LinkError> {
        let pipes = (
            child.stdin().take(),
            child.stdout().take(),
            child.stderr().take(),
        );
        let (Some(mut stdin), Some(stdout), Some(mut stderr)) = pipes else {
            return Err(LinkError::protocol("a session without pipes"));
        };
        let (orders, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
        // Orders queue up behind the request; a link that takes nothing is found by its silence.
        tokio::spawn(async move {
            let mut next = bytes;
            while stdin.write_all(&next).await.is_ok() {
                next = match timeout(BEAT, queue.recv()).await {
                    Ok(Some(order)) => order,
                    Ok(None) => return,
                    Err(_) => frame::order(b'p', ""),
                };
            }
        });
        let (hears, said) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut chunk = vec![0; STDERR];
            while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
                hears.send_modify(|said: &mut Vec<u8>| {
                    said.extend_from_slice(chunk.get(..count).unwrap_or_default());
                    said.drain(..said.len().saturating_sub(STDERR));
                });
            }
        });
        Ok(Self {
            place,
            child: Some(child),
            stdout,
            buffer: Vec::new(),
            said,
            orders,
            heard: Instant::now(),
        })
    }

    /// Skips what start-up files print, up to the word that the answer begins with.
    async fn first_answer(&mut self, word: &str) -> Result<(), LinkError> {
        let until = Instant::now() + FIRST_ANSWER;
        let mark = format!("{word}\n").into_bytes();
        let mut searched = 0;
        loop {
            let at = find(self.buffer.get(searched..).unwrap_or_default(), &mark);
            if let Some(at) = at {
                self.buffer.drain(..searched + at + mark.len());
                return Ok(());
            }
            searched = self.buffer.len().saturating_sub(mark.len());
            if self.buffer.len() > NOISE {
                return Err(LinkError::Shell {
                    name: None,
                    words: format!("more than {NOISE} bytes"),
                });
            }
            match self.read(until).await {
                Ok(0) => return Err(self.no_answer().await),
                Ok(_) => {}
                Err(LinkError::Lost) => {
                    return Err(LinkError::late(FIRST_ANSWER));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next thing that the other side tells. It may be given up and asked for again.
    pub(super) async fn frame(&mut self) -> Result<Frame, LinkError> {
        loop {
            if let Some(frame) = frame::take(&mut self.buffer)? {
                return Ok(frame);
            }
            if self.read(self.heard + SILENCE).await? == 0 {
                return Err(self.broken().await);
            }
        }
    }

    /// Sends an order.
    pub(super) fn tell(&self, kind: u8, payload: &str) {
        // A link that is gone is found by reading.
        drop(self.orders.send(frame::order(kind, payload)));
    }

    async fn read(&mut self, until: Instant) -> Result<usize, LinkError> {
        self.buffer.reserve(64 * 1024);
        tokio::select! {
            read = self.stdout.read_buf(&mut self.buffer) => {
                self.heard = Instant::now();
                read.map_err(|_| LinkError::Lost)
            }
            () = sleep_until(until.into()) => Err(LinkError::Lost),
        }
    }

    /// The end of what was printed on standard error, which comes through a pipe of its own.
    async fn said(&mut self) -> Vec<u8> {
        let whole = async { while self.said.changed().await.is_ok() {} };
        drop(timeout(LAST_WORDS, whole).await);
        self.said.borrow().clone()
    }

    /// Why the answers ended: our program there failed, or the link did.
    async fn broken(&mut self) -> LinkError {
        let said = self.said().await;
        if find(&said, b"Traceback (most recent call last)").is_some() {
            LinkError::protocol(error::tail(&said))
        } else {
            LinkError::Lost
        }
    }

    /// Why there was none.
    async fn no_answer(&mut self) -> LinkError {
        let status = match self.child.take() {
            Some(child) => timeout(LAST_WORDS, child.wait()).await,
            None => return LinkError::Lost,
        };
        let ran = match status {
            Ok(Ok(status)) => status.code() != Some(255),
            // This is what exit code 127 is made into.
            Ok(Err(Error::Remote(_))) => true,
            _ => false,
        };
        if !ran {
            return LinkError::Lost;
        }
        if error::tail(&self.buffer) == NO_PYTHON {
            return LinkError::NoPython;
        }
        if let broken @ LinkError::Protocol { .. } = self.broken().await {
            return broken;
        }
        let mut words = error::tail(&self.said().await);
        if words.is_empty() {
            words = error::tail(&self.buffer);
        }
        LinkError::Shell {
            name: shell_name(&self.place).await,
            words,
        }
    }
}

/// Why no session could be started.
enum Refusal {
    /// The host lets no further session on this connection.
    Full,
    /// There is no connection.
    Link(LinkError),
}

impl From<LinkError> for Refusal {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

/// Starts the command in a session, with these streams, in the first place that is free.
pub(super) async fn session(
    link: &Link,
    is_long: bool,
    mut streams: impl FnMut() -> io::Result<[Stdio; 3]>,
) -> Result<(Place, Child<Arc<Session>>), LinkError> {
    let until = Instant::now() + PLACE_WAIT;
    let mut full = Vec::new();
    loop {
        let (sockets, remote) = (&link.sockets, &link.remote);
        let place = Place::take(sockets, remote, is_long, &mut full, until).await?;
        match start(&place, link, &mut streams).await {
            Ok(child) => return Ok((place, child)),
            // The host lets fewer sessions on one connection than we do.
            Err(Refusal::Full) => full.push(place.master()),
            Err(Refusal::Link(error)) => return Err(error),
        }
    }
}

async fn start(
    place: &Place,
    link: &Link,
    mut streams: impl FnMut() -> io::Result<[Stdio; 3]>,
) -> Result<Child<Arc<Session>>, Refusal> {
    let mut first = true;
    loop {
        let [input, output, errors] = streams().map_err(LinkError::from)?;
        let mut command = place.session().arc_raw_command(COMMAND);
        command.stdin(input).stdout(output).stderr(errors);
        // The channel is asked for; nothing was sent through it yet.
        let error = match timeout(FIRST_ANSWER, command.spawn()).await {
            Ok(Ok(child)) => return Ok(child),
            Ok(Err(Error::SshMux(error))) if error.to_string().contains("refused") => {
                return Err(Refusal::Full);
            }
            Ok(Err(error)) => LinkError::NoRoute {
                words: error_chain(&error),
            },
            // The host is silent, unless it is our own end that is.
            Err(_) if place.lives().await => return Err(LinkError::late(FIRST_ANSWER).into()),
            Err(_) => LinkError::late(FIRST_ANSWER),
        };
        if !first {
            return Err(error.into());
        }
        first = false;
        place.connect(&link.remote).await?;
    }
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        words = format!("{words}: {next}");
        source = next.source();
    }
    words
}

/// What the login shell calls itself, when it says so at all.
async fn shell_name(place: &Place) -> Option<String> {
    let asked = async {
        let session = place.session();
        let mut child = session
            .arc_raw_command("echo $0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .await
            .ok()?;
        let mut said = Vec::new();
        let stdout = child.stdout().take()?;
        stdout.take(4096).read_to_end(&mut said).await.ok()?;
        let name = error::tail(&said);
        let is_name = name.len() <= 64
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/-_.+".contains(c));
        (is_name && !name.is_empty()).then_some(name)
    };
    timeout(LAST_WORDS, asked).await.ok().flatten()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
