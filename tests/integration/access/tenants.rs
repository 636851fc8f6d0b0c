//! Users who may work on one server, or read, and nothing more.

use serde_json::{Value, json};

use crate::rig::{Answer, Barman, Server, Site, StandIn, User};

struct Tenancy {
    stand_in: StandIn,
    site: Site,
    server: Server,
}

impl Tenancy {
    fn new(settings: &[&str]) -> Self {
        let stand_in = StandIn::new();
        let site = Site::new(&Barman::StandIn(&stand_in), settings);
        let section = |name: &str, access: &str| {
            format!("[{name}]\npassword = 00000000000000000000000000000000\naccess = {access}\n\n")
        };
        site.users(
            &[
                section("admin", "[]"),
                section("tenant", "['barman@main', 'history']"),
                section("reader", "['barman/list-*', 'barman/show-*', 'history']"),
                section("backer", "['barman/backup@main', 'history']"),
            ]
            .concat(),
        );
        let server = site.serve();
        Self {
            stand_in,
            site,
            server,
        }
    }

    fn caller(&self, name: &str) -> User<'_> {
        self.server.with_token(&self.site.token(name))
    }

    fn started(&self) -> usize {
        self.stand_in.starts().len()
    }
}

/// An answer with the words that were asked for taken out.
fn shape(answer: &Answer, word: &str) -> (u16, String) {
    let text = String::from_utf8(answer.body.clone()).unwrap();
    (answer.status, text.replace(word, "X"))
}

