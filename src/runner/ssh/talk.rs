//! A process on the Barman host that is talked with through pipes for as long as it lives: the warm
//! parent.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::thread::JoinHandle;

use openssh::Stdio;
use tokio::sync::mpsc;

use super::request::{self, Wanted};
use super::{Link, LinkError, channel, run};
use crate::runner::Plan;

/// What start-up files may print before the answer begins.
const NOISE: u64 = 1 << 20;

/// Bytes that are read of a launcher, and of the offset before them.
const LAUNCHER: u64 = 16 + 4096;

/// A session whose other end is about to become such a process.
#[derive(Debug)]
pub(in crate::runner) struct Talk {
    /// What it is told.
    pub(in crate::runner) input: File,
    /// What it says.
    pub(in crate::runner) answers: BufReader<File>,
    /// Ends it.
    pub(in crate::runner) end: End,
    word: String,
    thread: JoinHandle<()>,
}

/// Ends a talk, and with it the process at its other end.
#[derive(Debug, Clone)]
pub(in crate::runner) struct End(mpsc::UnboundedSender<()>);

impl End {
    /// Ends it.
    pub(in crate::runner) fn now(&self) {
        // One that has ended already hears nothing.
        self.0.send(()).unwrap_or_default();
    }
}

/// What a talk was held by, once its pipes are taken.
#[derive(Debug)]
pub(in crate::runner) struct Held(JoinHandle<()>);

impl Held {
    /// Waits until the session is gone.
    pub(in crate::runner) fn wait(self) {
        // A thread that died has let everything go.
        drop(self.0.join());
    }
}

impl Talk {
    /// Opens a session and asks for a process that becomes what [`introduce`](Self::introduce) says.
    ///
    /// # Errors
    /// When the host can't be reached.
    pub(in crate::runner) fn open(link: &Link, plan: &Plan) -> Result<Self, LinkError> {
        let mut word = [0; 16];
        getrandom::fill(&mut word).map_err(io::Error::other)?;
        let word = format!("{:032x}", u128::from_be_bytes(word));
        let request = Wanted::Warm(plan).bytes(&plan.program, &word)?;
        let (told, opened) = std::sync::mpsc::channel();
        let (end, mut ends) = mpsc::unbounded_channel();
        let link = link.clone();
        let hold = move || async move {
            let mut ours = None;
            let pipes = || -> io::Result<[Stdio; 3]> {
                let (their_input, input) = io::pipe()?;
                let (answers, their_answers) = io::pipe()?;
                ours = Some((of(input), of(answers)));
                let (input, answers) = (OwnedFd::from(their_input), OwnedFd::from(their_answers));
                Ok([Stdio::from(input), Stdio::from(answers), Stdio::null()])
            };
            let (place, child) = match channel::session(&link, true, pipes).await {
                Ok(session) => session,
                Err(error) => return drop(told.send(Err(error))),
            };
            if told.send(ours.ok_or(LinkError::Lost)).is_ok() {
                tokio::select! {
                    _ = child.wait() => {}
                    _ = ends.recv() => {}
                }
            }
            drop(place);
        };
        let thread = std::thread::Builder::new().name("ssh warm".to_owned());
        let thread = thread.spawn(move || match run::runtime() {
            Ok(runtime) => runtime.block_on(hold()),
            Err(error) => tracing::error!(%error, "no runtime for a session"),
        })?;
        let (mut input, answers) = opened.recv().unwrap_or(Err(LinkError::Lost))?;
        input.write_all(&request)?;
        Ok(Self {
            input,
            answers: BufReader::new(answers),
            end: End(end),
            word,
            thread,
        })
    }

    /// Tells it what to become, after a look at how the launcher begins; blocks until it has heard.
    ///
    /// # Errors
    /// What `choose` says, and when something else answers, nobody does, or the launcher can't be read.
    pub(in crate::runner) fn introduce<E: From<LinkError>>(
        &mut self,
        choose: impl FnOnce(&[u8]) -> Result<Vec<OsString>, E>,
    ) -> Result<(), E> {
        let launcher = self.launcher()?;
        let words = choose(&launcher)?;
        let words = request::counted(words.iter().map(|word| word.as_bytes()));
        let told = self.input.write_all(&words);
        told.map_err(|error| LinkError::from(error).into())
    }

    /// How the launcher begins.
    fn launcher(&mut self) -> Result<Vec<u8>, LinkError> {
        let mark = format!("{}\n", self.word).into_bytes();
        let mut noise = self.answers.by_ref().take(NOISE);
        let mut line = Vec::new();
        while !line.ends_with(&mark) {
            line.clear();
            if noise.read_until(b'\n', &mut line)? == 0 {
                return Err(LinkError::Lost);
            }
        }
        let mut head = [0; 9];
        self.answers.read_exact(&mut head)?;
        let length = head.get(1..).and_then(|length| {
            let length = std::str::from_utf8(length).ok()?;
            u64::from_str_radix(length, 16).ok()
        });
        let length = length.filter(|length| *length <= LAUNCHER);
        let odd = || LinkError::protocol("what should be a launcher is none".to_owned());
        let mut content = Vec::new();
        let mut answer = self.answers.by_ref().take(length.ok_or_else(odd)?);
        answer.read_to_end(&mut content)?;
        if head.starts_with(b"o") {
            Ok(content.split_off(content.len().min(16)))
        } else {
            let words = String::from_utf8_lossy(&content).into_owned();
            Err(LinkError::Io(io::Error::other(words)))
        }
    }

    /// Its pipes, and what holds the session.
    pub(in crate::runner) fn split(self) -> (File, BufReader<File>, End, Held) {
        (self.input, self.answers, self.end, Held(self.thread))
    }
}

fn of(pipe: impl Into<OwnedFd>) -> File {
    File::from(pipe.into())
}
