//! Operations as they are now: one of them, and all of a place.

use serde_json::{Map, Value, json};

use super::old::{self, OldId};
use super::place::{Kind, NOT_FOUND, Place};
use super::{Operations, reply};
use crate::auth::Caller;
use crate::dispatch::outcome::Outcome;
use crate::dispatch::{Refusal, RefusalKind, Reply, Seen, Whole};
use crate::names::Ticket;

/// Operations that a list has at most.
const LISTED: usize = 1000;

impl Operations {
    /// One operation.
    pub(super) async fn one(
        &self,
        caller: &Caller,
        place: Place,
        id: &str,
    ) -> Result<Reply, Refusal> {
        match place {
            // Which servers it is about, and so which right is needed, its record tells.
            Place::Instance => self
                .check_start(caller, &place, place.kinds())
                .or_else(|_| self.check_look(caller, &place, place.kinds()))?,
            Place::Server(_) => self.check_look(caller, &place, place.kinds())?,
        }
        if let Ok(ticket) = Ticket::parse(id) {
            let found = self.door.look(caller, ticket, place.sort()).await?;
            if let Some(body) = found.and_then(whole) {
                return Ok(reply(200, body));
            }
        }
        // Only now Barman may have to be asked.
        self.check_place(&place).await?;
        if let Some(id) = OldId::parse(id)
            && let Some(old) = old::one(&self.config, place.clone(), id).await?
            && place.kinds().contains(&old.kind)
            // Whoever may not see it does not learn that it is there.
            && self.check_look(caller, &place, &[old.kind]).is_ok()
        {
            return Ok(reply(200, old.body()));
        }
        Err(Refusal::new(RefusalKind::NotFound, NOT_FOUND))
    }

    /// The operations of a place, the newest first.
    pub(super) async fn list(&self, caller: &Caller, place: Place) -> Result<Reply, Refusal> {
        self.check_look(caller, &place, place.kinds())?;
        self.check_place(&place).await?;
        let sort = place.sort();
        let (seen, more) = self.door.look_through(caller, sort, LISTED).await?;
        let mut list: Vec<Value> = seen.iter().filter_map(line).collect();
        let room = LISTED.saturating_sub(list.len());
        let latest = old::list(&self.left, &self.config, place.clone(), room).await?;
        let (old, more_old) = &*latest;
        for old in old {
            if place.kinds().contains(&old.kind)
                && self.check_look(caller, &place, &[old.kind]).is_ok()
            {
                list.push(old.line());
            }
        }
        let mut body = Map::new();
        body.insert("operations".into(), list.into());
        if more || *more_old {
            body.insert("truncated".into(), true.into());
        }
        Ok(reply(200, body.into()))
    }

    /// Whether the caller may look at operations of one of these kinds.
    fn check_look(&self, caller: &Caller, place: &Place, kinds: &[Kind]) -> Result<(), Refusal> {
        let path = place.path_of_denial();
        let scope = place.scope();
        let refused = || Refusal::forbidden(&path);
        if caller.rights.denies(&[&path], &scope) {
            return Err(refused());
        }
        for kind in kinds {
            let paths = self.door.paths_of(&kind.command()?)?;
            if caller.rights.allows(&place.with_own_paths(paths), &scope) {
                return Ok(());
            }
        }
        Err(refused())
    }

    /// Whether Barman's configuration has the server of a place.
    async fn check_place(&self, place: &Place) -> Result<(), Refusal> {
        match place {
            Place::Instance => Ok(()),
            Place::Server(_) => match self.existing(place).await? {
                Some(_) => Ok(()),
                None => Err(place.unknown()),
            },
        }
    }
}

/// The word for a state; clients know no other.
pub(super) fn status(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Queued | Outcome::Running | Outcome::Accepted => "IN_PROGRESS",
        Outcome::Done => "DONE",
        Outcome::Exited(_)
        | Outcome::Signalled(_)
        | Outcome::TimeLimit
        | Outcome::Cancelled
        | Outcome::Lost
        | Outcome::CouldNotStart
        | Outcome::Refused(_) => "FAILED",
    }
}

/// The line of an operation; `None` for a job that is none.
fn line(seen: &Seen) -> Option<Value> {
    let kind = Kind::of(&seen.names)?;
    Some(json!({
        "id": seen.ticket,
        "type": kind.word(),
        "status": status(seen.outcome),
        "exit_code": seen.exit_code,
        "started_at": seen.started_at,
        "ended_at": seen.ended_at,
    }))
}

/// All of an operation; `None` for a job that is none.
fn whole(whole: Whole) -> Option<Value> {
    let Whole {
        seen,
        output,
        detail,
    } = whole;
    let kind = Kind::of(&seen.names)?;
    let mut body = json!({
        "operation_id": seen.ticket,
        "status": status(seen.outcome),
        "type": kind.word(),
        "state": seen.outcome.row().word,
        "output": output,
        "exit_code": seen.exit_code,
        "started_at": seen.started_at,
        "ended_at": seen.ended_at,
    });
    if let Some(members) = body.as_object_mut() {
        if let Some(detail) = detail {
            members.insert("detail".into(), detail.into());
        }
        if seen.outcome == Outcome::Lost {
            // The end of a job is recorded only when nothing of it runs any more.
            let runs = seen.ended_at.is_none();
            members.insert("barman_still_runs".into(), runs.into());
        }
    }
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_one_of_three_words() {
        for (outcome, word) in [
            (Outcome::Queued, "IN_PROGRESS"),
            (Outcome::Running, "IN_PROGRESS"),
            (Outcome::Done, "DONE"),
            (Outcome::Exited(1), "FAILED"),
            (Outcome::Signalled(9), "FAILED"),
            (Outcome::TimeLimit, "FAILED"),
            (Outcome::Cancelled, "FAILED"),
            (Outcome::Lost, "FAILED"),
            (Outcome::CouldNotStart, "FAILED"),
        ] {
            assert_eq!(status(outcome), word, "{outcome:?}");
        }
    }
}
