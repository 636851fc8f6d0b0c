//! The lines of a file, read from its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes read at a time.
const BLOCK: u64 = 64 * 1024;

/// Bytes of one line at most; what is longer was not written by us.
pub(super) const LINE_LIMIT: usize = 16 << 20;

/// The lines of a part of a file, the last one first.
#[derive(Debug)]
pub(super) struct Backwards {
    file: File,
    /// Where the part begins.
    floor: u64,
    /// Where the bytes begin that were read.
    start: u64,
    /// What was read and not handed out: whole lines after a first one that may be cut.
    rest: Vec<u8>,
}

impl Backwards {
    /// The lines between two places, each of which is the beginning of a line or the end of the file.
    pub(super) fn new(file: File, floor: u64, end: u64) -> Self {
        Self {
            file,
            floor,
            start: end,
            rest: Vec::new(),
        }
    }

    /// The line before those handed out, without its end, and where it begins.
    ///
    /// # Errors
    /// When the file can't be read; `InvalidData` for a line without an end.
    pub(super) fn previous(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            if self.rest.last() == Some(&b'\n') {
                self.rest.pop();
            }
            if let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') {
                let line = self.rest.split_off(end + 1);
                return Ok(Some((self.start + to_u64(end) + 1, line)));
            }
            if self.start <= self.floor {
                let line = std::mem::take(&mut self.rest);
                return Ok((!line.is_empty()).then_some((self.floor, line)));
            }
            if self.rest.len() > LINE_LIMIT {
                let words = format!("a line is longer than {LINE_LIMIT} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
            let from = self.start.saturating_sub(BLOCK).max(self.floor);
            let mut block = vec![0; usize::try_from(self.start - from).unwrap_or_default()];
            self.file.read_exact_at(&mut block, from)?;
            block.append(&mut self.rest);
            self.rest = block;
            self.start = from;
        }
    }
}

/// A length in memory as a length in a file.
pub(super) fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
