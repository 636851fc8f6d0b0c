//! One log line and one set of headers for every answer, and what a request carries until then.
//!
//! The line never holds a header, a body or a query: tokens and passwords travel in all three.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rocket::data::Data;
use rocket::fairing::{Fairing, Info, Kind};
use rocket::form::Form;
use rocket::http::{Header, Method};
use rocket::{Request, Response};

use super::App;
use super::traffic::{InFlight, Traffic};
use crate::visitors::{Port, Visitor};

/// What every answer carries (threats: framing, sniffing, caches that keep a secret).
pub(super) const SECURITY_HEADERS: [(&str, &str); 4] = [
    ("X-Content-Type-Options", "nosniff"),
    (
        "Content-Security-Policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
];

/// How much of a path that matches no route is logged, in characters.
const LOGGED_PATH: usize = 128;

/// How far Rocket looks into a form for a field `_method` before any code of ours runs, in bytes.
const ROCKET_PEEKS: usize = "_method=delete".len();

/// What is known of a request while it is being answered; kept in Rocket's request-local cache.
pub(super) struct Marks {
    /// The id in `X-Request-Id` and in the log: 96 random bits in hexadecimal.
    pub(super) id: String,
    /// The method as it was sent.
    pub(super) method: Method,
    /// Whether a form asked Rocket for another method by `_method`.
    pub(super) method_override: bool,
    /// Whether reading the body failed while Rocket looked for `_method`. Rocket goes on as if the
    /// body had ended there.
    pub(super) broken_body: bool,
    /// Set where the service is not stopping.
    pub(super) in_flight: Option<InFlight>,
    /// Where the request comes from.
    pub(super) from: IpAddr,
    /// Who stands behind the connection; `None` = nobody was let in there.
    pub(super) visitor: Option<Arc<Visitor>>,
    began: Instant,
    /// Whether Rocket answers this request without asking any fairing: it does so when it does not
    /// know the method.
    salvaged: bool,
    route: OnceLock<&'static str>,
    user: OnceLock<String>,
}

impl Marks {
    /// What is known of `request`.
    pub(super) fn of<'r>(request: &'r Request<'_>) -> &'r Self {
        request.local_cache(|| Self::new(request, true))
    }

    fn new(request: &Request<'_>, salvaged: bool) -> Self {
        let app = request.rocket().state::<Arc<App>>();
        let visitor = app.and_then(|app| app.guests.find(request.remote()));
        let from = visitor.as_ref().map(|visitor| visitor.peer);
        let from = from.or(request.remote()).map(|from| from.ip());
        Self {
            id: random_id(),
            method: request.method(),
            method_override: false,
            broken_body: false,
            in_flight: None,
            from: from.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |from| {
                from.to_canonical()
            }),
            visitor,
            began: Instant::now(),
            salvaged,
            route: OnceLock::new(),
            user: OnceLock::new(),
        }
    }

    /// Notes the pattern of the route that the request goes to.
    pub(super) fn set_route(&self, route: &'static str) {
        self.route.get_or_init(|| route);
    }

    /// Notes who is calling.
    pub(super) fn set_user(&self, user: &str) {
        self.user.get_or_init(|| user.to_owned());
    }

    /// Tells the listener that the body is waited for, or is there.
    pub(super) fn awaits_body(&self, waits: bool) {
        if let Some(visitor) = &self.visitor {
            visitor.awaits_body(waits);
        }
    }

    /// Tells the listener that there is an answer.
    fn answered(&self) {
        if let Some(visitor) = &self.visitor {
            visitor.answered();
        }
    }

    fn log(&self, request: &Request<'_>, status: u16) {
        let duration_ms = self.began.elapsed().as_secs_f64() * 1000.0;
        let user = self.user.get().map(String::as_str);
        let path = match self.route.get() {
            Some(_) => None,
            None => Some(shown_path(request.uri().path().raw().as_str())),
        };
        let method = if self.salvaged {
            "unknown"
        } else {
            self.method.as_str()
        };
        tracing::info!(
            method,
            route = self.route.get().copied(),
            path = path.as_deref(),
            status,
            duration_ms,
            user,
            from = %self.from,
            request_id = self.id,
            "request answered"
        );
    }
}

