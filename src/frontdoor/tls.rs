//! The end of TLS, and whom a client certificate names.

use std::io;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::certificates::Tls;
use crate::visitors::Certificate;

/// What somebody hears who speaks plain HTTP here; no request is read for it.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: application/json\r\n\
    Cache-Control: no-store\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Connection: close\r\n\r\n\
    {\"status_code\":400,\"type\":\"invalid parameter\",\
    \"message\":\"this port speaks TLS; write https:// instead of http://\"}";

/// Ends TLS on a connection; the client certificate, where there is one, has been checked.
///
/// # Errors
/// When the client does not speak TLS, or its certificate is missing or not good.
pub(super) async fn shake_hands(
    mut stream: TcpStream,
    tls: &Tls,
) -> io::Result<(TlsStream<TcpStream>, Option<Certificate>)> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    // No record of TLS begins with a letter, and every method of HTTP does.
    if first.first().is_some_and(u8::is_ascii_uppercase) {
        // What was not read would take the answer away.
        stream.read_buf(&mut Vec::with_capacity(8192)).await?;
        stream.write_all(PLAIN).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "plain HTTP"));
    }
    let stream = TlsAcceptor::from(std::sync::Arc::clone(&tls.server))
        .accept(stream)
        .await?;
    let chain = stream.get_ref().1.peer_certificates();
    let chain = chain.map(|chain| chain.iter().map(|der| der.to_vec()).collect());
    let certificate = chain.and_then(certificate);
    Ok((stream, certificate))
}

/// What a checked chain says of its client: the name in the subject, where there is exactly one;
/// without one in the subject, the name of a host or mailbox, where there is exactly one.
///
/// What could be read as two names gives none.
fn certificate(chain: Vec<Vec<u8>>) -> Option<Certificate> {
    let (name, expires) = {
        let (_, own) = X509Certificate::from_der(chain.first()?).ok()?;
        let mut common = own.subject().iter_common_name();
        let name = match (common.next(), common.next()) {
            (Some(name), None) => name.as_str().ok().map(str::to_owned),
            (Some(_), Some(_)) => None,
            (None, _) => alternative(&own),
        };
        let expires = u64::try_from(own.validity().not_after.timestamp()).unwrap_or(0);
        (name, SystemTime::UNIX_EPOCH + Duration::from_secs(expires))
    };
    Some(Certificate {
        name,
        expires,
        chain,
    })
}

fn alternative(own: &X509Certificate<'_>) -> Option<String> {
    let names = own.subject_alternative_name().ok()??;
    let mut names = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => Some((*name).to_owned()),
            _ => None,
        });
    match (names.next(), names.next()) {
        (Some(name), None) => Some(name),
        _ => None,
    }
}
