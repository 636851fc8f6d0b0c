//! Bytes on a real socket: what no well-behaved client sends.

use super::*;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

#[test]
fn only_the_one_spelling_of_a_path_is_served() {
    let server = Server::start();
    assert_eq!(server.request("GET /barman/check", "", b"").status, 200);
    for path in [
        "//barman/check",
        "/barman//check",
        "/barman/check/",
        "/barman/./check",
        "/barman/x/../check",
        "/./barman/check",
        "/barman/%63heck",
        "/barman%2fcheck",
        "/barman/check%20",
        "/barman/check%00",
        "/barman/check%0a",
        "/barman/check%e2%80%8b",
        "/barman/check;x=1",
        "/Barman/check",
        "/barman/Check",
        "/BARMAN/check",
        "/barman/--help",
        "/barman/..%2fx",
        "/barman/check/help/",
        "/barman/check//help",
        "/barman/",
        "/barman",
        "/healthz/",
        "/%68ealthz",
        "/auth/token/",
        "*",
        "http://evil.example//barman/check",
        "http://evil.example",
    ] {
        let before = server.play.started();
        let answer = server.request(&format!("GET {path}"), "", b"");
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
        assert_eq!(server.play.started(), before, "{path}");
    }
}

#[test]
fn a_target_with_a_host_in_it_asks_for_the_same_credentials() {
    let server = Server::start();
    let line = "GET http://evil.example/barman/check HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    assert_eq!(server.raw(format!("{line}\r\n")).status, 401);
    let bob = format!("{line}Authorization: Bearer {BOB_TOKEN}\r\n\r\n");
    let bob = bob.replace("/barman/check", "/barman/help");
    assert_eq!(server.raw(bob).status, 403);
    assert_eq!(server.play.started(), 0);
}

#[test]
fn raw_bytes_in_a_target_reach_no_handler() {
    let server = Server::start();
    for target in [
        &b"/barman/check\xff"[..],
        b"/barman/check?a=\xff",
        b"/barman/che\0ck",
        b"/barman/check?a=\xc0\xaf",
    ] {
        let mut bytes = b"GET ".to_vec();
        bytes.extend_from_slice(target);
        bytes.extend_from_slice(
            b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ",
        );
        bytes.extend_from_slice(ANN_TOKEN.as_bytes());
        bytes.extend_from_slice(b"\r\n\r\n");
        let answer = server.raw(bytes);
        assert!(
            (400..500).contains(&answer.status),
            "{target:?}: {answer:?}"
        );
    }
    assert_eq!(server.play.started(), 0);
}

#[test]
fn an_unknown_method_gets_a_json_answer_with_all_headers() {
    let server = Server::start();
    for line in ["BREW /barman/check", "get /barman/check", "PROPFIND /"] {
        let answer = server.request(line, "", b"");
        assert_eq!(answer.status, 400, "{line}");
        assert_eq!(answer.json()["type"], "invalid parameter", "{line}");
        assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{line}");
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(answer.header("X-Request-Id").map(str::len), Some(24));
        assert_eq!(answer.header("Server"), None);
    }
    let trace = server.request("TRACE /barman/check", "", b"");
    assert_eq!(
        (trace.status, trace.header("Allow")),
        (405, Some("GET, POST"))
    );
    assert_eq!(server.play.started(), 0);
}

#[test]
fn a_body_too_large_is_refused_before_it_is_read() {
    let server = Server::start();
    let huge = format!("{FORM}Content-Length: 10737418240\r\n");
    let answer = server.request("POST /barman/check", &huge, b"a=12345678901234567890");
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["type"], "too large");
    assert_eq!(server.play.started(), 0);
}

#[test]
fn a_chunked_body_is_taken_up_to_the_limit() {
    let server = Server::start();
    let chunked = format!("{FORM}Transfer-Encoding: chunked\r\n");
    let whole = b"6\r\na=1&b=\r\n5\r\n12345\r\n0\r\n\r\n";
    let answer = server.request("POST /barman/check", &chunked, whole);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("12345"));

    let mut endless = b"2\r\na=\r\n".to_vec();
    for _ in 0..80 {
        endless.extend_from_slice(b"400\r\n");
        endless.extend_from_slice(&[b'x'; 1024]);
        endless.extend_from_slice(b"\r\n");
    }
    let answer = server.request("POST /barman/check", &chunked, &endless);
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(server.play.started(), 1);
}

