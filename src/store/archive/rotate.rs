//! Moving ended jobs of closed months from their folders into archives.
//!
//! The order makes it safe to be killed anywhere: append, sync, read back and compare, replace the
//! index, and only then take the folders away, each by one rename. Until the index is replaced the
//! archive has what it had; from then on a job is found in the archive, and its folder holds the
//! same for as long as it is there.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::super::record::JobFolder;
use super::index::{Fault, Header, Index, Line, Place, open_plain};
use super::member::ArchivedJob;
use super::{Store, StoreError, append, member, rebuild};
use crate::atomicfile::{Lock, sync_parent};
use crate::names::{Month, Ticket};

/// Jobs that are moved at a time, and bytes of their files.
const BATCH: usize = 5_000;
const BATCH_BYTES: u64 = 64 << 20;

/// What a step of rotation has done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Jobs that were moved.
    pub moved: usize,
    /// Jobs that stay because the archive has another job under their ticket.
    pub disputed: usize,
    /// Whether there may be more to do at once.
    pub more: bool,
}

/// A job that may be moved.
struct Closed {
    folder: JobFolder,
    line: Line,
    mtime: u64,
    bytes: u64,
}

impl Store {
    /// Locks rotation against all processes; `None` when another one rotates.
    ///
    /// # Errors
    /// When the lock can't be tried.
    pub fn lock_rotation(&self) -> Result<Option<Lock>, StoreError> {
        let path = self.root().join("active/slots/rotate");
        Lock::try_exclusive(&path).map_err(StoreError::record(&path))
    }

    /// Moves some of a month's ended jobs into its archive, for a caller who holds the lock of
    /// rotation. A month without jobs is removed.
    ///
    /// # Errors
    /// When a step can't be done; what was appended is then cut off again. An archive that is not
    /// wholly ours is not written to ([`StoreError::ForeignArchive`]).
    pub fn rotate_some(&self, month: &Month) -> Result<Rotated, StoreError> {
        let tickets = self.tickets_of(month)?;
        if tickets.is_empty() {
            self.remove_month(month)?;
            return Ok(Rotated::default());
        }
        // After the folders: the marker of a job is there before its folder is.
        let open: HashSet<Ticket> = self.open_tickets()?.into_iter().collect();
        let (mut closed, mut bytes) = (Vec::new(), 0_u64);
        for ticket in tickets {
            if open.contains(&ticket) {
                continue;
            }
            let Some(job) = closed_job(self.job(&ticket))? else {
                continue;
            };
            bytes = bytes.saturating_add(job.bytes);
            closed.push(job);
            if closed.len() >= BATCH || bytes >= BATCH_BYTES {
                break;
            }
        }
        if closed.is_empty() {
            return Ok(Rotated::default());
        }
        self.set_orders(month, &mut closed)?;
        let Some(archive) = self.lock_for_writing(month)? else {
            return Ok(Rotated::default());
        };
        self.move_jobs(month, &archive, closed)
    }

    fn move_jobs(
        &self,
        month: &Month,
        archive: &File,
        closed: Vec<Closed>,
    ) -> Result<Rotated, StoreError> {
        let path = self.archive(month);
        let header = self.header_for_writing(month, archive)?;
        match self.append_all(month, archive, &header, closed) {
            Ok((gone, disputed)) => {
                for folder in &gone {
                    remove_folder(folder).map_err(StoreError::record(folder.path()))?;
                }
                Ok(Rotated {
                    moved: gone.len(),
                    disputed,
                    more: !gone.is_empty(),
                })
            }
            Err(fault) => {
                // Its last step may fail when the new index is in its place, and counts.
                let length = match Index::open(&self.archive_index(month), month) {
                    Ok(Some(index)) if index.header.fits(archive).unwrap_or(false) => {
                        index.header.length
                    }
                    _ => header.length,
                };
                archive.set_len(length).map_err(StoreError::record(&path))?;
                match fault {
                    Fault::Io(error) => Err(StoreError::record(&path)(error)),
                    Fault::Bad(why) => {
                        tracing::warn!(%month, %why, "the index of an archive is built anew");
                        self.build_archive_index(month, archive)?;
                        Ok(Rotated {
                            more: true,
                            ..Rotated::default()
                        })
                    }
                }
            }
        }
    }

