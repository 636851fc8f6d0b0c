//! Jobs on another host: what is noted here so that they are started once, followed to their end
//! whatever breaks in between, and cleaned up there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::atomicfile;
use crate::names::Ticket;
use crate::runner::ssh::{self, JobName, Link, LinkError};
use crate::runner::{Host, Plan, StartError};
use crate::store::record::{Job, JobFolder, RemoteHost};
use crate::store::{Store, StoreError};

/// How long a supervisor tries to clean up on the Barman host; then the service goes on with it.
const CLEANING: Duration = Duration::from_secs(10);

/// How long it waits between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// How long it waits at most before it adopts a job on a host that refuses us.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl From<&RemoteHost> for Link {
    fn from(host: &RemoteHost) -> Self {
        Self {
            remote: host.remote.clone(),
            sockets: host.sockets.clone(),
        }
    }
}

/// How a host is recorded with a job; `None` = this one.
pub(super) fn record(host: &Host) -> Option<RemoteHost> {
    match host {
        Host::Here => None,
        Host::There(link) => Some(RemoteHost {
            remote: link.remote.clone(),
            sockets: link.sockets.clone(),
        }),
    }
}

/// Where a job runs.
pub(super) fn host(job: &Job) -> Host {
    job.remote
        .as_ref()
        .map_or(Host::Here, |host| Host::There(host.into()))
}

/// Starts a job there or, when its start may have been sent before, goes on with it. `None` when
/// it was not started then and never will be.
///
/// # Errors
/// When it could not be started; nothing runs there then.
pub(super) fn begin(
    store: &Store,
    host: &RemoteHost,
    folder: &JobFolder,
    plan: &Plan,
) -> Result<Option<ssh::Run>, StartError> {
    let unrecorded = |error: StoreError| StartError::Record(io::Error::other(error));
    let ticket = folder.ticket();
    let name = name(store, ticket).map_err(unrecorded)?;
    if let Some(known) = store.abroad(ticket).map_err(unrecorded)? {
        return adopt(&(&known).into(), &name, folder, plan);
    }
    store.note_abroad(ticket, host).map_err(unrecorded)?;
    ssh::Run::start_job(&host.into(), plan, &name).map(Some)
}

/// Goes on with a job, as soon as there is a way to its host: until then nothing can be said.
fn adopt(
    link: &Link,
    name: &JobName,
    folder: &JobFolder,
    plan: &Plan,
) -> Result<Option<ssh::Run>, StartError> {
    let mut pause = PAUSE;
    loop {
        match ssh::Run::adopt(link, plan, name) {
            Err(StartError::Link(error)) => {
                // What can't be shown for lack of room is shown later.
                drop(put(&folder.unreachable(), true));
                std::thread::sleep(pause);
                pause = if error.needs_somebody() {
                    (pause * 2).min(LONGEST_PAUSE)
                } else {
                    PAUSE
                };
            }
            adopted => return adopted,
        }
    }
}

/// Shows in the job's folder what is known of a run on another host.
#[derive(Debug)]
pub(super) struct Signs {
    started: bool,
    unreachable: bool,
    orphaned: bool,
}

impl Signs {
    /// What an earlier supervisor may have left.
    pub(super) fn of(folder: &JobFolder) -> Self {
        Self {
            started: folder.process().exists(),
            unreachable: folder.unreachable().exists(),
            orphaned: folder.orphaned().exists(),
        }
    }

    /// Shows the present state. What can't be shown for lack of room is shown later.
    pub(super) fn show(&mut self, folder: &JobFolder, run: &ssh::Run) {
        if !self.started && run.started_at().is_some() {
            self.started = put(&folder.process(), true).is_ok();
        }
        let now = !run.is_reachable();
        if now != self.unreachable && put(&folder.unreachable(), now).is_ok() {
            self.unreachable = now;
        }
        let now = run.is_orphaned();
        if now != self.orphaned && put(&folder.orphaned(), now).is_ok() {
            self.orphaned = now;
        }
    }
}

/// Makes a file be there, or not.
fn put(path: &Path, there: bool) -> io::Result<()> {
    if there {
        match atomicfile::create(path, b"{}", 0o600) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            done => done,
        }
    } else {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

/// Removes what an ended job left on its host; what can't be reached now is left to the service.
pub(super) fn clean_up(store: &Store, ticket: &Ticket) {
    let since = Instant::now();
    while remove(store, ticket).is_err() && since.elapsed() < CLEANING {
        std::thread::sleep(PAUSE);
    }
}

/// Why something is left on another host.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The host can't be asked to.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The store can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn remove(store: &Store, ticket: &Ticket) -> Result<(), RemoveError> {
    if let Some(host) = store.abroad(ticket)? {
        ssh::remove_job(&(&host).into(), &name(store, ticket)?)?;
        store.forget_abroad(ticket)?;
    }
    Ok(())
}

/// What is in the way of cleaning up on a host, in words, of each host once.
pub type Troubles = BTreeMap<String, String>;

/// Removes what ended jobs have left on other hosts, as far as that can be done now, and returns
/// what is in the way; the rest is tried again the next time.
///
/// # Errors
/// When it can't be told what is left.
pub fn clean_up_all(store: &Store) -> Result<Troubles, StoreError> {
    let mut troubles = Troubles::new();
    let left = store.all_abroad()?;
    if left.is_empty() {
        return Ok(troubles);
    }
    let open = store.open_tickets()?;
    let mut away = Vec::new();
    for ticket in left.iter().filter(|ticket| !open.contains(ticket)) {
        if let Err((place, error)) = clean_up_once(store, ticket, &mut away) {
            troubles.entry(place).or_insert(error.to_string());
        }
    }
    Ok(troubles)
}

/// Cleans up after one job, unless its host is `away`; an error comes with what it is about.
fn clean_up_once(
    store: &Store,
    ticket: &Ticket,
    away: &mut Vec<RemoteHost>,
) -> Result<(), (String, RemoveError)> {
    let of_job = |error: StoreError| (ticket.to_string(), error.into());
    // Its supervisor may be doing that right now.
    if store.job(ticket).is_supervised().map_err(of_job)? {
        return Ok(());
    }
    let host = store.abroad(ticket).map_err(of_job)?;
    let Some(host) = host.filter(|host| !away.contains(host)) else {
        return Ok(());
    };
    remove(store, ticket).map_err(|error| {
        let place = format!("{}@{}", host.remote.user, host.remote.host);
        // What is wrong with one job says nothing about the others there.
        if matches!(&error, RemoveError::Link(error) if !matches!(error, LinkError::Io(_))) {
            away.push(host);
        }
        (place, error)
    })
}

fn name(store: &Store, ticket: &Ticket) -> Result<JobName, StoreError> {
    Ok(JobName {
        store: store.id()?,
        ticket: ticket.clone(),
    })
}
