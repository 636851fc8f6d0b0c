//! Requests that are not what they should be.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::json;

use super::bench::Bench;
use super::floods::{look_at_probes, probe};
use super::rig::{Barman, Lab, Site, StandIn};
use super::run::{Fault, Random, Run, Stopping};

pub const FAULTS: &[Fault] = &[Fault {
    name: "malformed",
    how: "requests with methods, paths, headers and bodies put together wrongly, and valid ones with bytes flipped, left out, doubled or cut off",
    provoke: malformed,
}];

const METHODS: &[&str] = &[
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get",
    "G\u{0}T", "", "GET GET", "PRI", "BREW", "POST\t",
];

const PATHS: &[&str] = &[
    "/healthz",
    "/readyz",
    "/auth/token",
    "/auth/user",
    "/auth/user/list",
    "/auth/user/add",
    "/auth/user/change",
    "/auth/user/remove",
    "/auth/logout/",
    "/config/barman",
    "/config/barman/help",
    "/config/barman/reload",
    "/config/barman/change",
    "/config/barman/revisions",
    "/config/barman/revisions/20261121T000000-000000000000",
    "/config/barman/revisions/..%2f..%2f..",
    "/config/barman/rollback",
    "/config/barmanapi",
    "/config/barmanapi/change",
    "/config/barmanapi/revisions",
    "/config/barmanapi/revisions/%00",
    "/config/barmanapi/rollback",
    "/history/list",
    "/history/result",
    "/history/cancel",
    "/barman/help",
    "/barman/reload",
    "/barman/list-backups",
    "/barman/backup",
    "/barman/recover",
    "/barman/",
    "//barman/backup",
    "/barman/%62ackup",
    "/barman/..%2f..%2fetc",
    "/../../etc/passwd",
    "/%",
    "/%ff%fe",
    "/a\u{0}b",
    "http://other/barman/backup",
    "*",
    "",
    "/barman/backup/",
    "/barman/--help",
    "/#x",
    "/barman/backup;x=1",
];

const QUERIES: &[&str] = &[
    "",
    "?",
    "?server_name=main",
    "?server_name=main&server_name=other",
    "?server_name=%00",
    "?server_name=%ff",
    "?ticket=x",
    "?past=../../x",
    "?past=209913",
    "?limit=-1",
    "?limit=99999999999999999999",
    "?token=x",
    "?_method=POST",
    "?=",
    "?&&&",
    "?server_name[]=main",
    "?a.b=c",
    "?server_name=--remote-ssh-command=x",
    "?%",
    "?cursor=\u{7f}",
    "?username=x",
    "?username=x]%0a[y&password=x&access=[]",
    "?username=nobody&access=['barman']&deny=**",
    "?access=%5b%5b&username=%ff",
    "?main.description=x",
    "?main.description=%0a[y]&create=true",
    "?barman.max_jobs=x&dry_run=maybe",
    "?unset=main.&unset=.x",
    "?.=&main.=x&.x=y&create",
    "?revision=20261121T000000-000000000000",
    "?revision=../../x",
    "?limit=x&section=%00",
];

const HEADERS: &[&str] = &[
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Content-Length: 5\r\nContent-Length: 6",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 3",
    "Content-Type: application/json",
    "Content-Type: application/x-www-form-urlencoded",
    "Content-Type: multipart/form-data",
    "Content-Type: \u{0}",
    "Content-Encoding: gzip",
    "Expect: 100-continue",
    "Connection: upgrade\r\nUpgrade: h2c",
    "Authorization: Basic",
    "Authorization: Basic !!!!",
    "Authorization: Bearer",
    "Authorization: Bearer a.b.c",
    "Authorization: Digest x",
    "Host:",
    "Host: a\r\nHost: b",
    "X: \u{1}",
    ": novalue",
    "NoColon",
    " folded: x",
    "X-Real-IP: 1.2.3.4",
    "Prefer: respond-async",
    "Prefer: \u{ff}",
    "Cookie: a=b",
    "Accept: text/html",
    "Range: bytes=0-",
    "If-Match: *",
];

