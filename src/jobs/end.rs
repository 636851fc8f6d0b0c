//! The end of a job: its record, a line in the audit log, and what follows from both.

use crate::audit::{Audit, Entry};
use crate::clock;
use crate::names::Ticket;
use crate::store::record::{Job, JobFolder, JobResult};
use crate::store::{Store, StoreError};

/// Records the end of a job whose folder the caller has locked. It may be called again until it
/// succeeds.
///
/// # Errors
/// When a step can't be done; the job stays among the open ones.
pub(super) fn record(
    store: &Store,
    folder: &JobFolder,
    job: &Job,
    result: &JobResult,
) -> Result<(), StoreError> {
    store.close(folder, result, |result| note(store, job, result))
}

/// Completes an end that is recorded and that a crash has cut short.
///
/// # Errors
/// As for [`record`].
pub(super) fn complete(store: &Store, folder: &JobFolder, job: &Job) -> Result<(), StoreError> {
    store.close_recorded(folder, |result| note(store, job, result))
}

/// Records the end of a job of which nobody knows any more what it was.
///
/// # Errors
/// As for [`record`].
pub(super) fn record_damaged(
    store: &Store,
    folder: &JobFolder,
    result: &JobResult,
) -> Result<(), StoreError> {
    store.close(folder, result, |result| {
        let mut entry = Entry::new(clock::now(), "ended");
        entry.ticket = Some(folder.ticket().to_string());
        write(store, entry, folder.ticket(), result);
    })
}

/// Tells the audit log of the end. What it misses stands in the job's own record.
fn note(store: &Store, job: &Job, result: &JobResult) {
    let mut entry = Entry::new(clock::now(), "ended");
    entry.user = Some(job.user.to_string());
    entry.command = Some(job.command.to_string());
    entry.ticket = Some(job.ticket.to_string());
    entry.request_id = Some(job.request_id.clone());
    write(store, entry, &job.ticket, result);
}

fn write(store: &Store, mut entry: Entry, ticket: &Ticket, result: &JobResult) {
    entry.outcome = serde_json::to_value(result.state)
        .ok()
        .and_then(|state| state.as_str().map(str::to_owned));
    entry.exit_code = result.exit_code;
    entry.duration_ms = result.duration_ms;
    let recorded = Audit::open(&store.logs(), 0).and_then(|audit| audit.record(&entry));
    if let Err(error) = recorded {
        // The job must not stay open for it.
        tracing::error!(%error, %ticket, "audit.log takes no line");
    }
}
