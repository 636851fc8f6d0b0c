//! The gzip header of a member: whose job it is, how long it is, and a checksum.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use flate2::Crc;
use flate2::bufread::GzDecoder;

use crate::names::Ticket;

/// What marks our field in a gzip header (RFC 1952, 2.3.1.1).
const FIELD: [u8; 2] = *b"BA";

/// Where the member's length stands: after the fixed header, the length of all fields, and the mark
/// and length of ours.
pub(super) const LENGTH_AT: u64 = 10 + 2 + 4;

/// The same in our field.
const LENGTH_IN: usize = 4;

/// Bytes of a member before the deflated ones.
const HEADER: u64 = LENGTH_AT + 20 + 28 + 1;

/// The checksum that stands in the header of a member, of what a walk reads of it.
pub(super) struct Sum(Crc);

impl Sum {
    /// Begins with what the header tells.
    pub(super) fn new(ticket: &Ticket, order: u64) -> Self {
        let mut sum = Crc::new();
        sum.update(ticket.as_str().as_bytes());
        sum.update(&order.to_le_bytes());
        Self(sum)
    }

    /// Adds a record.
    pub(super) fn add(&mut self, record: &[u8]) {
        self.0.update(record);
    }

    /// The field of a header that is complete, behind its mark.
    pub(super) fn finish(mut self, order: u64, length: u64) -> Vec<u8> {
        self.0.update(&length.to_le_bytes());
        field(length, order, self.0.sum()).split_off(LENGTH_IN)
    }

    /// Whether it is the one that a header states.
    pub(super) fn fits(self, own: &Own) -> bool {
        let stated = field(own.length, own.order, own.sum).split_off(LENGTH_IN);
        self.finish(own.order, own.length) == stated
    }
}

/// What a gzip header tells.
#[derive(Debug)]
pub(super) enum Head {
    /// A member of ours.
    Own(Own),
    /// Another gzip member.
    Other,
    /// No gzip member begins here.
    None,
}

/// What the header of a member of ours tells.
#[derive(Debug, Clone)]
pub(super) struct Own {
    /// The ticket it names.
    pub(super) ticket: Ticket,
    /// Its place among the jobs of its second.
    pub(super) order: u64,
    /// Its length; 0 when it was not finished.
    pub(super) length: u64,
    /// Its checksum.
    sum: u32,
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
    let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; left.min(128)];
    let read = file.read_at(&mut bytes, at)?;
    bytes.truncate(read);
    let decoder = GzDecoder::new(bytes.as_slice());
    let own = decoder.header().and_then(|header| {
        let ticket = Ticket::parse(std::str::from_utf8(header.filename()?).ok()?).ok()?;
        let (length, order, sum) = field_of(header.extra()?)?;
        Some(Own {
            ticket,
            order,
            length,
            sum,
        })
    });
    Ok(own.map_or(Head::Other, Head::Own))
}

/// Our field of a gzip header.
pub(super) fn field(length: u64, order: u64, sum: u32) -> Vec<u8> {
    let mut field = FIELD.to_vec();
    field.extend(20_u16.to_le_bytes());
    field.extend(length.to_le_bytes());
    field.extend(order.to_le_bytes());
    field.extend(sum.to_le_bytes());
    field
}

fn field_of(extra: &[u8]) -> Option<(u64, u64, u32)> {
    let number = |range: std::ops::Range<usize>| {
        let bytes = extra.get(range)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let (length, order) = (number(4..12)?, number(12..20)?);
    let sum = u32::from_le_bytes(extra.get(20..24)?.try_into().ok()?);
    (extra == field(length, order, sum)).then_some((length, order, sum))
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
    let short = end.saturating_sub(at) <= HEADER;
    let begun = mark
        .get(..read.min(4))
        .is_some_and(|mark| [0x1f, 0x8b, 8, 12].starts_with(mark));
    Ok((short && begun) || matches!(head, Head::Own(own) if own.length == 0))
}
