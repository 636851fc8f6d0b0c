//! The index of an archive: which jobs it holds, where each begins, and what lists tell of it.
//!
//! ```text
//! barmanapi archive index 1 202610 bytes=… length=… damaged=… ours=1 check=… sum=5c1e08d2
//! 20261003T101112-k3v9m2x8q4c7 90f3a11b {"place":{"at":0,"len":912},"order":0,"job":{…},"end":{…}}
//! ```
//!
//! One line a job, sorted by ticket, so that one is found by halving the file. It is replaced whole,
//! never changed. It is not the truth: when it is missing, or does not hold, it is built again from
//! the archive. Every line has a checksum and is believed only with it, also those that a search
//! passes by: a ticket is not there when two sound lines stand side by side and it lies between them.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use flate2::Crc;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::index::{Accepted, Ended};
use super::super::lines::{Backwards, LINE_LIMIT, to_u64};
use super::draft::Forwards;
use crate::names::{Month, Ticket};

/// Bytes of a ticket.
const KEY: usize = 28;

/// Bytes read at a time while halving.
const PROBE: u64 = 4096;

/// A part of the file that is read whole instead of being halved further.
const SMALL: u64 = 64 * 1024;

/// Bytes at each end of an archive by which it is told from another.
const ENDS: u64 = 4096;

/// What is the matter with a line that is not what was written.
pub(super) const GARBLED: Fault = Fault::Bad("a line is garbled");

/// Why an index can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It is not what was once written; it has to be built again.
    #[error("it does not hold: {0}")]
    Bad(&'static str),
    /// It can't be read or written.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                Self::Bad("it is cut or garbled")
            }
            _ => Self::Io(error),
        }
    }
}

/// Where the bytes of a job are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Where its gzip member begins.
    #[serde(rename = "at")]
    pub(super) offset: u64,
    /// Bytes of the archive that have to be read at most.
    #[serde(rename = "len")]
    pub(super) length: u64,
    /// Where the job begins and ends among the inflated bytes, when the member is not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) inner: Option<(u64, u64)>,
}

/// What the index tells of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// Where it is.
    pub(super) place: Place,
    /// Its place among the jobs of its second.
    pub(super) order: u64,
    /// Whether it was found damaged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) damaged: bool,
    /// What was accepted; `None` when that can't be read.
    pub(super) job: Option<Accepted>,
    /// How it ended; `None` when that can't be read.
    pub(super) end: Option<Ended>,
}

impl Line {
    /// The line as it stands in the file.
    pub(super) fn text(&self, ticket: &Ticket) -> io::Result<Vec<u8>> {
        let told = serde_json::to_string(self)?;
        let sum = sum(&[ticket.as_str(), &told]);
        Ok(format!("{ticket} {sum} {told}\n").into_bytes())
    }

    /// Reads a line, with its end or without.
    pub(super) fn parse(line: &[u8]) -> Option<(Ticket, Self)> {
        let (key, told) = sound(line)?;
        let ticket = Ticket::parse(key).ok()?;
        let parsed: Self = serde_json::from_str(told).ok()?;
        let own = parsed.job.as_ref().is_none_or(|job| job.ticket == ticket);
        own.then_some((ticket, parsed))
    }
}

/// The ticket that a line begins with.
pub(super) fn key(line: &[u8]) -> Option<&[u8]> {
    let (key, rest) = line.split_at_checked(KEY)?;
    (rest.first() == Some(&b' ') && key.is_ascii()).then_some(key)
}

/// The ticket that a line begins with and what it tells, when the line is what was once written.
pub(super) fn sound(line: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n").unwrap_or(line)).ok()?;
    let (key, rest) = line.split_at_checked(KEY)?;
    let (stated, told) = rest.strip_prefix(' ')?.split_once(' ')?;
    (stated == sum(&[key, told])).then_some((key, told))
}

fn sum(parts: &[&str]) -> String {
    let mut sum = Crc::new();
    for part in parts {
        sum.update(part.as_bytes());
    }
    format!("{:08x}", sum.sum())
}

