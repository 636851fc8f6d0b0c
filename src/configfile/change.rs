//! From a wish to other files on the Barman host.
//!
//! One change at a time, whichever process makes it. The order: settle what was cut short, read the
//! files, compare them with what the caller has seen, carry the wish out in memory, let Barman
//! read the result, tell the audit log, write the revision, replace the files, mark the revision.

use serde_json::{Value, json};

use super::check::Rules;
use super::commit::Commit;
use super::edit;
use super::error::ConfigError;
use super::mask::Mask;
use super::revisions::{Bytes, Edit, Revision, Turn};
use super::settle;
use super::tree::{ConfFile, Role, Tree};
use super::wish::{self, Wish};
use super::{Answer, ConfigFiles, Request, candidate, diff, history, show};
use crate::inifile::Document;
use crate::names::Ticket;
use crate::runner::files::Access;

/// Other files, decided on and not yet there.
struct Plan {
    old: Tree,
    new: Tree,
    edits: Vec<Edit>,
    keys: Vec<String>,
    undoes: Option<Ticket>,
    dry_run: bool,
}

impl ConfigFiles {
    /// `/config/barman/change`.
    pub(super) fn change(&self, mut request: Request) -> Result<Answer, ConfigError> {
        let wish = Wish::read(std::mem::take(&mut request.parameters), wish::of_barman)?;
        let version = self.version();
        let rules = self.rules(&request, version.as_deref());
        for wanted in &wish.wanted {
            rules.check_right(wanted)?;
        }
        let turn = self.begin()?;
        let old = self.tree(version.as_deref())?;
        let needs = |key: &str| rules.wants_precondition(key);
        let needing = wish.wanted.iter().find(|wanted| needs(&wanted.key));
        let needing = needing.map(wish::Wanted::name);
        let seen = compare(&request, &old.etag())?;
        let new = edit::apply(&old, &wish, &rules)?;
        if let (false, Some(name)) = (seen, needing) {
            return Err(no_precondition(&name));
        }
        let plan = Plan {
            edits: edits(&old, &new),
            keys: differing(&old, &new, &wish),
            undoes: None,
            dry_run: wish.dry_run,
            old,
            new,
        };
        self.carry_out(&turn, &request, plan)
    }

    /// `/config/barman/rollback`.
    pub(super) fn rollback(&self, mut request: Request) -> Result<Answer, ConfigError> {
        let (id, dry_run) = history::read_rollback(&mut request.parameters)?;
        let version = self.version();
        let rules = self.rules(&request, version.as_deref());
        let turn = self.begin()?;
        let revision = history::made(&self.journal, &id)?;
        let old = self.tree(version.as_deref())?;
        let seen = compare(&request, &old.etag())?;
        let new = undone(&old, &revision)?;
        let keys = edit::changed(&old.view(), &new.view());
        let mut needing = None;
        for (section, key) in &keys {
            let name = format!("{section}.{key}");
            rules.check_class(key, &name)?;
            if rules.wants_precondition(key) {
                needing.get_or_insert(name);
            }
        }
        if let (false, Some(name)) = (seen, needing) {
            return Err(no_precondition(&name));
        }
        let plan = Plan {
            edits: edits(&old, &new),
            keys: names(&keys),
            undoes: Some(id),
            dry_run,
            old,
            new,
        };
        self.carry_out(&turn, &request, plan)
    }

    /// Takes the turn and settles what was cut short.
    fn begin(&self) -> Result<Turn, ConfigError> {
        let turn = self.journal.turn().map_err(ConfigError::Journal)?;
        settle::all(&self.journal, &turn, &self.refresh.barman().host)?;
        Ok(turn)
    }

    /// All that is the same for every change.
    fn carry_out(&self, turn: &Turn, request: &Request, plan: Plan) -> Result<Answer, ConfigError> {
        let Plan {
            old,
            new,
            edits,
            keys,
            undoes,
            dry_run,
        } = plan;
        let mut mask = Mask::new(&self.keys, request.full);
        let diff = difference(&old, &new, &mut mask);
        if edits.is_empty() {
            let mut answer = self.shown(&old, request, "nothing to change: it is so already");
            answer.add("changed", json!([]));
            return Ok(answer);
        }
        let barman = self.refresh.barman();
        let command = self.refresh.servers_command();
        // Barman's words go to the log too, so they show what anybody may see.
        let mut mask = Mask::new(&self.keys, false);
        let mut hide = |text: &str| {
            let files = old.files.iter().chain(&new.files);
            mask.words(files.map(|file| &file.document), text)
        };
        let warnings = candidate::try_out(barman, command, &old, &new, &mut hide)?;
        if dry_run {
            let mut answer = self.shown(&new, request, "a dry run: nothing was written");
            answer.etag = Some(old.etag());
            answer.add("changed", json!(keys));
            answer.add("diff", diff.into());
            answer.add("warnings", json!(warnings));
            return Ok(answer);
        }
        let commit = Commit {
            journal: &self.journal,
            audit: &self.audit,
            host: &barman.host,
            lock: Some(&old.lock),
        };
        let revision = commit.make(turn, request, keys, undoes, edits)?;
        self.refresh.forget_servers();
        let mut answer = self.shown(&new, request, "");
        answer.add("revision", revision.id.as_str().into());
        answer.add("changed", json!(revision.keys));
        answer.add("diff", diff.into());
        answer.add("warnings", json!(warnings));
        Ok(answer)
    }

