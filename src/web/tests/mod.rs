//! The routes as a client sees them: through Rocket's local client, and over a real socket where
//! the bytes on the wire matter.

mod answers;
mod log;
mod pgbackupapi;
mod stop;
mod walk;
mod wire;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use ::rocket::local::blocking::Client;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use super::reply::{document, envelope};
use super::*;
use crate::audit::Entry;
use crate::auth::{AuthError, AuthKind, Caller, IssuedToken};
use crate::configfile;
use crate::dispatch::{Body, CallContext, Refusal, RefusalKind, Reply, UserTask};
use crate::names::{CommandName, UserName};
use crate::parameters::{Parameters, Value};
use crate::pgbackupapi::{Request, Task};
use crate::policy::{Rights, Rule};

/// `ann:secret` in base64.
const ANN: &str = "Basic YW5uOnNlY3JldA==";
/// Ann may call everything.
const ANN_TOKEN: &str = "ann.token.full";
/// Bob may only list servers.
const BOB_TOKEN: &str = "bob.token.little";

/// Every kind of refusal by the name of a command that provokes it.
const REFUSALS: [(&str, RefusalKind, u16); 17] = [
    ("parameter", RefusalKind::InvalidParameter, 400),
    ("unauthorized", RefusalKind::Unauthorized, 401),
    ("forbidden", RefusalKind::Forbidden, 403),
    ("unknown", RefusalKind::NotFound, 404),
    ("method", RefusalKind::MethodNotAllowed, 405),
    ("conflict", RefusalKind::Conflict, 409),
    ("gone", RefusalKind::Gone, 410),
    ("stale", RefusalKind::Stale, 412),
    ("precondition", RefusalKind::PreconditionRequired, 428),
    ("large", RefusalKind::TooLarge, 413),
    ("media", RefusalKind::UnsupportedMedia, 415),
    ("refused", RefusalKind::RefusedByBarman, 422),
    ("many", RefusalKind::TooMany, 429),
    ("internal", RefusalKind::Internal, 500),
    ("unreachable", RefusalKind::BarmanUnreachable, 502),
    ("unavailable", RefusalKind::Unavailable, 503),
    ("full", RefusalKind::StoreFull, 507),
];

/// Plays the parts below and counts how often they are asked to do something.
#[derive(Default)]
struct Play {
    started: AtomicUsize,
    logins: AtomicUsize,
    not_ready: Mutex<Vec<String>>,
    noted: Mutex<Vec<String>>,
}

impl Play {
    fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    fn echo(&self, what: &str, caller: &Caller, parameters: &Parameters) -> Reply {
        self.started.fetch_add(1, Ordering::SeqCst);
        let given: Vec<Json> = parameters
            .iter()
            .map(|(key, value)| {
                let value = match value {
                    Value::Text(text) => json!(text),
                    Value::Number(text) => json!({ "number": text }),
                    Value::Bool(value) => json!(value),
                    Value::List(list) => json!(list),
                };
                json!([key, value])
            })
            .collect();
        envelope(
            what,
            &json!({ "user": caller.user.as_str(), "given": given }),
        )
    }
}

fn caller(user: &str, access: &[&str], kind: AuthKind, from: IpAddr) -> Caller {
    let rules = |texts: &[&str]| {
        texts
            .iter()
            .map(|rule| Rule::parse(rule).unwrap())
            .collect()
    };
    Caller {
        user: UserName::parse(user).unwrap(),
        rights: Arc::new(Rights::new(rules(access), Vec::new()).unwrap()),
        from: Some(from),
        kind,
    }
}

#[::rocket::async_trait]
impl Identify for Play {
    async fn login(&self, name: &str, password: &str, _: IpAddr) -> Result<IssuedToken, AuthError> {
        self.logins.fetch_add(1, Ordering::SeqCst);
        match (name, password) {
            ("ann", "secret") => Ok(IssuedToken {
                token: ANN_TOKEN.to_owned(),
                expires_in: 6000,
            }),
            ("storm", _) => Err(AuthError::TooMany { retry_after: 7 }),
            ("disk", _) => Err(AuthError::Storage(std::io::Error::other("disk on fire"))),
            _ => Err(AuthError::Unauthorized),
        }
    }

