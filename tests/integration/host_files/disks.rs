//! Files on file systems that are full, read-only, or end at the file itself.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use barmanapi::runner::files::{Access, FilesError, How};

use super::{both, change, names};
use crate::rig::Lab;

/// A mount, undone when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(words: &[&str], place: &Path) -> Self {
        let place = place.to_str().unwrap();
        Lab::as_root(&[&["mount"], words, &[place]].concat());
        Self(place.into())
    }

    fn small_disk(place: &Path) -> Self {
        let (uid, gid) = Lab::get().account();
        let options = format!("size=256k,mode=0700,uid={uid},gid={gid}");
        Self::new(&["-t", "tmpfs", "-o", &options, "files"], place)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        Lab::as_root(&["umount", "-l", self.0.to_str().unwrap()]);
    }
}

/// Takes all room of a disk.
fn fill(folder: &Path) -> PathBuf {
    let ballast = folder.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    ballast
}

#[test]
fn a_full_disk_leaves_the_old_file_in_either_way() {
    both(|side| {
        let folder = side.put_folder("disk");
        let disk = Mount::small_disk(&folder);
        let file = side.put("disk/file", "old", 0o600);
        let text = "new\n".repeat(10_000);
        for mode in [0o700, 0o500] {
            let ballast = fill(&folder);
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let refused = side.replace(&[change(&file, &text)]);
            assert!(
                matches!(refused, Err(FilesError::NoRoom { .. })),
                "{refused:?}"
            );
            assert_eq!(fs::read(&file).unwrap(), b"old");
            assert_eq!(names(&folder), ["ballast", "file"]);
            fs::remove_file(ballast).unwrap();
            let changed = side.replace(&[change(&file, &text)]).unwrap();
            let how = if mode == 0o700 {
                How::Replaced
            } else {
                How::Written
            };
            assert_eq!(changed[0].how, how);
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            fs::write(&file, "old").unwrap();
        }
        drop(disk);
    });
}

#[test]
fn room_that_was_reserved_for_nothing_is_given_back() {
    both(|side| {
        let folder = side.put_folder("disk");
        let disk = Mount::small_disk(&folder);
        let (one, two) = (
            side.put("disk/one", "1", 0o600),
            side.put("disk/two", "2", 0o600),
        );
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
        let text = "x".repeat(200 << 10);
        let refused = side.replace(&[change(&one, &text), change(&two, &text)]);
        assert!(
            matches!(refused, Err(FilesError::NoRoom { .. })),
            "{refused:?}"
        );
        assert_eq!(fs::metadata(&one).unwrap().blocks(), 8);
        assert_eq!(fs::read(&one).unwrap(), b"1");
        drop(disk);
    });
}

#[test]
fn a_read_only_file_system_is_told_from_a_missing_right() {
    both(|side| {
        let folder = side.put_folder("disk");
        let file = side.put("disk/file", "old", 0o600);
        let place = folder.to_str().unwrap().to_owned();
        let mount = Mount::new(&["--bind", &place], &folder);
        Lab::as_root(&["mount", "-o", "remount,bind,ro", &place]);
        assert_eq!(side.read(&file).unwrap().unwrap().access, Access::Read);
        for path in [&file, &folder.join("new")] {
            let refused = side.replace(&[change(path, "new")]);
            assert!(
                matches!(refused, Err(FilesError::ReadOnly { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(fs::read(&file).unwrap(), b"old");
        drop(mount);
        side.replace(&[change(&file, "new")]).unwrap();
    });
}

#[test]
fn a_file_that_is_a_mount_is_written_in_place() {
    both(|side| {
        let source = side.put("source", "old", 0o600);
        let file = side.put("the file", "below", 0o600);
        let mount = Mount::new(&["--bind", source.to_str().unwrap()], &file);
        assert_eq!(side.read(&file).unwrap().unwrap().access, Access::InPlace);
        let changed = side.replace(&[change(&file, "new")]).unwrap();
        assert_eq!(changed[0].how, How::Written);
        assert_eq!(fs::read(&source).unwrap(), b"new");
        drop(mount);
        assert_eq!(fs::read(&file).unwrap(), b"below");
        assert_eq!(names(&side.folder), ["source", "the file"]);
    });
}
