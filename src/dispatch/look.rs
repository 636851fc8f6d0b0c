//! Jobs as other families of routes show them: one of them, and those that are of one sort.

use super::history::gone;
use super::outcome::Outcome;
use super::{Dispatch, Refusal};
use crate::auth::Caller;
use crate::blocking;
use crate::jobs::Jobs;
use crate::jobs::view::{Outputs, State, View};
use crate::names::{CommandName, Month, Scope, Ticket};
use crate::store::StoreError;
use crate::store::index::{Ended, Entry};

/// Jobs that are looked through at most for one list.
const LOOKED_THROUGH: usize = 20_000;

/// How often a list is begun anew when an index turns out not to hold.
const TRIES: usize = 3;

/// A job as a list shows it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The ticket.
    pub ticket: Ticket,
    /// The command's names, the canonical one first.
    pub names: Vec<CommandName>,
    /// What became of it.
    pub outcome: Outcome,
    /// The exit code, where it exited.
    pub exit_code: Option<i32>,
    /// When Barman was started, RFC 3339, UTC.
    pub started_at: Option<String>,
    /// When the end was recorded, RFC 3339, UTC.
    pub ended_at: Option<String>,
}

/// A job with all that is known of it.
#[derive(Debug, Clone)]
pub struct Whole {
    /// What a list shows.
    pub seen: Seen,
    /// What was kept of both outputs; `None` while the job goes on.
    pub output: Option<String>,
    /// Words about the end, for people.
    pub detail: Option<String>,
}

/// Which jobs are wanted, by their command's names and the servers they concern.
pub type Wanted = fn(&[CommandName], &Scope, &Scope) -> bool;

/// A sort of jobs, and the paths that a rule may name it by beside that of the command.
#[derive(Debug, Clone)]
pub struct Sort {
    /// Which jobs; the second scope is that of this sort.
    pub wanted: Wanted,
    /// The servers that are asked about.
    pub scope: Scope,
    /// Further paths of rules.
    pub paths: Vec<String>,
}

impl Sort {
    /// Whether a job is of this sort and the caller may see it.
    fn shows(&self, caller: &Caller, names: &[CommandName], scope: &Scope) -> bool {
        if names.is_empty() || !(self.wanted)(names, scope, &self.scope) {
            return false;
        }
        let mut paths = super::paths(names);
        paths.extend(self.paths.iter().cloned());
        caller.rights.allows(&paths, scope)
    }
}

impl Dispatch {
    /// The job of a ticket; `None` when there is none of this sort that the caller may see.
    ///
    /// # Errors
    /// When the store can't be read, or what there was of the month was removed.
    pub async fn look(
        &self,
        caller: &Caller,
        ticket: Ticket,
        sort: Sort,
    ) -> Result<Option<Whole>, Refusal> {
        let (jobs, caller) = (self.jobs.clone(), caller.clone());
        let looked = blocking::run(move || {
            loop {
                let Some(mut view) = jobs.view(&ticket)? else {
                    return if jobs.is_gone(&ticket.month())? {
                        Err(gone(&jobs, &ticket.month()))
                    } else {
                        Ok(None)
                    };
                };
                if !sort.shows(&caller, &view.names, &view.scope) {
                    return Ok(None);
                }
                let outputs = match &view.state {
                    State::Queued | State::Running { .. } => None,
                    State::LostRunning | State::Ended(_) => match view.outputs()? {
                        // It goes to an archive once, if at all.
                        None => continue,
                        outputs => outputs,
                    },
                };
                return Ok(Some(whole(view, outputs.as_ref())));
            }
        });
        looked.await.map_err(Refusal::internal)?
    }

    /// The latest jobs of a sort that the caller may see, the newest first, `limit` at most; and
    /// whether there may be more.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn look_through(
        &self,
        caller: &Caller,
        sort: Sort,
        limit: usize,
    ) -> Result<(Vec<Seen>, bool), Refusal> {
        let (jobs, caller) = (self.jobs.clone(), caller.clone());
        let looked = blocking::run(move || {
            let mut tries = 0;
            loop {
                match look_through(&jobs, &caller, &sort, limit) {
                    // It was found not to hold while it was read, and may be there anew by now.
                    Err(StoreError::IndexNotReady { .. }) if tries < TRIES => tries += 1,
                    looked => return looked,
                }
            }
        });
        Ok(looked.await.map_err(Refusal::internal)??)
    }
}