    async fn basic(&self, name: &str, password: &str, from: IpAddr) -> Result<Caller, AuthError> {
        self.login(name, password, from).await?;
        Ok(caller(name, &[], AuthKind::Basic, from))
    }

    fn verify(&self, token: &str, from: IpAddr) -> Result<Caller, AuthError> {
        match token {
            ANN_TOKEN => Ok(caller("ann", &[], AuthKind::Token, from)),
            BOB_TOKEN => Ok(caller(
                "bob",
                &["barman/list-servers"],
                AuthKind::Token,
                from,
            )),
            _ => Err(AuthError::Unauthorized),
        }
    }

    async fn logout(&self, caller: &Caller) -> Result<(), AuthError> {
        self.echo("logout", caller, &Parameters::default());
        Ok(())
    }
}

#[::rocket::async_trait]
impl Configuration for Play {
    async fn answer(
        &self,
        request: configfile::Request,
    ) -> Result<configfile::Answer, configfile::ConfigError> {
        self.started.fetch_add(1, Ordering::SeqCst);
        Ok(configfile::Answer {
            body: json!({"task": format!("{:?}", request.task), "seen": request.if_match}),
            etag: Some("\"tag\"".to_owned()),
        })
    }
}

#[::rocket::async_trait]
impl Operations for Play {
    async fn answer(&self, _: &Caller, request: Request) -> Result<Reply, Refusal> {
        self.started.fetch_add(1, Ordering::SeqCst);
        if matches!(&request.task, Task::One(_, id) if id == "missing") {
            return Err(Refusal::new(RefusalKind::NotFound, "Resource not found"));
        }
        Ok(document(json!({"task": format!("{:?}", request.task)})))
    }
}

#[::rocket::async_trait]
impl Door for Play {
    async fn help(&self, caller: &Caller) -> Result<Reply, Refusal> {
        Ok(self.echo("help", caller, &Parameters::default()))
    }

    async fn command_help(&self, caller: &Caller, command: &CommandName) -> Result<Reply, Refusal> {
        let what = format!("help of {command}");
        Ok(self.echo(&what, caller, &Parameters::default()))
    }

    async fn reload(&self, caller: &Caller, _: CallContext) -> Result<Reply, Refusal> {
        Ok(self.echo("reload", caller, &Parameters::default()))
    }

    async fn run(
        &self,
        caller: &Caller,
        command: &CommandName,
        context: CallContext,
        parameters: Parameters,
    ) -> Result<Reply, Refusal> {
        let reply = self.echo(&format!("run {command}"), caller, &parameters);
        if let Some((_, kind, _)) = REFUSALS.iter().find(|(name, ..)| *name == command.as_str()) {
            return Err(Refusal {
                kind: *kind,
                message: "the public words".to_owned(),
                reason: None,
                retry_after: None,
                source: Some("the private cause".into()),
            });
        }
        match command.as_str() {
            "panic" => panic!("a handler fails"),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(1600)).await;
                Ok(reply)
            }
            "context" => Ok(document(json!({
                "get": context.method_is_get,
                "async": context.prefer_async,
                "id": context.request_id,
                "route": context.route,
            }))),
            "backup" => Ok(Reply {
                status: 202,
                location: Some("/history/result?ticket=t".to_owned()),
                etag: None,
                body: reply.body,
            }),
            _ => Ok(reply),
        }
    }

    async fn history_list(&self, caller: &Caller, given: Parameters) -> Result<Reply, Refusal> {
        Ok(self.echo("list", caller, &given))
    }

    async fn history_result(&self, caller: &Caller, given: Parameters) -> Result<Reply, Refusal> {
        Ok(self.echo("result", caller, &given))
    }

    async fn history_cancel(
        &self,
        caller: &Caller,
        _: CallContext,
        given: Parameters,
    ) -> Result<Reply, Refusal> {
        Ok(self.echo("cancel", caller, &given))
    }

    async fn users(
        &self,
        task: UserTask,
        caller: &Caller,
        _: CallContext,
        given: Parameters,
    ) -> Result<Reply, Refusal> {
        Ok(self.echo(&format!("{task:?}"), caller, &given))
    }

    async fn note(&self, entry: Entry) {
        let user = entry.user.unwrap_or_default();
        let line = format!(
            "{} {user} {}",
            entry.event,
            entry.status.unwrap_or_default()
        );
        self.noted.lock().unwrap().push(line);
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        let reasons = self.not_ready.lock().unwrap().clone();
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(reasons)
        }
    }
}

