//! The connections, shared by all processes on one store.
//!
//! A connection is an ssh in the background that many sessions go through. sshd lets ten of them
//! on one connection; we take eight. A session holds the lock of its place, `m0.0` to `m7.7`, as
//! long as it lives, so all processes together never take more, and what a killed process held is
//! free. A connection that nobody uses ends by itself after half a minute.

use std::fs;
use std::io::{self, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openssh::Session;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::{LinkError, config, folder};
use crate::atomicfile::{self, Lock};
use crate::runner::environment;
use crate::settings::Remote;

/// Connections at most.
const MASTERS: usize = 8;

/// Sessions on one of them at most.
const SESSIONS: usize = 8;

/// Connections that jobs may fill; what is left is for short commands and for cancelling.
const FOR_JOBS: usize = 7;

/// Seconds until an unused connection ends.
const IDLE: u32 = 30;

/// How long a new connection may take beyond what ssh itself allows it.
const SLACK: Duration = Duration::from_secs(5);

/// How long a living connection takes at most to say that it lives.
const ALIVE: Duration = Duration::from_secs(2);

/// How often a taken lock is looked at again.
const TICK: Duration = Duration::from_millis(20);

/// A place on a connection, held until dropped.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    master: usize,
    _lock: Lock,
}

/// The folder of the connections to one host, below the folder of all.
fn home_of(sockets: &Path, remote: &Remote) -> io::Result<PathBuf> {
    let folder = folder::ready(sockets)?;
    let mut name = folder::digest(format!("{remote:?}").as_bytes());
    name.truncate(8);
    let folder = folder.join(name);
    folder::make(&folder)?;
    Ok(folder)
}

/// Takes a lock when it is free. Its file may have been removed in between: then it is another one.
fn try_lock(path: &Path) -> io::Result<Option<Lock>> {
    let Some(lock) = Lock::try_exclusive(path)? else {
        return Ok(None);
    };
    let held = lock.file().metadata()?.ino();
    let there = fs::metadata(path).map(|found| found.ino());
    Ok((there.ok() == Some(held)).then_some(lock))
}

impl Place {
    /// Takes a place, the first that is free; `full` names the connections on which the host has
    /// just refused one; they come last.
    pub(super) async fn take(
        sockets: &Path,
        remote: &Remote,
        is_long: bool,
        full: &mut Vec<usize>,
        until: Instant,
    ) -> Result<Self, LinkError> {
        let masters = if is_long { FOR_JOBS } else { MASTERS };
        loop {
            let folder = home_of(sockets, remote)?;
            for master in (0..masters).filter(|master| !full.contains(master)) {
                for session in 0..SESSIONS {
                    let path = folder.join(format!("m{master}.{session}"));
                    if let Some(lock) = try_lock(&path)? {
                        return Ok(Self {
                            folder,
                            master,
                            _lock: lock,
                        });
                    }
                }
            }
            // What was full may have room by now.
            full.clear();
            if Instant::now() >= until {
                return Err(LinkError::Busy {
                    sessions: masters * SESSIONS,
                });
            }
            sleep(TICK).await;
        }
    }

