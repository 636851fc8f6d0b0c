//! One job in an archive: a gzip member of its own, which holds the tar entries of its files.
//!
//! The gzip header names the ticket and tells the member's length, so that an archive can be walked
//! from member to member. What is read is believed only as far as the names of the entries inside
//! and the checksum at the member's end bear it out.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use flate2::bufread::GzDecoder;
use serde::de::DeserializeOwned;

use super::super::index::{Accepted, Ended};
use super::super::lines::to_u64;
use super::super::record::{Job, JobResult};
use super::index::Place;
use crate::names::{Month, Ticket};

/// The files of a job that are kept, in the order they stand in a member.
pub(super) const FILES: [&str; 4] = ["job.json", "result.json", "stdout", "stderr"];

/// Bytes of a record in an archive at most. A request has 64 KiB; what it takes many times that to
/// write down stays where it is.
pub(super) const RECORD_LIMIT: u64 = 1 << 20;

/// The largest `output_limit` that can be set.
const OUTPUT_LIMIT: u64 = 1 << 30;

/// Bytes of a member read at a time.
const WINDOW: u64 = 64 * 1024;

/// What marks our field in a gzip header (RFC 1952, 2.3.1.1).
const FIELD: [u8; 2] = *b"BA";

/// Where the member's length stands: after the fixed header, the length of all fields, and the mark
/// and length of ours.
pub(super) const LENGTH_AT: u64 = 10 + 2 + 4;

/// A job as an archive has it.
#[derive(Debug)]
pub struct ArchivedJob {
    /// What was accepted.
    pub job: Job,
    /// How it ended.
    pub result: JobResult,
    /// What was kept of standard output.
    pub stdout: Vec<u8>,
    /// What was kept of standard error.
    pub stderr: Vec<u8>,
}

/// Why a member can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// The file can't be read.
    #[error(transparent)]
    Io(io::Error),
    /// It is damaged, or not what was once written.
    #[error("{0}")]
    Damaged(String),
    /// Another job is there, or none at all: whoever said that it is there was wrong.
    #[error("it is not there")]
    NotThis,
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        // Only the system's own errors have a number; the others come from reading the bytes.
        if error.raw_os_error().is_some() {
            Self::Io(error)
        } else {
            Self::Damaged(error.to_string())
        }
    }
}

/// A part of a file, read without moving anybody else's place in it.
#[derive(Debug)]
pub(super) struct Section<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = match buffer.get_mut(..wanted) {
            Some(buffer) => self.file.read_at(buffer, self.at)?,
            None => 0,
        };
        self.at += to_u64(read);
        Ok(read)
    }
}

/// A section with a window, which knows how far it was read.
pub(super) type Window<'a> = BufReader<Section<'a>>;

/// A window on a part of a file.
pub(super) fn window(file: &File, at: u64, end: u64) -> Window<'_> {
    let size = end.saturating_sub(at).min(WINDOW);
    let section = Section { file, at, end };
    BufReader::with_capacity(usize::try_from(size).unwrap_or_default().max(512), section)
}

/// Where a window stands in its file.
pub(super) fn position(window: &Window<'_>) -> u64 {
    window.get_ref().at - to_u64(window.buffer().len())
}

/// What a gzip header tells.
#[derive(Debug)]
pub(super) enum Head {
    /// A member of ours.
    Own {
        /// The ticket it names.
        ticket: Ticket,
        /// Its place among the jobs of its second.
        order: u64,
        /// Its length; 0 when it was not finished.
        length: u64,
    },
    /// Another gzip member.
    Other,
    /// No gzip member begins here.
    None,
}

/// Reads the gzip header at a place.
///
/// # Errors
/// When the file can't be read.
pub(super) fn head(file: &File, at: u64, end: u64) -> io::Result<Head> {
    let mut magic = [0; 3];
    match file.read_exact_at(&mut magic, at) {
        Ok(()) if magic == [0x1f, 0x8b, 8] => {}
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => return Ok(Head::None),
    }
    let mut bytes = vec![0; 128];
    let mut section = Section { file, at, end };
    let read = read_up_to(&mut section, &mut bytes)?;
    bytes.truncate(read);
    let decoder = GzDecoder::new(bytes.as_slice());
    let own = decoder.header().and_then(|header| {
        let ticket = Ticket::parse(std::str::from_utf8(header.filename()?).ok()?).ok()?;
        let (length, order) = field_of(header.extra()?)?;
        Some((ticket, order, length))
    });
    Ok(match own {
        Some((ticket, order, length)) => Head::Own {
            ticket,
            order,
            length,
        },
        None => Head::Other,
    })
}

