//! The end of TLS, and whom a client certificate names.

use std::io;
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::certificates::Tls;
use crate::visitors::Certificate;

/// Ends TLS on a connection; the client certificate, where there is one, has been checked.
///
/// # Errors
/// When the client does not speak TLS, or its certificate is missing or not good.
pub(super) async fn shake_hands(
    stream: TcpStream,
    tls: &Tls,
) -> io::Result<(TlsStream<TcpStream>, Option<Certificate>)> {
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
