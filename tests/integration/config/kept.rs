//! What is kept of each change: lines of the logs and revisions.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use barmanapi::clock;

use super::*;

/// Barman's files and ours before a stand-in that takes every candidate.
struct House {
    site: Site,
    files: Files,
    _stand_in: StandIn,
}

impl House {
    fn new() -> Self {
        let files = Files::new();
        let stand_in = StandIn::new();
        stand_in.control(&json!({"servers": ["main", "other", "third"]}));
        let config = format!(
            "barman.config_file = {}",
            files.path("barman.conf").display()
        );
        let site = Site::new(&Barman::StandIn(&stand_in), &[&config, "barman.queue = 5"]);
        site.user("admin", &["--full"]);
        site.user("reader", &["--access", "history"]);
        Self {
            site,
            files,
            _stand_in: stand_in,
        }
    }

    /// The lines of a log about one request.
    fn lines_of(&self, log: &str, answer: &Answer) -> Vec<Value> {
        let text = fs::read_to_string(self.site.file("store/logs").join(log)).unwrap();
        let id = answer.header("x-request-id").unwrap();
        let of_answer = text.lines().filter(|line| line.contains(id));
        of_answer
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// The second that it is.
fn second() -> String {
    clock::text(clock::now())[..19].to_owned()
}

/// A request that was answered, and what has to be told of it.
struct Told {
    event: &'static str,
    user: &'static str,
    /// The second before it.
    since: String,
    answer: Answer,
}

impl Told {
    fn ask(user: &User<'_>, event: &'static str, target: &str) -> Self {
        let since = second();
        let answer = user.request("POST", target, &[], b"");
        let user = if answer.status == 403 && !target.contains("command") {
            "reader"
        } else {
            "admin"
        };
        Self {
            event,
            user,
            since,
            answer,
        }
    }

    /// The line of the audit log, and the line of the other log that says how long it took.
    fn look_at_lines(&self, house: &House) {
        let answer = &self.answer;
        let lines = house.lines_of("audit.log", answer);
        // What is refused only when it is about to be done was announced before.
        let (line, announced) = lines.split_last().unwrap();
        let may_be = usize::from(self.event == "refused");
        assert!(announced.len() <= may_be, "{lines:?}");
        assert_eq!(line["event"], self.event, "{line}");
        assert_eq!(line["user"], self.user, "{line}");
        assert_eq!(line["auth"], "token", "{line}");
        assert_eq!(line["from"], "127.0.0.1", "{line}");
        assert_eq!(line["method"], "POST", "{line}");
        let at = &line["ts"].as_str().unwrap()[..19];
        assert!(
            self.since.as_str() <= at && at <= second().as_str(),
            "{line}"
        );
        let is_refusal = self.event == "refused";
        assert_eq!(is_refusal, answer.status != 200, "{answer:?}");
        assert_eq!(line["status"] == answer.status, is_refusal, "{line}");
        for secret in ["swordfish", "a-value"] {
            assert!(!line.to_string().contains(secret), "{line}");
        }
        let lines = house.lines_of("general.log", answer);
        let mut times = lines.iter().map(|line| &line["fields"]);
        let times = times.find(|fields| fields["duration_ms"].is_number());
        let fields = times.unwrap_or_else(|| panic!("{lines:?}"));
        assert!(fields["duration_ms"].as_f64().unwrap() > 0.0, "{fields}");
        assert_eq!(fields["status"], answer.status, "{fields}");
        assert_eq!(fields["route"], line["route"], "{fields}");
    }

    /// The revision says the same as the line.
    fn look_at_revision(&self, house: &House, admin: &User<'_>) {
        let line = &house.lines_of("audit.log", &self.answer)[0];
        let file = line["route"].as_str().unwrap().split('/').nth(2).unwrap();
        let id = self.answer.json()["revision"].as_str().unwrap().to_owned();
        assert_eq!(line["ticket"], id.as_str());
        let list = |target: &str| admin.get(target).expect(200).json()["list"].clone();
        let one = list(&format!("/config/{file}/revisions/{id}"));
        let all = list(&format!("/config/{file}/revisions"));
        let mut all = all.as_array().unwrap().iter();
        let listed = all.find(|one| one["revision"] == id.as_str()).unwrap();
        for told in [&one, listed] {
            let at = told["at"].as_str().unwrap();
            let until = clock::text(clock::now());
            assert!(at.ends_with('Z') && at.len() == until.len(), "{told}");
            assert!(self.since[..] <= at[..19] && *at <= until[..], "{told}");
            let plain: String = at.chars().filter(|c| !"-:Z".contains(*c)).collect();
            assert!(id.starts_with(&plain), "{told}");
            assert_eq!(told["user"], "admin");
            let request = self.answer.header("x-request-id").unwrap();
            assert_eq!(told["request_id"], request);
        }
    }
}

#[test]
fn every_change_and_every_refusal_leaves_who_how_from_where_and_when() {
    let house = House::new();
    let server = house.site.serve();
    let (admin, reader) = (server.login("admin"), server.login("reader"));
    let mut all: Vec<_> = [
        (
            "config_change",
            "/config/barman/change?main.parallel_jobs=3",
        ),
        ("config_change", "/config/barmanapi/change?barman.queue=77"),
        (
            "user_add",
            "/auth/user/add?username=eve&password=swordfish&access=history",
        ),
        (
            "user_change",
            "/auth/user/change?username=eve&deny=barman/delete",
        ),
        ("user_remove", "/auth/user/remove?username=eve"),
        ("refused", "/config/barman/change?main.no_such_key=a-value"),
        (
            "refused",
            "/config/barmanapi/change?barman.command=/bin/a-value",
        ),
        ("refused", "/auth/user/remove?username=nobody"),
    ]
    .map(|(event, target)| Told::ask(&admin, event, target))
    .into();
    for (at, file) in ["barman", "barmanapi"].into_iter().enumerate() {
        let changed = all[at].answer.json();
        let revision = changed["revision"].as_str().unwrap();
        let target = format!("/config/{file}/rollback?revision={revision}");
        all.push(Told::ask(&admin, "config_rollback", &target));
        // There is nothing left of it.
        all.push(Told::ask(&admin, "refused", &target));
    }
    for target in [
        "/config/barman/change?main.parallel_jobs=4",
        "/config/barmanapi/change?barman.queue=4",
        "/config/barman/rollback?revision=20261120T214304-k3v9m2x8q4c7",
        "/auth/user/add?username=eve&password=swordfish",
    ] {
        let told = Told::ask(&reader, "refused", target);
        assert_eq!(told.answer.status, 403, "{:?}", told.answer);
        all.push(told);
    }
    for told in &all {
        told.look_at_lines(&house);
    }
    for told in all.iter().filter(|told| told.event.starts_with("config")) {
        told.look_at_revision(&house, &admin);
    }
    // By name and password, where those are taken.
    let target = "/auth/user/add?username=bob&password=swordfish";
    let basic = server.basic(target, "admin", "correct horse battery");
    let line = &house.lines_of("audit.log", &basic.expect(200))[0];
    assert_eq!(
        (&line["auth"], &line["method"]),
        (&json!("basic"), &json!("GET"))
    );
}

/// Every file and folder below a folder, with its mode.
fn modes(folder: &Path, found: &mut Vec<(PathBuf, bool, u32)>) {
    let facts = fs::symlink_metadata(folder).unwrap();
    found.push((folder.to_owned(), facts.is_dir(), facts.mode() & 0o7777));
    if facts.is_dir() {
        for entry in fs::read_dir(folder).unwrap() {
            modes(&entry.unwrap().path(), found);
        }
    }
}

#[test]
fn revisions_are_private_and_files_keep_their_modes_whatever_the_umask() {
    let mut fresh = Vec::new();
    for umask in ["000", "077"] {
        let house = House::new();
        let own = house.site.file("barmanapi.conf");
        fs::set_permissions(&own, fs::Permissions::from_mode(0o640)).unwrap();
        let become_it = format!("umask {umask}; exec \"$@\"");
        let server = house
            .site
            .serve_through(&["/bin/sh", "-c", &become_it, "sh"], &[]);
        server.wait_until_ready();
        let admin = server.login("admin");
        for target in [
            "/config/barman/change?main.parallel_jobs=3&third.description=3&create=true",
            "/config/barmanapi/change?barman.queue=77",
        ] {
            let answer = admin.request("POST", target, &[], b"").expect(200).json();
            let file = target.split('/').nth(2).unwrap();
            let revision = answer["revision"].as_str().unwrap();
            let back = format!("/config/{file}/rollback?revision={revision}");
            if file == "barmanapi" {
                admin.request("POST", &back, &[], b"").expect(200);
            }
        }
        let mut found = Vec::new();
        modes(&server.store().join("config/revisions"), &mut found);
        for (path, is_folder, mode) in &found {
            let wanted = if *is_folder { 0o700 } else { 0o600 };
            assert_eq!(*mode, wanted, "umask {umask}: {}", path.display());
        }
        let count = |is_folder: bool| found.iter().filter(|one| one.1 == is_folder).count();
        // Of each file: a lock, and a record and a mark of each change.
        assert_eq!((count(true), count(false)), (3, 2 + 2 * 3), "{found:?}");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&own), 0o640);
        assert_eq!(mode(&house.files.path("barman.d/main.conf")), 0o640);
        fresh.push(mode(&house.files.path("barman.d/third.conf")));
    }
    // A new file of Barman's is for its account and its group, as those that Barman comes with.
    assert_eq!(fresh, [0o640, 0o640]);
}
