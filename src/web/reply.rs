//! Writes JSON answers.

use std::fs::File;

use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::content::Content;
use super::error::Failure;
use crate::dispatch::{Body, Refusal, RefusalKind, Reply};

/// An answer with a JSON body.
pub(super) fn json_response(status: u16, body: &Value) -> Response<Content> {
    text_response(status, body.to_string().into_bytes())
}

/// An answer with a JSON body that is text already.
fn text_response(status: u16, bytes: Vec<u8>) -> Response<Content> {
    response(status, "application/json", Content::bytes(bytes))
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

/// Writes what the door answered.
///
/// # Errors
/// When the status or the location can't be sent over HTTP: a defect of ours.
pub(super) fn write(reply: Reply) -> Result<Response<Content>, Failure> {
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
    let mut response = match reply.body {
        Body::Json(body) => json_response(reply.status, &body),
        Body::Text(text) => text_response(reply.status, text),
        Body::File(file) => file_response(reply.status, file)?,
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

    #[test]
    fn a_reply_that_http_cannot_carry_is_a_failure_and_no_broken_connection() {
        let reply = |status, location: Option<&str>| Reply {
            status,
            location: location.map(str::to_owned),
            etag: None,
            body: Body::Json(json!({})),
        };
        assert!(write(reply(202, Some("/history/result?ticket=x"))).is_ok());
        assert!(write(reply(0, None)).is_err());
        assert!(write(reply(202, Some("/x\r\nSet-Cookie: a=b"))).is_err());
    }
}
