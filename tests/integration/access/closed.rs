//! Users without the right to change what is configured, on every route that changes it.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::users::{House, PASSWORD};
use crate::rig::{Answer, Lab};

/// Routes that change something, with what a full user would do there.
fn changes() -> [(&'static str, Value); 7] {
    [
        (
            "/config/barman/change",
            json!({"main.description": "changed"}),
        ),
        (
            "/config/barman/rollback",
            json!({"revision": "202601010000000000000000"}),
        ),
        ("/config/barmanapi/change", json!({"barman.max_jobs": "3"})),
        (
            "/config/barmanapi/rollback",
            json!({"revision": "202601010000000000000000"}),
        ),
        (
            "/auth/user/add",
            json!({"username": "eve", "password": PASSWORD, "access": "barman/list-servers"}),
        ),
        (
            "/auth/user/change",
            json!({"username": "ada", "access": "barman/list-servers"}),
        ),
        ("/auth/user/remove", json!({"username": "ada"})),
    ]
}

/// The files that all of it is about.
struct Files(Vec<(PathBuf, Vec<u8>)>);

impl Files {
    fn of(house: &House, barman: &[PathBuf]) -> Self {
        let own = ["client.conf", "barmanapi.conf"].map(|name| house.site.file(name));
        let all = own.iter().chain(barman);
        Self(
            all.map(|path| (path.clone(), fs::read(path).unwrap()))
                .collect(),
        )
    }

    #[track_caller]
    fn are_the_same(&self, what: &str) {
        for (path, bytes) in &self.0 {
            let now = fs::read(path).unwrap();
            assert!(now == *bytes, "{what} changed {}", path.display());
        }
    }
}

#[test]
fn who_may_read_or_work_on_one_server_changes_no_configuration_and_no_user() {
    let lab = Lab::get();
    let folder = lab.folder("config");
    let barman = folder.join("barman.conf");
    let text = format!(
        "[barman]\nbarman_home = {}\n[main]\ndescription = Main\n",
        folder.display()
    );
    lab.write(&barman, &text, 0o640);
    let house = House::with(&[&format!("barman.config_file = {}", barman.display())]);
    let all = "config/barman/change,config/barman/rollback,config/barmanapi/change,config/barmanapi/rollback,auth/user/add,auth/user/change,auth/user/remove";
    for (name, rights) in [
        (
            "reader",
            [
                "--access",
                "barman/list-*,barman/show-*,history,config,auth",
                "--deny",
                all,
            ]
            .as_slice(),
        ),
        (
            "tenant",
            &["--access", "barman@main,history,config@main,auth@main"],
        ),
        ("backer", &["--access", "barman/backup@main,history"]),
        // What is allowed besides is no more than that.
        (
            "looker",
            &[
                "--access",
                "config/barman/help,config/barman/revisions,auth/user/list",
            ],
        ),
    ] {
        house.site.user(name, rights);
    }
    let files = Files::of(&house, std::slice::from_ref(&barman));
    let credentials = format!(
        "Basic {}",
        base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            format!("tenant:{PASSWORD}")
        )
    );
    let mut asked = 0;
    let mut refused = |user: &str, what: &str, answer: &Answer| {
        assert_eq!(answer.status, 403, "{user} {what}: {answer:?}");
        files.are_the_same(&format!("{user} {what}"));
        let line = house.refusal_of(answer);
        assert_eq!(line["user"], user, "{line}");
        assert_eq!(line["status"], 403, "{line}");
        asked += 1;
    };
    for user in ["reader", "tenant", "backer", "looker"] {
        let caller = house.ask(user);
        for (route, body) in changes() {
            refused(user, route, &caller.post(route, &body));
            let pairs: Vec<String> = body
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, value)| {
                    format!("{key}={}", value.as_str().unwrap().replace(' ', "%20"))
                })
                .collect();
            let query = pairs.join("&");
            refused(user, route, &caller.form(route, &query));
            let target = format!("{route}?{query}");
            if route.ends_with("/rollback") {
                caller.get(&target).expect(405);
            } else {
                refused(user, &target, &caller.get(&target));
            }
            if user == "tenant" && route.starts_with("/auth/user/") {
                let json = ("Content-Type", "application/json");
                let by_password = [("Authorization", credentials.as_str()), json];
                let body = body.to_string();
                let answer = house
                    .server
                    .request("POST", route, &by_password, body.as_bytes());
                refused(user, route, &answer);
                refused(user, &target, &house.server.basic(&target, user, PASSWORD));
            }
        }
    }
    files.are_the_same("somebody");
    println!("{asked} requests were refused");
    // Each of them is one that whoever has the right is heard for.
    let ada = house.ask("ada");
    for (route, body) in changes() {
        let status = ada.post(route, &body).status;
        assert!(![401, 403, 405].contains(&status), "{route}: {status}");
    }
    drop(fs::remove_dir_all(folder));
}
