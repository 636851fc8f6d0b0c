//! Reads the body of a request: which forms are taken, and how much of them.

use std::io;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as _, Bytes};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};

use super::guards::{all, one};
use super::query::{Pairs, QueryError, from_form, from_json};

/// What most routes take, in bytes.
pub(super) const BODY_LIMIT: u64 = 64 * 1024;

/// What a route takes whose body is a document, in bytes: as much as `config-update` takes, and some
/// room for what stands around it.
pub(super) const DOCUMENT_LIMIT: u64 = 96 * 1024;

/// The body of a request as it comes.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A body that is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// A GET with a body.
    #[error("a GET request takes no body; send the parameters in the query, or use POST")]
    OnGet,
    /// More bytes than the route takes.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The route's limit in bytes.
        limit: u64,
    },
    /// A media type that is not taken.
    #[error(
        "the body must be application/json or application/x-www-form-urlencoded, in UTF-8; \
         say so in Content-Type"
    )]
    MediaType,
    /// The same where only JSON is taken.
    #[error("the body must be application/json, in UTF-8; say so in Content-Type")]
    NotJson,
    /// A compressed body.
    #[error("Content-Encoding is not supported; send the body as it is")]
    Encoded,
    /// A length that is no number, or more than one.
    #[error("Content-Length must be given once, as a number")]
    Length,
    /// A body that ended early.
    #[error("the body ended before it was whole")]
    Truncated,
    /// A body that took too long.
    #[error("the body was not whole after {0:?}")]
    Slow(Duration),
    /// A body that is not well formed.
    #[error(transparent)]
    Malformed(#[from] QueryError),
}

/// What `Content-Type` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MediaType {
    Form,
    Json,
}

/// Reads the parameters of a body of at most `limit` bytes.
///
/// # Errors
/// See [`BodyError`]. A stated length beyond the limit is refused before the body is read.
pub(super) async fn read(head: &Parts, body: Body, limit: u64) -> Result<Pairs, BodyError> {
    let body = bytes(head, body, limit).await?;
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let pairs = match media_type(&head.headers)? {
        MediaType::Form => from_form(&body),
        MediaType::Json => from_json(&body),
    };
    Ok(pairs?)
}

/// Reads a body of at most `limit` bytes that is a JSON document; which one is for others to say.
///
/// # Errors
/// As for [`read`], and when it says that it is something else than JSON.
pub(super) async fn document(head: &Parts, body: Body, limit: u64) -> Result<Vec<u8>, BodyError> {
    let body = bytes(head, body, limit).await?;
    if body.is_empty() || matches!(media_type(&head.headers), Ok(MediaType::Json)) {
        Ok(body)
    } else {
        Err(BodyError::NotJson)
    }
}

/// Reads a body of at most `limit` bytes.
async fn bytes(head: &Parts, mut body: Body, limit: u64) -> Result<Vec<u8>, BodyError> {
    let stated = stated_length(&head.headers)?;
    if stated.is_some_and(|length| length > limit) {
        return Err(BodyError::TooLarge { limit });
    }
    let chunked = head.headers.contains_key(TRANSFER_ENCODING);
    if head.method == Method::GET && (chunked || !body.is_end_stream()) {
        return Err(BodyError::OnGet);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        // What follows the last chunk of a body is of no interest.
        let Ok(piece) = frame.map_err(|_| BodyError::Truncated)?.into_data() else {
            continue;
        };
        bytes.extend_from_slice(&piece);
        if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
            return Err(BodyError::TooLarge { limit });
        }
    }
    if stated.is_some_and(|length| u64::try_from(bytes.len()) != Ok(length)) {
        return Err(BodyError::Truncated);
    }
    let mut codings = all(&head.headers, CONTENT_ENCODING);
    if !bytes.is_empty() && codings.any(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(BodyError::Encoded);
    }
    Ok(bytes)
}

/// The one `Content-Length`, where there is one.
fn stated_length(headers: &HeaderMap) -> Result<Option<u64>, BodyError> {
    if !headers.contains_key(CONTENT_LENGTH) {
        return Ok(None);
    }
    let stated = one(headers, CONTENT_LENGTH).and_then(|length| length.parse().ok());
    stated.map(Some).ok_or(BodyError::Length)
}

/// Reads `Content-Type`; UTF-8 is the one character set that is taken.
fn media_type(headers: &HeaderMap) -> Result<MediaType, BodyError> {
    let header = one(headers, CONTENT_TYPE).ok_or(BodyError::MediaType)?;
    let mut parts = header.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let plain = parts.all(|parameter| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("charset")
                && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    });
    if !plain {
        Err(BodyError::MediaType)
    } else if essence.eq_ignore_ascii_case("application/json") {
        Ok(MediaType::Json)
    } else if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Ok(MediaType::Form)
    } else {
        Err(BodyError::MediaType)
    }
}
