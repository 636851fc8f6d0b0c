//! A site: a configuration, users, a store and a server of its own.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::Value;

use super::catalogue::Help;
use super::{Answer, Lab, StandIn, raw};

/// Which Barman a site has.
pub enum Barman<'a> {
    Real,
    StandIn(&'a StandIn),
}

/// A configured barmanapi.
pub struct Site {
    folder: PathBuf,
    /// The stand-in, where the site has one.
    pub(super) program: Option<PathBuf>,
    /// `None` = a Barman of the test's own.
    pub(super) help: Option<Help>,
}

/// The password of every user of every site.
const PASSWORD: &str = "correct horse battery";

impl Site {
    /// A site with these further settings, `section.key = value` each.
    pub fn new(barman: &Barman<'_>, settings: &[&str]) -> Self {
        let lab = Lab::get();
        let folder = lab.folder("site");
        let (command, config) = match barman {
            Barman::Real => (lab.fact("BARMAN").to_owned(), lab.fact("BARMAN_CONF")),
            Barman::StandIn(stand_in) => (stand_in.program().display().to_string(), ""),
        };
        let mut sections: Vec<(String, Vec<String>)> = Vec::new();
        let mut set = |section: &str, key: &str, value: &str| {
            let line = format!("{key} = {value}");
            match sections.iter_mut().find(|(name, _)| name == section) {
                Some((_, lines)) => {
                    lines.retain(|line| line.split(" = ").next() != Some(key));
                    lines.push(line);
                }
                None => sections.push((section.to_owned(), vec![line])),
            }
        };
        set(
            "user",
            "config_file",
            &folder.join("client.conf").display().to_string(),
        );
        set(
            "application",
            "store_directory",
            &folder.join("store").display().to_string(),
        );
        set("application", "port", "0");
        set("barman", "command", &command);
        set("barman", "config_file", config);
        for setting in settings {
            let (path, value) = setting.split_once(" = ").unwrap();
            let (section, key) = path.split_once('.').unwrap();
            set(section, key, value);
        }
        let mut text = String::new();
        for (section, lines) in &sections {
            writeln!(text, "[{section}]\n{}\n", lines.join("\n")).unwrap();
        }
        lab.write(&folder.join("barmanapi.conf"), &text, 0o600);
        let is_own = |setting: &&str| setting.starts_with("barman.command = ");
        let (program, help) = match barman {
            Barman::StandIn(stand_in) => (Some(stand_in.program()), Some(Help::StandIn)),
            Barman::Real if settings.iter().any(is_own) => (None, None),
            Barman::Real if settings.contains(&"barman.remote = true") => (None, Some(Help::There)),
            Barman::Real => (None, Some(Help::Here)),
        };
        Self {
            folder,
            program,
            help,
        }
    }

