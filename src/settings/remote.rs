//! The SSH command that reaches the Barman host, taken apart.
//!
//! Only what is known to be harmless passes: an option of ssh can run a program or switch the
//! check of the host key off.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::value::Wrong;

/// Where Barman runs and how to get there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// The account on the Barman host.
    pub user: String,
    /// Its name or address.
    pub host: String,
    /// The port; `None` = what ssh's own configuration says, or 22.
    pub port: Option<u16>,
    /// The file of the private key.
    pub identity: Option<PathBuf>,
    /// Options of ssh, name and value.
    pub options: Vec<(String, String)>,
}

/// Options that set times, algorithms and files, and no more.
const OPTIONS: [&str; 24] = [
    "AddressFamily",
    "BatchMode",
    "BindAddress",
    "BindInterface",
    "CASignatureAlgorithms",
    "CertificateFile",
    "Ciphers",
    "Compression",
    "ConnectTimeout",
    "ConnectionAttempts",
    "GlobalKnownHostsFile",
    "HostKeyAlgorithms",
    "HostKeyAlias",
    "IPQoS",
    "IdentitiesOnly",
    "IdentityFile",
    "KexAlgorithms",
    "MACs",
    "PubkeyAcceptedAlgorithms",
    "ServerAliveCountMax",
    "ServerAliveInterval",
    "StrictHostKeyChecking",
    "TCPKeepAlive",
    "UserKnownHostsFile",
];

/// Those of them that are numbers, and how great they may be. None may be 0: without signs of life
/// or a limit, a dead link is never found.
const NUMBERS: [(&str, u32); 4] = [
    ("ConnectTimeout", 120),
    ("ConnectionAttempts", 10),
    ("ServerAliveCountMax", 10),
    ("ServerAliveInterval", 60),
];

const FORM: &str = "write ssh [-p PORT] [-i FILE] [-o OPTION=VALUE] user@host, without quotes";

impl Remote {
    /// Takes an SSH command apart.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |wrong: String| Wrong::new(wrong, FORM);
        if let Some(c) = text
            .chars()
            .find(|c| !c.is_ascii_graphic() && *c != ' ' || "'\"\\`$;&|<>(){}*?!#~".contains(*c))
        {
            return Err(wrong(format!("{c:?} has no place here")));
        }
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        if words
            .next()
            .is_none_or(|word| word != "ssh" && word != "/usr/bin/ssh")
        {
            return Err(wrong(format!("{text:?} does not begin with ssh")));
        }
        let mut remote = Self {
            user: String::new(),
            host: String::new(),
            port: None,
            identity: None,
            options: Vec::new(),
        };
        let mut target = None;
        while let Some(word) = words.next() {
            if target.is_some() {
                return Err(wrong(format!(
                    "{word:?} follows the host; a command of its own has no place here"
                )));
            }
            let Some(flag) = word.get(..2).filter(|_| word.starts_with('-')) else {
                target = Some(word);
                continue;
            };
            let attached = word.get(2..).filter(|value| !value.is_empty());
            let Some(value) = attached.or_else(|| words.next()) else {
                return Err(wrong(format!("{flag} has no value")));
            };
            match flag {
                "-p" => {
                    let port = value.parse().ok().filter(|port| *port > 0);
                    remote.port = Some(port.ok_or_else(|| wrong(format!("{value:?} is no port")))?);
                }
                "-i" if Path::new(value).is_absolute() => remote.identity = Some(value.into()),
                "-i" => return Err(wrong(format!("{value:?} is not an absolute path"))),
                "-o" => remote.options.push(option(value)?),
                _ => return Err(wrong(format!("the option {flag} is not allowed"))),
            }
        }
        let (user, host) = target
            .and_then(|target| target.split_once('@'))
            .ok_or_else(|| wrong("user@host is missing".to_owned()))?;
        if !is_name(user, "._-") || !is_name(host, ".-:_") {
            return Err(wrong(format!("{user}@{host} is no user@host")));
        }
        (remote.user, remote.host) = (user.to_owned(), host.to_owned());
        Ok(remote)
    }

    /// Lets ssh itself judge the options, without a connection and without its own configuration.
    ///
    /// # Errors
    /// With what it says.
    pub(super) fn judged(&self) -> Result<(), String> {
        let mut command = Command::new("ssh");
        command.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.args(["-G", "-F", "none"]);
        for (name, value) in &self.options {
            command.arg("-o").arg(format!("{name}={value}"));
        }
        let output = command
            .args(["-l", &self.user, "--", &self.host])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("ssh can't be started: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let mut words = said.lines().map(str::trim);
        let words = words.rfind(|line| !line.is_empty() && !line.contains("terminating"));
        Err(words.unwrap_or("ssh ended without a word").to_owned())
    }
}

