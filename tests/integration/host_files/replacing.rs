//! Files replaced.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use barmanapi::runner::files::{FILE, FilesError, How, TEMPORARY};

use super::{after, both, change, names, removal, said, temporary_files, where_none_is};
use crate::rig::Lab;

#[test]
fn mode_owner_access_list_and_link_stay() {
    both(|side| {
        let file = side.put("real", "old\n", 0o4751);
        let link = side.path("link");
        symlink("real", &link).unwrap();
        let path = file.to_str().unwrap();
        said(&["setfacl", "-m", "u:daemon:r,m::rw", path]);
        said(&["setfattr", "-n", "user.note", "-v", "kept", path]);
        let plain = side.put("plain", "old", 0o640);
        // What a folder gives to new files must not widen what the old one allowed.
        said(&[
            "setfacl",
            "-d",
            "-m",
            "u:nobody:rwx",
            side.folder.to_str().unwrap(),
        ]);
        let list = said(&["getfacl", "-p", path]);
        assert!(list.contains("user:daemon:r--"), "{list}");
        let before = fs::metadata(&file).unwrap();
        let changed = side
            .replace(&[after("old\n", change(&link, "new\n"))])
            .unwrap();
        assert_eq!(changed[0].how, How::Replaced);
        assert_eq!(changed[0].path, file);
        let now = fs::metadata(&file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new\n");
        assert_ne!(now.ino(), before.ino());
        assert_eq!(
            (now.mode(), now.uid(), now.gid()),
            (before.mode(), before.uid(), before.gid())
        );
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(said(&["getfacl", "-p", path]), list);
        let note = said(&["getfattr", "--only-values", "-n", "user.note", path]);
        assert_eq!(note, "kept");
        side.replace(&[change(&plain, "new")]).unwrap();
        let list = said(&["getfacl", "-p", plain.to_str().unwrap()]);
        assert!(!list.contains("nobody"), "{list}");
        assert_eq!(fs::metadata(&plain).unwrap().mode() & 0o7777, 0o640);
        side.holds(&side.folder, &["link", "plain", "real"]);
    });
}

#[test]
fn a_file_of_a_group_of_the_account_stays_in_it_and_one_of_others_is_written_in_place() {
    both(|side| {
        let file = side.put("file", "old, and longer", 0o666);
        std::os::unix::fs::lchown(&file, Some(0), Some(0)).unwrap();
        let before = fs::metadata(&file).unwrap();
        let changed = side.replace(&[change(&file, "new")]).unwrap();
        assert_eq!(changed[0].how, How::Written);
        let now = fs::metadata(&file).unwrap();
        assert_eq!(
            (now.ino(), now.uid(), now.mode()),
            (before.ino(), 0, before.mode())
        );
        assert_eq!(fs::read(&file).unwrap(), b"new");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = side.replace(&[change(&file, "newer")]);
        assert!(
            matches!(refused, Err(FilesError::NotPermitted { .. })),
            "{refused:?}"
        );
        assert_eq!(fs::read(&file).unwrap(), b"new");
    });
}

#[test]
fn where_only_the_file_may_be_written_it_is_written_in_place() {
    both(|side| {
        let folder = side.put_folder("folder");
        let file = side.put("folder/file", "old", 0o600);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
        let before = fs::metadata(&file).unwrap().ino();
        let text = "longer than before\n".repeat(1000);
        let changed = side.replace(&[after("old", change(&file, &text))]).unwrap();
        assert_eq!(changed[0].how, How::Written);
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        side.replace(&[change(&file, "short")]).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "short");
        assert_eq!(fs::metadata(&file).unwrap().ino(), before);
        for refused in [
            side.replace(&[change(&folder.join("new"), "x")]),
            side.replace(&[removal(&file)]),
        ] {
            assert!(
                matches!(refused, Err(FilesError::NotPermitted { .. })),
                "{refused:?}"
            );
        }
        side.holds(&folder, &["file"]);
    });
}

