//! The addresses that the service listens on, and what is said of them.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_util::future::join_all;

use crate::certificates::{self, Flaw, Tls};
use crate::frontdoor::{Door, Entrance, Reception};
use crate::live::Live;
use crate::settings::Settings;
use crate::visitors::Port;

/// Addresses that are listened on; nobody is let in yet.
pub(super) struct Entrances(Vec<(Entrance, String)>);

/// What TLS works with, where the configuration asks for it.
///
/// # Errors
/// With what is wrong with its files.
pub(super) fn tls(settings: &Settings) -> anyhow::Result<Option<Arc<Live<Tls>>>> {
    let Some(files) = settings.tls.files() else {
        return Ok(None);
    };
    let tls = certificates::load(&files).map_err(|flaws| anyhow::anyhow!(words(&flaws)))?;
    warn(&tls);
    Ok(Some(Arc::new(Live::new(tls))))
}

/// Reads the files of TLS again and puts what they hold in force; the keys whose files say something
/// new. What is wrong with them is logged, and the old certificates stay.
pub(super) fn renew(settings: &Settings, door: &Door, tls: &Live<Tls>) -> Vec<&'static str> {
    let Some(files) = settings.tls.files() else {
        return Vec::new();
    };
    match certificates::load(&files) {
        Ok(new) => {
            warn(&new);
            let renewed = new.renewed_since(&tls.get());
            door.renew(tls, new);
            renewed
        }
        Err(flaws) => {
            tracing::error!(problems = %words(&flaws), "the certificates stay as they were");
            Vec::new()
        }
    }
}

fn words(flaws: &[Flaw]) -> String {
    let words: Vec<_> = flaws.iter().map(ToString::to_string).collect();
    words.join("; ")
}

fn warn(tls: &Tls) {
    for flaw in &tls.warnings {
        tracing::warn!(file = %flaw.file.display(), "{}; {}", flaw.wrong, flaw.write);
    }
}

/// Listens on every address of the configuration.
///
/// # Errors
/// When one of them is taken or not of this machine.
pub(super) fn bind(settings: &Settings, tls: Option<&Arc<Live<Tls>>>) -> anyhow::Result<Entrances> {
    let application = &settings.application;
    let main = SocketAddr::new(application.host, application.port);
    let (entrance, manner) = if let Some(tls) = tls {
        (Entrance::bind_tls(main, Arc::clone(tls)), "on https://")
    } else {
        (Entrance::bind(main, Port::Plain), "on http://")
    };
    let entrance = entrance.map_err(|error| refused(main, error))?;
    let mut entrances = vec![(entrance, manner.to_owned())];
    if let (Some(port), Some(user)) = (
        settings.pgbackupapi.local_port,
        &settings.pgbackupapi.local_user,
    ) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let entrance = Entrance::bind(address, Port::Local);
        let entrance = entrance.map_err(|error| refused(address, error))?;
        entrances.push((entrance, format!("as user {user} on http://")));
    }
    Ok(Entrances(entrances))
}

fn refused(address: SocketAddr, error: io::Error) -> anyhow::Error {
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => "a port below 1024 wants CAP_NET_BIND_SERVICE",
        _ => "is the port taken, or the address not of this machine?",
    };
    anyhow::Error::new(error).context(format!("cannot listen on {address}: {why}"))
}

impl Entrances {
    /// Says what is listened on, and lets clients in until the door closes.
    pub(super) async fn open<R: Reception>(self, door: &Door, reception: &Arc<R>) {
        let entrances = self.0.into_iter().map(|(entrance, manner)| {
            match entrance.address() {
                Ok(address) => {
                    tracing::info!("listening {manner}{address}");
                    // Whoever started the service may have closed its output.
                    let told = writeln!(io::stdout(), "barmanapi: listening {manner}{address}");
                    drop(told);
                }
                Err(error) => tracing::warn!(%error, "listening on an unknown address"),
            }
            door.open(entrance, reception)
        });
        join_all(entrances).await;
    }
}
