//! What of a request reaches the log, and what never does.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tracing_subscriber::fmt::MakeWriter;

use super::answers::bearer;
use super::*;

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What is logged at the most talkative level while `work` runs, one JSON document a line.
fn logged(work: impl FnOnce()) -> Vec<Json> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    // With a single subscriber alive, tracing asks that of the thread which comes by first whether
    // a line is wanted, and other tests have none. With two it asks all.
    let second = tracing::Dispatch::new(tracing_subscriber::registry());
    tracing::subscriber::with_default(subscriber, work);
    drop(second);
    let bytes = log.0.lock().unwrap().clone();
    let lines = String::from_utf8(bytes).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Json| line["target"].as_str().unwrap().starts_with("barmanapi"))
        .collect()
}

#[test]
fn each_request_is_one_line_with_its_route_and_user_and_without_secrets() {
    let (client, _) = local(|_| ());
    let mut ids = Vec::new();
    let lines = logged(|| {
        let mut send = |request: Asking<'_>| {
            let answer = request.dispatch();
            let id = answer.header("X-Request-Id");
            ids.push(id.unwrap().to_owned());
        };
        send(client.get(format!("/barman/check?token={ANN_TOKEN}&password=hunter2")));
        send(bearer(client.get("/barman/check?a=hunter2%"), ANN_TOKEN));
        send(
            client
                .get("/auth/user")
                .header(Header::new("Authorization", ANN)),
        );
        send(
            bearer(client.post("/barman/check"), ANN_TOKEN)
                .header(JSON)
                .body(r#"{"password":"hunter2"}"#),
        );
        send(client.get(format!("/nowhere/{}?token={ANN_TOKEN}", "x".repeat(5000))));
        send(
            client
                .get("/auth/user")
                .header(Header::new("Authorization", "Basic YW5uOmh1bnRlcjI=")),
        );
    });
    assert_eq!(lines.len(), ids.len(), "{lines:#?}");
    for (line, id) in lines.iter().zip(&ids) {
        assert_eq!(line["fields"]["request_id"], **id);
        assert!(line["fields"]["duration_ms"].is_f64());
        let text = line.to_string();
        for secret in [ANN_TOKEN, "hunter2", "secret", "YW5u", "token=", "password"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.len() < 700, "{text}");
    }
    let field = |line: usize, name: &str| lines[line]["fields"][name].clone();
    assert_eq!(field(0, "route"), "/barman/<command>");
    assert_eq!(field(0, "user"), "ann");
    assert_eq!(field(0, "method"), "GET");
    assert_eq!(field(0, "status"), 200);
    assert_eq!(field(0, "path"), Json::Null);
    assert_eq!(field(1, "status"), 400);
    assert_eq!(field(2, "user"), "ann");
    assert_eq!(field(4, "route"), Json::Null);
    assert_eq!(field(4, "path").as_str().unwrap().len(), 128);
    assert_eq!(field(5, "user"), Json::Null);
    assert_eq!(field(5, "status"), 401);
}

#[test]
fn the_cause_of_a_failure_is_logged_once_with_the_id() {
    let (client, _) = local(|_| ());
    let mut id = String::new();
    let lines = logged(|| {
        let answer = bearer(client.get("/barman/internal"), ANN_TOKEN).dispatch();
        id = answer.header("X-Request-Id").unwrap().to_owned();
    });
    let causes: Vec<&Json> = lines
        .iter()
        .filter(|line| line["fields"]["cause"] == "the private cause")
        .collect();
    assert_eq!(causes.len(), 1, "{lines:#?}");
    assert_eq!(causes[0]["level"], "ERROR");
    assert_eq!(causes[0]["fields"]["request_id"], *id);
}

#[test]
fn logins_logouts_and_missing_rights_are_told_to_the_audit_log() {
    let (client, play) = local(|_| ());
    let ask = |path: &'static str, credentials: String| {
        let header = Header::new("Authorization", credentials);
        client.get(path).header(header).dispatch().status
    };
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    assert_eq!(ask("/auth/token", basic("ann:secret")), 200);
    assert_eq!(ask("/auth/token", basic("ann:wrong")), 401);
    assert_eq!(ask("/history/list", format!("Bearer {BOB_TOKEN}")), 403);
    assert_eq!(ask("/auth/logout", format!("Bearer {ANN_TOKEN}")), 200);
    let noted = play.noted.lock().unwrap().clone();
    let wanted = [
        "login ann 200",
        "login ann 401",
        "refused bob 403",
        "logout ann 0",
    ];
    assert_eq!(noted, wanted);
}
