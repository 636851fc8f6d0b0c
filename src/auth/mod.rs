//! Who is calling: users and their passwords, tokens, and the pace at which guesses are answered.
//!
//! What a caller may do stands in the rights that come with it; deciding is `policy`'s part.

mod check;
mod clock;
mod filestate;
mod hasher;
mod listing;
pub mod password;
pub mod secret;
mod throttle;
pub mod token;
mod users;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::task::spawn_blocking;

pub use check::check_users;
pub use clock::{Clock, SystemClock};
pub use listing::{Listing, User, UsersError};
pub use secret::{Secret, SecretError};
pub use token::{IssuedToken, Tokens};
pub use users::{Authority, Change, Users};

use crate::names::UserName;
use crate::policy::{Rights, Rule};
use crate::settings::Algorithm;
use hasher::Hasher;
use password::{HashError, Verdict};
use throttle::Throttle;

/// A failed login is answered this long after it came, or later.
const FLOOR: Duration = Duration::from_secs(1);

/// How often a login is tried anew because the user changed under it.
const ATTEMPTS: usize = 3;

/// What the module is built from.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// The users file.
    pub users: PathBuf,
    /// Goes into every password hash; when it changes, no password is right any more.
    pub pepper: Secret,
    /// Signs the tokens; when it changes, no token is right any more.
    pub secret: Secret,
    /// The one algorithm of the tokens.
    pub algorithm: Algorithm,
    /// How long a token lives.
    pub token_life: Duration,
}

/// How a caller was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthKind {
    /// By a token.
    Token,
    /// By name and password.
    Basic,
    /// By a client certificate.
    Certificate,
    /// By nothing but the port on this host that the request came to.
    Local,
}

impl AuthKind {
    /// The word of the audit log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Basic => "basic",
            Self::Certificate => "certificate",
            Self::Local => "local",
        }
    }
}

/// Who is calling.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user.
    pub user: UserName,
    /// What the user may do, as the users file had it when the request came.
    pub rights: Arc<Rights>,
    /// The address of the client.
    pub from: Option<IpAddr>,
    /// How the caller was recognised.
    pub kind: AuthKind,
}

/// Why somebody is not let in, or a change to the users is not made.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No, wrong, expired or revoked credentials: one text for all causes.
    #[error("authentication failed")]
    Unauthorized,
    /// Too many failed logins, or too many logins at once.
    #[error("too many logins; try again in {retry_after} s")]
    TooMany {
        /// Seconds to wait.
        retry_after: u64,
    },
    /// A password that can't be one.
    #[error(transparent)]
    Password(HashError),
    /// A change that is refused: for its name or its rules, or to keep a user with full access.
    #[error(transparent)]
    Refused(UsersError),
    /// The users file can't be used, or the machine has no memory or threads left.
    #[error("users can't be checked: {0}")]
    Storage(#[source] io::Error),
}

impl From<UsersError> for AuthError {
    fn from(error: UsersError) -> Self {
        match error {
            UsersError::Unknown(_)
            | UsersError::Exists(_)
            | UsersError::Reserved(_)
            | UsersError::UpperCase(_)
            | UsersError::Faulty { .. }
            | UsersError::Beyond(_)
            | UsersError::LastFull(_) => Self::Refused(error),
            UsersError::Io { .. } | UsersError::Unreadable { .. } | UsersError::Edit { .. } => {
                Self::Storage(io::Error::other(error))
            }
        }
    }
}

impl From<HashError> for AuthError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::TooMany { retry_after: 1 },
            HashError::Password => Self::Password(error),
            HashError::Failed(_) => Self::Storage(io::Error::other(error)),
        }
    }
}

/// Lets callers in.
pub struct Auth {
    users: Arc<Users>,
    tokens: Tokens,
    hasher: Hasher,
    throttle: Throttle,
    clock: Arc<dyn Clock>,
    floor: Duration,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("users", &self.users.path())
            .finish_non_exhaustive()
    }
}

