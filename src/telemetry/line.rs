//! One event as one line of JSON.

use std::fmt::Debug;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::Level;
use tracing::field::{Field, Visit};

use super::Mask;

/// Longer texts are cut to this many characters.
const LONGEST: usize = 512;

/// The fields of an event or of a span.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: Map<String, Value>,
}

impl Fields {
    pub(super) fn record(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_owned(), value);
    }

    /// Takes over the fields of an enclosing span.
    pub(super) fn add(&mut self, outer: &Self) {
        for (name, value) in &outer.values {
            self.values.insert(name.clone(), value.clone());
        }
    }

    /// The line, with its line feed.
    pub(super) fn line(
        mut self,
        at: OffsetDateTime,
        level: Level,
        target: &str,
        mask: Mask,
    ) -> Vec<u8> {
        let message = self.values.shift_remove("message").unwrap_or_default();
        // Lines of the `log` crate bring their origin as fields.
        let origin = self.values.shift_remove("log.target");
        self.values.retain(|name, _| !name.starts_with("log."));
        let fields = self
            .values
            .into_iter()
            .map(|(name, value)| (name, cut(value, mask)))
            .collect();
        let mut line = Map::new();
        line.insert(
            "time".to_owned(),
            at.format(&Rfc3339).unwrap_or_default().into(),
        );
        line.insert("level".to_owned(), level.as_str().into());
        line.insert(
            "target".to_owned(),
            cut(origin.unwrap_or_else(|| target.into()), mask),
        );
        line.insert("message".to_owned(), cut(message, mask));
        line.insert("fields".to_owned(), Value::Object(fields));
        let mut line = escape(&Value::Object(line).to_string());
        line.push('\n');
        line.into_bytes()
    }
}

fn cut(value: Value, mask: Mask) -> Value {
    match value {
        Value::String(text) => {
            let text = mask(&text);
            let mut short: String = text.chars().take(LONGEST).collect();
            if short.len() < text.len() {
                short.push('…');
            }
            Value::String(short)
        }
        other => other,
    }
}

/// JSON escapes the C0 characters; a terminal and a reader of lines obey some more.
fn escape(json: &str) -> String {
    let special = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}');
    if !json.contains(special) {
        return json.to_owned();
    }
    let mut text = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if special(c) {
            text.extend(["\\u", &format!("{:04x}", u32::from(c))]);
        } else {
            text.push(c);
        }
    }
    text
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record(field.name(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field.name(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record(field.name(), value.to_string().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    #[test]
    fn a_line_reads_in_one_order_and_is_cut() {
        let mut fields = Fields::default();
        fields.record("message", "é".repeat(600).into());
        fields.record("log.target", "hyper::server".into());
        fields.record("log.line", 7.into());
        fields.record("n", 1.into());
        let line = fields.line(OffsetDateTime::UNIX_EPOCH, Level::WARN, "log", |text| {
            Cow::Borrowed(text)
        });
        let wanted = format!(
            "{{\"time\":\"1970-01-01T00:00:00Z\",\"level\":\"WARN\",\"target\":\"hyper::server\",\"message\":\"{}…\",\"fields\":{{\"n\":1}}}}\n",
            "é".repeat(512)
        );
        assert_eq!(String::from_utf8(line).unwrap(), wanted);
    }

    #[test]
    fn characters_that_a_terminal_obeys_are_escaped() {
        let mut fields = Fields::default();
        fields.record("message", "a\n\u{1b}[2J\u{9b}2J\u{7f}\u{2028}b".into());
        let line = fields.line(OffsetDateTime::UNIX_EPOCH, Level::INFO, "t", |text| {
            Cow::Borrowed(text)
        });
        let text = String::from_utf8(line).unwrap();
        assert!(
            text.trim_end()
                .chars()
                .all(|c| !c.is_control() && c != '\u{2028}'),
            "{text}"
        );
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["message"], "a\n\u{1b}[2J\u{9b}2J\u{7f}\u{2028}b");
    }
}
