//! Every path with every method, and what no request may be.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::rig::{Answer, Barman, Site, StandIn, raw};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Every path that is served, with the methods it takes and how its callers show who they are.
pub(super) const ROUTES: [(&str, &[&str], &str); 28] = [
    ("/auth/token", &["GET", "POST"], "basic"),
    ("/auth/user", &["GET", "POST"], "token"),
    ("/auth/user/list", &["GET", "POST"], "token"),
    ("/auth/user/add", &["GET", "POST"], "token"),
    ("/auth/user/change", &["GET", "POST"], "token"),
    ("/auth/user/remove", &["GET", "POST"], "token"),
    ("/auth/logout", &["GET", "POST"], "token"),
    ("/config/barman", &["GET", "POST"], "token"),
    ("/config/barman/help", &["GET", "POST"], "token"),
    ("/config/barman/reload", &["GET", "POST"], "token"),
    ("/config/barman/change", &["GET", "POST"], "token"),
    ("/config/barman/revisions", &["GET", "POST"], "token"),
    (
        "/config/barman/revisions/20261121T000000-000000000000",
        &["GET", "POST"],
        "token",
    ),
    ("/config/barman/rollback", &["POST"], "token"),
    ("/config/barmanapi", &["GET", "POST"], "token"),
    ("/config/barmanapi/change", &["GET", "POST"], "token"),
    ("/config/barmanapi/revisions", &["GET", "POST"], "token"),
    (
        "/config/barmanapi/revisions/20261121T000000-000000000000",
        &["GET", "POST"],
        "token",
    ),
    ("/config/barmanapi/rollback", &["POST"], "token"),
    ("/history/list", &["GET", "POST"], "token"),
    ("/history/result", &["GET", "POST"], "token"),
    ("/history/cancel", &["POST"], "token"),
    ("/barman/help", &["GET", "POST"], "token"),
    ("/barman/reload", &["GET", "POST"], "token"),
    ("/barman/backup/help", &["GET", "POST"], "token"),
    ("/barman/backup", &["GET", "POST"], "token"),
    ("/healthz", &["GET", "HEAD"], "nobody"),
    ("/readyz", &["GET", "HEAD"], "nobody"),
];

const METHODS: [&str; 9] = [
    "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT",
];

/// Checks what every answer must have.
#[track_caller]
pub(super) fn well_formed(answer: &Answer, head: bool) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{answer:?}");
    }
    assert!(
        answer
            .header("x-request-id")
            .is_some_and(|id| id.len() == 24)
    );
    for (name, _) in &answer.headers {
        let told = [
            "server",
            "set-cookie",
            "location",
            "access-control-allow-origin",
        ];
        assert!(!told.contains(&name.as_str()), "{name}");
    }
    if head {
        assert!(answer.body.is_empty(), "{answer:?}");
    } else if answer.status >= 400 && !answer.json()["status"].is_string() {
        let body = answer.json();
        assert_eq!(body["status_code"], answer.status, "{body}");
        let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["status_code", "type", "message"]);
        let message = body["message"].as_str().unwrap();
        assert!(!message.is_empty());
        for leak in ["/src/", "panicked", ".rs:", "/var/tmp"] {
            assert!(!message.contains(leak), "{message}");
        }
    }
}

