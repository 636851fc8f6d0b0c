//! Users that are not added, changed or removed: what is on record of it, and that the users file
//! stays what it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::users::{House, PASSWORD};
use crate::rig::{Answer, Lab};

const SECRET: &str = "swordfish-7731";

/// Who asks for what, the status, and whom the record names. Who lacks the right to a route is
/// refused before a parameter is read.
const REFUSED: &[(&str, &str, &str, u16, &str)] = &[
    (
        "rob",
        "change",
        r#"{"username":"ada","password":"SECRET"}"#,
        403,
        "ada",
    ),
    (
        "rob",
        "change",
        r#"{"username":"ada","access":["*"]}"#,
        403,
        "ada",
    ),
    (
        "rob",
        "change",
        r#"{"username":"rob","access":[]}"#,
        403,
        "rob",
    ),
    (
        "rob",
        "change",
        r#"{"username":"rob","password":"SECRET"}"#,
        400,
        "rob",
    ),
    (
        "rob",
        "change",
        r#"{"username":"rob","password":"x","old_password":"SECRET"}"#,
        403,
        "rob",
    ),
    ("rob", "change", r#"{"username":"rob"}"#, 400, "rob"),
    ("rob", "change", r#"{"password":"SECRET"}"#, 400, ""),
    (
        "ada",
        "change",
        r#"{"username":"rob","password":"x","old_password":"SECRET"}"#,
        400,
        "rob",
    ),
    (
        "ada",
        "change",
        r#"{"username":"rob","access":["**"]}"#,
        400,
        "rob",
    ),
    ("ada", "change", r#"{"username":"SECRET]"}"#, 400, ""),
    (
        "ada",
        "change",
        r#"{"username":"rob","SECRET":1}"#,
        400,
        "rob",
    ),
    (
        "ada",
        "change",
        r#"{"username":"nobody","password":"SECRET"}"#,
        404,
        "nobody",
    ),
    (
        "ada",
        "add",
        r#"{"username":"rob","password":"SECRET","access":[]}"#,
        409,
        "rob",
    ),
    (
        "ada",
        "add",
        r#"{"username":"eve","access":[]}"#,
        400,
        "eve",
    ),
    (
        "ada",
        "add",
        r#"{"username":"eve","password":"LONG","access":[]}"#,
        400,
        "eve",
    ),
    (
        "olga",
        "add",
        r#"{"username":"eve","password":"SECRET","access":[]}"#,
        403,
        "eve",
    ),
    ("olga", "remove", r#"{"username":"ada"}"#, 403, "ada"),
    ("ada", "remove", r#"{"username":"nobody"}"#, 404, "nobody"),
    ("ada", "remove", r#"{"username":"ada"}"#, 409, "ada"),
    ("ada", "remove", "{}", 400, ""),
    ("rob", "remove", r#"{"username":"ada"}"#, 403, ""),
    (
        "rob",
        "add",
        r#"{"username":"eve","password":"SECRET"}"#,
        403,
        "",
    ),
];

#[test]
fn a_refused_change_of_users_is_on_record_once_with_whom_and_without_a_password() {
    let house = House::new();
    for (user, task, body, status, subject) in REFUSED {
        let body = body
            .replace("LONG", &SECRET.repeat(80))
            .replace("SECRET", SECRET);
        let body: Value = serde_json::from_str(&body).unwrap();
        let answer = house.refused(user, task, &body, *status);
        let line = house.refusal_of(&answer);
        let route = format!("/auth/user/{task}");
        assert_eq!(line["user"], *user, "{body}: {line}");
        assert_eq!(line["status"], *status, "{body}: {line}");
        assert_eq!(line["route"], route, "{body}: {line}");
        assert_eq!(line["method"], "POST", "{body}: {line}");
        assert_eq!(
            line["subject"].as_str().unwrap_or_default(),
            *subject,
            "{body}: {line}"
        );
    }
    // So is a body that can't be read, and a wrong password where one is taken.
    let ada = house.ask("ada");
    for (kind, body, status) in [
        (
            "application/json",
            format!("{{\"username\":\"rob\",\"username\":\"{SECRET}\"}}"),
            400,
        ),
        ("text/plain", format!("username={SECRET}"), 415),
        ("application/json", SECRET.repeat(5000), 413),
    ] {
        let header = [("Content-Type", kind)];
        let answer = ada.request("POST", "/auth/user/change", &header, body.as_bytes());
        let line = house.refusal_of(&answer.expect(status));
        assert_eq!(
            (&line["user"], &line["status"]),
            (&json!("ada"), &json!(status)),
            "{line}"
        );
    }
    let target = "/auth/user/remove?username=rob";
    house.server.basic(target, "ada", SECRET).expect(401);
    let logged = house.site.logged();
    let login = logged.lines().find(|line| {
        line.contains("\"event\":\"login\"") && line.contains("\"route\":\"/auth/user/remove\"")
    });
    assert!(login.is_some_and(|line| line.contains("\"status\":401")));
    assert!(!logged.contains(SECRET));
}

/// The three changes, none of which was made before.
fn changes() -> [(&'static str, Value); 3] {
    [
        (
            "add",
            json!({"username": "eve", "password": PASSWORD, "access": ["history"]}),
        ),
        ("change", json!({"username": "rob", "access": ["history"]})),
        ("remove", json!({"username": "rob"})),
    ]
}

#[test]
fn no_user_changes_while_it_can_not_be_put_on_record() {
    let house = House::new();
    let log = house.server.store().join("logs/audit.log");
    let set = |mode| fs::set_permissions(&log, fs::Permissions::from_mode(mode)).unwrap();
    for (task, body) in changes() {
        set(0o000);
        let answer = house.refused("ada", task, &body, 503);
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("audit.log"), "{message}");
        set(0o600);
        house
            .ask("ada")
            .post(&format!("/auth/user/{task}"), &body)
            .expect(200);
    }
    assert!(house.logs_in("eve", PASSWORD) && !house.logs_in("rob", PASSWORD));
}

/// A small file system of its own, which goes with the test.
struct Disk(PathBuf);

impl Disk {
    fn new() -> Self {
        let folder = Lab::get().folder("users");
        let path = folder.display().to_string();
        Lab::as_root(&[
            "mount",
            "-t",
            "tmpfs",
            "-o",
            "size=64k,mode=755",
            "tmpfs",
            &path,
        ]);
        Lab::get().own(&folder);
        Self(folder)
    }

    fn remount(&self, how: &str) {
        let how = format!("remount,{how}");
        Lab::as_root(&["mount", "-o", &how, &self.0.display().to_string()]);
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Lab::as_root(&["umount", "-l", &self.0.display().to_string()]);
        drop(fs::remove_dir(&self.0));
    }
}

fn ask(house: &House, task: &str, body: &Value) -> Answer {
    house.ask("ada").post(&format!("/auth/user/{task}"), body)
}

#[test]
fn where_there_is_no_room_for_the_users_file_it_stays_whole_and_a_later_try_works() {
    let disk = Disk::new();
    let file = disk.0.join("client.conf");
    let house = House::with(&[&format!("user.config_file = {}", file.display())]);
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    for (task, body) in changes() {
        let before = read(&file);
        let names = disk.names();
        // Nothing but whole pages fit, and one is needed.
        fs::write(disk.0.join("full"), vec![0; 1 << 20]).unwrap_err();
        let answer = ask(&house, task, &body);
        assert_eq!(answer.status, 507, "{task}: {answer:?}");
        assert_eq!(house.refusal_of(&answer)["status"], 507);
        assert_eq!(read(&file), before, "{task}");
        fs::remove_file(disk.0.join("full")).unwrap();
        disk.remount("ro");
        let answer = ask(&house, task, &body);
        assert_eq!(answer.status, 503, "{task}: {answer:?}");
        assert_eq!(house.refusal_of(&answer)["status"], 503);
        disk.remount("rw");
        Lab::as_root(&["chown", "root", &disk.0.display().to_string()]);
        let answer = ask(&house, task, &body);
        assert_eq!(answer.status, 503, "{task}: {answer:?}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("account of the service"), "{message}");
        Lab::get().own(&disk.0);
        assert_eq!(read(&file), before, "{task}");
        assert_eq!(disk.names(), names, "{task}");
        ask(&house, task, &body).expect(200);
        assert_ne!(read(&file), before, "{task}");
    }
    assert!(house.logs_in("eve", PASSWORD) && !house.logs_in("rob", PASSWORD));
    assert_eq!(disk.names(), ["client.conf", "client.conf.lock"]);
}

/// A request in each of the three forms that carry parameters.
fn in_every_form(house: &House, task: &str, pairs: &[(&str, &str)], status: u16) {
    let target = format!("/auth/user/{task}");
    let ada = house.ask("ada");
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect()
    };
    let form: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={}", escape(value)))
        .collect();
    let form = form.join("&");
    let mut body = json!({});
    for (key, value) in pairs {
        body[*key] = json!(value);
    }
    let shown: String = form.chars().take(80).collect();
    let before = house.file();
    let by_query = (form.len() < 6000).then(|| ada.get(&format!("{target}?{form}")));
    let by_body = [ada.post(&target, &body), ada.form(&target, &form)];
    for answer in by_body.iter().chain(&by_query) {
        assert_eq!(answer.status, status, "{task} {shown}: {answer:?}");
    }
    assert_eq!(house.file(), before, "{task} {shown}");
    // A query is read before it is known who asks.
    for answer in by_body {
        assert_eq!(
            house.refusal_of(&answer)["status"],
            status,
            "{task} {shown}"
        );
    }
}

#[test]
fn a_list_that_is_a_program_is_a_list_in_no_form() {
    let house = House::new();
    let program = "__import__('os').popen('id').read()";
    for name in ["access", "deny"] {
        in_every_form(
            &house,
            "change",
            &[("username", "rob"), (name, program)],
            400,
        );
        let other = if name == "deny" { "access" } else { "deny" };
        let add = [
            ("username", "eve"),
            ("password", "x"),
            (other, "[]"),
            (name, program),
        ];
        in_every_form(&house, "add", &add, 400);
    }
}

#[test]
fn a_list_that_is_too_long_or_has_a_nul_changes_nothing_in_any_form() {
    let house = House::new();
    let long = "x".repeat(129);
    let many = |count: usize| {
        let rules: Vec<_> = (0..count).map(|number| format!("p{number}")).collect();
        rules.join(",")
    };
    let bad = [
        "bar\0man",
        "barman\0",
        "['bar\0man']",
        long.as_str(),
        &many(201),
    ];
    for word in ["access", "deny"] {
        for list in bad {
            let wish = [("username", "rob"), (word, list)];
            in_every_form(&house, "change", &wish, 400);
            let wish = [("username", "eve"), ("password", "x"), (word, list)];
            in_every_form(&house, "add", &wish, 400);
            // As an array too, which only JSON has.
            let rules: Vec<&str> = list.split(',').collect();
            let body = json!({"username": "rob", word: rules});
            house.refused("ada", "change", &body, 400);
        }
    }
    // One less of each is taken.
    for list in [&"x".repeat(128), &many(200)] {
        let wish = json!({"username": "rob", "access": list, "deny": list});
        ask(&house, "change", &wish).expect(200);
    }
}

#[test]
fn a_name_that_could_be_read_as_more_is_taken_by_no_route() {
    let house = House::new();
    let long = "x".repeat(65);
    for name in [
        "rob]",
        "[rob",
        "rob\n",
        "rob\n[eve]",
        "\nrob",
        "rob\r",
        "rob\0",
        &long,
        "DEFAULT",
    ] {
        // What is handed down to all is nobody: no such user, or a name that is kept for that.
        let statuses = if name == "DEFAULT" {
            [400, 404, 404]
        } else {
            [400; 3]
        };
        let list = ("access", "history");
        let add = [("username", name), ("password", "x"), list];
        in_every_form(&house, "add", &add, statuses[0]);
        in_every_form(&house, "change", &[("username", name), list], statuses[1]);
        in_every_form(&house, "remove", &[("username", name)], statuses[2]);
    }
}

#[test]
fn a_password_of_several_lines_adds_no_line_to_the_file() {
    let house = House::new();
    for (task, name) in [("add", "eve"), ("change", "rob")] {
        let password = "a\n[mallory]\naccess = []\r\nx";
        let mut body = json!({"username": name, "password": password});
        if task == "add" {
            body["access"] = json!(["history"]);
        }
        let answer = ask(&house, task, &body);
        assert!([200, 400].contains(&answer.status), "{task}: {answer:?}");
        let list = house.ask("ada").get("/auth/user/list").expect(200).json();
        assert_eq!(list["list"].get("mallory"), None, "{list}");
        assert_eq!(list.get("faults"), None, "{list}");
        let text = house.file();
        let known = ["password = ", "access = ", "deny = ", "stamp = ", "["];
        for line in text.lines().filter(|line| !line.is_empty()) {
            assert!(
                known.iter().any(|known| line.starts_with(known)),
                "{task}: {line}"
            );
        }
        body["password"] = json!("a\0b");
        if task == "add" {
            body["username"] = json!("eva");
        }
        house.refused("ada", task, &body, 400);
    }
}
