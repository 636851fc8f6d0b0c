//! Writes JSON answers.

use std::fs::File;

use hyper::body::Bytes;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION, VARY,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::content::Content;
use super::error::Failure;
use crate::dispatch::{Body, Refusal, RefusalKind, Reply, Text};

/// An answer with a JSON body.
pub(super) fn json_response(status: u16, body: &Value) -> Response<Content> {
    text_response(status, body.to_string().into_bytes().into())
}

/// An answer with a JSON body that is text already.
fn text_response(status: u16, bytes: Bytes) -> Response<Content> {
    response(status, "application/json", Content::bytes(bytes))
}

/// An answer with a JSON body, compressed where that is wanted and worth it.
async fn compressible_response(status: u16, text: Text, gzip: bool) -> Response<Content> {
    let compressed = if gzip { text.gzip().await } else { None };
    let mut response = match compressed {
        Some(bytes) => {
            let mut response = text_response(status, bytes);
            set(&mut response, CONTENT_ENCODING, "gzip");
            response
        }
        None => text_response(status, text.plain()),
    };
    set(&mut response, VARY, "Accept-Encoding");
    response
}

/// An answer whose body is the bytes of a file, with its length.
fn file_response(status: u16, file: File) -> Result<Response<Content>, Failure> {
    let length = file.metadata().map_err(Refusal::internal)?.len();
    let content = Content::file(file, length);
    Ok(response(status, "application/octet-stream", content))
}

fn response(status: u16, kind: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    let status = StatusCode::from_u16(status);
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Sets a header. Text that no header can hold is left out; `write` has looked at what could be such.
pub(super) fn set(response: &mut Response<Content>, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(name, value);
    }
}

/// A plain document with status 200.
pub(super) fn document(body: Value) -> Reply {
    Reply {
        status: 200,
        location: None,
        etag: None,
        body: Body::Json(body),
    }
}

/// The envelope of the barmanapi family with status 200.
pub(super) fn envelope(message: &str, list: &Value) -> Reply {
    document(json!({ "status_code": 200, "message": message, "list": list }))
}

/// How an answer may be coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is, whoever asks.
    Plain,
    /// As it is, for this caller.
    Unwanted,
    /// Compressed where that is worth it.
    Gzip,
}

/// Writes what the door answered.
///
/// An entity tag stands for the bytes of one coding; what has one, for `If-Match`, is sent as it is.
///
/// # Errors
/// When the status or the location can't be sent over HTTP: a defect of ours.
pub(super) async fn write(reply: Reply, coding: Coding) -> Result<Response<Content>, Failure> {
    let plain = |byte: u8| byte.is_ascii_graphic();
    if !(200..600).contains(&reply.status)
        || ![&reply.location, &reply.etag]
            .into_iter()
            .flatten()
            .all(|text| text.bytes().all(plain))
    {
        return Err(Failure::new(
            RefusalKind::Internal,
            format!("an answer with status {} cannot be sent", reply.status),
        ));
    }
    let text = match reply.body {
        Body::Json(body) => Ok(Text::from(body.to_string().into_bytes())),
        Body::Text(text) => Ok(text),
        Body::File(file) => Err(file),
    };
    let mut response = match text {
        Err(file) => file_response(reply.status, file)?,
        Ok(text) if coding == Coding::Plain || reply.etag.is_some() => {
            text_response(reply.status, text.plain())
        }
        Ok(text) => compressible_response(reply.status, text, coding == Coding::Gzip).await,
    };
    if let Some(location) = reply.location {
        set(&mut response, LOCATION, &location);
    }
    if let Some(etag) = reply.etag {
        set(&mut response, ETAG, &etag);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, location: Option<&str>, body: Value) -> Reply {
        Reply {
            status,
            location: location.map(str::to_owned),
            etag: None,
            body: Body::Json(body),
        }
    }

    #[tokio::test]
    async fn a_reply_that_http_cannot_carry_is_a_failure_and_no_broken_connection() {
        let written = async |status, location| {
            write(reply(status, location, json!({})), Coding::Gzip)
                .await
                .is_ok()
        };
        assert!(written(202, Some("/history/result?ticket=x")).await);
        assert!(!written(0, None).await);
        assert!(!written(202, Some("/x\r\nSet-Cookie: a=b")).await);
    }

    #[tokio::test]
    async fn only_what_is_long_and_has_no_tag_is_compressed_and_only_where_it_may_be() {
        let long = json!("x".repeat(5000));
        let coded = async |body: &Value, etag: Option<&str>, coding| {
            let mut reply = reply(200, None, body.clone());
            reply.etag = etag.map(str::to_owned);
            let response = write(reply, coding).await.unwrap();
            let header = |name| response.headers().get(name).cloned();
            (header(CONTENT_ENCODING), header(VARY))
        };
        let gzip = Some(HeaderValue::from_static("gzip"));
        let vary = Some(HeaderValue::from_static("Accept-Encoding"));
        assert_eq!(coded(&long, None, Coding::Gzip).await, (gzip, vary.clone()));
        assert_eq!(
            coded(&json!(1), None, Coding::Gzip).await,
            (None, vary.clone())
        );
        assert_eq!(coded(&long, None, Coding::Unwanted).await, (None, vary));
        assert_eq!(coded(&long, None, Coding::Plain).await, (None, None));
        assert_eq!(
            coded(&long, Some("\"a\""), Coding::Gzip).await,
            (None, None)
        );
    }
}
