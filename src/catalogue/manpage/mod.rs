//! What Barman's own manual, `man 5 barman`, says of the keys of its configuration.
//!
//! [`candidates`] tells where the manual of a `barman` may be; whoever can read there passes the
//! bytes to [`read`], gzip'ed or not. [`key_help`] puts that beside the keys that are known
//! without a manual, so that no key of that Barman is missing.
//!
//! The manual is roff: written by pandoc up to Barman 3.11, by docutils from 3.12 on. The reader
//! is tolerant: what it does not understand it passes over, and no text makes it fail but one in
//! which there is no key at all. It does not format: no line is filled, no font is kept.

mod entries;
mod escape;
mod roff;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::Serialize;

use super::configkeys::{ConfigKeys, Scope};

/// The most bytes of a manual that are read, packed or unpacked. That of 3.19.1 has 63671.
pub const MAX_SIZE: usize = 1 << 20;

/// The most keys that are read. 3.19.1 has 131.
const MAX_KEYS: usize = 1000;

/// The longest description that is kept, in bytes; the rest is cut off. The longest of 3.19.1 has
/// about 2000.
const MAX_DESCRIPTION: usize = 16 << 10;

/// The manual could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ManPageError {
    /// It is longer than any manual of Barman.
    #[error("the manual has more than {MAX_SIZE} bytes; is it barman.5 at all?")]
    TooLarge,
    /// It begins like a gzip file and is none.
    #[error("the manual can't be unpacked: {0}")]
    Gzip(#[source] std::io::Error),
    /// There is no key in it.
    #[error("the manual describes no key; is it barman.5 at all?")]
    NoKeys,
}

/// What is told of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KeyHelp {
    /// What it is for, in the words of the manual: plain text, an empty line between paragraphs,
    /// items of lists with `- ` before them. Empty where the manual does not have the key.
    pub description: String,
    /// Where it may stand, as the manual says; `type` in JSON, `null` where nobody knows.
    #[serde(rename = "type")]
    pub scope: Option<Scope>,
}

/// Where the manual of a `barman` may be, the likeliest first.
///
/// `program` is the path of the program; call again with the canonical path where the program is a
/// symbolic link (as pipx makes them). pip puts the manual into `share/man/man5` of the
/// environment for every version from 2.10 to 3.19.1, packages of distributions put it gzip'ed
/// under `/usr`.
#[must_use]
pub fn candidates(program: &Path) -> Vec<PathBuf> {
    let beside = program
        .parent()
        .and_then(Path::parent)
        .filter(|prefix| prefix.is_absolute())
        .into_iter()
        .flat_map(|prefix| [prefix.join("share/man"), prefix.join("man")]);
    let system = ["/usr/local/share/man", "/usr/share/man"].map(PathBuf::from);
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in beside.chain(system) {
        for name in ["man5/barman.5", "man5/barman.5.gz"] {
            let path = folder.join(name);
            if !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found
}

/// Reads a manual: its keys in the order of the alphabet.
///
/// # Errors
/// When it is too large, can't be unpacked, or has no key.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, KeyHelp>, ManPageError> {
    let unpacked;
    let bytes = if bytes.starts_with(b"\x1f\x8b") {
        unpacked = unpack(bytes)?;
        &unpacked
    } else {
        bytes
    };
    if bytes.len() > MAX_SIZE {
        return Err(ManPageError::TooLarge);
    }
    let keys = entries::read(&String::from_utf8_lossy(bytes));
    if keys.is_empty() {
        return Err(ManPageError::NoKeys);
    }
    Ok(keys)
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, ManPageError> {
    let mut unpacked = Vec::new();
    let most = u64::try_from(MAX_SIZE)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    MultiGzDecoder::new(bytes)
        .take(most)
        .read_to_end(&mut unpacked)
        .map_err(ManPageError::Gzip)?;
    Ok(unpacked)
}

/// What is told of every key that a Barman has: those of its manual, and those that the manual
/// leaves out, with an empty description.
///
/// `manual` is what [`read`] gave, empty where there is none; `barman` is the version, for example
/// `3.19.1`. Where the manual and Barman's code differ about the scope, which some manuals do, the
/// code's is told.
#[must_use]
pub fn key_help(
    mut manual: BTreeMap<String, KeyHelp>,
    keys: &ConfigKeys,
    barman: Option<&str>,
) -> BTreeMap<String, KeyHelp> {
    for (key, info) in keys.iter() {
        if let Some(scope) = info.scope_in(barman) {
            let help = manual.entry(key.to_owned()).or_default();
            help.scope = Some(scope);
        }
    }
    manual
}
