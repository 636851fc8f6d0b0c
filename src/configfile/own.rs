//! Our own file: shown, changed, and changed back, and put in force as far as that needs no restart.
//!
//! The table of our settings says which keys there are, what they take, and which of them may be
//! set over HTTP at all; a candidate is checked as a start checks the file.

mod mend;
pub(super) mod shown;
mod view;

pub use mend::mend;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::change::compare;
use super::commit::Commit;
use super::error::ConfigError;
use super::mask::Mask;
use super::queue::Queue;
use super::revisions::{Bytes, Edit, Journal, Revision, Turn};
use super::wish::{self, Wanted, Wish};
use super::{Answer, ConfigTask, Request, diff, history, settle};
use crate::audit::Audit;
use crate::blocking;
use crate::catalogue::configkeys::ConfigKeys;
use crate::inifile::Document;
use crate::runner::Host;
use crate::runner::files::{self, Access, FilesError};
use crate::settings::keys::{self, KEYS, OverHttp, nearest};
use crate::settings::{Changed, Problem, Problems, Settings, changes, examine_bytes};
use crate::store::Store;
use mend::journal_in;
use view::{named, tell};

/// Where keys of Barman's files are changed.
const BARMANS: &str = "/config/barman/change";

/// The service that runs with the settings of our own file.
pub trait Running: fmt::Debug + Send + Sync {
    /// The settings in force.
    fn settings(&self) -> Arc<Settings>;

    /// What a file says, under what the service was started with: a command line may say more than
    /// the file.
    fn as_started(&self, file: Settings) -> Settings;

    /// Reads the file again and puts in force what needs no restart; tells all that differs from
    /// what was in force.
    ///
    /// # Errors
    /// With all that is wrong with the file. Nothing changes then.
    fn reload(&self) -> Result<Vec<Changed>, Problems>;
}

/// Our own configuration.
#[derive(Debug)]
pub struct OwnFile {
    path: PathBuf,
    running: Arc<dyn Running>,
    audit: Arc<Audit>,
    barmans: ConfigKeys,
    journal: Journal,
    queue: Queue,
}

/// The file as it was read.
struct Seen {
    document: Document,
    access: Access,
    etag: String,
}

/// Another file, decided on and not yet there.
struct Plan {
    old: Seen,
    new: Document,
    /// What the new file says.
    settings: Settings,
    keys: Vec<String>,
    undoes: Option<crate::names::Ticket>,
    dry_run: bool,
}

