//! One catalogue for all sites with the same Barman.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Lab, Server, Site};

/// The catalogue that the first server built from a help. To build it takes as long as many a test,
/// so whoever comes second waits for the first.
type Learnt = Mutex<Option<Value>>;

/// From the stand-in, which prints the lab's help.
static STAND_IN: Learnt = Mutex::new(None);

/// From the lab's Barman.
static HERE: Learnt = Mutex::new(None);

/// From the lab's Barman behind an sshd.
static THERE: Learnt = Mutex::new(None);

/// Whose help a site reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Help {
    StandIn,
    Here,
    There,
}

/// A file as the service sees it.
fn seen(file: &Path) -> Value {
    let path = fs::canonicalize(file).unwrap();
    let found = fs::metadata(&path).unwrap();
    serde_json::json!([
        path,
        found.ino(),
        found.size(),
        found.mtime(),
        found.mtime_nsec(),
        found.mode()
    ])
}

/// The program that a script's first line names.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let text = fs::read(script).unwrap();
    let line = text.strip_prefix(b"#!")?.split(|byte| *byte == b'\n');
    let line = str::from_utf8(line.into_iter().next()?).unwrap();
    line.split_ascii_whitespace().next().map(PathBuf::from)
}

impl Site {
    fn saved_catalogue(&self) -> PathBuf {
        self.file("store/config/barman.json")
    }

    /// Whether the stand-in prints the lab's help.
    fn is_plain(program: &Path) -> bool {
        let help = fs::read_link(program.with_file_name("help"));
        let control = fs::read_to_string(program.with_file_name("control.json"));
        let (Ok(help), Ok(control)) = (help, control) else {
            return false;
        };
        help == Path::new(Lab::get().fact("HELP_DIR")) && !control.contains("--help")
    }

    fn learnt(&self) -> Option<&'static Learnt> {
        Some(match self.help? {
            Help::StandIn if !Self::is_plain(self.program.as_ref()?) => return None,
            Help::StandIn => &STAND_IN,
            Help::Here => &HERE,
            Help::There => &THERE,
        })
    }

    /// Gives a new store the catalogue, as built from this very program. A server that does not
    /// believe it builds its own. The first of all gets a place to leave its own in.
    pub(super) fn lend_catalogue(&self) -> Option<MutexGuard<'static, Option<Value>>> {
        let known = self
            .learnt()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.saved_catalogue().exists() {
            return None;
        }
        let Some(catalogue) = known.as_ref() else {
            return Some(known);
        };
        let mut saved = catalogue.clone();
        drop(known);
        let lab = Lab::get();
        for folder in ["store", "store/config"] {
            let path = self.file(folder);
            if !path.exists() {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
                lab.own(&path);
            }
        }
        if let Some(program) = &self.program {
            // Who built it may have been started by another interpreter.
            let files = [Some(program.clone()), interpreter(program)];
            let seen = files.into_iter().flatten().map(|file| seen(&file));
            saved["fingerprint"]["program"] = seen.collect();
        }
        lab.write(&self.saved_catalogue(), &saved.to_string(), 0o600);
        None
    }

    /// Starts a server, whatever it speaks, and waits until it has learnt what Barman can do.
    #[track_caller]
    pub fn serve_learnt(&self) -> Server {
        let place = self.lend_catalogue();
        let server = self.serve_unready(&[]);
        let since = Instant::now();
        while !self.saved_catalogue().exists() {
            assert!(since.elapsed() < Duration::from_secs(120));
            std::thread::sleep(Duration::from_millis(20));
        }
        self.keep_catalogue(place);
        server
    }

    /// Leaves what the first one has learnt to those that come.
    pub(super) fn keep_catalogue(&self, place: Option<MutexGuard<'static, Option<Value>>>) {
        if let Some(mut place) = place {
            let saved = fs::read(self.saved_catalogue()).unwrap();
            *place = Some(serde_json::from_slice(&saved).unwrap());
        }
    }
}
