//! What is sent to the Barman host: one command for every login shell, a program text, and a request.
//!
//! Nothing that a caller chooses is ever read by a shell: it follows on standard input, with its length.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::LinkError;
use crate::runner::Plan;

/// The command. `sh`, `bash`, `fish` and `tcsh` read it alike: within the single quotes stands no
/// single quote, exclamation mark, backslash or line end.
///
/// It reads a line with the path of Barman's program. Of a script of Python it takes the
/// interpreter, which is there for certain, and otherwise the first Python it finds, or the one that
/// a job was started with; that reads a program text of the length it is told and runs it. `-S -E -s` keep start-up files and variables
/// away, which also makes it quick.
pub(super) const COMMAND: &str = concat!(
    "exec /bin/sh -c '",
    r##"IFS= read -r p; i=; if [ -f "$p" ] && [ -r "$p" ]; then IFS= read -r i <"$p"; fi 2>/dev/null; "##,
    r##"case $i in "#"?*python*) set -f; set -- ${i#??}; case $1 in */env) i=$2;; *) i=$1;; esac;; *) i=;; esac; "##,
    r##"z=; if [ -r "$HOME/.barmanapi/python" ]; then IFS= read -r z <"$HOME/.barmanapi/python"; fi; "##,
    r##"for y in "$i" python3 python "$z"; do if [ -n "$y" ] && command -v "$y" >/dev/null 2>&1; then exec "$y" -S -E -s -c "##,
    r##""import os;r=lambda n,b:b if len(b)>=n else r(n,b+os.read(0,n-len(b)));exec(r(int(r(10,os.read(0,0))),os.read(0,0)))"; "##,
    r##"fi; done; echo barmanapi: "no" python"##,
    "'"
);

/// The last line that the command prints when it finds no Python. The command itself does not hold
/// it: something that tells us what it was asked to run is no such word.
pub(super) const NO_PYTHON: &str = "barmanapi: no python";

/// The program text for every request.
const BASE: &str = include_str!("../../../share/remote.py");

/// What detached jobs need besides, and this first.
const DISK: &str = include_str!("../../../share/remote_disk.py");

/// What detached jobs need besides.
const JOBS: &str = include_str!("../../../share/remote_jobs.py");

/// What reading files needs besides.
const FILES: &str = include_str!("../../../share/remote_files.py");

/// What replacing them needs besides.
const CHANGES: &str = include_str!("../../../share/remote_changes.py");

/// What trying them out needs besides.
const TRIALS: &str = include_str!("../../../share/remote_trials.py");

/// What the warm parent needs besides.
const WARM: &str = include_str!("../../../share/remote_warm.py");

