//! A client without a socket.

use std::borrow::Cow;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request};
use serde_json::Value as Json;
use tokio::runtime::Runtime;

use super::play::peer;
use crate::visitors::{Port, Visitor};
use crate::web::App;
use crate::web::server::answer;

/// A header.
#[derive(Clone)]
pub(super) struct Header(Cow<'static, str>, Cow<'static, str>);

/// `Content-Type` of a form.
pub(super) const FORM: Header = content_type("application/x-www-form-urlencoded");

/// `Content-Type` of JSON.
pub(super) const JSON: Header = content_type("application/json");

/// `Content-Type` of plain text.
pub(super) const PLAIN: Header = content_type("text/plain; charset=utf-8");

const fn content_type(value: &'static str) -> Header {
    Header(Cow::Borrowed("Content-Type"), Cow::Borrowed(value))
}

impl Header {
    pub(super) fn new(name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        Self(name.into(), value.into())
    }
}

/// Asks the service on the thread of the test.
pub(super) struct Client {
    app: Arc<App>,
    runtime: Runtime,
}

impl Client {
    pub(super) fn new(app: App) -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            app: Arc::new(app),
            runtime: runtime.enable_all().build().unwrap(),
        }
    }

    pub(super) fn req(&self, method: &Method, path: impl Into<String>) -> Asking<'_> {
        Asking {
            client: self,
            method: method.clone(),
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(super) fn get(&self, path: impl Into<String>) -> Asking<'_> {
        self.req(&Method::GET, path)
    }

    pub(super) fn post(&self, path: impl Into<String>) -> Asking<'_> {
        self.req(&Method::POST, path)
    }

    pub(super) fn head(&self, path: impl Into<String>) -> Asking<'_> {
        self.req(&Method::HEAD, path)
    }
}

/// A request that is being put together.
pub(super) struct Asking<'c> {
    client: &'c Client,
    method: Method,
    path: String,
    headers: Vec<Header>,
    body: Vec<u8>,
}

impl Asking<'_> {
    pub(super) fn header(mut self, header: Header) -> Self {
        self.headers.push(header);
        self
    }

    pub(super) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it.
    pub(super) fn dispatch(self) -> Answer {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for Header(name, value) in self.headers {
            request = request.header(&*name, &*value);
        }
        let body = Full::from(self.body).map_err(|never| match never {});
        let request = request.body(body.boxed_unsync()).unwrap();
        let visitor = Arc::new(Visitor::new(peer(), Port::Plain));
        let work = answer(Arc::clone(&self.client.app), visitor, request);
        self.client.runtime.block_on(async {
            let (head, body) = work.await.into_parts();
            Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.collect().await.unwrap().to_bytes().to_vec(),
            }
        })
    }
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body, which has to be said to be JSON.
    pub(super) fn json(&self) -> Json {
        assert_eq!(self.header("Content-Type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }
}
