//! The output of a process, taken as it comes and kept up to a limit.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::SAID;

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Bytes taken after the end of a process, as much as pipes hold: what it left behind may go on writing.
const REST: usize = 1 << 20;

/// The reading end of a pipe and what came through it.
#[derive(Debug)]
pub(super) struct Source<R> {
    pipe: R,
    is_open: bool,
    pub(super) kept: Vec<u8>,
    pub(super) cut: bool,
}

impl<R: Read + AsFd> Source<R> {
    pub(super) fn new(pipe: R) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Self {
            pipe,
            is_open: true,
            kept: Vec::new(),
            cut: false,
        })
    }

    /// Takes what is there now, one chunk; how much it was.
    fn take(&mut self) -> io::Result<usize> {
        let mut chunk = vec![0; CHUNK];
        match self.pipe.read(&mut chunk) {
            Ok(count) => {
                self.is_open = count > 0;
                let room = SAID - self.kept.len();
                let kept = chunk.get(..count.min(room)).unwrap_or_default();
                self.kept.extend_from_slice(kept);
                self.cut |= count > room;
                Ok(count)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes what stands in the pipe.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        let mut left = REST;
        while self.is_open && left > 0 {
            match self.take()? {
                0 => return Ok(()),
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    }
}

/// Waits at most `limit` for the end of the process, taking what it says; whether it has ended.
pub(super) fn listen<O: Read + AsFd, E: Read + AsFd>(
    pidfd: &OwnedFd,
    out: &mut Source<O>,
    err: &mut Source<E>,
    limit: Duration,
) -> io::Result<bool> {
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    let [mut ended, mut said, mut complained] = [false; 3];
    {
        let mut waiting = vec![(PollFd::new(pidfd, PollFlags::IN), &mut ended)];
        if out.is_open {
            waiting.push((PollFd::new(&out.pipe, PollFlags::IN), &mut said));
        }
        if err.is_open {
            waiting.push((PollFd::new(&err.pipe, PollFlags::IN), &mut complained));
        }
        let (mut polled, flags): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        match rustix::event::poll(&mut polled, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for (polled, flag) in polled.iter().zip(flags) {
            *flag = !polled.revents().is_empty();
        }
    }
    if said {
        out.take()?;
    }
    if complained {
        err.take()?;
    }
    Ok(ended)
}
