//! What a fault is provoked on: a stand-in, a site and its server, and what must hold afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::rig::{Answer, Barman, Server, Site, StandIn, User};
use super::run::{Run, eventually};

/// A site with a stand-in and one full user, `ada`.
pub struct Bench {
    pub stand_in: StandIn,
    pub site: Site,
    pub server: Server,
    pub token: String,
}

impl Bench {
    pub fn new(control: &Value, settings: &[&str]) -> Self {
        let stand_in = StandIn::new();
        stand_in.control(control);
        let site = Site::new(&Barman::StandIn(&stand_in), settings);
        Self::on(stand_in, site)
    }

    /// With a site whose store was prepared.
    pub fn on(stand_in: StandIn, site: Site) -> Self {
        site.user("ada", &["--full"]);
        let server = site.serve();
        let token = server.login("ada").token;
        Self {
            stand_in,
            site,
            server,
            token,
        }
    }

    pub fn ada(&self) -> User<'_> {
        self.server.with_token(&self.token)
    }

    /// A request as `ada`; nothing when the server went away.
    pub fn ask(&self, method: &str, target: &str) -> Option<Answer> {
        ask(&self.server, &self.token, method, target)
    }

    /// Kills the server when it still runs, and starts it anew.
    pub fn restart(&mut self) {
        self.server.kill();
        self.server = self.site.serve();
    }

    /// The folder of a job.
    pub fn folder(&self, ticket: &str) -> PathBuf {
        self.server
            .store()
            .join("active")
            .join(&ticket[..6])
            .join(ticket)
    }

    /// The starts whose arguments hold a word.
    pub fn starts_of(&self, word: &str) -> Vec<Value> {
        let mut starts = self.stand_in.starts();
        starts.retain(|start| has_word(start, word));
        starts
    }

    /// Waits until a job has ended and all is done that follows from it, also where nobody saw the
    /// end.
    #[track_caller]
    pub fn ended(&self, ticket: &str) -> Value {
        eventually("end of a job", || {
            let result = self.ada().finished(ticket);
            (result["barman_still_runs"] != true).then_some(())
        });
        self.ada().closed(ticket)
    }

    /// Waits until no job is open.
    #[track_caller]
    pub fn settled(&self) {
        let open = self.server.store().join("active/open");
        eventually("end of all open jobs", || {
            (fs::read_dir(&open).unwrap().count() == 0).then_some(())
        });
    }

    /// Notes a panic that stands in a log.
    pub fn no_panic(&self, run: &mut Run) {
        let logged = self.site.logged();
        let line = logged.lines().find(|line| line.contains("panicked"));
        run.hold(line.is_none(), || format!("a panic: {line:?}"));
    }
}

/// A request with a token.
pub fn ask(server: &Server, token: &str, method: &str, target: &str) -> Option<Answer> {
    let bearer = format!("Bearer {token}");
    server.try_request(method, target, &[("Authorization", &bearer)], b"")
}

pub fn has_word(start: &Value, word: &str) -> bool {
    let mut words = start["argv"].as_array().unwrap().iter();
    words.any(|given| given.as_str().unwrap() == word)
}

/// The ends that the stand-in wrote down, by process number.
pub fn ends(log: &[Value]) -> BTreeMap<u64, i64> {
    let ends = log.iter().filter_map(|line| {
        let code = line.get("end")?.as_i64()?;
        Some((line["pid"].as_u64()?, code))
    });
    ends.collect()
}
