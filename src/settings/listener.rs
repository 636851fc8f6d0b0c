//! The keys of the listener: TLS, ports, and what clients may take of it.

use std::path::PathBuf;
use std::time::Duration;

use super::build::Builder;
use super::value::{Value, Wrong};
use crate::names::UserName;

/// TLS and client certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Our certificate; `None` = plain HTTP.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// The CAs of client certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    pub client_certificates: ClientCertificates,
    /// What those CAs have revoked.
    pub crl: Option<PathBuf>,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// No.
    Off,
    /// They may show one.
    Optional,
    /// They have to.
    Required,
}

/// What is there for clients of pg-backup-api alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgBackupApi {
    /// The port for clients on this host; `None` = there is none, 0 = any free one.
    pub local_port: Option<u16>,
    /// Whom their requests run as.
    pub local_user: Option<UserName>,
}

/// What clients may take of time and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a TLS handshake.
    pub handshake_time: Duration,
    /// For the headers of a request, from its first byte on.
    pub header_time: Duration,
    /// For the body of a request.
    pub body_time: Duration,
    /// Between two requests, and to take the next piece of an answer.
    pub idle_time: Duration,
    /// Connections at once.
    pub connections: u32,
    /// Connections at once from one address other than the loopback.
    pub connections_per_address: u32,
}

impl Builder<'_> {
    pub(super) fn tls(&self) -> Tls {
        let path = |name| self.a_path("tls", name);
        Tls {
            certificate: path("certificate"),
            key: path("key"),
            client_ca: path("client_ca"),
            client_certificates: match self.text("tls", "client_certificates").as_deref() {
                Some("required") => ClientCertificates::Required,
                Some("optional") => ClientCertificates::Optional,
                _ => ClientCertificates::Off,
            },
            crl: path("crl"),
        }
    }

    pub(super) fn pgbackupapi(&mut self) -> PgBackupApi {
        let section = "pgbackupapi";
        let local_port = match self.value(section, "local_port") {
            Some(Value::Port(port)) => Some(port),
            _ => None,
        };
        let name = self.text(section, "local_user");
        let local_user = name.as_deref().and_then(|name| UserName::parse(name).ok());
        if let (Some(name), None) = (&name, &local_user) {
            let write = "write the name of a user of client.conf";
            let wrong = Wrong::of(name, "is no name of a user", write);
            self.wrong_key(section, "local_user", &wrong);
        }
        PgBackupApi {
            local_port,
            local_user,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        let section = "limits";
        let time = |name| Duration::from_secs(self.number(section, name));
        Limits {
            handshake_time: time("handshake_time"),
            header_time: time("header_time"),
            body_time: time("body_time"),
            idle_time: time("idle_time"),
            connections: self.count(section, "connections"),
            connections_per_address: self.count(section, "connections_per_address"),
        }
    }
}
