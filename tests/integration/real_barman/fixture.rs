//! One server on the real Barman and one backup of `main`, for all tests that run at the time.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};

use crate::rig::{Barman, Lab, Server, Site, User};

/// The server and its backup. It goes when the last test that uses it ends.
pub(super) struct Fixture {
    pub server: Server,
    pub site: Site,
    token: String,
    /// The answer that gave the ticket, and where it said the result would be.
    pub accepted: (Value, String),
    /// The result of the backup.
    pub backup: Value,
    pub backup_id: String,
}

impl Fixture {
    pub(super) fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Fixture>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let fixture = Arc::new(Self::new());
            *shared = Arc::downgrade(&fixture);
            fixture
        })
    }

    fn new() -> Self {
        let restore_dir = Lab::get().fact("RESTORE_DIR");
        let directories = format!("target:lab.directories = {restore_dir}");
        let site = Site::new(&Barman::Real, &[&directories, "target:lab.ssh_command = "]);
        site.user("ada", &["--full"]);
        site.user("bea", &["--full"]);
        let server = site.serve();
        let ada = server.login("ada");
        let answer = {
            let _main = Lab::hold("main");
            let answer = ada.get("/barman/backup?SERVERNAME=main").expect(202);
            ada.finished(&answer.clone().ticket());
            answer
        };
        let location = answer.header("location").unwrap().to_owned();
        let backup = ada.get(&location).expect(200).json();
        let backup_id = started_backup(&backup);
        let token = ada.token.clone();
        Self {
            server,
            site,
            token,
            accepted: (answer.json(), location),
            backup,
            backup_id,
        }
    }

    pub(super) fn ada(&self) -> User<'_> {
        self.server.with_token(&self.token)
    }
}

/// The id in Barman's first line, `Starting backup using … in …/base/ID`.
#[track_caller]
pub(super) fn started_backup(result: &Value) -> String {
    let line = result["list"][0].as_str().unwrap_or_default();
    assert!(line.starts_with("Starting backup using "), "{result}");
    line.rsplit('/').next().unwrap().to_owned()
}

/// A backup in the catalogue of `main`, as Barman itself lists it.
pub(super) fn in_catalogue(backup_id: &str) -> Option<Value> {
    let output = Lab::get().barman(&["-f", "json", "list-backups", "main"]);
    let mut listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let backups = listed["main"].take();
    let Value::Array(backups) = backups else {
        panic!("{output:?}");
    };
    backups
        .into_iter()
        .find(|backup| backup["backup_id"] == json!(backup_id))
}

/// What the real Barman says when it is run directly, as lines, and its exit code.
pub(super) fn directly(arguments: &[&str]) -> (Vec<String>, i64) {
    let output = Lab::get().barman(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let code = output.status.code().unwrap();
    (text.lines().map(str::to_owned).collect(), code.into())
}
