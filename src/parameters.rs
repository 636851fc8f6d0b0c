//! What a caller asks for, as named values in the order they came.
//!
//! Parameters are data and nothing else: which names a command knows, and which values they may
//! have, is decided by those who read them. Reading them out of a query or a body is not done here.

use std::borrow::Cow;
use std::fmt;

/// Words that mean the same on every route; each may come once only.
///
/// They steer the request itself and are never options of Barman, so a second one is always a
/// mistake or an attempt to have two readers see two different values.
pub const RESERVED: [&str; 4] = ["token", "format", "async", "target"];

/// One value, with the form it had in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text: from a query or a form always, from JSON where it stands in quotes.
    Text(String),
    /// A number of a JSON body, as it was written: `1e400` and `-0` stay what they are.
    Number(String),
    /// `true` or `false` of a JSON body.
    Bool(bool),
    /// An array of a JSON body, each element as text.
    List(Vec<String>),
}

impl Value {
    /// The value as texts: one, or as many as a list has.
    pub fn texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let (one, many): (Option<Cow<'_, str>>, &[String]) = match self {
            Self::Text(text) | Self::Number(text) => (Some(Cow::Borrowed(text.as_str())), &[]),
            Self::Bool(true) => (Some(Cow::Borrowed("true")), &[]),
            Self::Bool(false) => (Some(Cow::Borrowed("false")), &[]),
            Self::List(list) => (None, list.as_slice()),
        };
        one.into_iter()
            .chain(many.iter().map(|text| Cow::Borrowed(text.as_str())))
    }
}

/// A parameter that may come once only came more often.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parameter {key:?} is given more than once; give it once")]
pub struct Repeated {
    /// The parameter, as the second one was spelled.
    pub key: String,
}

/// Named values in the order they came; a name can come more than once.
///
/// `Debug` shows the names alone, since a value can be a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, Value)>);

impl Parameters {
    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out the one value that goes by `word`, whatever its spelling.
    ///
    /// # Errors
    /// When it came more than once; nothing is taken then.
    pub fn take(&mut self, word: &str) -> Result<Option<Value>, Repeated> {
        let mut places = (0..).zip(&self.0).filter(|(_, (key, _))| same(key, word));
        let Some((place, _)) = places.next() else {
            return Ok(None);
        };
        if let Some((_, (key, _))) = places.next() {
            return Err(Repeated { key: key.clone() });
        }
        drop(places);
        Ok(Some(self.0.remove(place).1))
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(key, _)| key))
            .finish()
    }
}

impl FromIterator<(String, Value)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl IntoIterator for Parameters {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The one spelling that stands for all spellings of a name: case, `-` and `_` do not matter.
#[must_use]
pub fn fold(name: &str) -> String {
    folded(name).collect()
}

/// Whether two names are spellings of one.
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    folded(one).eq(folded(other))
}

fn folded(name: &str) -> impl Iterator<Item = char> + '_ {
    name.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .map(|c| c.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::Text((*value).to_owned())))
            .collect()
    }

    #[test]
    fn case_hyphens_and_underscores_do_not_make_another_name() {
        assert_eq!(fold("Server-Name"), "servername");
        assert!(same("SERVERNAME", "server_name"));
        assert!(!same("server_name", "server.name"));
    }

    #[test]
    fn a_value_is_taken_once_and_by_any_spelling() {
        let mut given = parameters(&[("a", "1"), ("Dry_Run", "true"), ("b", "2")]);
        assert_eq!(
            given.take("dry-run"),
            Ok(Some(Value::Text("true".to_owned())))
        );
        assert_eq!(given.take("dry-run"), Ok(None));
        assert_eq!(given, parameters(&[("a", "1"), ("b", "2")]));
    }

    #[test]
    fn a_value_given_twice_is_an_error_and_never_the_first_or_the_last() {
        let mut given = parameters(&[("ticket", "1"), ("TICKET", "2")]);
        assert_eq!(
            given.take("ticket"),
            Err(Repeated {
                key: "TICKET".to_owned()
            })
        );
        assert_eq!(given.len(), 2);
    }

    #[test]
    fn debug_output_shows_no_value() {
        let given = parameters(&[("password", "hunter2")]);
        assert_eq!(format!("{given:?}"), r#"["password"]"#);
    }

    #[test]
    fn every_form_of_a_value_reads_as_text() {
        let texts = |value: Value| value.texts().map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(texts(Value::Number("1e400".to_owned())), ["1e400"]);
        assert_eq!(texts(Value::Bool(false)), ["false"]);
        assert_eq!(
            texts(Value::List(vec!["a".to_owned(), "b".to_owned()])),
            ["a", "b"]
        );
    }
}
