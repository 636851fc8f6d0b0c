//! The port for clients of this host that bring no credentials.

use std::net::TcpListener;

use super::{House, run};
use crate::rig::{Answer, Barman, Site, StandIn, raw};

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn ask(port: u16, target: &str, headers: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    raw(port, request.as_bytes()).unwrap()
}

#[test]
fn requests_of_this_host_run_as_the_configured_user() {
    let port = free_port();
    let local = format!("pgbackupapi.local_port = {port}");
    let house = House::new(&[
        "tls.client_certificates = required",
        "pgbackupapi.local_user = bob",
        &local,
    ]);
    let host = format!("Host: localhost:{port}\r\n");
    ask(port, "/healthz", &host).expect(200);
    ask(port, "/history/list", &host).expect(200);
    assert_eq!(ask(port, "/status", &host).expect(200).body, b"\"OK\"");
    ask(port, "/config/barmanapi", &host).expect(403);
    for host in [
        "Host: 127.0.0.1\r\n",
        "Host: [::1]:7480\r\n",
        "host: LOCALHOST\r\n",
    ] {
        let answer = ask(port, "/auth/user", host).expect(200).json();
        assert_eq!(answer["message"], "the rights of user bob");
    }
    // Credentials say more than the port, and wrong ones are wrong here, too.
    let token = house.token("ann");
    let answer = ask(port, "/auth/user", &format!("{host}{token}\r\n")).expect(200);
    assert_eq!(answer.json()["message"], "the rights of user ann");
    ask(
        port,
        "/auth/user",
        &format!("{host}Authorization: Bearer x.y.z\r\n"),
    )
    .expect(401);
    ask(port, "/auth/user?token=x.y.z", &host).expect(401);
    // A page in a browser, and a name that somebody else lets point here, get nothing by it.
    for headers in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: localhost.evil.example:{port}\r\n"),
        "Host: 192.0.2.1\r\n".to_owned(),
        String::from("Host: \r\n"),
        format!("{host}Origin: http://localhost:{port}\r\n"),
        format!("{host}Sec-Fetch-Site: cross-site\r\n"),
    ] {
        let answer = ask(port, "/auth/user", &headers);
        assert!([400, 401].contains(&answer.status), "{headers} {answer:?}");
    }
    // A target with a host is what the request is for, whatever the header says (RFC 9112, 3.2.2).
    let full = |name: &str| format!("http://{name}:{port}/auth/user");
    ask(port, &full("evil.example"), &host).expect(401);
    ask(port, &full("localhost@evil.example"), &host).expect(401);
    ask(port, &full("localhost"), &host).expect(200);
    run(&house.site, &["user", "remove", "bob"]);
    ask(port, "/auth/user", &host).expect(401);
}

#[test]
fn nobody_of_this_host_ends_the_tokens_of_the_configured_user() {
    let port = free_port();
    let local = format!("pgbackupapi.local_port = {port}");
    let house = House::new(&[
        "tls.client_certificates = optional",
        "pgbackupapi.local_user = ann",
        &local,
    ]);
    let host = format!("Host: localhost:{port}\r\n");
    let token = format!("{host}{}\r\n", house.token("ann"));
    let log_out = |headers: &str| {
        let request = format!(
            "POST /auth/logout HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
        );
        raw(port, request.as_bytes()).unwrap()
    };
    let refused = log_out(&host).expect(403).json();
    let words = refused["message"].as_str().unwrap();
    assert!(words.contains("a token of the user"), "{words}");
    ask(port, "/auth/user", &token).expect(200);
    log_out(&token).expect(200);
    ask(port, "/auth/user", &token).expect(401);
}

#[test]
fn a_local_port_that_the_service_takes_itself_is_told() {
    let stand_in = StandIn::new();
    let local = [
        "pgbackupapi.local_port = 7123",
        "pgbackupapi.local_user = ann",
    ];
    for (host, port, taken) in [
        ("127.0.0.1", "7123", true),
        ("0.0.0.0", "7123", true),
        ("::", "7123", true),
        ("127.0.0.1", "7124", false),
        ("::1", "7123", false),
        ("127.0.0.2", "7123", false),
    ] {
        let main = [
            format!("application.host = {host}"),
            format!("application.port = {port}"),
        ];
        let keys = [
            local[0],
            local[1],
            &main[0],
            &main[1],
            "application.insecure = true",
        ];
        let site = Site::new(&Barman::StandIn(&stand_in), &keys);
        site.user("ann", &["--full"]);
        let output = site.run(&["check-config"], "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let wrong = "[pgbackupapi] local_port: [application] port is the same on this address";
        assert_eq!(told.contains(wrong), taken, "{host} {port}: {told}");
        assert_eq!(output.status.success(), !taken, "{host} {port}: {told}");
    }
}

#[test]
fn the_main_port_lends_nobody_a_user() {
    let stand_in = StandIn::new();
    let local = format!("pgbackupapi.local_port = {}", free_port());
    let site = Site::new(
        &Barman::StandIn(&stand_in),
        &[&local, "pgbackupapi.local_user = ann"],
    );
    site.user("ann", &["--full"]);
    let server = site.serve_unready(&[]);
    server.get("/auth/user").expect(401);
}

#[test]
fn a_local_port_without_a_user_is_refused() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &["pgbackupapi.local_port = 0"]);
    let output = site.run(&["check-config"], "");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("[pgbackupapi] local_user: requests on local_port have no user"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_local_user_who_is_no_user_is_told_by_check_config() {
    let stand_in = StandIn::new();
    let local = ["pgbackupapi.local_port = 0", "pgbackupapi.local_user = bob"];
    let site = Site::new(&Barman::StandIn(&stand_in), &local);
    let told = || {
        let output = site.run(&["check-config"], "");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), words)
    };
    site.users("");
    let (code, words) = told();
    let wrong = format!("bob is no user of {}", site.file("client.conf").display());
    assert!(words.contains("[pgbackupapi] local_user: "), "{words}");
    assert!(words.contains(&wrong), "{words}");
    assert_eq!(code, Some(1));
    site.user("bob", &["--access", "barman/diagnose"]);
    assert_eq!(told(), (Some(0), String::new()));
}
