//! The users file, barmanapi's `client.conf`: a section per user with `password`, `access`, `deny`
//! and `stamp`.
//!
//! The file is looked at on every lookup and read anew when it changed, so that an edit by hand or
//! by the command line counts from the next request on. What can't be read lets nobody in: a user
//! whose section is wrong is refused, and all are when the text as a whole is not ini.
//!
//! `stamp` is random text of ours. It is written anew by every change and every logout; tokens
//! carry a digest of the whole section, so that any edit ends the older ones.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::filestate::FileState;
use super::listing::{Listing, User, UsersError, read};
use super::secret::{give_to_owner_of_directory, random_text};
use crate::atomicfile::{self, Lock};
use crate::inifile::{Document, EditError};
use crate::names::UserName;
use crate::policy::{Rights, Rule};

/// A change to a user; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The hash of a new password.
    pub password: Option<String>,
    /// What the user may do; empty: everything.
    pub access: Option<Vec<Rule>>,
    /// What the user may not do.
    pub deny: Option<Vec<Rule>>,
}

/// On whose word users are changed.
#[derive(Debug, Clone)]
pub enum Authority {
    /// The operator's on this host.
    Operator {
        /// Whether even the last user with full access may go.
        force: bool,
    },
    /// That of a user, who grants and takes away no more than the user may do. The last user with
    /// full access stays.
    User {
        /// Who; the rights are those that the file has when it is changed.
        name: UserName,
        /// Other names of paths, and the ones they stand for.
        aliases: Arc<HashMap<String, String>>,
        /// Paths that a rule gives more of when it is written out.
        written_out: Arc<Vec<String>>,
    },
}

impl Authority {
    /// Whether a user who changed from the one state to the other may be changed on this word.
    fn reaches(&self, name: &UserName, before: &Listing, after: &Listing) -> bool {
        let Self::User {
            name: own,
            aliases,
            written_out,
        } = self
        else {
            return true;
        };
        let Some(own) = before.users.get(own.as_str()) else {
            return false;
        };
        if own.rights.is_full() {
            return true;
        }
        let canonical = |rights: &Rights| rights.canonicalised(|path| aliases.get(path).cloned());
        let limit = canonical(&own.rights);
        // Nobody knows what a section gives that can't be read.
        let is_faulty =
            |listing: &Listing| listing.faults.iter().any(|(own, _)| own == name.as_str());
        let mut states = [before, after]
            .into_iter()
            .filter_map(|listing| listing.users.get(name.as_str()))
            .peekable();
        states.peek().is_some()
            && !is_faulty(before)
            && states.all(|user| {
                let rights = canonical(&user.rights);
                rights.within(&limit) && rights.writes_out_within(&limit, written_out)
            })
    }

    fn force(&self) -> bool {
        matches!(self, Self::Operator { force: true })
    }
}

/// The users file.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    known: RwLock<Option<Known>>,
}

/// What was read, and from which file.
#[derive(Debug)]
struct Known {
    state: FileState,
    /// Whether a later change is sure to show in the state.
    settled: bool,
    listing: Arc<Listing>,
}

