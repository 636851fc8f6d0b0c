//! Who is calling, as far as the connection says it: by a client certificate, or by the port for
//! clients on this host.

use std::time::SystemTime;

use hyper::http::request::Parts;

use super::App;
use super::access_log::Marks;
use super::guards::{asks_for_itself, names_this_host};
use crate::auth::{AuthError, AuthKind, Caller};
use crate::names::UserName;
use crate::visitors::{Certificate, Port};

/// The caller of a request that brings no credentials of its own.
///
/// # Errors
/// [`AuthError::Unauthorized`] where the connection names nobody, or the request may be that of a
/// page in somebody's browser.
pub(super) fn caller(app: &App, head: &Parts, marks: &Marks) -> Result<Caller, AuthError> {
    let visitor = &marks.visitor;
    if !asks_for_itself(&head.headers) {
        return Err(AuthError::Unauthorized);
    }
    if let Some(certificate) = visitor.certificate() {
        let name = name(certificate)?;
        let user = UserName::parse(name).map_err(|_| AuthError::Unauthorized)?;
        return app.auth.vouched(&user, marks.from, AuthKind::Certificate);
    }
    match (visitor.port, &app.local_user) {
        (Port::Local, Some(user)) if names_this_host(head) => {
            app.auth.vouched(user, marks.from, AuthKind::Local)
        }
        _ => Err(AuthError::Unauthorized),
    }
}

/// Holds the user of a token or password against the certificate that was shown besides.
///
/// # Errors
/// [`AuthError::Unauthorized`] where they are not the same.
pub(super) fn agrees(marks: &Marks, user: &str) -> Result<(), AuthError> {
    match marks.visitor.certificate() {
        Some(certificate) if name(certificate)? != user => {
            tracing::info!(
                from = %marks.from,
                certificate = certificate.name.as_deref(),
                user,
                "the certificate names another user than the credentials"
            );
            Err(AuthError::Unauthorized)
        }
        _ => Ok(()),
    }
}

/// The name in a certificate that is good still; the connection may be older than that.
fn name(certificate: &Certificate) -> Result<&str, AuthError> {
    let good = certificate.expires > SystemTime::now();
    let name = certificate.name.as_deref().filter(|_| good);
    name.ok_or(AuthError::Unauthorized)
}
