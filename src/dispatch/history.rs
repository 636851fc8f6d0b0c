//! The jobs of a month, one job's result, and the wish to stop it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::look::Now;
use super::outcome::RefusalKind;
use super::{CallContext, Dispatch, Refusal, Reply, answer, trail};
use crate::audit::Entry as Line;
use crate::auth::Caller;
use crate::blocking;
use crate::clock;
use crate::jobs::Jobs;
use crate::jobs::view::{State, View};
use crate::names::{CommandName, Month, Scope, ServerName, Ticket, UserName};
use crate::parameters::Parameters;
use crate::store::StoreError;
use crate::store::index::Entry;

/// Jobs on a page when the request names no `limit`.
const PAGE: usize = 100;

/// Jobs on a page at most.
const PAGE_LIMIT: usize = 1000;

/// How often a page is begun anew when an index turns out not to hold.
const LIST_TRIES: usize = 3;

/// How long a request to cancel waits for the end before it tells the state.
const CANCEL_WAIT: Duration = Duration::from_secs(2);

/// Which jobs are asked for.
#[derive(Debug)]
struct Filter {
    month: Month,
    limit: usize,
    cursor: Option<Ticket>,
    command: Option<CommandName>,
    server: Option<ServerName>,
    user: Option<UserName>,
    state: Option<String>,
}

impl Filter {
    fn read(mut parameters: Parameters) -> Result<Self, Refusal> {
        let mut words = HashMap::new();
        for word in [
            "past", "limit", "cursor", "command", "server", "user", "state",
        ] {
            if let Some(value) = super::text_parameter(&mut parameters, word)? {
                words.insert(word, value);
            }
        }
        super::nothing_left(&parameters)?;
        let limit = match words.get("limit") {
            None => PAGE,
            Some(text) => {
                let limit = text
                    .parse()
                    .ok()
                    .filter(|limit| (1..=PAGE_LIMIT).contains(limit));
                limit.ok_or_else(|| {
                    let words = format!("limit {text:?} is not a number from 1 to {PAGE_LIMIT}");
                    Refusal::invalid(words)
                })?
            }
        };
        let state = words.remove("state");
        let states = ["queued", "running", "done", "failed", "cancelled", "lost"];
        if let Some(state) = &state
            && !states.contains(&state.as_str())
        {
            return Err(Refusal::invalid(format!(
                "state {state:?} is none of {}",
                states.join(", ")
            )));
        }
        Ok(Self {
            month: parse(&words, "past", Month::parse)?.unwrap_or_else(|| Month::of(clock::now())),
            limit,
            cursor: parse(&words, "cursor", Ticket::parse)?,
            command: parse(&words, "command", CommandName::parse)?,
            server: parse(&words, "server", ServerName::parse)?,
            user: parse(&words, "user", UserName::parse)?,
            state,
        })
    }

    /// Whether an entry is wanted, as far as that can be told without its state.
    fn wants(&self, entry: &Entry) -> bool {
        let accepted = &entry.accepted;
        let server = self
            .server
            .as_ref()
            .is_none_or(|server| match &accepted.scope {
                Scope::Servers(servers) => servers.contains(server),
                Scope::All => true,
                Scope::Global => false,
            });
        server
            && self
                .command
                .as_ref()
                .is_none_or(|command| accepted.names.contains(command))
            && self.user.as_ref().is_none_or(|user| accepted.user == *user)
    }
}

fn parse<T>(
    words: &HashMap<&str, String>,
    word: &str,
    parse: impl Fn(&str) -> Result<T, crate::names::NameError>,
) -> Result<Option<T>, Refusal> {
    let parsed = words.get(word).map(|text| parse(text)).transpose();
    parsed.map_err(|error| Refusal::invalid(format!("parameter {word}: {error}")))
}

