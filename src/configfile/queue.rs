//! Who changes a configuration next, within this process.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::ConfigTask;

/// Changes one after the other, in the order in which they came.
///
/// The lock of the journal keeps two processes apart, but it is taken by whoever is quick, and who
/// waits for it holds a thread: among many a caller would wait for minutes, and all others for a
/// thread.
#[derive(Debug, Default)]
pub(super) struct Queue(Arc<Mutex<()>>);

impl Queue {
    /// Waits for the turn of a task that changes something; no other waits.
    pub(super) async fn next(&self, task: &ConfigTask) -> Option<OwnedMutexGuard<()>> {
        match task {
            ConfigTask::Change | ConfigTask::Rollback => {
                Some(Arc::clone(&self.0).lock_owned().await)
            }
            ConfigTask::Show
            | ConfigTask::Help
            | ConfigTask::Reload
            | ConfigTask::Revisions
            | ConfigTask::Revision(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_come_in_turn_and_questions_do_not_wait() {
        let queue = Arc::new(Queue::default());
        let first = queue.next(&ConfigTask::Change).await;
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        for who in 0..20 {
            let (queue, tell) = (Arc::clone(&queue), tell.clone());
            tokio::spawn(async move {
                let _turn = queue.next(&ConfigTask::Rollback).await;
                tell.send(who).unwrap();
            });
            tokio::task::yield_now().await;
        }
        assert!(queue.next(&ConfigTask::Show).await.is_none());
        assert!(told.try_recv().is_err());
        drop(first);
        for who in 0..20 {
            assert_eq!(told.recv().await, Some(who));
        }
    }
}
