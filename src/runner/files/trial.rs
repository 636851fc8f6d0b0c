//! A trial on this host.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::error::At;
use super::folder::{Folder, put};
use super::pipes::{Source, listen};
use super::{Command, FilesError, Outcome, SAID, Trial, Tried, local};
use crate::runner::Ending;
use crate::runner::process::signal_group;

/// Time between SIGINT and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

pub(super) fn try_out(
    trial: &Trial,
    environment: &[(OsString, OsString)],
) -> Result<Outcome, FilesError> {
    let folder = Folder::make()?;
    let path = folder.path();
    for (name, bytes) in &trial.files {
        put(path, name, &filled(bytes, &trial.placeholder, path))?;
    }
    let until = Instant::now() + trial.limit;
    let mut tried = Vec::new();
    for command in &trial.commands {
        if Instant::now() > until {
            break;
        }
        let words = command.arguments.iter().map(|argument| {
            OsString::from_vec(filled(argument.as_bytes(), &trial.placeholder, path))
        });
        let mut child =
            start(command, words, environment, path).map_err(|error| FilesError::NotStarted {
                program: command.program.clone(),
                reason: error.to_string(),
            })?;
        tried.push(finish(&mut child, until).at(&command.program)?);
    }
    let file = match &trial.read_back {
        Some(name) => left(&path.join(name)).at(name)?,
        None => None,
    };
    Ok(Outcome { tried, file })
}

/// The same with the folder's path in the place of the placeholder.
fn filled(bytes: &[u8], placeholder: &str, folder: &Path) -> Vec<u8> {
    let wanted = placeholder.as_bytes();
    let mut found = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(wanted) {
            Some(behind) if !wanted.is_empty() => {
                found.extend_from_slice(folder.as_os_str().as_bytes());
                rest = behind;
            }
            _ => {
                found.push(*first);
                rest = after;
            }
        }
    }
    found
}

fn start(
    command: &Command,
    arguments: impl Iterator<Item = impl AsRef<OsStr>>,
    environment: &[(OsString, OsString)],
    folder: &Path,
) -> io::Result<Child> {
    std::process::Command::new(&command.program)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .current_dir(folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Waits for a process, and stops it when the time is over. Nothing of its group is left.
fn finish(child: &mut Child, until: Instant) -> io::Result<Tried> {
    let group = Pid::from_child(child).as_raw_nonzero().get();
    let watched = watch(child, until);
    // Not reaped yet, so the number is still the group's.
    signal_group(group, Signal::KILL)?;
    let status = child.wait()?;
    let (stopped, cut, stdout, stderr) = watched?;
    Ok(Tried {
        ending: match (status.code(), status.signal()) {
            (Some(code), _) => Ending::Exited(code),
            (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
        },
        stopped,
        cut,
        stdout,
        stderr,
    })
}

/// Whether it was stopped, whether there was more than is kept, and what is.
type Watched = (bool, bool, Vec<u8>, Vec<u8>);

fn watch(child: &mut Child, until: Instant) -> io::Result<Watched> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("a process without pipes"));
    };
    let (mut out, mut err) = (Source::new(out)?, Source::new(err)?);
    let mut stopped = false;
    let mut next = until;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if listen(&pidfd, &mut out, &mut err, left)? {
            break;
        }
        if Instant::now() < next {
            continue;
        }
        let signal = if stopped { Signal::KILL } else { Signal::INT };
        signal_group(pid.as_raw_nonzero().get(), signal)?;
        stopped = true;
        next = Instant::now() + GRACE;
    }
    out.drain()?;
    err.drain()?;
    Ok((stopped, out.cut || err.cut, out.kept, err.kept))
}

/// The beginning of what a command left in a file.
fn left(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if !fs::symlink_metadata(path).is_ok_and(|facts| facts.is_file()) {
        return Ok(None);
    }
    let file = local::without_waiting().read(true).open(path)?;
    let mut bytes = Vec::new();
    file.take(SAID as u64).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholder_becomes_the_path_wherever_it_stands() {
        let folder = Path::new("/a/b");
        for (text, wanted) in [
            ("@X@", "/a/b"),
            ("@@X@X@ @X", "@/a/bX@ @X"),
            ("", ""),
            ("@X@@X@\n", "/a/b/a/b\n"),
        ] {
            assert_eq!(filled(text.as_bytes(), "@X@", folder), wanted.as_bytes());
            assert_eq!(filled(text.as_bytes(), "", folder), text.as_bytes());
        }
    }
}
