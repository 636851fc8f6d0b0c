//! Revisions over HTTP: the list, and one with its diff.

use std::io::ErrorKind;

use serde_json::{Value, json};

use super::error::ConfigError;
use super::mask::Mask;
use super::revisions::{Bytes, Edit, Journal, Revision, State};
use super::{Answer, diff};
use crate::inifile::Document;
use crate::names::Ticket;
use crate::parameters::{Parameters, Value as Parameter};

/// Revisions in an answer when nothing is said.
const PAGE: usize = 50;

/// The most revisions in an answer.
const PAGE_LIMIT: usize = 1000;

/// The newest first, as many as the parameters say.
pub(super) fn list(journal: &Journal, given: &mut Parameters) -> Result<Answer, ConfigError> {
    let limit = match text(given, "limit")? {
        None => PAGE,
        Some(text) => {
            let limit = text.parse().ok();
            let limit = limit.filter(|limit| (1..=PAGE_LIMIT).contains(limit));
            limit.ok_or_else(|| {
                let words = format!("limit {text:?} is not a number from 1 to {PAGE_LIMIT}");
                ConfigError::Invalid(words)
            })?
        }
    };
    let cursor = text(given, "cursor")?;
    nothing_left(given)?;
    let places = journal.places().map_err(ConfigError::Journal)?;
    let mut places: Vec<_> = places.into_iter().rev().collect();
    if let Some(cursor) = cursor {
        let at = places
            .iter()
            .position(|(place, _)| place.id.as_str() == cursor);
        let at = at.ok_or_else(|| {
            let words = "cursor names no revision; leave it out to begin with the newest";
            ConfigError::invalid(words)
        })?;
        places.drain(..=at);
    }
    let more = places.len() > limit;
    places.truncate(limit);
    let mut list = Vec::new();
    for (place, state) in &places {
        // One whose change was not made after all may go at any time.
        list.push(match journal.read(place) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                json!({"revision": place.id, "state": "damaged"})
            }
            other => summary(&other.map_err(ConfigError::Journal)?, *state),
        });
    }
    let end = places.last().filter(|_| more);
    let cursor = end.map(|(place, _)| place.id.to_string());
    let body = json!({"status_code": 200, "message": "", "list": list, "cursor": cursor});
    Ok(Answer { body, etag: None })
}

/// What one changed.
pub(super) fn one(
    journal: &Journal,
    id: &Ticket,
    mask: &mut Mask<'_>,
) -> Result<Answer, ConfigError> {
    let (revision, state) = find(journal, id)?;
    let mut text = String::new();
    for edit in &revision.files {
        let read = |bytes: &Option<Bytes>| {
            let bytes = bytes.as_ref()?;
            Document::parse_kindly(&bytes.0).ok()
        };
        let (before, after) = (read(&edit.before), read(&edit.after));
        text.push_str(&diff::unified(
            &edit.path,
            before.as_ref(),
            after.as_ref(),
            mask,
        ));
    }
    let mut list = summary(&revision, state);
    if let Some(list) = list.as_object_mut() {
        list.insert("diff".to_owned(), text.into());
    }
    let body = json!({"status_code": 200, "message": "", "list": list});
    Ok(Answer { body, etag: None })
}

/// A revision that can be taken back as far as it is known here.
pub(super) fn made(journal: &Journal, id: &Ticket) -> Result<Revision, ConfigError> {
    let (revision, state) = find(journal, id)?;
    if state == State::Done {
        return Ok(revision);
    }
    Err(ConfigError::Conflict(format!(
        "revision {id} was cut short and waits for a person; mend its files by hand"
    )))
}

/// A revision that can be read.
fn find(journal: &Journal, id: &Ticket) -> Result<(Revision, State), ConfigError> {
    let found = journal.find(id).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => ConfigError::Conflict(format!(
            "the record of revision {id} is damaged; general.log names its file"
        )),
        _ => ConfigError::Journal(error),
    })?;
    found.ok_or_else(|| ConfigError::NotFound(format!("there is no revision {id}")))
}

/// A file is not what a revision made of it.
pub(super) fn changed_since(edit: &Edit, revision: &Revision) -> ConfigError {
    ConfigError::Conflict(format!(
        "{} was changed after revision {}: roll back the later revisions first, or change the keys",
        edit.path.display(),
        revision.id
    ))
}

fn summary(revision: &Revision, state: State) -> Value {
    let files: Vec<_> = revision
        .files
        .iter()
        .map(|edit| edit.path.display().to_string())
        .collect();
    json!({
        "revision": revision.id,
        "at": revision.at,
        "user": revision.user,
        "request_id": revision.request_id,
        "changed": revision.keys,
        "files": files,
        "undoes": revision.undoes,
        "state": match state {
            State::Done => "done",
            State::Pending => "pending",
            State::Left => "unsettled",
        },
    })
}

/// The revision that a rollback names, and whether it is a dry run.
pub(super) fn read_rollback(given: &mut Parameters) -> Result<(Ticket, bool), ConfigError> {
    let id = text(given, "revision")?.ok_or_else(|| {
        ConfigError::invalid("parameter revision is missing; …/revisions lists them")
    })?;
    let id = Ticket::parse(&id).map_err(|_| {
        let cut: String = id.chars().take(80).collect();
        ConfigError::Invalid(format!("revision {cut:?} is not the name of a revision"))
    })?;
    let dry_run = super::wish::switch(given, super::wish::DRY_RUN)?;
    nothing_left(given)?;
    Ok((id, dry_run))
}

fn text(given: &mut Parameters, word: &str) -> Result<Option<String>, ConfigError> {
    let taken = given
        .take(word)
        .map_err(|error| ConfigError::invalid(error.to_string()))?;
    match taken {
        None => Ok(None),
        Some(Parameter::Text(text) | Parameter::Number(text)) => Ok(Some(text)),
        Some(_) => Err(ConfigError::Invalid(format!(
            "parameter {word} takes one text"
        ))),
    }
}

pub(super) fn nothing_left(given: &Parameters) -> Result<(), ConfigError> {
    let Some((name, _)) = given.iter().next() else {
        return Ok(());
    };
    let name: String = name.chars().take(80).collect();
    Err(ConfigError::Invalid(format!(
        "there is no parameter {name:?} here"
    )))
}
