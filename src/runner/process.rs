//! A process by an identity that is not used twice.
//!
//! A process number alone can come back for another process. Together with the time of its start
//! and the boot it belongs to, it names one process for ever.

use std::fs;
use std::io;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// One process of one boot of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process number, which is also the number of its group and session.
    pub pid: i32,
    /// The start of the process in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start: u64,
    /// The boot (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
}

impl Identity {
    /// The identity of the process that asks.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn own() -> io::Result<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let start = start_of(pid)?.map(|(_, start)| start).unwrap_or_default();
        Ok(Self {
            pid,
            start,
            boot: boot()?,
        })
    }

    /// The identity of another process; `None` when there is none of this number.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn of(pid: i32) -> io::Result<Option<Self>> {
        let Some((_, start)) = start_of(pid)? else {
            return Ok(None);
        };
        let boot = boot()?;
        Ok(Some(Self { pid, start, boot }))
    }

    /// Whether the process still runs. A zombie does not.
    ///
    /// # Errors
    /// When `/proc` can't be read: nothing is known then.
    pub fn is_alive(&self) -> io::Result<bool> {
        if self.is_of_another_boot()? {
            return Ok(false);
        }
        Ok(matches!(start_of(self.pid)?, Some((state, start))
            if start == self.start && state != 'Z' && state != 'X'))
    }

    /// Whether the process belongs to an earlier boot of the host.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn is_of_another_boot(&self) -> io::Result<bool> {
        Ok(boot()? != self.boot)
    }

    /// Sends a signal to the group of the process, when the process still runs.
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        if self.is_alive()? {
            signal_group(self.pid, signal)
        } else {
            Ok(())
        }
    }
}

/// Sends a signal to a process group; a group that is gone is no error.
pub(super) fn signal_group(pid: i32, signal: Signal) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(pid) else {
        return Ok(());
    };
    match rustix::process::kill_process_group(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The identity of this boot of the host.
///
/// # Errors
/// When `/proc` can't be read.
pub fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// State and start of a process; `None` when there is no such process.
fn start_of(pid: i32) -> io::Result<Option<(char, u64)>> {
    let text = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(3) => return Ok(None),
        Err(error) => return Err(error),
    };
    // The second field is the program's name in parentheses and may hold anything.
    let after_name = text
        .rsplit_once(')')
        .map(|(_, rest)| rest)
        .unwrap_or_default();
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next().and_then(|word| word.chars().next());
    let start = fields.nth(18).and_then(|word| word.parse().ok());
    state
        .zip(start)
        .map(Some)
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is odd")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_is_alive_and_another_start_or_boot_is_not_it() {
        let own = Identity::own().unwrap();
        assert!(own.is_alive().unwrap());
        assert!(
            !Identity {
                start: own.start + 1,
                ..own.clone()
            }
            .is_alive()
            .unwrap()
        );
        let earlier = Identity {
            boot: "another".to_owned(),
            ..own
        };
        assert!(!earlier.is_alive().unwrap());
        assert!(earlier.is_of_another_boot().unwrap());
    }

    #[test]
    fn a_zombie_does_not_run() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let (_, start) = start_of(pid).unwrap().unwrap();
        let identity = Identity {
            pid,
            start,
            boot: boot().unwrap(),
        };
        assert!(identity.is_alive().unwrap());
        child.kill().unwrap();
        while matches!(start_of(pid), Ok(Some((state, _))) if state != 'Z') {
            std::thread::yield_now();
        }
        assert!(!identity.is_alive().unwrap());
        child.wait().unwrap();
    }
}
