//! What a new file takes over from the old one besides its name.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

const ACL: &CStr = c"system.posix_acl_access";
const LABEL: &CStr = c"security.selinux";

/// Bytes that the names, or one value, of extended attributes can have.
const LONGEST: usize = 1 << 16;

/// Gives `new` the owner, group, mode, access list and user's attributes of `old`, whose facts are
/// `facts`. At no moment does it open `new` to anybody who may not read `old`.
///
/// # Errors
/// When one of them can't be read, or given.
pub fn keep(new: &File, old: &File, facts: &Metadata) -> io::Result<()> {
    let ours = new.metadata()?;
    if (ours.uid(), ours.gid()) != (facts.uid(), facts.gid()) {
        fchown(new, Some(facts.uid()), Some(facts.gid()))?;
    }
    let (wanted, there) = (attributes(old)?, attributes(new)?);
    if there.contains_key(ACL) && !wanted.contains_key(ACL) {
        // The folder gave it one, which the mode of the old file would put in force.
        fremovexattr(new, ACL)?;
    }
    for (name, value) in wanted {
        if there.get(&name) == Some(&value) {
            continue;
        }
        match fsetxattr(new, name.as_c_str(), &value, XattrFlags::empty()) {
            Err(error) if name.as_c_str() != LABEL => return Err(error.into()),
            _ => {}
        }
    }
    new.set_permissions(Permissions::from_mode(facts.mode() & 0o7777))
}

/// The attributes that are kept; none where the file system knows none.
fn attributes(file: &File) -> io::Result<BTreeMap<CString, Vec<u8>>> {
    let mut names = vec![0; LONGEST];
    let length = match flistxattr(file, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => 0,
        Err(error) => return Err(error.into()),
    };
    names.truncate(length);
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0) {
        let Ok(name) = CString::new(name) else {
            continue;
        };
        let is_users = name.to_bytes().starts_with(b"user.");
        if is_users || name.as_c_str() == ACL || name.as_c_str() == LABEL {
            let mut value = vec![0; LONGEST];
            let length = fgetxattr(file, name.as_c_str(), &mut value[..])?;
            value.truncate(length);
            found.insert(name, value);
        }
    }
    Ok(found)
}
