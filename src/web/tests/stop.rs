//! Starting on a port, and stopping without cutting anybody off.

use std::time::Instant;

use super::*;

fn get(server: &Server, stream: &mut TcpStream, path: &str) {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN_TOKEN}\r\n\r\n"
    )
    .unwrap();
    assert!(server.address.port() != 0);
}

#[test]
fn requests_in_flight_are_finished_and_new_ones_refused() {
    let mut server = Server::start();
    let mut slow: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    for stream in &mut slow {
        get(&server, stream, "/barman/slow");
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.play.started() < 20 {
        assert!(Instant::now() < deadline, "the requests did not arrive");
        std::thread::sleep(Duration::from_millis(5));
    }
    server.ask_to_stop();
    while !server.app.traffic.is_stopping() {
        assert!(Instant::now() < deadline, "the stop did not arrive");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut late = server.connect();
    get(&server, &mut late, "/barman/check");
    let refused = Raw::read(&mut late);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.json()["type"], "unavailable");
    assert_eq!(refused.header("Retry-After"), Some("5"));
    assert_eq!(refused.header("Connection"), Some("close"));
    let mut probe = server.connect();
    get(&server, &mut probe, "/readyz");
    assert_eq!(Raw::read(&mut probe).status, 503);
    for stream in &mut slow {
        assert_eq!(Raw::read(stream).status, 200);
    }
    let began = Instant::now();
    server.join();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(server.play.started(), 20);
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn an_idle_connection_does_not_hold_up_the_stop() {
    let mut server = Server::start();
    let mut idle = server.connect();
    get(&server, &mut idle, "/healthz");
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let mut half = server.connect();
    half.write_all(b"GET /healthz HT").unwrap();
    let began = Instant::now();
    server.join();
    assert!(began.elapsed() < Duration::from_secs(5));
}
