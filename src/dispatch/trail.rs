//! What the audit log says of a request.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::outcome::{Outcome, RefusalKind};
use super::{CallContext, Dispatch, Refusal};
use crate::audit::{Audit, Entry};
use crate::auth::Caller;
use crate::fresh::{Collecting, Fresh};
use crate::names::Scope;
use crate::{blocking, clock};

/// An event of a caller's request.
#[must_use]
pub fn entry(event: &'static str, caller: &Caller, context: &CallContext) -> Entry {
    let mut entry = Entry::new(clock::now(), event);
    entry.user = Some(caller.user.to_string());
    entry.auth = Some(caller.kind.word().to_owned());
    entry.from = caller.from.map(|from| from.to_string());
    entry.method = Some(if context.method_is_get { "GET" } else { "POST" }.to_owned());
    entry.route = Some(context.route.to_owned());
    entry.request_id = Some(context.request_id.clone());
    entry
}

/// The servers of a scope, as the log names them.
pub(super) fn servers(scope: &Scope) -> Vec<String> {
    match scope {
        Scope::Global => Vec::new(),
        Scope::All => vec!["all".to_owned()],
        Scope::Servers(servers) => servers.iter().map(ToString::to_string).collect(),
    }
}

/// Lines about what is done already. Who brings one while others are being written waits for the
/// next writing, together with all who do: a lock and a file are opened once for all of them.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    audit: Arc<Audit>,
    brought: Arc<Mutex<Vec<Entry>>>,
    writing: Fresh<(), Result<(), Arc<io::Error>>>,
}

impl Notes {
    /// Lines for this log.
    pub(super) fn new(audit: Arc<Audit>) -> Self {
        Self {
            audit,
            brought: Arc::default(),
            writing: Fresh::new(Collecting::Never),
        }
    }

    async fn write(&self, entry: Entry) -> Result<(), Arc<io::Error>> {
        self.brought
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
        // In a task of its own: whoever brought the line may go away, and the line is written.
        let notes = self.clone();
        let written = tokio::spawn(async move { notes.write_together().await });
        let given_up = |error| Arc::new(io::Error::other(error));
        written.await.map_err(given_up)?
    }

    /// Writes what has been brought, unless somebody else who comes later does.
    async fn write_together(&self) -> Result<(), Arc<io::Error>> {
        let write = || {
            let (audit, brought) = (Arc::clone(&self.audit), Arc::clone(&self.brought));
            async move {
                let written = blocking::run(move || {
                    let mut brought = brought.lock().unwrap_or_else(PoisonError::into_inner);
                    let entries = std::mem::take(&mut *brought);
                    drop(brought);
                    audit.note(&entries)
                });
                written.await.flatten().map_err(Arc::new)
            }
        };
        let written = self.writing.get(&(), write).await;
        written.map_err(|error| Arc::new(io::Error::other(error)))?
    }
}

impl Dispatch {
    /// Writes a line that must be on disk before what it tells of is done.
    pub(super) async fn record(&self, entry: Entry) -> Result<(), Refusal> {
        let audit = Arc::clone(&self.audit);
        let recorded = blocking::run(move || audit.record(&entry)).await;
        recorded.and_then(|recorded| recorded).map_err(|error| {
            let full = matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            );
            let kind = if full {
                RefusalKind::StoreFull
            } else {
                RefusalKind::Unavailable
            };
            let words = "audit.log takes no line, so nothing that changes state is done";
            Refusal::caused(kind, words, error)
        })
    }

    /// Writes that what was asked for was not done, where it was not.
    pub async fn note_refusal(&self, mut entry: Entry, refusal: Option<&Refusal>) {
        if let Some(refusal) = refusal {
            entry.event = "refused";
            entry.status = Some(Outcome::Refused(refusal.kind).row().http);
            self.note(entry).await;
        }
    }

    /// Writes a line about what is done already.
    pub async fn note(&self, entry: Entry) {
        if let Err(error) = self.notes.write(entry).await {
            tracing::error!(%error, "audit.log takes no line");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn a_line_is_written_though_nobody_waits_for_it_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::new(Arc::new(Audit::open(dir.path(), 0).unwrap()));
        let held = File::create(dir.path().join("audit.lock")).unwrap();
        held.lock().unwrap();
        let until = Instant::now() + Duration::from_secs(4);
        let first = notes.write(Entry::new(clock::now(), "first"));
        let mut first = std::pin::pin!(first);
        let begun = tokio::time::timeout(Duration::ZERO, &mut first).await;
        assert!(begun.is_err());
        // It is being written as soon as it is no longer among what was brought.
        while !notes.brought.lock().unwrap().is_empty() {
            assert!(
                Instant::now() < until,
                "the first line is not being written"
            );
            tokio::task::yield_now().await;
        }
        let second = notes.write(Entry::new(clock::now(), "second"));
        let gone = tokio::time::timeout(Duration::ZERO, second).await;
        assert!(gone.is_err());
        drop(held);
        first.await.unwrap();
        let log = dir.path().join("audit.log");
        while !fs::read_to_string(&log).unwrap().contains("second") {
            assert!(Instant::now() < until, "the second line is lost");
            tokio::task::yield_now().await;
        }
    }
}
