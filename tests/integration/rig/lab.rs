//! The lab that `make test` brings up, found through `LAB_ENV`.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The lab's facts.
pub struct Lab {
    facts: HashMap<String, String>,
    /// The binary under test, where the lab's account can execute it.
    pub binary: PathBuf,
}

impl Lab {
    /// The lab; without one there is nothing to test against, and the test fails.
    pub fn get() -> &'static Self {
        static LAB: OnceLock<Lab> = OnceLock::new();
        LAB.get_or_init(|| {
            let path = std::env::var("LAB_ENV").expect(
                "LAB_ENV names no lab: run `make test`, or `tests/lab/lab.sh up` and set LAB_ENV to its lab.env",
            );
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            let facts: HashMap<_, _> = text
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.trim_matches('\'').to_owned()))
                .collect();
            let binary = Path::new(&facts["BIN_DIR"]).join("barmanapi-under-test");
            // A copy under its own name first: the old one may be running.
            let fresh = binary.with_extension(std::process::id().to_string());
            fs::copy(env!("CARGO_BIN_EXE_barmanapi"), &fresh).unwrap();
            fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(&fresh, &binary).unwrap();
            Lab { facts, binary }
        })
    }

    /// A fact of `lab.env`.
    pub fn fact(&self, name: &str) -> &str {
        self.facts
            .get(name)
            .unwrap_or_else(|| panic!("lab.env has no {name}"))
    }

    fn id(&self, name: &str) -> u32 {
        self.fact(name).parse().unwrap()
    }

    /// A command that runs as the lab's account, with nothing of our environment.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.fact("LAB_HOME"))
            .current_dir(self.fact("LAB_DIR"));
        if rustix::process::getuid().is_root() {
            command.uid(self.id("LAB_UID")).gid(self.id("LAB_GID"));
        }
        command
    }

    /// Runs the real Barman.
    pub fn barman(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(self.fact("BARMAN"));
        command
            .args(["-c", self.fact("BARMAN_CONF")])
            .args(arguments);
        command.output().unwrap()
    }

    /// Gives a file or folder to the lab's account.
    pub fn own(&self, path: &Path) {
        if rustix::process::getuid().is_root() {
            let (uid, gid) = (self.id("LAB_UID"), self.id("LAB_GID"));
            std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// A new folder that belongs to the lab's account.
    pub fn folder(&self, name: &str) -> PathBuf {
        let random = getrandom::u64().unwrap();
        let path = Path::new(self.fact("WORK_DIR")).join(format!("{name}-{random:016x}"));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.own(&path);
        path
    }

    /// Writes a file that belongs to the lab's account.
    pub fn write(&self, path: &Path, text: &str, mode: u32) {
        let fresh = path.with_extension("new");
        fs::write(&fresh, text).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).unwrap();
        self.own(&fresh);
        fs::rename(&fresh, path).unwrap();
    }
}

impl Lab {
    /// Keeps other tests from backing up one of the lab's servers, which Barman does once at a time.
    pub fn hold(server: &'static str) -> MutexGuard<'static, ()> {
        static MAIN: Mutex<()> = Mutex::new(());
        static OTHER: Mutex<()> = Mutex::new(());
        let lock = if server == "main" { &MAIN } else { &OTHER };
        // A test that failed has left nothing that matters here.
        let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        Self::await_next_second();
        held
    }

    /// Barman names a backup by the second in which it starts, and one that starts in the same second
    /// takes the place of the other.
    pub fn await_next_second() {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let left = 1_000_000_000 - u64::from(since_epoch.subsec_nanos());
        std::thread::sleep(Duration::from_nanos(left));
    }

    /// Runs a program as root.
    #[track_caller]
    pub fn as_root(words: &[&str]) {
        let root = rustix::process::getuid().is_root();
        let words: Vec<_> = if root {
            words.to_vec()
        } else {
            [&["sudo", "-n"], words].concat()
        };
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }

    /// User and group of the lab's account.
    pub fn account(&self) -> (u32, u32) {
        (self.id("LAB_UID"), self.id("LAB_GID"))
    }
}
