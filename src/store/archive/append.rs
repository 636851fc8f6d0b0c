//! Writing a job into an archive, and holding what was written against its folder.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Cursor, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

use flate2::{Compression, GzBuilder};

use super::super::lines::to_u64;
use super::super::record::JobFolder;
use super::head::{LENGTH_AT, Sum, field};
use super::index::{Line, Place};
use super::member::{ArchivedJob, FILES, RECORD_LIMIT, RECORDS, Unreadable, each_entry};
use crate::names::Ticket;

/// Writes to a place of a file.
struct Positioned<'a> {
    file: &'a File,
    at: u64,
}

impl Write for Positioned<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.at)?;
        self.at += to_u64(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file to be kept.
pub(super) struct Source {
    name: &'static str,
    size: u64,
    owner: (u32, u32),
    from: Box<dyn Read>,
}

/// The files of a job that are there.
pub(super) fn files_of(folder: &JobFolder) -> impl Iterator<Item = io::Result<Source>> {
    FILES.into_iter().filter_map(|name| {
        let file = match File::open(folder.file(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return Some(Err(error)),
        };
        Some(file.metadata().map(|known| Source {
            name,
            size: known.len(),
            owner: (known.uid(), known.gid()),
            from: Box::new(file),
        }))
    })
}

/// The files of a job that has none.
fn files_of_record(job: ArchivedJob) -> io::Result<[io::Result<Source>; 4]> {
    let owner = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let records = [
        serde_json::to_vec(&job.job)?,
        serde_json::to_vec(&job.result)?,
        job.stdout,
        job.stderr,
    ];
    let mut names = FILES.into_iter();
    Ok(records.map(|bytes| {
        Ok(Source {
            name: names.next().unwrap_or_default(),
            size: to_u64(bytes.len()),
            owner,
            from: Box::new(Cursor::new(bytes)),
        })
    }))
}

/// Appends the files of an ended job as one member and returns where the member ends. Its length
/// and checksum are written last: a member that says 0 was not finished.
///
/// # Errors
/// When a file can't be read or the archive not be written.
pub(super) fn append(
    archive: &File,
    at: u64,
    ticket: &Ticket,
    (order, mtime): (u64, u64),
    files: impl IntoIterator<Item = io::Result<Source>>,
) -> io::Result<u64> {
    let out = BufWriter::with_capacity(64 * 1024, Positioned { file: archive, at });
    let mut gzip = GzBuilder::new()
        .filename(ticket.as_str())
        .extra(field(0, order, 0))
        .mtime(u32::try_from(mtime).unwrap_or_default())
        .write(out, Compression::default());
    let mut sum = Sum::new(ticket, order);
    for file in files {
        let file = file?;
        let mut header = tar::Header::new_ustar();
        header.set_path(entry_name(ticket, file.name))?;
        header.set_size(file.size);
        header.set_mode(0o600);
        header.set_uid(file.owner.0.into());
        header.set_gid(file.owner.1.into());
        header.set_mtime(mtime);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        gzip.write_all(header.as_bytes())?;
        let mut from = file.from.take(file.size);
        let copied = if RECORDS.contains(&file.name) {
            let mut record = Vec::new();
            from.read_to_end(&mut record)?;
            sum.add(&record);
            gzip.write_all(&record)?;
            to_u64(record.len())
        } else {
            io::copy(&mut from, &mut gzip)?
        };
        if copied != file.size {
            let words = format!("{} became shorter while it was read", file.name);
            return Err(io::Error::other(words));
        }
        let padding = usize::try_from((512 - file.size % 512) % 512).unwrap_or_default();
        gzip.write_all([0; 512].get(..padding).unwrap_or_default())?;
    }
    let out = gzip.finish()?;
    let end = out.into_inner().map_err(io::IntoInnerError::into_error)?.at;
    archive.write_all_at(&sum.finish(order, end - at), at + LENGTH_AT)?;
    Ok(end)
}

/// Appends a job that has no folder and returns its line for the index.
///
/// # Errors
/// As for [`append`].
pub(super) fn append_record(
    archive: &File,
    at: u64,
    order: u64,
    job: ArchivedJob,
) -> io::Result<Vec<u8>> {
    let ticket = job.job.ticket.clone();
    let mut line = Line {
        place: Place {
            offset: at,
            length: 0,
            inner: None,
        },
        order,
        damaged: false,
        job: Some((&job.job).into()),
        end: Some((&job.result).into()),
    };
    let end = append(archive, at, &ticket, (order, 0), files_of_record(job)?)?;
    line.place.length = end - at;
    line.text(&ticket)
}

fn entry_name(ticket: &Ticket, file: &str) -> String {
    format!("{}/{ticket}/{file}", ticket.month())
}

/// Whether a member holds exactly what the folder of a job does.
///
/// # Errors
/// When the archive or the folder can't be read. A damaged member holds something else.
pub(super) fn equals(file: &File, place: &Place, folder: &JobFolder) -> io::Result<bool> {
    let mut names: Vec<&str> = Vec::new();
    for name in FILES {
        if folder.file(name).try_exists()? {
            names.push(name);
        }
    }
    let mut equal = true;
    let compared = each_entry(file, folder.ticket(), place, |name, size, from| {
        let Some(known) = names.iter().position(|known| *known == name) else {
            equal = false;
            return Ok(());
        };
        names.remove(known);
        let there = File::open(folder.file(name))?;
        equal &= there.metadata()?.len() == size;
        equal &= same_bytes(&mut BufReader::new(there), &mut BufReader::new(from))?;
        Ok(())
    });
    match compared {
        Ok(()) => Ok(equal && names.is_empty()),
        Err(Unreadable::Io(error)) => Err(error),
        Err(Unreadable::Damaged(_) | Unreadable::NotThis) => Ok(false),
    }
}

fn same_bytes(one: &mut impl BufRead, other: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        if left.is_empty() || right.is_empty() {
            return Ok(left.is_empty() && right.is_empty());
        }
        let length = left.len().min(right.len());
        if left.get(..length) != right.get(..length) {
            return Ok(false);
        }
        one.consume(length);
        other.consume(length);
    }
}

/// Whether all files that would be kept of a job can be read again from an archive.
///
/// # Errors
/// When a file can't be looked at.
pub(super) fn fits(folder: &JobFolder) -> io::Result<bool> {
    for name in ["job.json", "result.json"] {
        if fs::metadata(folder.file(name))?.len() > RECORD_LIMIT {
            return Ok(false);
        }
    }
    Ok(true)
}
