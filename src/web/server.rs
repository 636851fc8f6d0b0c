//! Rocket itself: its configuration in code, its start and its graceful stop.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rocket::config::{Config, Ident, LogLevel, Shutdown};
use rocket::error::ErrorKind;
use rocket::fairing::AdHoc;
use rocket::shield::Shield;
use rocket::{Build, Rocket};

use super::access_log::AccessLog;
use super::{App, backlog, error, routes, strays};

/// How long requests in flight may take to finish after a stop was asked for.
const GRACE: Duration = Duration::from_secs(30);

/// How long the last bytes may take to leave after the last request was answered.
const LINGER: Duration = Duration::from_secs(1);

/// The service could not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The loopback can't be listened on.
    #[error("cannot listen on the loopback")]
    Bind(#[source] io::Error),
    /// Rocket gave up for another reason.
    #[error("the HTTP server failed: {0}")]
    Server(String),
}

/// The service, ready to be served or to be called by a test. It listens on the loopback, at a port
/// that the system chooses and `bound` is told; who may come there, [`App::guests`] knows.
///
/// Neither `Rocket.toml` nor `ROCKET_*` variables are read.
pub fn rocket(
    app: Arc<App>,
    bound: impl FnOnce(SocketAddr) + Send + Sync + 'static,
) -> Rocket<Build> {
    let access_log = AccessLog {
        traffic: Arc::clone(&app.traffic),
    };
    let watched = Arc::clone(&app);
    let liftoff = AdHoc::on_liftoff("bound", move |rocket| {
        Box::pin(async move {
            let config = rocket.config();
            let address = SocketAddr::new(config.address, config.port);
            if let Err(error) = backlog::lengthen(address) {
                tracing::warn!(%error, "many clients at once may have to wait for a connection");
            }
            tokio::spawn(strays::watch(address, watched));
            bound(address);
        })
    });
    rocket::custom(config())
        // Its headers are those of pages; ours are set in `access_log`.
        .attach(Shield::new())
        .attach(access_log)
        .attach(liftoff)
        .manage(app)
        .mount("/", routes::mount())
        .register("/", error::catchers())
}

fn config() -> Config {
    // Signals belong to the program; a forced stop would panic.
    let shutdown = Shutdown {
        ctrlc: false,
        signals: HashSet::new(),
        force: false,
        grace: u32::try_from(GRACE.as_secs()).unwrap_or(30),
        mercy: 1,
        ..Shutdown::default()
    };
    Config {
        address: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        ident: Ident::none(),
        // Nobody's word about an address is believed.
        ip_header: None,
        keep_alive: 5,
        shutdown,
        // Rocket logs whole URIs, tokens in them included.
        log_level: LogLevel::Off,
        cli_colors: false,
        ..Config::release_default()
    }
}

/// Serves until `stop` comes, then refuses new requests, lets those in flight finish (30 s at most)
/// and returns.
///
/// Whoever calls this may drop it to stop at once.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    rocket: Rocket<Build>,
    app: Arc<App>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let rocket = rocket.ignite().await.map_err(|error| explain(&error))?;
    let shutdown = rocket.shutdown();
    let mut running = pin!(rocket.launch());
    tokio::select! {
        ended = &mut running => {
            return ended.map(drop).map_err(|error| explain(&error));
        }
        () = stop => app.traffic.stop(),
    }
    // Rocket stops in fixed steps, however little there is to wait for, so the waiting is ours.
    let drained = tokio::select! {
        ended = &mut running => {
            return ended.map(drop).map_err(|error| explain(&error));
        }
        drained = app.traffic.drained(GRACE) => drained,
    };
    if !drained {
        tracing::warn!("requests were still running {GRACE:?} after the stop; they are cut off");
    }
    shutdown.notify();
    if let Ok(Err(error)) = tokio::time::timeout(LINGER, running).await {
        return Err(explain(&error));
    }
    Ok(())
}

/// Reads an error of Rocket. It panics when it is dropped unread.
fn explain(error: &rocket::Error) -> ServeError {
    match error.kind() {
        ErrorKind::Bind(source) | ErrorKind::Io(source) => {
            ServeError::Bind(io::Error::new(source.kind(), source.to_string()))
        }
        other => ServeError::Server(other.to_string()),
    }
}
