//! A command that ends together with its link.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::channel::Channel;
use super::frame::Frame;
use super::request::Wanted;
use super::run::{Outputs, Shared};
use super::{Link, LinkError, odd};
use crate::runner::{Ending, GRACE, Plan, StartError};

/// How long a command is waited for beyond the grace of a stop; then its link is cut.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// Runs a command and tells how it goes.
pub(super) async fn run(
    link: Link,
    plan: Plan,
    mut outputs: Outputs,
    shared: Arc<Shared>,
    mut orders: mpsc::UnboundedReceiver<()>,
) {
    let opened = tokio::select! {
        opened = Channel::open(&link, &plan.program, Wanted::Run(&plan)) => opened,
        // Nobody waits for it any more, and nothing was started that could be stopped.
        _ = orders.recv() => return,
    };
    let mut channel = match opened {
        Ok(channel) => channel,
        Err(not_opened) => return shared.verdict(Err(not_opened.error.into())),
    };
    shared.set_reachable(true);
    let followed = follow(&mut channel, &plan, &mut outputs, &shared, &mut orders).await;
    match followed {
        Ok(Some(ending)) => shared.end(Ok(ending)),
        Ok(None) => {}
        Err(Broken::Start(error)) => shared.refuse(error),
        Err(Broken::Link(error)) => {
            shared.set_reachable(false);
            shared.fail(error);
        }
    }
}

enum Broken {
    Start(StartError),
    Link(LinkError),
}

impl From<LinkError> for Broken {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

/// `None` when nobody wants it any more.
async fn follow(
    channel: &mut Channel,
    plan: &Plan,
    outputs: &mut Outputs,
    shared: &Shared,
    orders: &mut mpsc::UnboundedReceiver<()>,
) -> Result<Option<Ending>, Broken> {
    let mut given_up: Option<Instant> = None;
    loop {
        let limit = given_up.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        let frame = tokio::select! {
            frame = channel.frame() => frame?,
            order = orders.recv() => {
                if order.is_none() {
                    return Ok(None);
                }
                channel.tell(b'i', &GRACE.as_millis().to_string());
                given_up = Some(Instant::now() + GRACE + AFTER_KILL);
                continue;
            }
            () = sleep_until(limit.into()) => {
                if given_up.is_some() {
                    return Err(LinkError::Lost.into());
                }
                continue;
            }
        };
        match frame {
            Frame::Started(age) => shared.started(age.unwrap_or_default()),
            Frame::Output(stream, offset, bytes) => outputs.append(stream, offset, &bytes)?,
            Frame::Beat { .. } => {}
            Frame::Ended { ending, lengths } => {
                if outputs.lengths().map_err(LinkError::Io)? != lengths {
                    return Err(LinkError::protocol("output is missing").into());
                }
                return Ok(Some(ending));
            }
            Frame::Refused { words, .. } => {
                return Err(Broken::Start(StartError::Execute {
                    program: plan.program.display().to_string(),
                    reason: words,
                }));
            }
            other => return Err(odd(&other).into()),
        }
    }
}
