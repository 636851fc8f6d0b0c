//! Indexes being written: sorted lines are merged into a new file, which takes the old one's place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::lines::{LINE_LIMIT, to_u64};
use super::index::{Fault, GARBLED, Header, key, sound};
use crate::names::Month;

/// The rest of a file, read without moving anybody else's place in it.
#[derive(Debug)]
struct Tail {
    file: File,
    at: u64,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += to_u64(read);
        Ok(read)
    }
}

/// The lines of an index with their ends; one that is out of order is a fault.
#[derive(Debug)]
pub(super) struct Forwards {
    lines: BufReader<Tail>,
    last: String,
}

impl Forwards {
    /// The lines from this place on.
    pub(super) fn new(file: File, start: u64) -> Self {
        let tail = Tail { file, at: start };
        Self {
            lines: BufReader::with_capacity(64 * 1024, tail),
            last: String::new(),
        }
    }
}

impl Iterator for Forwards {
    type Item = Result<Vec<u8>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        let limit = to_u64(LINE_LIMIT);
        match self.lines.by_ref().take(limit).read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(error.into())),
        }
        let Some((key, _)) = sound(&line).filter(|_| line.ends_with(b"\n")) else {
            return Some(Err(GARBLED));
        };
        if key <= self.last.as_str() {
            return Some(Err(Fault::Bad("its lines are out of order")));
        }
        key.clone_into(&mut self.last);
        Some(Ok(line))
    }
}

/// A new index, written beside the old one and not yet in its place.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    out: BufWriter<File>,
    month: Month,
    /// Where the first line of a job begins.
    start: u64,
    done: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.done {
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Draft {
    /// Begins a new index at this path, over what a crash has left there.
    pub(super) fn new(path: PathBuf, month: &Month) -> io::Result<Self> {
        drop(fs::remove_file(&path));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let mut draft = Self {
            path,
            out: BufWriter::with_capacity(256 * 1024, file),
            month: month.clone(),
            start: 0,
            done: false,
        };
        // As long as the one that it gets in the end.
        let empty = Header {
            length: 0,
            damaged: 0,
            ours: false,
            check: "0".repeat(64),
        };
        let text = empty.text(month, 0);
        draft.start = to_u64(text.len());
        draft.out.write_all(text.as_bytes())?;
        Ok(draft)
    }

    /// Appends a line with its end.
    pub(super) fn push(&mut self, line: &[u8]) -> io::Result<()> {
        self.out.write_all(line)
    }

    /// Appends two sorted sequences as one; of two lines of a ticket that of `old` is kept.
    pub(super) fn merge(
        &mut self,
        old: impl Iterator<Item = Result<Vec<u8>, Fault>>,
        new: &[Vec<u8>],
    ) -> Result<(), Fault> {
        let mut new = new.iter().peekable();
        for line in old {
            let line = line?;
            while let Some(other) = new.next_if(|other| key(other) <= key(&line)) {
                if key(other) != key(&line) {
                    self.push(other)?;
                }
            }
            self.push(&line)?;
        }
        for line in new {
            self.push(line)?;
        }
        Ok(())
    }

    /// The lines so far.
    pub(super) fn lines(&mut self) -> io::Result<Forwards> {
        self.out.flush()?;
        Ok(Forwards::new(File::open(&self.path)?, self.start))
    }

    /// Puts the index into its place.
    pub(super) fn commit(mut self, header: &Header, path: &Path) -> io::Result<()> {
        self.out.flush()?;
        let file = self.out.get_ref();
        let bytes = file.metadata()?.len();
        file.write_all_at(header.text(&self.month, bytes).as_bytes(), 0)?;
        file.sync_all()?;
        fs::rename(&self.path, path)?;
        self.done = true;
        crate::atomicfile::sync_parent(path)
    }
}
