//! One job in an archive: a gzip member of its own, which holds the tar entries of its files.
//!
//! The gzip header names the ticket and tells the member's length, so that an archive can be walked
//! from member to member, and a checksum of both and of the job's records, since the member's own
//! one is known only to those who read it to its end. What is read is believed only as far as the
//! names of the entries inside and one of the checksums bear it out.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use flate2::bufread::GzDecoder;
use serde::de::DeserializeOwned;

use super::super::index::{Accepted, Ended};
use super::super::lines::to_u64;
use super::super::record::{Job, JobResult};
use super::head::{Head, Own, Sum, head};
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

/// The files among them whose bytes go into the checksum of the header.
pub(super) const RECORDS: [&str; 2] = ["job.json", "result.json"];

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
    parse(&record_bytes(size, from)?)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(bytes).map_err(|error| Unreadable::Damaged(error.to_string()))
}

fn record_bytes(size: u64, from: &mut dyn Read) -> Result<Vec<u8>, Unreadable> {
    if size > RECORD_LIMIT {
        return Err(Unreadable::Damaged(format!("a record has {size} bytes")));
    }
    let mut bytes = Vec::new();
    from.take(RECORD_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a list needs of a member of ours, from its header and first entries alone, and whether the
/// checksum of the header bears it out.
///
/// # Errors
/// See [`Unreadable`].
pub(super) fn summary(
    file: &File,
    own: &Own,
    place: &Place,
) -> Result<((Accepted, Ended), bool), Unreadable> {
    let ticket = &own.ticket;
    let month = ticket.month();
    let mut sum = Sum::new(ticket, own.order);
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
        if !RECORDS.contains(&name) {
            break;
        }
        let bytes = record_bytes(entry.size(), &mut entry)?;
        sum.add(&bytes);
        if name == "job.json" {
            accepted = Some(parse::<Accepted>(&bytes)?);
        } else {
            ended = Some(parse(&bytes)?);
        }
        if accepted.is_some() && ended.is_some() {
            break;
        }
    }
    match (accepted, ended) {
        (Some(accepted), Some(ended)) if accepted.ticket == *ticket => {
            Ok(((accepted, ended), sum.fits(own)))
        }
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
