//! The door that every change of a configuration goes through.
//!
//! What is there is read from the Barman host for every request: `tree` (which files), `view` (what
//! Barman makes of them), `mask` (what of it may be seen), `show`. What shall be otherwise is a
//! `wish`; `check` says whether this caller may have it, `edit` carries it out in memory,
//! `candidate` lets Barman read the result, and `change` puts it in place. `revisions` and `settle`
//! are the journal of that; they know nothing of Barman.

mod candidate;
mod change;
mod check;
mod commit;
mod conninfo;
mod diff;
mod edit;
mod error;
mod help;
mod history;
mod mask;
mod own;
mod queue;
mod revisions;
mod settle;
mod show;
mod tree;
mod view;
mod wish;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

pub use error::ConfigError;
pub use own::{OwnFile, Running, mend};

use crate::audit::{Audit, Entry};
use crate::blocking;
use crate::catalogue::configkeys::ConfigKeys;
use crate::live::Live;
use crate::names::Ticket;
use crate::parameters::Parameters;
use crate::refresh::Refresh;
use crate::runner::Host;
use crate::store::Store;
use help::Help;
use mask::Mask;
use queue::Queue;
use revisions::{Journal, State};
use tree::Tree;
use view::Reading;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigTask {
    /// The configuration.
    Show,
    /// What its keys are for.
    Help,
    /// The same, read anew.
    Reload,
    /// Other values.
    Change,
    /// What was changed when, and by whom.
    Revisions,
    /// One of those.
    Revision(Ticket),
    /// A change taken back.
    Rollback,
}

/// A request of a caller who has the right to the route.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is wanted.
    pub task: ConfigTask,
    /// Who asks.
    pub user: String,
    /// Whether the caller has full access.
    pub full: bool,
    /// The parameters.
    pub parameters: Parameters,
    /// The value of `If-Match`.
    pub if_match: Option<String>,
    /// What the audit log is told before anything is changed; revision and keys are added.
    pub entry: Entry,
}

/// An answer, always with status 200.
#[derive(Debug)]
pub struct Answer {
    /// The body.
    pub body: Value,
    /// The entity tag of the files.
    pub etag: Option<String>,
}

/// Barman's configuration.
#[derive(Debug)]
pub struct ConfigFiles {
    refresh: Arc<Refresh>,
    audit: Arc<Audit>,
    keys: ConfigKeys,
    unlock: Arc<Live<Vec<String>>>,
    journal: Journal,
    help: Help,
    queue: Queue,
}

impl ConfigFiles {
    /// The configuration of a Barman. `unlock` are the keys that may be changed though they are
    /// dangerous.
    #[must_use]
    pub fn new(
        refresh: Arc<Refresh>,
        audit: Arc<Audit>,
        store: &Store,
        unlock: Arc<Live<Vec<String>>>,
    ) -> Self {
        Self {
            refresh,
            audit,
            keys: ConfigKeys::builtin(),
            unlock,
            journal: Journal::new(store.config().join("revisions/barman")),
            help: Help::default(),
            queue: Queue::default(),
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// When it is refused; nothing was changed then, unless the error says otherwise.
    pub async fn answer(self: &Arc<Self>, mut request: Request) -> Result<Answer, ConfigError> {
        let files = Arc::clone(self);
        let next = self.queue.next(&request.task).await;
        let done = blocking::run(move || {
            let _next = next;
            match request.task.clone() {
                ConfigTask::Show => files.show(&request),
                ConfigTask::Help => files.help(),
                ConfigTask::Reload => files.read_help(),
                ConfigTask::Change => files.change(request),
                ConfigTask::Revisions => history::list(&files.journal, &mut request.parameters),
                ConfigTask::Revision(id) => {
                    history::one(&files.journal, &id, &mut files.mask(&request))
                }
                ConfigTask::Rollback => files.rollback(request),
            }
        });
        done.await.map_err(ConfigError::Internal)?
    }

    /// Brings changes to an end that were cut short, if there are any. Blocks.
    ///
    /// # Errors
    /// When the Barman host or the revisions can't be read or written; try again then.
    pub fn settle(&self) -> Result<(), ConfigError> {
        let places = self.journal.places().map_err(ConfigError::Journal)?;
        if places.iter().all(|(_, state)| *state != State::Pending) {
            return Ok(());
        }
        let turn = self.journal.turn().map_err(ConfigError::Journal)?;
        settle::all(&self.journal, &turn, &self.refresh.barman().host)?;
        self.refresh.forget_servers();
        Ok(())
    }

    /// Where Barman runs.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.refresh.barman().host
    }

    /// The folder that Barman keeps its servers in (`barman_home`), as the files say now. Blocks.
    ///
    /// # Errors
    /// When the files can't be read.
    pub fn barman_home(&self) -> Result<Option<PathBuf>, ConfigError> {
        let version = self.version();
        let tree = self.tree(version.as_deref())?;
        let home = tree.view().global("barman_home");
        Ok(home.map(|home| Path::new("/").join(home)))
    }

    fn show(&self, request: &Request) -> Result<Answer, ConfigError> {
        let version = self.version();
        let tree = self.tree(version.as_deref())?;
        let mut mask = self.mask(request);
        Ok(Answer {
            body: show::document(&tree, &tree.view(), &mut mask, ""),
            etag: Some(tree.etag()),
        })
    }

    fn mask(&self, request: &Request) -> Mask<'_> {
        Mask::new(&self.keys, request.full)
    }

    fn tree(&self, version: Option<&str>) -> Result<Tree, ConfigError> {
        Tree::read(self.refresh.barman(), Reading::of(version))
    }

    /// Barman's version, when its catalogue is known.
    fn version(&self) -> Option<String> {
        let catalogue = self.refresh.catalogue()?;
        Some(catalogue.version.clone())
    }
}

/// The keys that a request names, for the audit log. Values are never among them.
#[must_use]
pub fn named_keys(parameters: &Parameters) -> Option<String> {
    wish::named(parameters, wish::of_barman)
}

/// The same of a request about our own file.
#[must_use]
pub fn named_own_keys(parameters: &Parameters) -> Option<String> {
    wish::named(parameters, wish::of_ours)
}
