//! What the routes for users and configuration take and what not: passwords, methods, bodies.

use std::fs;

use base64::Engine as _;
use serde_json::json;

use super::routes::{ROUTES, well_formed};
use crate::rig::{Answer, Barman, Lab, Server, Site, StandIn};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// A service with a configuration of Barman that can be changed.
struct House {
    stand_in: StandIn,
    site: Site,
    server: Server,
}

impl House {
    fn new(setting: &[&str]) -> Self {
        let stand_in = StandIn::new();
        let config = stand_in.folder().join("barman.conf");
        let home = stand_in.folder().display().to_string();
        let text = format!("[barman]\nbarman_home = {home}\n[main]\ndescription = Main\n");
        Lab::get().write(&config, &text, 0o640);
        let config = format!("barman.config_file = {}", config.display());
        let settings = [&[config.as_str()], setting].concat();
        let site = Site::new(&Barman::StandIn(&stand_in), &settings);
        site.user("admin", &["--full"]);
        site.user("rob", &["--access", "history"]);
        let server = site.serve();
        Self {
            stand_in,
            site,
            server,
        }
    }

    /// All that could be changed.
    fn files(&self) -> Vec<Vec<u8>> {
        let own = ["client.conf", "barmanapi.conf"].map(|name| self.site.file(name));
        let barman = self.stand_in.folder().join("barman.conf");
        own.iter()
            .chain([&barman])
            .map(|path| fs::read(path).unwrap())
            .collect()
    }
}

/// Requests of the routes that change users or configuration; a GET has them in its query.
const CHANGES: [(&str, &str); 7] = [
    ("/auth/user/add", "username=eve&password=x&access=history"),
    ("/auth/user/change", "username=rob&deny=history"),
    ("/auth/user/remove", "username=rob"),
    ("/config/barman/change", "main.description=new"),
    (
        "/config/barman/rollback",
        "revision=20261121T000000-000000000000",
    ),
    ("/config/barmanapi/change", "barman.max_jobs=3"),
    (
        "/config/barmanapi/rollback",
        "revision=20261121T000000-000000000000",
    ),
];

#[test]
fn a_password_opens_the_routes_for_users_and_no_other_and_no_browser_is_asked_for_one() {
    let house = House::new(&[]);
    let before = house.files();
    let asks_for_basic = |answer: &Answer| {
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        challenge.to_ascii_lowercase().contains("basic")
    };
    let pair = base64::engine::general_purpose::STANDARD.encode("admin:correct horse battery");
    let right = format!("Basic {pair}");
    let wrong = format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode("a b:x")
    );
    for (path, methods, who) in ROUTES {
        if who == "nobody" {
            continue;
        }
        let takes = path == "/auth/token" || path.starts_with("/auth/user");
        for method in methods {
            let by_password = [("Authorization", right.as_str())];
            let answer = house.server.request(method, path, &by_password, b"");
            // What lacks its parameters was let in.
            let status = match path {
                _ if !takes => 401,
                "/auth/user/add" | "/auth/user/change" | "/auth/user/remove" => 400,
                _ => 200,
            };
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
            well_formed(&answer, false);
            for accept in ["text/html,application/xhtml+xml,*/*;q=0.8", "TEXT/HTML"] {
                for authorization in ["", &right, "Bearer a.b.c"] {
                    let headers = [("Accept", accept), ("Authorization", authorization)];
                    let headers = if authorization.is_empty() {
                        &headers[..1]
                    } else {
                        &headers
                    };
                    let answer = house.server.request(method, path, headers, b"");
                    assert!(!asks_for_basic(&answer), "{method} {path}: {answer:?}");
                    if answer.status == 401 {
                        assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
                    }
                }
            }
            let answer = house.server.request(method, path, &[], b"").expect(401);
            assert_eq!(asks_for_basic(&answer), takes, "{method} {path}");
        }
    }
    // Neither is one whose password is wrong.
    let headers = [("Accept", "text/html"), ("Authorization", wrong.as_str())];
    let answer = house
        .server
        .request("GET", "/auth/user/list", &headers, b"")
        .expect(401);
    assert!(!asks_for_basic(&answer));
    assert_eq!(house.files(), before);
}

