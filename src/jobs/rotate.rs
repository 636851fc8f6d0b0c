//! Closed months: moving their ended jobs into archives, and removing archives that are too old.
//!
//! A month is what a ticket says, in UTC. The current one is left alone, and so are later ones, as
//! a clock that was set back leaves them.

use std::collections::HashSet;

use super::Jobs;
use crate::clock;
use crate::names::Month;
use crate::store::{Store, StoreError};

/// Whether a month is older than the number of closed months that are kept; 0 keeps all.
pub(super) fn is_expired(month: &Month, keep_months: u32) -> bool {
    keep_months > 0 && month.months_before(&Month::of(clock::now())) > keep_months
}

/// Looks after closed months, pass by pass.
#[derive(Debug)]
pub struct Rotation {
    store: Store,
    keep_months: u32,
    /// What was said in the log, so that it is said once.
    told: HashSet<String>,
}

impl Rotation {
    /// A rotation of a store's months.
    #[must_use]
    pub fn new(jobs: &Jobs) -> Self {
        Self {
            store: jobs.store().clone(),
            keep_months: jobs.limits().keep_months,
            told: HashSet::new(),
        }
    }

    /// Moves what has ended in closed months and removes archives that are too old, unless another
    /// process is at it. What can't be done is said once and tried again in the next pass.
    pub fn pass(&mut self) {
        let mut told = HashSet::new();
        let _only_we = match self.store.lock_rotation() {
            Ok(Some(lock)) => lock,
            Ok(None) => return,
            Err(error) => {
                self.tell("rotation", &error, &mut told);
                self.told = told;
                return;
            }
        };
        let current = Month::of(clock::now());
        match self.store.active_months() {
            Ok(months) => {
                for month in months.iter().filter(|month| **month < current) {
                    self.rotate(month, &mut told);
                }
            }
            Err(error) => self.tell("active", &error, &mut told),
        }
        self.remove_expired(&mut told);
        // What is over may be said again when it comes back.
        self.told = told;
    }

    fn rotate(&self, month: &Month, told: &mut HashSet<String>) {
        let mut moved = 0;
        loop {
            match self.store.rotate_some(month) {
                Ok(rotated) => {
                    moved += rotated.moved;
                    if rotated.disputed > 0 {
                        let words = format!(
                            "{} jobs are in the archive with another content; they stay",
                            rotated.disputed
                        );
                        self.tell_words(month.as_str(), &words, told);
                    }
                    if !rotated.more {
                        break;
                    }
                }
                Err(error) => {
                    self.tell(month.as_str(), &error, told);
                    break;
                }
            }
        }
        if moved > 0 {
            tracing::info!(%month, jobs = moved, "the ended jobs of a closed month were archived");
        }
    }

    fn remove_expired(&self, told: &mut HashSet<String>) {
        if self.keep_months == 0 {
            return;
        }
        let months = match self.store.archived_months() {
            Ok(months) => months,
            Err(error) => return self.tell("archive", &error, told),
        };
        for month in months {
            // What still runs keeps its month.
            if !is_expired(&month, self.keep_months) || self.store.month(&month).exists() {
                continue;
            }
            match self.store.remove_archive(&month) {
                Ok(true) => {
                    tracing::info!(%month, "an archive was removed: it is older than keep_months");
                }
                Ok(false) => {}
                Err(error) => self.tell(month.as_str(), &error, told),
            }
        }
    }

    fn tell(&self, about: &str, error: &StoreError, told: &mut HashSet<String>) {
        self.tell_words(about, &error.to_string(), told);
    }

    fn tell_words(&self, about: &str, words: &str, told: &mut HashSet<String>) {
        let key = format!("{about}: {words}");
        if !self.told.contains(&key) && !told.contains(&key) {
            tracing::error!(error = %words, %about, "a closed month can't be archived");
        }
        told.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Limits;
    use crate::names::{CommandName, Scope, Ticket, UserName};
    use crate::output::Kept;
    use crate::store::record::{DataForm, EndState, Job, JobResult};

    fn job() -> Job {
        let command = CommandName::parse("backup").unwrap();
        let at = time::macros::datetime!(2026-01-10 00:00:00 UTC);
        Job {
            ticket: Ticket::new(at, 7),
            names: vec![command.clone()],
            command,
            scope: Scope::Global,
            program: "/usr/bin/barman".into(),
            arguments: Vec::new(),
            data: DataForm::Lines,
            user: UserName::parse("dba").unwrap(),
            from: None,
            accepted_at: "2026-01-10T00:00:00Z".into(),
            request_id: "r".into(),
            time_limit: None,
            output_limit: 1000,
            max_jobs: 1,
            exclusive: false,
            requires_full: false,
            users: "/etc/barmanapi/client.conf".into(),
            remote: None,
        }
    }

    #[test]
    fn outputs_of_a_job_that_moves_while_it_is_read_are_looked_up_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let limits = Limits {
            max_jobs: 1,
            queue: 1,
            output_limit: 1000,
            sync_timeout: std::time::Duration::from_secs(1),
            users: "/etc/barmanapi/client.conf".into(),
            keep_months: 0,
        };
        let jobs = Jobs::new(store.clone(), store.garbage().unwrap(), limits);
        let job = job();
        let accepted = store.accept(&job, 1).unwrap();
        std::fs::write(accepted.folder.file("stdout"), "said\n").unwrap();
        let end = JobResult {
            state: EndState::Done,
            exit_code: Some(0),
            signal: None,
            reason: None,
            detail: None,
            started_at: None,
            ended_at: "2026-01-10T00:00:05Z".into(),
            duration_ms: Some(1),
            stdout: Kept::default(),
            stderr: Kept::default(),
        };
        store.close(&accepted.folder, &end, |_| {}).unwrap();
        drop(accepted);
        let mut begun = jobs.view(&job.ticket).unwrap().unwrap();
        Rotation::new(&jobs).pass();
        assert_eq!(begun.outputs().unwrap(), None);
        let mut again = jobs.view(&job.ticket).unwrap().unwrap();
        assert_eq!(again.state, begun.state);
        assert_eq!(again.outputs().unwrap().unwrap().stdout, b"said\n");
    }
}
