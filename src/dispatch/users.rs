//! Users over HTTP: who may change whom.
//!
//! Whoever has the right to a route grants and takes away no more than the caller's own rights
//! hold; that is decided under the lock of the users file. Everybody may have another password for
//! the old one, unless that is denied.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::outcome::RefusalKind;
use super::{CallContext, Dispatch, Refusal, Reply, nothing_left, trail};
use crate::audit::Entry;
use crate::auth::{Auth, AuthError, AuthKind, Authority, Caller, User};
use crate::names::{Scope, UserName};
use crate::parameters::{Parameters, Value as Parameter};
use crate::policy::{Rights, Rule};

/// The path of the right to change others.
const CHANGE: &str = "auth/user/change";

/// A user's name and new lists, as a request has them.
#[derive(Debug)]
struct Wish {
    user: UserName,
    password: Option<String>,
    old_password: Option<String>,
    access: Option<Vec<Rule>>,
    deny: Option<Vec<Rule>>,
}

impl Wish {
    /// Reads what is wanted, and says in the audit log's entry whom and what it is about as soon as
    /// that is known.
    fn read(
        entry: &mut Entry,
        mut parameters: Parameters,
        words: &[&str],
    ) -> Result<Self, Refusal> {
        let mut text = |word: &str| {
            if !words.contains(&word) {
                return Ok(None);
            }
            match parameters.take(word)? {
                None => Ok(None),
                Some(Parameter::Text(text)) => Ok(Some(text)),
                // No number either: 007 and 1e3 have more than one spelling.
                Some(_) => Err(Refusal::invalid(format!("parameter {word} takes a text"))),
            }
        };
        let user = text("username")?.ok_or_else(|| missing("username"))?;
        let user = UserName::parse(&user)
            .map_err(|error| Refusal::invalid(format!("parameter username: {error}")))?;
        entry.subject = Some(user.to_string());
        let (password, old_password) = (text("password")?, text("old_password")?);
        let mut rules = |word: &str| {
            if words.contains(&word) {
                rules(&mut parameters, word)
            } else {
                Ok(None)
            }
        };
        let (access, deny) = (rules("access")?, rules("deny")?);
        nothing_left(&parameters)?;
        let wish = Self {
            user,
            password,
            old_password,
            access,
            deny,
        };
        let fields = wish.fields();
        entry.outcome = (!fields.is_empty()).then_some(fields);
        Ok(wish)
    }

    /// What shall be other than it is, for the audit log.
    fn fields(&self) -> String {
        let fields = [
            ("password", self.password.is_some()),
            ("access", self.access.is_some()),
            ("deny", self.deny.is_some()),
        ];
        let named: Vec<_> = fields
            .iter()
            .filter(|(_, is)| *is)
            .map(|(name, _)| *name)
            .collect();
        named.join(", ")
    }
}

/// What is wanted of the users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserTask {
    /// All of them, and what they may do.
    List,
    /// One more. Lists that are not given are the caller's own.
    Add,
    /// Another password or other lists for one of them.
    Change,
    /// One less.
    Remove,
}

impl Dispatch {
    /// Lists, adds, changes or removes users.
    ///
    /// # Errors
    /// When a parameter is wrong, the right is missing, there is no such user, or one is there
    /// already, somebody has or would have rights beyond those of the caller, nobody with full
    /// access would be left, or the users file can't be read or written.
    pub async fn users(
        &self,
        task: UserTask,
        caller: &Caller,
        context: CallContext,
        parameters: Parameters,
    ) -> Result<Reply, Refusal> {
        let event = match task {
            UserTask::List => return self.list_users(),
            UserTask::Add => "user_add",
            UserTask::Change => "user_change",
            UserTask::Remove => "user_remove",
        };
        let mut entry = trail::entry(event, caller, &context);
        let done = if task == UserTask::Add {
            self.add_user(caller, &mut entry, parameters).await
        } else if task == UserTask::Change {
            self.change_user(caller, &mut entry, parameters).await
        } else {
            self.remove_user(caller, &mut entry, parameters).await
        };
        self.note_refusal(entry, done.as_ref().err()).await;
        done
    }

