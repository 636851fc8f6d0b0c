//! The parts below, played: what they are asked to do is counted and told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value as Json, json};

use crate::audit::Entry;
use crate::auth::{AuthError, AuthKind, Caller, IssuedToken};
use crate::configfile;
use crate::dispatch::{CallContext, Refusal, RefusalKind, Reply, UserTask};
use crate::names::{CommandName, UserName};
use crate::parameters::{Parameters, Value};
use crate::pgbackupapi::{Request, Task};
use crate::policy::{Rights, Rule};
use crate::web::reply::{document, envelope};
use crate::web::{Configuration, Door, Identify, Operations};

/// `ann:secret` in base64.
pub(super) const ANN: &str = "Basic YW5uOnNlY3JldA==";
/// Ann may call everything.
pub(super) const ANN_TOKEN: &str = "ann.token.full";
/// Bob may only list servers.
pub(super) const BOB_TOKEN: &str = "bob.token.little";

/// Every kind of refusal by the name of a command that provokes it.
pub(super) const REFUSALS: [(&str, RefusalKind, u16); 17] = [
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
pub(super) struct Play {
    pub(super) started: AtomicUsize,
    pub(super) logins: AtomicUsize,
    pub(super) not_ready: Mutex<Vec<String>>,
    pub(super) noted: Mutex<Vec<String>>,
}

impl Play {
    pub(super) fn started(&self) -> usize {
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

/// Where those come from who have no socket.
pub(super) fn peer() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1))
}

#[async_trait]
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

    fn vouched(&self, name: &UserName, from: IpAddr, kind: AuthKind) -> Result<Caller, AuthError> {
        Ok(caller(name.as_str(), &[], kind, from))
    }

    async fn logout(&self, caller: &Caller) -> Result<(), AuthError> {
        self.echo("logout", caller, &Parameters::default());
        Ok(())
    }
}

#[async_trait]
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

#[async_trait]
impl Operations for Play {
    async fn answer(&self, _: &Caller, request: Request) -> Result<Reply, Refusal> {
        self.started.fetch_add(1, Ordering::SeqCst);
        if matches!(&request.task, Task::One(_, id) if id == "missing") {
            return Err(Refusal::new(RefusalKind::NotFound, "Resource not found"));
        }
        Ok(document(json!({"task": format!("{:?}", request.task)})))
    }
}

#[async_trait]
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
