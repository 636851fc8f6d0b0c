//! Reads parameters out of a query, a form body or a JSON body, strictly.
//!
//! What readers of forms like to do is done nowhere here: no key is split at dots, no repeated key
//! gets lost, no byte that is not UTF-8 is replaced. Each of these is either kept as it is or refused
//! by name. Nothing here knows which parameters exist: that is for the reader of [`Parameters`] to say.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::parameters::{Parameters, RESERVED, Value, fold};

/// The most parameters of one request, elements of arrays counted.
pub(super) const MAX_PAIRS: usize = 300;

/// The longest name of a parameter, in bytes.
pub(super) const MAX_KEY: usize = 128;

/// Names and values in the order they came, from one place.
pub(super) type Pairs = Vec<(String, Value)>;

/// Parameters that are not well formed.
///
/// No variant carries a value: it could be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    /// A `%` that starts no escape.
    #[error("parameter {0:?}: '%' must be followed by two hexadecimal digits (write '%25' for it)")]
    Escape(String),
    /// Bytes that are not UTF-8.
    #[error("parameter {0:?} is not valid UTF-8")]
    NotUtf8(String),
    /// A NUL, which no argument of a program can hold.
    #[error("parameter {0:?} holds a NUL character")]
    Nul(String),
    /// A name that is empty.
    #[error("a parameter has no name; write NAME=VALUE, joined by single '&'")]
    NoName,
    /// A name with control characters.
    #[error("the name of parameter {0:?} holds a control character")]
    ControlInName(String),
    /// A name without a value.
    #[error("parameter {0:?} has no value; write {0}=VALUE")]
    NoValue(String),
    /// A name that is too long.
    #[error("the name of parameter {0:?} is longer than {MAX_KEY} bytes")]
    LongName(String),
    /// More parameters than are read.
    #[error("there are more than {MAX_PAIRS} parameters")]
    TooMany,
    /// A parameter that may come once only.
    #[error("parameter {0:?} is given more than once; give it once")]
    Repeated(String),
    /// A parameter in two places.
    #[error("parameter {0:?} is given in the query and in the body; give it in one of them")]
    TwoPlaces(String),
    /// The form field by which some programs override the method.
    #[error("'_method' is not supported; send the request with the method itself")]
    MethodOverride,
    /// A JSON `null`.
    #[error("parameter {0:?} is null; leave it out instead")]
    Null(String),
    /// A JSON object, or an array in an array.
    #[error("parameter {0:?} must be a string, a number, true, false or an array of these")]
    Nested(String),
    /// A body that is no JSON object.
    #[error("the body is not a JSON object (line {line}, column {column})")]
    Json {
        /// The line where reading stopped, from 1.
        line: usize,
        /// The column where reading stopped, from 1; 0 at a line's start.
        column: usize,
    },
}

/// Reads the query of a URI, without its `?`.
///
/// # Errors
/// When it is not well formed; see [`QueryError`].
pub(super) fn from_query(raw: &str) -> Result<Pairs, QueryError> {
    from_encoded(raw.as_bytes())
}

/// Reads a body of type `application/x-www-form-urlencoded`.
///
/// # Errors
/// When it is not well formed; see [`QueryError`].
pub(super) fn from_form(body: &[u8]) -> Result<Pairs, QueryError> {
    from_encoded(body)
}

fn from_encoded(raw: &[u8]) -> Result<Pairs, QueryError> {
    if raw.is_empty() {
        return Ok(Vec::new());
    }
    let mut pairs = Vec::new();
    for pair in raw.split(|byte| *byte == b'&') {
        if pairs.len() == MAX_PAIRS {
            return Err(QueryError::TooMany);
        }
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let raw_key = halves.next().unwrap_or_default();
        let key = decode(raw_key, &shown(&String::from_utf8_lossy(raw_key)))?;
        check_key(&key)?;
        let Some(value) = halves.next() else {
            return Err(QueryError::NoValue(shown(&key)));
        };
        let value = Value::Text(decode(value, &shown(&key))?);
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// Undoes percent-encoding; `key` goes into the error.
fn decode(raw: &[u8], key: &str) -> Result<String, QueryError> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => {
                    u8::try_from(high * 16 + low).map_err(|_| QueryError::Escape(key.to_owned()))?
                }
                _ => return Err(QueryError::Escape(key.to_owned())),
            },
            other => other,
        });
    }
    let text = String::from_utf8(decoded).map_err(|_| QueryError::NotUtf8(key.to_owned()))?;
    check_text(&text, key)?;
    Ok(text)
}

