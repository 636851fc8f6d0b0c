//! Which values of our own file a reader over HTTP may see.

use std::path::Path;

use super::keys::{self, Key};
use super::remote::Remote;
use super::value::Value;

/// Whether a value may be shown: its key is known in that section, is no secret, and takes the
/// value. Whatever else stands in the file may be a secret under a misspelt name, or one that got
/// into the line of another key.
#[must_use]
pub fn may_be_shown(section: &str, key: &str, value: &str) -> bool {
    keys::find(section, key).is_some_and(|key| is_plain(key, value))
}

/// The same of a line that was commented out: in which section it stood is not known.
#[must_use]
pub fn may_be_shown_anywhere(key: &str, value: &str) -> bool {
    let mut named = keys::SECTIONS
        .iter()
        .filter_map(|(section, _)| keys::find(section, key))
        .peekable();
    named.peek().is_some() && named.all(|key| is_plain(key, value))
}

fn is_plain(key: &Key, value: &str) -> bool {
    if key.secret || value.contains('\n') {
        return false;
    }
    let is_command = |value: &str| {
        let program = value.split_whitespace().next().unwrap_or_default();
        Path::new(program).ends_with("ssh")
    };
    value.is_empty()
        || match key.name {
            "remote_ssh" => Remote::parse(value).is_ok(),
            "ssh_command" => is_command(value),
            _ => Value::parse(key.kind, value, false).is_ok(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_where_its_key_takes_it_and_nowhere_else() {
        for (section, key, value) in [
            ("barman", "max_jobs", "7"),
            ("barman", "job_timeout.check", "5 min"),
            ("barman", "remote_ssh", "ssh barman@backup"),
            ("barman", "remote_ssh", ""),
            ("target:a", "ssh_command", "/usr/bin/ssh postgres@pg2"),
            ("target:a", "directories", "/srv/a, /srv/b"),
            ("auth_token", "algorithm", "hs512"),
        ] {
            assert!(may_be_shown(section, key, value), "{key} {value}");
        }
        for (section, key, value) in [
            ("auth_token", "secret", "HUNTER"),
            ("auth_token", "secert", "HUNTER"),
            ("auth_token", "algorithm", "HUNTER"),
            ("auth_token", "algorithm", "HS256\nHUNTER"),
            ("barman", "secret", "HUNTER"),
            ("barman", "job_timeout.check", "HUNTER"),
            ("barman", "async_command", "backup, HUNTER/x"),
            ("barman", "remote_ssh", "HUNTER"),
            ("barman", "token_life", "77"),
            ("target:a", "ssh_command", "HUNTER"),
            ("nowhere", "max_jobs", "7"),
            ("DEFAULT", "max_jobs", "7"),
        ] {
            assert!(!may_be_shown(section, key, value), "{key} {value}");
        }
    }

    #[test]
    fn a_comment_is_shown_where_every_key_of_that_name_takes_the_value() {
        assert!(may_be_shown_anywhere("keep_months", "12"));
        assert!(may_be_shown_anywhere("directories", "/srv/a"));
        assert!(!may_be_shown_anywhere("keep_months", "HUNTER"));
        assert!(!may_be_shown_anywhere("config_file", "HUNTER"));
        assert!(!may_be_shown_anywhere("secret", ""));
        assert!(!may_be_shown_anywhere("secert", "HUNTER"));
    }
}
