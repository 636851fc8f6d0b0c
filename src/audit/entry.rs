//! One event as one line of JSON.

use std::io;

use serde::{Serialize, Serializer};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Longer texts are cut to this many characters.
const LONGEST: usize = 512;

/// The same for the list of keys that a request is about: more than a request names in earnest.
const LONGEST_LIST: usize = 64 * 1024;

/// Room for how many names were left out.
const REST: usize = 64;

/// One event. What does not apply is left out of the line.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// When it happened; the month of the line.
    #[serde(serialize_with = "rfc3339")]
    pub ts: OffsetDateTime,
    /// What happened: `accepted`, `ended`, `refused`, `login`, …
    pub event: &'static str,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whom it is about, when that is another user than the one who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How that is known: `basic`, `token`, `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    /// The address that the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The route, without its query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The command, by its canonical name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The servers it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// The ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// What was decided, how it ended, or the [`names`] of what it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The exit code of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The request, as `general.log` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Entry {
    /// An event of which nothing else is known yet.
    #[must_use]
    pub fn new(ts: OffsetDateTime, event: &'static str) -> Self {
        Self {
            ts,
            event,
            user: None,
            subject: None,
            auth: None,
            from: None,
            method: None,
            route: None,
            command: None,
            servers: Vec::new(),
            ticket: None,
            outcome: None,
            status: None,
            exit_code: None,
            duration_ms: None,
            request_id: None,
        }
    }

    /// The line, with its line feed.
    pub(super) fn line(&self) -> io::Result<Vec<u8>> {
        let mut value = serde_json::to_value(self)?;
        cut(&mut value);
        let json = value.to_string();
        let mut line = String::with_capacity(json.len() + 1);
        for c in json.chars() {
            // JSON escapes the C0 characters; a terminal and a reader of lines obey some more.
            if matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}') {
                line.extend(["\\u", &format!("{:04x}", u32::from(c))]);
            } else {
                line.push(c);
            }
        }
        line.push('\n');
        Ok(line.into_bytes())
    }
}

fn rfc3339<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    let at = at.to_offset(time::UtcOffset::UTC);
    serializer.serialize_str(&at.format(&Rfc3339).map_err(serde::ser::Error::custom)?)
}

/// Names in one text: all of them, or as many whole ones as have room, and how many more there are.
#[must_use]
pub fn names(all: &[String]) -> String {
    let mut text = String::new();
    let mut room = LONGEST_LIST;
    for (at, name) in all.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let Some(left) = room.checked_sub(comma.len() + name.chars().count()) else {
            let more = all.len() - at;
            return format!("{text}{comma}… and {more} more");
        };
        room = left;
        text.extend([comma, name]);
    }
    text
}

fn cut(value: &mut Value) {
    let Value::Object(fields) = value else {
        return;
    };
    for (name, field) in fields {
        let longest = if name == "outcome" {
            LONGEST_LIST + REST
        } else {
            LONGEST
        };
        match field {
            Value::Array(items) => items.iter_mut().for_each(|item| cut_text(item, longest)),
            field => cut_text(field, longest),
        }
    }
}

fn cut_text(value: &mut Value, longest: usize) {
    if let Value::String(text) = value
        && let Some((end, _)) = text.char_indices().nth(longest)
    {
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_stand_in_a_line_until_they_are_too_many_and_then_their_number() {
        let named = |count: usize| -> Vec<String> {
            (0..count)
                .map(|at| format!("server-{at}.retention_policy"))
                .collect()
        };
        assert_eq!(names(&[]), "");
        let some = named(300);
        assert_eq!(names(&some), some.join(", "));
        let many = named(10_000);
        let text = names(&many);
        let (whole, more) = text.rsplit_once(", … and ").unwrap();
        let more: usize = more.strip_suffix(" more").unwrap().parse().unwrap();
        let whole: Vec<_> = whole.split(", ").collect();
        assert_eq!(whole, many[..whole.len()]);
        assert_eq!(whole.len() + more, many.len());
        assert!(whole.len() > 1000 && text.len() < LONGEST_LIST + REST);
        let mut entry = Entry::new(OffsetDateTime::UNIX_EPOCH, "config_change");
        entry.outcome = Some(text.clone());
        let line = String::from_utf8(entry.line().unwrap()).unwrap();
        assert!(line.contains(&text));
        assert_eq!(names(&["x".repeat(LONGEST_LIST + 1)]), "… and 1 more");
    }
}