const BODIES: &[&str] = &[
    "",
    "{",
    "{}",
    "[]",
    "null",
    "{\"server_name\":\"main\"}",
    "{\"server_name\":[\"main\",1]}",
    "{\"a\":{\"b\":{}}}",
    "{\"server_name\":1e999}",
    "{\"server_name\":\"\\ud800\"}",
    "{\"username\":\"x\",\"access\":[[\"barman\"]]}",
    "{\"username\":\"nobody\",\"deny\":[\"\\u0000\"]}",
    "{\"username\":\"x\",\"USERNAME\":\"y\"}",
    "{\"main.description\":\"a\\n[b]\"}",
    "{\"main.\":1,\".x\":true,\"unset\":{}}",
    "{\"revision\":[\"x\"]}",
    "{\"dry_run\":\"maybe\",\"barman.max_jobs\":-1}",
    "username=nobody&access=%5B",
    "server_name=main",
    "server_name=%",
    "a=b&a=c",
    "5\r\nhello\r\n0\r\n\r\n",
    "zz\r\nhello",
    "\u{0}\u{0}\u{0}",
    "_method=DELETE",
    "{\"server_name\":\"main\"}{\"x\":1}",
    "\u{feff}{}",
];

/// A request put together of parts, few of which fit.
fn grammar(random: &mut Random, token: &str) -> Vec<u8> {
    let mut text = random.one_of(METHODS).to_owned();
    text.push(' ');
    text += random.one_of(PATHS);
    text += random.one_of(QUERIES);
    text += random.one_of(&[
        " HTTP/1.1",
        " HTTP/1.0",
        " HTTP/2.0",
        " HTTP/9",
        "",
        " HTTP/1.1 x",
    ]);
    text += random.one_of(&["\r\n", "\r\n", "\r\n", "\n", "\r"]);
    if random.below(8) > 0 {
        text += "Host: 127.0.0.1\r\n";
    }
    if random.below(2) > 0 {
        text += &format!("Authorization: Bearer {token}\r\n");
    }
    for _ in 0..random.below(5) {
        text += random.one_of(HEADERS);
        text += "\r\n";
    }
    if random.below(40) == 0 {
        let long = "x".repeat(1 << (10 + random.below(8)));
        text += &format!("X-Long: {long}\r\n");
    }
    let body = random.one_of(BODIES);
    if random.below(2) > 0 {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    text += body;
    text.into_bytes()
}

/// A valid request, then damaged.
fn damaged(random: &mut Random, token: &str, ticket: &str) -> Vec<u8> {
    let (method, target, body) = match random.below(10) {
        0 => ("GET", "/auth/user".to_owned(), ""),
        1 => ("GET", "/history/list?limit=5".to_owned(), ""),
        2 => ("GET", format!("/history/result?ticket={ticket}"), ""),
        3 => (
            "POST",
            "/barman/list-backups".to_owned(),
            "{\"server_name\":\"main\"}",
        ),
        4 => (
            "POST",
            "/barman/keep".to_owned(),
            "{\"server_name\":\"main\",\"backup_id\":\"latest\",\"target\":\"full\"}",
        ),
        5 => (
            "POST",
            "/auth/user/change".to_owned(),
            "{\"username\":\"bob\",\"access\":[\"barman/list-*\",\"history@main\"],\"deny\":[]}",
        ),
        6 => (
            "POST",
            "/config/barman/change".to_owned(),
            "{\"main.description\":\"a word\",\"dry_run\":true}",
        ),
        7 => (
            "POST",
            "/config/barmanapi/change".to_owned(),
            "{\"barman.queue\":\"20000\",\"log.backup_count\":\"7\",\"dry_run\":true}",
        ),
        8 => ("GET", "/config/barman/revisions?limit=5".to_owned(), ""),
        _ => ("GET", "/barman/help".to_owned(), ""),
    };
    let text = format!(
        "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut bytes = text.into_bytes();
    for _ in 0..=random.below(3) {
        let place = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[place] ^= 1 << random.below(8),
            1 => bytes[place] = random.below(256).to_le_bytes()[0],
            2 if bytes.len() > 1 => drop(bytes.remove(place)),
            3 => bytes.insert(place, bytes[place]),
            _ => bytes.truncate(place.max(1)),
        }
    }
    bytes
}

/// Sends bytes and returns the status of each answer; what waits for more is told that there is none.
fn send(port: u16, bytes: &[u8]) -> Vec<u16> {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return vec![0];
    };
    let patience = [Duration::from_millis(40), Duration::from_secs(20)];
    // The service may close before all is sent.
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    for patience in patience {
        stream.set_read_timeout(Some(patience)).unwrap();
        if stream.read_to_end(&mut answer).is_ok() {
            break;
        }
        drop(stream.shutdown(Shutdown::Write));
    }
    let text = String::from_utf8_lossy(&answer);
    let lines = text.split("HTTP/1.").skip(1);
    lines
        .filter_map(|line| line.get(2..5)?.parse().ok())
        .collect()
}

