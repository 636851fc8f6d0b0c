//! The routes of pg-backup-api, as its clients use them.

mod lives;
mod old_files;
mod real;
mod refusals;
mod requests;
mod rights;
mod second_name;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rig::{Answer, Barman, Server, Site, StandIn, User};

/// The operations of one server.
const MAIN: &str = "/servers/main/operations";

/// The host and the folder that restores may go to, as they stand in the configuration.
const TARGET: [&str; 2] = [
    "target:db2.ssh_command = ssh postgres@db2",
    "target:db2.directories = /srv/r",
];

/// A server over a stand-in with two backups, and a target.
struct Desk {
    server: Server,
    site: Site,
    stand_in: StandIn,
}

impl Desk {
    fn new(actions: &Value, settings: &[&str]) -> Self {
        let stand_in = StandIn::new();
        let mut control = json!({"list-backups": {"stdout": backups().to_string()}});
        for (name, action) in actions.as_object().unwrap() {
            control[name] = action.clone();
        }
        stand_in.control(&control);
        let site = Site::new(
            &Barman::StandIn(&stand_in),
            &[&TARGET[..], settings].concat(),
        );
        let section = |name: &str, access: &str, deny: &str| {
            format!(
                "[{name}]\npassword = 00000000000000000000000000000000\naccess = {access}\ndeny = {deny}\n"
            )
        };
        site.users(
            &[
                section("admin", "[]", "[]"),
                section("patroni", "['barman/restore@main']", "[]"),
                section("switcher", "['barman/config-switch@main']", "[]"),
                section("tenant", "['barman@main', 'history']", "[]"),
                section(
                    "reader",
                    "['barman/list-*', 'barman/show-*', 'history']",
                    "[]",
                ),
                section("watcher", "['servers/main']", "[]"),
                section("barred", "[]", "['barman/recover']"),
                section("kept-out", "[]", "['servers/main', 'diagnose']"),
            ]
            .concat(),
        );
        let server = site.serve();
        Self {
            server,
            site,
            stand_in,
        }
    }

    fn caller(&self, name: &str) -> User<'_> {
        self.server.with_token(&self.site.token(name))
    }

    /// The commands that were started, but for those that only ask about backups.
    fn commands(&self) -> Vec<Vec<String>> {
        let mut commands = self.stand_in.commands();
        commands.retain(|words| !["list-backups", "show-backup"].contains(&words[0].as_str()));
        commands
    }
}

fn backups() -> Value {
    let backups = json!([
        {"backup_id": "20260102T000000", "backup_type": "full", "status": "DONE", "backup_name": "weekly"},
        {"backup_id": "20260101T000000", "backup_type": "full", "status": "FAILED"},
    ]);
    json!({"main": backups, "other": backups})
}

/// What a client sends to have the latest backup restored on the target.
fn recovery(directory: &str) -> Value {
    json!({
        "type": "recovery",
        "backup_id": "latest",
        "remote_ssh_command": "ssh postgres@db2",
        "destination_directory": directory,
    })
}

/// The id in the answer to an operation that was begun.
#[track_caller]
fn begun(answer: Answer) -> String {
    let answer = answer.expect(202);
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    let id = body["operation_id"].as_str().unwrap().to_owned();
    let location = answer.header("location").unwrap();
    assert!(
        location.ends_with(&format!("operations/{id}")),
        "{location}"
    );
    id
}

/// An operation of `main` when it has ended.
#[track_caller]
fn ended(user: &User<'_>, id: &str) -> Value {
    let since = Instant::now();
    loop {
        let body = user.get(&format!("{MAIN}/{id}")).expect(200).json();
        assert_eq!(body["operation_id"], *id, "{body}");
        if body["status"] != "IN_PROGRESS" {
            return body;
        }
        assert!(since.elapsed() < Duration::from_secs(120), "{body}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The one text of a refusal, when it has this status and nothing beside it.
#[track_caller]
fn error(answer: Answer, status: u16) -> String {
    let body = answer.expect(status).json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    let text = body["error"].as_str().unwrap();
    assert!(text.starts_with(&format!("{status} ")), "{text}");
    text.to_owned()
}
