//! Barman's launcher: which Python it starts, by its first lines.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of the launcher that are read: the kernel takes no longer first line either.
const START: u64 = 4096;

/// Why Barman can't be kept warm.
#[derive(Debug, thiserror::Error)]
pub(super) enum LauncherError {
    /// It can't be read.
    #[error("{program} can't be read: {source}")]
    Read {
        /// The launcher.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is no script, or a script of something else.
    #[error("{program} is not started by Python, as far as its first line tells")]
    NotPython {
        /// The launcher.
        program: String,
    },
}

/// How a launcher of this host begins.
///
/// # Errors
/// When it can't be read.
pub(super) fn start(program: &Path) -> Result<Vec<u8>, LauncherError> {
    let mut start = Vec::new();
    let read = File::open(program).and_then(|file| file.take(START).read_to_end(&mut start));
    read.map_err(|source| LauncherError::Read {
        program: program.display().to_string(),
        source,
    })?;
    Ok(start)
}

/// The program and the words that the kernel starts for a launcher that begins so, the launcher
/// itself left out.
///
/// # Errors
/// When it begins with anything but a Python.
pub(super) fn interpreter(program: &Path, start: &[u8]) -> Result<Vec<OsString>, LauncherError> {
    words(start).ok_or_else(|| LauncherError::NotPython {
        program: program.display().to_string(),
    })
}

fn words(start: &[u8]) -> Option<Vec<OsString>> {
    let mut lines = start.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?.strip_prefix(b"#!")?).ok()?;
    // As the kernel reads it: a program and at most one word, which may hold spaces.
    let first = first.trim_matches([' ', '\t']);
    let (program, word) = match first.split_once([' ', '\t']) {
        Some((program, rest)) => (program, rest.trim_matches([' ', '\t'])),
        None => (first, ""),
    };
    if program == "/bin/sh" && word.is_empty() {
        return through_shell(std::str::from_utf8(lines.next()?).ok()?);
    }
    let is_env = program.ends_with("/env");
    let named = if is_env { word } else { program };
    let options_hold = is_env || word.is_empty() || are_options(word);
    (program.starts_with('/') && is_python(named) && options_hold).then(|| {
        let words = [program, word].into_iter().filter(|word| !word.is_empty());
        words.map(OsString::from).collect()
    })
}

/// What pip writes for a Python whose path is too long for the kernel, or holds a space.
fn through_shell(line: &str) -> Option<Vec<OsString>> {
    let path = line
        .strip_prefix("'''exec' ")?
        .strip_suffix(" \"$0\" \"$@\"")?;
    let path = path
        .strip_prefix('"')
        .and_then(|path| path.strip_suffix('"'))
        .unwrap_or(path);
    let plain = path.starts_with('/') && !path.contains(['"', '\'', '$', '`', '\\']);
    (plain && is_python(path)).then(|| vec![OsString::from(path)])
}

/// Whether a path or word names a Python, such as `/usr/bin/python3.11`.
fn is_python(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let version = name.strip_prefix("python");
    version.is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// Options that say how Python starts, and don't name what it runs.
fn are_options(word: &str) -> bool {
    let letters = word.strip_prefix('-').unwrap_or_default();
    !letters.is_empty() && letters.chars().all(|c| "BEIOPRSsu".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<String>> {
        let words = words(text.as_bytes())?;
        Some(
            words
                .into_iter()
                .map(|word| word.into_string().unwrap())
                .collect(),
        )
    }

    #[test]
    fn the_python_of_a_launcher_is_found_with_its_options() {
        for (text, wanted) in [
            (
                "#!/srv/venv/bin/python3\nimport sys\n",
                "/srv/venv/bin/python3",
            ),
            ("#!/usr/bin/python3.11 -sP\n", "/usr/bin/python3.11 -sP"),
            ("#! /usr/bin/env python3\n", "/usr/bin/env python3"),
            (
                "#!/bin/sh\n'''exec' \"/a b/python3\" \"$0\" \"$@\"\n' '''\n",
                "/a b/python3",
            ),
        ] {
            assert_eq!(read(text).unwrap().join(" "), wanted, "{text}");
        }
    }

    #[test]
    fn a_launcher_that_begins_with_anything_else_is_not_taken_for_python() {
        for text in [
            "",
            "#!/bin/sh\nexec barman \"$@\"\n",
            "#!/bin/sh\n'''exec' \"$(x)/python3\" \"$0\" \"$@\"\n",
            "#!/bin/bash\n",
            "#!python3\n",
            "#!/usr/bin/python3 -c\n",
            "#!/usr/bin/pythonista\n",
            "\u{7f}ELF",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