    fn rules<'a>(&'a self, request: &Request, version: Option<&'a str>) -> Rules<'a> {
        Rules {
            keys: &self.keys,
            unlock: self.unlock.get(),
            full: request.full,
            version,
        }
    }

    /// The configuration as an answer.
    fn shown(&self, tree: &Tree, request: &Request, message: &str) -> Answer {
        let mut mask = Mask::new(&self.keys, request.full);
        Answer {
            body: show::document(tree, &tree.view(), &mut mask, message),
            etag: Some(tree.etag()),
        }
    }
}

impl Answer {
    pub(super) fn add(&mut self, name: &str, value: Value) {
        if let Some(body) = self.body.as_object_mut() {
            body.insert(name.to_owned(), value);
        }
    }
}

/// Whether the caller has said which files were seen; a refusal when they are not these.
pub(super) fn compare(request: &Request, etag: &str) -> Result<bool, ConfigError> {
    let Some(given) = &request.if_match else {
        return Ok(false);
    };
    // `*` would mean "whatever is there", which is just what the question is about.
    if given.split(',').any(|tag| tag.trim() == etag) {
        return Ok(true);
    }
    let words = "the configuration is not the one that If-Match names: read it again";
    Err(ConfigError::Stale(words.to_owned()))
}

fn no_precondition(name: &str) -> ConfigError {
    ConfigError::NoPrecondition(format!(
        "{name} can lose data or blind the monitoring: send If-Match with the ETag of \
         /config/barman, so that nobody's change is lost"
    ))
}

/// The keys of a wish that are other ones then, in the order of the wish.
fn differing(old: &Tree, new: &Tree, wish: &Wish) -> Vec<String> {
    let changed = names(&edit::changed(&old.view(), &new.view()));
    let wanted = wish.wanted.iter().map(wish::Wanted::name);
    wanted.filter(|name| changed.contains(name)).collect()
}

fn names(keys: &[(String, String)]) -> Vec<String> {
    let names = keys.iter().map(|(section, key)| format!("{section}.{key}"));
    names.collect()
}

/// The files that differ.
fn edits(old: &Tree, new: &Tree) -> Vec<Edit> {
    pairs(old, new)
        .map(|(before, after)| {
            let file = before.or(after);
            let bytes = |file: Option<&ConfFile>| Some(Bytes(file?.document.to_bytes()));
            Edit {
                path: file.map(|file| file.path.clone()).unwrap_or_default(),
                before: bytes(before),
                after: bytes(after),
                in_place: before.is_some_and(|file| file.access == Access::InPlace),
            }
        })
        .collect()
}

/// Each file that is not the same, before and after.
fn pairs<'a>(
    old: &'a Tree,
    new: &'a Tree,
) -> impl Iterator<Item = (Option<&'a ConfFile>, Option<&'a ConfFile>)> {
    let changed = old.files.iter().filter_map(|before| {
        let after = new.files.iter().find(|after| after.path == before.path);
        let same = after.is_some_and(|after| after.document == before.document);
        (!same).then_some((Some(before), after))
    });
    let is_new = |after: &&ConfFile| old.files.iter().all(|before| before.path != after.path);
    let made = new.files.iter().filter(is_new);
    changed.chain(made.map(|after| (None, Some(after))))
}

fn difference(old: &Tree, new: &Tree, mask: &mut Mask<'_>) -> String {
    let mut text = String::new();
    for (before, after) in pairs(old, new) {
        let Some(file) = before.or(after) else {
            continue;
        };
        let before = before.map(|file| &file.document);
        let after = after.map(|file| &file.document);
        text.push_str(&diff::unified(&file.path, before, after, mask));
    }
    text
}

/// The files as they were before a revision, when they are still what it made of them.
fn undone(old: &Tree, revision: &Revision) -> Result<Tree, ConfigError> {
    let mut new = old.clone();
    for edit in &revision.files {
        let at = new.files.iter().position(|file| file.path == edit.path);
        let now = at.and_then(|at| new.files.get(at));
        let now = now.map(|file| file.document.to_bytes());
        if now.as_ref() != edit.after.as_ref().map(|bytes| &bytes.0) {
            return Err(history::changed_since(edit, revision));
        }
        let document = match &edit.before {
            None => None,
            Some(bytes) => {
                Some(
                    Document::parse(&bytes.0).map_err(|source| ConfigError::NotIni {
                        path: edit.path.clone(),
                        source,
                    })?,
                )
            }
        };
        match (at, document) {
            (Some(at), None) => drop(new.files.remove(at)),
            (Some(at), Some(document)) => {
                if let Some(file) = new.files.get_mut(at) {
                    file.document = document;
                }
            }
            (None, Some(_)) if edit.path.parent() != old.folder.as_deref() => {
                return Err(ConfigError::Conflict(format!(
                    "{} is in no folder that barman reads now: configuration_files_directory is \
                     another one than at revision {}",
                    edit.path.display(),
                    revision.id
                )));
            }
            (None, Some(document)) => {
                let is_later = |file: &ConfFile| match file.role {
                    Role::Main => false,
                    Role::Included => file.path.as_os_str() > edit.path.as_os_str(),
                    Role::Auto => true,
                };
                let at = new.files.iter().position(is_later);
                let file = ConfFile {
                    role: Role::Included,
                    path: edit.path.clone(),
                    document,
                    access: Access::Replace,
                };
                new.files.insert(at.unwrap_or(new.files.len()), file);
            }
            (None, None) => {}
        }
    }
    Ok(new)
}
