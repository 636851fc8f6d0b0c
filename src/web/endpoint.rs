//! What happens to every request between the table and a handler, in one order.
//!
//! Path, method, stop, credentials, right, body, parameters, handler: what a stranger may learn
//! comes first, and nothing of a request is acted upon before all of it has been checked.

use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response};

use super::access_log::Marks;
use super::body::{Body, BodyError};
use super::content::Content;
use super::error::{Challenge, Failure};
use super::guards::{
    Credentials, Login, accepts_gzip, credentials, if_match, prefers_async, wants_html,
};
use super::query::{Pairs, from_query, join};
use super::reply::Coding;
use super::routes::{self, AuthKind, Call, Changes, Handler, METHODS, Named, Right, Row};
use super::{App, RequestRules, body, connection, reply};
use crate::audit::Entry;
use crate::auth::{self, AuthError, Caller};
use crate::clock;
use crate::dispatch::{CallContext, RefusalKind, Reply};
use crate::names::{Scope, UserName};
use crate::parameters::Parameters;

/// How those are recognised who log in.
const LOGIN: auth::AuthKind = auth::AuthKind::Basic;

/// Answers a request by the row of the table that its path belongs to.
pub(super) async fn answer(
    app: &App,
    head: &Parts,
    body: Body,
    marks: &Marks,
) -> Response<Content> {
    let path = head.uri.path();
    if !METHODS.contains(&marks.method) {
        return Failure::unreadable(path).respond(marks);
    }
    let (row, named) = match routes::find(path) {
        Ok(found) => found,
        Err(failure) => return failure.respond(marks),
    };
    marks.set_route(row.path);
    let endpoint = Endpoint { row };
    let written = match endpoint.answer(app, named, head, body, marks).await {
        Ok(answer) => reply::write(answer, endpoint.coding(&head.headers)).await,
        Err(failure) => Err(failure),
    };
    match written {
        Ok(response) => response,
        Err(failure) => failure
            .challenge(endpoint.challenge(&head.headers))
            .family(row.family)
            .respond(marks),
    }
}

/// A row of the table at work.
struct Endpoint {
    row: &'static Row,
}

impl Endpoint {
    async fn answer(
        &self,
        app: &App,
        named: Named,
        head: &Parts,
        body: Body,
        marks: &Marks,
    ) -> Result<Reply, Failure> {
        let row = self.row;
        if !row.methods.contains(&marks.method) {
            return Err(Failure::method(marks.method.as_str(), &row.allow()));
        }
        if let Handler::Open(run) = row.handler {
            return Ok(run(app));
        }
        if marks.in_flight.is_none() {
            return Err(Failure::stopping());
        }
        let rules = app.requests.get();
        if marks.method == Method::GET && row.changes == Changes::Yes && !rules.get_changes {
            return Err(Failure::method("GET", "POST"));
        }

        let mut query = from_query(head.uri.query().unwrap_or_default())?;
        let credentials = credentials(&head.headers, &mut query, rules.query_token)?;
        match row.handler {
            Handler::Open(run) => Ok(run(app)),
            Handler::Login(run) => {
                let Credentials::Basic(login) = credentials else {
                    return Err(AuthError::Unauthorized.into());
                };
                self.parameters(head, body, marks, query, &rules).await?;
                connection::agrees(marks, &login.name)?;
                let known = run(app, &login, marks.from).await;
                // What is no user's name may be a password that was typed in the wrong place.
                let user = UserName::parse(&login.name).ok();
                let user = user.as_ref().map(UserName::as_str);
                let who = (user, LOGIN);
                note(app, marks, "login", row.path, who, known.as_ref().err()).await;
                if let Some(user) = user {
                    marks.set_user(user);
                }
                known
            }
            Handler::Known(run) => {
                let caller = self.identify(app, head, credentials, marks).await?;
                marks.set_user(caller.user.as_str());
                let who = (Some(caller.user.as_str()), caller.kind);
                if let Err(failure) = self.check_right(&caller) {
                    note(app, marks, "refused", row.path, who, Some(&failure)).await;
                    return Err(failure);
                }
                let taken = if row.document {
                    let document = self.document(head, body, marks, query, &rules).await;
                    document.map(|document| (Parameters::default(), document))
                } else {
                    let parameters = self.parameters(head, body, marks, query, &rules);
                    parameters.await.map(|parameters| (parameters, Vec::new()))
                };
                // The door takes down what it refuses itself.
                if let (Err(failure), true) = (&taken, row.changes != Changes::No) {
                    note(app, marks, "refused", row.path, who, Some(failure)).await;
                }
                let (parameters, document) = taken?;
                let call = Call {
                    command: named.command,
                    revision: named.revision,
                    server: named.server,
                    operation: named.operation,
                    document,
                    if_match: if_match(&head.headers),
                    parameters,
                    context: CallContext {
                        method_is_get: marks.method == Method::GET,
                        prefer_async: prefers_async(&head.headers),
                        request_id: marks.id.clone(),
                        route: row.path,
                    },
                };
                run(app, &caller, call).await
            }
        }
    }