/// The first line of an index: about the archive as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the archive that count; what lies beyond was left by a crash.
    pub(super) length: u64,
    /// How many parts of the archive can't be read.
    pub(super) damaged: u64,
    /// Whether the archive is wholly ours, so that it may be written to.
    pub(super) ours: bool,
    /// A digest of both ends of what counts.
    pub(super) check: String,
}

impl Header {
    /// A header for an archive of this length.
    pub(super) fn new(archive: &File, length: u64, damaged: u64, ours: bool) -> io::Result<Self> {
        Ok(Self {
            length,
            damaged,
            ours,
            check: check(archive, length)?,
        })
    }

    /// The line, in an index of so many bytes.
    pub(super) fn text(&self, month: &Month, bytes: u64) -> String {
        let Self {
            length,
            damaged,
            ours,
            check,
        } = self;
        let ours = u8::from(*ours);
        let text = format!(
            "barmanapi archive index 1 {month} bytes={bytes:020} length={length:020} damaged={damaged:010} ours={ours} check={check}"
        );
        let sum = sum(&[&text]);
        format!("{text} sum={sum}\n")
    }

    fn parse(text: &str, month: &Month, bytes: u64) -> Option<Self> {
        let mut words = text.trim_end().rsplitn(6, ' ').skip(1);
        let mut value = |name: &str| {
            let word = words.next()?.strip_prefix(name)?.strip_prefix('=')?;
            Some(word.to_owned())
        };
        let check = value("check")?;
        let header = Self {
            ours: value("ours")? == "1",
            damaged: value("damaged")?.parse().ok()?,
            length: value("length")?.parse().ok()?,
            check,
        };
        (header.text(month, bytes) == text).then_some(header)
    }

    /// Whether this header is about this archive.
    pub(super) fn fits(&self, archive: &File) -> io::Result<bool> {
        let there = archive.metadata()?.len() >= self.length;
        Ok(there && check(archive, self.length)? == self.check)
    }
}

fn check(archive: &File, length: u64) -> io::Result<String> {
    let mut digest = Sha256::new();
    for at in [0, length.saturating_sub(ENDS)] {
        let size = usize::try_from(length.min(ENDS)).unwrap_or_default();
        let mut bytes = vec![0; size];
        archive.read_exact_at(&mut bytes, at)?;
        digest.update(&bytes);
    }
    let mut text = String::new();
    for byte in digest.finalize() {
        write!(text, "{byte:02x}").map_err(io::Error::other)?;
    }
    Ok(text)
}

/// What tells one index file from the one that replaced it.
pub(super) type Identity = (u64, i64, i64, u64);

/// The identity of the file at a path; `None` when there is none.
pub(super) fn identity(path: &Path) -> io::Result<Option<Identity>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(identity_of(&found))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity_of(found: &fs::Metadata) -> Identity {
    (found.ino(), found.mtime(), found.mtime_nsec(), found.len())
}

/// An open index.
#[derive(Debug)]
pub(super) struct Index {
    file: File,
    pub(super) header: Header,
    /// Where the first line of a job begins.
    start: u64,
    end: u64,
}