/// Our field of a gzip header.
pub(super) fn field(length: u64, order: u64) -> Vec<u8> {
    let mut field = FIELD.to_vec();
    field.extend(16_u16.to_le_bytes());
    field.extend(length.to_le_bytes());
    field.extend(order.to_le_bytes());
    field
}

fn field_of(extra: &[u8]) -> Option<(u64, u64)> {
    let number = |range: std::ops::Range<usize>| {
        let bytes = extra.get(range)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let (length, order) = (number(4..12)?, number(12..20)?);
    (extra == field(length, order)).then_some((length, order))
}

fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..)
        && !rest.is_empty()
    {
        match from.read(rest)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

/// The ticket and the file that an entry's name tells, when it is a name of ours.
pub(super) fn parse_name<'a>(name: &'a [u8], month: &Month) -> Option<(Ticket, &'a str)> {
    let name = std::str::from_utf8(name).ok()?;
    let rest = name.strip_prefix(month.as_str())?.strip_prefix('/')?;
    let (ticket, file) = rest.split_once('/')?;
    let ticket = Ticket::parse(ticket).ok()?;
    (ticket.month() == *month && FILES.contains(&file)).then_some((ticket, file))
}

/// The inflated bytes of the member at a place, from the beginning of its part in it, and whether
/// its checksum can be held against it.
fn inflate<'a>(file: &'a File, place: &Place) -> Result<Box<dyn Read + 'a>, Unreadable> {
    let end = place.offset.saturating_add(place.length);
    if matches!(head(file, place.offset, end)?, Head::None) {
        return Err(Unreadable::NotThis);
    }
    let mut decoder = GzDecoder::new(window(file, place.offset, end));
    let Some((from, to)) = place.inner else {
        return Ok(Box::new(decoder));
    };
    let skipped = io::copy(&mut decoder.by_ref().take(from), &mut io::sink())?;
    if skipped != from {
        return Err(Unreadable::NotThis);
    }
    Ok(Box::new(decoder.take(to.saturating_sub(from))))
}

/// Hands each entry of a job to `take` and reads the member to its end.
pub(super) fn each_entry(
    file: &File,
    ticket: &Ticket,
    place: &Place,
    mut take: impl FnMut(&str, u64, &mut dyn Read) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let month = ticket.month();
    let mut archive = tar::Archive::new(inflate(file, place)?);
    let mut other = false;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let name = entry.path_bytes().into_owned();
        match parse_name(&name, &month) {
            Some((found, file)) if found == *ticket && is_regular(entry.header()) => {
                let size = entry.size();
                take(file, size, &mut entry)?;
            }
            _ if place.inner.is_some() => {}
            // Told only if the checksum fits: a name can be damaged, too.
            _ => other = true,
        }
    }
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    if other {
        return Err(Unreadable::NotThis);
    }
    Ok(())
}

/// Whether an entry is a plain file, with its bytes after its header.
pub(super) fn is_regular(header: &tar::Header) -> bool {
    matches!(header.as_bytes().get(156), Some(b'0' | 0))
}

/// Bytes of a kept output at most: what a limit lets through, what masking makes longer, and the
/// line about what was left out.
fn longest(limit: u64) -> u64 {
    limit
        .min(OUTPUT_LIMIT)
        .saturating_mul(3)
        .saturating_add(64 * 1024)
}

