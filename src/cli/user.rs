//! `barmanapi user`: who may use the API, kept in the users file.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args, Subcommand};

use crate::auth::{AuthSettings, Authority, Change, Secret, Tokens, Users, UsersError, password};
use crate::names::UserName;
use crate::policy::{Rights, Rule};

/// What the user and token commands work on.
#[derive(Debug)]
pub(super) struct AuthContext {
    /// The users file.
    pub(super) users: Users,
    /// Goes into password hashes.
    pub(super) pepper: Secret,
    /// Makes tokens.
    pub(super) tokens: Tokens,
}

impl AuthContext {
    /// The same parts that the server works with.
    ///
    /// # Errors
    /// When the secret can't sign.
    pub(super) fn new(settings: AuthSettings) -> anyhow::Result<Self> {
        Ok(Self {
            tokens: Tokens::new(&settings.secret, settings.algorithm, settings.token_life)?,
            users: Users::open(settings.users),
            pepper: settings.pepper,
        })
    }
}

/// Add, change, remove and list users
///
/// Changes count from the next request on; the server need not be told. Every change of a user ends
/// the tokens that were given out before.
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user; the password is asked for
    Add {
        /// The new user
        #[arg(value_name = "NAME")]
        name: UserName,
        /// What the user may do
        #[command(flatten)]
        rights: RightsToGive,
        /// The password
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Change what a user may do; a list that is not named stays
    Change {
        /// The user
        #[arg(value_name = "NAME")]
        name: UserName,
        /// What the user may do
        #[command(flatten)]
        rights: RightsToChange,
        /// Whether nobody with full access may be left
        #[command(flatten)]
        force: Force,
    },
    /// Give a user a new password
    Passwd {
        /// The user
        #[arg(value_name = "NAME")]
        name: UserName,
        /// The password
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Remove a user
    Remove {
        /// The user
        #[arg(value_name = "NAME")]
        name: UserName,
        /// Whether nobody with full access may be left
        #[command(flatten)]
        force: Force,
    },
    /// List users and what they may do
    List,
}

/// The rights of a new user; one of the two must be said.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("given").args(["full", "access"]).required(true))]
pub(super) struct RightsToGive {
    /// Allow everything (that --deny does not name)
    #[arg(long)]
    pub full: bool,
    /// Allow what these rules name, for example barman/list-*,barman/backup@main
    #[arg(long, value_name = "RULE,…")]
    pub access: Option<String>,
    /// Never allow what these rules name
    #[arg(long, value_name = "RULE,…")]
    pub deny: Option<String>,
}

/// The rights of a user to change; at least one must be said.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("changed").args(["full", "access", "deny"]).required(true).multiple(true))]
pub(super) struct RightsToChange {
    /// Allow everything; unless --deny is given, nothing is denied any more
    #[arg(long, conflicts_with = "access")]
    pub full: bool,
    /// Allow what these rules name and nothing else
    #[arg(long, value_name = "RULE,…")]
    pub access: Option<String>,
    /// Never allow what these rules name; '' takes all denials away
    #[arg(long, value_name = "RULE,…")]
    pub deny: Option<String>,
}

/// Where the password comes from; never from an argument, which every account could read.
#[derive(Debug, Args)]
pub(super) struct PasswordSource {
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
}

/// A way past the guard of the last user with full access.
#[derive(Debug, Args)]
pub(super) struct Force {
    /// Do it even when no user with full access is left
    #[arg(long)]
    pub force: bool,
}

impl Force {
    fn authority(&self) -> Authority {
        Authority::Operator { force: self.force }
    }
}

/// Does what the command says.
///
/// # Errors
/// When the change is refused or the users file can't be read or written; nothing is then changed.
pub(super) fn run(command: &UserCommand, context: &AuthContext) -> anyhow::Result<()> {
    Session {
        context,
        input: &mut io::stdin().lock(),
        out: &mut io::stdout().lock(),
        notes: &mut io::stderr().lock(),
    }
    .run(command)
}

/// A command with its streams.
struct Session<'a> {
    context: &'a AuthContext,
    input: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
    notes: &'a mut dyn Write,
}

