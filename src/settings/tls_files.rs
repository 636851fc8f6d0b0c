//! Whether `[tls]` and `[pgbackupapi]` are whole, and what is in the files that they name.

use std::net::Ipv4Addr;

use super::problem::Problem;
use super::{Application, ClientCertificates, Settings, Tls};
use crate::certificates::{self, Clients, Files, Flaw};

impl Tls {
    /// The files of the listener; `None` = plain HTTP, or a part is missing.
    #[must_use]
    pub fn files(&self) -> Option<Files> {
        let required = self.client_certificates == ClientCertificates::Required;
        let clients = match (self.client_certificates, &self.client_ca) {
            (ClientCertificates::Off, _) => None,
            (_, ca) => Some(Clients {
                ca: ca.clone()?,
                crl: self.crl.clone(),
                required,
            }),
        };
        Some(Files {
            certificate: self.certificate.clone()?,
            key: self.key.clone()?,
            clients,
        })
    }
}

/// What is wrong with the listener's keys and files.
pub(super) fn check(settings: &Settings) -> Vec<Problem> {
    let file = &settings.path;
    let mut problems = Vec::new();
    let mut whole = true;
    for (key, wrong, write) in missing(settings) {
        let section = if key.starts_with("local_") {
            "pgbackupapi"
        } else {
            "tls"
        };
        whole &= section != "tls";
        problems.push(Problem::new(file, wrong, write).section(section).key(key));
    }
    if let (true, Some(files)) = (whole, settings.tls.files())
        && let Err(flaws) = certificates::load(&files)
    {
        problems.extend(flaws.iter().map(problem));
    }
    problems
}

/// What is not there although something else needs it: key, what is wrong, what to write.
fn missing(settings: &Settings) -> Vec<(&'static str, &'static str, &'static str)> {
    let Tls {
        certificate,
        key,
        client_ca,
        client_certificates,
        crl,
    } = &settings.tls;
    let asked = *client_certificates != ClientCertificates::Off;
    let local = &settings.pgbackupapi;
    let rows = [
        (
            certificate.is_some() && key.is_none(),
            ("key", "the certificate has no key", "write key = FILE"),
        ),
        (
            certificate.is_none()
                && (key.is_some() || client_ca.is_some() || asked || crl.is_some()),
            (
                "certificate",
                "nothing of [tls] counts without a certificate",
                "write certificate = FILE and key = FILE (barmanapi pki init makes them), or remove the section",
            ),
        ),
        (
            certificate.is_some() && asked && client_ca.is_none(),
            (
                "client_ca",
                "client certificates can't be checked",
                "write client_ca = FILE, the CA that signs them",
            ),
        ),
        (
            certificate.is_some() && !asked && (client_ca.is_some() || crl.is_some()),
            (
                "client_certificates",
                "no client is asked for a certificate",
                "write client_certificates = optional or required, or remove client_ca and crl",
            ),
        ),
        (
            local.local_port.is_some() && local.local_user.is_none(),
            (
                "local_user",
                "requests on local_port have no user",
                "write local_user = NAME, a user of client.conf with few rights",
            ),
        ),
        (
            local
                .local_port
                .is_some_and(|port| takes(&settings.application, port)),
            (
                "local_port",
                "[application] port is the same on this address",
                "write another port; clients of pg-backup-api know 7480",
            ),
        ),
    ];
    let wrong = rows.into_iter().filter(|(wrong, _)| *wrong);
    wrong.map(|(_, row)| row).collect()
}

/// Whether the main listener takes a port of 127.0.0.1.
fn takes(application: &Application, port: u16) -> bool {
    let host = application.host.to_canonical();
    let there = host.is_unspecified() || host == Ipv4Addr::LOCALHOST;
    port != 0 && port == application.port && there
}

fn problem(flaw: &Flaw) -> Problem {
    Problem::new(&flaw.file, &flaw.wrong, &flaw.write)
        .section("tls")
        .key(flaw.key)
}

/// What is no reason not to start, and should be told all the same: certificates that have ended or
/// soon will, lists that were to be renewed.
#[must_use]
pub fn warnings(settings: &Settings) -> Vec<Problem> {
    let loaded = settings.tls.files().map(|files| certificates::load(&files));
    match loaded {
        Some(Ok(loaded)) => {
            let warnings = loaded.warnings.iter().map(problem);
            let warnings = warnings.map(|problem| Problem {
                is_warning: true,
                ..problem
            });
            warnings.collect()
        }
        _ => Vec::new(),
    }
}