impl Dispatch {
    /// The jobs of a month that the caller may see, the newest first.
    ///
    /// # Errors
    /// When a parameter is wrong or the store can't be read.
    pub async fn history_list(
        &self,
        caller: &Caller,
        parameters: Parameters,
    ) -> Result<Reply, Refusal> {
        let filter = Filter::read(parameters)?;
        let (jobs, caller) = (self.jobs.clone(), caller.clone());
        let listed = blocking::run(move || list(&jobs, &caller, &filter)).await;
        let page = listed.map_err(Refusal::internal)??;
        let mut body = json!({
            "status_code": 200,
            "message": "",
            "list": page.list,
            "cursor": page.cursor,
        });
        if page.damaged > 0
            && let Some(body) = body.as_object_mut()
        {
            body.insert("damaged".into(), page.damaged.into());
        }
        Ok(Reply::ok(body))
    }

    /// The result of a ticket.
    ///
    /// # Errors
    /// When the ticket is malformed, unknown or not the caller's.
    pub async fn history_result(
        &self,
        caller: &Caller,
        parameters: Parameters,
    ) -> Result<Reply, Refusal> {
        let ticket = read_ticket(parameters)?;
        self.result_of(caller, ticket).await
    }

    /// Asks to stop the job of a ticket and tells its state.
    ///
    /// # Errors
    /// When the ticket is malformed, unknown or not the caller's, or the wish can't be recorded.
    pub async fn history_cancel(
        &self,
        caller: &Caller,
        context: CallContext,
        parameters: Parameters,
    ) -> Result<Reply, Refusal> {
        let ticket = read_ticket(parameters)?;
        let mut entry = trail::entry("cancel", caller, &context);
        entry.ticket = Some(ticket.to_string());
        let cancelled = self.cancel(caller, &ticket, &entry).await;
        self.note_refusal(entry, cancelled.as_ref().err()).await;
        cancelled?;
        self.result_of(caller, ticket).await
    }

