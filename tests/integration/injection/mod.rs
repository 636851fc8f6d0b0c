//! What a request can put into Barman's arguments.
//!
//! Each refusal stands beside its twin: the nearest legal value, which starts one process with
//! exactly the arguments that are written there.

mod changes;
mod names;
mod parser;
mod paths;
mod shapes;
mod tenants;
mod values;

use std::cell::Cell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::rig::{Answer, Barman, Lab, Server, Site, StandIn, User, argv};

/// Named texts of a request.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A server over a stand-in, restores allowed into `root`, exports and imports into `exchange`.
struct Bench {
    server: Server,
    _site: Site,
    stand_in: StandIn,
    root: PathBuf,
    exchange: PathBuf,
    /// The names of folders that no answer may tell.
    private: Vec<String>,
    seen: Cell<u64>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for folder in [&self.root, &self.exchange] {
            drop(std::fs::remove_dir_all(folder));
        }
    }
}

/// The command by which a configured target is reached.
const SSH_COMMAND: &str = "ssh postgres@db2";

impl Bench {
    fn new(settings: &[&str]) -> Self {
        Self::with(&json!({}), settings)
    }

    /// A bench whose stand-in does what `control` says; the users are `admin`, who may do
    /// everything, and `main`, who may do everything on the server of that name.
    fn with(control: &Value, settings: &[&str]) -> Self {
        let stand_in = StandIn::new();
        stand_in.control(control);
        let (root, exchange) = (Lab::get().folder("target"), Lab::get().folder("exchange"));
        let own = [
            format!("target:here.directories = {}", root.display()),
            format!("target:there.ssh_command = {SSH_COMMAND}"),
            format!("target:there.directories = {}", root.display()),
            format!("barman.exchange_directory = {}", exchange.display()),
            "barman.async_command = cron".to_owned(),
        ];
        let mut all: Vec<&str> = own.iter().map(String::as_str).collect();
        all.extend(settings);
        let site = Site::new(&Barman::StandIn(&stand_in), &all);
        site.user("admin", &["--full"]);
        site.user("main", &["--access", "barman@main"]);
        let server = site.serve();
        let private = [site.file(""), stand_in.folder().to_owned()];
        Self {
            server,
            private: private.map(|path| path.display().to_string()).into(),
            _site: site,
            stand_in,
            root,
            exchange,
            seen: Cell::new(0),
        }
    }

    fn admin(&self) -> User<'_> {
        self.server.login("admin")
    }

    /// The path of a file below the allowed directory.
    fn inside(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }

    /// What started since the last question.
    fn new_starts(&self) -> Vec<Value> {
        let (mut lines, seen) = self.stand_in.log_from(self.seen.get());
        self.seen.set(seen);
        lines.retain(|line| line.get("start").is_some());
        lines
    }

    /// The same for a command that was accepted; a backup is looked at before its restore.
    fn new_starts_for(&self, is_restore: bool) -> Vec<Value> {
        let mut starts = self.new_starts();
        if is_restore {
            starts.retain(|start| start["start"] != "show-backup");
        }
        starts
    }

    /// What must hold of every answer, whatever was asked.
    #[track_caller]
    fn check(&self, answer: &Answer, what: &str) {
        let text = String::from_utf8_lossy(&answer.body);
        assert!(answer.status < 500, "{what}: {} {text}", answer.status);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        if answer.header("content-type") != Some("application/octet-stream") {
            let body = answer.json();
            assert!(body.is_object(), "{what}: {body}");
            assert!(body["status_code"].is_i64(), "{what}: {body}");
        }
        if answer.status >= 400 {
            assert!(answer.json()["type"].is_string(), "{what}: {text}");
            for private in self.private.iter().map(String::as_str).chain(["src/"]) {
                assert!(!text.contains(private), "{what}: {text}");
            }
        }
        let since = Instant::now();
        self.server.get("/healthz").expect(200);
        assert!(since.elapsed() < Duration::from_secs(1), "{what}");
    }

    /// A request of any form is refused with this status, and nothing starts.
    #[track_caller]
    fn refuses(&self, answer: &Answer, status: u16, what: &str) {
        self.check(answer, what);
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, status, "{what}: {text}");
        let started = self.new_starts();
        assert!(started.is_empty(), "{what} started {started:?}");
    }

    /// A request ran one process with these arguments and nothing on its standard input.
    #[track_caller]
    fn runs(&self, answer: &Answer, arguments: &[&str], what: &str) {
        self.check(answer, what);
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{what}: {text}");
        let started = self.new_starts_for(arguments.contains(&"restore"));
        assert_eq!(started.len(), 1, "{what}: {started:?}");
        assert_eq!(argv(&started[0]), arguments, "{what}");
        assert_eq!(started[0]["stdin"], "/dev/null", "{what}");
    }

    /// By query, by form and by JSON.
    fn by_all_forms(user: &User<'_>, command: &str, pairs: Pairs<'_>) -> Vec<(String, Answer)> {
        let path = format!("/barman/{command}");
        let (encoded, body) = (encode(pairs), to_json(pairs));
        let query = user.get(&format!("{path}?{encoded}"));
        let form = user.form(&path, &encoded);
        let json = user.post(&path, &body);
        [("query", query), ("form", form), ("JSON", json)]
            .map(|(by, answer)| (format!("{command} {pairs:?} by {by}"), answer))
            .into()
    }

    /// The command with these parameters is refused in every form, and nothing starts.
    #[track_caller]
    fn refused(&self, user: &User<'_>, status: u16, command: &str, pairs: Pairs<'_>) -> String {
        let mut message = String::new();
        for (what, answer) in Self::by_all_forms(user, command, pairs) {
            self.refuses(&answer, status, &what);
            answer.json()["message"]
                .as_str()
                .unwrap()
                .clone_into(&mut message);
        }
        message
    }

    /// The command with these parameters runs once in each form, with exactly these arguments.
    #[track_caller]
    fn accepted(&self, user: &User<'_>, command: &str, pairs: Pairs<'_>, arguments: &[&str]) {
        let path = format!("/barman/{command}");
        let (encoded, body) = (encode(pairs), to_json(pairs));
        let what = format!("{command} {pairs:?}");
        self.runs(&user.get(&format!("{path}?{encoded}")), arguments, &what);
        self.runs(&user.form(&path, &encoded), arguments, &what);
        self.runs(&user.post(&path, &body), arguments, &what);
    }

    /// No log of the site holds a token or tells of a panic.
    fn logs_are_clean(&self, tokens: &[&User<'_>]) {
        let site = Path::new(&self.private[0]);
        let logs = std::fs::read_dir(site.join("store/logs"))
            .unwrap()
            .flatten();
        let files = logs.map(|entry| entry.path()).chain([site.join("stderr")]);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains("panicked"), "{}: {text}", file.display());
            for user in tokens {
                assert!(!text.contains(&user.token), "{}", file.display());
            }
        }
    }
}

/// Text percent-encoded, but for letters and digits.
fn percent(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").unwrap();
        }
    }
    encoded
}

fn encode(pairs: Pairs<'_>) -> String {
    let pairs = pairs.iter();
    let encoded: Vec<String> = pairs
        .map(|(key, value)| format!("{}={}", percent(key), percent(value)))
        .collect();
    encoded.join("&")
}

/// An object, an array for a name that comes more than once.
fn to_json(pairs: Pairs<'_>) -> Value {
    let mut object = Map::new();
    for (key, value) in pairs {
        let value = json!(value);
        match object.get_mut(*key) {
            None => drop(object.insert((*key).to_owned(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(one) => *one = json!([one.clone(), value]),
        }
    }
    object.into()
}