fn app(play: &Arc<Play>) -> App {
    App {
        auth: Arc::clone(play) as Arc<dyn Identify>,
        door: Arc::clone(play) as Arc<dyn Door>,
        operations: Arc::clone(play) as Arc<dyn Operations>,
        config: Arc::clone(play) as Arc<dyn Configuration>,
        own_config: Arc::clone(play) as Arc<dyn Configuration>,
        requests: Arc::new(Live::new(RequestRules {
            query_token: true,
            get_changes: true,
        })),
        traffic: Arc::default(),
    }
}

const LOOPBACK: ServerSettings = ServerSettings {
    host: IpAddr::V4(Ipv4Addr::LOCALHOST),
    port: 0,
};

/// A client without a socket, and the parts it reaches.
fn local(change: impl FnOnce(&mut App)) -> (Client, Arc<Play>) {
    let play = Arc::new(Play::default());
    let mut app = app(&play);
    change(&mut app);
    let rocket = rocket(Arc::new(app), &LOOPBACK, |_| ());
    (Client::untracked(rocket).unwrap(), play)
}

/// The service on a real port; it stops when this is dropped.
struct Server {
    address: SocketAddr,
    play: Arc<Play>,
    app: Arc<App>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    fn start() -> Self {
        let play = Arc::new(Play::default());
        let app = Arc::new(app(&play));
        let (bound, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&app);
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap()
                .block_on(async {
                    let rocket = rocket(Arc::clone(&served), &LOOPBACK, move |address| {
                        bound.send(address).unwrap();
                    });
                    serve(rocket, served, async {
                        stopped.await.ok();
                    })
                    .await
                })
        });
        Self {
            address: address.recv_timeout(Duration::from_secs(30)).unwrap(),
            play,
            app,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Asks for the stop without waiting for it.
    fn ask_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
    }

    /// Waits until the service has ended.
    fn join(&mut self) -> Result<(), ServeError> {
        self.ask_to_stop();
        match self.thread.take() {
            Some(thread) => thread.join().unwrap(),
            None => Ok(()),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Sends raw bytes and reads until the other side closes.
    fn raw(&self, bytes: impl AsRef<[u8]>) -> Raw {
        let mut stream = self.connect();
        stream.write_all(bytes.as_ref()).unwrap();
        Raw::read(&mut stream)
    }

    /// A request with Ann's token that closes the connection.
    fn request(&self, line: &str, headers: &str, body: &[u8]) -> Raw {
        let mut bytes = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {ANN_TOKEN}\r\n{headers}\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.raw(bytes)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// An answer as it came over the socket.
#[derive(Debug)]
struct Raw {
    status: u16,
    head: String,
    body: String,
}

impl Raw {
    fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A reset after the answer is as good as an end: the server did not want the rest.
        stream.read_to_end(&mut bytes).ok();
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        Self {
            status: head
                .split(' ')
                .nth(1)
                .and_then(|code| code.parse().ok())
                .unwrap_or_default(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

#[test]
fn the_body_of_a_reply_is_json() {
    let Body::Json(body) = envelope("m", &json!([1])).body else {
        panic!("no document")
    };
    assert_eq!(
        body,
        json!({"status_code": 200, "message": "m", "list": [1]})
    );
}
