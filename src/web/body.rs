//! Reads the body of a request: which forms are taken, and how much of them.

use std::time::Duration;

use rocket::Request;
use rocket::data::{ByteUnit, Data};
use rocket::http::Method;

use super::query::{Pairs, QueryError, from_form, from_json};

/// What most routes take, in bytes.
pub(super) const BODY_LIMIT: u64 = 64 * 1024;

/// What a route takes whose body is a document, in bytes: as much as `config-update` takes, and some
/// room for what stands around it.
pub(super) const DOCUMENT_LIMIT: u64 = 96 * 1024;

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
/// `broken` says that reading failed before the route was known; see `access_log`.
///
/// # Errors
/// See [`BodyError`]. A stated length beyond the limit is refused before the body is read.
pub(super) async fn read(
    request: &Request<'_>,
    method: Method,
    data: Data<'_>,
    limit: u64,
    broken: bool,
) -> Result<Pairs, BodyError> {
    let body = bytes(request, method, data, limit, broken).await?;
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let pairs = match media_type(request)? {
        MediaType::Form => from_form(&body),
        MediaType::Json => from_json(&body),
    };
    Ok(pairs?)
}

/// Reads a body of at most `limit` bytes that is a JSON document; which one is for others to say.
///
/// # Errors
/// As for [`read`], and when it says that it is something else than JSON.
pub(super) async fn document(
    request: &Request<'_>,
    method: Method,
    data: Data<'_>,
    limit: u64,
    broken: bool,
) -> Result<Vec<u8>, BodyError> {
    let body = bytes(request, method, data, limit, broken).await?;
    if body.is_empty() || matches!(media_type(request), Ok(MediaType::Json)) {
        Ok(body)
    } else {
        Err(BodyError::NotJson)
    }
}

/// Reads a body of at most `limit` bytes.
async fn bytes(
    request: &Request<'_>,
    method: Method,
    mut data: Data<'_>,
    limit: u64,
    broken: bool,
) -> Result<Vec<u8>, BodyError> {
    let stated = stated_length(request)?;
    let chunked = request.headers().contains("Transfer-Encoding");
    if stated.is_some_and(|length| length > limit) {
        return Err(BodyError::TooLarge { limit });
    }
    if !chunked && !broken && stated.unwrap_or_default() == 0 && data.peek(1).await.is_empty() {
        return Ok(Vec::new());
    }
    let body = data
        .open(ByteUnit::Byte(limit))
        .into_bytes()
        .await
        .map_err(|_| BodyError::Truncated)?;
    if !body.is_complete() {
        return Err(BodyError::TooLarge { limit });
    }
    let body = body.into_inner();
    if broken || stated.is_some_and(|length| u64::try_from(body.len()) != Ok(length)) {
        return Err(BodyError::Truncated);
    }
    if method == Method::Get && (chunked || !body.is_empty()) {
        return Err(BodyError::OnGet);
    }
    if body.is_empty() {
        return Ok(Vec::new());
    }
    if request
        .headers()
        .get("Content-Encoding")
        .any(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        return Err(BodyError::Encoded);
    }
    Ok(body)
}

/// The one `Content-Length`, where there is one.
fn stated_length(request: &Request<'_>) -> Result<Option<u64>, BodyError> {
    let mut headers = request.headers().get("Content-Length");
    let Some(first) = headers.next() else {
        return Ok(None);
    };
    match (first.parse(), headers.next()) {
        (Ok(length), None) => Ok(Some(length)),
        _ => Err(BodyError::Length),
    }
}

/// Reads `Content-Type`; UTF-8 is the one character set that is taken.
fn media_type(request: &Request<'_>) -> Result<MediaType, BodyError> {
    let mut headers = request.headers().get("Content-Type");
    let (Some(header), None) = (headers.next(), headers.next()) else {
        return Err(BodyError::MediaType);
    };
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
