//! From a capture file to what is kept: masked, capped, and counted.
//!
//! Barman writes into a capture file, which holds every byte as it came. A [`Follower`] reads it
//! behind the writer and hands on what may be kept: secrets masked, and of an output longer than
//! the limit the first and the last half. What is no longer needed of a long capture file is given
//! back to the file system while the program still writes.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::output::Kept;
use crate::redact::Redactor;
use rustix::fs::FallocateFlags;

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// How far before the cut the last half is read, so that a secret that the cut splits is masked.
const OVERLAP: u64 = 64 * 1024;

/// How long a follower may rest between two looks while little comes.
const REST: Duration = Duration::from_millis(100);

/// The same at first and after much has come: what comes between two looks takes room on the disk.
const SHORT_REST: Duration = Duration::from_millis(5);

/// More bytes than these between two looks are much.
const MUCH: u64 = 8 << 20;

/// Reads a capture file behind its writer.
#[derive(Debug)]
pub struct Follower<W> {
    capture: File,
    out: W,
    redactor: Redactor,
    /// Bytes handed on (masked) so far.
    read: u64,
    /// Where the part ends that was given back to the file system.
    freed: u64,
    /// How long the file was at the last look.
    seen: u64,
    rest: Duration,
    half: u64,
    incomplete: bool,
}

impl<W: Write> Follower<W> {
    /// Follows a capture file; at most `limit` bytes of it are handed to `out`.
    ///
    /// # Errors
    /// When the capture file can't be opened.
    pub fn open(capture: &Path, out: W, limit: u64) -> io::Result<Self> {
        let capture = File::options().read(true).write(true).open(capture)?;
        Ok(Self {
            capture,
            out,
            redactor: Redactor::new(),
            read: 0,
            freed: 0,
            seen: 0,
            rest: SHORT_REST,
            half: limit / 2,
            incomplete: false,
        })
    }

    /// Hands on what came since the last call.
    ///
    /// # Errors
    /// When the capture file can't be read. An `out` that takes no more is no error here: the
    /// output is then marked as incomplete.
    pub fn advance(&mut self) -> io::Result<()> {
        self.copy_until(self.half)?;
        let length = self.capture.metadata()?.len();
        self.rest = if length.saturating_sub(self.seen) > MUCH {
            SHORT_REST
        } else {
            (self.rest * 2).min(REST)
        };
        self.seen = length;
        self.free(length.saturating_sub(self.half + OVERLAP));
        Ok(())
    }

    /// How long after the last look the next one is due.
    pub fn rest(&self) -> Duration {
        self.rest
    }

    /// Hands on the rest, once the writer has ended.
    ///
    /// # Errors
    /// When the capture file can't be read.
    pub fn finish(mut self) -> io::Result<(W, Kept)> {
        let length = self.capture.metadata()?.len();
        let truncated = length > self.half.saturating_mul(2);
        if truncated {
            self.copy_until(self.half)?;
            self.end_block();
            self.write_last_half(length)?;
        } else {
            self.copy_until(length)?;
            self.end_block();
        }
        if self.out.flush().is_err() {
            self.incomplete = true;
        }
        Ok((
            self.out,
            Kept {
                bytes: length,
                truncated,
                incomplete: self.incomplete,
            },
        ))
    }

    fn copy_until(&mut self, end: u64) -> io::Result<()> {
        let mut masked = Vec::new();
        let mut chunk = vec![0; CHUNK];
        while self.read < end {
            let wanted = usize::try_from(end - self.read).unwrap_or(CHUNK).min(CHUNK);
            let room = chunk.get_mut(..wanted).unwrap_or_default();
            let count = self.capture.read_at(room, self.read)?;
            if count == 0 {
                break;
            }
            self.read += count as u64;
            masked.clear();
            self.redactor
                .push(chunk.get(..count).unwrap_or_default(), &mut masked);
            self.put(&masked);
        }
        Ok(())
    }

    fn end_block(&mut self) {
        let mut masked = Vec::new();
        std::mem::take(&mut self.redactor).finish(&mut masked);
        self.put(&masked);
    }

    fn write_last_half(&mut self, length: u64) -> io::Result<()> {
        let cut = length - self.half;
        let left_out = cut - self.half;
        self.put(format!("\n[{left_out} bytes left out]\n").as_bytes());
        let start = cut.saturating_sub(OVERLAP).max(self.half);
        let mut before = vec![0; usize::try_from(cut - start).unwrap_or_default()];
        self.capture.read_exact_at(&mut before, start)?;
        // The masked text of the overlap is thrown away up to the last line end before the cut;
        // a line longer than the overlap is kept from the start of the overlap on.
        let mut masked = Vec::new();
        if let Some(line_end) = before.iter().rposition(|byte| *byte == b'\n') {
            self.redactor
                .push(before.get(line_end + 1..).unwrap_or_default(), &mut masked);
        } else {
            self.redactor.push(&before, &mut masked);
        }
        self.put(&masked);
        self.read = cut;
        self.copy_until(length)?;
        self.end_block();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.out.write_all(bytes).is_err() {
            self.incomplete = true;
        }
    }