#[test]
fn get_changes_nothing_where_that_is_switched_off() {
    let house = House::new(&["application.get_changes = false"]);
    let admin = house.server.with_token(&house.site.token("admin"));
    let before = house.files();
    let more = [
        ("/auth/logout", ""),
        ("/barman/reload", ""),
        ("/barman/backup", "server_name=main"),
        ("/barman/delete", "server_name=main&backup_id=latest"),
        ("/history/cancel", "ticket=x"),
    ];
    for (path, query) in CHANGES.into_iter().chain(more) {
        // What a command needs is asked for first.
        let bare =
            (!path.starts_with("/barman/backup") && path != "/barman/delete").then_some(path);
        for target in bare
            .map(str::to_owned)
            .into_iter()
            .chain([format!("{path}?{query}")])
        {
            let answer = admin.get(&target);
            assert_eq!(answer.status, 405, "{target}: {answer:?}");
            assert_eq!(answer.header("allow"), Some("POST"), "{target}");
            well_formed(&answer, false);
            let token = &admin.token;
            let end = if target.contains('?') { '&' } else { '?' };
            let answer = house.server.get(&format!("{target}{end}token={token}"));
            assert_eq!(answer.status, 405, "{target}");
            let pair =
                base64::engine::general_purpose::STANDARD.encode("admin:correct horse battery");
            let by_password = [("Authorization", format!("Basic {pair}"))];
            let headers = by_password
                .each_ref()
                .map(|(key, value)| (*key, value.as_str()));
            let answer = house.server.request("GET", &target, &headers, b"");
            assert!([401, 405].contains(&answer.status), "{target}: {answer:?}");
        }
    }
    assert_eq!(house.files(), before);
    assert_eq!(house.stand_in.starts().len(), 0);
    // The token is good still, what reads is read, and a POST does it.
    admin.get("/auth/user/list").expect(200);
    admin.get("/config/barmanapi").expect(200);
    admin.get("/config/barman").expect(200);
    admin.form("/auth/user/remove", "username=rob").expect(200);
    assert_ne!(house.files(), before);
}