/// A site with a configuration of Barman and a user whom nothing depends on.
fn bench() -> Bench {
    let stand_in = StandIn::new();
    stand_in.control(&json!({"servers": ["main", "other"]}));
    let config = stand_in.folder().join("barman.conf");
    let home = stand_in.folder().display().to_string();
    let text = format!("[barman]\nbarman_home = {home}\n[main]\ndescription = Main\n");
    Lab::get().write(&config, &text, 0o640);
    let config = format!("barman.config_file = {}", config.display());
    let site = Site::new(
        &Barman::StandIn(&stand_in),
        &["barman.queue = 20000", &config],
    );
    site.user("bob", &["--access", "history"]);
    Bench::on(stand_in, site)
}

fn malformed(run: &mut Run) {
    let bench = bench();
    let ticket = bench
        .ada()
        .get("/barman/keep?server_name=main&backup_id=latest&target=full&async=true")
        .ticket();
    bench.ended(&ticket);
    let count = run.of(10_000, 600);
    let clients = 4;
    let port = bench.server.port;
    let mut answers = BTreeMap::<u16, usize>::new();
    // What is read once stays in memory.
    for _ in 0..200 {
        let bytes = grammar(&mut run.random, "none");
        send(port, &bytes);
    }
    let before = bench.server.size("VmRSS");
    let started = bench.stand_in.starts().len();
    let stop = AtomicBool::new(false);
    let seeds: Vec<u64> = (0..clients).map(|_| run.random.number() | 1).collect();
    let (bad, good, probed) = std::thread::scope(|scope| {
        let prober = scope.spawn(|| probe(port, &stop));
        let stopping = Stopping(&stop);
        let lanes: Vec<_> = seeds
            .iter()
            .map(|seed| {
                let (token, ticket) = (&bench.token, &ticket);
                scope.spawn(move || {
                    let mut random = Random(*seed);
                    let (mut bad, mut good) = (Vec::new(), 0_usize);
                    let mut answers = BTreeMap::<u16, usize>::new();
                    for _ in 0..count / clients {
                        let bytes = if random.below(2) == 0 {
                            grammar(&mut random, token)
                        } else {
                            damaged(&mut random, token, ticket)
                        };
                        let statuses = send(port, &bytes);
                        for status in statuses {
                            *answers.entry(status).or_default() += 1;
                            // A damaged request may still be a whole one.
                            if matches!(status, 200 | 202) {
                                good += 1;
                            }
                            if status >= 500 && ![501, 505].contains(&status) || status == 0 {
                                let text = String::from_utf8_lossy(&bytes).into_owned();
                                bad.push(format!("{status} for {text:?}"));
                            }
                        }
                    }
                    (bad, good, answers)
                })
            })
            .collect();
        let (mut bad, mut good) = (Vec::new(), 0);
        for lane in lanes {
            let (lane_bad, lane_good, lane_answers) = lane.join().unwrap();
            bad.extend(lane_bad);
            good += lane_good;
            for (status, count) in lane_answers {
                *answers.entry(status).or_default() += count;
            }
        }
        drop(stopping);
        (bad, good, prober.join().unwrap())
    });
    run.times = count;
    for words in bad {
        run.hold(false, || words);
    }
    bench.settled();
    let starts = bench.stand_in.starts().len() - started;
    run.hold(starts <= good, || {
        format!("{starts} starts for {good} requests that were answered with success")
    });
    let grown = bench.server.size("VmRSS").saturating_sub(before) / 1024;
    run.hold(grown < 8, || format!("the service grew by {grown} MiB"));
    look_at_probes(run, &probed, Duration::from_millis(100));
    bench.no_panic(run);
    let answers: Vec<_> = answers
        .iter()
        .map(|(status, count)| format!("{count} × {status}"))
        .collect();
    run.measure(format!(
        "answers: {}; the service grew by {grown} MiB",
        answers.join(", ")
    ));
}
