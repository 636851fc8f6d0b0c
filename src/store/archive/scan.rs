//! Walks an archive from its beginning to learn what it holds, when no index tells.
//!
//! A member of ours says how long it is and is not inflated further than its records. What anybody
//! else has written is inflated within limits of bytes and time, and only entries with exactly our
//! names are looked at. Behind what can't be read the walk goes on at the next member that begins
//! with an entry of this month.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use flate2::bufread::GzDecoder;

use super::super::index::{Accepted, Ended};
use super::super::lines::to_u64;
use super::head::{Head, Own, head};
use super::index::{Line, Place};
use super::member::{self, Unreadable, is_regular, parse_name, position, window};
use crate::names::{Month, Ticket};

/// How long what is not ours is read at most.
const PATIENCE: Duration = Duration::from_secs(3);

/// Inflated bytes of what is not ours: this many, and so many for each byte of the archive.
const BUDGET: u64 = 64 << 20;
const BUDGET_RATIO: u64 = 64;

/// Parts that can't be read are remembered up to this many.
const GAPS: usize = 10_000;

/// Bytes searched at a time for the next member.
const STEP: u64 = 64 * 1024;

/// What a walk has found beside the jobs.
#[derive(Debug)]
pub(super) struct Scanned {
    /// How many parts can't be read.
    pub(super) damaged: u64,
    /// Whether all of it is ours.
    pub(super) ours: bool,
    /// Where the last member ends that is whole.
    pub(super) end: u64,
    /// Which parts can't be read.
    pub(super) gaps: Vec<Range<u64>>,
    /// Where what can't be read begins, if nothing that can be read follows it. It counts in none
    /// of the others.
    pub(super) tail: Option<u64>,
}

/// What to do with a job that was found.
pub(super) type Found<'a> = dyn FnMut(Ticket, Line) -> io::Result<()> + 'a;

struct Walk<'a> {
    file: &'a File,
    month: &'a Month,
    end: u64,
    budget: u64,
    deadline: Option<Instant>,
    scanned: Scanned,
}

/// Walks a part of an archive. With `whole`, members of ours are inflated to their end.
///
/// # Errors
/// When the archive can't be read or `found` fails.
pub(super) fn scan(
    file: &File,
    month: &Month,
    range: Range<u64>,
    whole: bool,
    found: &mut Found<'_>,
) -> io::Result<Scanned> {
    let length = range.end.saturating_sub(range.start);
    let mut walk = Walk {
        file,
        month,
        end: range.end,
        budget: length.saturating_mul(BUDGET_RATIO).saturating_add(BUDGET),
        deadline: None,
        scanned: Scanned {
            damaged: 0,
            ours: true,
            end: range.start,
            gaps: Vec::new(),
            tail: None,
        },
    };
    let mut at = range.start;
    while at < range.end {
        at = match walk.member(at, whole, found)? {
            Some(next) => next,
            None => walk.behind_gap(at)?,
        };
    }
    Ok(walk.scanned)
}

