//! Files of this host, replaced.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::error::At;
use super::local::{Current, current};
use super::lock::Lock;
use super::temporary::{Temporary, sweep};
use super::{Access, Change, Changed, Expected, FilesError, How, NEW_MODE, access, digest, local};
use crate::atomicfile;

pub(super) fn replace(lock: Option<&Path>, changes: &[Change]) -> Result<Vec<Changed>, FilesError> {
    let _held = lock.map(Lock::take).transpose()?;
    let mut targets = Vec::new();
    for change in changes {
        let path = locate(change)?;
        if targets.contains(&path) {
            return Err(FilesError::invalid(
                &change.path,
                "is changed twice at once",
            ));
        }
        targets.push(path);
    }
    let folders: BTreeSet<_> = targets.iter().map(|path| folder_of(path)).collect();
    for folder in folders {
        sweep(folder);
    }
    let olds = changes.iter().map(verify);
    let olds = olds.collect::<Result<Vec<_>, _>>()?;
    let staged = changes.iter().zip(targets).zip(olds);
    let staged = staged.map(|((change, path), old)| Staged::new(change, path, old));
    let staged = staged.collect::<Result<Vec<_>, _>>()?;
    let mut done = Vec::new();
    for staged in staged {
        let next = staged.commit().map_err(|error| error.after(done.len()))?;
        done.push(next);
    }
    Ok(done)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// The canonical path that a change is about. A link that is removed leaves its file alone, and one
/// that leads nowhere is no file that could be created.
fn locate(change: &Change) -> Result<PathBuf, FilesError> {
    let path = &change.path;
    local::check(path)?;
    match fs::metadata(path) {
        Ok(_) if change.bytes.is_some() => return fs::canonicalize(path).at(path),
        Err(error) if error.kind() != io::ErrorKind::NotFound || path.is_symlink() => {
            return Err(FilesError::io(path, error));
        }
        Ok(_) | Err(_) => {}
    }
    let folder = fs::canonicalize(folder_of(path)).at(path)?;
    Ok(folder.join(path.file_name().unwrap_or_default()))
}

/// What is there, when it is what was expected.
fn verify(change: &Change) -> Result<Option<Current>, FilesError> {
    let old = current(&change.path)?;
    let holds = match (&change.expected, &old) {
        (None, _) | (Some(Expected::Absent), None) => true,
        (Some(Expected::Digest(wanted)), Some(old)) => digest(&old.bytes) == *wanted,
        _ => false,
    };
    if holds {
        Ok(old)
    } else {
        Err(stale(&change.path))
    }
}

fn stale(path: &Path) -> FilesError {
    FilesError::Stale {
        path: path.to_owned(),
    }
}

/// A change of which only the last step is left. Dropped, it is as if it had never been prepared.
struct Staged<'a> {
    change: &'a Change,
    path: PathBuf,
    was_there: bool,
    step: Step<'a>,
}

enum Step<'a> {
    Nothing,
    Remove,
    Place(Temporary),
    Write(InPlace<'a>),
}

impl<'a> Staged<'a> {
    /// All that can fail for want of room or rights.
    fn new(change: &'a Change, path: PathBuf, old: Option<Current>) -> Result<Self, FilesError> {
        let was_there = old.is_some();
        let step = match (&change.bytes, old) {
            (None, None) => Step::Nothing,
            (None, Some(_)) if access::is_open_to_us(folder_of(&path)) => Step::Remove,
            (None, Some(_)) => {
                let why = access::refusal(folder_of(&path));
                return Err(FilesError::io(&change.path, why));
            }
            (Some(bytes), None) => {
                let mode = fs::Permissions::from_mode(change.mode.unwrap_or(NEW_MODE));
                let placed = beside(&path, bytes, |file| file.set_permissions(mode));
                Step::Place(placed.at(&change.path)?)
            }
            (Some(bytes), Some(old)) => Self::of_old(change, &path, bytes, old)?,
        };
        Ok(Self {
            change,
            path,
            was_there,
            step,
        })
    }