impl OwnFile {
    /// The file that a running service was started with.
    #[must_use]
    pub fn new(running: Arc<dyn Running>, audit: Arc<Audit>, store: &Store) -> Self {
        Self {
            path: running.settings().path.clone(),
            running,
            audit,
            barmans: ConfigKeys::builtin(),
            journal: Journal::new(journal_in(store.root())),
            queue: Queue::default(),
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// When it is refused; nothing was changed then, unless the error says otherwise.
    pub async fn answer(self: &Arc<Self>, mut request: Request) -> Result<Answer, ConfigError> {
        let file = Arc::clone(self);
        let next = self.queue.next(&request.task).await;
        let done = blocking::run(move || {
            let _next = next;
            match request.task.clone() {
                ConfigTask::Show => file.show(),
                ConfigTask::Change => file.change(request),
                ConfigTask::Revisions => history::list(&file.journal, &mut request.parameters),
                ConfigTask::Revision(id) => history::one(&file.journal, &id, &mut Mask::own()),
                ConfigTask::Rollback => file.rollback(request),
                ConfigTask::Help | ConfigTask::Reload => Err(ConfigError::NotFound(
                    "barmanapi's own file has no such route".to_owned(),
                )),
            }
        });
        let done = done.await.map_err(ConfigError::Internal)?;
        done.map_err(|error| match error {
            // Nobody's but ours, and for whoever looks after it.
            ConfigError::NotIni { .. }
            | ConfigError::Files(
                FilesError::NotFound { .. }
                | FilesError::NotPermitted { .. }
                | FilesError::NotAFile { .. }
                | FilesError::TooLarge { .. },
            ) => ConfigError::Conflict(error.to_string()),
            other => other,
        })
    }

    fn show(&self) -> Result<Answer, ConfigError> {
        let seen = self.read()?;
        Ok(Answer {
            body: self.document(&seen.document, ""),
            etag: Some(seen.etag),
        })
    }

    fn change(&self, mut request: Request) -> Result<Answer, ConfigError> {
        let wish = Wish::read(std::mem::take(&mut request.parameters), wish::of_ours)?;
        if wish.create {
            return Err(ConfigError::invalid("there is no parameter create here"));
        }
        for wanted in &wish.wanted {
            self.check_right(&wanted.section, &wanted.key)?;
        }
        let turn = self.begin()?;
        let old = self.read()?;
        compare(&request, &old.etag)?;
        let before = self.settings_now(&old.document)?;
        let new = apply(&self.path, &old.document, &wish)?;
        let settings = self.settings_wanted(&new)?;
        let names: Vec<_> = wish.wanted.iter().map(Wanted::name).collect();
        if let Some(other) = named(&changes(&before, &settings)).find(|name| !names.contains(name))
        {
            return Err(ConfigError::Conflict(format!(
                "{other} would change too; edit {} by hand",
                self.path.display()
            )));
        }
        let plan = Plan {
            keys: differing(&old.document, &wish),
            old,
            new,
            settings,
            undoes: None,
            dry_run: wish.dry_run,
        };
        self.carry_out(&turn, &request, plan)
    }

    fn rollback(&self, mut request: Request) -> Result<Answer, ConfigError> {
        let (id, dry_run) = history::read_rollback(&mut request.parameters)?;
        let turn = self.begin()?;
        let revision = history::made(&self.journal, &id)?;
        let old = self.read()?;
        compare(&request, &old.etag)?;
        let before = self.settings_now(&old.document)?;
        let new = self.undone(&old.document, &revision)?;
        // Whoever takes it back has not written it.
        let settings = self.judged(&new, |problems| {
            ConfigError::Invalid(without_place(&problems.without_values()))
        })?;
        let changed = changes(&before, &settings);
        for changed in &changed {
            self.check_right(&changed.section, &changed.name)?;
        }
        let plan = Plan {
            old,
            new,
            settings,
            keys: named(&changed).collect(),
            undoes: Some(id),
            dry_run,
        };
        self.carry_out(&turn, &request, plan)
    }

    /// Takes the turn and settles what was cut short.
    fn begin(&self) -> Result<Turn, ConfigError> {
        let turn = self.journal.turn().map_err(ConfigError::Journal)?;
        settle::all(&self.journal, &turn, &Host::Here)?;
        Ok(turn)
    }

    /// All that is the same for every change.
    fn carry_out(&self, turn: &Turn, request: &Request, plan: Plan) -> Result<Answer, ConfigError> {
        let Plan {
            old,
            new,
            settings,
            keys,
            undoes,
            dry_run,
        } = plan;
        let answer = |document: &Document, etag: String, message: &str| Answer {
            body: self.document(document, message),
            etag: Some(etag),
        };
        if new == old.document {
            let message = "nothing to change: it is so already";
            let mut answer = answer(&old.document, old.etag, message);
            answer.add("changed", json!([]));
            return Ok(answer);
        }
        let diff = diff::unified(
            &self.path,
            Some(&old.document),
            Some(&new),
            &mut Mask::own(),
        );
        if dry_run {
            let message = "a dry run: nothing was written";
            let mut answer = answer(&new, old.etag, message);
            answer.add("changed", json!(keys));
            answer.add("diff", diff.into());
            tell(&mut answer, &self.pending(settings));
            return Ok(answer);
        }
        let commit = Commit {
            journal: &self.journal,
            audit: &self.audit,
            host: &Host::Here,
            lock: None,
        };
        let edit = Edit {
            path: self.path.clone(),
            before: Some(Bytes(old.document.to_bytes())),
            after: Some(Bytes(new.to_bytes())),
            in_place: old.access == Access::InPlace,
        };
        let revision = commit.make(turn, request, keys, undoes, vec![edit])?;
        // In the turn still: what is in force last is what was written last.
        let reloaded = self.running.reload();
        let message = if reloaded.is_ok() {
            ""
        } else {
            "the file was written, and the running service can't read it: see general.log"
        };
        let mut answer = answer(&new, etag(&new.to_bytes()), message);
        answer.add("revision", revision.id.as_str().into());
        answer.add("changed", json!(revision.keys));
        answer.add("diff", diff.into());
        tell(&mut answer, &reloaded.unwrap_or_default());
        Ok(answer)
    }

    /// Whether a key is one of ours and may be set over HTTP.
    fn check_right(&self, section: &str, key: &str) -> Result<(), ConfigError> {
        let name = format!("{section}.{key}");
        match keys::find(section, key).map(|key| key.over_http) {
            Some(OverHttp::Yes) => Ok(()),
            Some(OverHttp::Never(reason)) => Err(ConfigError::Forbidden(format!(
                "{name} is set on disk alone, in {}: {reason}",
                self.path.display()
            ))),
            None if self.barmans.get(key).is_some() => Err(ConfigError::Invalid(format!(
                "{name} is a key of barman's configuration: change it by {BARMANS}"
            ))),
            None => {
                let known: Vec<_> = KEYS
                    .iter()
                    .map(|key| format!("{}.{}", key.section, key.name))
                    .collect();
                let near = nearest(&name, known.iter().map(String::as_str));
                let near = near.map(|near| format!("; did you mean {near}?"));
                Err(ConfigError::Invalid(format!(
                    "barmanapi's file has no key {name}{}",
                    near.unwrap_or_default()
                )))
            }
        }
    }

    fn read(&self) -> Result<Seen, ConfigError> {
        let found = Host::Here.read(std::slice::from_ref(&self.path))?;
        let found = found.into_iter().next().flatten().ok_or_else(|| {
            ConfigError::Conflict(format!(
                "{} is no more; the service runs with what it read at the start",
                self.path.display()
            ))
        })?;
        Ok(Seen {
            document: self.parse(&found.bytes)?,
            access: found.access,
            etag: etag(&found.bytes),
        })
    }

    fn parse(&self, bytes: &[u8]) -> Result<Document, ConfigError> {
        Document::parse_kindly(bytes).map_err(|source| ConfigError::NotIni {
            path: self.path.clone(),
            source,
        })
    }

    /// What the file says now; a file that is wrong is for whoever made it so.
    fn settings_now(&self, document: &Document) -> Result<Settings, ConfigError> {
        self.judged(document, |problems| {
            ConfigError::Conflict(format!(
                "the file has to be mended by hand first: {}",
                one_line(&problems.without_values())
            ))
        })
    }

    /// What the file would say.
    fn settings_wanted(&self, document: &Document) -> Result<Settings, ConfigError> {
        self.judged(document, |problems| {
            ConfigError::Invalid(without_place(problems))
        })
    }

    /// The settings of a text; what is wrong with it is `refused`, unless nobody wrote that.
    fn judged(
        &self,
        document: &Document,
        refused: impl FnOnce(&Problems) -> ConfigError,
    ) -> Result<Settings, ConfigError> {
        self.examined(document).map_err(|problems| {
            if problems.iter().any(|problem| problem.is_of_host) {
                ConfigError::Unavailable(one_line(&problems.without_values()))
            } else {
                refused(&problems)
            }
        })
    }

    /// What is in force differs from this file in these keys.
    fn pending(&self, file: Settings) -> Vec<Changed> {
        changes(&self.running.settings(), &self.running.as_started(file))
    }

    fn examined(&self, document: &Document) -> Result<Settings, Problems> {
        examine_bytes(&self.path, document.to_bytes()).for_service()
    }

    /// The file as it was before a revision, when it is still what that made of it.
    fn undone(&self, now: &Document, revision: &Revision) -> Result<Document, ConfigError> {
        let ours = |edit: &&Edit| edit.path == self.path;
        let edit = revision.files.iter().find(ours).ok_or_else(|| {
            ConfigError::Conflict(format!(
                "revision {} is not about {}",
                revision.id,
                self.path.display()
            ))
        })?;
        match (&edit.before, &edit.after) {
            (Some(before), Some(after)) if after.0 == now.to_bytes() => self.parse(&before.0),
            _ => Err(history::changed_since(edit, revision)),
        }
    }
}

fn one_line(problems: &Problems) -> String {
    let words: Vec<_> = problems.iter().map(ToString::to_string).collect();
    words.join("; ")
}

/// What is wrong with a text that is in no file yet.
fn without_place(problems: &Problems) -> String {
    let words: Vec<_> = problems.iter().map(Problem::words).collect();
    words.join("; ")
}

/// The keys of a wish that are not as wanted.
fn differing(document: &Document, wish: &Wish) -> Vec<String> {
    let differs = |wanted: &&Wanted| document.get(&wanted.section, &wanted.key) != wanted.value;
    wish.wanted
        .iter()
        .filter(differs)
        .map(Wanted::name)
        .collect()
}

/// Carries out a wish in memory.
fn apply(path: &Path, document: &Document, wish: &Wish) -> Result<Document, ConfigError> {
    let mut new = document.clone();
    for Wanted {
        section,
        key,
        value,
    } in &wish.wanted
    {
        let edited = match value {
            None => new.remove_key(section, key).map(drop),
            Some(_) if new.get(section, key) == *value => Ok(()),
            Some(value) => {
                let there = new.has_section(section);
                let made = if there {
                    Ok(())
                } else {
                    new.add_section(section)
                };
                made.and_then(|()| new.set_raw(section, key, value))
            }
        };
        edited.map_err(|error| {
            ConfigError::Conflict(format!("{}: {section}.{key}: {error}", path.display()))
        })?;
    }
    Ok(new)
}

/// A digest of bytes as an entity tag.
fn etag(bytes: &[u8]) -> String {
    let digest = files::digest(bytes);
    let hex = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
    format!("\"{}\"", hex.collect::<String>())
}