    fn list_users(&self) -> Result<Reply, Refusal> {
        let listing = self.auth.users().listing().map_err(AuthError::from)?;
        if let Some(error) = listing.broken {
            let words = "the users file is not ini text; mend it by hand, the log has the line";
            return Err(Refusal::caused(RefusalKind::Internal, words, error));
        }
        let users = listing.users.iter();
        let list: serde_json::Map<String, Value> = users
            .map(|(name, user)| (name.clone(), lists(&user.rights)))
            .collect();
        let mut body = super::envelope(&list.into());
        if !listing.faults.is_empty()
            && let Some(body) = body.as_object_mut()
        {
            let faults = listing.faults.iter().cloned().collect::<HashMap<_, _>>();
            body.insert("faults".into(), json!(faults));
        }
        Ok(Reply::ok(body))
    }

    async fn add_user(
        &self,
        caller: &Caller,
        entry: &mut Entry,
        parameters: Parameters,
    ) -> Result<Reply, Refusal> {
        let wish = Wish::read(
            entry,
            parameters,
            &["username", "password", "access", "deny"],
        )?;
        let password = wish.password.clone().ok_or_else(|| missing("password"))?;
        let own = |rules: &[Rule]| rules.to_vec();
        let access = wish
            .access
            .clone()
            .unwrap_or_else(|| own(caller.rights.access()));
        let deny = wish
            .deny
            .clone()
            .unwrap_or_else(|| own(caller.rights.deny()));
        let authority = self.authority(caller)?;
        let adding = self
            .auth
            .add_user(wish.user.clone(), &password, access, deny, authority);
        let user = wish.user.clone();
        self.on_record(entry, adding).await?;
        Ok(now(&self.auth, &user, &format!("added user {user}")))
    }

    async fn change_user(
        &self,
        caller: &Caller,
        entry: &mut Entry,
        parameters: Parameters,
    ) -> Result<Reply, Refusal> {
        let words = ["username", "password", "old_password", "access", "deny"];
        let wish = Wish::read(entry, parameters, &words)?;
        if wish.fields().is_empty() {
            return Err(Refusal::invalid(
                "nothing to change: give password, access or deny",
            ));
        }
        let is_own = wish.user == caller.user;
        if !is_own && wish.old_password.is_some() {
            let words = "old_password is for your own password; leave it out";
            return Err(Refusal::invalid(words));
        }
        let only_password = wish.access.is_none() && wish.deny.is_none();
        if !may_change(caller, is_own && only_password) {
            let rest = if may_change(caller, true) {
                "; without it you may change your own password and nothing else"
            } else {
                ""
            };
            return Err(Refusal::forbidden_path(CHANGE, rest));
        }
        let changing = async {
            if is_own && wish.password.is_some() {
                knows_password(&self.auth, caller, wish.old_password.as_deref()).await?;
            }
            let authority = self.authority(caller)?;
            let password = wish.password.as_deref();
            let (access, deny) = (wish.access.clone(), wish.deny.clone());
            let changed =
                self.auth
                    .change_user(wish.user.clone(), password, access, deny, authority);
            Ok::<_, Refusal>(changed.await?)
        };
        self.on_record(entry, changing).await?;
        let user = &wish.user;
        let words = format!("changed user {user}; tokens of before have ended");
        Ok(now(&self.auth, user, &words))
    }

    async fn remove_user(
        &self,
        caller: &Caller,
        entry: &mut Entry,
        parameters: Parameters,
    ) -> Result<Reply, Refusal> {
        let wish = Wish::read(entry, parameters, &["username"])?;
        let removing = self
            .auth
            .remove_user(wish.user.clone(), self.authority(caller)?);
        self.on_record(entry, removing).await?;
        let message = format!("removed user {}; its tokens have ended", wish.user);
        Ok(Reply::ok(
            json!({"status_code": 200, "message": message, "list": []}),
        ))
    }