impl Index {
    /// Opens an index; `None` when there is none.
    pub(super) fn open(path: &Path, month: &Month) -> Result<Option<Self>, Fault> {
        let file = match open_plain(path) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(Fault::Bad("it is no plain file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Lines are read here and there: what lies around them would be read in vain.
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).map_err(io::Error::from)?;
        let end = file.metadata()?.len();
        let mut first = vec![0; usize::try_from(end.min(PROBE)).unwrap_or_default()];
        file.read_exact_at(&mut first, 0)?;
        let length = first.iter().position(|byte| *byte == b'\n');
        let length = length.ok_or(Fault::Bad("it has no first line"))? + 1;
        let text = first.get(..length).map(std::str::from_utf8);
        let Some(Ok(text)) = text else {
            return Err(Fault::Bad("its first line is not text"));
        };
        let header =
            Header::parse(text, month, end).ok_or(Fault::Bad("its first line is another"))?;
        Ok(Some(Self {
            file,
            header,
            start: to_u64(length),
            end,
        }))
    }

    /// The line of a ticket.
    pub(super) fn find(&self, ticket: &Ticket) -> Result<Option<Line>, Fault> {
        let at = self.first_from(ticket.as_str())?;
        if at >= self.end {
            return Ok(None);
        }
        let line = self.line_at(at)?;
        let (found, line) = Line::parse(&line).ok_or(GARBLED)?;
        Ok((found == *ticket).then_some(line))
    }

    /// The lines of this second and earlier ones, the last one first; all without one.
    pub(super) fn backwards(&self, second: Option<&str>) -> Result<Backwards, Fault> {
        let end = match second {
            // Behind every ticket of the second, since `~` sorts behind all letters.
            Some(second) => self.first_from(&format!("{second}~"))?,
            None => self.end,
        };
        Ok(Backwards::new(self.file.try_clone()?, self.start, end))
    }

    /// All lines with their ends, in their order.
    pub(super) fn forwards(&self) -> Result<Forwards, Fault> {
        Ok(Forwards::new(self.file.try_clone()?, self.start))
    }

    /// Where the first line begins whose key is not below this one.
    fn first_from(&self, wanted: &str) -> Result<u64, Fault> {
        // Every line that begins before `low` is below, every one that begins at `high` or later
        // is not; `low` is where a line begins.
        let (mut low, mut high) = (self.start, self.end);
        while low < high {
            if high - low <= SMALL {
                return self.scan(low, high, wanted);
            }
            let middle = low + (high - low) / 2;
            let Some((at, line)) = self.line_from(middle, high)? else {
                high = middle;
                continue;
            };
            let (found, _) = sound(&line).ok_or(GARBLED)?;
            if found < wanted {
                low = at + to_u64(line.len());
            } else {
                high = at;
            }
        }
        Ok(low)
    }

    /// The same among the lines that begin between two places, one after the other.
    fn scan(&self, low: u64, high: u64, wanted: &str) -> Result<u64, Fault> {
        let block = self.block(low, high - low)?;
        let mut at = low;
        for line in block.split_inclusive(|byte| *byte == b'\n') {
            // The last one may go on behind `high`.
            let rest = if line.ends_with(b"\n") {
                None
            } else {
                Some(self.line_at(at)?)
            };
            let line = rest.as_deref().unwrap_or(line);
            let (found, _) = sound(line).ok_or(GARBLED)?;
            if found >= wanted {
                return Ok(at);
            }
            at += to_u64(line.len());
        }
        Ok(at)
    }

    /// The first line that begins at a place or behind it and before `high`.
    fn line_from(&self, place: u64, high: u64) -> Result<Option<(u64, Vec<u8>)>, Fault> {
        let mut at = place;
        loop {
            if at >= high {
                return Ok(None);
            }
            // From the byte before: the place itself may be where a line begins.
            let block = self.block(at - 1, PROBE)?;
            if let Some(end) = block.iter().position(|byte| *byte == b'\n') {
                let begin = at + to_u64(end);
                if begin >= high {
                    return Ok(None);
                }
                let rest = block.get(end + 1..).unwrap_or_default();
                if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line = rest.get(..=end).unwrap_or_default().to_vec();
                    return Ok(Some((begin, line)));
                }
                return Ok(Some((begin, self.line_at(begin)?)));
            }
            at += to_u64(block.len());
        }
    }

    /// The line that begins at a place, with its end.
    fn line_at(&self, at: u64) -> Result<Vec<u8>, Fault> {
        let mut line = Vec::new();
        while line.len() < LINE_LIMIT {
            let block = self.block(at + to_u64(line.len()), PROBE)?;
            if let Some(end) = block.iter().position(|byte| *byte == b'\n') {
                line.extend(block.get(..=end).unwrap_or_default());
                return Ok(line);
            }
            if block.is_empty() {
                break;
            }
            line.extend(block);
        }
        Err(Fault::Bad("a line has no end"))
    }

    fn block(&self, at: u64, length: u64) -> Result<Vec<u8>, Fault> {
        let length = length.min(self.end.saturating_sub(at));
        let mut block = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut block, at)?;
        Ok(block)
    }
}

/// Opens a plain file for reading; `None` when something else is there, which is left alone.
pub(super) fn open_plain(path: &Path) -> io::Result<Option<File>> {
    use rustix::fs::OFlags;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Ok(None)
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
