//! What a users file says, and what can be wrong with it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::password::Stored;
use crate::inifile::{DEFAULT, Document, EditError, IniError};
use crate::names::UserName;
use crate::policy::{Rights, Rule};

/// What went wrong with the users file or with a change to it.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// The file can't be read, locked or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The file is not ini text; it must be mended by hand.
    #[error("{}, {source}; mend it by hand", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: IniError,
    },
    /// There is no such user.
    #[error("user {0:?} does not exist")]
    Unknown(String),
    /// The name is taken.
    #[error("user {0:?} exists already")]
    Exists(String),
    /// The name means something else in this file.
    #[error("{0:?} can't be a user: its section hands its values down to all others")]
    Reserved(String),
    /// Two users must not differ by case alone. Names that the file has already are as they are.
    #[error("{0:?} can't be a new user: write the name in lower case")]
    UpperCase(String),
    /// Nobody with all rights would be left.
    #[error("{0:?} is the last user with full access")]
    LastFull(String),
    /// Whoever wants it may not do all that the user may do, or should.
    #[error("there is no user {0:?} whose rights, old and new, lie within yours")]
    Beyond(String),
    /// The user's section would not be read.
    #[error("user {name:?}: {fault}")]
    Faulty {
        /// The user.
        name: String,
        /// What is wrong with it.
        fault: String,
    },
    /// The file can't be edited as asked.
    #[error("{}: {source}", .path.display())]
    Edit {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: EditError,
    },
}

/// A user as the file has it.
#[derive(Debug, Clone)]
pub struct User {
    /// The name.
    pub name: UserName,
    /// What the user may do.
    pub rights: Arc<Rights>,
    /// The stored password; a user without a usable one may still come by token or certificate.
    pub password: Stored,
    /// A digest of all that tokens of this user depend on.
    pub(super) fingerprint: [u8; 32],
}

/// All users of a file, and what is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The users, by name.
    pub users: BTreeMap<String, Arc<User>>,
    /// Sections that can't be used, or whose password can't, and why; in the order of the file.
    pub faults: Vec<(String, String)>,
    /// Why the text as a whole can't be read; there are then no users.
    pub broken: Option<IniError>,
}

impl Listing {
    /// A user who must be there.
    pub(super) fn require(&self, name: &UserName) -> Result<Arc<User>, UsersError> {
        if let Some(user) = self.users.get(name.as_str()) {
            return Ok(Arc::clone(user));
        }
        let own = |(section, _): &&(String, String)| section == name.as_str();
        Err(match self.faults.iter().find(own) {
            Some((_, fault)) => UsersError::Faulty {
                name: name.to_string(),
                fault: fault.clone(),
            },
            None => UsersError::Unknown(name.to_string()),
        })
    }

    /// Why the file has no such user who can log in, where it is the file that has to be mended.
    pub(super) fn trouble(&self, name: &str) -> Option<String> {
        if let Some(error) = self.broken {
            return Some(format!("the users file is not ini text: {error}"));
        }
        let (_, fault) = self.faults.iter().find(|(section, _)| section == name)?;
        Some(format!("the user's section can't be used: {fault}"))
    }

    pub(super) fn broken(error: IniError) -> Self {
        Self {
            broken: Some(error),
            ..Self::default()
        }
    }

    /// Whether another listing has the same faults.
    pub(super) fn complains_like(&self, other: &Self) -> bool {
        self.broken == other.broken && self.faults == other.faults
    }

    /// How many users have full access and a password to use it.
    pub(super) fn full_users(&self) -> usize {
        let full = |user: &&Arc<User>| user.rights.is_full() && user.password.fault().is_none();
        self.users.values().filter(full).count()
    }
}

/// Reads the users off a file.
pub(super) fn read(document: &Document) -> Listing {
    let mut listing = Listing::default();
    for section in document.sections().filter(|section| *section != DEFAULT) {
        match read_user(document, section) {
            Ok(user) => {
                if let Some(fault) = user.password.fault() {
                    listing.faults.push((section.to_owned(), fault.to_owned()));
                }
                listing.users.insert(section.to_owned(), Arc::new(user));
            }
            Err(fault) => {
                let line = document.line_of(section).unwrap_or_default();
                let fault = format!("{fault} (section at line {line})");
                listing.faults.push((section.to_owned(), fault));
            }
        }
    }
    listing
}

fn read_user(document: &Document, section: &str) -> Result<User, String> {
    let name = UserName::parse(section).map_err(|error| error.to_string())?;
    let own: HashMap<&str, &str> = document.entries(section).collect();
    let inherited: HashMap<&str, &str> = document.entries(DEFAULT).collect();
    let value = |key: &str| own.get(key).or_else(|| inherited.get(key)).copied();
    let password = value("password").unwrap_or_default();
    // A missing list is not an empty one: nothing grants everything silently.
    let access =
        value("access").ok_or("it has no `access`; write `access = []` for full access")?;
    let deny = value("deny").unwrap_or_default();
    let stamp = value("stamp").unwrap_or_default();
    let rights = Rights::new(rules("access", access)?, rules("deny", deny)?);
    Ok(User {
        rights: Arc::new(rights.map_err(|error| error.to_string())?),
        password: Stored::parse(password),
        fingerprint: fingerprint(&[name.as_str(), password, access, deny, stamp]),
        name,
    })
}

fn rules(key: &str, text: &str) -> Result<Vec<Rule>, String> {
    Rights::parse_list(text).map_err(|error| format!("`{key}`: {error}"))
}

/// A digest of texts that keeps them apart.
fn fingerprint(texts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        digest.update(text);
    }
    digest.finalize().into()
}