#[test]
fn every_route_takes_its_methods_and_no_other_and_lets_no_stranger_in() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let token = site.token("admin");
    for (path, methods, who) in ROUTES {
        for method in METHODS {
            let origin = [("Origin", "https://evil.example")];
            let answer = server.request(method, path, &origin, b"");
            if method == "CONNECT" {
                // HTTP has no such target; it may end before any route is found.
                assert!(
                    [400, 404, 405].contains(&answer.status),
                    "{path}: {answer:?}"
                );
                continue;
            }
            well_formed(&answer, method == "HEAD");
            let wanted = match (methods.contains(&method), who) {
                (false, _) => 405,
                (true, "nobody") => 200,
                (true, _) => 401,
            };
            assert_eq!(answer.status, wanted, "{method} {path}: {answer:?}");
            if wanted == 405 {
                assert_eq!(
                    answer.header("allow"),
                    Some(methods.join(", ").as_str()),
                    "{path}"
                );
            }
            // With a right token a wrong method is as wrong, and a HEAD starts nothing.
            if !methods.contains(&method) {
                let target = format!("{path}?server_name=main");
                let admin = server.with_token(&token);
                let answer = admin.request(method, &target, &[], b"");
                assert_eq!(answer.status, 405, "{method} {path}");
                well_formed(&answer, method == "HEAD");
            }
        }
    }
    for path in [
        "/",
        "/auth",
        "/barman",
        "/history",
        "/config",
        "/config/",
        "/config/barman/",
        "/config/barman/revisions/",
        "/config/barman/revisions/x",
        "/config/barman/revisions/..%2f..%2fbarman",
        "/config/barmanapi/help",
        "/config/barmanapi/reload",
        "/auth/user/",
        "//auth/user/remove",
        "/auth/user/%72emove",
        "/x",
        "/auth/token/",
        "/favicon.ico",
        "*",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = server.request(method, path, &[], b"");
            assert!(
                [400, 404].contains(&answer.status),
                "{method} {path}: {answer:?}"
            );
            well_formed(&answer, false);
        }
    }
    let answer = server.request("BREW", "/barman/backup", &[], b"");
    assert!([400, 405].contains(&answer.status), "{answer:?}");
    well_formed(&answer, false);
    assert_eq!(stand_in.starts().len(), 0);

    let admin = server.login("admin");
    let helped = admin.form("/barman/backup/help", "").expect(200);
    well_formed(&helped, false);
    well_formed(&admin.get("/history/list").expect(200), false);
    admin
        .form("/barman/backup", "server_name=main&async=false")
        .expect(200);
    assert_eq!(stand_in.starts().len(), 1);
}

#[test]
fn a_body_is_bounded_and_of_a_known_kind() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let admin = server.login("admin");
    let large = format!("server_name=main&name={}", "x".repeat(64 * 1024));
    let deep = format!("{{\"server_name\":{}", "[".repeat(30_000));
    let many = "&x=1".repeat(10_000);
    for (kind, body, status) in [
        (FORM, large.as_str(), 413),
        (JSON, &large, 413),
        ("text/plain", "{\"server_name\":\"main\"}", 415),
        ("text/plain", "server_name=main", 415),
        (
            "multipart/form-data; boundary=x",
            "--x\r\n\r\n--x--\r\n",
            415,
        ),
        ("application/octet-stream", "server_name=main", 415),
        ("", "server_name=main", 415),
        (JSON, &deep, 400),
        (JSON, "[1]", 400),
        (JSON, "\"x\"", 400),
        (
            JSON,
            "{\"server_name\":\"main\",\"server_name\":\"other\"}",
            400,
        ),
        (JSON, "{\"server_name\":null}", 400),
        (JSON, "{\"server_name\":{\"a\":1}}", 400),
        (JSON, "{\"server_name\":\"main\"} x", 400),
        (JSON, "\u{feff}{\"server_name\":\"main\"}", 400),
        (JSON, "server_name=main", 400),
        (FORM, "{\"server_name\":\"main\"}", 400),
        (FORM, &many, 400),
        (FORM, "server_name=%ff", 400),
        (FORM, "server_name=main%00", 400),
        (FORM, "server_name=main&token=abc", 400),
    ] {
        let header = [("Content-Type", kind)];
        let headers = if kind.is_empty() {
            &[][..]
        } else {
            &header[..]
        };
        let answer = admin.request("POST", "/barman/backup", headers, body.as_bytes());
        let shown: String = body.chars().take(50).collect();
        assert_eq!(answer.status, status, "{kind}: {shown}: {answer:?}");
        well_formed(&answer, false);
    }
    let packed = [("Content-Type", FORM), ("Content-Encoding", "gzip")];
    admin
        .request("POST", "/barman/backup", &packed, b"\x1f\x8b")
        .expect(415);
    // The same in two places, and a body where none belongs.
    let both = [("Content-Type", FORM)];
    let target = "/barman/backup?server_name=main";
    admin
        .request("POST", target, &both, b"server_name=other")
        .expect(400);
    admin
        .request("GET", target, &both, b"server_name=main")
        .expect(400);
    admin.form("/auth/logout", "x=1").expect(400);
    assert_eq!(stand_in.starts().len(), 0);
    let body = json!({"server_name": "main", "async": false});
    admin.post("/barman/backup", &body).expect(200);
    assert_eq!(stand_in.starts().len(), 1);
}

