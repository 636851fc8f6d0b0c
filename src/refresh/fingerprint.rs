//! Tells whether a program on disk is the one it was.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{AskError, Barman, RefreshError};
use crate::runner::{Host, StartError};

/// A program on disk; it differs when the program was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    /// Path, inode, size, time of the last change, and mode.
    program: Vec<(PathBuf, u64, u64, i64, i64, u32)>,
}

impl Fingerprint {
    /// Looks at the program and, of a script, at its interpreter, where Barman runs.
    pub(super) fn of(barman: &Barman) -> Result<Self, RefreshError> {
        match &barman.host {
            Host::Here => Self::here(&barman.program),
            Host::There(link) => {
                let found = link.look(&barman.program).map_err(StartError::Link);
                let program = found.map_err(AskError::Start)?;
                Ok(Self { program })
            }
        }
    }

    fn here(program: &Path) -> Result<Self, RefreshError> {
        let failed = |source| RefreshError::Program {
            program: program.to_owned(),
            source,
        };
        let mut files = vec![fs::canonicalize(program).map_err(failed)?];
        if let Some(interpreter) = files.first().and_then(|file| interpreter(file)) {
            files.push(fs::canonicalize(&interpreter).unwrap_or(interpreter));
        }
        let look = |file: PathBuf| {
            let found = fs::metadata(&file).map_err(failed)?;
            Ok((
                file,
                found.ino(),
                found.size(),
                found.mtime(),
                found.mtime_nsec(),
                // A program that nobody may execute any more is another one.
                found.mode(),
            ))
        };
        Ok(Self {
            program: files
                .into_iter()
                .map(look)
                .collect::<Result<_, RefreshError>>()?,
        })
    }
}

/// The interpreter that a script's first line names.
fn interpreter(script: &Path) -> Option<PathBuf> {
    use std::io::Read;
    let mut start = Vec::new();
    fs::File::open(script)
        .ok()?
        .take(256)
        .read_to_end(&mut start)
        .ok()?;
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let word = std::str::from_utf8(line)
        .ok()?
        .split_ascii_whitespace()
        .next()?;
    Some(PathBuf::from(word)).filter(|path| path.is_absolute() && path.exists())
}
