//! Passwords that are guessed where users are looked after, and the ones that are stored there.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::thread;

use base64::Engine as _;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::{Value, json};

use super::users::{House, PASSWORD};
use crate::rig::{Answer, Server};

fn basic(name: &str, password: &str) -> String {
    let pair = format!("{name}:{password}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    )
}

/// The status of a POST that comes from another address of this host.
fn from_elsewhere(server: &Server, target: &str, authorization: &str, body: &Value) -> u16 {
    let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(
        &descriptor,
        &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), 0),
    )
    .unwrap();
    connect(
        &descriptor,
        &SocketAddrV4::new(Ipv4Addr::LOCALHOST, server.port),
    )
    .unwrap();
    let mut stream = TcpStream::from(descriptor);
    let body = body.to_string();
    let request = format!(
        "POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: {authorization}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Asks ten times at once.
fn ten(ask: &(impl Fn() -> Answer + Sync)) -> Vec<u16> {
    thread::scope(|scope| {
        let asked: Vec<_> = (0..10).map(|_| scope.spawn(|| ask().status)).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[track_caller]
fn must_wait(answer: &Answer) {
    assert_eq!(answer.status, 429, "{answer:?}");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}

#[test]
fn an_old_password_is_guessed_no_faster_than_at_the_login() {
    let house = House::new();
    let rob = house.ask("rob");
    let wish = |old: &str| json!({"username": "rob", "password": "new one", "old_password": old});
    let before = house.file();
    let answers = ten(&|| rob.post("/auth/user/change", &wish("guess")));
    assert_eq!(answers, [403; 10]);
    for old in ["guess", PASSWORD] {
        let answer = rob.post("/auth/user/change", &wish(old));
        must_wait(&answer);
        assert_eq!(house.refusal_of(&answer)["status"], 429);
    }
    // The guesses count at the login too, and nobody else is held up.
    must_wait(&house.server.basic("/auth/token", "rob", PASSWORD));
    house
        .server
        .basic("/auth/token", "olga", PASSWORD)
        .expect(200);
    assert_eq!(house.file(), before);
    let bearer = format!("Bearer {}", rob.token);
    let status = from_elsewhere(&house.server, "/auth/user/change", &bearer, &wish(PASSWORD));
    assert_eq!(status, 200);
    assert_ne!(house.file(), before);
}

#[test]
fn a_password_is_guessed_no_faster_where_users_are_looked_after() {
    let house = House::new();
    let target = "/auth/user/change?username=rob&deny=['barman/list-files']";
    let before = house.file();
    let answers = ten(&|| house.server.basic(target, "ada", "guess"));
    assert_eq!(answers, [401; 10]);
    for password in ["guess", PASSWORD] {
        for target in [target, "/auth/user", "/auth/user/list", "/auth/token"] {
            must_wait(&house.server.basic(target, "ada", password));
        }
    }
    assert_eq!(house.file(), before);
    // Who has a token already is not kept from work by others who guess.
    house.ask("ada").get("/auth/user/list").expect(200);
    let wish = json!({"username": "rob", "deny": ["barman/list-files"]});
    let right = basic("ada", PASSWORD);
    assert_eq!(
        from_elsewhere(&house.server, "/auth/user/change", &right, &wish),
        200
    );
}

#[test]
fn a_password_by_http_is_stored_as_argon2id_and_has_at_most_1024_bytes() {
    let house = House::new();
    let ada = house.ask("ada");
    let hash = |name: &str| {
        let text = house.file();
        let section = text
            .split(&format!("[{name}]\n"))
            .nth(1)
            .unwrap()
            .to_owned();
        let line = section
            .lines()
            .find_map(|line| line.strip_prefix("password = "));
        line.unwrap().to_owned()
    };
    let cost = "$argon2id$v=19$m=19456,t=2,p=1$";
    let wish = json!({"username": "eve", "password": PASSWORD, "access": ["history"]});
    ada.post("/auth/user/add", &wish).expect(200);
    let first = hash("eve");
    assert!(first.starts_with(cost), "{first}");
    let wish = json!({"username": "eve", "password": PASSWORD});
    ada.post("/auth/user/change", &wish).expect(200);
    let second = hash("eve");
    assert!(second.starts_with(cost) && second != first, "{second}");
    let longest = "p".repeat(1024);
    let long = json!({"username": "eve", "password": format!("{longest}p")});
    house.refused("ada", "change", &long, 400);
    let own =
        json!({"username": "rob", "password": format!("{longest}p"), "old_password": PASSWORD});
    house.refused("rob", "change", &own, 400);
    // A guess of any length is only a wrong one.
    let guess = json!({"username": "rob", "password": "x", "old_password": "p".repeat(5000)});
    house.refused("rob", "change", &guess, 403);
    for empty in ["", "  "] {
        house.refused(
            "ada",
            "change",
            &json!({"username": "eve", "password": empty}),
            400,
        );
    }
    ada.post(
        "/auth/user/change",
        &json!({"username": "eve", "password": longest}),
    )
    .expect(200);
    assert!(house.logs_in("eve", &longest));
}