    /// Writes down the wish of a caller who may see the job, then passes it on.
    async fn cancel(&self, caller: &Caller, ticket: &Ticket, wish: &Line) -> Result<(), Refusal> {
        let (jobs, who, wanted) = (self.jobs.clone(), caller.clone(), ticket.clone());
        let seen = blocking::run(move || visible(&jobs, &who, &wanted).map(drop));
        seen.await.map_err(Refusal::internal)??;
        self.record(wish.clone()).await?;
        let (jobs, who, wanted) = (self.jobs.clone(), caller.clone(), ticket.clone());
        let cancelled = blocking::run(move || {
            jobs.cancel(&wanted, &who.user).map_err(Refusal::from)?;
            let since = Instant::now();
            while since.elapsed() < CANCEL_WAIT {
                match jobs.view(&wanted)?.map(|view| view.state) {
                    Some(State::Ended(_)) | None => break,
                    Some(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            }
            Ok::<_, Refusal>(())
        });
        cancelled.await.map_err(Refusal::internal)?
    }

    async fn result_of(&self, caller: &Caller, ticket: Ticket) -> Result<Reply, Refusal> {
        let (jobs, caller) = (self.jobs.clone(), caller.clone());
        let body = blocking::run(move || {
            loop {
                let mut view = visible(&jobs, &caller, &ticket)?;
                // It goes to an archive once, if at all.
                if let Some(body) = answer::of_ticket(&mut view)? {
                    return Ok::<_, Refusal>(body);
                }
            }
        });
        Ok(Reply::text(body.await.map_err(Refusal::internal)??.into()))
    }
}

fn read_ticket(mut parameters: Parameters) -> Result<Ticket, Refusal> {
    let ticket = super::text_parameter(&mut parameters, "ticket")?;
    super::nothing_left(&parameters)?;
    let ticket = ticket.ok_or_else(|| Refusal::invalid("parameter ticket is missing"))?;
    Ticket::parse(&ticket).map_err(|error| Refusal::invalid(error.to_string()))
}

/// The job of a ticket, if the caller may see it; what the caller may not see does not exist.
fn visible(jobs: &Jobs, caller: &Caller, ticket: &Ticket) -> Result<View, Refusal> {
    match jobs.view(ticket)? {
        Some(view) if may_see(caller, &view) => Ok(view),
        None if jobs.is_gone(&ticket.month())? => Err(gone(jobs, &ticket.month())),
        Some(_) | None => Err(Refusal::new(
            RefusalKind::NotFound,
            format!("there is no ticket {ticket}"),
        )),
    }
}

fn may_see(caller: &Caller, view: &View) -> bool {
    if view.names.is_empty() {
        // Nobody knows any more what it was about.
        caller.rights.is_full()
    } else {
        super::may(caller, &view.names, &view.scope)
    }
}

pub(super) fn gone(jobs: &Jobs, month: &Month) -> Refusal {
    let kept = jobs.limits().keep_months;
    Refusal::new(
        RefusalKind::Gone,
        format!(
            "what there was of {month} was removed: [application] keep_months keeps {kept} closed months"
        ),
    )
}

/// A page of the list.
#[derive(Debug, Default)]
struct Page {
    list: Vec<Value>,
    /// Where the next page begins.
    cursor: Option<Ticket>,
    /// How many parts of the month's archive can't be read.
    damaged: u64,
}

fn list(jobs: &Jobs, caller: &Caller, filter: &Filter) -> Result<Page, Refusal> {
    let of_another = |cursor: &Ticket| cursor.month() != filter.month;
    if filter.cursor.as_ref().is_some_and(of_another) {
        return Err(no_such_cursor());
    }
    let mut tries = 0;
    loop {
        match read_page(jobs, caller, filter) {
            // It was found not to hold while it was read, and may be there anew by now.
            Err(ListError::Store(StoreError::IndexNotReady { .. })) if tries < LIST_TRIES => {
                tries += 1;
            }
            Err(ListError::Store(error)) => return Err(error.into()),
            Err(ListError::Cursor) => return Err(no_such_cursor()),
            Ok(page) if page.list.is_empty() && jobs.is_gone(&filter.month)? => {
                return Err(gone(jobs, &filter.month));
            }
            Ok(page) => return Ok(page),
        }
    }
}

fn no_such_cursor() -> Refusal {
    Refusal::invalid("cursor names no ticket of this month; leave it out to begin with the newest")
}

enum ListError {
    Store(StoreError),
    Cursor,
}

impl From<StoreError> for ListError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn read_page(jobs: &Jobs, caller: &Caller, filter: &Filter) -> Result<Page, ListError> {
    let mut listing = jobs
        .store()
        .listing(&filter.month, filter.cursor.as_ref())?;
    let mut page = Page {
        damaged: listing.damaged(),
        ..Page::default()
    };
    let mut last = None;
    for entry in &mut listing {
        let entry = entry?;
        if !filter.wants(&entry)
            || !super::may(caller, &entry.accepted.names, &entry.accepted.scope)
        {
            continue;
        }
        let Some(item) = item(jobs, &entry)? else {
            continue;
        };
        if filter
            .state
            .as_ref()
            .is_some_and(|state| item.get("state") != Some(&json!(state)))
        {
            continue;
        }
        if page.list.len() == filter.limit {
            page.cursor = last;
            return Ok(page);
        }
        page.list.push(item);
        last = Some(entry.accepted.ticket);
    }
    if listing.missed_its_beginning() {
        return Err(ListError::Cursor);
    }
    Ok(page)
}

/// One line of the list; `None` for what was never recorded, or is no more.
fn item(jobs: &Jobs, entry: &Entry) -> Result<Option<Value>, StoreError> {
    let now = Now::of(jobs, entry)?;
    Ok(now.map(|now| line(entry, &now)))
}

fn line(entry: &Entry, now: &Now) -> Value {
    let accepted = &entry.accepted;
    let row = now.outcome.row();
    let ended = now.ended.as_ref();
    let message = if row.status_code == -99 {
        answer::NOT_YET
    } else {
        ""
    };
    json!({
        "date": accepted.ticket.date(),
        "command": accepted.names.first(),
        "ticket": accepted.ticket,
        "result": {"status_code": row.status_code, "message": message},
        "state": row.word,
        "servers": match &accepted.scope {
            Scope::Global => json!([]),
            Scope::All => json!(["all"]),
            Scope::Servers(servers) => json!(servers),
        },
        "user": accepted.user,
        "exit_code": ended.and_then(|ended| ended.exit_code),
        "started_at": now.started_at,
        "ended_at": ended.map(|ended| ended.ended_at.clone()),
    })
}