impl Users {
    /// The users that a file names. It need not exist: then there are none.
    #[must_use]
    pub fn open(path: PathBuf) -> Self {
        Self {
            path,
            known: RwLock::default(),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A user, as the file has it now; `None` when there is none or the section can't be read.
    ///
    /// # Errors
    /// When the file is there and can't be read at all.
    pub fn find(&self, name: &UserName) -> Result<Option<Arc<User>>, UsersError> {
        Ok(self.listing()?.users.get(name.as_str()).cloned())
    }

    /// A user who must be there and readable, for what an operator asks.
    ///
    /// # Errors
    /// When the file or the user's section can't be read, or there is no such user.
    pub fn require(&self, name: &UserName) -> Result<Arc<User>, UsersError> {
        let listing = self.listing()?;
        if let Some(source) = listing.broken {
            let path = self.path.clone();
            return Err(UsersError::Unreadable { path, source });
        }
        listing.require(name)
    }

    /// All users, as the file has them now.
    ///
    /// # Errors
    /// When the file is there and can't be read at all.
    pub fn listing(&self) -> Result<Arc<Listing>, UsersError> {
        let state = match fs::metadata(&self.path) {
            Ok(meta) => FileState::of(&meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(error) => return Err(self.io(error)),
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref()
            && known.state == state
            && known.settled
        {
            return Ok(Arc::clone(&known.listing));
        }
        drop(known);
        self.reread(state)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// When the name is taken or reserved, or the file can't be edited.
    pub fn add(
        &self,
        name: &UserName,
        password: &str,
        access: &[Rule],
        deny: &[Rule],
        authority: &Authority,
    ) -> Result<(), UsersError> {
        if name.as_str() == "DEFAULT" {
            return Err(UsersError::Reserved(name.to_string()));
        }
        if name.as_str().contains(|c: char| c.is_ascii_uppercase()) {
            return Err(UsersError::UpperCase(name.to_string()));
        }
        self.edit(name, authority, |document| {
            if document.has_section(name.as_str()) {
                return Err(UsersError::Exists(name.to_string()));
            }
            document
                .add_section(name.as_str())
                .map_err(|e| self.refused(e))?;
            self.set(document, name, "password", password)?;
            self.set(document, name, "access", &list(access))?;
            self.set(document, name, "deny", &list(deny))?;
            read(document).require(name)?;
            self.renew(document, name)
        })
    }

    /// Changes a user; tokens made before die.
    ///
    /// # Errors
    /// When there is no such user, the authority does not reach so far, or the file can't be
    /// edited.
    pub fn change(
        &self,
        name: &UserName,
        change: &Change,
        authority: &Authority,
    ) -> Result<(), UsersError> {
        self.edit(name, authority, |document| {
            must_exist(document, name)?;
            if let Some(password) = &change.password {
                self.set(document, name, "password", password)?;
            }
            if let Some(access) = &change.access {
                self.set(document, name, "access", &list(access))?;
            }
            if let Some(deny) = &change.deny {
                self.set(document, name, "deny", &list(deny))?;
            }
            if change.access.is_some() || change.deny.is_some() {
                read(document).require(name)?;
            }
            self.renew(document, name)
        })
    }

    /// Replaces a stored password by another form of the same one. `false` when it is not the one
    /// that was seen any more, or the user is gone: nothing is then changed.
    ///
    /// # Errors
    /// When the file can't be edited.
    pub fn upgrade(&self, seen: &User, password: &str) -> Result<bool, UsersError> {
        let mut done = false;
        self.edit(&seen.name, &OURS, |document| {
            let now = read(document);
            let now = now.users.get(seen.name.as_str());
            done = now.is_some_and(|now| now.password == seen.password);
            if done {
                self.set(document, &seen.name, "password", password)?;
            }
            Ok(())
        })?;
        Ok(done)
    }

    /// Ends all tokens of a user.
    ///
    /// # Errors
    /// When there is no such user, or the file can't be edited.
    pub fn log_out(&self, name: &UserName) -> Result<(), UsersError> {
        self.change(name, &Change::default(), &OURS)
    }

    /// Removes a user; all tokens die.
    ///
    /// # Errors
    /// When there is no such user, the authority does not reach so far, or the file can't be
    /// edited.
    pub fn remove(&self, name: &UserName, authority: &Authority) -> Result<(), UsersError> {
        self.edit(name, authority, |document| {
            must_exist(document, name)?;
            let removed = document.remove_section(name.as_str());
            removed.map_err(|error| self.refused(error))?;
            Ok(())
        })
    }

    /// Reads the file into memory and says what is wrong with it, once for each state of it.
    fn reread(&self, seen: FileState) -> Result<Arc<Listing>, UsersError> {
        // Whether it was settled is asked before it is read.
        let settled = seen.is_settled();
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(error) => return Err(self.io(error)),
        };
        let listing = Arc::new(match Document::parse_kindly(&bytes) {
            Ok(document) => read(&document),
            Err(error) => Listing::broken(error),
        });
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known
            .as_ref()
            .is_none_or(|known| !known.listing.complains_like(&listing))
        {
            self.report(&listing);
        }
        *known = Some(Known {
            state: seen,
            settled,
            listing: Arc::clone(&listing),
        });
        Ok(listing)
    }

    fn report(&self, listing: &Listing) {
        let file = self.path.display();
        if let Some(error) = listing.broken {
            tracing::error!(%file, line = error.line, "nobody can log in: the users file is not ini text: {error}");
        }
        for (section, fault) in &listing.faults {
            tracing::warn!(%file, user = %section, "a user can't log in: {fault}");
        }
    }

    /// Changes the file under its lock, atomically.
    fn edit(
        &self,
        name: &UserName,
        authority: &Authority,
        change: impl FnOnce(&mut Document) -> Result<(), UsersError>,
    ) -> Result<(), UsersError> {
        // The lock belongs to the file, whatever link leads to it.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let io = |source| UsersError::Io {
            path: path.clone(),
            source,
        };
        let mut lock = path.clone().into_os_string();
        lock.push(".lock");
        let lock = Lock::exclusive(Path::new(&lock)).map_err(io)?;
        share(&lock, &path).map_err(io)?;
        let (bytes, exists) = match fs::read(&path) {
            Ok(bytes) => (bytes, true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), false),
            Err(error) => return Err(io(error)),
        };
        let mut document =
            Document::parse_kindly(&bytes).map_err(|source| UsersError::Unreadable {
                path: path.clone(),
                source,
            })?;
        let before = read(&document);
        let changed = change(&mut document);
        let after = read(&document);
        // First of all: whoever may not do it learns nothing of who is there.
        if !authority.reaches(name, &before, &after) {
            return Err(UsersError::Beyond(name.to_string()));
        }
        changed?;
        if !authority.force() && before.full_users() > 0 && after.full_users() == 0 {
            return Err(UsersError::LastFull(name.to_string()));
        }
        let changed = document.to_bytes();
        if changed != bytes {
            // What a writer that was killed left beside it has password hashes in it too.
            atomicfile::sweep(&path);
            atomicfile::replace(&path, &changed, 0o600).map_err(io)?;
        }
        if !exists {
            give_to_owner_of_directory(&path).map_err(io)?;
        }
        Ok(())
    }

    fn set(
        &self,
        document: &mut Document,
        name: &UserName,
        key: &str,
        value: &str,
    ) -> Result<(), UsersError> {
        let set = document.set_raw(name.as_str(), key, value);
        set.map_err(|error| self.refused(error))
    }

    /// Writes a new stamp.
    fn renew(&self, document: &mut Document, name: &UserName) -> Result<(), UsersError> {
        let stamp = random_text().map_err(|error| self.io(error))?;
        self.set(document, name, "stamp", &stamp)
    }

    fn refused(&self, source: EditError) -> UsersError {
        UsersError::Edit {
            path: self.path.clone(),
            source,
        }
    }

    fn io(&self, source: io::Error) -> UsersError {
        UsersError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

/// What this program does for users by itself takes nobody's rights away.
const OURS: Authority = Authority::Operator { force: true };

fn must_exist(document: &Document, name: &UserName) -> Result<(), UsersError> {
    if name.as_str() != "DEFAULT" && document.has_section(name.as_str()) {
        return Ok(());
    }
    Err(UsersError::Unknown(name.to_string()))
}

/// Run as root, gives the lock to the account that owns the file, or the directory while there is
/// no file: the service must be able to take it later.
fn share(lock: &Lock, path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let owner = fs::metadata(path).or_else(|_| fs::metadata(parent.unwrap_or(Path::new("."))))?;
    fchown(lock.file(), Some(owner.uid()), Some(owner.gid()))
}

/// Rules as barmanapi writes them, `['barman/list-*','config']`; as JSON when the name of a
/// server has a quote, a backslash or a comma.
fn list(rules: &[Rule]) -> String {
    let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
    if rules
        .iter()
        .any(|rule| rule.contains(['\'', '"', '\\', ',']))
    {
        return serde_json::Value::from(rules).to_string();
    }
    let quoted: Vec<String> = rules.iter().map(|rule| format!("'{rule}'")).collect();
    format!("[{}]", quoted.join(","))
}

#[cfg(test)]
mod tests;