#[test]
fn a_body_without_end_or_with_two_lengths_costs_little_and_starts_nothing() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let admin = server.login("admin");
    let before = server.size("VmRSS");
    // A stated 10 GiB is refused at once, and what never ends is cut off.
    let head = format!(
        "POST /barman/backup HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: {FORM}\r\n",
        admin.token
    );
    let stated = format!("{head}Connection: close\r\nContent-Length: 10737418240\r\n\r\n");
    assert_eq!(
        first_line(server.port, stated.as_bytes(), b"server_name=main"),
        Some(413)
    );
    let stated = stated.replace(FORM, JSON);
    assert_eq!(
        first_line(server.port, stated.as_bytes(), b"{\"server_name\":"),
        Some(413)
    );
    let endless = format!("{head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096)).into_bytes();
    let status = first_line(server.port, endless.as_bytes(), &vec![chunk; 64].concat());
    assert!([Some(413), None].contains(&status), "{status:?}");
    // Two lengths, or a length and chunks: nothing behind them is read as another request.
    let smuggled = "POST /barman/backup HTTP/1.1\r\nHost: x\r\n\r\n";
    for lengths in [
        "Content-Length: 0\r\nContent-Length: 44\r\n",
        "Content-Length: 44\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let request = format!("{head}{lengths}\r\n0\r\n\r\n{smuggled}");
        if let Some(status) = first_line(server.port, request.as_bytes(), &[]) {
            assert_ne!(status / 100, 2, "{lengths}");
        }
    }
    assert_eq!(stand_in.starts().len(), 0);
    let grown = server.size("VmRSS").saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    server.get("/healthz").expect(200);
}

/// The status of the first answer; `None` when the server just closed.
fn first_line(port: u16, head: &[u8], rest: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream.write_all(head).unwrap();
    // The server may close before all is sent.
    drop(stream.write_all(rest));
    let mut start = [0; 12];
    stream.read_exact(&mut start).ok()?;
    std::str::from_utf8(&start[9..]).unwrap().parse().ok()
}

#[test]
fn floods_and_bytes_that_are_no_request_reach_nothing() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let token = site.token("admin");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let long = "x".repeat(70_000);
    let headers = "X: y\r\n".repeat(200);
    for (line, more, known) in [
        (
            format!("GET /barman/backup?server_name={long} HTTP/1.1"),
            "",
            &[414, 400][..],
        ),
        (format!("GET /{long} HTTP/1.1"), "", &[414, 404]),
        (
            "GET /barman/backup?server_name=main HTTP/1.1".into(),
            headers.as_str(),
            &[431],
        ),
        (
            "GET /barman/backup?server_name=main HTTP/9.9".into(),
            "",
            &[400, 505],
        ),
        ("GET /barman/back\u{0}up HTTP/1.1".into(), "", &[400, 404]),
        ("GET /barman/back up HTTP/1.1".into(), "", &[400]),
        ("GET /barman/b\u{e4}ckup HTTP/1.1".into(), "", &[400, 404]),
        ("\u{16}\u{3}\u{1}".into(), "", &[400]),
        (
            "GET barman/backup?server_name=main HTTP/1.1".into(),
            "",
            &[400, 404],
        ),
    ] {
        let request = format!("{line}\r\nHost: x\r\nConnection: close\r\n{bearer}{more}\r\n");
        let status = raw(server.port, request.as_bytes()).map(|answer| answer.status);
        let shown: String = line.chars().take(40).collect();
        assert!(
            status.is_none_or(|status| known.contains(&status)),
            "{shown}: {status:?}"
        );
    }
    let two = format!("{bearer}Authorization: Basic YTpi\r\n");
    let request = format!("GET /auth/user HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{two}\r\n");
    assert_eq!(raw(server.port, request.as_bytes()).unwrap().status, 400);
    let admin = server.with_token(&token);
    admin.get(&format!("/auth/user?token={token}")).expect(400);
    server
        .get(&format!("/auth/user?token={token}&token={token}"))
        .expect(400);
    server.get(&format!("/auth/user?token={token}")).expect(200);
    assert_eq!(stand_in.starts().len(), 0);
    assert!(!site.logged().contains("panicked"));
}