#[test]
fn a_tenant_reaches_its_own_server_and_no_other() {
    let place = Tenancy::new(&[]);
    let tenant = place.caller("tenant");
    let command = "/barman/list-backups";
    for query in [
        "server_name=other",
        "server_name=main&server_name=other",
        "server_name=all",
        "SERVERNAME=other",
        "server-name=other",
        "server_name=nosuch",
        "server_name=ALL",
        "server_name=main,other",
        "server_name=main%20other",
        "server_name=main&server_name=all",
    ] {
        let answer = tenant.get(&format!("{command}?{query}"));
        // What can't be a server's name, or comes twice where one is taken, is refused as such.
        let known = if query.contains('&') || query.contains(',') || query.contains('%') {
            &[400, 403][..]
        } else {
            &[403]
        };
        assert!(known.contains(&answer.status), "{query}: {answer:?}");
        let answer = tenant.form(command, query);
        assert!(known.contains(&answer.status), "{query}: {answer:?}");
    }
    for query in [
        "server_name=main%0aother",
        "server_name=%20main",
        "server_name=main%00",
    ] {
        let answer = tenant.get(&format!("{command}?{query}"));
        assert!([400, 403].contains(&answer.status), "{query}: {answer:?}");
    }
    for names in [
        json!(["main", "other"]),
        json!("other"),
        json!(["all"]),
        json!({"a": "main"}),
    ] {
        let answer = tenant.post(command, &json!({"server_name": names}));
        assert!([400, 403].contains(&answer.status), "{names}: {answer:?}");
    }
    // Whether a server exists can't be told.
    let there = tenant.get("/barman/backup?server_name=other");
    let nowhere = tenant.get("/barman/backup?server_name=nosuch");
    assert_eq!(shape(&there, "other"), shape(&nowhere, "nosuch"));
    assert_eq!(there.status, 403);

    // What concerns all servers or none.
    for command in ["diagnose", "cron", "list-servers", "lock-directory-cleanup"] {
        let answer = tenant.form(&format!("/barman/{command}"), "");
        assert_eq!(answer.status, 403, "{command}: {answer:?}");
    }
    let change =
        |server: &str| json!({"scope": "server", "server_name": server, "parallel_jobs": "2"});
    for changes in [
        json!([change("other")]),
        json!([change("main"), change("other")]),
    ] {
        let body = json!({"json_changes": changes.to_string()});
        let answer = tenant.post("/barman/config-update", &body);
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    for target in ["/operations", "/diagnose", "/servers/other/operations"] {
        let answer = tenant.get(target);
        assert!([403, 404].contains(&answer.status), "{target}: {answer:?}");
    }
    assert_eq!(place.started(), 0);
    tenant
        .get("/barman/list-backups?server_name=main")
        .expect(200);
    tenant
        .post(command, &json!({"server_name": ["main"]}))
        .expect(200);
    place
        .caller("admin")
        .get("/barman/list-backups?server_name=all")
        .expect(200);
    assert_eq!(place.started(), 3);
}

#[test]
fn a_tenant_reaches_no_file_of_another_server() {
    let place = Tenancy::new(&["target:here.directories = /var/tmp/nowhere-at-all"]);
    let tenant = place.caller("tenant");
    let wal = "000000010000000000000003";
    for name in [
        format!("../../other/wals/0000000100000000/{wal}"),
        format!("%2e%2e%2f%2e%2e%2fother/wals/0000000100000000/{wal}"),
        format!("/srv/barman/other/wals/0000000100000000/{wal}"),
        format!("..\\..\\other\\wals\\{wal}"),
        format!("{wal}/../{wal}"),
        format!("{wal}%00"),
        format!("{wal}%0a"),
        format!("-{wal}"),
        String::new(),
    ] {
        let answer = tenant.get(&format!("/barman/get-wal?server_name=main&wal_name={name}"));
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
    }
    for word in [
        "output-directory",
        "output_directory",
        "OUTPUT_DIRECTORY",
        "o",
    ] {
        let target =
            format!("/barman/get-wal?server_name=main&wal_name={wal}&{word}=/srv/barman/other");
        let answer = tenant.get(&target);
        assert!([400, 403].contains(&answer.status), "{word}: {answer:?}");
    }
    for directory in [
        "/srv/barman/other/base/20261120T214304/data",
        "/etc/barman.d",
        "/var/lib/barman/.ssh",
        "/var/tmp/nowhere-at-all/../../../etc",
        "relative",
        "/var/tmp/nowhere-at-allx",
    ] {
        let body = json!({"server_name": "main", "backup_id": "latest", "destination_directory": directory});
        let answer = tenant.post("/barman/restore", &body);
        assert!(
            [400, 403].contains(&answer.status),
            "{directory}: {answer:?}"
        );
    }
    assert_eq!(place.started(), 0);
    place
        .stand_in
        .control(&json!({"get-wal": {"stdout_hex": "00ff"}}));
    let answer = tenant.get(&format!("/barman/get-wal?server_name=main&wal_name={wal}"));
    assert_eq!(answer.expect(200).body, [0x00, 0xff]);
    let body = json!({"server_name": "main", "backup_id": "latest",
        "destination_directory": "/var/tmp/nowhere-at-all/one"});
    tenant.post("/barman/restore", &body).ticket();
}

#[test]
fn a_user_without_the_right_can_not_tell_what_exists() {
    let place = Tenancy::new(&[]);
    let (reader, backer) = (place.caller("reader"), place.caller("backer"));
    for suffix in [
        "",
        "/help",
        "?server_name=main",
        "?server_name=nosuch",
        "?nonsense=1",
    ] {
        let there = reader.get(&format!("/barman/backup{suffix}"));
        let nowhere = reader.get(&format!("/barman/nosuch{suffix}"));
        assert_eq!(there.status, 403, "{suffix}: {there:?}");
        assert_eq!(
            shape(&there, "backup"),
            shape(&nowhere, "nosuch"),
            "{suffix}"
        );
    }
    for command in ["backup", "nosuch"] {
        // A body that is wrong does not tell either.
        let broken = [("Content-Type", "application/json")];
        let answer = reader.request("POST", &format!("/barman/{command}"), &broken, b"{}");
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    let there = backer.form("/barman/backup", "server_name=other");
    let nowhere = backer.form("/barman/backup", "server_name=nosuch");
    assert_eq!(shape(&there, "other"), shape(&nowhere, "nosuch"));
    assert_eq!(there.status, 403);
    // With the right, both are told plainly.
    let admin = place.caller("admin");
    admin.get("/barman/nosuch").expect(404);
    admin.get("/barman/nosuch/help").expect(404);
    admin
        .form("/barman/backup", "server_name=nosuch")
        .expect(404);
    assert_eq!(place.started(), 0);

    // The help shows what may be called, by every name, and nothing else.
    let list = reader.get("/barman/help").status;
    assert_eq!(
        list, 403,
        "the right to commands is not the right to the help of all"
    );
    place.site.users(
        "[helped]\npassword = 00000000000000000000000000000000\n\
         access = ['barman/help', 'barman/list-backup', 'barman/backup@main']\ndeny = ['barman/backup']\n",
    );
    let helped = place
        .caller("helped")
        .get("/barman/help")
        .expect(200)
        .json();
    let mut names: Vec<&String> = helped["list"].as_object().unwrap().keys().collect();
    names.sort();
    // Barman has a command `help` of its own.
    assert_eq!(names, ["help", "list-backup", "list-backups"]);
}

#[test]
fn a_reader_changes_nothing() {
    let place = Tenancy::new(&[]);
    let reader = place.caller("reader");
    for command in [
        "backup",
        "delete",
        "cron",
        "restore",
        "recover",
        "switch-wal",
        "put-wal",
    ] {
        let target = format!("/barman/{command}");
        for answer in [
            reader.form(&target, "server_name=main"),
            reader.get(&format!("{target}?server_name=main")),
            reader.post(&target, &json!({"server_name": "main", "async": true})),
        ] {
            assert_eq!(answer.status, 403, "{command}: {answer:?}");
        }
    }
    for target in ["/barman/reload", "/auth/user"] {
        assert_eq!(reader.form(target, "").status, 403, "{target}");
    }
    for target in [
        "/auth/user/change",
        "/auth/user/add",
        "/config/barman/change",
    ] {
        let answer = reader.form(target, "username=reader&access=*");
        assert!([403, 404].contains(&answer.status), "{target}: {answer:?}");
    }
    assert_eq!(place.started(), 0);
    reader
        .get("/barman/list-backups?server_name=main")
        .expect(200);
    assert_eq!(place.started(), 1);
}

#[test]
fn the_history_shows_what_its_reader_may_call() {
    let place = Tenancy::new(&[]);
    place
        .stand_in
        .control(&json!({"backup": {"stdout": "a backup\n"}}));
    let admin = place.caller("admin");
    let start = |command: &str, server: &str| {
        let target = format!("/barman/{command}");
        let ticket = admin
            .form(&target, &format!("server_name={server}&async=true"))
            .ticket();
        admin.finished(&ticket);
        ticket
    };
    let backup_main = start("backup", "main");
    let backup_other = start("backup", "other");
    let list_main = start("list-backups", "main");
    let list_other = start("list-backups", "other");
    let list_all = start("list-backups", "all");
    let all = [
        &backup_main,
        &backup_other,
        &list_main,
        &list_other,
        &list_all,
    ];
    for (name, seen) in [
        ("admin", &all[..]),
        ("tenant", &[&backup_main, &list_main]),
        ("reader", &[&list_main, &list_other, &list_all]),
        ("backer", &[&backup_main]),
    ] {
        let caller = place.caller(name);
        let list = caller.get("/history/list").expect(200).json();
        let mut listed: Vec<_> = list["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(ticket_of)
            .collect();
        let mut seen: Vec<String> = seen.iter().map(|ticket| (*ticket).clone()).collect();
        listed.sort();
        seen.sort();
        assert_eq!(listed, seen, "{name}");
        let random = "20261120T214304-k3v9m2x8q4c7";
        for ticket in all {
            let answer = caller.get(&format!("/history/result?ticket={ticket}"));
            let cancelled = caller.form("/history/cancel", &format!("ticket={ticket}"));
            if seen.contains(ticket) {
                assert_eq!(answer.status, 200, "{name}: {answer:?}");
            } else {
                let nothing = caller.get(&format!("/history/result?ticket={random}"));
                assert_eq!(shape(&answer, ticket), shape(&nothing, random), "{name}");
                assert_eq!([answer.status, cancelled.status], [404, 404], "{name}");
            }
        }
        // Filters do not widen what is seen.
        let filtered = caller
            .get("/history/list?server=other&command=backup")
            .expect(200)
            .json();
        let expected = usize::from(seen.contains(&backup_other));
        assert_eq!(
            filtered["list"].as_array().unwrap().len(),
            expected,
            "{name}"
        );
    }
}

fn ticket_of(item: &Value) -> String {
    item["ticket"].as_str().unwrap().to_owned()
}

#[test]
fn a_month_and_a_ticket_are_words_and_never_paths() {
    let place = Tenancy::new(&[]);
    let admin = place.caller("admin");
    for past in [
        "../../../../x/evil",
        "202610/../202611",
        "/etc",
        "202610%00",
        "202610.tar.gz",
        "*",
        "",
        "000000",
        "202613",
        "202600",
        "202699",
        "%EF%BC%92%EF%BC%90%EF%BC%92%EF%BC%96%EF%BC%91%EF%BC%90",
        "2026-10",
        "20261",
        "2026100",
        "%20202610",
    ] {
        let answer = admin.get(&format!("/history/list?past={past}"));
        assert_eq!(answer.status, 400, "{past}: {answer:?}");
    }
    for month in ["209912", "201601"] {
        let answer = admin.get(&format!("/history/list?past={month}"));
        match answer.status {
            200 => assert_eq!(answer.json()["list"], json!([]), "{month}"),
            other => assert_eq!(other, 404, "{month}"),
        }
    }
    place.stand_in.control(&json!({}));
    let ticket = admin
        .get("/barman/list-backups?server_name=main&async=true")
        .ticket();
    admin.finished(&ticket);
    let long = "x".repeat(100_000);
    for word in [
        "../x".to_owned(),
        "a/b".to_owned(),
        format!("../{}/{ticket}", &ticket[..6]),
        format!("{ticket}%00"),
        format!("{ticket}/"),
        format!("{ticket}%2f..%2f{ticket}"),
        ticket.to_uppercase(),
        ticket[..ticket.len() - 1].to_owned(),
        ticket[..15].to_owned(),
        "20261120T214304-*".to_owned(),
        long,
    ] {
        let shown: String = word.chars().take(60).collect();
        let form = format!("ticket={word}");
        let answer = admin.form("/history/result", &form);
        assert!(
            [400, 404, 413].contains(&answer.status),
            "{shown}: {answer:?}"
        );
        let answer = admin.form("/history/cancel", &form);
        assert!(
            [400, 404, 413].contains(&answer.status),
            "{shown}: {answer:?}"
        );
    }
    assert_eq!(admin.result(&ticket)["state"], "done");
}
