//! Where a path leads, its symbolic links resolved.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

/// Finds out where a path of the Barman host leads.
pub trait Resolve: Debug + Send + Sync {
    /// Resolves the longest part of a path that exists, and keeps the rest.
    ///
    /// A link that leads nowhere exists: it is an error here, never a part that may still be
    /// created.
    ///
    /// # Errors
    /// When that can't be found out.
    fn resolve(&self, path: &Path) -> Result<PathBuf, ResolveError>;
}

/// Nobody can say where a path leads.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The path itself is in the way.
    #[error(transparent)]
    Path(#[from] io::Error),
    /// The Barman host can't be asked.
    #[error("{words}")]
    Host {
        /// Why, for the caller.
        words: String,
        /// Why, in a word.
        reason: &'static str,
    },
}

/// A Barman on this host.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Here;

impl Resolve for Here {
    fn resolve(&self, path: &Path) -> Result<PathBuf, ResolveError> {
        Ok(resolve(path)?)
    }
}

fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut rest = Vec::new();
    let mut part = path;
    loop {
        match std::fs::symlink_metadata(part) {
            Ok(_) => {
                let mut resolved = std::fs::canonicalize(part)?;
                if !rest.is_empty() && !resolved.is_dir() {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
                resolved.extend(rest.iter().rev());
                return Ok(resolved);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (part.parent(), part.file_name()) else {
                    return Err(error);
                };
                rest.push(name);
                part = parent;
            }
            Err(error) => return Err(error),
        }
    }
}