    /// A file of the site.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs the program with `--config` of this site.
    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        let lab = Lab::get();
        let mut command = lab.command(&lab.binary);
        command
            .args(arguments)
            .arg("--config")
            .arg(self.file("barmanapi.conf"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A program that does not read its input ends before it is written.
        drop(stdin.write_all(input.as_bytes()));
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// Adds a user with these rights, as arguments of `user add`.
    pub fn user(&self, name: &str, rights: &[&str]) {
        let mut arguments = vec!["user", "add", name, "--password-stdin"];
        arguments.extend(rights);
        let output = self.run(&arguments, &format!("{PASSWORD}\n"));
        assert!(output.status.success(), "{output:?}");
    }

    /// Starts a server and waits until it is ready.
    pub fn serve(&self) -> Server {
        let lab = Lab::get();
        self.serve_ready_by(lab.command(&lab.binary))
    }

    /// The same by a command that ends in the program.
    pub fn serve_ready_by(&self, command: Command) -> Server {
        let place = self.lend_catalogue();
        let server = self.serve_by(command);
        server.wait_until_ready();
        self.keep_catalogue(place);
        server
    }

    /// Starts a server with these variables and waits until it listens.
    pub fn serve_unready(&self, environment: &[(&str, &str)]) -> Server {
        self.serve_through(&[], environment)
    }

    /// Starts a server through these words, such as a shell that sets a limit and becomes it.
    pub fn serve_through(&self, words: &[&str], environment: &[(&str, &str)]) -> Server {
        let lab = Lab::get();
        let mut command = match words {
            [] => lab.command(&lab.binary),
            [program, words @ ..] => {
                let mut command = lab.command(program);
                command.args(words).arg(&lab.binary);
                command
            }
        };
        command.envs(environment.iter().copied());
        self.serve_by(command)
    }

    /// Starts a server by a command that ends in the program, and waits until it listens.
    pub fn serve_by(&self, mut command: Command) -> Server {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.file("stderr"))
            .unwrap();
        command
            .arg("serve")
            .arg("--config")
            .arg(self.file("barmanapi.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let port = line
            .trim()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let Some(port) = port else {
            drop(child.kill());
            let log = fs::read_to_string(self.file("stderr")).unwrap_or_default();
            panic!("the server said {line:?} and\n{log}");
        };
        Server {
            child,
            port,
            store: self.file("store"),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the site is left in {}", self.folder.display());
        } else {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// A running server, killed when dropped.
pub struct Server {
    child: Child,
    pub port: u16,
    store: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// The process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the server by SIGKILL.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Ends the server by SIGTERM and returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }

    /// The store's folder.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// One request; `None` when the server went away before the answer was whole.
    pub fn try_request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
        for (key, value) in headers {
            write!(request, "{key}: {value}\r\n").unwrap();
        }
        if !body.is_empty() || method == "POST" {
            write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        let mut request = format!("{request}\r\n").into_bytes();
        request.extend_from_slice(body);
        raw(self.port, &request)
    }

    /// One request.
    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.try_request(method, target, headers, body)
            .expect("an answer")
    }

    /// A GET without credentials.
    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], b"")
    }

    /// A request to `/auth/…` with name and password.
    #[track_caller]
    pub fn basic(&self, target: &str, name: &str, password: &str) -> Answer {
        let credentials =
            base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        self.request(
            "GET",
            target,
            &[("Authorization", &format!("Basic {credentials}"))],
            b"",
        )
    }

    /// A caller with a fresh token.
    #[track_caller]
    pub fn login(&self, name: &str) -> User<'_> {
        let answer = self.basic("/auth/token", name, PASSWORD).expect(200).json();
        User {
            server: self,
            token: answer["token"].as_str().unwrap().to_owned(),
        }
    }
}

/// A caller with a token.
pub struct User<'a> {
    pub server: &'a Server,
    pub token: String,
}

impl User<'_> {
    /// A GET with the token in its header.
    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], b"")
    }

    /// A POST of a form.
    #[track_caller]
    pub fn form(&self, target: &str, form: &str) -> Answer {
        let kind = ("Content-Type", "application/x-www-form-urlencoded");
        self.request("POST", target, &[kind], form.as_bytes())
    }

    /// A POST of JSON.
    #[track_caller]
    pub fn post(&self, target: &str, body: &Value) -> Answer {
        let kind = ("Content-Type", "application/json");
        self.request("POST", target, &[kind], body.to_string().as_bytes())
    }

    /// Any request with the token in its header.
    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend(headers);
        self.server.request(method, target, &all, body)
    }

    /// The state of a ticket.
    #[track_caller]
    pub fn result(&self, ticket: &str) -> Value {
        self.get(&format!("/history/result?ticket={ticket}"))
            .expect(200)
            .json()
    }

    /// Waits for the end of a ticket.
    #[track_caller]
    pub fn finished(&self, ticket: &str) -> Value {
        let since = Instant::now();
        loop {
            let result = self.result(ticket);
            if result["status_code"] != -99 {
                return result;
            }
            assert!(since.elapsed() < Duration::from_secs(120), "{result}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Server {
    /// Waits until commands can be run.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        let since = Instant::now();
        while self.get("/readyz").status != 200 {
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "{:?}",
                self.get("/readyz")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks the server to end, by SIGTERM, and does not wait for it.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for the end of a server that was asked to end, and returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// A caller with the token that another server has given.
    pub fn with_token(&self, token: &str) -> User<'_> {
        User {
            server: self,
            token: token.to_owned(),
        }
    }

    /// A size of the process in KiB, such as `VmRSS` or `VmHWM`.
    pub fn size(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl User<'_> {
    /// Waits for the end of a ticket and for all that is done after its result is known.
    #[track_caller]
    pub fn closed(&self, ticket: &str) -> Value {
        let result = self.finished(ticket);
        let marker = self.server.store().join("active/open").join(ticket);
        let since = Instant::now();
        while marker.exists() {
            assert!(
                since.elapsed() < Duration::from_secs(30),
                "{ticket} stays open"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        result
    }
}
