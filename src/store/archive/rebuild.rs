//! Building the index of an archive anew from the archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;

use super::draft::Draft;
use super::index::{Fault, Header, Index, Line};
use super::scan::{self, scan};
use super::{Store, StoreError};
use crate::names::{Month, Ticket};

/// Lines that are sorted in memory at a time, and their bytes.
const RUN: usize = 20_000;
const RUN_BYTES: usize = 8 << 20;

/// So many jobs tell whether an archive is that of an index, although some of them are damaged.
const FIRST: usize = 1000;

/// Where a job is whose bytes are gone.
const NOWHERE: u64 = u64::MAX;

/// Sorted lines on disk, and those that are to be merged into them.
struct Runs<'a> {
    store: &'a Store,
    month: &'a Month,
    draft: Draft,
    last: Vec<u8>,
    run: Vec<Vec<u8>>,
    bytes: usize,
    drafts: u8,
}

impl Store {
    /// Builds the index of an archive that the caller has locked, and returns what it says of it.
    pub(super) fn build_archive_index(
        &self,
        month: &Month,
        archive: &File,
    ) -> Result<Header, StoreError> {
        let path = self.archive_index(month);
        let built = self.try_build(month, archive);
        built.map_err(|fault| {
            let error = match fault {
                Fault::Io(error) => error,
                Fault::Bad(words) => io::Error::other(words),
            };
            StoreError::record(&path)(error)
        })
    }

    fn try_build(&self, month: &Month, archive: &File) -> Result<Header, Fault> {
        let end = archive.metadata()?.len();
        let mut runs = Runs {
            store: self,
            month,
            draft: self.draft(month, 0)?,
            last: Vec::new(),
            run: Vec::new(),
            bytes: 0,
            drafts: 0,
        };
        let old = Index::open(&self.archive_index(month), month);
        let old = old.ok().flatten();
        let mut missing = BTreeSet::new();
        if let Some(old) = &old {
            each_line(old, |ticket, line| {
                if line.place.offset == NOWHERE {
                    missing.insert(ticket);
                }
                Ok(())
            })?;
        }
        let mut sight = Sight::default();
        let mut found = |ticket: Ticket, line: Line| {
            missing.remove(&ticket);
            sight.add(&ticket, &line);
            runs.push(line.text(&ticket)?)
        };
        let mut scanned = scan(archive, month, 0..end, false, &mut found)?;
        let mut length = end;
        if let Some(tail) = scanned.tail {
            let unfinished = super::head::is_unfinished(archive, tail, end)?;
            if unfinished && scanned.ours {
                // A crash while a job was appended, which is still in its folder.
                length = scanned.end;
            } else {
                scanned.damaged += 1;
                scanned.ours = false;
                scanned.gaps.push(tail..end);
            }
        }
        if let Some(old) = old {
            let is_cut = old.header.length > length && sight.is_of(&old)?;
            if is_cut {
                scanned.gaps.push(length..NOWHERE);
            }
            let mut lost = false;
            // Who stood in a part that can't be read any more, only the old index knows.
            each_line(&old, |ticket, mut line| {
                let within = |gap: &Range<u64>| gap.contains(&line.place.offset);
                let in_gap = line.place.inner.is_none() && scanned.gaps.iter().any(within);
                if !in_gap && !missing.contains(&ticket) {
                    return Ok(());
                }
                line.damaged = true;
                if line.place.offset >= length {
                    if self.job(&ticket).path().exists() {
                        // It is not lost, and will be archived again.
                        return Ok(());
                    }
                    lost = true;
                    // Another job may come to stand there.
                    line.place.offset = NOWHERE;
                }
                runs.push(line.text(&ticket)?)
            })?;
            scanned.damaged += u64::from(lost);
        }
        let header = Header::new(archive, length, scanned.damaged, scanned.ours)?;
        runs.finish(&header)?;
        Ok(header)
    }

    pub(super) fn draft(&self, month: &Month, number: u8) -> io::Result<Draft> {
        let name = format!("archive/.{month}.index.{number}");
        Draft::new(self.root().join(name), month)
    }
}

/// Hands all lines of an index that can be read to `take`.
fn each_line(
    index: &Index,
    mut take: impl FnMut(Ticket, Line) -> io::Result<()>,
) -> Result<(), Fault> {
    let readable = |line: &Result<_, Fault>| !matches!(line, Err(Fault::Io(_)));
    for line in index.forwards()?.take_while(readable).flatten() {
        if let Some((ticket, line)) = Line::parse(&line) {
            take(ticket, line)?;
        }
    }
    Ok(())
}

/// What is seen of an archive, to tell whether it is the one that an index is about.
#[derive(Default)]
struct Sight {
    any: bool,
    /// The first jobs that are members of their own, by their places.
    first: BTreeMap<u64, Ticket>,
}

impl Sight {
    fn add(&mut self, ticket: &Ticket, line: &Line) {
        self.any = true;
        if line.place.inner.is_none() && self.first.len() < FIRST {
            self.first.insert(line.place.offset, ticket.clone());
        }
    }

    /// Whether a job stands where the index has it, or nothing is left that could tell.
    fn is_of(&self, index: &Index) -> Result<bool, Fault> {
        let mut alike = !self.any;
        each_line(index, |ticket, line| {
            let place = line.place;
            alike |= place.inner.is_none() && self.first.get(&place.offset) == Some(&ticket);
            Ok(())
        })?;
        Ok(alike)
    }
}

impl Runs<'_> {
    fn push(&mut self, line: Vec<u8>) -> io::Result<()> {
        self.bytes += line.len();
        self.run.push(line);
        if self.run.len() < RUN && self.bytes < RUN_BYTES {
            return Ok(());
        }
        self.spill().map_err(|fault| match fault {
            Fault::Io(error) => error,
            Fault::Bad(words) => io::Error::other(words),
        })
    }

    /// Adds the lines in memory to those on disk.
    fn spill(&mut self) -> Result<(), Fault> {
        let key = |line: &Vec<u8>| super::index::key(line).map(<[u8]>::to_vec);
        // The first of two with one ticket stays.
        self.run.sort_by_key(key);
        self.run.dedup_by(|later, first| key(later) == key(first));
        let (Some(first), Some(last)) = (
            self.run.first().and_then(key),
            self.run.last().and_then(key),
        ) else {
            return Ok(());
        };
        if first > self.last {
            for line in &self.run {
                self.draft.push(line)?;
            }
        } else {
            self.drafts = (self.drafts + 1) % 2;
            let mut merged = self.store.draft(self.month, self.drafts)?;
            merged.merge(self.draft.lines()?, &self.run)?;
            self.draft = merged;
        }
        self.last = last.max(std::mem::take(&mut self.last));
        self.run.clear();
        self.bytes = 0;
        Ok(())
    }

    fn finish(mut self, header: &Header) -> Result<(), Fault> {
        self.spill()?;
        let path = self.store.archive_index(self.month);
        Ok(self.draft.commit(header, &path)?)
    }
}

/// Reads what a crash has left behind the end of an archive: members that are whole are taken in.
pub(super) fn read_tail(
    archive: &File,
    month: &Month,
    from: u64,
    to: u64,
    found: &mut scan::Found<'_>,
) -> io::Result<scan::Scanned> {
    scan(archive, month, from..to, true, found)
}
