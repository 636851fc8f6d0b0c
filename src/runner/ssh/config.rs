//! The configuration file that our ssh reads.
//!
//! ssh keeps the first value it finds. So what must hold stands first, for every host, also for
//! those on the way; then what `remote_ssh` says, for the Barman host alone; then the account's own
//! file and the system's, which know aliases and the way through other hosts.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::runner::environment;
use crate::settings::Remote;

/// What no other line may change.
const FIXED: &str = "\
# Written by barmanapi; changes are overwritten.
BatchMode yes
StrictHostKeyChecking yes
VerifyHostKeyDNS no
NoHostAuthenticationForLocalhost no
UpdateHostKeys no
IdentityAgent none
GSSAPIDelegateCredentials no
ForwardAgent no
ForwardX11 no
ClearAllForwardings yes
PermitLocalCommand no
RemoteCommand none
RequestTTY no
ControlMaster no
ControlPath none
ControlPersist no
LogLevel INFO
";

/// The same, of options that not every ssh has. Both are other ways for a host to prove who it is
/// than `known_hosts`.
const FIXED_WHERE_KNOWN: [(&str, &str); 2] =
    [("KnownHostsCommand", "none"), ("GSSAPIKeyExchange", "no")];

/// Signs of life every 5 seconds; three that stay out end the connection.
const DEFAULTS: &str = "\
Host *
ServerAliveInterval 5
ServerAliveCountMax 3
ConnectTimeout 10
";

/// The text of the file; `own` is the account's own file, where it has one.
pub(super) fn text(remote: &Remote, own: Option<&Path>) -> String {
    let mut text = FIXED.to_owned();
    for (name, value) in known_ones() {
        writeln!(text, "{name} {value}").unwrap_or_default();
    }
    writeln!(text, "Host {}", remote.host).unwrap_or_default();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string can't fail.
        writeln!(text, "{name} {value}").unwrap_or_default();
    };
    if let Some(port) = remote.port {
        line("Port", &port);
    }
    if let Some(identity) = &remote.identity {
        line("IdentityFile", &identity.display());
        line("IdentitiesOnly", &"yes");
    }
    for (name, value) in &remote.options {
        line(name, value);
    }
    text += DEFAULTS;
    for file in own.into_iter().chain([Path::new("/etc/ssh/ssh_config")]) {
        if !file.to_string_lossy().contains(['"', '\n']) {
            writeln!(text, "Include \"{}\"", file.display()).unwrap_or_default();
        }
    }
    // The environment of this account is nobody's business there.
    text + "Host *\nSendEnv -*\n"
}

/// Those that the ssh of this host has: an option that it does not know is an error, and then the
/// account's own file can't name it either.
fn known_ones() -> &'static [(&'static str, &'static str)] {
    static KNOWN: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut known = FIXED_WHERE_KNOWN.to_vec();
        known.retain(|(name, value)| {
            let asked = Command::new("ssh")
                .env_clear()
                .envs(environment::clean())
                .args(["-G", "-F", "none", "-o"])
                .arg(format!("{name}={value}"))
                .args(["--", "localhost"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            // What can't be asked is fixed all the same: rather no connection than a weaker one.
            asked.map_or(true, |status| status.success())
        });
        known
    })
}

/// The account's own file, when ssh itself would read it.
///
/// # Errors
/// When others can write it: then ssh itself refuses it, and so does everything here.
pub(super) fn own(home: &Path) -> io::Result<Option<PathBuf>> {
    let file = home.join(".ssh/config");
    let Ok(found) = fs::metadata(&file) else {
        return Ok(None);
    };
    let uid = rustix::process::getuid().as_raw();
    if found.mode() & 0o022 != 0 || ![0, uid].contains(&found.uid()) {
        return Err(io::Error::other(format!(
            "{} can be written by others: chmod 600 it",
            file.display()
        )));
    }
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn remote() -> Remote {
        Remote {
            user: "barman".to_owned(),
            host: "backup".to_owned(),
            port: Some(2222),
            identity: Some("/k/id".into()),
            options: vec![
                ("BatchMode".to_owned(), "no".to_owned()),
                ("ConnectTimeout".to_owned(), "3".to_owned()),
            ],
        }
    }

    /// What ssh makes of the file, for a host.
    fn understood(file: &Path, host: &str) -> Vec<String> {
        let output = std::process::Command::new("ssh")
            .args(["-G", "-F"])
            .arg(file)
            .arg(host)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn ssh_reads_it_as_it_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        let own = dir.path().join("own");
        fs::write(
            &own,
            "Host backup\nHostName 10.0.0.9\nProxyJump gate\nForwardAgent yes\nStrictHostKeyChecking no\nIdentityAgent /x\nSendEnv LANG\nConnectTimeout 99\nLocalForward 1234 localhost:1\nHost *\nTunnel yes\nForwardX11 yes\nKnownHostsCommand /bin/x\nGSSAPIDelegateCredentials yes\nControlMaster auto\nControlPath /tmp/%C\nControlPersist yes\n",
        )
        .unwrap();
        fs::write(&file, text(&remote(), Some(&own))).unwrap();
        let here = understood(&file, "backup");
        for line in [
            "hostname 10.0.0.9",
            "proxyjump gate",
            "port 2222",
            "batchmode yes",
            "stricthostkeychecking true",
            "forwardagent no",
            "identityagent none",
            "identitiesonly yes",
            "connecttimeout 3",
            "serveraliveinterval 5",
            "clearallforwardings yes",
        ] {
            assert!(here.contains(&line.to_owned()), "{line}: {here:#?}");
        }
        assert!(
            !here.iter().any(|line| line.starts_with("sendenv")),
            "{here:#?}"
        );
        let gate = understood(&file, "gate");
        for line in [
            "port 22",
            "connecttimeout 10",
            "stricthostkeychecking true",
            "controlmaster false",
            "controlpersist no",
            "gssapidelegatecredentials no",
            "tunnel false",
            "forwardx11 no",
        ] {
            assert!(gate.contains(&line.to_owned()), "{line}: {gate:#?}");
        }
        assert!(!gate.contains(&"identityfile /k/id".to_owned()));
        for all in [here, gate] {
            let odd = |line: &&String| {
                [
                    "knownhostscommand /",
                    "controlpath /",
                    "gssapikeyexchange yes",
                ]
                .iter()
                .any(|odd| line.starts_with(odd))
            };
            assert_eq!(all.iter().find(odd), None);
        }
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(own(home.path()).unwrap(), None);
        fs::create_dir(home.path().join(".ssh")).unwrap();
        let file = home.path().join(".ssh/config");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(own(home.path()).unwrap(), Some(file.clone()));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o660)).unwrap();
        assert!(own(home.path()).unwrap_err().to_string().contains("chmod"));
    }
}
