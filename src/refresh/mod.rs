//! Keeps what is known of Barman up to date: its catalogue and its servers.
//!
//! The last good catalogue is kept on disk and in memory. A Barman that can't be asked, or whose
//! help can't be understood, changes nothing of it; the caller is told.

mod ask;
mod fingerprint;
mod servers;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use ask::{AskError, Barman};
use fingerprint::Fingerprint;
use servers::KnownServers;

use crate::catalogue::Catalogue;
use crate::catalogue::help::{self, HelpError};
use crate::fresh::{Collecting, Fresh};
use crate::names::{CommandName, ServerName};
use crate::store::garbage::Garbage;
use crate::store::{Store, StoreError};
use crate::{atomicfile, blocking};

/// Questions that are asked at once while a catalogue is built.
const AT_ONCE: usize = 4;

/// The shortest time between two rebuilds that callers ask for.
pub const REBUILD_PAUSE: Duration = Duration::from_secs(2);

/// Why the catalogue or the servers are not known.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Barman gave no answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Its help can't be understood.
    #[error("barman's help can't be read: {0}")]
    Help(#[from] HelpError),
    /// The catalogue can't be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Barman's program can't be looked at.
    #[error("{program}: {source}")]
    Program {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A rebuild ended a moment ago.
    #[error("the catalogue was rebuilt a moment ago")]
    TooSoon,
    /// No catalogue was built yet.
    #[error("no catalogue was built yet")]
    NoCatalogue,
    /// Barman was asked for somebody else as well, and that failed.
    #[error(transparent)]
    Shared(Arc<RefreshError>),
}

/// The catalogue on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Saved {
    fingerprint: Fingerprint,
    catalogue: Arc<Catalogue>,
}

/// What is known of one Barman.
#[derive(Debug)]
pub struct Refresh {
    barman: Barman,
    store: Store,
    garbage: Garbage,
    known: RwLock<Option<Saved>>,
    /// Held while a rebuild goes on; the time is that of the last one that a caller asked for.
    rebuilding: Arc<tokio::sync::Mutex<Option<Instant>>>,
    trouble: Mutex<Option<String>>,
    servers: KnownServers,
    looks: Looks,
}

/// Looks at the servers, each shared by those who come together.
type Looks = Fresh<(), Result<Arc<Vec<ServerName>>, Arc<RefreshError>>>;

impl Refresh {
    /// Begins with the catalogue on disk, if there is one that can be read.
    #[must_use]
    pub fn new(barman: Barman, store: Store, garbage: Garbage) -> Self {
        let known = saved(&file(store.root()));
        Self {
            barman,
            store,
            garbage,
            known: RwLock::new(known),
            rebuilding: Arc::default(),
            trouble: Mutex::default(),
            servers: KnownServers::default(),
            looks: Fresh::new(Collecting::Never),
        }
    }

    /// How Barman is called.
    #[must_use]
    pub fn barman(&self) -> &Barman {
        &self.barman
    }