#[test]
fn a_body_for_users_or_configuration_is_bounded_and_of_a_known_kind() {
    let house = House::new(&[]);
    let admin = house.server.with_token(&house.site.token("admin"));
    let before = house.files();
    let large = "x".repeat(64 * 1024 + 1);
    let deep = format!("{{\"username\":{}", "[".repeat(30_000));
    let many = "&x=1".repeat(10_000);
    for (path, query) in CHANGES {
        let (key, value) = query.split('&').next().unwrap().split_once('=').unwrap();
        let json = json!({key: value}).to_string();
        let twice = format!("{{\"{key}\":\"{value}\",\"{key}\":\"{value}\"}}");
        // Keys count the same in any case; the names of sections do not.
        let (section, last) = key
            .rsplit_once('.')
            .map_or(("", key), |(one, two)| (one, two));
        let dot = if section.is_empty() { "" } else { "." };
        let upper = format!("{section}{dot}{}", last.to_uppercase());
        let other_case = format!("{{\"{key}\":\"{value}\",\"{upper}\":\"x\"}}");
        for (kind, body, status) in [
            (FORM, format!("{query}&x={large}"), 413),
            (JSON, format!("{{\"{key}\":\"{large}\"}}"), 413),
            ("text/plain", json.clone(), 415),
            (
                "multipart/form-data; boundary=x",
                "--x\r\n\r\n--x--\r\n".to_owned(),
                415,
            ),
            ("application/octet-stream", query.to_owned(), 415),
            ("", query.to_owned(), 415),
            (JSON, twice, 400),
            (JSON, other_case, 400),
            (JSON, deep.clone(), 400),
            (JSON, "[1]".to_owned(), 400),
            (JSON, format!("{json} x"), 400),
            (JSON, format!("{{\"{key}\":null}}"), 400),
            (JSON, query.to_owned(), 400),
            (FORM, many.clone(), 400),
            (FORM, format!("{query}&{query}"), 400),
            (FORM, format!("{query}&token=abc"), 400),
            (FORM, format!("{query}%00"), 400),
            (FORM, format!("{query}%ff"), 400),
        ] {
            let header = [("Content-Type", kind)];
            let headers = if kind.is_empty() {
                &[][..]
            } else {
                &header[..]
            };
            let answer = admin.request("POST", path, headers, body.as_bytes());
            let shown: String = body.chars().take(60).collect();
            assert_eq!(answer.status, status, "{path} {kind}: {shown}: {answer:?}");
            well_formed(&answer, false);
        }
        let packed = [("Content-Type", FORM), ("Content-Encoding", "gzip")];
        admin
            .request("POST", path, &packed, b"\x1f\x8b")
            .expect(415);
        // The same in two places, a body where none belongs, and a method in place of another.
        let form = [("Content-Type", FORM)];
        let target = format!("{path}?{query}");
        admin
            .request("POST", &target, &form, query.as_bytes())
            .expect(400);
        let get = admin.request("GET", &target, &form, query.as_bytes());
        assert!([400, 405].contains(&get.status), "{target}: {get:?}");
        admin
            .form(path, &format!("_method=PUT&{query}"))
            .expect(400);
        assert_eq!(house.files(), before, "{path}");
    }
    for (path, _, who) in ROUTES {
        let reads = [
            "/auth/user",
            "/auth/user/list",
            "/config/barman",
            "/config/barmanapi",
        ];
        if who == "token" && reads.contains(&path) {
            let answer = admin.form(path, "x=1").expect(400);
            well_formed(&answer, false);
        }
    }
    assert_eq!(house.files(), before);
}

/// What is sent for a field and is none of its values, as JSON has it.
const OTHERS: [&str; 9] = [
    "null",
    "true",
    "[]",
    "{}",
    "[[\"a\"]]",
    "{\"a\":\"b\"}",
    "1",
    "-0",
    "1e400",
];

/// Fields by route: what else is sent, and which of [`OTHERS`] are values there.
const FIELDS: [(&str, &str, &str, &[&str]); 24] = [
    (
        "auth/user/add",
        "username",
        "\"password\":\"x\",\"access\":[]",
        &[],
    ),
    (
        "auth/user/add",
        "password",
        "\"username\":\"eve\",\"access\":[]",
        &[],
    ),
    (
        "auth/user/add",
        "access",
        "\"username\":\"eve\",\"password\":\"x\"",
        &["[]"],
    ),
    (
        "auth/user/add",
        "deny",
        "\"username\":\"eve\",\"password\":\"x\",\"access\":[]",
        &["[]"],
    ),
    (
        "auth/user/change",
        "username",
        "\"deny\":[\"history\"]",
        &[],
    ),
    ("auth/user/change", "password", "\"username\":\"rob\"", &[]),
    (
        "auth/user/change",
        "old_password",
        "\"username\":\"admin\",\"password\":\"x\"",
        &[],
    ),
    (
        "auth/user/change",
        "access",
        "\"username\":\"rob\"",
        &["[]"],
    ),
    ("auth/user/change", "deny", "\"username\":\"rob\"", &["[]"]),
    ("auth/user/remove", "username", "\"unused\":1", &[]),
    (
        "config/barman/change",
        "main.description",
        "\"main.check_timeout\":3",
        &["1", "-0", "1e400", "true"],
    ),
    (
        "config/barman/change",
        "main.parallel_jobs",
        "\"main.check_timeout\":3",
        // Python reads it as 0, and so does Barman.
        &["1", "-0"],
    ),
    (
        "config/barman/change",
        "main.immediate_checkpoint",
        "\"main.check_timeout\":3",
        &["true", "1"],
    ),
    (
        "config/barman/change",
        "unset",
        "\"main.check_timeout\":3",
        &["[]"],
    ),
    (
        "config/barman/change",
        "create",
        "\"main.check_timeout\":3",
        &["true"],
    ),
    (
        "config/barman/change",
        "dry_run",
        "\"main.check_timeout\":3",
        &["true"],
    ),
    (
        "config/barman/rollback",
        "revision",
        "\"dry_run\":true",
        &[],
    ),
    (
        "config/barman/rollback",
        "dry_run",
        "\"revision\":\"20261121T000000-000000000000\"",
        &["true"],
    ),
    (
        "config/barmanapi/change",
        "barman.max_jobs",
        "\"barman.queue\":3",
        &["1"],
    ),
    (
        "config/barmanapi/change",
        "application.debug",
        "\"barman.queue\":3",
        &["true", "1"],
    ),
    (
        "config/barmanapi/change",
        "unset",
        "\"barman.queue\":3",
        &["[]"],
    ),
    (
        "config/barmanapi/change",
        "dry_run",
        "\"barman.queue\":3",
        &["true"],
    ),
    (
        "config/barmanapi/rollback",
        "revision",
        "\"dry_run\":true",
        &[],
    ),
    (
        "config/barmanapi/rollback",
        "dry_run",
        "\"revision\":\"20261121T000000-000000000000\"",
        &["true"],
    ),
];

