//! The last steps between our process and Barman's: `barmanapi launch`, not for people.
//!
//! A process can only make itself the leader of a session and set its own umask. So a run is our
//! own program once more, which does these things and then becomes Barman by `execve`. Its standard
//! input is a pipe back to the starter: it carries [`STARTING`] and closes when Barman runs, and
//! carries the reason when it doesn't. Barman itself reads from `/dev/null`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::Mode;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::process::Identity;
use crate::atomicfile;

/// The first argument by which our program knows that it shall launch.
pub const WORD: &str = "launch";

/// What goes to the starter right before the program takes over: an end of the pipe without it is
/// the end of this process, not the beginning of the program.
pub(super) const STARTING: &str = "starting\n";

/// Barman's umask: with a stricter one its new backups would differ from those that cron takes.
const UMASK: u32 = 0o022;

/// The arguments for a launch: where to leave the identity, if anywhere, and the program with its own.
pub(super) fn arguments<'a>(
    record: Option<&'a Path>,
    program: &'a Path,
    arguments: &'a [String],
) -> impl Iterator<Item = &'a OsStr> {
    [
        OsStr::new(WORD),
        record.map_or(OsStr::new(""), Path::as_os_str),
        program.as_os_str(),
    ]
    .into_iter()
    .chain(arguments.iter().map(OsStr::new))
}

/// Becomes the program named by the arguments after [`WORD`]; returns only when that fails, after
/// the reason has gone to the starter.
#[must_use]
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let record = arguments
        .next()
        .filter(|word| !word.is_empty())
        .map(PathBuf::from);
    let Some(program) = arguments.next() else {
        return ExitCode::FAILURE;
    };
    let Ok(mut starter) = take_starter() else {
        return ExitCode::FAILURE;
    };
    let prepared = prepare(record.as_deref()).and_then(|()| starter.write_all(STARTING.as_bytes()));
    let error = match prepared {
        Ok(()) => Command::new(&program)
            .args(arguments)
            .current_dir("/")
            .exec(),
        Err(error) => error,
    };
    // The starter may be gone; there is nobody else to tell.
    drop(starter.write_all(error.to_string().as_bytes()));
    ExitCode::from(127)
}

/// Moves the pipe to the starter away from standard input and opens `/dev/null` there.
fn take_starter() -> io::Result<File> {
    let starter = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(File::from(starter))
}

/// The signals that stop Barman. Who starts us in the background may have had them ignored, and
/// what is ignored stays so in every program that is started; what is caught does not.
const STOPPING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

fn prepare(record: Option<&Path>) -> io::Result<()> {
    rustix::process::setsid()?;
    for signal in STOPPING {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    if let Some(record) = record {
        let identity = serde_json::to_vec(&Identity::own()?)?;
        atomicfile::create(record, &identity, 0o600)?;
    }
    // Descriptors that our own starter left open must not reach Barman or its daemons.
    close_fds::set_fds_cloexec(3, &[]);
    rustix::process::umask(Mode::from_raw_mode(UMASK));
    Ok(())
}
