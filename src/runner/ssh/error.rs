//! Why the Barman host can't be reached or does not answer as it should.

use std::io;
use std::time::Duration;

use crate::redact;

/// Characters that are told of what the other side said.
const TOLD: usize = 400;

/// What stands between us and the Barman host.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The host shows another key than the one that is known.
    #[error(
        "the host key is not the one in known_hosts: find out why; if it was changed on purpose, replace the old line there"
    )]
    HostKeyMismatch,
    /// No key of the host is known.
    #[error("the host key is not in known_hosts: put it there after comparing its fingerprint")]
    HostKeyUnknown,
    /// The host refuses the account or its key.
    #[error(
        "the host lets the key of this account not in: put it into authorized_keys of the account there"
    )]
    NotPermitted,
    /// There is no connection.
    #[error("no connection to the host: {words}")]
    NoRoute {
        /// What ssh said.
        words: String,
    },
    /// As many commands as may run on the host at once do.
    #[error("all {sessions} connections to the host are in use: try again later")]
    Busy {
        /// How many there are.
        sessions: usize,
    },
    /// The login shell of the account ran nothing.
    #[error(
        "the login shell{} of the account on the host runs no command, it says {words:?}: give it sh, bash, fish or tcsh, whose start-up files neither end nor wait",
        name.as_ref().map(|name| format!(" {name}")).unwrap_or_default()
    )]
    Shell {
        /// The shell as it calls itself, when it does.
        name: Option<String>,
        /// The end of what it printed.
        words: String,
    },
    /// There is no Python on the host.
    #[error("no Python is found on the host, neither Barman's own nor python3 or python in PATH")]
    NoPython,
    /// The link broke before the end was known.
    #[error("the link to the host broke before the command ended")]
    Lost,
    /// The host answers something else than what was asked.
    #[error("the host does not answer as it should: {words}")]
    Protocol {
        /// What is wrong.
        words: String,
    },
    /// Something on this side or, with the path in its words, a file there.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl LinkError {
    /// A few words that stay the same from version to version.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::HostKeyMismatch => "host key mismatch",
            Self::HostKeyUnknown => "host key unknown",
            Self::NotPermitted => "permission denied",
            Self::NoRoute { .. } => "no route",
            Self::Busy { .. } => "connections in use",
            Self::Shell { .. } => "remote shell",
            Self::NoPython => "no python",
            Self::Lost => "link lost",
            Self::Protocol { .. } => "odd answer",
            Self::Io(_) => "local error",
        }
    }

    /// The same as an error of input and output; what it was already stays as it is.
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Io(error) => error,
            other => io::Error::other(other),
        }
    }

    pub(super) fn late(limit: Duration) -> Self {
        Self::NoRoute {
            words: format!("no answer within {} s", limit.as_secs()),
        }
    }

    pub(super) fn protocol(words: impl Into<String>) -> Self {
        Self::Protocol {
            words: words.into(),
        }
    }

    /// What the log of an ssh that did not connect tells.
    pub(super) fn of_ssh(log: &[u8]) -> Self {
        let text = String::from_utf8_lossy(log);
        let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
        if says(&[
            "HOST IDENTIFICATION HAS CHANGED",
            "REVOKED HOST KEY",
            "Host key for",
        ]) {
            Self::HostKeyMismatch
        } else if says(&[
            "Host key verification failed",
            "host key is known for",
            "authenticity of host",
        ]) {
            Self::HostKeyUnknown
        } else if says(&["Permission denied (", "Too many authentication failures"]) {
            Self::NotPermitted
        } else {
            let words = tail(log);
            let words = words.strip_prefix("ssh: ").unwrap_or(&words).to_owned();
            Self::NoRoute {
                words: if words.is_empty() {
                    "ssh ended without a word".to_owned()
                } else {
                    words
                },
            }
        }
    }

    /// Whether a second try may go better by itself.
    pub(super) fn passes(&self) -> bool {
        !self.is_refusal() && !matches!(self, Self::Io(_))
    }

    /// Whether it will hardly pass by itself, so that there is no hurry to try again.
    #[must_use]
    pub fn needs_somebody(&self) -> bool {
        self.is_refusal() || matches!(self, Self::Protocol { .. })
    }

    /// Whether the host was reached and lets us do nothing.
    fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::HostKeyMismatch
                | Self::HostKeyUnknown
                | Self::NotPermitted
                | Self::Shell { .. }
                | Self::NoPython
        )
    }
}

/// The last line that says something, masked and cut, without control characters.
pub(super) fn tail(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or_default();
    let masked = redact::text(line);
    let shown = masked.chars().filter(|c| !c.is_control());
    shown.take(TOLD).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_logs_is_told_apart() {
        for (log, word) in [
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\nHost key verification failed.\r\n",
                "host key mismatch",
            ),
            (
                "No ED25519 host key is known for [h]:2 and you have requested strict checking.\r\nHost key verification failed.\r\n",
                "host key unknown",
            ),
            (
                "b@h: Permission denied (publickey).\r\n",
                "permission denied",
            ),
            (
                "ssh: connect to host h port 22: Connection refused\r\n",
                "no route",
            ),
            ("", "no route"),
        ] {
            assert_eq!(LinkError::of_ssh(log.as_bytes()).word(), word, "{log}");
        }
        let error = LinkError::of_ssh(b"ssh: connect to host h port 22: Connection refused\r\n");
        assert_eq!(
            error.to_string(),
            "no connection to the host: connect to host h port 22: Connection refused"
        );
    }

    #[test]
    fn what_the_other_side_says_is_masked_and_cut() {
        let said = format!("first\n\x1b[31m{} password=hunter2\n\n", "x".repeat(300));
        let told = tail(said.as_bytes());
        assert!(told.ends_with("x password=*REDACTED*"), "{told}");
        assert!(!told.contains('\x1b'));
        assert_eq!(tail(&[b'y'; 5000]).len(), TOLD);
    }
}
