//! Looking after jobs whose supervisor is gone.
//!
//! Everything here may be done at any time, by any process, again and again.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;

use super::{end, submit};
use crate::clock;
use crate::output::Kept;
use crate::runner::GRACE;
use crate::runner::capture::Follower;
use crate::runner::process::Identity;
use crate::store::record::{EndState, Job, JobFolder, JobResult, Reason, read_json};
use crate::store::{Store, StoreError};
use rustix::process::Signal;

/// Bytes kept of each output where nobody knows any more how many were wanted.
const OUTPUT_LIMIT: u64 = 16 << 20;

/// Looks at every open job.
///
/// # Errors
/// When the open jobs can't be listed. What is wrong with a single job is logged.
pub fn look_at_all(store: &Store) -> Result<(), StoreError> {
    for ticket in store.open_tickets()? {
        if let Err(error) = look_at(store, &store.job(&ticket)) {
            tracing::warn!(%error, %ticket, "a job can't be looked after");
        }
    }
    Ok(())
}

/// Looks at one open job: completes an end that a crash has cut short, removes what was never
/// recorded, records a job as lost when its supervisor and its Barman are both gone, and brings the
/// stop to its end that somebody asked for before the supervisor died.
///
/// # Errors
/// When a step can't be done; the job stays open.
pub fn look_at(store: &Store, folder: &JobFolder) -> Result<(), StoreError> {
    let job = match folder.job() {
        Ok(Some(job)) => Some(job),
        Ok(None) => return store.remove_unrecorded(folder),
        Err(error) if error.is_damaged() => None,
        Err(error) => return Err(error),
    };
    let _one_at_a_time = store.lock_looking_after()?;
    // A lock that is free stays free: it only ever goes from whoever accepts, or from here, to a
    // supervisor.
    if folder.is_supervised()? {
        return Ok(());
    }
    let ended = match folder.result() {
        Ok(result) => result.is_some(),
        Err(error) if error.is_damaged() => true,
        Err(error) => return Err(error),
    };
    match job {
        Some(job) if ended => end::complete(store, folder, &job),
        None if ended => store.close_recorded(folder, |_| {}),
        _ if store.abroad(folder.ticket())?.is_some() => go_on(store, folder),
        _ => record_lost(store, folder, job.as_ref()),
    }
}

/// Gives a job another supervisor: on the Barman host it goes on, and its end is kept there for
/// whoever asks.
fn go_on(store: &Store, folder: &JobFolder) -> Result<(), StoreError> {
    // Whoever asks just now whether somebody holds it shares it for a moment; then the next look
    // does it.
    let Some(lock) = folder.try_lock()? else {
        return Ok(());
    };
    match submit::start_supervisor(store, folder.ticket(), &lock) {
        Ok(_supervisor) => Ok(()),
        Err(source) => Err(StoreError::Record {
            path: folder.path().to_owned(),
            source,
        }),
    }
}

fn record_lost(store: &Store, folder: &JobFolder, job: Option<&Job>) -> Result<(), StoreError> {
    let Some(lost) = lost(folder)? else {
        return kill_cancelled(folder);
    };
    let limit = job.map_or(OUTPUT_LIMIT, |job| job.output_limit);
    let lost = JobResult {
        stdout: keep(folder, "stdout", limit)?,
        stderr: keep(folder, "stderr", limit)?,
        ..lost
    };
    if let Some(job) = job {
        return end::record(store, folder, job, &lost);
    }
    tracing::error!(ticket = %folder.ticket(), "the record of a job is damaged; it is lost");
    let damaged = JobResult {
        reason: Some(Reason::RecordDamaged),
        detail: Some("the record of what was accepted is damaged".to_owned()),
        ..lost
    };
    end::record_damaged(store, folder, &damaged)
}

/// The end of a job whose supervisor is gone, as far as it is known; `None` while Barman runs.
///
/// # Errors
/// When it can't be told: what is looked at again must not be recorded, an end stays for ever.
pub(super) fn lost(folder: &JobFolder) -> Result<Option<JobResult>, StoreError> {
    let identity: Option<Identity> = read_json(&folder.process())?;
    let unknown = |source| StoreError::Record {
        path: folder.process(),
        source,
    };
    let mut restarted = false;
    if let Some(identity) = &identity {
        if identity.is_alive().map_err(unknown)? {
            return Ok(None);
        }
        restarted = identity.is_of_another_boot().map_err(unknown)?;
    }
    Ok(Some(JobResult {
        state: EndState::Lost,
        exit_code: None,
        signal: None,
        reason: Some(if restarted {
            Reason::HostRestarted
        } else {
            Reason::SupervisorDied
        }),
        detail: identity
            .is_none()
            .then(|| "Barman had not been started".to_owned()),
        started_at: folder.started_at(),
        ended_at: clock::text(clock::now()),
        duration_ms: None,
        stdout: Kept::default(),
        stderr: Kept::default(),
    }))
}

/// Kills a Barman without a supervisor that had its time to end after somebody asked for it.
fn kill_cancelled(folder: &JobFolder) -> Result<(), StoreError> {
    if folder.cancelled_for().is_none_or(|since| since < GRACE) {
        return Ok(());
    }
    let Some(identity) = read_json::<Identity>(&folder.process())? else {
        return Ok(());
    };
    identity
        .signal_group(Signal::KILL)
        .map_err(|source| StoreError::Record {
            path: folder.process(),
            source,
        })
}

/// Keeps an output anew from its capture file; when there is none, what was kept stays.
fn keep(folder: &JobFolder, output: &str, limit: u64) -> Result<Kept, StoreError> {
    let capture = folder.capture(output);
    if !capture.exists() {
        return Ok(Kept::default());
    }
    let path = folder.file(output);
    let failed = |source| StoreError::Record {
        path: path.clone(),
        source,
    };
    let out = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    let follower = Follower::open(&capture, out.map_err(failed)?, limit).map_err(failed)?;
    let (out, kept) = follower.finish().map_err(failed)?;
    out.sync_all().map_err(failed)?;
    Ok(kept)
}
