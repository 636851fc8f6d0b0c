//! Slow clients, many clients, and clients that come by the back door.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::House;
use crate::rig::{Barman, Server, Site, StandIn, raw};

const QUICK: [&str; 4] = [
    "limits.handshake_time = 1",
    "limits.header_time = 1",
    "limits.body_time = 1",
    "limits.idle_time = 2",
];

/// No limit of a quick site is near this.
const LONG: Duration = Duration::from_secs(15);

fn quick(more: &[&str]) -> (StandIn, Site, Server) {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[&QUICK, more].concat());
    site.user("ann", &["--full"]);
    let server = site.serve_unready(&[]);
    (stand_in, site, server)
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// What comes until the other side ends it, and how long that took.
fn rest(stream: &mut TcpStream) -> (String, Duration) {
    let began = Instant::now();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("it stays open"),
        _ => {}
    }
    (
        String::from_utf8_lossy(&bytes).into_owned(),
        began.elapsed(),
    )
}

#[test]
fn who_sends_nothing_or_half_a_head_or_drops_of_one_is_sent_away() {
    let (_stand_in, _site, server) = quick(&[]);
    let (mut silent, mut half) = (connect(&server), connect(&server));
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
    let mut drops = connect(&server);
    let mut writing = drops.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        let began = Instant::now();
        while writing.write_all(b"x").is_ok() {
            assert!(began.elapsed() < LONG);
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    for stream in [&mut silent, &mut half, &mut drops] {
        let (said, took) = rest(stream);
        assert_eq!(said, "");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    dripping.join().unwrap();
}

#[test]
fn a_connection_without_a_request_ends_and_one_with_requests_stays() {
    let (_stand_in, _site, server) = quick(&[]);
    let (mut idle, mut busy) = (connect(&server), connect(&server));
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let began = Instant::now();
    idle.write_all(request).unwrap();
    let mut piece = [0; 4096];
    while began.elapsed() < Duration::from_secs(5) {
        busy.write_all(request).unwrap();
        let length = busy.read(&mut piece).unwrap();
        assert!(piece[..length].starts_with(b"HTTP/1.1 200"));
        std::thread::sleep(Duration::from_millis(500));
    }
    let (said, _) = rest(&mut idle);
    assert_eq!(said.matches("HTTP/1.1 200").count(), 1);
}

#[test]
fn a_body_that_does_not_come_is_told_and_the_connection_ends() {
    let (_stand_in, site, server) = quick(&[]);
    let token = super::run(&site, &["token", "ann"]);
    let mut slow = connect(&server);
    let head = format!(
        "POST /auth/user HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 2000\r\n\r\n{{\"a\": \"aaaaaaaaaaaaaaaaaaaa",
        token.trim()
    );
    slow.write_all(head.as_bytes()).unwrap();
    let (said, took) = rest(&mut slow);
    assert!(
        said.starts_with("HTTP/1.1 400") && said.contains("not whole after 1s"),
        "{said}"
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
    // A body that does not even begin ends by the time for the head.
    let mut none = connect(&server);
    let head = "POST /auth/user HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n";
    none.write_all(head.as_bytes()).unwrap();
    assert!(rest(&mut none).1 < Duration::from_secs(5));
}

#[test]
fn a_command_that_takes_longer_than_every_limit_is_answered() {
    let (stand_in, site, server) = quick(&[]);
    drop(server);
    let server = site.serve();
    let ann = server.login("ann");
    stand_in.control(&serde_json::json!({"check": {"sleep": 4, "stdout": "fine\n"}}));
    let answer = ann.get("/barman/check?server_name=main").expect(200).json();
    assert_eq!(answer["list"][0], "fine");
}

#[test]
fn a_handshake_that_stalls_is_given_up() {
    let house = House::new(&[&QUICK[..], &["tls.client_certificates = optional"]].concat());
    let mut silent = connect(&house.server);
    let mut half = connect(&house.server);
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
        .unwrap();
    for stream in [&mut silent, &mut half] {
        assert!(rest(stream).1 < Duration::from_secs(5));
    }
    house.curl("/healthz", None, &[]).expect(200);
}

#[test]
fn a_crowd_of_silent_clients_keeps_nobody_out() {
    let (_stand_in, _site, server) =
        quick(&["limits.connections = 16", "limits.header_time = 1 h"]);
    let mut crowd: Vec<TcpStream> = (0..16).map(|_| connect(&server)).collect();
    // Somebody who came a moment ago is not sent away for the next one.
    std::thread::sleep(Duration::from_millis(1200));
    server.get("/healthz").expect(200);
    let (said, took) = rest(&mut crowd[0]);
    assert!(said.is_empty() && took < Duration::from_secs(1), "{took:?}");
    crowd[15]
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert!(rest(&mut crowd[15]).0.starts_with("HTTP/1.1 200"));
}

#[test]
fn a_process_with_few_descriptors_serves_although_many_connect() {
    let (_stand_in, site, server) = quick(&["limits.header_time = 1 h"]);
    drop(server);
    let limited = ["/bin/sh", "-c", "ulimit -n 256; exec \"$0\" \"$@\""];
    let server = site.serve_through(&limited, &[]);
    let crowd: Vec<TcpStream> = (0..400).map(|_| connect(&server)).collect();
    let began = Instant::now();
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    while raw(server.port, request).is_none_or(|answer| answer.status != 200) {
        assert!(began.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(crowd);
}

/// The ports of 127.0.0.1 that a process listens on.
fn listens(pid: u32) -> Vec<u16> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let open: Vec<String> = links
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|link| link.display().to_string())
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let rows = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[3] == "0A" && open.contains(&format!("socket:[{}]", row[9])))
        .map(|row| u16::from_str_radix(row[1].rsplit(':').next().unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn there_is_no_way_in_but_the_one_that_is_told() {
    let (_stand_in, _site, server) = quick(&[]);
    server.get("/healthz").expect(200);
    assert_eq!(listens(server.pid()), [server.port]);
}

#[test]
fn who_says_no_more_is_answered() {
    let (_stand_in, _site, server) = quick(&[]);
    let mut client = connect(&server);
    client
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(rest(&mut client).0.starts_with("HTTP/1.1 200"));
}

#[test]
fn bytes_of_two_clients_never_meet() {
    let (_stand_in, _site, server) = quick(&[]);
    // Heads that two readers could take for more or fewer requests than one.
    for head in [
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\nGET /readyz HTTP/1.1\r\n",
    ] {
        let mut odd = connect(&server);
        odd.write_all(head.as_bytes()).unwrap();
        let other = server.get("/healthz").expect(200);
        assert_eq!(other.json()["status"], "ok");
        drop(rest(&mut odd));
    }
}

#[test]
fn requests_that_come_in_one_piece_are_answered_in_their_order() {
    let (_stand_in, _site, server) = quick(&[]);
    let mut client = connect(&server);
    let more = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
    let last = "GET /auth/user HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    client
        .write_all(format!("{more}{last}").as_bytes())
        .unwrap();
    let (said, _) = rest(&mut client);
    assert_eq!(said.matches("HTTP/1.1 200").count(), 20);
    assert!(
        said.rfind("HTTP/1.1 401") > said.rfind("HTTP/1.1 200"),
        "{said}"
    );
}

#[test]
fn the_log_has_the_address_of_the_client() {
    let house = House::new(&["tls.client_certificates = optional"]);
    let other = ["--interface", "127.0.0.2"];
    house.curl("/auth/user", None, &other).expect(401);
    house.logs("127.0.0.2");
}

#[test]
fn a_long_answer_arrives_whole_over_tls_although_it_is_read_slowly() {
    let house = House::new(&[&QUICK[..], &["tls.client_certificates = optional"]].concat());
    let ann = house.ready("ann");
    let long = "x".repeat(3_000_000);
    let control = serde_json::json!({"check": {"stdout": format!("{long}\n")}});
    house.stand_in.control(&control);
    let slowly = ["--limit-rate", "700K"];
    let answer = house.curl("/barman/check?server_name=main", Some(&ann), &slowly);
    assert_eq!(answer.expect(200).json()["list"][0].as_str(), Some(&*long));
}

#[test]
fn a_stop_waits_for_the_answers_over_tls() {
    let mut house = House::new(&["tls.client_certificates = optional"]);
    let ann = house.ready("ann");
    let control = serde_json::json!({"check": {"sleep": 2, "stdout": "fine\n"}});
    house.stand_in.control(&control);
    let before = house.stand_in.starts().len();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| house.curl("/barman/check?server_name=main", Some(&ann), &[]));
        while house.stand_in.starts().len() == before {
            std::thread::sleep(Duration::from_millis(10));
        }
        house.server.terminate();
        let answer = asking.join().unwrap().expect(200);
        assert_eq!(answer.json()["list"][0], "fine");
    });
    assert_eq!(house.server.wait(), Some(0));
}
