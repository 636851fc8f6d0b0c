//! Which values of our own file a reader over HTTP may see.

use std::path::Path;

use super::keys::{self, Key};
use super::remote::Remote;
use super::value::Value;

/// Longer than any name that is not a command's.
const LONGEST_NAME: usize = 24;

/// Whether a value may be shown: its key is known in that section, is no secret, and takes the
/// value. Whatever else stands in the file may be a secret under a misspelt name, or one that got
/// into the line of another key.
#[must_use]
pub fn may_be_shown(section: &str, key: &str, value: &str) -> bool {
    keys::find(section, key).is_some_and(|key| is_plain(key, value))
}

/// Whether the name of a key may be shown: it is known there, or short enough to be a name that
/// somebody has misspelt. A secret that was broken into lines can look like a key: base64 ends in
/// `=`.
#[must_use]
pub fn name_may_be_shown(section: &str, key: &str) -> bool {
    keys::find(section, key).is_some() || key.len() <= LONGEST_NAME
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
    fn a_name_is_shown_unless_it_is_longer_than_any() {
        assert!(keys::KEYS.iter().all(|key| key.name.len() <= LONGEST_NAME));
        assert!(name_may_be_shown(
            "barman",
            "job_timeout.a-command-with-a-long-name"
        ));
        assert!(name_may_be_shown("barman", "exchange_directry"));
        assert!(!name_may_be_shown(
            "auth_token",
            "vn3xq0zk7u1mt9bl5cr8wy2es6df4ghj"
        ));
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
