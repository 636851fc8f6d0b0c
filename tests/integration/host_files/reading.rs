//! Files read and listed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use barmanapi::runner::files::{Access, FILE, FilesError};

use super::both;
use crate::rig::Lab;

#[test]
fn a_file_is_read_with_its_mode_owner_and_canonical_path() {
    both(|side| {
        let file = side.put("real file", "a\r\nb\0\u{fc}", 0o640);
        let link = side.path("link");
        symlink("real file", &link).unwrap();
        let missing = side.path("missing/file");
        let paths = [link, missing, file.clone()];
        let found = side.ask(|host| host.read(&paths)).unwrap();
        let [Some(by_link), None, Some(itself)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(by_link, itself);
        assert_eq!(itself.path, fs::canonicalize(&file).unwrap());
        assert_eq!(itself.bytes, "a\r\nb\0\u{fc}".as_bytes());
        assert_eq!(itself.mode, 0o640);
        assert_eq!((itself.uid, itself.gid), Lab::get().account());
        assert_eq!(itself.access, Access::Replace);
    });
}

#[test]
fn how_a_file_may_be_changed_is_told() {
    both(|side| {
        let folder = side.put_folder("folder");
        let ours = side.put("folder/ours", "x", 0o400);
        let theirs = side.put("folder/theirs", "x", 0o666);
        let closed = side.put("folder/closed", "x", 0o644);
        for path in [&theirs, &closed] {
            std::os::unix::fs::lchown(path, Some(0), Some(0)).unwrap();
        }
        let access = |path: &Path| side.read(path).unwrap().unwrap().access;
        assert_eq!(access(&ours), Access::Replace);
        assert_eq!(access(&theirs), Access::InPlace);
        assert_eq!(access(&closed), Access::Read);
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
        assert_eq!(access(&ours), Access::InPlace);
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(access(&ours), Access::Read);
    });
}

#[test]
fn what_is_no_file_is_an_error_and_never_waited_for() {
    both(|side| {
        let fifo = side.path("fifo");
        Lab::as_root(&["mkfifo", "-m", "666", fifo.to_str().unwrap()]);
        let folder = side.put_folder("folder");
        let link = side.path("link");
        symlink("/dev/zero", &link).unwrap();
        let since = Instant::now();
        for path in [&fifo, &folder, &link, Path::new("/dev/tty")] {
            match side.read(path) {
                Err(FilesError::NotAFile { path: told }) => assert_eq!(&told, path),
                other => panic!("{}: {other:?}", path.display()),
            }
        }
        assert!(since.elapsed() < Duration::from_secs(5));
        for path in ["relative", "/etc/..", "/etc/", "/nul\0"] {
            let result = side.read(Path::new(path));
            assert!(
                matches!(result, Err(FilesError::Invalid { .. })),
                "{result:?}"
            );
        }
    });
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    both(|side| {
        let file = side.put("secret", "x", 0o600);
        std::os::unix::fs::lchown(&file, Some(0), Some(0)).unwrap();
        match side.read(&file) {
            Err(FilesError::NotPermitted { path }) => assert_eq!(path, file),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_file_of_the_limit_is_read_and_a_larger_one_named() {
    both(|side| {
        let file = side.put("large", "", 0o600);
        let line = b"0123456789abcde\n";
        fs::write(&file, line.repeat(FILE / line.len())).unwrap();
        let found = side.read(&file).unwrap().unwrap();
        assert_eq!(found.bytes, fs::read(&file).unwrap());
        fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(FILE as u64 + 1)
            .unwrap();
        match side.read(&file) {
            Err(FilesError::TooLarge { path, limit: FILE }) => assert_eq!(path, file),
            other => panic!("{:?}", other.map(|found| found.is_some())),
        }
    });
}

#[test]
fn files_of_a_folder_are_listed_byte_for_byte() {
    both(|side| {
        let folder = side.put_folder("conf.d");
        let names: [&[u8]; 5] = [
            b" a b",
            b"line\nend.conf",
            b"main.conf",
            b"\xff\xfe",
            b".hidden",
        ];
        for name in names {
            fs::write(folder.join(OsStr::from_bytes(name)), "x").unwrap();
        }
        fs::create_dir(folder.join("folder")).unwrap();
        fs::write(folder.join(".barmanapi-new.0123456789abcdef"), "").unwrap();
        symlink("main.conf", folder.join("z")).unwrap();
        symlink("nowhere", folder.join("dangling")).unwrap();
        Lab::as_root(&["mkfifo", folder.join("fifo").to_str().unwrap()]);
        let found = side.ask(|host| host.list(&folder)).unwrap();
        let mut wanted = names.to_vec();
        wanted.push(b"z");
        wanted.sort_unstable();
        let found: Vec<_> = found.iter().map(|name| name.as_bytes()).collect();
        assert_eq!(found, wanted);
        let odd = folder.join(OsStr::from_bytes(b"\xff\xfe"));
        assert_eq!(side.read(&odd).unwrap().unwrap().path, odd);
        let missing = side.ask(|host| host.list(&side.path("missing")));
        assert!(
            matches!(missing, Err(FilesError::NotFound { .. })),
            "{missing:?}"
        );
        let file = side.ask(|host| host.list(&folder.join("main.conf")));
        assert!(matches!(file, Err(FilesError::NotFound { .. })), "{file:?}");
    });
}

#[test]
fn a_folder_with_too_many_entries_is_named() {
    both(|side| {
        let folder = side.put_folder("crowded");
        let one = folder.join("0");
        fs::write(&one, "").unwrap();
        for number in 1..10_000 {
            fs::hard_link(&one, folder.join(number.to_string())).unwrap();
        }
        let found = side.ask(|host| host.list(&folder)).unwrap();
        assert_eq!(found.len(), 10_000);
        fs::hard_link(&one, folder.join("one more")).unwrap();
        let result = side.ask(|host| host.list(&folder));
        assert!(matches!(result, Err(FilesError::TooMany { .. })));
        assert_eq!(fs::metadata(&one).unwrap().nlink(), 10_001);
    });
}