#[test]
fn a_body_that_breaks_off_starts_nothing() {
    let server = Server::start();
    let chunked = format!("{FORM}Transfer-Encoding: chunked\r\n");
    // In the first piece, and behind one.
    for body in [
        &b"8\r\nserver=m\r\nzz"[..],
        b"14\r\nserver_name=mainmain\r\nzz\r\n",
    ] {
        let answer = server.request("POST /barman/check", &chunked, body);
        assert!([0, 400].contains(&answer.status), "{answer:?}");
    }
    for sent in [&b"server=m"[..], b"server_name=mainma"] {
        let stated = format!("{FORM}Content-Length: 40\r\n");
        let mut stream = server.connect();
        let head = format!(
            "POST /barman/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN_TOKEN}\r\n{stated}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = Raw::read(&mut stream);
        assert!([0, 400].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(server.play.started(), 0);
}

#[test]
fn nothing_is_read_behind_a_body_whose_length_is_stated_twice() {
    let server = Server::start();
    let twice = format!("{FORM}Content-Length: 3\r\nContent-Length: 5\r\n");
    let answer = server.request("POST /barman/check", &twice, b"a=1&b");
    assert_eq!(answer.status, 400);
    assert_eq!(server.play.started(), 0);
    let hidden = format!(
        "GET /barman/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN_TOKEN}\r\n\r\n"
    );
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let before = server.play.started();
        let answer = server.raw(format!(
            "POST /barman/help HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN_TOKEN}\r\n\
             {headers}\r\n0\r\n\r\n{hidden}"
        ));
        assert_eq!(answer.header("Connection"), Some("close"), "{answer:?}");
        assert_eq!(answer.body.matches("HTTP/1.1").count(), 0, "{answer:?}");
        assert_eq!(server.play.started(), before + 1);
    }
}

#[test]
fn a_get_that_announces_a_body_is_refused() {
    let server = Server::start();
    for headers in ["Content-Length: 2\r\n", "Transfer-Encoding: chunked\r\n"] {
        let body: &[u8] = if headers.starts_with('C') {
            b"{}"
        } else {
            b"0\r\n\r\n"
        };
        let answer = server.request("GET /barman/check", headers, body);
        assert_eq!(answer.status, 400, "{headers}");
    }
    assert_eq!(server.play.started(), 0);
}

#[test]
fn a_form_over_the_wire_cannot_choose_another_method() {
    let server = Server::start();
    for body in [
        "_method=get",
        "_method=delete",
        "%5fmethod=GET&a=1",
        "_method=put&a=1",
    ] {
        let headers = format!("{FORM}Content-Length: {}\r\n", body.len());
        let answer = server.request("POST /barman/check", &headers, body.as_bytes());
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    assert_eq!(server.play.started(), 0);
}

#[test]
fn head_over_the_wire_has_a_length_and_no_body() {
    let server = Server::start();
    let answer = server.request("HEAD /healthz", "", b"");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, "");
    assert_eq!(answer.header("Content-Length"), Some("15"));
    let answer = server.request("HEAD /barman/backup?server_name=main", "", b"");
    assert_eq!((answer.status, answer.body.as_str()), (405, ""));
    assert_eq!(server.play.started(), 0);
}

#[test]
fn a_ticket_is_answered_with_its_place() {
    let server = Server::start();
    let answer = server.request("POST /barman/backup", "Content-Length: 0\r\n", b"");
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("Location"), Some("/history/result?ticket=t"));
}

#[test]
fn floods_of_headers_and_long_targets_are_refused() {
    let server = Server::start();
    let many = "X: y\r\n".repeat(200);
    assert_eq!(server.request("GET /barman/check", &many, b"").status, 431);
    let long = format!("GET /barman/check?a={}", "x".repeat(70_000));
    assert_eq!(server.request(&long, "", b"").status, 414);
    assert_eq!(server.play.started(), 0);
}
