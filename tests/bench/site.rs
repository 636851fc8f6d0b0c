//! The service under measurement, on the lab's real Barman.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;

use super::process::{Process, listen};

const PASSWORD: &str = "correct horse battery";

/// A configured service in a folder of its own.
pub struct Site {
    facts: HashMap<String, String>,
    folder: PathBuf,
    binary: PathBuf,
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Site {
    pub fn new() -> Self {
        let path = std::env::var("LAB_ENV").expect("LAB_ENV names no lab: run `make bench`");
        let facts: HashMap<String, String> = fs::read_to_string(path)
            .unwrap()
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
        let folder = Path::new(&facts["WORK_DIR"]).join(format!("bench-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let binary = folder.join("bench");
        fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        let site = Self {
            facts,
            folder,
            binary,
        };
        site.own(&site.folder.clone());
        site.write(
            "barman",
            &format!(
                "#!/bin/sh\necho x >>{0}/starts\nexec {1} \"$@\"\n",
                site.folder.display(),
                site.fact("BARMAN")
            ),
            0o755,
        );
        site.write("starts", "", 0o644);
        let config = |store: &str| {
            format!(
                "[user]\nconfig_file = {0}/client.conf\n\n[application]\nstore_directory = {0}/{store}\nport = 0\n\n[barman]\ncommand = {0}/barman\nconfig_file = {1}\n",
                site.folder.display(),
                site.fact("BARMAN_CONF")
            )
        };
        site.write("barmanapi.conf", &config("store"), 0o600);
        let over_ssh = format!(
            "{}remote = true\nremote_ssh = ssh {}\n",
            config("store"),
            site.way().join(" ")
        );
        site.write("over-ssh.conf", &over_ssh, 0o600);
        let mut add = site.command(&site.binary);
        add.args([
            "user",
            "add",
            "bench",
            "--full",
            "--password-stdin",
            "--config",
        ]);
        let mut add = add
            .arg(site.folder.join("barmanapi.conf"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        add.stdin
            .take()
            .unwrap()
            .write_all(format!("{PASSWORD}\n").as_bytes())
            .unwrap();
        assert!(add.wait().unwrap().success());
        if site
            .barman(&["list-backups", "--minimal", "main"])
            .stdout
            .is_empty()
        {
            let backup = site.barman(&["backup", "main"]);
            assert!(backup.status.success(), "{backup:?}");
        }
        site
    }

    pub fn fact(&self, name: &str) -> &str {
        &self.facts[name]
    }

    /// A file of the site.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Gives a folder with all that is in it to the service's account.
    pub fn own_all(&self, path: &Path) {
        if rustix::process::getuid().is_root() {
            let owner = format!("{}:{}", self.fact("LAB_UID"), self.fact("LAB_GID"));
            let mut chown = Command::new("chown");
            assert!(
                chown
                    .args(["-R", &owner])
                    .arg(path)
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }

    fn own(&self, path: &Path) {
        if rustix::process::getuid().is_root() {
            let id = |name: &str| Some(self.fact(name).parse().unwrap());
            std::os::unix::fs::chown(path, id("LAB_UID"), id("LAB_GID")).unwrap();
        }
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self.own(&path);
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.fact("LAB_HOME"))
            .current_dir("/");
        if rustix::process::getuid().is_root() {
            command.uid(self.fact("LAB_UID").parse().unwrap());
            command.gid(self.fact("LAB_GID").parse().unwrap());
        }
        command
    }

    /// Runs Barman as the service does: the same program, the same account, output to nowhere.
    pub fn barman(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(&self.folder.join("barman"));
        command
            .args(["-c", self.fact("BARMAN_CONF")])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Runs Barman's own launcher, which no shell script counts.
    pub fn plain(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(Path::new(self.fact("BARMAN")));
        command
            .args(["-c", self.fact("BARMAN_CONF")])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Starts of Barman so far, by whomever.
    pub fn starts(&self) -> usize {
        fs::read(self.folder.join("starts")).unwrap().len() / 2
    }

    /// The arguments of ssh that lead to the lab's sshd.
    fn way(&self) -> Vec<String> {
        let known = format!("UserKnownHostsFile={}", self.fact("SSH_KNOWN_HOSTS"));
        let target = format!("{}@{}", self.fact("LAB_USER"), self.fact("SSH_HOST"));
        [
            "-p",
            self.fact("SSH_PORT"),
            "-i",
            self.fact("SSH_KEY"),
            "-o",
            &known,
            &target,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Runs a Barman over a connection of its own, output to nowhere.
    pub fn ssh_barman(&self, program: &Path, arguments: &[&str]) -> Output {
        let mut command = self.command(Path::new("/usr/bin/ssh"));
        command
            .args(self.way())
            .arg(program)
            .args(["-c", self.fact("BARMAN_CONF")])
            .args(arguments)
            .output()
            .unwrap()
    }

    pub fn serve(&self) -> Process {
        self.serve_with("barmanapi.conf")
    }

    /// The same with Barman behind the lab's sshd.
    pub fn serve_over_ssh(&self) -> Process {
        self.serve_with("over-ssh.conf")
    }

    /// The same with Barman's own launcher, so that it can be kept warm.
    pub fn serve_over_ssh_warm(&self) -> Process {
        self.serve_launcher("over-ssh.conf")
    }

    /// The service with Barman's own launcher, so that it can be kept warm.
    pub fn serve_warm(&self) -> Process {
        self.serve_launcher("barmanapi.conf")
    }

    fn serve_launcher(&self, config: &str) -> Process {
        let text = fs::read_to_string(self.file(config)).unwrap();
        let wrapper = format!("command = {}\n", self.file("barman").display());
        let launcher = format!("command = {}\n", self.fact("BARMAN"));
        let warm = format!("warm-{config}");
        self.write(&warm, &text.replace(&wrapper, &launcher), 0o600);
        self.serve_with(&warm)
    }

    /// Serves another store of this site.
    pub fn serve_store(&self, store: &str) -> Process {
        let config = fs::read_to_string(self.file("barmanapi.conf")).unwrap();
        let line = |name: &str| format!("store_directory = {}/{name}\n", self.folder.display());
        let other = config.replace(&line("store"), &line(store));
        // The users' passwords are made with what is there.
        let mut copy = Command::new("cp");
        copy.arg("-a")
            .arg(self.file("store/config"))
            .arg(self.file(store));
        assert!(copy.status().unwrap().success());
        let name = format!("{store}.conf");
        self.write(&name, &other, 0o600);
        self.serve_with(&name)
    }

    fn serve_with(&self, config: &str) -> Process {
        let mut command = self.command(&self.binary);
        command
            .arg("serve")
            .arg("--config")
            .arg(self.folder.join(config));
        let process = listen(command);
        let begin = Instant::now();
        while !request(process.port, "/readyz", "").starts_with("HTTP/1.1 200") {
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "the service does not get ready"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        process
    }

    /// Serves this answer by a bare Rocket.
    pub fn bare(&self, answer: &str) -> Process {
        self.write("answer", answer, 0o644);
        let logs = self.folder.join("bare-logs");
        fs::create_dir(&logs).unwrap();
        self.own(&logs);
        let mut command = self.command(&self.binary);
        command
            .arg("bare")
            .arg(self.folder.join("answer"))
            .arg(self.folder.join("barmanapi.conf"))
            .arg(logs);
        listen(command)
    }

    /// A fresh token, by name and password.
    pub fn token(port: u16) -> String {
        let credentials =
            base64::engine::general_purpose::STANDARD.encode(format!("bench:{PASSWORD}"));
        let answer = exchange(
            port,
            &format!(
                "GET /auth/token HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nAuthorization: Basic {credentials}\r\n\r\n"
            ),
        );
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        body["token"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }
}

/// The whole answer to a GET with a token.
pub fn request(port: u16, target: &str, token: &str) -> String {
    exchange(
        port,
        &format!(
            "GET {target} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        ),
    )
}

fn exchange(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// An answer without what differs from one to the next: header names, and the body.
pub fn shape(answer: &str) -> (Vec<String>, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut names: Vec<String> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.to_owned())
        .collect();
    names.sort();
    (names, body.to_owned())
}
