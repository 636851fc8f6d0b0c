//! A process of its own that does what a service on the Barman host would, so that it can be killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use barmanapi::runner::Host;

use super::trials::script;
use super::{Side, as_account, change};
use crate::rig::{Lab, Process, processes};

/// What the process shall do.
const PLAY: &str = "HOST_FILES_PLAY";

/// Starts one: `replace` writes `new` bytes into a file under a lock, `try` runs `sleep` with a mark.
pub(super) fn start(words: &[&str]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "host_files::player::a_process_of_its_own_replaces_a_file",
        ])
        .env(PLAY, words.join("\n"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// This is what such a process begins with, too.
#[test]
fn a_process_of_its_own_replaces_a_file() {
    if let Ok(words) = std::env::var(PLAY) {
        let words: Vec<_> = words.split('\n').collect();
        return as_account(|| play(&Host::Here, &words));
    }
    let lab = Lab::get();
    let folder = lab.folder("player");
    let (lock, file) = (folder.join("lock"), folder.join("file"));
    lab.write(&file, "old", 0o640);
    let words = [&lock, &file].map(|path| path.display().to_string());
    let mut process = start(&["replace", &words[0], "new", &words[1]]);
    assert!(process.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
    std::fs::remove_dir_all(folder).unwrap();
}

/// Does the same on any host.
pub(super) fn play(host: &Host, words: &[&str]) {
    match words {
        ["replace", lock, text, files @ ..] => {
            let changes: Vec<_> = files
                .iter()
                .map(|file| change(Path::new(file), text))
                .collect();
            drop(host.replace(Some(Path::new(lock)), &changes));
        }
        ["try", mark] => drop(host.try_out(&script(&format!("sleep {mark}")))),
        other => panic!("{other:?}"),
    }
}

/// Those of these processes that have a file open.
pub(super) fn who_has_open(path: &Path, among: impl Fn(&Process) -> bool) -> Vec<i32> {
    let path: PathBuf = path.into();
    let mut found = Vec::new();
    for process in processes().into_iter().filter(among) {
        let folder = format!("/proc/{}/fd", process.pid);
        let mut files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        if files.any(|file| std::fs::read_link(file.path()).is_ok_and(|open| open == path)) {
            found.push(process.pid);
        }
    }
    found
}

/// Starts it on a side: in a process of its own, or in one of the Barman host.
pub(super) fn on<'scope>(
    side: &'scope Side,
    scope: &'scope std::thread::Scope<'scope, '_>,
    words: &[&str],
) -> Option<Child> {
    if side.is_here() {
        return Some(start(words));
    }
    let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
    scope.spawn(move || {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        side.ask(|host| play(host, &words));
    });
    None
}
