//! The jobs of a month, wherever they are: beside their folders, in the archive, or both.

use std::iter::Peekable;

use super::archive::Lines;
use super::index::{Entries, Entry, Origin};
use super::{Store, StoreError};
use crate::names::{Month, Ticket};

/// Jobs of one second that are put in order at a time; no host accepts as many.
const SECOND_LIMIT: usize = 20_000;

/// The jobs of a month, the newest first, each once.
#[derive(Debug)]
pub struct Listing {
    active: Peekable<Entries>,
    archive: Option<Peekable<Lines>>,
    /// Jobs of one second, the last one to come first.
    group: Vec<Entry>,
    /// Where the page begins: behind this ticket.
    behind: Option<Ticket>,
    damaged: u64,
    failed: bool,
}

impl Store {
    /// The jobs of a month, all of them or those behind a ticket of it.
    ///
    /// A job that is being moved to the archive is listed once: either as [`Origin::Archive`], or
    /// as [`Origin::Active`], and whoever then finds no folder finds it in the archive by now
    /// ([`Store::archived_entry`]).
    ///
    /// # Errors
    /// When an index can't be read, or is being built and that takes long.
    pub fn listing(&self, month: &Month, behind: Option<&Ticket>) -> Result<Listing, StoreError> {
        // In this order: what has left the folders before the first step is in the archive by the
        // second.
        let active = self.active_entries(month)?;
        let second = behind.map(Ticket::second);
        let (archive, damaged) = self.archive_backwards(month, second)?;
        Ok(Listing {
            active: active.peekable(),
            archive: archive.map(Iterator::peekable),
            group: Vec::new(),
            behind: behind.cloned(),
            damaged,
            failed: false,
        })
    }
}

impl Listing {
    /// How many parts of the month's archive can't be read.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Whether the ticket to begin behind was not met, once the listing has begun.
    #[must_use]
    pub fn missed_its_beginning(&self) -> bool {
        self.behind.is_some()
    }

    /// Reads the jobs of the latest second that is left.
    fn read_group(&mut self) -> Result<bool, StoreError> {
        let second = [peek(Some(&mut self.active)), peek(self.archive.as_mut())];
        let Some(second) = second.into_iter().flatten().max() else {
            // Nothing is left but perhaps what went wrong.
            return match self.active.next().or_else(|| self.archive.as_mut()?.next()) {
                Some(Err(error)) => Err(error),
                _ => Ok(false),
            };
        };
        take(self.archive.as_mut(), &second, &mut self.group)?;
        take(Some(&mut self.active), &second, &mut self.group)?;
        // Of the two lines of a job, that of the archive was put in first and stays.
        self.group
            .sort_by(|a, b| a.accepted.ticket.cmp(&b.accepted.ticket));
        self.group
            .dedup_by(|later, first| later.accepted.ticket == first.accepted.ticket);
        self.group.sort_by_key(|entry| entry.order);
        if let Some(behind) = &self.behind {
            if behind.second() < second.as_str() {
                self.group.clear();
            } else {
                let met = self
                    .group
                    .iter()
                    .position(|entry| entry.accepted.ticket == *behind);
                match met {
                    Some(met) => {
                        self.group.truncate(met);
                        self.behind = None;
                    }
                    // It is not there; nothing before it is either.
                    None => return Ok(false),
                }
            }
        }
        Ok(true)
    }
}

/// The second of the next entry; one that can't be read comes first.
fn peek<I>(entries: Option<&mut Peekable<I>>) -> Option<String>
where
    I: Iterator<Item = Result<Entry, StoreError>>,
{
    match entries?.peek()? {
        Ok(entry) => Some(entry.accepted.ticket.second().to_owned()),
        Err(_) => Some("~".to_owned()),
    }
}

/// Takes the entries of a second.
fn take<I>(
    entries: Option<&mut Peekable<I>>,
    second: &str,
    group: &mut Vec<Entry>,
) -> Result<(), StoreError>
where
    I: Iterator<Item = Result<Entry, StoreError>>,
{
    let Some(entries) = entries else {
        return Ok(());
    };
    while group.len() < SECOND_LIMIT
        && let Some(entry) = entries.next_if(|entry| {
            entry
                .as_ref()
                .map_or(true, |entry| entry.accepted.ticket.second() == second)
        })
    {
        group.push(entry?);
    }
    Ok(())
}

impl Iterator for Listing {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.group.pop() {
                return Some(Ok(entry));
            }
            if self.failed {
                return None;
            }
            match self.read_group() {
                Ok(true) => {}
                Ok(false) => {
                    self.failed = true;
                    return None;
                }
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Entry {
    /// Whether the folder of the job has to be looked at.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.origin == Origin::Active
    }
}
