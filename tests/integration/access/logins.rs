//! Names and passwords.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine;

use crate::rig::{Answer, Barman, Lab, Server, Site, StandIn};

const RIGHT: &str = "correct horse battery";

fn credentials(name: &str, password: &str) -> String {
    let pair = format!("{name}:{password}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    )
}

/// Asks for a token several times at once.
fn at_once<'a>(
    server: &Server,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = pairs
            .into_iter()
            .map(|(name, password)| {
                scope.spawn(move || server.basic("/auth/token", name, password))
            })
            .collect();
        asking
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    })
}

#[test]
fn no_user_exists_until_one_is_added_and_an_unknown_one_is_told_nothing_else() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let server = site.serve();
    let pairs = [
        ("memin", "1258"),
        ("admin", "admin"),
        ("", ""),
        ("barman", "barman"),
    ];
    for answer in at_once(&server, pairs) {
        answer.expect(401);
    }
    site.user("admin", &["--full"]);
    server.login("admin");

    // Word for word the same, whether the name exists or not.
    let plain = |answer: Answer| {
        let headers = answer.headers.iter();
        let kept = headers.filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()));
        (
            answer.status,
            kept.cloned().collect::<Vec<_>>(),
            answer.body.clone(),
        )
    };
    let unsaid = server.get("/auth/token");
    let mut answers = at_once(
        &server,
        [
            ("nosuch", "x"),
            ("admin", "x"),
            ("no such!", "x"),
            ("admin", ""),
        ],
    );
    answers.push(unsaid);
    let told: Vec<_> = answers.into_iter().map(plain).collect();
    assert_eq!(told[0].0, 401);
    for other in &told[1..] {
        assert_eq!(*other, told[0]);
    }

    // A browser is not asked for a password.
    let browser = [("Accept", "text/html,application/xhtml+xml")];
    let answer = server
        .request("GET", "/auth/token", &browser, b"")
        .expect(401);
    assert!(!answer.header("www-authenticate").unwrap().contains("Basic"));
    let script = server.get("/auth/token");
    assert!(script.header("www-authenticate").unwrap().contains("Basic"));
}

#[test]
fn a_hash_of_an_old_client_conf_logs_in_once_and_is_replaced() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    // md5 of "1258", as barmanapi 0.3 wrote it.
    let old = "26588e932c7ccfa1df309280702fe1b5";
    let huge = "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
                iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A";
    let slow = huge.replace("m=4194304,t=2", "m=19456,t=4000000");
    site.users(&format!(
        "# ours\n[memin]\npassword = {old}\naccess = []\nnote = kept\n\n\
         [huge]\npassword = {huge}\naccess = []\n\n[slow]\npassword={slow}\naccess=[]\n"
    ));
    let server = site.serve();
    server.basic("/auth/token", "memin", "1259").expect(401);
    let file = || std::fs::read_to_string(site.file("client.conf")).unwrap();
    assert!(file().contains(old), "a wrong password replaced the hash");
    let token = server
        .basic("/auth/token", "memin", "1258")
        .expect(200)
        .json();
    let token = token["token"].as_str().unwrap();
    assert_eq!(super::status_with(&server, token), 200);
    let after = file();
    let hash = after
        .lines()
        .find(|line| line.starts_with("password = $argon2id$"));
    let hash = hash.unwrap_or_else(|| panic!("{after}")).to_owned();
    assert!(hash.contains("m=19456,t=2,p=1"), "{hash}");
    assert!(!after.contains(old) && after.contains("note = kept") && after.starts_with("# ours\n"));
    server.basic("/auth/token", "memin", "1258").expect(200);
    assert!(file().contains(&hash), "it was replaced a second time");
    // The md5 itself is no password.
    server.basic("/auth/token", "memin", old).expect(401);

    // A hash that asks for 4 GiB or for hours is not followed.
    let before = server.size("VmRSS");
    let began = Instant::now();
    for answer in at_once(&server, [("huge", "1258"), ("slow", "1258")]) {
        answer.expect(401);
    }
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    assert!(server.size("VmRSS") < before + 64 * 1024);
    assert!(site.logged().contains("asks for more than"), "no warning");
}

#[test]
fn guesses_are_slowed_down_whatever_address_a_header_claims() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    site.user("other", &["--full"]);
    let server = site.serve();
    let began = Instant::now();
    let guesses = at_once(&server, (0..10).map(|_| ("admin", "guess")));
    assert!(guesses.iter().all(|answer| answer.status == 401));
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "a guess is answered too soon"
    );

    let claims = [
        ("X-Real-IP", "10.0.0.1"),
        ("X-Forwarded-For", "10.0.0.2, 10.0.0.3"),
        ("Forwarded", "for=10.0.0.4"),
        ("True-Client-IP", "10.0.0.5"),
        ("Accept", "*/*"),
    ];
    for claim in claims {
        for password in ["guess", RIGHT] {
            let authorization = credentials("admin", password);
            let headers = [("Authorization", authorization.as_str()), claim];
            let answer = server
                .request("POST", "/auth/token", &headers, b"")
                .expect(429);
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            assert_eq!(answer.json()["type"], "too many");
        }
    }
    // The same user from another address, and another user from the same, still come in.
    let script = "import http.client, sys\n\
         c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), source_address=('127.0.0.2', 0))\n\
         c.request('GET', '/auth/token', headers={'Authorization': sys.argv[2]})\n\
         print(c.getresponse().status)\n";
    let lab = Lab::get();
    let output = lab
        .command(lab.fact("PYTHON"))
        .args([
            "-c",
            script,
            &server.port.to_string(),
            &credentials("admin", RIGHT),
        ])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "200");
    server.login("other");
}