#[test]
fn new_files_are_made_and_old_ones_removed_with_any_name() {
    both(|side| {
        let odd = side.folder.join(OsStr::from_bytes(b" line\nend \xff"));
        let given = side.path("given");
        let mut with_mode = where_none_is(change(&given, "2"));
        with_mode.mode = Some(0o600);
        let both = [where_none_is(change(&odd, "1")), with_mode];
        let changed = side.replace(&both).unwrap();
        assert!(changed.iter().all(|changed| changed.how == How::Created));
        assert_eq!(changed[0].path, odd);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!((mode(&odd), mode(&given)), (0o640, 0o600));
        assert_eq!(fs::read(&odd).unwrap(), b"1");
        let stale = side.replace(&[where_none_is(change(&odd, "3"))]);
        assert!(matches!(stale, Err(FilesError::Stale { .. })), "{stale:?}");
        let link = side.path("link");
        symlink("given", &link).unwrap();
        let changed = side
            .replace(&[removal(&odd), after("2", removal(&link))])
            .unwrap();
        assert!(changed.iter().all(|changed| changed.how == How::Removed));
        side.holds(&side.folder, &["given"]);
        assert_eq!(side.replace(&[removal(&odd)]).unwrap()[0].how, How::Removed);
        for missing in [side.path("missing/file"), side.path("dangling")] {
            symlink("nowhere", &missing).unwrap_or_default();
            let refused = side.replace(&[change(&missing, "x")]);
            assert!(
                matches!(refused, Err(FilesError::NotFound { .. })),
                "{refused:?}"
            );
        }
    });
}

#[test]
fn all_changes_are_made_or_none() {
    both(|side| {
        let (one, two) = (side.put("one", "1", 0o600), side.put("two", "2", 0o600));
        let folder = side.put_folder("folder");
        let (good, there) = (after("1", change(&one, "new")), two.clone());
        let fifo = side.path("fifo");
        Lab::as_root(&["mkfifo", "-m", "666", fifo.to_str().unwrap()]);
        let too_large = "x".repeat(FILE + 1);
        for (bad, wanted) in [
            (after("1", change(&two, "new")), "Stale"),
            (after("1", change(&side.path("gone"), "new")), "Stale"),
            (where_none_is(change(&two, "new")), "Stale"),
            (change(&folder, "new"), "NotAFile"),
            (change(&fifo, "new"), "NotAFile"),
            (removal(&folder), "NotAFile"),
            (change(&side.path("missing/file"), "new"), "NotFound"),
            (change(&one, "twice"), "Invalid"),
            (change(Path::new("relative"), "new"), "Invalid"),
            (change(Path::new("/proc/version"), "new"), "NotPermitted"),
            (change(&two, &too_large), "TooLarge"),
        ] {
            let path = bad.path.clone();
            let error = side.replace(&[good.clone(), bad]).unwrap_err();
            assert!(
                format!("{error:?}").starts_with(wanted),
                "{wanted}: {error:?}"
            );
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
            assert_eq!(fs::read(&one).unwrap(), b"1");
        }
        assert_eq!(fs::read(&there).unwrap(), b"2");
        side.holds(&side.folder, &["fifo", "folder", "one", "two"]);
    });
}

#[test]
fn of_twenty_writers_at_once_exactly_those_win_that_saw_the_bytes() {
    both(|side| {
        let file = side.put("counter", "0", 0o600);
        let lock = side.path(".config-update.lock");
        let (wins, losses) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let rounds = 5;
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        let seen = side.read(&file).unwrap().unwrap().bytes;
                        let seen = String::from_utf8(seen).unwrap();
                        let next = seen.parse::<usize>().unwrap() + 1;
                        let change = after(&seen, change(&file, &next.to_string()));
                        match side.ask(|host| host.replace(Some(&lock), &[change])) {
                            Ok(_) => wins.fetch_add(1, Ordering::Relaxed),
                            Err(FilesError::Stale { .. }) => losses.fetch_add(1, Ordering::Relaxed),
                            Err(error) => panic!("{error:?}"),
                        };
                    }
                });
            }
        });
        let (wins, losses) = (wins.into_inner(), losses.into_inner());
        println!("{}: {wins} wins, {losses} losses", side.name());
        assert_eq!(fs::read_to_string(&file).unwrap(), wins.to_string());
        assert_eq!(wins + losses, 20 * rounds);
        assert!(wins > 0 && losses > 0, "{wins} wins, {losses} losses");
        side.holds(&side.folder, &[".config-update.lock", "counter"]);
    });
}

