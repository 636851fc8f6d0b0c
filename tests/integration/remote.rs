//! Barman on another host: a real sshd that is killed, frozen, restarted and re-keyed.

mod answers;
mod breaks;
mod doors;

use std::path::PathBuf;

use serde_json::Value;

use crate::rig::{Barman, Lab, Server, Site, Sshd, StandIn, User};
use crate::running::{control, eventually};

/// A server whose stand-in for Barman is reached through an sshd of its own.
struct Far {
    server: Server,
    site: Site,
    stand_in: StandIn,
    sshd: Sshd,
}

impl Far {
    fn new(actions: &Value, settings: &[&str]) -> Self {
        let stand_in = StandIn::new();
        stand_in.control(&control(actions));
        let sshd = Sshd::start(&[]);
        let site = site(&Barman::StandIn(&stand_in), &sshd, settings);
        let server = site.serve();
        Self {
            server,
            site,
            stand_in,
            sshd,
        }
    }

    fn admin(&self) -> User<'_> {
        self.server.login("admin")
    }

    /// Waits until as many commands were started, and returns the starts.
    #[track_caller]
    fn started(&self, count: usize) -> Vec<Value> {
        eventually("a start", || {
            Some(self.stand_in.starts()).filter(|starts| starts.len() >= count)
        })
    }

    /// The folder that a job has on the Barman host.
    fn folder_there(&self, ticket: &str) -> PathBuf {
        let id = std::fs::read_to_string(self.server.store().join("config/id")).unwrap();
        let home = PathBuf::from(Lab::get().fact("LAB_HOME"));
        home.join(".barmanapi/jobs")
            .join(format!("{}-{ticket}", id.trim()))
    }
}

/// A site with a full user whose Barman is behind this sshd.
fn site(barman: &Barman<'_>, sshd: &Sshd, settings: &[&str]) -> Site {
    let way = format!("barman.remote_ssh = {}", sshd.remote_ssh());
    let mut all = vec!["barman.remote = true", &way];
    all.extend(settings);
    let site = Site::new(barman, &all);
    site.user("admin", &["--full"]);
    site
}