/// One connection that stays: the queue of those who wait to be let in is the system's, and short.
struct Watch(BufReader<TcpStream>);

impl Watch {
    fn new(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        Self(BufReader::new(stream))
    }

    /// How long `/healthz` takes to answer.
    fn look(&mut self) -> Duration {
        let began = Instant::now();
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        self.0.get_mut().write_all(request).unwrap();
        let mut line = String::new();
        let (mut status, mut length) = (None, 0);
        while line != "\r\n" {
            line.clear();
            assert_ne!(
                self.0.read_line(&mut line).unwrap(),
                0,
                "the server hung up"
            );
            let lower = line.to_ascii_lowercase();
            status = status.or_else(|| lower.strip_prefix("http/1.1 ").map(str::to_owned));
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        assert!(status.is_some_and(|status| status.starts_with("200")));
        began.elapsed()
    }
}

#[test]
fn five_hundred_logins_at_once_cost_neither_memory_nor_the_service() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let token = site.token("admin");
    let names: Vec<String> = (0..512).map(|number| format!("user{number}")).collect();
    let pairs = names
        .iter()
        .enumerate()
        .map(|(number, name)| match number % 12 {
            // Fewer than it takes to send the whole address away.
            0 => (name.as_str(), "guess"),
            _ => ("admin", RIGHT),
        });
    let mut watch = Watch::new(&server);
    let (answers, slowest, probes) = std::thread::scope(|scope| {
        let storm = scope.spawn(|| at_once(&server, pairs));
        let (mut slowest, mut probes) = (Duration::ZERO, 0);
        while !storm.is_finished() {
            slowest = slowest.max(watch.look());
            assert_eq!(super::status_with(&server, &token), 200);
            probes += 1;
        }
        (storm.join().unwrap(), slowest, probes)
    });
    let count = |status| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    let (right, wrong, later) = (count(200), count(401), count(429));
    println!(
        "{right} in, {wrong} refused, {later} sent away; {probes} probes, slowest {slowest:?}"
    );
    assert_eq!(right + wrong + later, 512);
    assert!(later > 0 && right > 0);
    for answer in answers.iter().filter(|answer| answer.status == 429) {
        assert!(answer.header("retry-after").is_some());
    }
    assert!(
        probes > 0 && slowest < Duration::from_secs(1),
        "{slowest:?}"
    );
    let most = server.size("VmHWM");
    assert!(most < 200 * 1024, "{most} KiB");
    // And afterwards the door is open again.
    server.login("admin");
}

#[test]
fn a_password_counts_as_it_was_typed_up_to_1024_bytes() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let longest = "p".repeat(1024);
    for (name, password) in [("long", longest.as_str()), ("accent", "caf\u{e9}")] {
        let arguments = ["user", "add", name, "--full", "--password-stdin"];
        let output = site.run(&arguments, &format!("{password}\n"));
        assert!(output.status.success(), "{output:?}");
    }
    let arguments = ["user", "add", "longer", "--full", "--password-stdin"];
    assert!(!site.run(&arguments, &"p".repeat(1025)).status.success());
    let server = site.serve();
    server.basic("/auth/token", "long", &longest).expect(200);
    server
        .basic("/auth/token", "accent", "caf\u{e9}")
        .expect(200);
    let before = server.size("VmRSS");
    let began = Instant::now();
    let long = [longest.clone() + "p", "p".repeat(5000), "p".repeat(8192)];
    let wrong = [
        ("long", long[0].as_str()),
        ("long", &long[1]),
        ("long", &long[2]),
        ("accent", "cafe\u{301}"),
        ("accent", "caf\u{e9}\0"),
        ("accent", "CAF\u{c9}"),
    ];
    for answer in at_once(&server, wrong) {
        answer.expect(401);
    }
    assert!(began.elapsed() < Duration::from_millis(3500));
    // Refused before it is a request at all; that answer may be empty, or none.
    let flood = server.try_request(
        "GET",
        "/auth/token",
        &[("Authorization", &credentials("long", &"p".repeat(1 << 20)))],
        b"",
    );
    assert!(flood.is_none_or(|answer| [401, 431].contains(&answer.status)));
    server.get("/healthz").expect(200);
    let grown = server.size("VmRSS").saturating_sub(before);
    assert!(grown < 48 * 1024, "{grown} KiB more");
}