impl Walk<'_> {
    /// Reads the member at a place and returns where it ends; `None` when it can't be read.
    fn member(&mut self, at: u64, whole: bool, found: &mut Found<'_>) -> io::Result<Option<u64>> {
        match head(self.file, at, self.end)? {
            Head::Own(own) => {
                let next = at.saturating_add(own.length);
                if own.length == 0 || next > self.end || own.ticket.month() != *self.month {
                    return Ok(None);
                }
                let place = Place {
                    offset: at,
                    length: own.length,
                    inner: None,
                };
                let Some((line, sure)) = self.own(&own, place, whole)? else {
                    return Ok(None);
                };
                if !sure && !self.leads_on(at, next)? {
                    return Ok(None);
                }
                self.scanned.damaged += u64::from(line.damaged);
                found(own.ticket, line)?;
                self.scanned.end = next;
                Ok(Some(next))
            }
            Head::Other => self.foreign(at, found),
            Head::None => Ok(None),
        }
    }

    /// Whether the length of a member may be right that nothing bears out: another one, or the
    /// end, is where it leads to, and none is on the way.
    fn leads_on(&mut self, at: u64, next: u64) -> io::Result<bool> {
        let ends = next == self.end || !matches!(head(self.file, next, self.end)?, Head::None);
        Ok(ends && self.next_member(at + 1)?.is_none_or(|found| found >= next))
    }

    /// What a member of ours holds, and whether its header is to be trusted; `None` when it is not
    /// the member of the job that it names.
    fn own(&self, own: &Own, place: Place, whole: bool) -> io::Result<Option<(Line, bool)>> {
        let read = member::summary(self.file, own, &place).and_then(|(known, sure)| {
            if whole || !sure {
                member::check(self.file, &own.ticket, &place)?;
            }
            Ok((known, sure))
        });
        let (known, sure) = match read {
            Ok((known, sure)) => (Some(known), sure),
            Err(Unreadable::Io(error)) => return Err(error),
            Err(Unreadable::Damaged(_)) => (None, false),
            Err(Unreadable::NotThis) => return Ok(None),
        };
        let damaged = known.is_none();
        let (job, end) = known.unzip();
        let line = Line {
            place,
            order: own.order,
            damaged,
            job,
            end,
        };
        Ok(Some((line, sure)))
    }

    /// Remembers a part that can't be read and returns where the next member begins.
    fn behind_gap(&mut self, at: u64) -> io::Result<u64> {
        let Some(next) = self.next_member(at + 1)? else {
            self.scanned.tail = Some(at);
            return Ok(self.end);
        };
        self.scanned.damaged += 1;
        self.scanned.ours = false;
        if self.scanned.gaps.len() < GAPS {
            self.scanned.gaps.push(at..next);
        }
        Ok(next)
    }

    fn deadline(&mut self) -> Instant {
        *self
            .deadline
            .get_or_insert_with(|| Instant::now() + PATIENCE)
    }

    /// The next place where a member begins with an entry of this month.
    fn next_member(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        let mut block = Vec::new();
        while at < self.end && Instant::now() < self.deadline() {
            block.clear();
            block.resize(
                usize::try_from(STEP.min(self.end - at)).unwrap_or_default(),
                0,
            );
            self.file.read_exact_at(&mut block, at)?;
            let magic = [0x1f, 0x8b, 8];
            for (index, _) in block
                .windows(magic.len())
                .enumerate()
                .filter(|(_, three)| *three == magic)
            {
                let place = at + to_u64(index);
                if self.begins_an_entry(place) {
                    return Ok(Some(place));
                }
            }
            // A beginning that the end of the block cuts is found in the next one.
            at += to_u64(block.len()).saturating_sub(2).max(1);
        }
        Ok(None)
    }

    fn begins_an_entry(&mut self, at: u64) -> bool {
        let mut header = [0; 512];
        let mut decoder = GzDecoder::new(window(self.file, at, self.end.min(at + 4096)));
        self.budget = self.budget.saturating_sub(512);
        if Instant::now() > self.deadline() || decoder.read_exact(&mut header).is_err() {
            return false;
        }
        let header = tar::Header::from_byte_slice(&header);
        let mut sum = 256_u32;
        for (index, byte) in header.as_bytes().iter().enumerate() {
            if !(148..156).contains(&index) {
                sum += u32::from(*byte);
            }
        }
        let name = header.path_bytes();
        let month = name.strip_prefix(self.month.as_str().as_bytes());
        header.cksum().is_ok_and(|stated| stated == sum)
            && month.is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    /// Reads a member that anybody may have written; `None` when it ends before its end.
    fn foreign(&mut self, at: u64, found: &mut Found<'_>) -> io::Result<Option<u64>> {
        let deadline = self.deadline();
        let decoder = GzDecoder::new(window(self.file, at, self.end));
        let limited = Limited {
            from: decoder,
            left: self.budget,
            deadline,
        };
        let mut archive = tar::Archive::new(limited);
        let mut group = Group::default();
        let mut whole = true;
        for entry in archive.entries()?.raw(true) {
            let Ok(mut entry) = entry else {
                whole = false;
                break;
            };
            self.scanned.ours = false;
            let name = entry.path_bytes().into_owned();
            let begin = entry.raw_header_position();
            let size = entry.size();
            let Some((ticket, name)) =
                parse_name(&name, self.month).filter(|_| is_regular(entry.header()))
            else {
                // Folders hold nothing; anything else is not read.
                let folder = entry.header().entry_type().is_dir();
                self.scanned.damaged += u64::from(!folder);
                continue;
            };
            if group.ticket.as_ref() != Some(&ticket) {
                self.end_of(&mut group, at, found)?;
                group = Group::new(ticket, begin);
            }
            // With what fills up its last block.
            let end = entry.raw_file_position().checked_add(size);
            let end = end.and_then(|end| end.checked_next_multiple_of(512));
            group.end = end.unwrap_or(u64::MAX);
            let read = match name {
                "job.json" => {
                    member::record(size, &mut entry).map(|record| group.job = Some(record))
                }
                "result.json" => {
                    member::record(size, &mut entry).map(|record| group.result = Some(record))
                }
                _ => Ok(()),
            };
            if let Err(Unreadable::Io(error)) = read {
                return Err(error);
            }
        }
        let mut limited = archive.into_inner();
        if whole {
            whole = io::copy(&mut limited, &mut io::sink()).is_ok();
            if !whole && group.begin == 0 {
                // Its checksum says that something in it is wrong, and there is nothing else.
                (group.job, group.result) = (None, None);
            }
        }
        self.end_of(&mut group, at, found)?;
        self.budget = limited.left;
        if self.budget == 0 || Instant::now() > deadline {
            // Nothing behind it is looked at any more.
            self.scanned.ours = false;
            self.scanned.damaged += 1;
            return Ok(Some(self.end));
        }
        self.scanned.ours &= !whole;
        let next = position(limited.from.get_ref()).max(at + 1);
        Ok(whole.then_some(next))
    }

    fn end_of(&mut self, group: &mut Group, at: u64, found: &mut Found<'_>) -> io::Result<()> {
        let Some(ticket) = group.ticket.take() else {
            return Ok(());
        };
        let own = |job: &Accepted| job.ticket == ticket;
        let job = group.job.take().filter(own);
        let end = group.result.take();
        let damaged = job.is_none() || end.is_none();
        self.scanned.damaged += u64::from(damaged);
        let place = Place {
            offset: at,
            length: self.end - at,
            inner: Some((group.begin, group.end)),
        };
        found(
            ticket,
            Line {
                place,
                order: 0,
                damaged,
                job,
                end,
            },
        )
    }
}

/// The entries of one ticket that stand side by side.
#[derive(Debug, Default)]
struct Group {
    ticket: Option<Ticket>,
    begin: u64,
    end: u64,
    job: Option<Accepted>,
    result: Option<Ended>,
}

impl Group {
    fn new(ticket: Ticket, begin: u64) -> Self {
        Self {
            ticket: Some(ticket),
            begin,
            ..Self::default()
        }
    }
}

/// A reader that ends in an error when it has given what it may, or when its time is over.
struct Limited<R> {
    from: R,
    left: u64,
    deadline: Instant,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || Instant::now() > self.deadline {
            return Err(io::Error::other("more than is read of what is not ours"));
        }
        let read = self.from.read(buffer)?;
        self.left = self.left.saturating_sub(to_u64(read));
        Ok(read)
    }
}