impl Auth {
    /// Starts the hashing threads. The users file is read when the first caller comes.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn new(settings: AuthSettings) -> Result<Self, AuthError> {
        Self::with_clock(settings, Arc::new(SystemClock::default()), FLOOR)
    }

    /// As [`Auth::new`], with a clock and a floor under the time of a failed login.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn with_clock(
        settings: AuthSettings,
        clock: Arc<dyn Clock>,
        floor: Duration,
    ) -> Result<Self, AuthError> {
        let AuthSettings {
            users,
            pepper,
            secret,
            algorithm,
            token_life,
        } = settings;
        let tokens = Tokens::new(&secret, algorithm, token_life);
        Ok(Self {
            users: Arc::new(Users::open(users)),
            tokens: tokens.map_err(|error| AuthError::Storage(io::Error::other(error)))?,
            hasher: Hasher::new(pepper).map_err(AuthError::Storage)?,
            throttle: Throttle::default(),
            clock,
            floor,
        })
    }

    /// The users file.
    #[must_use]
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// Gives tokens another life, those too that were given before: none is good for longer than
    /// this. One that has expired stays so, however long the new life is.
    pub fn set_token_life(&self, life: Duration) {
        self.tokens.set_life(life, self.clock.unix());
    }

    /// How many passwords have been hashed since the start, right, wrong and nobody's.
    #[must_use]
    pub fn hashes(&self) -> u64 {
        self.hasher.runs()
    }

    /// Gives a token for a name and a password.
    ///
    /// # Errors
    /// As [`Auth::basic`].
    pub async fn login(
        &self,
        name: &str,
        password: &str,
        from: Option<IpAddr>,
    ) -> Result<IssuedToken, AuthError> {
        let user = self.authenticate(name, password, from).await?;
        issue(&self.tokens, &user, self.clock.unix())
    }

    /// Recognises a caller by name and password.
    ///
    /// # Errors
    /// [`AuthError::Unauthorized`] for every wrong pair, alike and not before a second has passed;
    /// [`AuthError::TooMany`] after too many of them or while too many are being checked.
    pub async fn basic(
        &self,
        name: &str,
        password: &str,
        from: Option<IpAddr>,
    ) -> Result<Caller, AuthError> {
        let user = self.authenticate(name, password, from).await?;
        Ok(caller(&user, from, AuthKind::Basic))
    }

    /// Recognises a caller by a token. Costs a look at the users file and two HMACs.
    ///
    /// # Errors
    /// [`AuthError::Unauthorized`] for every token that is not right now.
    pub fn verify(&self, token: &str, from: Option<IpAddr>) -> Result<Caller, AuthError> {
        let accepted = self
            .tokens
            .accept(token, self.clock.unix())
            .map_err(|refusal| {
                tracing::info!(from = from.map(tracing::field::display), reason = %refusal, "a token was refused");
                AuthError::Unauthorized
            })?;
        let listing = self.users.listing()?;
        let user = listing.users.get(accepted.user.as_str());
        let user = user.filter(|user| {
            let stamp = self.tokens.stamp(&user.fingerprint);
            stamp.as_bytes().ct_eq(accepted.stamp.as_bytes()).into()
        });
        let Some(user) = user else {
            let trouble = listing.trouble(accepted.user.as_str());
            let reason = trouble
                .as_deref()
                .unwrap_or("its user was removed, changed or logged out");
            tracing::info!(from = from.map(tracing::field::display), user = %accepted.user, reason, "a token was refused");
            return Err(AuthError::Unauthorized);
        };
        Ok(caller(user, from, AuthKind::Token))
    }

    /// Recognises a caller whose name somebody else stands up for: the CA of a client certificate, or
    /// our own configuration.
    ///
    /// # Errors
    /// [`AuthError::Unauthorized`] when there is no such user.
    pub fn vouched(
        &self,
        name: &UserName,
        from: Option<IpAddr>,
        kind: AuthKind,
    ) -> Result<Caller, AuthError> {
        let Some(user) = self.users.find(name)? else {
            tracing::info!(from = from.map(tracing::field::display), user = %name, ?kind, "there is no such user");
            return Err(AuthError::Unauthorized);
        };
        Ok(caller(&user, from, kind))
    }

    /// Ends all tokens of the caller's user.
    ///
    /// # Errors
    /// When the user is gone or the users file can't be written.
    pub async fn logout(&self, caller: &Caller) -> Result<(), AuthError> {
        let name = caller.user.clone();
        self.edit(move |users| users.log_out(&name)).await
    }

    /// Adds a user; an empty `access` allows everything.
    ///
    /// # Errors
    /// When the name is taken, the password can't be one, the authority does not reach so far, or
    /// the file can't be written.
    pub async fn add_user(
        &self,
        name: UserName,
        password: &str,
        access: Vec<Rule>,
        deny: Vec<Rule>,
        authority: Authority,
    ) -> Result<(), AuthError> {
        let hash = self.hasher.hash(password).await?;
        self.edit(move |users| users.add(&name, &hash, &access, &deny, &authority))
            .await
    }

    /// Changes a user's password (as it is typed) and lists; what is `None` stays.
    ///
    /// # Errors
    /// When there is no such user, the password can't be one, the authority does not reach so far,
    /// or the file can't be written.
    pub async fn change_user(
        &self,
        name: UserName,
        password: Option<&str>,
        access: Option<Vec<Rule>>,
        deny: Option<Vec<Rule>>,
        authority: Authority,
    ) -> Result<(), AuthError> {
        let password = match password {
            Some(password) => Some(self.hasher.hash(password).await?),
            None => None,
        };
        let change = Change {
            password,
            access,
            deny,
        };
        self.edit(move |users| users.change(&name, &change, &authority))
            .await
    }

    /// Removes a user.
    ///
    /// # Errors
    /// When there is no such user, the authority does not reach so far, or the file can't be
    /// written.
    pub async fn remove_user(&self, name: UserName, authority: Authority) -> Result<(), AuthError> {
        self.edit(move |users| users.remove(&name, &authority))
            .await
    }

    async fn authenticate(
        &self,
        name: &str,
        password: &str,
        from: Option<IpAddr>,
    ) -> Result<Arc<User>, AuthError> {
        let floor = tokio::time::Instant::now() + self.floor;
        // What is no user name is not kept or logged: it may be a password typed in the wrong place.
        let name = UserName::parse(name).ok();
        let label = name.as_ref().map_or("", UserName::as_str).to_owned();
        if let Some(retry_after) = self.throttle.wait(&label, from, self.clock.elapsed()) {
            tracing::warn!(user = %label, from = from.map(tracing::field::display), retry_after, "a login came too soon after failed ones");
            return Err(AuthError::TooMany { retry_after });
        }
        let outcome = self.check(name.as_ref(), password).await;
        if matches!(outcome, Err(AuthError::Unauthorized)) {
            self.throttle.failed(&label, from, self.clock.elapsed());
            let reason = name.and_then(|name| self.users.listing().ok()?.trouble(name.as_str()));
            tracing::warn!(user = %label, from = from.map(tracing::field::display), reason, "a login failed");
            tokio::time::sleep_until(floor).await;
        }
        outcome
    }

    /// One run of the hasher, whoever is named and whatever is stored.
    async fn check(&self, name: Option<&UserName>, password: &str) -> Result<Arc<User>, AuthError> {
        for _ in 0..ATTEMPTS {
            let user = match name {
                Some(name) => self.users.find(name)?,
                None => None,
            };
            let stored = user.as_ref().map(|user| user.password.clone());
            let verdict = self.hasher.check(stored, password).await?;
            match (verdict, user) {
                (Verdict::Right, Some(user)) => return Ok(user),
                (Verdict::Outdated(new), Some(user)) => {
                    let seen = Arc::clone(&user);
                    // Somebody else may have been first, with this password or another one.
                    self.edit(move |users| users.upgrade(&seen, &new)).await?;
                }
                (_, None) | (Verdict::Wrong, _) => break,
            }
        }
        Err(AuthError::Unauthorized)
    }

    /// Writes the users file on a thread that may block.
    async fn edit<T: Send + 'static>(
        &self,
        edit: impl FnOnce(&Users) -> Result<T, UsersError> + Send + 'static,
    ) -> Result<T, AuthError> {
        let users = Arc::clone(&self.users);
        let span = tracing::Span::current();
        let done = spawn_blocking(move || span.in_scope(|| edit(&users))).await;
        Ok(done.map_err(|error| AuthError::Storage(io::Error::other(error)))??)
    }
}

/// A token for a user without a password: for the operator on the host.
///
/// # Errors
/// When there is no such user, or the file or the user's section can't be read.
pub fn token_for(
    users: &Users,
    tokens: &Tokens,
    name: &UserName,
) -> Result<IssuedToken, AuthError> {
    let user = users.require(name)?;
    issue(tokens, &user, SystemClock::default().unix())
}

fn issue(tokens: &Tokens, user: &User, now: u64) -> Result<IssuedToken, AuthError> {
    let issued = tokens.issue(&user.name, &user.fingerprint, now);
    issued.map_err(|error| AuthError::Storage(io::Error::other(error)))
}

fn caller(user: &User, from: Option<IpAddr>, kind: AuthKind) -> Caller {
    Caller {
        user: user.name.clone(),
        rights: Arc::clone(&user.rights),
        from,
        kind,
    }
}

#[cfg(test)]
mod tests;
