//! Why parameters make no start of a command.

use super::MAX_VALUES;
use crate::names::CommandName;

/// Parameters that make no start of a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgvError {
    /// The command has no such parameter.
    #[error("{command} has no parameter {name:?}{}; it takes {}", nearest.as_ref().map(|nearest| format!(" (nearest: {nearest})")).unwrap_or_default(), if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    Unknown {
        /// The command.
        command: CommandName,
        /// The name as it came, cut.
        name: String,
        /// The parameter that was perhaps meant.
        nearest: Option<String>,
        /// The names of all parameters.
        known: Vec<String>,
    },
    /// An option of Barman itself, which no request sets.
    #[error("{name:?} is an option of barman itself and is not set by a request")]
    Global {
        /// The name as it came.
        name: String,
    },
    /// A parameter that can be given once came more than once.
    #[error("{name} is given more than once, and takes one value")]
    Repeated {
        /// The parameter.
        name: String,
    },
    /// A parameter is missing.
    #[error("{command} needs {name}")]
    Missing {
        /// The command.
        command: CommandName,
        /// The parameter.
        name: String,
    },
    /// A value does not have the form it must have.
    #[error("{name} is {value:?}: expected {expected}")]
    Value {
        /// The parameter.
        name: String,
        /// The value as it came, cut.
        value: String,
        /// What is accepted.
        expected: String,
    },
    /// More values than one request may have.
    #[error("more than {MAX_VALUES} values in one request")]
    TooMany,
    /// Of some parameters exactly one must be given.
    #[error("{command} needs exactly one of {names}")]
    ExactlyOne {
        /// The command.
        command: CommandName,
        /// The parameters.
        names: String,
    },
    /// The command is off and the configuration does not allow it.
    #[error(
        "{command} is off; it runs when [barman] allow_commands in the configuration of barmanapi names it"
    )]
    NotAllowed {
        /// The command.
        command: CommandName,
    },
    /// The parameter, or what it asks for, is refused to everybody.
    #[error("{name} is refused: {reason}")]
    Refused {
        /// The parameter.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The configuration does not let a path or a host be used.
    #[error("{name} is not allowed: {reason}")]
    TargetNotAllowed {
        /// The parameter.
        name: String,
        /// Why, and what to write.
        reason: String,
    },
    /// The Barman host can't be asked where a path leads.
    #[error("{words}")]
    HostAway {
        /// Why, for the caller.
        words: String,
        /// Why, in a word.
        reason: &'static str,
    },
}

impl ArgvError {
    /// Whether the request is forbidden (403) rather than malformed (400).
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(
            self,
            Self::NotAllowed { .. } | Self::Refused { .. } | Self::TargetNotAllowed { .. }
        )
    }

    pub(super) fn value(name: &str, value: &str, expected: impl Into<String>) -> Self {
        Self::Value {
            name: name.to_owned(),
            value: cut(value),
            expected: expected.into(),
        }
    }
}

/// The first 80 characters of a text, for error texts.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
