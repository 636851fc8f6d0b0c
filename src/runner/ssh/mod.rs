//! Barman on another host.
//!
//! Connections are made and multiplexed by OpenSSH (`master`), which several processes share. Every
//! session runs one constant command (`request`), which brings a Python to run the program text
//! that is sent along; nothing is installed there. It answers in frames (`frame`, `channel`).
//!
//! A short command ends together with its link. A job is detached there, in a folder of its own: a
//! lost link is never its end, it is followed further as soon as there is a link again.

mod channel;
mod config;
mod error;
mod files;
mod folder;
mod frame;
mod job;
mod master;
mod request;
mod run;
mod short;
mod talk;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

pub use error::LinkError;
pub use run::Run;
pub(in crate::runner) use talk::{End, Held, Talk};

use crate::names::Ticket;
use crate::settings::Remote;
use channel::Channel;
use frame::{Frame, Stream};
use request::Wanted;

/// How long the answer to one request may take, beyond the time that a connection may.
const ANSWER: Duration = Duration::from_secs(10);

/// A file as it is there: path, inode, size, seconds and nanoseconds of the last change, mode.
pub type FileFacts = (PathBuf, u64, u64, i64, i64, u32);

/// The way to a Barman host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The host and the account there.
    pub remote: Remote,
    /// The private folder for control sockets, shared by all processes on one store.
    pub sockets: PathBuf,
}

/// The name of a detached job on its host, where other stores may have jobs as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobName {
    /// What tells our store from others: 16 hexadecimal digits.
    pub store: String,
    /// The job's ticket.
    pub ticket: Ticket,
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.store, self.ticket)
    }
}

impl Link {
    /// Chooses, makes and checks the folder for the control sockets of a store: below
    /// `$RUNTIME_DIRECTORY`, or in `/run/user/UID`, or in `/tmp`.
    ///
    /// # Errors
    /// When none can be made, or somebody else has made it.
    pub fn socket_folder(store: &Path) -> io::Result<PathBuf> {
        folder::choose(store)
    }

    /// Facts about a program there and, of a script, about its interpreter: they differ when it was
    /// replaced.
    ///
    /// # Errors
    /// When the host can't be reached, or the program can't be read there ([`LinkError::Io`]).
    pub fn look(&self, program: &Path) -> Result<Vec<FileFacts>, LinkError> {
        match self.ask(program, Wanted::Look)? {
            Frame::Facts(facts) => Ok(facts),
            other => Err(odd(&other)),
        }
    }

    /// Where a path leads there: the longest part of it that exists, its symbolic links resolved, and
    /// the rest.
    ///
    /// # Errors
    /// When the host can't be reached, or that can't be told there ([`LinkError::Io`]).
    pub fn resolve(&self, path: &Path) -> Result<PathBuf, LinkError> {
        match self.ask(Path::new(""), Wanted::Resolve(path))? {
            Frame::Path(path) => Ok(path),
            other => Err(odd(&other)),
        }
    }

    /// Ends the connections that nobody uses: of this process and of others that share them.
    pub fn end_unused(&self) {
        if let Err(error) = master::end_unused(&self.sockets) {
            tracing::debug!(%error, "unused connections end by themselves");
        }
    }

    /// One request with one answer.
    fn ask(&self, program: &Path, wanted: Wanted<'_>) -> Result<Frame, LinkError> {
        let limit = master::connect_timeout(&self.remote) + ANSWER;
        let answer = async {
            let channel = Channel::open(self, program, wanted).await;
            let mut channel = channel.map_err(|not_opened| not_opened.error)?;
            channel.frame().await
        };
        let frame = block_on(async {
            let late = |_| Err(LinkError::late(limit));
            timeout(limit, answer).await.unwrap_or_else(late)
        })?;
        match frame {
            Frame::Refused { errno, words } => Err(LinkError::Io(refused(errno, words))),
            frame => Ok(frame),
        }
    }

    /// One request whose answer is a text of at most `longest` bytes, which takes no longer than `limit`.
    fn ask_for_text(
        &self,
        program: &Path,
        wanted: Wanted<'_>,
        longest: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, LinkError> {
        block_on(async {
            let channel = Channel::open(self, program, wanted).await;
            let mut channel = channel.map_err(|not_opened| not_opened.error)?;
            let answer = text_of(&mut channel, longest);
            let answer = tokio::time::timeout(limit, answer).await;
            answer.unwrap_or(Err(LinkError::Lost))
        })
    }
}

/// The text that comes through a channel.
async fn text_of(channel: &mut Channel, longest: usize) -> Result<Vec<u8>, LinkError> {
    let mut text = Vec::new();
    loop {
        match channel.frame().await? {
            Frame::Beat { .. } => {}
            Frame::Output(Stream::Out, offset, bytes) if offset == text.len() as u64 => {
                text.extend_from_slice(&bytes);
                if text.len() > longest {
                    return Err(LinkError::protocol(format!(
                        "an answer has more than {longest} bytes"
                    )));
                }
            }
            Frame::Done => return Ok(text),
            Frame::Refused { errno, words } => return Err(LinkError::Io(refused(errno, words))),
            other => return Err(odd(&other)),
        }
    }
}

/// Waits for an answer on a thread of its own, since a runtime can't be entered from within another one.
fn block_on<T: Send>(
    answer: impl Future<Output = Result<T, LinkError>> + Send,
) -> Result<T, LinkError> {
    let asked = std::thread::scope(|scope| {
        let thread = scope.spawn(|| run::runtime()?.block_on(answer));
        thread.join()
    });
    asked.unwrap_or(Err(LinkError::Lost))
}

/// Removes the folder of a job that has ended from its host. A folder that is missing is fine.
///
/// # Errors
/// When the host can't be reached, or the job still runs there ([`LinkError::Io`]).
pub fn remove_job(link: &Link, job: &JobName) -> Result<(), LinkError> {
    match link.ask(Path::new(""), Wanted::Remove(&job.to_string()))? {
        Frame::Done => Ok(()),
        other => Err(odd(&other)),
    }
}

fn odd(frame: &Frame) -> LinkError {
    LinkError::protocol(format!("{frame:.40?} answers something else"))
}

/// An error of the host's system, of the kind that it would be here.
fn refused(errno: i32, words: String) -> io::Error {
    let kind = if errno == 0 {
        io::ErrorKind::Other
    } else {
        io::Error::from_raw_os_error(errno).kind()
    };
    io::Error::new(kind, words)
}
