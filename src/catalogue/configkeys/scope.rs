//! Where in Barman's configuration a key may stand.

use std::fmt;

use serde::{Serialize, Serializer};

/// What a section of Barman's configuration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// `[barman]`.
    Global,
    /// A server.
    Server,
    /// A model: a section with `model = true`.
    Model,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "[barman]",
            Self::Server => "a server's section",
            Self::Model => "a model's section",
        })
    }
}

/// The places of one key; at least one of them.
///
/// Written as Barman's manual has it: `Global`, `Server/Model`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope {
    global: bool,
    server: bool,
    model: bool,
}

impl Scope {
    /// Reads the words `global`, `server` and `model` with `/` between, in any case and order, with
    /// or without blanks.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut scope = Self {
            global: false,
            server: false,
            model: false,
        };
        for word in text.split('/') {
            let word = word.trim();
            let place = if word.eq_ignore_ascii_case("global") {
                &mut scope.global
            } else if word.eq_ignore_ascii_case("server") {
                &mut scope.server
            } else if word.eq_ignore_ascii_case("model") {
                &mut scope.model
            } else {
                return None;
            };
            if std::mem::replace(place, true) {
                return None;
            }
        }
        Some(scope)
    }

    /// Whether the key may stand there.
    #[must_use]
    pub fn has(self, place: Place) -> bool {
        match place {
            Place::Global => self.global,
            Place::Server => self.server,
            Place::Model => self.model,
        }
    }

    /// The places, `[barman]` first.
    pub fn places(self) -> impl Iterator<Item = Place> {
        [Place::Global, Place::Server, Place::Model]
            .into_iter()
            .filter(move |place| self.has(*place))
    }

    /// The same without models, which Barman has since 3.10; `None` when nothing is left.
    #[must_use]
    pub fn without_models(self) -> Option<Self> {
        (self.global || self.server).then_some(Self {
            model: false,
            ..self
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, place) in self.places().enumerate() {
            if count > 0 {
                f.write_str("/")?;
            }
            f.write_str(match place {
                Place::Global => "Global",
                Place::Server => "Server",
                Place::Model => "Model",
            })?;
        }
        Ok(())
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_reads_in_every_spelling_of_the_manual_and_writes_in_one() {
        for (text, written) in [
            ("Global", "Global"),
            ("Server/Model", "Server/Model"),
            ("Global / Server / Model", "Global/Server/Model"),
            ("Global/server", "Global/Server"),
            ("model/global", "Global/Model"),
        ] {
            let scope = Scope::parse(text).unwrap();
            assert_eq!(scope.to_string(), written);
            assert_eq!(Scope::parse(written), Some(scope));
        }
        for text in [
            "",
            "/",
            "Global/",
            "Cluster",
            "Global/Global",
            "Global Server",
        ] {
            assert_eq!(Scope::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn without_models_nothing_may_be_left() {
        let without = |text| Scope::parse(text).and_then(Scope::without_models);
        assert_eq!(without("model"), None);
        assert_eq!(without("server/model"), Scope::parse("server"));
    }
}
