//! Versions of Barman from `PyPI`, each in a folder of its own, under one virtual environment that
//! holds what they import.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use super::truth::Truth;

/// What the versions import, each of them a part. argh built the parser up to 2.15; from 0.30 on
/// it prints other texts than Barman was written for. `setuptools` stands in for `distutils`,
/// which Python 3.12 no longer has.
const IMPORTS: [&str; 5] = [
    "psycopg2-binary",
    "python-dateutil",
    "argcomplete",
    "argh<0.30",
    "setuptools",
];

/// One at a time makes an environment or installs a version.
static INSTALL: Mutex<()> = Mutex::new(());

/// One version of Barman.
pub(crate) struct Installed {
    python: PathBuf,
    /// Where it is; `bin/barman` is the program.
    pub(crate) folder: PathBuf,
}

impl Installed {
    /// Installs a version where it is not yet.
    pub(crate) fn new(version: &str) -> Self {
        let _one = INSTALL.lock().unwrap_or_else(PoisonError::into_inner);
        let base = std::env::var("PARSER_SCORE_PYTHON");
        let base = base.as_deref().unwrap_or("/usr/bin/python3");
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("parser-score")
            .join(base.replace('/', "_"));
        let venv = root.join("venv");
        let python = venv.join("bin/python");
        let ready = venv.join("ready");
        if !ready.exists() {
            succeed(
                Command::new(base)
                    .args(["-m", "venv", "--clear"])
                    .arg(&venv),
                "make a virtual environment (Debian: install python3-venv)",
            );
            pip(&python, &IMPORTS, "install what Barman imports");
            std::fs::write(&ready, "").unwrap();
        }
        let folder = root.join(version);
        if !folder.exists() {
            let partial = root.join(format!("{version}.partial"));
            drop(std::fs::remove_dir_all(&partial));
            let target = partial.to_str().unwrap();
            let package = format!("barman=={version}");
            pip(
                &python,
                &["--no-deps", "--target", target, &package],
                &format!("install Barman {version}"),
            );
            std::fs::rename(&partial, &folder).unwrap();
        }
        Self { python, folder }
    }

    /// Asks the version's argparse objects, and its `main` for the help at these widths.
    pub(crate) fn introspect(&self, widths: &[String]) -> Truth {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/introspect.py");
        let output = succeed(self.command(script).args(widths), "introspect Barman");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a script with the version's own modules, and returns what it prints.
    pub(crate) fn ask(&self, script: &str, input: &[u8]) -> Vec<u8> {
        let mut command = self.command(script);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", output.status);
        output.stdout
    }

    /// What the program itself prints at a width: `--version`, and the help of each command that
    /// the truth has, on all cores. As it starts a few hundred processes, it is done once for each
    /// Python and then kept.
    pub(crate) fn printed(&self, width: &str, truth: &Truth) -> HashMap<String, String> {
        let kept = self
            .folder
            .join(format!("printed-{width}-python{}.json", truth.python));
        if let Ok(text) = std::fs::read(&kept) {
            return serde_json::from_slice(&text).unwrap();
        }
        let names: Vec<String> = truth.pages[width].keys().cloned().collect();
        let printed = self.run_help(width, names);
        let partial = kept.with_extension("partial");
        std::fs::write(&partial, serde_json::to_vec(&printed).unwrap()).unwrap();
        std::fs::rename(&partial, &kept).unwrap();
        printed
    }

    fn run_help(&self, width: &str, names: Vec<String>) -> HashMap<String, String> {
        let names = Mutex::new(names);
        let texts = Mutex::new(HashMap::new());
        let work = || {
            loop {
                let Some(name) = names.lock().unwrap().pop() else {
                    return;
                };
                let mut command = self.command(self.folder.join("bin/barman"));
                match name.as_str() {
                    "" => command.arg("--help"),
                    "--version" => command.arg("--version"),
                    name => command.args([name, "--help"]),
                };
                let output = succeed(command.env("COLUMNS", width), "run Barman");
                let text = String::from_utf8(output.stdout).unwrap();
                texts.lock().unwrap().insert(name, text);
            }
        };
        std::thread::scope(|scope| {
            let cores = std::thread::available_parallelism().map_or(2, usize::from);
            for _ in 0..cores {
                scope.spawn(work);
            }
        });
        texts.into_inner().unwrap()
    }

    fn command(&self, script: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(&self.python);
        command
            .arg(script)
            .env_clear()
            .env("PYTHONPATH", &self.folder)
            .env("LC_ALL", "C.UTF-8")
            .env("NO_COLOR", "1")
            .env("PATH", "/usr/bin:/bin");
        command
    }
}

fn pip(python: &Path, arguments: &[&str], what: &str) {
    succeed(
        Command::new(python)
            .args(["-m", "pip", "install", "--quiet", "--no-input"])
            .arg("--disable-pip-version-check")
            .args(arguments),
        &format!("{what} from PyPI (is it reachable?)"),
    );
}

fn succeed(command: &mut Command, what: &str) -> Output {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("can't {what}: {error}: {command:?}"));
    assert!(
        output.status.success(),
        "can't {what}: {}: {command:?}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