    /// Puts jobs into the archive and its index and returns the folders that may go, and how many
    /// jobs are in dispute.
    fn append_all(
        &self,
        month: &Month,
        archive: &File,
        header: &Header,
        closed: Vec<Closed>,
    ) -> Result<(Vec<JobFolder>, usize), Fault> {
        let index = Index::open(&self.archive_index(month), month)?;
        let (mut gone, mut disputed, mut appended) = (Vec::new(), 0, Vec::new());
        let mut at = header.length;
        for mut job in closed {
            let known = match &index {
                Some(index) => index.find(job.folder.ticket())?,
                None => None,
            };
            if let Some(line) = known {
                // A crash came between index and removal.
                if !line.damaged && append::equals(archive, &line.place, &job.folder)? {
                    gone.push(job.folder);
                } else {
                    disputed += 1;
                }
                continue;
            }
            let ticket = job.folder.ticket();
            let about = (job.line.order, job.mtime);
            let end = append::append(archive, at, ticket, about, append::files_of(&job.folder))?;
            job.line.place.offset = at;
            job.line.place.length = end - at;
            at = end;
            appended.push(job);
        }
        if appended.is_empty() {
            return Ok((gone, disputed));
        }
        archive.sync_data()?;
        let mut lines = Vec::with_capacity(appended.len());
        for job in &appended {
            if !append::equals(archive, &job.line.place, &job.folder)? {
                let words = format!(
                    "{} reads otherwise than it was written",
                    job.folder.ticket()
                );
                return Err(Fault::Io(io::Error::other(words)));
            }
            lines.push(job.line.text(job.folder.ticket())?);
        }
        let header = Header::new(archive, at, header.damaged, true)?;
        self.commit(month, index.as_ref(), &header, lines)?;
        gone.extend(appended.into_iter().map(|job| job.folder));
        Ok((gone, disputed))
    }

    /// Replaces the index by one with these lines as well.
    fn commit(
        &self,
        month: &Month,
        index: Option<&Index>,
        header: &Header,
        mut lines: Vec<Vec<u8>>,
    ) -> Result<(), Fault> {
        lines.sort();
        let mut draft = self.draft(month, 0)?;
        match index {
            Some(index) => draft.merge(index.forwards()?, &lines)?,
            None => draft.merge(std::iter::empty(), &lines)?,
        }
        Ok(draft.commit(header, &self.archive_index(month))?)
    }

    /// Writes jobs that have no folder into the archive of their month, in the order in which they
    /// were accepted: history that comes from elsewhere.
    ///
    /// # Errors
    /// When a step can't be done or the archive is in use; what was appended does not count then.
    pub fn archive_jobs(
        &self,
        month: &Month,
        jobs: impl IntoIterator<Item = ArchivedJob>,
    ) -> Result<(), StoreError> {
        let path = self.archive(month);
        let Some(archive) = self.lock_for_writing(month)? else {
            return Err(StoreError::record(&path)(io::ErrorKind::WouldBlock.into()));
        };
        let header = self.header_for_writing(month, &archive)?;
        let append = || -> Result<(), Fault> {
            let index = Index::open(&self.archive_index(month), month)?;
            let (mut at, mut lines) = (header.length, Vec::new());
            for (order, job) in (0..).zip(jobs) {
                let line = append::append_record(&archive, at, order, job)?;
                at = archive.metadata()?.len();
                lines.push(line);
            }
            archive.sync_data()?;
            let header = Header::new(&archive, at, header.damaged, true)?;
            self.commit(month, index.as_ref(), &header, lines)
        };
        append().map_err(|fault| match fault {
            Fault::Io(error) => StoreError::record(&path)(error),
            Fault::Bad(words) => StoreError::record(&path)(io::Error::other(words)),
        })
    }

