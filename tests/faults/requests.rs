//! Requests of every kind, and what each of them leaves in files when it succeeds and when it fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use base64::Engine;
use serde_json::{Value, json};

use super::bench::Bench;
use super::config::revisions;
use super::rig::{Answer, Barman, Lab, Site, StandIn};
use super::run::Run;

/// The requests, `@` standing for a word of their own, `~` for a number, `#` for a ticket and `%`
/// for a revision that can be taken back.
pub const REQUESTS: &[(&str, &str)] = &[
    ("POST", "/barman/backup?server_name=main&name=n@"),
    ("GET", "/barman/list-backups?server_name=main"),
    (
        "POST",
        "/barman/keep?server_name=main&backup_id=@&target=full",
    ),
    ("GET", "/history/list?limit=5"),
    ("GET", "/history/result?ticket=#"),
    ("POST", "/history/cancel?ticket=#"),
    ("GET", "/auth/user"),
    ("POST", "/auth/token"),
    ("GET", "/auth/user/list"),
    (
        "POST",
        "/auth/user/add?username=@&password=x&access=history",
    ),
    ("POST", "/auth/user/change?username=bob&deny=barman/n@"),
    ("POST", "/auth/user/remove?username=eve"),
    ("GET", "/config/barman"),
    ("POST", "/config/barman/change?main.description=@"),
    ("POST", "/config/barman/rollback?revision=%"),
    ("GET", "/config/barman/revisions"),
    ("GET", "/config/barman/help"),
    ("GET", "/config/barman/reload"),
    ("GET", "/config/barmanapi"),
    (
        "POST",
        "/config/barmanapi/change?barman.job_timeout.check=~",
    ),
    ("POST", "/config/barmanapi/rollback?revision=%"),
    ("GET", "/config/barmanapi/revisions"),
    ("GET", "/barman/reload"),
];

/// A site with a configuration of Barman.
pub fn bench() -> Bench {
    let stand_in = StandIn::new();
    let said = json!({"stdout": "said\n"});
    let control = json!({"*": said, "backup": said, "servers": ["main", "other"]});
    stand_in.control(&control);
    let config = stand_in.folder().join("barman.conf");
    let home = stand_in.folder().display().to_string();
    let text = format!("[barman]\nbarman_home = {home}\n[main]\ndescription = Main\n");
    Lab::get().write(&config, &text, 0o640);
    let config = format!("barman.config_file = {}", config.display());
    let site = Site::new(
        &Barman::StandIn(&stand_in),
        &[
            "barman.queue = 5000",
            "barman.job_timeout.check = 1",
            &config,
        ],
    );
    site.user("bob", &["--access", "history"]);
    Bench::on(stand_in, site)
}

/// What requests change: the files, and how many revisions there are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    barman: String,
    own: String,
    users: String,
    revisions: [usize; 2],
}

impl State {
    fn now(bench: &Bench) -> Self {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        let revisions = ["barman", "barmanapi"].map(|file| {
            let list = revisions(bench, file);
            // One that could not be marked is marked with the next change.
            let known = |one: &Value| matches!(one["state"].as_str(), Some("done" | "pending"));
            assert!(list.iter().all(known), "{list:?}");
            list.len()
        });
        Self {
            barman: read(bench.stand_in.folder().join("barman.conf")),
            own: read(bench.site.file("barmanapi.conf")),
            users: read(bench.site.file("client.conf")),
            revisions,
        }
    }
}

impl State {
    /// The lines that are in one of them only.
    fn differences(&self, other: &Self) -> String {
        let lines = |state: &Self| {
            let all = [&state.barman, &state.own, &state.users].map(String::as_str);
            let all = all.join("\n");
            all.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let (one, two) = (lines(self), lines(other));
        let gone: Vec<_> = one.iter().filter(|line| !two.contains(line)).collect();
        let come: Vec<_> = two.iter().filter(|line| !one.contains(line)).collect();
        let (old, new) = (self.revisions, other.revisions);
        format!("gone: {gone:?}, come: {come:?}, revisions: {old:?}, {new:?}")
    }
}

/// The sections of a users file, each with its lines.
fn sections(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut sections = BTreeMap::<&str, Vec<&str>>::new();
    let mut name = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('[') {
            name = line;
            assert!(!sections.contains_key(name), "{name} is there twice");
        }
        sections.entry(name).or_default().push(line);
    }
    sections
}

/// A request that can be sent.
pub struct About {
    method: &'static str,
    target: String,
    word: String,
    /// What there was before, where the request changes something.
    before: Option<State>,
    /// What there was before the change that the request takes back.
    first: Option<State>,
}

