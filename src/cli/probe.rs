//! `barmanapi status`: a word with the running service.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::settings;

/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the service whether it is well and prints `OK` when it is.
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
    let answer = ask(address).with_context(|| format!("no answer from {address}"))?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!(
            "{address} is not well: {}",
            answer.lines().next().unwrap_or_default()
        );
    }
    println!("OK");
    Ok(())
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    Ok(answer)
}
