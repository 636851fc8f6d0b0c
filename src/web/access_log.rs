//! One log line and one set of headers for every answer, and what a request carries until then.
//!
//! The line never holds a header, a body or a query: tokens and passwords travel in all three.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, Uri};

use super::content::Content;
use super::routes::METHODS;
use super::traffic::{InFlight, Traffic};
use crate::visitors::{Port, Visitor};

/// What every answer carries (threats: framing, sniffing, caches that keep a secret).
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Tells browsers of a year in which they come by TLS alone.
const TLS_ALONE: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The name of the header with the id of a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How much of a path that matches no route is logged, in characters.
const LOGGED_PATH: usize = 128;

/// What is known of a request while it is being answered.
pub(super) struct Marks {
    /// The id in `X-Request-Id` and in the log: 96 random bits in hexadecimal.
    pub(super) id: String,
    /// The method as it was sent.
    pub(super) method: Method,
    /// Set where the service is not stopping.
    pub(super) in_flight: Option<InFlight>,
    /// Where the request comes from.
    pub(super) from: IpAddr,
    /// Whose connection it is.
    pub(super) visitor: Arc<Visitor>,
    began: Instant,
    route: OnceLock<&'static str>,
    user: OnceLock<String>,
}

impl Marks {
    /// What is known of a request by its head.
    pub(super) fn new(head: &Parts, visitor: Arc<Visitor>, traffic: &Arc<Traffic>) -> Self {
        Self {
            id: random_id(),
            method: head.method.clone(),
            in_flight: traffic.enter(),
            from: visitor.peer.ip().to_canonical(),
            visitor,
            began: Instant::now(),
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

    fn log(&self, uri: &Uri, status: u16) {
        let duration_ms = self.began.elapsed().as_secs_f64() * 1000.0;
        let user = self.user.get().map(String::as_str);
        let path = match self.route.get() {
            Some(_) => None,
            None => Some(shown_path(uri.path())),
        };
        let method = if METHODS.contains(&self.method) {
            self.method.as_str()
        } else {
            "unknown"
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

/// Sets the headers that every answer carries, writes its line, and tells the listener.
pub(super) fn finish(response: &mut Response<Content>, uri: &Uri, marks: &Marks, close: bool) {
    let status = response.status().as_u16();
    let headers = response.headers_mut();
    headers.extend(SECURITY_HEADERS);
    if marks.visitor.port == Port::Tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, TLS_ALONE);
    }
    if let Ok(id) = HeaderValue::from_str(&marks.id) {
        headers.insert(REQUEST_ID, id);
    }
    if close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    marks.log(uri, status);
    marks.visitor.answered();
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