/// What is wanted there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// Facts about Barman's program.
    Look,
    /// Where a path leads.
    Resolve(&'a Path),
    /// A command that ends together with the link.
    Run(&'a Plan),
    /// A process that becomes the warm parent for a program.
    Warm(&'a Plan),
    /// A detached job, started if it was not yet; read on from these offsets.
    Job(&'a str, [u64; 2], &'a Plan),
    /// A detached job that was started.
    Follow(&'a str, [u64; 2]),
    /// A detached job; if it was not started yet it never will be.
    Adopt(&'a str, [u64; 2]),
    /// The folder of a job gone.
    Remove(&'a str),
    /// Something about files: a verb and its fields.
    Files(&'a [&'a [u8]]),
}

impl Wanted<'_> {
    /// Whether it belongs to a job, which may hold its connection for days.
    pub(super) fn is_long(self) -> bool {
        matches!(
            self,
            Self::Warm(_) | Self::Job(..) | Self::Follow(..) | Self::Adopt(..)
        )
    }

    /// Everything that goes to the command's standard input. The answer begins with `word`.
    ///
    /// # Errors
    /// When an argument or a variable holds a NUL byte, which no program can be given.
    pub(super) fn bytes(self, program: &Path, word: &str) -> Result<Vec<u8>, LinkError> {
        let mut fields = Fields(Vec::new());
        fields.add(word.as_bytes());
        let offsets = |fields: &mut Fields, offsets: [u64; 2]| {
            for offset in offsets {
                fields.add(offset.to_string().as_bytes());
            }
        };
        match self {
            Self::Look => {
                fields.add(b"look");
                fields.add(program.as_os_str().as_bytes());
            }
            Self::Resolve(path) => {
                fields.add(b"resolve");
                fields.add(path.as_os_str().as_bytes());
            }
            Self::Run(plan) => {
                fields.add(b"run");
                fields.plan(plan)?;
            }
            Self::Warm(plan) => {
                fields.add(b"warm");
                fields.plan(plan)?;
            }
            Self::Job(name, at, plan) => {
                fields.add(b"job");
                fields.add(name.as_bytes());
                offsets(&mut fields, at);
                fields.plan(plan)?;
            }
            Self::Follow(name, at) => {
                fields.add(b"follow");
                fields.add(name.as_bytes());
                offsets(&mut fields, at);
            }
            Self::Adopt(name, at) => {
                fields.add(b"adopt");
                fields.add(name.as_bytes());
                offsets(&mut fields, at);
            }
            Self::Remove(name) => {
                fields.add(b"remove");
                fields.add(name.as_bytes());
            }
            Self::Files(words) => words.iter().for_each(|word| fields.add(word)),
        }
        let parts: &[&str] = match self {
            Self::Look | Self::Resolve(_) | Self::Run(_) => &[],
            Self::Warm(_) => &[WARM],
            Self::Files([b"replace", ..]) => &[DISK, JOBS, FILES, CHANGES],
            Self::Files([b"try", ..]) => &[DISK, JOBS, FILES, TRIALS],
            Self::Files(_) => &[DISK, JOBS, FILES],
            _ => &[DISK, JOBS],
        };
        // A path with a line end can't be told this way; then Barman's own Python is not found by it.
        let path = program.as_os_str().as_bytes();
        let mut bytes = if path.contains(&b'\n') {
            Vec::new()
        } else {
            path.to_vec()
        };
        bytes.push(b'\n');
        let text = format!("{BASE}{}\nmain()\n", parts.concat());
        bytes.extend_from_slice(format!("{:010}{text}", text.len()).as_bytes());
        bytes.extend_from_slice(&fields.counted());
        Ok(bytes)
    }
}

/// Byte strings, each with its length before it.
struct Fields(Vec<u8>);

/// Byte strings as a request has them.
pub(super) fn counted<'a>(words: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut fields = Fields(Vec::new());
    words.for_each(|word| fields.add(word));
    fields.counted()
}

impl Fields {
    /// With the length of all before them.
    fn counted(&self) -> Vec<u8> {
        let mut bytes = format!("{:010}", self.0.len()).into_bytes();
        bytes.extend_from_slice(&self.0);
        bytes
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0
            .extend_from_slice(format!("{}:", bytes.len()).as_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn plan(&mut self, plan: &Plan) -> Result<(), LinkError> {
        let words = [plan.program.as_os_str()]
            .into_iter()
            .chain(plan.arguments.iter().map(OsStr::new));
        let pairs = plan
            .environment
            .iter()
            .flat_map(|(key, value)| [key.as_os_str(), value.as_os_str()]);
        if words
            .clone()
            .chain(pairs.clone())
            .any(|word| word.as_bytes().contains(&0))
        {
            return Err(LinkError::Io(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "an argument holds a NUL byte",
            )));
        }
        for (index, word) in words.enumerate() {
            self.add(word.as_bytes());
            if index == 0 {
                self.add(plan.arguments.len().to_string().as_bytes());
            }
        }
        for word in pairs {
            self.add(word.as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_holds_nothing_that_a_shell_reads_in_its_own_way() {
        let inside = COMMAND
            .strip_prefix("exec /bin/sh -c '")
            .and_then(|rest| rest.strip_suffix('\''))
            .unwrap();
        assert!(!inside.contains(['\'', '!', '\\', '\n']), "{inside}");
        assert!(!inside.contains(NO_PYTHON), "{inside}");
    }

    #[test]
    fn the_program_text_is_ascii() {
        // An old Python reads nothing else without being told.
        assert!(
            [BASE, DISK, JOBS, FILES, CHANGES, TRIALS, WARM]
                .concat()
                .is_ascii()
        );
    }
}
