//! The environment Barman gets: built from nothing, never inherited.

use std::ffi::OsString;

/// Where programs are looked for when our own environment names no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment of every Barman process: `PATH`, `HOME`, `USER`, `LOGNAME`, `LANG` and, when
/// ours has one, `TZ`.
///
/// `HOME` and the account's name come from the password database, as `login` would set them;
/// variables that re-aim Barman, Python or PostgreSQL's client library are never passed on.
#[must_use]
pub fn clean() -> Vec<(OsString, OsString)> {
    let account = nix::unistd::User::from_uid(nix::unistd::getuid())
        .ok()
        .flatten();
    let (name, home) = account.map_or_else(
        || ("barman".to_owned(), "/".into()),
        |account| (account.name, account.dir),
    );
    let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
    let mut environment: Vec<(OsString, OsString)> = vec![
        ("PATH".into(), path.unwrap_or_else(|| DEFAULT_PATH.into())),
        ("HOME".into(), home.into_os_string()),
        ("USER".into(), name.clone().into()),
        ("LOGNAME".into(), name.into()),
    ];
    environment.extend(language());
    if let Some(zone) = std::env::var_os("TZ") {
        environment.push(("TZ".into(), zone));
    }
    environment
}

/// What of Barman's environment is the same on every host.
pub(super) fn language() -> Vec<(OsString, OsString)> {
    vec![("LANG".into(), "C.UTF-8".into())]
}

/// What is set besides so that help text comes unwrapped, without colour and in English.
pub(super) fn for_help() -> impl Iterator<Item = (OsString, OsString)> {
    [
        ("COLUMNS", "10000"),
        ("LC_ALL", "C.UTF-8"),
        ("NO_COLOR", "1"),
        ("TERM", "dumb"),
    ]
    .into_iter()
    .map(|(key, value)| (key.into(), value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_variables_are_passed_on() {
        let names: Vec<_> = clean().into_iter().map(|(key, _)| key).collect();
        for name in names {
            let name = name.into_string().unwrap();
            assert!(
                ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ"].contains(&name.as_str()),
                "{name}"
            );
        }
    }
}
