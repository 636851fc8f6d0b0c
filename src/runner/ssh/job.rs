//! A detached job: started once, followed through every lost link.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::channel::{Channel, NotOpened};
use super::frame::Frame;
use super::request::Wanted;
use super::run::{Outputs, Shared};
use super::{Link, LinkError, odd, refused};
use crate::runner::{Ending, GRACE, Plan, StartError};

/// How long a job that was not asked for yet is tried to be started.
const START: Duration = Duration::from_secs(10);

/// How long the start of a job is waited for once the host has answered.
const STARTED: Duration = Duration::from_secs(30);

/// Pauses between two tries to reach the host; they double.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause while the host refuses us or answers oddly: its log should not fill with that.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// How long a host that answers oddly has, beyond the grace of a stop, to tell an end.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// Bytes that arrive until they are made safe here and their room is given back there.
const SAFE: u64 = 16 << 20;

/// Starts a job and follows it.
pub(super) async fn start(
    link: Link,
    plan: Plan,
    name: String,
    outputs: Outputs,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<()>,
) {
    let job = Job::new(link, plan, name, outputs, shared, orders, Known::Unasked);
    job.follow().await;
}

/// Follows a job that was asked for before.
pub(super) async fn adopt(
    link: Link,
    plan: Plan,
    name: String,
    outputs: Outputs,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<()>,
) {
    let job = Job::new(link, plan, name, outputs, shared, orders, Known::Adopted);
    job.follow().await;
}

/// What is known of the job's being there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It was not asked for: it isn't there.
    Unasked,
    /// It was asked for, and the link broke.
    Asked,
    /// Somebody else may have asked for it.
    Adopted,
    /// It is there.
    There,
}

struct Job {
    link: Link,
    plan: Plan,
    name: String,
    outputs: Outputs,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<()>,
    known: Known,
    stopping: Option<Instant>,
    begun: Instant,
    pause: Duration,
}

/// Why a job is not followed any further on this link.
enum Break {
    /// It has ended.
    Ended(Ending),
    /// It never ran, and never will.
    Never,
    /// It can't be started.
    Refused(StartError),
    /// There is no such job any more.
    Missing,
    /// Nobody wants it any more.
    Dropped,
    /// The link is lost.
    Link(LinkError),
}

impl<E: Into<LinkError>> From<E> for Break {
    fn from(error: E) -> Self {
        Self::Link(error.into())
    }
}

impl Job {
    fn new(
        link: Link,
        plan: Plan,
        name: String,
        outputs: Outputs,
        shared: Arc<Shared>,
        orders: mpsc::UnboundedReceiver<()>,
        known: Known,
    ) -> Self {
        Self {
            link,
            plan,
            name,
            outputs,
            shared,
            orders,
            known,
            stopping: None,
            begun: Instant::now(),
            pause: FIRST_PAUSE,
        }
    }

    async fn follow(mut self) {
        loop {
            let known = self.known;
            match self.follow_once().await {
                Break::Dropped => return,
                Break::Ended(ending) => return self.shared.end(Ok(ending)),
                Break::Missing => {
                    return self.shared.end(Ok(Ending::Unknown { restarted: false }));
                }
                Break::Never if known == Known::Adopted => return self.shared.verdict(Ok(false)),
                Break::Never => {
                    return self.shared.end(Err(io::Error::new(
                        io::ErrorKind::Interrupted,
                        "it was stopped before it had started",
                    )));
                }
                Break::Refused(error) => return self.refused(error),
                Break::Link(error) if self.is_final(&error) => {
                    return self.refused(error.into());
                }
                // Nothing that such a host says will ever be an end, and nobody wants it any more.
                Break::Link(LinkError::Protocol { .. }) if self.is_given_up() => {
                    return self.shared.end(Ok(Ending::Unknown { restarted: false }));
                }
                Break::Link(error) => {
                    self.shared.set_reachable(false);
                    tracing::debug!(%error, job = self.name, "a job can't be followed now");
                    if self.known != Known::Unasked {
                        self.shared.verdict(Ok(true));
                    }
                    if !self.rest(&error).await {
                        return;
                    }
                }
            }
        }
    }

    /// Whether an error means that nothing runs and nothing will.
    fn is_final(&self, error: &LinkError) -> bool {
        match self.known {
            Known::Unasked => {
                !error.passes() || self.begun.elapsed() >= START || self.stopping.is_some()
            }
            // Whoever adopts asks again by himself.
            Known::Adopted => true,
            Known::Asked | Known::There => false,
        }
    }

    fn is_given_up(&self) -> bool {
        let since = self.stopping.map(|since| since.elapsed());
        since.is_some_and(|since| since >= GRACE + AFTER_KILL)
    }

    fn stop(&mut self) {
        self.stopping.get_or_insert_with(Instant::now);
    }

