//! Closed months: moving their ended jobs into archives, and removing archives that are too old.
//!
//! A month is what a ticket says, in UTC. The current one is left alone, and so are later ones, as
//! a clock that was set back leaves them.

use std::collections::HashSet;

use super::Jobs;
use crate::clock;
use crate::names::Month;
use crate::store::{Store, StoreError};

/// Which months are too old to be kept.
///
/// What is removed is gone for good, so the clock alone does not decide: months are counted from the
/// current one, or from the newest one that the store has when that comes first. A clock that jumps
/// ahead makes nothing older than it is.
#[derive(Debug)]
pub(super) struct Expiry {
    keep_months: u32,
    /// From where months are counted; `None` while the store has none.
    newest: Option<Month>,
}

impl Expiry {
    /// What is too old in the current month, in a store of which so many closed months are kept; 0
    /// keeps all.
    pub(super) fn of(store: &Store, keep_months: u32, current: &Month) -> Result<Self, StoreError> {
        let newest = match keep_months {
            0 => None,
            _ => store.newest_month()?.min(Some(current.clone())),
        };
        Ok(Self {
            keep_months,
            newest,
        })
    }

    /// Whether a month is too old.
    pub(super) fn is_over(&self, month: &Month) -> bool {
        let newest = self.newest.as_ref();
        self.keep_months > 0
            && newest.is_some_and(|newest| month.months_before(newest) > self.keep_months)
    }
}

/// Looks after closed months, pass by pass.
#[derive(Debug)]
pub struct Rotation {
    store: Store,
    jobs: Jobs,
    /// What was said in the log, so that it is said once.
    told: HashSet<String>,
}

impl Rotation {
    /// A rotation of a store's months.
    #[must_use]
    pub fn new(jobs: &Jobs) -> Self {
        Self {
            store: jobs.store().clone(),
            jobs: jobs.clone(),
            told: HashSet::new(),
        }
    }

    /// Moves what has ended in closed months and removes archives that are too old, unless another
    /// process is at it. What can't be done is said once and tried again in the next pass.
    pub fn pass(&mut self) {
        self.pass_in(&Month::of(clock::now()));
    }

    fn pass_in(&mut self, current: &Month) {
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
        match self.store.active_months() {
            Ok(months) => {
                for month in months.iter().filter(|month| *month < current) {
                    self.rotate(month, &mut told);
                }
            }
            Err(error) => self.tell("active", &error, &mut told),
        }
        self.remove_expired(current, &mut told);
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

    fn remove_expired(&self, current: &Month, told: &mut HashSet<String>) {
        let keep_months = self.jobs.limits().keep_months;
        if keep_months == 0 {
            return;
        }
        let known = self.store.archived_months();
        let known = known.and_then(|months| {
            let expiry = Expiry::of(&self.store, keep_months, current)?;
            Ok((months, expiry))
        });
        let (months, expiry) = match known {
            Ok(known) => known,
            Err(error) => return self.tell("archive", &error, told),
        };
        for month in months {
            // What still runs keeps its month.
            if !expiry.is_over(&month) || self.store.month(&month).exists() {
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
    use time::macros::datetime;

    use super::*;
    use crate::jobs::Limits;
    use crate::names::{CommandName, Scope, Ticket, UserName};
    use crate::output::Kept;
    use crate::runner::warm::{self, Warm};
    use crate::store::record::{DataForm, EndState, Job, JobResult};

    fn job(at: time::OffsetDateTime) -> Job {
        let command = CommandName::parse("backup").unwrap();
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
            accepted_at: clock::text(at),
            request_id: "r".into(),
            time_limit: None,
            output_limit: 1000,
            max_jobs: 1,
            exclusive: false,
            requires_full: false,
            or_written_out: false,
            fills: None,
            users: "/etc/barmanapi/client.conf".into(),
            remote: None,
        }
    }

    fn jobs(folder: &std::path::Path, keep_months: u32) -> Jobs {
        let store = Store::open(&folder.join("store")).unwrap();
        let limits = Limits {
            max_jobs: 1,
            queue: 1,
            output_limit: 1000,
            sync_timeout: std::time::Duration::from_secs(1),
            users: "/etc/barmanapi/client.conf".into(),
            keep_months,
            warm: false,
        };
        Jobs::new(
            store.clone(),
            store.garbage().unwrap(),
            limits,
            Warm::new(&[], warm::IDLE),
        )
    }

    /// A job of that time that has ended.
    fn ended(jobs: &Jobs, at: time::OffsetDateTime) -> Job {
        let job = job(at);
        let accepted = jobs.store().accept(&job, 1).unwrap();
        std::fs::write(accepted.folder.file("stdout"), "said\n").unwrap();
        let end = JobResult {
            state: EndState::Done,
            exit_code: Some(0),
            signal: None,
            reason: None,
            detail: None,
            started_at: None,
            ended_at: clock::text(at),
            duration_ms: Some(1),
            stdout: Kept::default(),
            stderr: Kept::default(),
        };
        jobs.store().close(&accepted.folder, &end, |_| {}).unwrap();
        job
    }

    fn month(text: &str) -> Month {
        Month::parse(text).unwrap()
    }

    #[test]
    fn outputs_of_a_job_that_moves_while_it_is_read_are_looked_up_again() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = jobs(dir.path(), 0);
        let job = ended(&jobs, datetime!(2026-01-10 00:00:00 UTC));
        let mut begun = jobs.view(&job.ticket).unwrap().unwrap();
        Rotation::new(&jobs).pass();
        assert_eq!(begun.outputs().unwrap(), None);
        let mut again = jobs.view(&job.ticket).unwrap().unwrap();
        assert_eq!(again.state, begun.state);
        assert_eq!(again.outputs().unwrap().unwrap().stdout, b"said\n");
    }

    #[test]
    fn a_clock_that_jumps_ahead_removes_nothing_and_tells_of_nothing_that_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = jobs(dir.path(), 3);
        let first = ended(&jobs, datetime!(2025-01-10 00:00:00 UTC));
        let second = ended(&jobs, datetime!(2025-04-10 00:00:00 UTC));
        let mut rotation = Rotation::new(&jobs);
        let is_there = |job: &Job| jobs.store().archive(&job.ticket.month()).exists();
        rotation.pass_in(&month("209912"));
        assert!(is_there(&first) && is_there(&second));
        // Older than the newest by no more than what is kept, or by one month more.
        assert!(!jobs.is_gone(&month("202501")).unwrap());
        assert!(!jobs.is_gone(&month("202502")).unwrap());
        assert!(jobs.is_gone(&month("202412")).unwrap());
        // By the clock only one of them may go, by what the store has neither, and then one.
        rotation.pass_in(&month("202505"));
        assert!(is_there(&first) && is_there(&second));
        let third = ended(&jobs, datetime!(2025-05-01 00:00:00 UTC));
        rotation.pass_in(&month("202504"));
        assert!(is_there(&first));
        rotation.pass_in(&month("209912"));
        assert!(!is_there(&first) && is_there(&second) && is_there(&third));
        assert!(jobs.is_gone(&first.ticket.month()).unwrap());
        assert!(jobs.view(&second.ticket).unwrap().is_some());
    }
}
