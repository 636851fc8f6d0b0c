//! Writes JSON answers.

use std::fs::File;
use std::io::Cursor;

use rocket::Response;
use rocket::http::{ContentType, Header, Status};
use serde_json::{Value, json};

use super::error::Failure;
use crate::dispatch::{Body, Refusal, RefusalKind, Reply};

/// An answer with a JSON body.
pub(super) fn json_response(status: u16, body: &Value) -> Response<'static> {
    text_response(status, body.to_string().into_bytes())
}

/// An answer with a JSON body that is text already.
fn text_response(status: u16, bytes: Vec<u8>) -> Response<'static> {
    let mut response = Response::new();
    response.set_status(Status::new(status));
    response.set_header(ContentType::JSON);
    response.set_sized_body(bytes.len(), Cursor::new(bytes));
    response
}

/// An answer whose body is the bytes of a file, with its length.
fn file_response(status: u16, file: File) -> Result<Response<'static>, Failure> {
    let length = file.metadata().map_err(Refusal::internal)?.len();
    let length = usize::try_from(length).map_err(Refusal::internal)?;
    let mut response = Response::new();
    response.set_status(Status::new(status));
    response.set_header(ContentType::Binary);
    response.set_sized_body(length, rocket::tokio::fs::File::from_std(file));
    Ok(response)
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
pub(super) fn write(reply: Reply) -> Result<Response<'static>, Failure> {
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
        response.set_header(Header::new("Location", location));
    }
    if let Some(etag) = reply.etag {
        response.set_header(Header::new("ETag", etag));
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