fn check_text(text: &str, key: &str) -> Result<(), QueryError> {
    if text.contains('\0') {
        return Err(QueryError::Nul(key.to_owned()));
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), QueryError> {
    if key.is_empty() {
        Err(QueryError::NoName)
    } else if key.len() > MAX_KEY {
        Err(QueryError::LongName(shown(key)))
    } else if key.contains('\0') {
        Err(QueryError::Nul(shown(key)))
    } else if key.chars().any(crate::names::is_line_or_control) {
        Err(QueryError::ControlInName(shown(key)))
    } else if key == "_method" {
        Err(QueryError::MethodOverride)
    } else {
        Ok(())
    }
}

/// A name as it may stand in a message: cut to 80 characters.
fn shown(key: &str) -> String {
    key.chars().take(80).collect()
}

/// Reads a body of type `application/json`: one object of strings, numbers, booleans and arrays
/// of these.
///
/// # Errors
/// When it is not well formed; see [`QueryError`].
pub(super) fn from_json(body: &[u8]) -> Result<Pairs, QueryError> {
    let broken = |error: &serde_json::Error| QueryError::Json {
        line: error.line(),
        column: error.column(),
    };
    // A byte order mark or a byte that is not UTF-8 stops the parser where it stands.
    let members: Members<'_> = serde_json::from_slice(body).map_err(|error| broken(&error))?;
    let mut seen = HashSet::new();
    let mut pairs = Vec::new();
    let mut count = 0usize;
    for (key, raw) in members.0 {
        check_key(&key)?;
        if !seen.insert(key.clone()) {
            return Err(QueryError::Repeated(shown(&key)));
        }
        let value = member(raw.get(), &key)?;
        count = count.saturating_add(match &value {
            Value::List(list) => list.len().max(1),
            _ => 1,
        });
        if count > MAX_PAIRS {
            return Err(QueryError::TooMany);
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// The members of a JSON object in order, repeated names included, values still as text.
///
/// A map would keep the last of two equal names; `serde_json::Value` would recurse into whatever
/// a caller nests.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> de::Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
            // One more than the limit is enough to tell that there are too many.
            if members.len() > MAX_PAIRS {
                while map
                    .next_entry::<de::IgnoredAny, de::IgnoredAny>()?
                    .is_some()
                {}
            }
        }
        Ok(Members(members))
    }
}

/// Reads one member's value.
fn member(raw: &str, key: &str) -> Result<Value, QueryError> {
    if !raw.starts_with('[') {
        return scalar(raw, key);
    }
    let elements: Vec<&RawValue> =
        serde_json::from_str(raw).map_err(|_| QueryError::Nested(shown(key)))?;
    let mut list = Vec::with_capacity(elements.len());
    for element in elements {
        list.push(match scalar(element.get(), key)? {
            Value::Text(text) | Value::Number(text) => text,
            Value::Bool(value) => value.to_string(),
            Value::List(_) => return Err(QueryError::Nested(shown(key))),
        });
    }
    Ok(Value::List(list))
}

/// Reads a string, a number or a boolean, told apart by the first character as RFC 8259 allows.
fn scalar(raw: &str, key: &str) -> Result<Value, QueryError> {
    match raw.as_bytes().first() {
        Some(b'"') => {
            let text: String =
                serde_json::from_str(raw).map_err(|_| QueryError::NotUtf8(shown(key)))?;
            check_text(&text, &shown(key))?;
            Ok(Value::Text(text))
        }
        Some(b't') => Ok(Value::Bool(true)),
        Some(b'f') => Ok(Value::Bool(false)),
        Some(b'n') => Err(QueryError::Null(shown(key))),
        Some(b'-' | b'0'..=b'9') => Ok(Value::Number(raw.to_owned())),
        _ => Err(QueryError::Nested(shown(key))),
    }
}

/// Joins what stood in the query and what stood in the body.
///
/// # Errors
/// When a name stands in both, in whatever spelling, when a reserved word comes twice, or when
/// there are too many.
pub(super) fn join(query: Pairs, body: Pairs) -> Result<Parameters, QueryError> {
    if query.len().saturating_add(body.len()) > MAX_PAIRS {
        return Err(QueryError::TooMany);
    }
    let in_query: HashSet<String> = query.iter().map(|(key, _)| fold(key)).collect();
    if let Some((key, _)) = body.iter().find(|(key, _)| in_query.contains(&fold(key))) {
        return Err(QueryError::TwoPlaces(shown(key)));
    }
    let mut reserved = HashSet::new();
    for (key, _) in query.iter().chain(&body) {
        let word = fold(key);
        if RESERVED.contains(&word.as_str()) && !reserved.insert(word) {
            return Err(QueryError::Repeated(shown(key)));
        }
    }
    Ok(query.into_iter().chain(body).collect())
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
