//! The private folder for control sockets.
//!
//! Whoever can connect to a control socket runs commands on the Barman host. So its folder is ours
//! alone, and it is looked at each time it is used: `/tmp` is everybody's, and `/run` is swept.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The longest path of the folder, in bytes. A socket's path has 107 at most; what stands below
/// needs 30 of them.
const LONGEST: usize = 76;

/// Chooses and makes the folder of a store.
///
/// The first of these that can be made: below `$RUNTIME_DIRECTORY`, where systemd gives one; below
/// the account's folder in `/run/user`; in `/tmp`. All processes of one account on one store choose
/// the same one.
pub(super) fn choose(store: &Path) -> io::Result<PathBuf> {
    let name = digest(store.as_os_str().as_encoded_bytes());
    let given = std::env::var_os("RUNTIME_DIRECTORY");
    // systemd separates several by colons.
    let given = given.as_ref().and_then(|all| {
        let first = all.to_str()?.split(':').next()?;
        Path::new(first).is_absolute().then(|| PathBuf::from(first))
    });
    let uid = rustix::process::getuid().as_raw();
    let candidates = [
        given.map(|folder| folder.join(format!("ssh-{name}"))),
        Some(PathBuf::from(format!("/run/user/{uid}/barmanapi-{name}"))),
    ];
    for folder in candidates.into_iter().flatten() {
        if folder.as_os_str().len() > LONGEST {
            continue;
        }
        match make(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let folder = in_tmp(&name);
    make(&folder)?;
    Ok(folder)
}

/// The folder, made anew when it was swept away. Where that can't be done, one in `/tmp` takes its
/// place: a supervisor outlives the service whose folder it shared.
pub(super) fn ready(folder: &Path) -> io::Result<PathBuf> {
    match make(folder) {
        Ok(()) => Ok(folder.to_owned()),
        Err(error) if is_missing(&error) => {
            let folder = in_tmp(&digest(folder.as_os_str().as_encoded_bytes()));
            make(&folder)?;
            Ok(folder)
        }
        Err(error) => Err(error),
    }
}

/// The first 16 hexadecimal digits of a digest.
pub(super) fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let first = digest.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(first))
}

fn in_tmp(name: &str) -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    PathBuf::from(format!("/tmp/barmanapi-{uid}-{name}"))
}

fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(
        error.kind(),
        NotFound | PermissionDenied | ReadOnlyFilesystem | NotADirectory
    )
}

/// Makes a folder that is ours alone, or sees that it is.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::other(format!(
            "{} is not a folder of this account: somebody else made it; remove it",
            folder.display()
        )));
    }
    if found.mode() & 0o777 != 0o700 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_private_and_made_private_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("s");
        make(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        make(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_link_a_file_and_a_foreign_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let mut refused = vec![link, file];
        if rustix::process::getuid().is_root() {
            let foreign = dir.path().join("foreign");
            fs::create_dir(&foreign).unwrap();
            std::os::unix::fs::chown(&foreign, Some(12345), None).unwrap();
            refused.push(foreign);
        }
        for path in refused {
            let error = make(&path).unwrap_err().to_string();
            assert!(error.contains("not a folder of this account"), "{error}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_again_has_one_in_its_place() {
        let gone = Path::new("/nonexistent/barmanapi/ssh");
        let first = ready(gone).unwrap();
        assert_eq!(ready(gone).unwrap(), first);
        assert!(first.starts_with("/tmp"));
        fs::remove_dir(first).unwrap();
    }
}
