//! What happens to every request between the table and a handler, in one order.
//!
//! Path, method, stop, credentials, right, body, parameters, handler: what a stranger may learn
//! comes first, and nothing of a request is acted upon before all of it has been checked.

use std::sync::Arc;

use rocket::data::Data;
use rocket::http::{Method, RawStr};
use rocket::route::{self, Outcome};
use rocket::{Request, async_trait};

use super::access_log::Marks;
use super::body::BodyError;
use super::error::{Challenge, Failure};
use super::guards::{Credentials, Login, credentials, if_match, prefers_async, wants_html};
use super::query::{Pairs, from_query, join};
use super::routes::{
    AuthKind, COMMAND, Call, Changes, Family, Handler, OPERATION, REVISION, Right, Row, SERVER,
};
use super::{App, RequestRules, body, connection, reply};
use crate::audit::Entry;
use crate::auth::{self, AuthError, Caller};
use crate::clock;
use crate::dispatch::{CallContext, RefusalKind, Reply};
use crate::names::{CommandName, Scope, Ticket, UserName};
use crate::parameters::Parameters;

/// How those are recognised who log in.
const LOGIN: auth::AuthKind = auth::AuthKind::Basic;

/// One row of the table, as Rocket calls it.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// The row.
    pub(super) row: &'static Row,
}

/// What a path names.
#[derive(Default)]
struct Named {
    command: Option<CommandName>,
    revision: Option<Ticket>,
    server: Option<String>,
    operation: Option<String>,
}

#[async_trait]
impl route::Handler for Endpoint {
    async fn handle<'r>(&self, request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r> {
        let marks = Marks::of(request);
        let answer = self.answer(request, data, marks).await;
        Outcome::Success(match answer.and_then(reply::write) {
            Ok(response) => response,
            Err(failure) => failure
                .challenge(self.challenge(request))
                .family(self.row.family)
                .respond(marks),
        })
    }
}

impl Endpoint {
    async fn answer(
        &self,
        request: &Request<'_>,
        data: Data<'_>,
        marks: &Marks,
    ) -> Result<Reply, Failure> {
        let row = self.row;
        if marks.visitor.is_none() {
            return Err(Failure::not_let_in());
        }
        let named = self.check_path(request)?;
        marks.set_route(row.path);
        self.check_method(marks)?;
        let app: &App = request
            .rocket()
            .state::<Arc<App>>()
            .ok_or_else(|| Failure::new(RefusalKind::Internal, "the service has no parts"))?;
        if let Handler::Open(run) = row.handler {
            return Ok(run(app));
        }
        if marks.in_flight.is_none() {
            return Err(Failure::stopping());
        }
        let rules = app.requests.get();
        if marks.method == Method::Get && row.changes == Changes::Yes && !rules.get_changes {
            return Err(Failure::method("GET", "POST"));
        }

        let mut query = request
            .uri()
            .query()
            .map_or(Ok(Pairs::new()), |query| from_query(query.raw().as_str()))?;
        let credentials = credentials(request, &mut query, rules.query_token)?;
        match row.handler {
            Handler::Open(run) => Ok(run(app)),
            Handler::Login(run) => {
                let Credentials::Basic(login) = credentials else {
                    return Err(AuthError::Unauthorized.into());
                };
                self.parameters(request, data, marks, query, &rules).await?;
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
                let caller = self.identify(app, request, credentials, marks).await?;
                marks.set_user(caller.user.as_str());
                let who = (Some(caller.user.as_str()), caller.kind);
                if let Err(failure) = self.check_right(&caller) {
                    note(app, marks, "refused", row.path, who, Some(&failure)).await;
                    return Err(failure);
                }
                let taken = if row.document {
                    let document = self.document(request, data, marks, query, &rules).await;
                    document.map(|document| (Parameters::default(), document))
                } else {
                    let parameters = self.parameters(request, data, marks, query, &rules);
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
                    if_match: if_match(request),
                    parameters,
                    context: CallContext {
                        method_is_get: marks.method == Method::Get,
                        prefer_async: prefers_async(request),
                        request_id: marks.id.clone(),
                        route: row.path,
                    },
                };
                run(app, &caller, call).await
            }
        }
    }

    /// Takes a path only in the one spelling that the table has, and reads the command or revision in it.
    ///
    /// Rocket sends several spellings of a path to one route (double slashes, escapes); a rule
    /// about a path would have to know them all.
    fn check_path(&self, request: &Request<'_>) -> Result<Named, Failure> {
        let raw = request.uri().path().raw().as_str();
        let raw = match self.row.family {
            Family::PgBackupApi => raw.strip_suffix('/').unwrap_or(raw),
            Family::Barmanapi => raw,
        };
        let mut named = Named::default();
        let mut given = raw.split('/');
        for wanted in self.row.path.split('/') {
            let Some(segment) = given.next() else {
                return Err(Failure::no_route(self.row.family));
            };
            if wanted == COMMAND {
                let command =
                    CommandName::parse(segment).map_err(|_| Failure::no_route(self.row.family))?;
                named.command = Some(command);
            } else if wanted == REVISION {
                let revision =
                    Ticket::parse(segment).map_err(|_| Failure::no_route(self.row.family))?;
                named.revision = Some(revision);
            } else if wanted == SERVER {
                named.server = Some(text(segment)?);
            } else if wanted == OPERATION {
                named.operation = Some(text(segment)?);
            } else if wanted != segment {
                return Err(Failure::no_route(self.row.family));
            }
        }
        match given.next() {
            None => Ok(named),
            Some(_) => Err(Failure::no_route(self.row.family)),
        }
    }

    fn check_method(&self, marks: &Marks) -> Result<(), Failure> {
        if !self.row.methods.contains(&marks.method) {
            return Err(Failure::method(marks.method.as_str(), &self.row.allow()));
        }
        if marks.method_override {
            return Err(super::query::QueryError::MethodOverride.into());
        }
        Ok(())
    }

    async fn identify(
        &self,
        app: &App,
        request: &Request<'_>,
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
                return Ok(connection::caller(app, request, marks)?);
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
        request: &Request<'_>,
        data: Data<'_>,
        marks: &Marks,
        query: Pairs,
        rules: &RequestRules,
    ) -> Result<Parameters, Failure> {
        let limit = self.row.body_limit;
        let body = body::read(request, marks.method, data, limit, marks.broken_body);
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
        request: &Request<'_>,
        data: Data<'_>,
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
        let body = body::document(request, marks.method, data, limit, marks.broken_body);
        Ok(in_time(marks, rules, body).await?)
    }

    /// A browser is never asked for a password: it would send it with every later request, also
    /// with those that another page makes.
    fn challenge(&self, request: &Request<'_>) -> Challenge {
        match self.row.auth {
            AuthKind::Basic | AuthKind::BasicOrToken if !wants_html(request) => Challenge::Basic,
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
    marks.awaits_body(true);
    let body = tokio::time::timeout(rules.body_time, body).await;
    marks.awaits_body(false);
    body.unwrap_or(Err(BodyError::Slow(rules.body_time)))
}

/// A segment of a path as text; the names in this family's paths have no alphabet of their own.
fn text(segment: &str) -> Result<String, Failure> {
    let text = RawStr::new(segment).percent_decode();
    let text = text.map_err(|_| Failure::no_route(Family::PgBackupApi))?;
    if text.is_empty() {
        return Err(Failure::no_route(Family::PgBackupApi));
    }
    Ok(text.into_owned())
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