    /// Opens the archive of a month, made when missing, and locks it; `None` when somebody else
    /// holds it.
    fn lock_for_writing(&self, month: &Month) -> Result<Option<File>, StoreError> {
        let path = self.archive(month);
        if matches!(open_plain(&path), Ok(None)) {
            return Err(StoreError::ForeignArchive { path });
        }
        let new = !path.exists();
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let archive = opened.map_err(StoreError::record(&path))?;
        match archive.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(StoreError::record(&path)(error)),
        }
        if new {
            sync_parent(&path).map_err(StoreError::record(&path))?;
        }
        Ok(Some(archive))
    }

    /// What the index says of an archive that is about to grow, after what a crash has left was
    /// put in order.
    fn header_for_writing(&self, month: &Month, archive: &File) -> Result<Header, StoreError> {
        let path = self.archive(month);
        let failed = |error| StoreError::record(&path)(error);
        let mut header = match Index::open(&self.archive_index(month), month) {
            Ok(Some(index)) if index.header.fits(archive).map_err(failed)? => index.header,
            Ok(_) | Err(Fault::Bad(_)) => self.build_archive_index(month, archive)?,
            Err(Fault::Io(error)) => return Err(failed(error)),
        };
        let end = archive.metadata().map_err(failed)?.len();
        if header.ours && end > header.length {
            let mut all_here = true;
            let mut found = |ticket: Ticket, _| {
                all_here &= self.job(&ticket).path().exists();
                Ok(())
            };
            let tail = rebuild::read_tail(archive, month, header.length, end, &mut found);
            let ours = tail.map_err(failed)?.ours;
            if ours && !all_here {
                // The index is older than the archive.
                header = self.build_archive_index(month, archive)?;
            }
            if ours && header.ours {
                archive.set_len(header.length).map_err(failed)?;
            } else {
                header.ours = false;
            }
        }
        if header.ours {
            Ok(header)
        } else {
            Err(StoreError::ForeignArchive { path })
        }
    }

    /// Notes in which order the jobs of one second were accepted, which their tickets don't tell.
    fn set_orders(&self, month: &Month, closed: &mut [Closed]) -> Result<(), StoreError> {
        let tickets = closed.iter().map(|job| job.folder.ticket().clone());
        let mut orders: HashMap<Ticket, u64> = tickets.map(|ticket| (ticket, 0)).collect();
        self.read_orders(month, &mut orders)?;
        for job in closed {
            job.line.order = orders.get(job.folder.ticket()).copied().unwrap_or_default();
        }
        Ok(())
    }

    /// The jobs of a month that have a folder, the oldest first. What a crash has left of folders
    /// that were being removed is removed.
    fn tickets_of(&self, month: &Month) -> Result<Vec<Ticket>, StoreError> {
        let path = self.month(month);
        let names = match fs::read_dir(&path) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::record(&path)(error)),
        };
        let mut tickets = Vec::new();
        for entry in names.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Ok(ticket) = Ticket::parse(name) {
                tickets.push(ticket);
            } else if name
                .strip_prefix('.')
                .is_some_and(|name| Ticket::parse(name).is_ok())
            {
                fs::remove_dir_all(entry.path()).map_err(StoreError::record(&entry.path()))?;
            }
        }
        tickets.sort();
        Ok(tickets)
    }
}

/// A job whose end is recorded with all that follows from it, and that nobody looks after; `None`
/// for any other. One with a damaged record stays where it can be looked at.
fn closed_job(folder: JobFolder) -> Result<Option<Closed>, StoreError> {
    let known = match (folder.job(), folder.result()) {
        (Ok(Some(job)), Ok(Some(result))) => (job, result),
        (Err(error), _) | (_, Err(error)) if !error.is_damaged() => return Err(error),
        _ => return Ok(None),
    };
    let failed = StoreError::record(folder.path());
    if folder.is_supervised()? || known.0.ticket != *folder.ticket() {
        return Ok(None);
    }
    let read = || -> io::Result<Option<(u64, u64)>> {
        let mut bytes = 0;
        for name in member::FILES {
            match fs::symlink_metadata(folder.file(name)) {
                Ok(found) if found.is_file() => bytes += found.len(),
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if !append::fits(&folder)? {
            return Ok(None);
        }
        let ended = fs::metadata(folder.file("result.json"))?.modified()?;
        let since = ended.duration_since(std::time::UNIX_EPOCH);
        Ok(Some((bytes, since.map_or(0, |since| since.as_secs()))))
    };
    let Some((bytes, mtime)) = read().map_err(failed)? else {
        return Ok(None);
    };
    let line = Line {
        place: Place {
            offset: 0,
            length: 0,
            inner: None,
        },
        order: 0,
        damaged: false,
        job: Some((&known.0).into()),
        end: Some((&known.1).into()),
    };
    Ok(Some(Closed {
        folder,
        line,
        mtime,
        bytes,
    }))
}

/// Takes a folder away at once, then removes it: half of one is never taken for a job.
fn remove_folder(folder: &JobFolder) -> io::Result<()> {
    let aside = folder
        .path()
        .with_file_name(format!(".{}", folder.ticket()));
    fs::rename(folder.path(), &aside)?;
    remove_all(&aside)
}

fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