#[test]
fn a_value_of_another_type_changes_nothing_and_is_named() {
    let house = House::new(&[]);
    let admin = house.server.with_token(&house.site.token("admin"));
    let before = house.files();
    for (path, field, rest, taken) in FIELDS {
        for other in OTHERS.iter().filter(|other| !taken.contains(other)) {
            let body = format!("{{{rest},\"{field}\":{other}}}");
            let header = [("Content-Type", JSON)];
            let answer = admin.request("POST", &format!("/{path}"), &header, body.as_bytes());
            assert_eq!(answer.status, 400, "{path} {body}: {answer:?}");
            let told = answer.json()["message"].as_str().unwrap().to_owned();
            let (_, key) = field.split_once('.').unwrap_or(("", field));
            assert!(told.contains(key), "{path} {body}: {told}");
            well_formed(&answer, false);
            assert_eq!(house.files(), before, "{path} {body}");
        }
    }
    assert_eq!(house.stand_in.starts().len(), 0);
}

#[test]
fn a_field_that_is_not_known_and_a_method_in_a_header_change_nothing() {
    let house = House::new(&[]);
    let admin = house.server.with_token(&house.site.token("admin"));
    let before = house.files();
    for (path, query) in CHANGES {
        for field in ["acces", "Servername2", "foo"] {
            let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
            let mut body: serde_json::Map<_, _> = pairs
                .map(|(key, value)| (key.to_owned(), json!(value)))
                .collect();
            body.insert(field.to_owned(), json!("x"));
            let by_json = admin.post(path, &body.into());
            for answer in [by_json, admin.form(path, &format!("{query}&{field}=x"))] {
                assert_eq!(answer.status, 400, "{path} {field}: {answer:?}");
                let told = answer.json()["message"].as_str().unwrap().to_owned();
                assert!(told.contains(field), "{path} {field}: {told}");
            }
        }
        // Other methods than the one in the first line do not count.
        for name in [
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "X-Method-Override",
        ] {
            let headers = [("Content-Type", FORM), (name, "POST")];
            let answer = admin.request("HEAD", &format!("{path}?{query}"), &headers[1..], b"");
            assert_eq!(answer.status, 405, "{path} {name}: {answer:?}");
            let answer = admin.request("PUT", path, &headers, query.as_bytes());
            assert_eq!(answer.status, 405, "{path} {name}: {answer:?}");
        }
    }
    assert_eq!(house.files(), before);
    assert_eq!(house.stand_in.starts().len(), 0);
}