/// Makes what a request is about: the user whom it removes, the revision that it takes back.
pub fn prepare(bench: &Bench, request: usize, word: &str, ticket: &str) -> About {
    let (method, target) = REQUESTS[request];
    // Of a date the last digit of its year, and of a time what differs from word to word.
    let number = format!("{}{}", &word[3..4], &word[11..]);
    let filled = |text: &str| {
        text.replace('@', word)
            .replace('~', &number)
            .replace('#', ticket)
    };
    let mut all = About {
        method,
        target: filled(target),
        word: word.to_owned(),
        before: None,
        first: None,
    };
    if target.starts_with("/auth/user/add") {
        // New names are in lower case.
        all.target.make_ascii_lowercase();
    }
    if target.starts_with("/auth/user/remove") {
        let file = bench.site.file("client.conf");
        let text = fs::read_to_string(&file).unwrap();
        if !text.contains("[eve]") {
            let eve =
                "\n[eve]\npassword = 26588e932c7ccfa1df309280702fe1b5\naccess = ['history']\n";
            Lab::get().write(&file, &(text + eve), 0o600);
        }
    }
    if target.contains("/rollback") {
        all.first = Some(State::now(bench));
        let file = target.split('/').nth(2).unwrap();
        let route = format!("/config/{file}/change");
        let mut others = REQUESTS.iter().map(|(_, target)| filled(target));
        let other = others.find(|target| target.starts_with(&route)).unwrap();
        let answer = bench.ask("POST", &other).unwrap().expect(200);
        let revision = answer.json()["revision"].clone();
        all.target = target.replace('%', revision.as_str().unwrap());
    }
    let words = ["/add?", "/change?", "/remove?", "/rollback?"];
    if words.iter().any(|word| target.contains(word)) {
        all.before = Some(State::now(bench));
    }
    all
}

impl About {
    pub fn send(&self, bench: &Bench) -> Option<Answer> {
        if self.target == "/auth/token" {
            let words =
                base64::engine::general_purpose::STANDARD.encode("ada:correct horse battery");
            let basic = format!("Basic {words}");
            let headers = [("Authorization", basic.as_str())];
            return bench
                .server
                .try_request(self.method, &self.target, &headers, b"");
        }
        bench.ask(self.method, &self.target)
    }

    /// Whether it changes a user or a configuration.
    pub fn changes(&self) -> bool {
        self.before.is_some()
    }

    /// What must hold after a change: all of it is there when that was answered, and nothing of it
    /// when not; in doubt is only what a disk would not sync. Returns whether the request is one
    /// that changes something.
    pub fn look_at(&self, run: &mut Run, bench: &Bench, status: u16, label: &str) -> bool {
        let Some(before) = &self.before else {
            return false;
        };
        let after = State::now(bench);
        let holds = if status == 200 {
            self.is_made(before, &after)
        } else {
            let unsynced = self.target.starts_with("/auth/") && label.contains("fsync");
            after == *before || (unsynced && self.is_made(before, &after))
        };
        run.hold(holds, || format!("{}: {label}", before.differences(&after)));
        true
    }

    fn is_made(&self, before: &State, after: &State) -> bool {
        let mut wanted = before.clone();
        let [barman, own] = before.revisions;
        if let Some(first) = &self.first {
            wanted = first.clone();
            wanted.revisions = before.revisions;
        }
        let (_, value) = self.target.split_once('=').unwrap();
        if self.target.starts_with("/config/barman/") {
            wanted.revisions = [barman + 1, own];
            if self.first.is_none() {
                wanted.barman = with(&before.barman, "description", value);
            }
        } else if self.target.starts_with("/config/barmanapi/") {
            wanted.revisions = [barman, own + 1];
            if self.first.is_none() {
                wanted.own = with(&before.own, "job_timeout.check", value);
            }
        } else {
            // The new section is checked by what it says, all others by their text.
            let header = format!("[{}]", value.split('&').next().unwrap());
            let (mut old, mut new) = (sections(&before.users), sections(&after.users));
            old.remove(header.as_str());
            let own = new.remove(header.as_str()).unwrap_or_default();
            let deny = format!("deny = ['barman/n{}']", self.word.to_lowercase());
            let is_own = match self.target.split(['/', '?']).nth(3).unwrap() {
                "add" => own.len() == 5 && own.contains(&"access = ['history']"),
                "change" => own.len() == 5 && own.contains(&deny.as_str()),
                _ => own.is_empty(),
            };
            if !is_own || old != new {
                return false;
            }
            wanted.users.clone_from(&after.users);
        }
        *after == wanted
    }
}

/// A text with another value for a key that it has.
fn with(text: &str, key: &str, value: &str) -> String {
    let old = text.lines().find(|line| line.starts_with(key)).unwrap();
    text.replace(old, &format!("{key} = {value}"))
}