/// Reads a job. Of an output that is longer than `output_limit` lets be now, the first part is
/// read.
///
/// # Errors
/// See [`Unreadable`].
pub(super) fn read(
    file: &File,
    ticket: &Ticket,
    place: &Place,
    output_limit: u64,
) -> Result<ArchivedJob, Unreadable> {
    let (mut job, mut result) = (None::<Job>, None::<JobResult>);
    let mut outputs = [None, None];
    let mut cut = [false, false];
    each_entry(file, ticket, place, |name, size, from| {
        match name {
            "job.json" if job.is_none() => job = Some(record(size, from)?),
            "result.json" if result.is_none() => result = Some(record(size, from)?),
            _ => {
                let number = usize::from(name == "stderr");
                let limit = job
                    .as_ref()
                    .map_or(output_limit, |job: &Job| job.output_limit);
                if size > longest(limit) {
                    return Err(Unreadable::Damaged(format!("{name} has {size} bytes")));
                }
                if let (Some(output @ None), Some(cut)) =
                    (outputs.get_mut(number), cut.get_mut(number))
                {
                    let mut bytes = Vec::new();
                    from.take(longest(output_limit)).read_to_end(&mut bytes)?;
                    *cut = to_u64(bytes.len()) < size;
                    *output = Some(bytes);
                }
            }
        }
        Ok(())
    })?;
    let (Some(job), Some(mut result)) = (job, result) else {
        return Err(Unreadable::NotThis);
    };
    if job.ticket != *ticket {
        return Err(Unreadable::Damaged(
            "its record names another ticket".to_owned(),
        ));
    }
    let [stdout, stderr] = outputs.map(Option::unwrap_or_default);
    result.stdout.truncated |= cut.first() == Some(&true);
    result.stderr.truncated |= cut.last() == Some(&true);
    Ok(ArchivedJob {
        job,
        result,
        stdout,
        stderr,
    })
}

/// Reads a record of an entry.
pub(super) fn record<T: DeserializeOwned>(size: u64, from: &mut dyn Read) -> Result<T, Unreadable> {
    if size > RECORD_LIMIT {
        return Err(Unreadable::Damaged(format!("a record has {size} bytes")));
    }
    let mut bytes = Vec::new();
    from.take(RECORD_LIMIT).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(|error| Unreadable::Damaged(error.to_string()))
}

/// What a list needs of a member of ours, from its first entries alone.
///
/// # Errors
/// See [`Unreadable`].
pub(super) fn summary(
    file: &File,
    ticket: &Ticket,
    place: &Place,
) -> Result<(Accepted, Ended), Unreadable> {
    let month = ticket.month();
    let mut archive = tar::Archive::new(inflate(file, place)?);
    let (mut accepted, mut ended) = (None::<Accepted>, None);
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let name = entry.path_bytes().into_owned();
        let Some((found, name)) = parse_name(&name, &month) else {
            return Err(Unreadable::NotThis);
        };
        if found != *ticket {
            return Err(Unreadable::NotThis);
        }
        let size = entry.size();
        match name {
            "job.json" => accepted = Some(record(size, &mut entry)?),
            "result.json" => ended = Some(record(size, &mut entry)?),
            _ => break,
        }
        if accepted.is_some() && ended.is_some() {
            break;
        }
    }
    match (accepted, ended) {
        (Some(accepted), Some(ended)) if accepted.ticket == *ticket => Ok((accepted, ended)),
        _ => Err(Unreadable::Damaged("its records are missing".to_owned())),
    }
}

/// Reads a member to its end, whose checksum tells whether it is whole.
///
/// # Errors
/// See [`Unreadable`].
pub(super) fn check(file: &File, ticket: &Ticket, place: &Place) -> Result<(), Unreadable> {
    each_entry(file, ticket, place, |_, _, _| Ok(()))
}

/// Whether a member of ours begins at a place and was never finished.
///
/// # Errors
/// When the archive can't be read.
pub(super) fn is_unfinished(file: &File, at: u64, end: u64) -> io::Result<bool> {
    let mut mark = [0; 10];
    let head = head(file, at, end)?;
    let read = file.read_at(&mut mark, at)?;
    // A crash may have left even its header incomplete.
    let short = end.saturating_sub(at) < 66;
    let begun = mark
        .get(..read.min(4))
        .is_some_and(|mark| [0x1f, 0x8b, 8, 12].starts_with(mark));
    Ok((short && begun) || matches!(head, Head::Own { length: 0, .. }))
}
