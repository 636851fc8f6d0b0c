//! How a file may be changed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, access as allowed};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgroups};

use super::Access;

const SETGID: u32 = 0o2000;

/// How this process may change a file, by its canonical path.
pub(super) fn of(path: &Path, facts: &Metadata) -> io::Result<Access> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if keeps_owner(folder, facts)? && is_open_to_us(folder) && !is_mount(path) {
        return Ok(Access::Replace);
    }
    if allowed(path, rustix::fs::Access::WRITE_OK).is_ok() {
        Ok(Access::InPlace)
    } else {
        Ok(Access::Read)
    }
}

/// Why something may not be written.
pub(super) fn refusal(path: &Path) -> Errno {
    match allowed(path, rustix::fs::Access::WRITE_OK) {
        Err(error) => error,
        Ok(()) => Errno::ACCESS,
    }
}

/// Whether names in a folder may be made and removed.
pub(super) fn is_open_to_us(folder: &Path) -> bool {
    let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    allowed(folder, wanted).is_ok()
}

/// Whether a new file can have the owner and group of the old one.
fn keeps_owner(folder: &Path, facts: &Metadata) -> io::Result<bool> {
    if geteuid().is_root() {
        return Ok(true);
    }
    let around = fs::metadata(folder)?;
    let group = facts.gid();
    let is_in_group = getegid().as_raw() == group
        || getgroups()?.iter().any(|gid| gid.as_raw() == group)
        || (around.mode() & SETGID != 0 && around.gid() == group);
    Ok(facts.uid() == geteuid().as_raw() && is_in_group)
}

/// Whether a file is itself a mount, as in containers: nothing can be renamed over it.
fn is_mount(path: &Path) -> bool {
    let facts = rustix::fs::statx(
        CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::BASIC_STATS,
    );
    facts.is_ok_and(|facts| facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
