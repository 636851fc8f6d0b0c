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
ForwardAgent no
ForwardX11 no
ClearAllForwardings yes
PermitLocalCommand no
RemoteCommand none
RequestTTY no
LogLevel INFO
";

/// Signs of life every 5 seconds; three that stay out end the connection.
const DEFAULTS: &str = "\
Host *
ServerAliveInterval 5
ServerAliveCountMax 3
ConnectTimeout 10
";

/// The text of the file; `own` is the account's own file, where it has one.
pub(super) fn text(remote: &Remote, own: Option<&Path>) -> String {
    let mut text = format!("{FIXED}Host {}\n", remote.host);
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
            "Host backup\nHostName 10.0.0.9\nProxyJump gate\nForwardAgent yes\nStrictHostKeyChecking no\nIdentityAgent /x\nSendEnv LANG\nConnectTimeout 99\nLocalForward 1234 localhost:1\n",
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
        for line in ["port 22", "connecttimeout 10", "stricthostkeychecking true"] {
            assert!(gate.contains(&line.to_owned()), "{line}: {gate:#?}");
        }
        assert!(!gate.contains(&"identityfile /k/id".to_owned()));
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
