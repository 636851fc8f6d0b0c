//! `barmanapi status`: a word with the running service.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio_rustls::rustls::{AlertDescription, ClientConnection, Error as TlsError, StreamOwned};

use crate::certificates;
use crate::settings::{self, ClientCertificates, Settings};

/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers whoever asks.
const HEALTH: &str = "/healthz";

/// Asks the service whether it is well and prints `OK` when it is.
///
/// Over TLS, the one who answers must show the certificate that the configuration names. Where
/// clients have to show one as well, that is all that can be asked.
///
/// # Errors
/// When it does not answer, or answers that it is not.
pub(super) fn status(config: &Path) -> anyhow::Result<()> {
    let settings = settings::load(config)?;
    let host = match settings.application.host {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    let address = SocketAddr::new(host, settings.application.port);
    let answer = ask(address, &settings).with_context(|| format!("no answer from {address}"))?;
    if status_of(&answer) != "200" {
        bail!(
            "{address} is not well: {}",
            answer.lines().next().unwrap_or_default()
        );
    }
    println!("OK");
    Ok(())
}

fn ask(address: SocketAddr, settings: &Settings) -> anyhow::Result<String> {
    let stream = reach(address)?;
    let Some(certificate) = &settings.tls.certificate else {
        return Ok(talk(stream, address, HEALTH)?);
    };
    let config = certificates::client_of(certificate)?;
    let session = ClientConnection::new(Arc::new(config), address.ip().into())?;
    let answer = talk(StreamOwned::new(session, stream), address, HEALTH);
    let required = settings.tls.client_certificates == ClientCertificates::Required;
    match answer {
        Err(error) if required && asks_for_certificate(&error) => Ok("HTTP/1.1 200".to_owned()),
        answer => Ok(answer?),
    }
}

/// The status of an answer, as text.
pub(super) fn status_of(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// Whether the other side, whose own certificate was the right one, ended it for want of ours.
fn asks_for_certificate(error: &io::Error) -> bool {
    let told = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(
        told,
        Some(TlsError::AlertReceived(
            AlertDescription::CertificateRequired
        ))
    )
}

/// Connects within the time that a service may take.
pub(super) fn reach(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Asks for a path and returns the whole answer.
pub(super) fn talk(
    mut stream: impl Read + Write,
    address: SocketAddr,
    path: &str,
) -> io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    Ok(answer)
}
