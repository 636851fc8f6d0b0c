//! One client's connection to the service: hyper reads its requests, this answers them.

use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::access_log::{self, Marks};
use super::body::Body;
use super::content::Content;
use super::error::Failure;
use super::{App, endpoint};
use crate::visitors::Visitor;

/// How long requests in flight may take to finish after a stop was asked for.
const GRACE: Duration = Duration::from_secs(30);

/// Answers the requests of a client until one side wants no more. The stream is left open, so that
/// whoever owns it can let the client finish what it was saying.
///
/// # Errors
/// When the stream breaks, or what comes is not HTTP; the client has been told then.
pub async fn attend<S>(app: &Arc<App>, stream: S, visitor: &Arc<Visitor>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request: Request<Incoming>| {
        let work = answer(Arc::clone(app), Arc::clone(visitor), request.map(boxed));
        // Work that has begun is brought to its end, whether or not the client stays to hear it.
        tokio::spawn(work)
    });
    let mut connection = http1::Builder::new()
        // Who has said all may still be answered.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    poll_fn(|context| connection.poll_without_shutdown(context))
        .await
        .map_err(io::Error::other)
}

fn boxed(body: Incoming) -> Body {
    body.map_err(io::Error::other).boxed_unsync()
}

/// Answers one request, whatever becomes of its handler.
pub(super) async fn answer(
    app: Arc<App>,
    visitor: Arc<Visitor>,
    request: Request<Body>,
) -> Response<Content> {
    visitor.asked();
    let (head, body) = request.into_parts();
    let mut marks = Marks::new(&head, visitor, &app.traffic);
    let work = endpoint::answer(&app, &head, body, &marks);
    let mut response = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(response) => response,
        Err(_) => Failure::broken(head.uri.path()).respond(&marks),
    };
    access_log::finish(&mut response, &head.uri, &marks, app.traffic.is_stopping());
    response.body_mut().hold(marks.in_flight.take());
    response
}

/// Refuses new requests and lets those in flight finish, 30 s at most.
pub async fn drain(app: &App) {
    app.traffic.stop();
    if !app.traffic.drained(GRACE).await {
        tracing::warn!("requests were still running {GRACE:?} after the stop; they are cut off");
    }
}