/// 96 bits are enough to tell requests apart; without a random source the id is all zeros, which
/// costs the log its cross-reference and the answer nothing.
fn random_id() -> String {
    let mut bytes = [0u8; 12];
    if getrandom::fill(&mut bytes).is_err() {
        bytes = [0; 12];
    }
    let mut id = String::with_capacity(24);
    for byte in bytes {
        // Writing to a String cannot fail.
        if write!(id, "{byte:02x}").is_err() {
            break;
        }
    }
    id
}

/// A path from outside as it may stand in a log line: on one line, escaped, cut.
fn shown_path(path: &str) -> String {
    path.escape_default().take(LOGGED_PATH).collect()
}

/// Sets the headers that every answer carries.
fn set_headers(response: &mut Response<'_>, marks: &Marks, close: bool) {
    for (name, value) in SECURITY_HEADERS {
        response.set_header(Header::new(name, value));
    }
    let port = marks.visitor.as_ref().map(|visitor| visitor.port);
    if port == Some(Port::Tls) {
        response.set_header(Header::new("Strict-Transport-Security", "max-age=31536000"));
    }
    response.set_header(Header::new("X-Request-Id", marks.id.clone()));
    if close {
        response.set_header(Header::new("Connection", "close"));
    }
}

/// Finishes an answer that no fairing will see.
pub(super) fn finish_salvaged(request: &Request<'_>, response: &mut Response<'_>) {
    let marks = Marks::of(request);
    if marks.salvaged {
        set_headers(response, marks, true);
        marks.log(request, response.status().code);
        marks.answered();
    }
}

/// Marks each request as it comes and writes its line as it is answered.
pub(super) struct AccessLog {
    /// Counts what is being answered.
    pub(super) traffic: Arc<Traffic>,
}

#[rocket::async_trait]
impl Fairing for AccessLog {
    fn info(&self) -> Info {
        Info {
            name: "access log",
            kind: Kind::Request | Kind::Response,
        }
    }

    async fn on_request(&self, request: &mut Request<'_>, data: &mut Data<'_>) {
        let mut marks = Marks::new(request, false);
        if let Some(visitor) = &marks.visitor {
            visitor.asked();
        }
        marks.in_flight = self.traffic.enter();
        // Rocket has looked at the first bytes by now. Bytes it did not get, of a body that it has
        // not seen end, mean that reading failed; it tells nobody.
        let ended = data.peek_complete();
        let seen = data.peek(ROCKET_PEEKS).await;
        marks.broken_body = !ended && seen.len() < ROCKET_PEEKS;
        // And it may have taken a form's `_method` for the method.
        marks.method_override = request.content_type().is_some_and(|kind| kind.is_form())
            && std::str::from_utf8(seen)
                .ok()
                .and_then(|seen| Form::values(seen).next())
                .is_some_and(|field| field.name == "_method");
        if marks.method_override {
            request.set_method(Method::Post);
            marks.method = Method::Post;
        }
        request.local_cache(|| marks);
    }

    async fn on_response<'r>(&self, request: &'r Request<'_>, response: &mut Response<'r>) {
        let marks = Marks::of(request);
        let close = self.traffic.is_stopping() || marks.visitor.is_none();
        set_headers(response, marks, close);
        marks.log(request, response.status().code);
        marks.answered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_path_is_one_short_line_of_plain_characters() {
        let path = format!("/a\n\u{1b}[31m\u{2028}é{}", "x".repeat(70_000));
        let shown = shown_path(&path);
        assert_eq!(shown.chars().count(), LOGGED_PATH);
        assert!(shown.starts_with("/a\\n\\u{1b}[31m\\u{2028}"));
        assert!(shown.is_ascii());
    }

    #[test]
    fn request_ids_are_24_hexadecimal_digits_and_differ() {
        let (one, other) = (random_id(), random_id());
        assert_eq!(one.len(), 24);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