    fn of_old(
        change: &Change,
        path: &Path,
        bytes: &'a [u8],
        old: Current,
    ) -> Result<Step<'a>, FilesError> {
        match access::of(path, &old.facts).at(&change.path)? {
            Access::Replace => {
                let made = beside(path, bytes, |file| {
                    atomicfile::keep(file, &old.file, &old.facts)
                });
                match made {
                    Ok(temporary) => return Ok(Step::Place(temporary)),
                    // Something can't be kept after all.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                    Err(error) => return Err(FilesError::io(&change.path, error)),
                }
            }
            Access::InPlace => {}
            Access::Read => return Err(FilesError::io(&change.path, access::refusal(path))),
        }
        InPlace::new(&change.path, path, bytes, old).map(Step::Write)
    }

    fn commit(self) -> Result<Changed, FilesError> {
        let path = &self.change.path;
        let how = match self.step {
            Step::Nothing => How::Removed,
            Step::Remove => {
                fs::remove_file(&self.path).at(path)?;
                sync(&self.path).map_err(|error| in_doubt(path, error))?;
                How::Removed
            }
            Step::Place(mut temporary) => {
                if self.change.expected == Some(Expected::Absent) {
                    match temporary.create_as(&self.path) {
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                            return Err(stale(path));
                        }
                        other => other.at(path)?,
                    }
                } else {
                    temporary.replace(&self.path).at(path)?;
                }
                sync(&self.path).map_err(|error| in_doubt(path, error))?;
                if self.was_there {
                    How::Replaced
                } else {
                    How::Created
                }
            }
            Step::Write(in_place) => {
                in_place.commit(path)?;
                How::Written
            }
        };
        Ok(Changed {
            path: self.path,
            how,
        })
    }
}

/// It was done, and may not outlive a power cut.
fn in_doubt(path: &Path, error: io::Error) -> FilesError {
    FilesError::Partly {
        done: 0,
        error: Box::new(FilesError::io(path, error)),
    }
}

/// A synced temporary file with these bytes.
fn beside(
    path: &Path,
    bytes: &[u8],
    dress: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<Temporary> {
    let mut temporary = Temporary::create(folder_of(path))?;
    temporary.file.write_all(bytes)?;
    dress(&temporary.file)?;
    temporary.file.sync_all()?;
    Ok(temporary)
}

/// Makes the names in a file's folder durable; one that may be written and not read is left to the kernel.
fn sync(path: &Path) -> io::Result<()> {
    match atomicfile::sync_parent(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// A file that will be written where it is, with room for it.
struct InPlace<'a> {
    file: File,
    old: Vec<u8>,
    new: &'a [u8],
}

impl<'a> InPlace<'a> {
    fn new(named: &Path, path: &Path, new: &'a [u8], old: Current) -> Result<Self, FilesError> {
        let file = local::without_waiting().write(true).open(path).at(named)?;
        let facts = file.metadata().at(named)?;
        if (facts.dev(), facts.ino()) != (old.facts.dev(), old.facts.ino()) {
            return Err(stale(named));
        }
        let in_place = Self {
            file,
            old: old.bytes,
            new,
        };
        // Beyond the end: nothing that can be read changes. Not every file system can do that.
        let length = new.len() as u64;
        if length > 0 {
            let flags = FallocateFlags::KEEP_SIZE;
            let reserved = rustix::fs::fallocate(&in_place.file, flags, 0, length);
            if let Err(error @ (Errno::NOSPC | Errno::DQUOT)) = reserved {
                return Err(FilesError::io(named, error));
            }
        }
        Ok(in_place)
    }

    fn commit(&self, path: &Path) -> Result<(), FilesError> {
        let Err(error) = self.overwrite(self.new) else {
            return Ok(());
        };
        let error = FilesError::io(path, error);
        if self.overwrite(&self.old).is_ok() {
            return Err(error);
        }
        Err(FilesError::Partly {
            done: 0,
            error: Box::new(error),
        })
    }

    fn overwrite(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, 0)?;
        self.file.set_len(bytes.len() as u64)?;
        self.file.sync_all()
    }
}

impl Drop for InPlace<'_> {
    fn drop(&mut self) {
        // Gives back what was reserved beyond the end.
        if let Ok(facts) = self.file.metadata() {
            drop(self.file.set_len(facts.len()));
        }
    }
}
