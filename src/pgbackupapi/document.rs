//! The body of a request for an operation: one JSON object, read strictly.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::place::cut;
use crate::dispatch::Refusal;

/// Keys that an object has at most.
const KEYS: usize = 32;

/// What is said of values that are missing, too many, or of another type.
const INCOMPLETE: &str = "Make sure all options/arguments are met and try again";

/// The members of the object, their values as they were written.
#[derive(Debug)]
pub(super) struct Document(Vec<(String, Box<RawValue>)>);

impl Document {
    /// Reads a body; `None` for one that says nothing (no bytes, `null`, `{}`, `[]`, `""`, `0`,
    /// `false`).
    ///
    /// # Errors
    /// When it is no JSON, no object, has a key twice, or too many.
    pub(super) fn read(body: &[u8]) -> Result<Option<Self>, Refusal> {
        let empty: [&[u8]; 6] = [b"", b"null", b"[]", b"\"\"", b"0", b"false"];
        if empty.contains(&body.trim_ascii()) {
            return Ok(None);
        }
        let Members(members) = serde_json::from_slice(body).map_err(|error| {
            Refusal::invalid(format!(
                "the body is not a JSON object with each key once (line {}, column {})",
                error.line(),
                error.column()
            ))
        })?;
        Ok(Some(Self(members)).filter(|document| !document.0.is_empty()))
    }

    /// Whether a key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.raw(key).is_some()
    }

    /// A value as it was written.
    pub(super) fn raw(&self, key: &str) -> Option<&str> {
        let mut members = self.0.iter();
        members
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.get())
    }

    /// A value that is text; `None` when the key is not there.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, Refusal> {
        let text = self.raw(key).map(serde_json::from_str).transpose();
        text.map_err(|_| incomplete())
    }

    /// A text that has to be there.
    ///
    /// # Errors
    /// When it is not, or is something else.
    pub(super) fn required(&self, key: &str) -> Result<String, Refusal> {
        self.text(key)?.ok_or_else(incomplete)
    }

    /// Nothing but these keys is there.
    ///
    /// # Errors
    /// When there is another one: whoever wrote it meant something by it.
    pub(super) fn only(&self, keys: &[&str]) -> Result<(), Refusal> {
        match self
            .0
            .iter()
            .find(|(name, _)| !keys.contains(&name.as_str()))
        {
            None => Ok(()),
            Some((name, _)) => Err(Refusal::invalid(format!(
                "there is no key {:?} here; known are {}",
                cut(name),
                keys.join(", ")
            ))),
        }
    }
}

/// The one refusal of values that don't make an operation.
pub(super) fn incomplete() -> Refusal {
    Refusal::invalid(INCOMPLETE)
}

/// The members of an object in order; a key that comes twice is an error.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members: Vec<(String, Box<RawValue>)> = Vec::new();
        while let Some((name, value)) = map.next_entry()? {
            if members.len() == KEYS || members.iter().any(|(known, _)| *known == name) {
                return Err(de::Error::custom("a key twice, or too many"));
            }
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::RefusalKind;

    #[test]
    fn a_body_that_says_nothing_is_none_and_one_that_is_no_object_an_error() {
        for body in ["", " ", "null", "{}", " { } ", "[]", "\"\"", "0", "false"] {
            assert!(Document::read(body.as_bytes()).unwrap().is_none(), "{body}");
        }
        let deep = format!("{}1", "[".repeat(100_000));
        for body in [
            "[1]",
            "\"x\"",
            "1",
            "true",
            "{",
            "{\"a\":1}x",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":1}",
            "\u{feff}{\"a\":1}",
            "{'a':1}",
            "{\"a\":NaN}",
            &deep,
            &format!("{{\"a\":{deep}}}"),
        ] {
            let error = Document::read(body.as_bytes()).unwrap_err();
            assert_eq!(error.kind, RefusalKind::InvalidParameter);
        }
        assert!(Document::read(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_text_is_a_text_and_nothing_else() {
        let body = br#"{"a":"x","b":1,"c":null,"d":true,"e":["x"],"f":{},"g":1e400}"#;
        let document = Document::read(body).unwrap().unwrap();
        assert_eq!(document.required("a").unwrap(), "x");
        assert_eq!(document.text("z").unwrap(), None);
        for key in ["b", "c", "d", "e", "f", "g"] {
            assert_eq!(document.text(key).unwrap_err().message, INCOMPLETE, "{key}");
        }
        assert_eq!(document.raw("g"), Some("1e400"));
        let error = document.only(&["a", "b", "c", "d", "e", "f"]).unwrap_err();
        assert!(error.message.contains("\"g\""), "{}", error.message);
    }
}