    /// Gives what lies between the first half and `end` back to the file system, where it can do that.
    ///
    /// The first half stays: whoever looks after a job whose supervisor died reads it once more.
    fn free(&mut self, end: u64) {
        let start = self.half;
        // Small steps would cost a system call each for nothing.
        if end < start.max(self.freed) + 16 * CHUNK as u64 {
            return;
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(&self.capture, flags, start, end - start).is_ok() {
            self.freed = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(content: &[u8], limit: u64) -> (String, Kept) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("capture");
        std::fs::write(&path, content).unwrap();
        let mut follower = Follower::open(&path, Vec::new(), limit).unwrap();
        follower.advance().unwrap();
        let (out, kept) = follower.finish().unwrap();
        (String::from_utf8_lossy(&out).into_owned(), kept)
    }

    #[test]
    fn much_output_is_looked_at_more_often_until_less_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("capture");
        std::fs::write(&path, "little").unwrap();
        let mut follower = Follower::open(&path, Vec::new(), 1000).unwrap();
        let mut rest = || {
            follower.advance().unwrap();
            follower.rest()
        };
        let capture = File::options().write(true).open(&path).unwrap();
        for length in [MUCH + 7, MUCH * 3] {
            assert_eq!(rest(), SHORT_REST * 2);
            assert_eq!(rest(), SHORT_REST * 4);
            for _ in 0..5 {
                rest();
            }
            assert_eq!(rest(), REST);
            capture.set_len(length).unwrap();
            assert_eq!(rest(), SHORT_REST);
        }
    }

    #[test]
    fn a_short_output_is_kept_whole() {
        let (out, kept) = keep(b"one\ntwo", 100);
        assert_eq!(out, "one\ntwo");
        assert_eq!(
            kept,
            Kept {
                bytes: 7,
                truncated: false,
                incomplete: false
            }
        );
    }

    #[test]
    fn an_output_of_exactly_the_limit_is_kept_whole() {
        let (out, kept) = keep(b"0123456789", 10);
        assert_eq!(out, "0123456789");
        assert!(!kept.truncated);
    }

    #[test]
    fn of_a_long_output_the_first_and_the_last_half_are_kept() {
        let line = |n: usize| format!("{n:07}\n");
        let content: String = (0..100_000).map(line).collect();
        let (out, kept) = keep(content.as_bytes(), 1600);
        assert_eq!(
            kept,
            Kept {
                bytes: 800_000,
                truncated: true,
                incomplete: false
            }
        );
        assert!(out.starts_with(&(0..100).map(line).collect::<String>()));
        assert!(out.ends_with(&(99_900..100_000).map(line).collect::<String>()));
        assert!(
            out.contains("\n[798400 bytes left out]\n"),
            "{}",
            &out[790..860]
        );
        assert!(out.len() < 1700);
    }

    #[test]
    fn what_is_behind_a_long_output_is_given_back_while_it_grows() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("capture");
        let mut writer = File::create(&path).unwrap();
        let mut follower = Follower::open(&path, Vec::new(), 2 << 20).unwrap();
        for _ in 0..64 {
            writer.write_all(&vec![b'x'; 1 << 20]).unwrap();
            follower.advance().unwrap();
        }
        let blocks = std::fs::metadata(&path).unwrap().blocks() * 512;
        let (out, kept) = follower.finish().unwrap();
        assert_eq!(kept.bytes, 64 << 20);
        assert!(out.len() < (2 << 20) + 200_000, "{}", out.len());
        // A file system without holes keeps all of it; then there is nothing to hold it to.
        assert!(
            blocks == 64 << 20 || blocks < 8 << 20,
            "{blocks} bytes on disk"
        );
    }

    #[test]
    fn a_second_follower_keeps_of_a_long_output_what_the_first_one_would_have() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("capture");
        let line = |n: usize| format!("{n:07}\n");
        let content: String = (0..600_000).map(line).collect();
        std::fs::write(&path, &content).unwrap();
        let mut first = Follower::open(&path, Vec::new(), 1600).unwrap();
        first.advance().unwrap();
        let second = Follower::open(&path, Vec::new(), 1600).unwrap();
        let (kept, _) = second.finish().unwrap();
        let (wanted, _) = first.finish().unwrap();
        assert!(wanted.starts_with(&content.as_bytes()[..800]));
        assert_eq!(kept, wanted);
    }

    #[test]
    fn a_full_disk_is_told_and_stops_nothing() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("capture");
        std::fs::write(&path, "text").unwrap();
        let mut follower = Follower::open(&path, Full, 100).unwrap();
        follower.advance().unwrap();
        let (_, kept) = follower.finish().unwrap();
        assert_eq!(
            kept,
            Kept {
                bytes: 4,
                truncated: false,
                incomplete: true
            }
        );
    }
}