impl Session<'_> {
    fn run(&mut self, command: &UserCommand) -> anyhow::Result<()> {
        let users = &self.context.users;
        let file = users.path().display().to_string();
        match command {
            UserCommand::Add {
                name,
                rights,
                password,
            } => {
                let access =
                    access_rules(rights.full, rights.access.as_deref())?.unwrap_or_default();
                let deny = rules("--deny", rights.deny.as_deref())?.unwrap_or_default();
                if self.knows(name)? {
                    bail!(UsersError::Exists(name.to_string()));
                }
                let hash = self.hash(name, password)?;
                users.add(
                    name,
                    &hash,
                    &access,
                    &deny,
                    &Authority::Operator { force: false },
                )?;
                let can = describe(&access, &deny);
                writeln!(self.out, "added user {name} to {file}: {can}")?;
            }
            UserCommand::Change {
                name,
                rights,
                force,
            } => {
                let access = access_rules(rights.full, rights.access.as_deref())?;
                let deny = rules("--deny", rights.deny.as_deref())?;
                let deny = deny.or(rights.full.then(Vec::new));
                let change = Change {
                    password: None,
                    access,
                    deny,
                };
                guarded(users.change(name, &change, &force.authority()), "change")?;
                let now = users.find(name)?;
                let can = now.map(|user| describe(user.rights.access(), user.rights.deny()));
                let can = can.unwrap_or_else(|| "its section can't be read".to_owned());
                writeln!(
                    self.out,
                    "changed user {name} in {file}: {can}; older tokens are void"
                )?;
            }
            UserCommand::Passwd { name, password } => {
                if !self.knows(name)? {
                    bail!(UsersError::Unknown(name.to_string()));
                }
                let hash = self.hash(name, password)?;
                let change = Change {
                    password: Some(hash),
                    ..Change::default()
                };
                users.change(name, &change, &Authority::Operator { force: true })?;
                writeln!(
                    self.out,
                    "changed the password of user {name} in {file}; older tokens are void"
                )?;
            }
            UserCommand::Remove { name, force } => {
                guarded(users.remove(name, &force.authority()), "remove")?;
                writeln!(
                    self.out,
                    "removed user {name} from {file}; its tokens are void"
                )?;
            }
            UserCommand::List => return self.list(),
        }
        self.note_owner();
        Ok(())
    }

    fn list(&mut self) -> anyhow::Result<()> {
        let listing = self.context.users.listing()?;
        let file = self.context.users.path().display();
        if let Some(error) = listing.broken {
            bail!("{file}, {error}; nobody can log in until it is mended by hand");
        }
        if listing.users.is_empty() {
            writeln!(
                self.notes,
                "no users in {file}; add one with `barmanapi user add`"
            )?;
        }
        let width = listing
            .users
            .keys()
            .map(String::len)
            .max()
            .unwrap_or_default();
        for (name, user) in &listing.users {
            let can = describe(user.rights.access(), user.rights.deny());
            writeln!(self.out, "{name:width$}  {can}")?;
        }
        for (name, fault) in &listing.faults {
            writeln!(self.notes, "{name:?} can't log in: {fault}")?;
        }
        Ok(())
    }

    /// Whether a user stands in the file, usable or not: asked before the password is.
    fn knows(&self, name: &UserName) -> Result<bool, UsersError> {
        match self.context.users.require(name) {
            Ok(_) | Err(UsersError::Faulty { .. }) => Ok(true),
            Err(UsersError::Unknown(_)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Asks for the new password, or reads it, and hashes it.
    fn hash(&mut self, name: &UserName, source: &PasswordSource) -> anyhow::Result<String> {
        let typed = if source.password_stdin {
            first_line(self.input)?
        } else {
            let typed = rpassword::prompt_password(format!("Password for {name}: "))
                .context("no terminal to ask for the password on; use --password-stdin")?;
            if rpassword::prompt_password("The same again: ")? != typed {
                bail!("the two passwords differ; nothing was changed");
            }
            typed
        };
        Ok(password::hash(&self.context.pepper, &typed)?)
    }

    /// Run by root, says so when the service could not use the file.
    fn note_owner(&mut self) {
        let path = self.context.users.path();
        let Ok(meta) = fs::metadata(path) else { return };
        if rustix::process::geteuid().is_root() && meta.uid() == 0 {
            let file = path.display();
            let note = "belongs to root; the account of the service must be able to read and write it and its directory";
            drop(writeln!(
                self.notes,
                "warning: {file} {note}, for example: chown barman: {file}"
            ));
        }
    }
}

/// The first line of a stream without its end.
fn first_line(input: &mut dyn BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    let most = u64::try_from(password::LONGEST * 2).unwrap_or(u64::MAX);
    input
        .take(most)
        .read_line(&mut line)
        .context("no password on standard input")?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// The rules of `--access`, none for `--full`, nothing when neither is given.
fn access_rules(full: bool, access: Option<&str>) -> anyhow::Result<Option<Vec<Rule>>> {
    if full {
        return Ok(Some(Vec::new()));
    }
    let access = rules("--access", access)?;
    if access.as_ref().is_some_and(Vec::is_empty) {
        bail!("--access names no rule, which would allow everything; say --full if that is meant");
    }
    Ok(access)
}

fn rules(option: &str, text: Option<&str>) -> anyhow::Result<Option<Vec<Rule>>> {
    let parse = |text| Rights::parse_list(text).with_context(|| format!("{option} {text:?}"));
    text.map(parse).transpose()
}

/// What a user may do, in words.
fn describe(access: &[Rule], deny: &[Rule]) -> String {
    let words = |rules: &[Rule]| {
        let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
        rules.join(",")
    };
    match (access.is_empty(), deny.is_empty()) {
        (true, true) => "may do everything".to_owned(),
        (true, false) => format!("may do everything but {}", words(deny)),
        (false, true) => format!("may do {}", words(access)),
        (false, false) => format!("may do {} but not {}", words(access), words(deny)),
    }
}

fn guarded(done: Result<(), UsersError>, what: &str) -> anyhow::Result<()> {
    match done {
        Err(error @ UsersError::LastFull(_)) => {
            Err(error).with_context(|| format!("to {what} it all the same, say --force"))
        }
        done => Ok(done?),
    }
}

#[cfg(test)]
pub(super) mod tests;