    /// What is said of tokens and users is sent as it is: how well a text can be compressed tells
    /// something of it.
    fn coding(&self, headers: &HeaderMap) -> Coding {
        if self.row.path.starts_with("/auth/") {
            Coding::Plain
        } else if accepts_gzip(headers) {
            Coding::Gzip
        } else {
            Coding::Unwanted
        }
    }

    async fn identify(
        &self,
        app: &App,
        head: &Parts,
        credentials: Credentials,
        marks: &Marks,
    ) -> Result<Caller, Failure> {
        let caller = match (self.row.auth, credentials) {
            (AuthKind::Token | AuthKind::BasicOrToken, Credentials::Token(token)) => {
                app.auth.verify(&token, marks.from)?
            }
            (
                AuthKind::Basic | AuthKind::BasicOrToken,
                Credentials::Basic(Login { name, password }),
            ) => {
                let known = app.auth.basic(&name, &password, marks.from).await;
                let known = known.map_err(Failure::from);
                if let Err(failure) = &known {
                    let user = UserName::parse(&name).ok();
                    let user = user.as_ref().map(UserName::as_str);
                    let who = (user, LOGIN);
                    note(app, marks, "login", self.row.path, who, Some(failure)).await;
                }
                known?
            }
            (AuthKind::Token | AuthKind::BasicOrToken, Credentials::None) => {
                return Ok(connection::caller(app, head, marks)?);
            }
            _ => return Err(AuthError::Unauthorized.into()),
        };
        connection::agrees(marks, caller.user.as_str())?;
        Ok(caller)
    }

    fn check_right(&self, caller: &Caller) -> Result<(), Failure> {
        match self.row.right {
            Right::Open | Right::Known | Right::Command => Ok(()),
            Right::Path(path) if caller.rights.allows(&[path], &Scope::Global) => Ok(()),
            Right::Path(path) => Err(Failure::new(
                RefusalKind::Forbidden,
                format!("user {} may not call {path}", caller.user),
            )),
        }
    }

    async fn parameters(
        &self,
        head: &Parts,
        body: Body,
        marks: &Marks,
        query: Pairs,
        rules: &RequestRules,
    ) -> Result<Parameters, Failure> {
        let limit = self.row.body_limit;
        let body = body::read(head, body, limit);
        let body = in_time(marks, rules, body).await?;
        let mut parameters = join(query, body)?;
        if parameters.take("token")?.is_some() {
            return Err(Failure::new(
                RefusalKind::InvalidParameter,
                "a token is not taken from a body; send it as 'Authorization: Bearer TOKEN'",
            ));
        }
        if let (false, Some((key, _))) = (self.row.parameters, parameters.iter().next()) {
            return Err(Failure::new(
                RefusalKind::InvalidParameter,
                format!("parameter {key:?} is unknown; {} takes none", self.row.path),
            ));
        }
        Ok(parameters)
    }

    /// The body of a route that takes it as it is, and takes no parameters.
    async fn document(
        &self,
        head: &Parts,
        body: Body,
        marks: &Marks,
        query: Pairs,
        rules: &RequestRules,
    ) -> Result<Vec<u8>, Failure> {
        if let Some((key, _)) = query.first() {
            return Err(Failure::new(
                RefusalKind::InvalidParameter,
                format!("parameter {key:?} is unknown; {} takes none", self.row.path),
            ));
        }
        let limit = self.row.body_limit;
        let body = body::document(head, body, limit);
        Ok(in_time(marks, rules, body).await?)
    }

    /// A browser is never asked for a password: it would send it with every later request, also
    /// with those that another page makes.
    fn challenge(&self, headers: &HeaderMap) -> Challenge {
        match self.row.auth {
            AuthKind::Basic | AuthKind::BasicOrToken if !wants_html(headers) => Challenge::Basic,
            _ => Challenge::Bearer,
        }
    }
}

/// Waits for a body no longer than it may take.
async fn in_time<T>(
    marks: &Marks,
    rules: &RequestRules,
    body: impl Future<Output = Result<T, BodyError>>,
) -> Result<T, BodyError> {
    marks.visitor.awaits_body(true);
    let body = tokio::time::timeout(rules.body_time, body).await;
    marks.visitor.awaits_body(false);
    body.unwrap_or(Err(BodyError::Slow(rules.body_time)))
}

/// Tells the audit log what came of a request before it reached the door.
async fn note(
    app: &App,
    marks: &Marks,
    event: &'static str,
    route: &str,
    (user, kind): (Option<&str>, auth::AuthKind),
    failure: Option<&Failure>,
) {
    let mut entry = Entry::new(clock::now(), event);
    entry.user = user.map(str::to_owned);
    entry.auth = Some(kind.word().to_owned());
    entry.from = Some(marks.from.to_string());
    entry.method = Some(marks.method.as_str().to_owned());
    entry.route = Some(route.to_owned());
    entry.request_id = Some(marks.id.clone());
    entry.status = Some(failure.map_or(200, Failure::status));
    app.door.note(entry).await;
}
