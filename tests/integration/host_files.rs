//! Files of the Barman host, here and behind a real sshd: every test holds both to the same behaviour.
//!
//! `REMOTE_PATH` sets the `PATH` of the account behind the sshd, and so the Python there.

mod disks;
mod kills;
mod player;
mod reading;
mod replacing;
mod trials;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use barmanapi::runner::Host;
use barmanapi::runner::files::{
    Change, Changed, Contents, Expected, FilesError, TEMPORARY, digest,
};
use rustix::process::{Gid, Uid};

use crate::rig::{Lab, Sshd};

/// A Barman host, and a folder on it that belongs to the lab's account.
struct Side {
    host: Host,
    folder: PathBuf,
    sshd: Option<Sshd>,
}

impl Side {
    fn here() -> Self {
        Self {
            host: Host::Here,
            folder: Lab::get().folder("files"),
            sshd: None,
        }
    }

    fn there() -> Self {
        let path = std::env::var("REMOTE_PATH").map(|path| format!("SetEnv PATH={path}"));
        let lines: Vec<_> = path.iter().map(String::as_str).collect();
        let sshd = Sshd::start(&lines);
        Self {
            host: Host::There(sshd.link()),
            folder: Lab::get().folder("files"),
            sshd: Some(sshd),
        }
    }

    fn name(&self) -> &'static str {
        match self.host {
            Host::Here => "here",
            Host::There(_) => "there",
        }
    }

    fn is_here(&self) -> bool {
        self.sshd.is_none()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file of the account.
    fn put(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Lab::get().own(&path);
        path
    }

    /// A folder of the account.
    fn put_folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        Lab::get().own(&path);
        path
    }

    /// Asks the host as the lab's account.
    fn ask<T: Send>(&self, question: impl FnOnce(&Host) -> T + Send) -> T {
        match self.host {
            Host::Here => as_account(|| question(&self.host)),
            Host::There(_) => question(&self.host),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<Contents>, FilesError> {
        let mut found = self.ask(|host| host.read(&[path.to_owned()]))?;
        assert_eq!(found.len(), 1);
        Ok(found.remove(0))
    }

    fn replace(&self, changes: &[Change]) -> Result<Vec<Changed>, FilesError> {
        self.ask(|host| host.replace(None, changes))
    }

    /// Nothing but these names is in a folder of it.
    #[track_caller]
    fn holds(&self, folder: &Path, wanted: &[&str]) {
        assert_eq!(names(folder), wanted, "{}", self.name());
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.folder).unwrap();
        }
    }
}

/// Runs a test on both sides.
fn both(test: impl Fn(&Side)) {
    for side in [Side::here(), Side::there()] {
        println!("{}", side.name());
        test(&side);
    }
}

/// Does something on a thread that is the lab's account.
fn as_account<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if rustix::process::getuid().is_root() {
                let (uid, gid) = Lab::get().account();
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
                rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            }
            work()
        });
        thread.join().unwrap()
    })
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A change that expects nothing.
fn change(path: &Path, bytes: &str) -> Change {
    Change {
        path: path.to_owned(),
        expected: None,
        bytes: Some(bytes.into()),
        mode: None,
    }
}

/// The same, of a file that holds `old`.
fn after(old: &str, mut change: Change) -> Change {
    change.expected = Some(Expected::Digest(digest(old.as_bytes())));
    change
}

/// The same, where no file is.
fn where_none_is(mut change: Change) -> Change {
    change.expected = Some(Expected::Absent);
    change
}

fn removal(path: &Path) -> Change {
    Change {
        bytes: None,
        ..change(path, "")
    }
}

/// What a program prints.
#[track_caller]
fn said(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until something holds.
#[track_caller]
fn until(mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        let limit = Duration::from_secs(20);
        assert!(since.elapsed() < limit, "it does not hold within {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn temporary_files(folder: &Path) -> Vec<String> {
    let mut names = names(folder);
    names.retain(|name| name.starts_with(TEMPORARY));
    names
}