/// A process that holds Barman's lock as Barman does, until its input ends.
fn barman_that_locks(folder: &Path) -> Child {
    let program = "import sys; from barman.lockfile import ConfigUpdateLock\n\
        with ConfigUpdateLock(sys.argv[1]):\n    print('held', flush=True); sys.stdin.read()";
    let lab = Lab::get();
    let mut child = lab
        .command(lab.fact("BARMAN_PYTHON"))
        .args(["-c", program])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 4];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut word)
        .unwrap();
    child
}

#[test]
fn barmans_own_lock_is_waited_for_and_names_its_holder() {
    both(|side| {
        let file = side.put("file", "old", 0o600);
        let lock = side.path(".config-update.lock");
        let mut barman = barman_that_locks(&side.folder);
        let since = Instant::now();
        let refused = side.ask(|host| host.replace(Some(&lock), &[change(&file, "new")]));
        match refused {
            Err(FilesError::Locked { path, holder }) => {
                assert_eq!((path, holder), (lock.clone(), Some(barman.id())));
            }
            other => panic!("{other:?}"),
        }
        let waited = since.elapsed();
        assert!(waited > Duration::from_secs(9) && waited < Duration::from_secs(13));
        assert_eq!(fs::read(&file).unwrap(), b"old");
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| side.ask(|host| host.replace(Some(&lock), &[change(&file, "new")])));
            drop(barman.stdin.take());
            barman.wait().unwrap();
            waiting.join().unwrap().unwrap();
        });
        assert_eq!(fs::read(&file).unwrap(), b"new");
        let holder: u32 = fs::read_to_string(&lock).unwrap().trim().parse().unwrap();
        assert!(!side.is_here() || holder == std::process::id());
        assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600);
        // And Barman can take what we have left.
        let mut barman = barman_that_locks(&side.folder);
        drop(barman.stdin.take());
        assert!(barman.wait().unwrap().success());
    });
}

#[test]
fn a_lock_that_can_not_be_taken_changes_nothing() {
    both(|side| {
        let file = side.put("file", "old", 0o600);
        let fifo = side.path("fifo");
        Lab::as_root(&["mkfifo", "-m", "666", fifo.to_str().unwrap()]);
        for (lock, wanted) in [
            (side.path("missing/.config-update.lock"), "NotFound"),
            (fifo, "NotAFile"),
            (
                Path::new("/etc/.config-update.lock").to_owned(),
                "NotPermitted",
            ),
        ] {
            let error = side.ask(|host| host.replace(Some(&lock), &[change(&file, "new")]));
            let error = error.unwrap_err();
            assert!(
                format!("{error:?}").starts_with(wanted),
                "{wanted}: {error:?}"
            );
            assert_eq!(fs::read(&file).unwrap(), b"old");
        }
    });
}

#[test]
fn what_killed_writers_left_is_removed_and_what_others_write_is_not() {
    both(|side| {
        let file = side.put("file", "old", 0o600);
        for name in ["0", "1"] {
            side.put(&format!("{TEMPORARY}{name}"), "half", 0o600);
        }
        let held = fs::File::open(side.path(&format!("{TEMPORARY}1"))).unwrap();
        held.lock().unwrap();
        side.replace(&[change(&file, "new")]).unwrap();
        assert_eq!(temporary_files(&side.folder), [format!("{TEMPORARY}1")]);
        drop(held);
        side.replace(&[change(&file, "newer")]).unwrap();
        assert_eq!(names(&side.folder), ["file"]);
    });
}
