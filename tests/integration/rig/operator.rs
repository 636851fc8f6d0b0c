//! What an operator does on the host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Lab, Server, Site};

impl Site {
    /// Writes the whole users file, as somebody does by hand.
    pub fn users(&self, text: &str) {
        Lab::get().write(&self.file("client.conf"), text, 0o600);
    }

    /// A token of a user, made on the host.
    #[track_caller]
    pub fn token(&self, name: &str) -> String {
        let output = self.run(&["token", name], "");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What a server that must not start says; its exit code is not 0.
    #[track_caller]
    pub fn refuses_to_serve(&self) -> String {
        let lab = Lab::get();
        let mut child = lab
            .command(&lab.binary)
            .args(["serve", "--config"])
            .arg(self.file("barmanapi.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let since = Instant::now();
        while child.try_wait().unwrap().is_none() && since.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(child.kill());
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.code().is_some_and(|code| code != 0),
            "{output:?}"
        );
        assert_eq!(output.stdout, b"", "it listened");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Everything that was ever logged: standard error and the store's logs.
    pub fn logged(&self) -> String {
        let mut text = fs::read_to_string(self.file("stderr")).unwrap_or_default();
        let logs = fs::read_dir(self.file("store/logs")).into_iter().flatten();
        for entry in logs.flatten() {
            text += &fs::read_to_string(entry.path()).unwrap();
        }
        text
    }

    /// The lines of a log, each of which must be a JSON object that nothing of a caller's has broken.
    #[track_caller]
    pub fn log_lines(&self, name: &str) -> Vec<Value> {
        let path = self.file("store/logs").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.ends_with('\n'));
        for bad in [
            '\u{1b}', '\u{0}', '\r', '\u{7f}', '\u{85}', '\u{2028}', '\u{2029}',
        ] {
            assert!(!text.contains(bad), "{bad:?} is in {name}");
        }
        let read = |line: &str| -> Value {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert!(value.is_object(), "{line}");
            value
        };
        text.lines().map(read).collect()
    }

    /// Gives the store what another site's server has learnt of the same Barman, which takes a while.
    pub fn knows_what(&self, other: &Server) {
        let lab = Lab::get();
        for folder in ["store", "store/config"] {
            let folder = self.file(folder);
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
            lab.own(&folder);
        }
        let learnt = fs::read_to_string(other.store().join("config/barman.json")).unwrap();
        lab.write(&self.file("store/config/barman.json"), &learnt, 0o600);
    }
}
