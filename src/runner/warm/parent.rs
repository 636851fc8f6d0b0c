//! One warm parent that is ready, and the runs that are its children.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::frame::{self, Frame};
use super::progress::{Answer, End, Progress};
use super::starting::{Killer, Process, Recipe};
use crate::runner::{Host, Plan, StartError};

/// How long it may take to begin a run. It needs about 2 ms.
pub(super) const BEGINNING: Duration = Duration::from_secs(5);

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What takes a parent's answers, on a thread of its own.
#[derive(Debug)]
pub(super) struct Service {
    parent: Arc<Parent>,
    process: Process,
    answers: BufReader<File>,
}

impl Service {
    pub(super) fn new(parent: Arc<Parent>, process: Process, answers: BufReader<File>) -> Self {
        Self {
            parent,
            process,
            answers,
        }
    }

    /// Passes on what the parent says, until it says no more; `gone` is called then.
    pub(super) fn run(mut self, gone: impl FnOnce()) {
        while let Ok(Some(frame)) = frame::read(&mut self.answers) {
            self.parent.heard(frame);
        }
        gone();
        self.parent.kill();
        self.process.wait();
    }
}

/// A parent that is ready.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) recipe: Recipe,
    pub(super) since: Instant,
    input: Mutex<File>,
    runs: Mutex<Runs>,
    killer: Killer,
}

#[derive(Debug)]
struct Runs {
    last: u32,
    /// Nothing more is asked of it, and its process number may soon be another's.
    gone: bool,
    /// When it last said something.
    heard: Instant,
    open: HashMap<u32, Arc<Progress>>,
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Begun {
    /// It runs, under this number.
    Yes(u32, Arc<Progress>),
    /// It does not, and why: another way is taken.
    No(Answer),
}

impl Parent {
    pub(super) fn new(recipe: Recipe, input: File, killer: Killer) -> Self {
        let now = Instant::now();
        Self {
            recipe,
            since: now,
            input: Mutex::new(input),
            runs: Mutex::new(Runs {
                last: 0,
                gone: false,
                heard: now,
                open: HashMap::new(),
            }),
            killer,
        }
    }

    /// Asks for a run, and waits until it has begun.
    ///
    /// # Errors
    /// When there is no room for its output.
    pub(super) fn begin(&self, plan: &Plan) -> Result<Begun, StartError> {
        let progress = Progress::new(plan)?;
        let number = {
            let mut runs = held(&self.runs);
            if runs.gone {
                return Ok(Begun::No(Answer::Gone));
            }
            runs.last = runs.last.wrapping_add(1);
            let number = runs.last;
            runs.open.insert(number, Arc::clone(&progress));
            number
        };
        let sent = frame::request(number, plan).map(|request| self.send(&request));
        let answer = match sent {
            None => Some(Answer::Refused),
            Some(Err(_)) => Some(Answer::Gone),
            Some(Ok(())) => progress.answer_within(BEGINNING),
        };
        let answer = match answer {
            Some(Answer::Begun) => return Ok(Begun::Yes(number, progress)),
            Some(answer) => answer,
            // It lives, but what others are told takes long to come here.
            None if held(&self.runs).heard.elapsed() < BEGINNING => self.withdraw(number),
            // It hangs, and so would everybody who asks it.
            None => self.give_up(),
        };
        held(&self.runs).open.remove(&number);
        Ok(Begun::No(answer))
    }

    fn withdraw(&self, number: u32) -> Answer {
        match self.signal(number, Signal::KILL) {
            Ok(()) => Answer::Refused,
            Err(_) => self.give_up(),
        }
    }

    fn give_up(&self) -> Answer {
        tracing::warn!("the warm barman hangs");
        self.kill();
        Answer::Gone
    }

    /// Signals the group of a run. One that has ended needs no signal.
    ///
    /// # Errors
    /// When the parent can't be told.
    pub(super) fn signal(&self, number: u32, signal: Signal) -> io::Result<()> {
        if !held(&self.runs).open.contains_key(&number) {
            return Ok(());
        }
        match self.send(&frame::signal(number, signal)) {
            // The end of all its runs is about to be told.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => sent,
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        held(&self.input).write_all(bytes)
    }

    /// Ends the parent, and all that runs with it. The runs are told at once, since a way to
    /// another host may not tell its own end for long.
    pub(super) fn kill(&self) {
        let left = {
            let mut runs = held(&self.runs);
            if !runs.gone {
                runs.gone = true;
                self.killer.kill();
            }
            std::mem::take(&mut runs.open)
        };
        for progress in left.into_values() {
            progress.lose();
        }
    }

    fn heard(&self, frame: Frame) {
        held(&self.runs).heard = Instant::now();
        let of = |number| held(&self.runs).open.get(&number).cloned();
        let end = |number, end| {
            let progress = held(&self.runs).open.remove(&number);
            if let Some(progress) = progress {
                progress.end(end);
            }
        };
        match frame {
            Frame::Begun(number, pid) => {
                if let Some(progress) = of(number) {
                    progress.begun((self.recipe.host == Host::Here).then_some(pid));
                }
            }
            Frame::Output(number, stream, bytes) => {
                if let Some(progress) = of(number) {
                    progress.keep(stream, &bytes);
                }
            }
            Frame::Refused(number, why) => end(number, End::Refused(why)),
            Frame::Ended(number, ending) => end(number, End::Ended(ending)),
            Frame::Ready | Frame::Unusable(_) => {}
        }
    }
}