fn is_name(word: &str, marks: &str) -> bool {
    !word.starts_with(['-', '.'])
        && !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
}

fn option(text: &str) -> Result<(String, String), Wrong> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| Wrong::new(format!("{text:?} is no OPTION=VALUE"), FORM))?;
    let Some(known) = OPTIONS
        .iter()
        .find(|known| known.eq_ignore_ascii_case(name))
    else {
        let write = format!(
            "write one of {}, or put it into the ssh configuration of this account",
            OPTIONS.join(", ")
        );
        return Err(Wrong::new(
            format!("the ssh option {name} is not allowed here"),
            write,
        ));
    };
    if *known == "StrictHostKeyChecking" && value != "yes" {
        return Err(Wrong::new(
            "the host key must be checked",
            "write StrictHostKeyChecking=yes and put the key into known_hosts",
        ));
    }
    if value.is_empty() || value.starts_with('-') {
        return Err(Wrong::new(format!("{name} has no value"), FORM));
    }
    if let Some((_, limit)) = NUMBERS.iter().find(|(name, _)| name == known) {
        let number = value.parse::<u32>().ok().filter(|_| is_digits(value));
        if !number.is_some_and(|number| (1..=*limit).contains(&number)) {
            return Err(Wrong::new(
                format!("{value:?} is no value of {known}"),
                format!("write a number from 1 to {limit}"),
            ));
        }
    }
    Ok(((*known).to_owned(), value.to_owned()))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn barmanapis_own_form_is_read() {
        let remote = Remote::parse("ssh barman@backup").unwrap();
        assert_eq!(
            (remote.user.as_str(), remote.host.as_str(), remote.port),
            ("barman", "backup", None)
        );
    }

    #[test]
    fn port_key_and_harmless_options_are_read() {
        let remote = Remote::parse(
            "ssh -p 2222 -i /k/id -oConnectTimeout=5  -o userknownhostsfile=/k/hosts barman@::1",
        )
        .unwrap();
        assert_eq!(remote.port, Some(2222));
        assert_eq!(remote.identity, Some("/k/id".into()));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            remote.options,
            [
                pair("ConnectTimeout", "5"),
                pair("UserKnownHostsFile", "/k/hosts")
            ]
        );
        assert_eq!(remote.host, "::1");
    }

    #[test]
    fn what_runs_programs_or_weakens_the_link_is_refused() {
        for text in [
            "ssh -o ProxyCommand=id barman@backup",
            "ssh -o LocalCommand=id barman@backup",
            "ssh -o StrictHostKeyChecking=no barman@backup",
            "ssh -F /tmp/x barman@backup",
            "ssh -oProxyCommand=id barman@backup",
            "ssh barman@backup id",
            "ssh barman@-oProxyCommand=id",
            "ssh -barman@backup",
            "ssh -p 0 barman@backup",
            "ssh -p",
            "ssh -i id barman@backup",
            "sshpass -p x ssh barman@backup",
            "ssh backup",
            "ssh",
            "",
            "ssh 'barman'@backup",
            "ssh barman@backup;id",
            "ssh barman@$(id)",
            "ssh barman@backup\u{e9}",
            "ssh -o ServerAliveInterval=0 barman@backup",
            "ssh -o ServerAliveInterval=61 barman@backup",
            "ssh -o ServerAliveInterval=+5 barman@backup",
            "ssh -o ServerAliveCountMax=0 barman@backup",
            "ssh -o ConnectTimeout=0 barman@backup",
            "ssh -o ConnectTimeout=abc barman@backup",
            "ssh -o ConnectTimeout=1m barman@backup",
            "ssh -o ConnectionAttempts=99999999999999999999 barman@backup",
        ] {
            assert!(Remote::parse(text).is_err(), "{text:?}");
        }
    }
}