fn look_through(
    jobs: &Jobs,
    caller: &Caller,
    sort: &Sort,
    limit: usize,
) -> Result<(Vec<Seen>, bool), StoreError> {
    let store = jobs.store();
    let mut months: Vec<Month> = store.active_months()?;
    months.extend(store.archived_months()?);
    months.sort();
    months.dedup();
    let (mut found, mut looked_at) = (Vec::new(), 0);
    for month in months.into_iter().rev() {
        if jobs.is_gone(&month)? {
            continue;
        }
        for entry in store.listing(&month, None)? {
            let entry = entry?;
            looked_at += 1;
            if looked_at > LOOKED_THROUGH {
                return Ok((found, true));
            }
            let accepted = &entry.accepted;
            if !sort.shows(caller, &accepted.names, &accepted.scope) {
                continue;
            }
            let Some(now) = Now::of(jobs, &entry)? else {
                continue;
            };
            if found.len() == limit {
                return Ok((found, true));
            }
            found.push(Seen {
                ticket: accepted.ticket.clone(),
                names: accepted.names.clone(),
                outcome: now.outcome,
                exit_code: now.ended.as_ref().and_then(|ended| ended.exit_code),
                started_at: now.started_at,
                ended_at: now.ended.map(|ended| ended.ended_at),
            });
        }
    }
    Ok((found, false))
}

/// What a list tells of a job beside what was accepted.
pub(super) struct Now {
    pub(super) outcome: Outcome,
    pub(super) ended: Option<Ended>,
    pub(super) started_at: Option<String>,
}

impl Now {
    /// Looks at a job of a list; `None` for what was never recorded, or is no more.
    pub(super) fn of(jobs: &Jobs, entry: &Entry) -> Result<Option<Self>, StoreError> {
        if !entry.is_active() {
            return Ok(Some(Self::archived(entry)));
        }
        let ticket = &entry.accepted.ticket;
        let moved = || {
            let entry = jobs.store().archived_entry(ticket)?;
            Ok(entry.map(|entry| Self::archived(&entry)))
        };
        let folder = jobs.store().job(ticket);
        if !folder.path().exists() {
            return moved();
        }
        if let Some(ended) = &entry.ended {
            return Ok(Some(Self::ended(ended)));
        }
        match jobs.state(&folder) {
            Ok(None) => moved(),
            Ok(Some(state)) => {
                let ended = match &state {
                    State::Ended(result) => Some(Ended::from(result)),
                    State::Queued | State::Running { .. } | State::LostRunning => None,
                };
                Ok(Some(Self {
                    outcome: Outcome::from(&state),
                    ended,
                    started_at: folder.started_at(),
                }))
            }
            // It says nothing about the job, which may well be running.
            Err(error) if error.is_shortage() => Err(error),
            Err(error) => {
                // One job that can't be read must not hide all others.
                tracing::error!(%error, %ticket, "the state of a job can't be read");
                Ok(Some(Self {
                    outcome: Outcome::Lost,
                    ended: None,
                    started_at: None,
                }))
            }
        }
    }

    fn ended(ended: &Ended) -> Self {
        Self {
            outcome: Outcome::from(ended),
            started_at: ended.started_at.clone(),
            ended: Some(ended.clone()),
        }
    }

    /// A job in an archive; one whose end can't be read is lost.
    fn archived(entry: &Entry) -> Self {
        entry.ended.as_ref().map_or(
            Self {
                outcome: Outcome::Lost,
                ended: None,
                started_at: None,
            },
            Self::ended,
        )
    }
}

fn whole(view: View, outputs: Option<&Outputs>) -> Whole {
    let outcome = Outcome::from(&view.state);
    let (ended, detail) = match &view.state {
        State::Ended(result) => (Some(Ended::from(result)), result.detail.clone()),
        State::Queued | State::Running { .. } | State::LostRunning => (None, None),
    };
    let started_at = match &ended {
        Some(ended) => ended.started_at.clone(),
        None => view.started_at(),
    };
    Whole {
        seen: Seen {
            ticket: view.ticket,
            names: view.names,
            outcome,
            exit_code: ended.as_ref().and_then(|ended| ended.exit_code),
            started_at,
            ended_at: ended.map(|ended| ended.ended_at),
        },
        output: outputs.map(text),
        detail,
    }
}

/// Standard output, and behind it standard error.
fn text(outputs: &Outputs) -> String {
    let mut text = String::from_utf8_lossy(&outputs.stdout).into_owned();
    if !outputs.stderr.is_empty() {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&String::from_utf8_lossy(&outputs.stderr));
    }
    text
}