    /// The last good catalogue; `None` before the first.
    #[must_use]
    pub fn catalogue(&self) -> Option<Arc<Catalogue>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map(|saved| Arc::clone(&saved.catalogue))
    }

    /// Why the catalogue may not fit the Barman that is there; `None` when it does.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Builds the catalogue when there is none, Barman was replaced since, or it could not be asked
    /// or understood the last time. Blocks.
    ///
    /// # Errors
    /// When Barman can't be asked or understood; the last good catalogue stays.
    pub fn rebuild_if_changed(&self) -> Result<(), RefreshError> {
        let _one_at_a_time = self.rebuilding.blocking_lock();
        let fingerprint = Fingerprint::of(&self.barman);
        if let Ok(fingerprint) = &fingerprint
            && self.trouble().is_none()
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known
                .as_ref()
                .is_some_and(|saved| saved.fingerprint == *fingerprint)
            {
                return Ok(());
            }
        }
        self.rebuild_with(fingerprint).map(|_| ())
    }

    /// Builds the catalogue anew.
    ///
    /// # Errors
    /// When Barman can't be asked or understood; the last good catalogue stays. When a rebuild
    /// that a caller asked for ended less than [`REBUILD_PAUSE`] ago.
    pub async fn rebuild(self: &Arc<Self>) -> Result<Arc<Catalogue>, RefreshError> {
        // Whoever waits here holds no thread.
        let mut last = Arc::clone(&self.rebuilding).lock_owned().await;
        if last.is_some_and(|last| last.elapsed() < REBUILD_PAUSE) {
            return Err(RefreshError::TooSoon);
        }
        let refresh = Arc::clone(self);
        let rebuilt = blocking::run(move || {
            let rebuilt = refresh.rebuild_with(Fingerprint::of(&refresh.barman));
            *last = Some(Instant::now());
            rebuilt
        });
        rebuilt.await.map_err(AskError::Follow)?
    }

    fn rebuild_with(
        &self,
        fingerprint: Result<Fingerprint, RefreshError>,
    ) -> Result<Arc<Catalogue>, RefreshError> {
        let built = fingerprint.and_then(|fingerprint| {
            let catalogue = Arc::new(self.build()?);
            Ok(Saved {
                fingerprint,
                catalogue,
            })
        });
        let built = built.and_then(|saved| {
            let bytes = serde_json::to_vec(&saved).map_err(|error| self.unsaved(error.into()))?;
            atomicfile::replace(&file(self.store.root()), &bytes, 0o600)
                .map_err(|error| self.unsaved(error))?;
            Ok(saved)
        });
        match built {
            Ok(saved) => {
                tracing::info!(
                    version = %saved.catalogue.version,
                    commands = saved.catalogue.commands.len(),
                    "the catalogue was built from barman's help"
                );
                let catalogue = Arc::clone(&saved.catalogue);
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(saved);
                self.note_trouble(None);
                Ok(catalogue)
            }
            Err(error) => {
                self.note_trouble(Some(error.to_string()));
                Err(error)
            }
        }
    }

    fn unsaved(&self, source: io::Error) -> RefreshError {
        StoreError::Record {
            path: file(self.store.root()),
            source,
        }
        .into()
    }

    fn note_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Asks for every help text and reads them.
    fn build(&self) -> Result<Catalogue, RefreshError> {
        let version = self.ask_help(&["--version"])?;
        let overview = self.ask_help(&["--help"])?;
        let names: Vec<CommandName> = help::parse_overview(&overview)?
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        let waiting = Mutex::new(names.iter());
        let texts = std::thread::scope(|scope| {
            let ask = || {
                let mut texts = Vec::new();
                loop {
                    let next = waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .next();
                    let Some(name) = next else { return Ok(texts) };
                    texts.push((name, self.ask_help(&[name.as_str(), "--help"])?));
                }
            };
            let workers: Vec<_> = (0..AT_ONCE)
                .map(|_| std::thread::Builder::new().spawn_scoped(scope, ask))
                .collect::<io::Result<_>>()
                .map_err(AskError::Follow)?;
            let mut texts = HashMap::new();
            for worker in workers {
                let done: Result<Vec<_>, RefreshError> =
                    worker.join().unwrap_or(Err(RefreshError::NoCatalogue));
                texts.extend(done?);
            }
            Ok::<_, RefreshError>(texts)
        })?;
        Ok(help::assemble(&version, &overview, |name| {
            texts.get(name).map(String::as_str)
        })?)
    }

    fn ask_help(&self, arguments: &[&str]) -> Result<String, RefreshError> {
        let asked = arguments.join(" ");
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        Ok(ask::ask(
            &self.barman,
            &self.garbage,
            self.barman.host.help_environment(),
            arguments,
            &asked,
        )?)
    }

    /// The servers that Barman's configuration defines now. On another host they are asked for
    /// anew when one of those `wanted` is not among them.
    ///
    /// One look at the files, and one question to Barman where they changed, is for all who come
    /// before it begins; a failure, too.
    ///
    /// # Errors
    /// When there is no catalogue, or Barman can't read its configuration.
    pub async fn servers(
        self: &Arc<Self>,
        wanted: &[ServerName],
    ) -> Result<Arc<Vec<ServerName>>, RefreshError> {
        if let Some(found) = self.servers.without_looking(&self.barman, wanted) {
            return Ok(found);
        }
        let look = || {
            let refresh = Arc::clone(self);
            async move {
                let look = blocking::run(move || {
                    let ask = || refresh.ask_servers();
                    refresh.servers.look(&refresh.barman, ask)
                });
                let looked = look.await.map_err(AskError::Follow);
                looked
                    .map_err(RefreshError::from)
                    .flatten()
                    .map_err(Arc::new)
            }
        };
        match self.looks.get(&(), look).await {
            Ok(looked) => looked.map_err(RefreshError::Shared),
            Err(error) => Err(AskError::Follow(io::Error::other(error)).into()),
        }
    }

    fn ask_servers(&self) -> Result<Vec<ServerName>, RefreshError> {
        if self.catalogue().is_none() {
            return Err(RefreshError::NoCatalogue);
        }
        let command = self.servers_command();
        Ok(servers::ask_servers(&self.barman, &self.garbage, command)?)
    }

    /// The command that lists servers, by the name it has in this Barman.
    #[must_use]
    pub fn servers_command(&self) -> &'static str {
        let catalogue = self.catalogue();
        let has = |name: &&str| {
            let name = CommandName::parse(name).ok();
            name.zip(catalogue.as_ref())
                .is_some_and(|(name, catalogue)| catalogue.find(&name).is_some())
        };
        // The name of the command until 2.14 is an alias of today's.
        let names = ["list-servers", "list-server"];
        names.into_iter().find(has).unwrap_or("list-servers")
    }

    /// Forgets the servers, since the configuration is another one now.
    pub fn forget_servers(&self) {
        self.servers.forget();
    }
}

/// What a Barman could do when a service last asked, by the folder of the store; `None` where none
/// has.
#[must_use]
pub fn last_catalogue(store: &Path) -> Option<Arc<Catalogue>> {
    Some(saved(&file(store))?.catalogue)
}

fn saved(path: &Path) -> Option<Saved> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn file(store: &Path) -> PathBuf {
    store.join("config/barman.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::Host;

    #[test]
    fn rebuilds_that_wait_hold_no_thread() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let garbage = store.garbage().unwrap();
        let barman = Barman {
            host: Host::Here,
            program: dir.path().join("barman"),
            config_file: None,
        };
        let refresh = Arc::new(Refresh::new(barman, store, garbage));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let held = Arc::clone(&refresh.rebuilding).lock_owned().await;
            let waiting: Vec<_> = (0..8)
                .map(|_| {
                    let refresh = Arc::clone(&refresh);
                    tokio::spawn(async move { refresh.rebuild().await })
                })
                .collect();
            tokio::task::yield_now().await;
            let other = tokio::time::timeout(Duration::from_secs(20), blocking::run(|| 1));
            assert_eq!(other.await.unwrap().unwrap(), 1);
            drop(held);
            let mut too_soon = 0;
            for waiting in waiting {
                let outcome = waiting.await.unwrap();
                too_soon += usize::from(matches!(outcome, Err(RefreshError::TooSoon)));
            }
            assert_eq!(too_soon, 7);
        });
    }
}
