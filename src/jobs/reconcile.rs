//! Looking after jobs whose supervisor is gone.
//!
//! Everything here may be done at any time, by any process, again and again.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;

use super::{end, submit};
use crate::clock;
use crate::output::Kept;
use crate::runner::capture::Follower;
use crate::runner::process::Identity;
use crate::store::record::{EndState, JobFolder, JobResult, Reason, read_json};
use crate::store::{Store, StoreError};

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
/// recorded, and records a job as lost when its supervisor and its Barman are both gone.
///
/// # Errors
/// When a step can't be done; the job stays open.
pub fn look_at(store: &Store, folder: &JobFolder) -> Result<(), StoreError> {
    let Some(job) = folder.job()? else {
        return store.remove_unrecorded(folder);
    };
    let Some(lock) = folder.lock()? else {
        return Ok(());
    };
    if folder.result()?.is_some() {
        return end::complete(store, folder, &job);
    }
    if store.abroad(folder.ticket())?.is_some() {
        // On the Barman host it goes on, and its end is kept there for whoever asks.
        return match submit::start_supervisor(store, folder.ticket(), &lock) {
            Ok(_supervisor) => Ok(()),
            Err(source) => Err(StoreError::Record {
                path: folder.path().to_owned(),
                source,
            }),
        };
    }
    let identity: Option<Identity> = read_json(&folder.process())?;
    // What can't be told now is looked at again; an end that is recorded stays for ever.
    let unknown = |source| StoreError::Record {
        path: folder.process(),
        source,
    };
    let mut restarted = false;
    if let Some(identity) = &identity {
        if identity.is_alive().map_err(unknown)? {
            return Ok(());
        }
        restarted = identity.is_of_another_boot().map_err(unknown)?;
    }
    let result = JobResult {
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
        stdout: keep(folder, "stdout", job.output_limit)?,
        stderr: keep(folder, "stderr", job.output_limit)?,
    };
    end::record(store, folder, &job, &result)
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