    fn refused(&self, error: StartError) {
        // Who started it has his answer already when the link was lost in between.
        self.shared.refuse(error);
    }

    /// A pause before the next try; false when nobody wants it any more.
    async fn rest(&mut self, error: &LinkError) -> bool {
        let longest = if error.needs_somebody() {
            REFUSED_PAUSE
        } else {
            LONGEST_PAUSE
        };
        let pause = self.pause.min(longest);
        self.pause = (pause * 2).min(longest);
        match timeout(pause, self.orders.recv()).await {
            Ok(None) => return false,
            Ok(Some(())) => self.stop(),
            Err(_) => {}
        }
        true
    }

    async fn follow_once(&mut self) -> Break {
        let offsets = match self.outputs.lengths() {
            Ok(offsets) => offsets,
            Err(error) => return error.into(),
        };
        let name = self.name.clone();
        let plan = self.plan.clone();
        let wanted = match self.known {
            Known::There => Wanted::Follow(&name, offsets),
            Known::Adopted => Wanted::Adopt(&name, offsets),
            // What shall stop is not started any more.
            _ if self.stopping.is_some() => Wanted::Adopt(&name, offsets),
            _ => Wanted::Job(&name, offsets, &plan),
        };
        let link = self.link.clone();
        let opened = {
            let open = Channel::open(&link, &plan.program, wanted);
            tokio::pin!(open);
            loop {
                tokio::select! {
                    opened = &mut open => break opened,
                    order = self.orders.recv() => match order {
                        Some(()) => self.stop(),
                        None => return Break::Dropped,
                    },
                }
            }
        };
        let mut channel = match opened {
            Ok(channel) => channel,
            Err(NotOpened { error, sent }) => {
                if sent && self.known == Known::Unasked {
                    self.known = Known::Asked;
                }
                return Break::Link(error);
            }
        };
        let first = self.known == Known::Unasked;
        if first {
            self.known = Known::Asked;
        }
        self.shared.set_reachable(true);
        let since = Instant::now();
        let Err(broken) = self.read(&mut channel, first).await;
        if since.elapsed() >= REFUSED_PAUSE {
            self.pause = FIRST_PAUSE;
        }
        broken
    }

    /// Reads what comes through a channel, the `first` one that the job was asked for through or
    /// a later one.
    async fn read(
        &mut self,
        channel: &mut Channel,
        first: bool,
    ) -> Result<std::convert::Infallible, Break> {
        let stop = |channel: &Channel| channel.tell(b'i', &GRACE.as_millis().to_string());
        if self.stopping.is_some() {
            stop(channel);
        }
        let opened = Instant::now();
        let mut waits = true;
        let mut safe = self.outputs.lengths()?;
        loop {
            let frame = tokio::select! {
                frame = channel.frame() => frame?,
                order = self.orders.recv() => {
                    if order.is_none() {
                        return Err(Break::Dropped);
                    }
                    self.stop();
                    stop(channel);
                    continue;
                }
                () = sleep(STARTED.saturating_sub(opened.elapsed())), if waits => {
                    waits = false;
                    if self.known == Known::Adopted {
                        self.known = Known::There;
                    }
                    self.shared.verdict(Ok(true));
                    continue;
                }
            };
            match frame {
                Frame::Started(age) => {
                    self.known = Known::There;
                    match age {
                        Some(age) => self.shared.started(age),
                        None => self.shared.verdict(Ok(true)),
                    }
                }
                Frame::Output(stream, offset, bytes) => {
                    self.outputs.append(stream, offset, &bytes)?;
                    let lengths = self.outputs.lengths()?;
                    let fresh = lengths.iter().sum::<u64>() - safe.iter().sum::<u64>();
                    if fresh >= SAFE {
                        safe = self.outputs.sync()?;
                        channel.tell(b'a', &format!("{} {}", safe[0], safe[1]));
                    }
                }
                Frame::Beat { orphaned } => self.shared.set_orphaned(orphaned),
                Frame::Ended { ending, lengths } => {
                    if self.outputs.lengths()? != lengths {
                        return Err(LinkError::protocol("output is missing").into());
                    }
                    return Err(Break::Ended(ending));
                }
                Frame::Refused { .. } if self.known == Known::There => {
                    return Err(LinkError::protocol("a job that runs is refused").into());
                }
                Frame::Trouble { errno, words } if !first => {
                    return Err(refused(errno, words).into());
                }
                Frame::Refused { words, .. } | Frame::Trouble { words, .. } => {
                    return Err(Break::Refused(StartError::Execute {
                        program: self.plan.program.display().to_string(),
                        reason: words,
                    }));
                }
                Frame::Never => return Err(Break::Never),
                Frame::Missing => return Err(Break::Missing),
                other => return Err(odd(&other).into()),
            }
        }
    }
}