    /// Does something to a user once it is on record that it is wanted.
    async fn on_record<E: Into<Refusal>>(
        &self,
        entry: &Entry,
        work: impl Future<Output = Result<(), E>>,
    ) -> Result<(), Refusal> {
        self.record(entry.clone()).await?;
        work.await.map_err(Into::into)
    }

    /// The word of a caller, who may not name a command by another name to get around a rule.
    fn authority(&self, caller: &Caller) -> Result<Authority, Refusal> {
        let mut aliases = HashMap::new();
        let models = self.traits.of_models().into_iter();
        let written_out = models.map(|name| format!("barman/{name}")).collect();
        if !caller.rights.is_full() {
            let catalogue = self.catalogue()?;
            for command in &catalogue.commands {
                let path = command.name.path();
                for name in self.traits.names(command, &catalogue) {
                    let other = name.path();
                    if other != path {
                        aliases.insert(other, path.clone());
                    }
                }
            }
        }
        Ok(Authority::User {
            name: caller.user.clone(),
            aliases: Arc::new(aliases),
            written_out: Arc::new(written_out),
        })
    }
}

/// Whether a caller may change users at all, or the own password.
fn may_change(caller: &Caller, own_password: bool) -> bool {
    let allows = |rights: &Rights| rights.allows(&[CHANGE], &Scope::Global);
    allows(&caller.rights)
        || own_password
            && Rights::new(Vec::new(), caller.rights.deny().to_vec())
                .is_ok_and(|rights| allows(&rights))
}

/// Who has a token only does not have the account: another password is given for the old one.
async fn knows_password(auth: &Auth, caller: &Caller, old: Option<&str>) -> Result<(), Refusal> {
    match (old, caller.kind) {
        (None, AuthKind::Basic) => Ok(()),
        (None, AuthKind::Token | AuthKind::Certificate | AuthKind::Local) => Err(Refusal::invalid(
            "your own password is changed for the old one: give old_password",
        )),
        (Some(old), _) => match auth.basic(caller.user.as_str(), old, caller.from).await {
            Ok(_) => Ok(()),
            Err(AuthError::Unauthorized) => Err(Refusal::new(
                RefusalKind::Forbidden,
                "old_password is not your password",
            )),
            Err(error) => Err(error.into()),
        },
    }
}

/// What a user may do after a change.
fn now(auth: &Auth, user: &UserName, message: &str) -> Reply {
    let found = auth.users().find(user).ok().flatten();
    let list = found.map_or(Value::Null, |user: Arc<User>| lists(&user.rights));
    Reply::ok(json!({"status_code": 200, "message": message, "list": list}))
}

fn lists(rights: &Rights) -> Value {
    json!({"access": rights.access(), "deny": rights.deny()})
}

fn missing(word: &str) -> Refusal {
    Refusal::invalid(format!("parameter {word} is missing"))
}

/// Takes out a list of rules: an array, or the text of one.
fn rules(parameters: &mut Parameters, word: &str) -> Result<Option<Vec<Rule>>, Refusal> {
    let parsed = match parameters.take(word)? {
        None => return Ok(None),
        Some(Parameter::Text(text)) if text.trim().is_empty() && word == "access" => {
            return Err(Refusal::invalid(
                "access names no rule, which would allow everything; write [] if that is meant",
            ));
        }
        Some(Parameter::Text(text)) => Rights::parse_list(&text),
        Some(Parameter::List(texts)) => texts.iter().map(|text| Rule::parse(text)).collect(),
        Some(Parameter::Number(_) | Parameter::Bool(_)) => {
            return Err(Refusal::invalid(format!(
                "parameter {word} takes a list of rules"
            )));
        }
    };
    parsed
        .map(Some)
        .map_err(|error| Refusal::invalid(format!("parameter {word}: {error}")))
}