    /// The number of the connection.
    pub(super) fn master(&self) -> usize {
        self.master
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("m{}{kind}", self.master))
    }

    /// The connection, whether it lives or not.
    pub(super) fn session(&self) -> Arc<Session> {
        let socket = self.file("").into_boxed_path();
        Arc::new(Session::resume_mux(socket, None))
    }

    /// Whether our end of the connection answers.
    pub(super) async fn lives(&self) -> bool {
        matches!(timeout(ALIVE, self.session().check()).await, Ok(Ok(())))
    }

    /// Makes the connection when there is none. Who waited for somebody else's try takes its outcome.
    pub(super) async fn connect(&self, remote: &Remote) -> Result<(), LinkError> {
        let path = self.file(".launch");
        let seen = fs::read(&path).unwrap_or_default();
        let until = Instant::now() + connect_timeout(remote) + SLACK * 2;
        let lock = loop {
            match try_lock(&path)? {
                Some(lock) => break lock,
                None if Instant::now() < until => sleep(TICK).await,
                None => {
                    return Err(LinkError::NoRoute {
                        words: "another process connects and does not come to an end".to_owned(),
                    });
                }
            }
        };
        if self.lives().await {
            return Ok(());
        }
        let told = fs::read(&path).unwrap_or_default();
        if told != seen
            && let Some(end) = told.iter().position(|byte| *byte == b'\n')
        {
            return Err(LinkError::of_ssh(told.get(end + 1..).unwrap_or_default()));
        }
        let outcome = self.launch(remote).await;
        let mut note = lock.file();
        note.set_len(0)?;
        note.rewind()?;
        if let Err(Failed::Log(log)) = &outcome {
            let number = getrandom::u64().map_err(io::Error::other)?;
            note.write_all(format!("{number:x}\n").as_bytes())?;
            note.write_all(log)?;
        }
        outcome.map_err(|failed| match failed {
            Failed::Log(log) => LinkError::of_ssh(&log),
            Failed::Io(error) => LinkError::Io(error),
        })
    }

    async fn launch(&self, remote: &Remote) -> Result<(), Failed> {
        let environment = environment::clean();
        let home = environment
            .iter()
            .find(|(key, _)| key == "HOME")
            .map(|(_, home)| PathBuf::from(home))
            .unwrap_or_default();
        let own = config::own(&home)?;
        let config = self.folder.join("config");
        atomicfile::replace(
            &config,
            config::text(remote, own.as_deref()).as_bytes(),
            0o600,
        )?;
        let (socket, log) = (self.file(""), self.file(".log"));
        remove(&socket)?;
        remove(&log)?;
        let mut command = Command::new("ssh");
        command
            .env_clear()
            .envs(environment)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .arg("-F")
            .arg(&config)
            .arg("-E")
            .arg(&log)
            .arg("-S")
            .arg(&socket)
            .args(["-M", "-f", "-N", "-o"])
            .arg(format!("ControlPersist={IDLE}s"))
            .args(["-l", &remote.user, "--", &remote.host]);
        let mut child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("ssh can't be started: {error}"))
        })?;
        let status = timeout(connect_timeout(remote) + SLACK, child.wait()).await;
        let said = || fs::read(&log).unwrap_or_default();
        match status {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(_)) => {
                let mut said = said();
                drop(remove(&log));
                said.truncate(4096);
                Err(Failed::Log(said))
            }
            Err(_) => {
                drop(child.kill().await);
                Err(Failed::Log(b"ssh: no answer in time".to_vec()))
            }
        }
    }
}

/// Why there is no connection.
enum Failed {
    /// What ssh logged.
    Log(Vec<u8>),
    /// It could not even try.
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// How long ssh may try.
pub(super) fn connect_timeout(remote: &Remote) -> Duration {
    let given = remote
        .options
        .iter()
        .find(|(name, _)| name == "ConnectTimeout")
        .and_then(|(_, value)| value.parse().ok());
    Duration::from_secs(given.unwrap_or(10).min(120))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Ends every connection of every host that nobody uses, and removes what is left of dead ones.
pub(super) fn end_unused(sockets: &Path) -> io::Result<()> {
    let sockets = folder::ready(sockets)?;
    for entry in fs::read_dir(&sockets)?.flatten() {
        let folder = entry.path();
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let mut held = Vec::new();
        for master in 0..MASTERS {
            held.extend(end_when_unused(&folder, master)?);
        }
        if held.len() == MASTERS * (SESSIONS + 1) {
            // All places are ours: nobody looks into the folder but to take one, and sees that it
            // is gone.
            fs::remove_dir_all(&folder)?;
        }
    }
    Ok(())
}

/// Ends a connection without sessions; returns its locks, all of them or none.
fn end_when_unused(folder: &Path, master: usize) -> io::Result<Vec<Lock>> {
    let mut held = Vec::new();
    let places = (0..SESSIONS).map(|session| format!("m{master}.{session}"));
    for name in places.chain([format!("m{master}.launch")]) {
        match try_lock(&folder.join(name))? {
            Some(lock) => held.push(lock),
            None => return Ok(Vec::new()),
        }
    }
    let socket = folder.join(format!("m{master}"));
    if fs::symlink_metadata(&socket).is_ok_and(|found| found.file_type().is_socket()) {
        // A connection that is dead already has nothing to end.
        let mut child = std::process::Command::new("ssh")
            .env_clear()
            .envs(environment::clean())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .args(["-F", "none", "-O", "exit", "-S"])
            .arg(&socket)
            .arg("none")
            .spawn()?;
        let until = Instant::now() + ALIVE;
        while child.try_wait()?.is_none() {
            if Instant::now() >= until {
                // One that is stopped; it ends by itself when it goes on.
                child.kill()?;
            }
            std::thread::sleep(TICK / 4);
        }
        remove(&socket)?;
    }
    Ok(held)
}
