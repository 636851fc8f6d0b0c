//! Files of this host, read.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::At;
use super::{ALL, Contents, FILE, FilesError, NAMES, TEMPORARY, access};

/// A file as it is now.
#[derive(Debug)]
pub(super) struct Current {
    /// Where, symbolic links resolved.
    pub(super) path: PathBuf,
    pub(super) facts: Metadata,
    pub(super) bytes: Vec<u8>,
    pub(super) file: File,
}

pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Option<Contents>>, FilesError> {
    let mut room = ALL;
    let mut contents = |path: &PathBuf| {
        let Some(current) = current(path)? else {
            return Ok(None);
        };
        room = room
            .checked_sub(current.bytes.len())
            .ok_or_else(|| FilesError::TooLarge {
                path: path.clone(),
                limit: ALL,
            })?;
        Ok(Some(Contents {
            mode: current.facts.mode() & 0o7777,
            uid: current.facts.uid(),
            gid: current.facts.gid(),
            access: access::of(&current.path, &current.facts).at(path)?,
            path: current.path,
            bytes: current.bytes,
        }))
    };
    paths.iter().map(&mut contents).collect()
}

/// Options that open what is there and never wait.
pub(super) fn without_waiting() -> fs::OpenOptions {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let mut options = File::options();
    options.custom_flags(flags.bits().cast_signed());
    options
}

/// The file that a path leads to; `None` when there is none.
pub(super) fn current(path: &Path) -> Result<Option<Current>, FilesError> {
    check(path)?;
    let (real, mut file) = match open(path) {
        Ok(Some(found)) => found,
        Ok(None) => {
            return Err(FilesError::NotAFile {
                path: path.to_owned(),
            });
        }
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(FilesError::io(path, error)),
    };
    let facts = file.metadata().at(path)?;
    if !facts.is_file() {
        return Err(FilesError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mut bytes = Vec::new();
    let mut limited = (&mut file).take(FILE as u64 + 1);
    limited.read_to_end(&mut bytes).at(path)?;
    if bytes.len() > FILE {
        return Err(FilesError::TooLarge {
            path: path.to_owned(),
            limit: FILE,
        });
    }
    Ok(Some(Current {
        path: real,
        facts,
        bytes,
        file,
    }))
}

/// `None` when it is something else than a file. To open a device can do things, so it is looked at first.
fn open(path: &Path) -> io::Result<Option<(PathBuf, File)>> {
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let real = fs::canonicalize(path)?;
    let file = without_waiting().read(true).open(&real)?;
    Ok(Some((real, file)))
}

pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// A path that can be meant by both sides alike: absolute, and with a name at its end.
pub(super) fn check(path: &Path) -> Result<(), FilesError> {
    let bytes = path.as_os_str().as_bytes();
    let name = bytes.rsplit(|byte| *byte == b'/').next();
    if !path.is_absolute() || bytes.contains(&0) || matches!(name, None | Some(b"" | b"." | b".."))
    {
        return Err(FilesError::invalid(path, "is no absolute path of a file"));
    }
    Ok(())
}

pub(super) fn list(folder: &Path) -> Result<Vec<OsString>, FilesError> {
    check(&folder.join("x"))?;
    let mut names = Vec::new();
    for (count, entry) in fs::read_dir(folder).at(folder)?.enumerate() {
        if count == NAMES {
            return Err(FilesError::TooMany {
                path: folder.to_owned(),
                limit: NAMES,
            });
        }
        let entry = entry.at(folder)?;
        let name = entry.file_name();
        // A link to something that can't be seen is no file, for Barman neither.
        let is_file = fs::metadata(entry.path()).is_ok_and(|facts| facts.is_file());
        if is_file && !name.as_bytes().starts_with(TEMPORARY.as_bytes()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
