//! The questions a command has to pass, in their order.

use std::sync::Arc;

use super::outcome::RefusalKind;
use super::{CallContext, Dispatch, Refusal, Rules, may, text_parameter};
use crate::auth::Caller;
use crate::blocking;
use crate::catalogue::argv::{self, Invocation, Restore};
use crate::catalogue::traits::CommandTraits;
use crate::names::{CommandName, Scope, ServerName};
use crate::parameters::{self, Parameters};
use crate::store::record::DataForm;

/// A command that passed every question.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) invocation: Invocation,
    pub(super) names: Vec<CommandName>,
    pub(super) traits: CommandTraits,
    pub(super) data: DataForm,
    /// Whether a ticket is wanted at once.
    pub(super) at_once: bool,
}

impl Dispatch {
    /// Asks every question in order.
    pub(super) async fn admit(
        &self,
        caller: &Caller,
        name: &CommandName,
        context: &CallContext,
        mut parameters: Parameters,
    ) -> Result<Admitted, Refusal> {
        let (catalogue, rules) = (self.catalogue()?, self.rules.get());
        let (command, names) = self.find(caller, name, &catalogue)?;
        let traits = self.traits.of(command).clone();
        let json = wants_json(&mut parameters)?;
        let wish = truth_parameter(&mut parameters, "async")?;
        let pairs: Vec<_> = parameters.into_iter().collect();
        // Whoever lacks the right to these servers learns nothing of paths and targets.
        if let Some(servers) = argv::named_servers(command, &self.traits, &pairs)?
            && !may(caller, &names, &servers)
        {
            return Err(Refusal::forbidden(&command.name.path()));
        }
        let mut invocation = if argv::looks_at_disk(command, &self.traits) {
            let (command, traits) = (command.clone(), Arc::clone(&self.traits));
            let rules = Arc::clone(&rules);
            let built =
                blocking::run(move || argv::build(&command, &traits, &pairs, &rules.places));
            built.await.map_err(Refusal::internal)??
        } else {
            argv::build(command, &self.traits, &pairs, &rules.places)?
        };
        if !may(caller, &names, &invocation.scope) {
            return Err(Refusal::forbidden(&command.name.path()));
        }
        if let Some(reason) = &invocation.requires_full
            && !caller.rights.is_full()
            && !(invocation.or_written_out
                && caller
                    .rights
                    .writes_out(&super::paths(&names), &invocation.scope))
        {
            let or = if invocation.or_written_out {
                let path = command.name.path();
                format!(", or one whose access names {path}@SERVER, with this server and no '*',")
            } else {
                String::new()
            };
            let words = format!("{reason}; only a user with full access{or} may do that");
            return Err(Refusal::new(RefusalKind::Forbidden, words));
        }
        self.check_servers(&invocation.scope).await?;
        if context.method_is_get && !traits.read_only && !rules.get_changes {
            let words = format!("{} changes state; send it as POST", command.name);
            return Err(Refusal::new(RefusalKind::MethodNotAllowed, words));
        }
        if traits.raw_stdout && json {
            let words = format!("{} prints bytes, not JSON; leave format out", command.name);
            return Err(Refusal::invalid(words));
        }
        if let (Some(restore), Scope::Servers(servers)) =
            (&mut invocation.restore, &invocation.scope)
            && let [server] = servers.as_slice()
        {
            self.keep_tablespaces(server, restore, &rules).await?;
        }
        let at_once = wish.unwrap_or_else(|| {
            context.prefer_async || names.iter().any(|n| rules.async_commands.contains(n))
        });
        let plain = traits.plain_with.iter().find(|option| {
            let flag = format!("--{option}");
            invocation
                .arguments
                .iter()
                .take_while(|word| *word != "--")
                .any(|word| *word == flag)
        });
        let command = command.name.as_str();
        tracing::debug!(command, at_once, "a command was admitted");
        let data = match (json, plain) {
            (false, _) => DataForm::Lines,
            (true, Some(option)) => DataForm::Text(option.clone()),
            (true, None) => DataForm::Json,
        };
        Ok(Admitted {
            invocation,
            names,
            traits,
            data,
            at_once,
        })
    }

    /// Checks where the tablespaces of a backup go that a restore leaves where they were.
    async fn keep_tablespaces(
        &self,
        server: &ServerName,
        restore: &mut Restore,
        rules: &Arc<Rules>,
    ) -> Result<(), Refusal> {
        let tablespaces = match self.tablespaces(server, restore).await {
            Ok(tablespaces) if tablespaces.is_empty() => return Ok(()),
            Ok(tablespaces) => tablespaces,
            Err(refusal) if rules.places.any_target => {
                tracing::warn!(
                    reason = refusal.message,
                    "tablespaces of a restore are not known"
                );
                return Ok(());
            }
            Err(refusal) => return Err(refusal),
        };
        let (mut kept, rules) = (restore.clone(), Arc::clone(rules));
        let looked = blocking::run(move || kept.keep(&tablespaces, &rules.places).map(|()| kept));
        *restore = looked.await.map_err(Refusal::internal)??;
        Ok(())
    }

    async fn check_servers(&self, scope: &Scope) -> Result<(), Refusal> {
        let Scope::Servers(wanted) = scope else {
            return Ok(());
        };
        let servers = self.refresh.servers(wanted).await?;
        match wanted.iter().find(|server| !servers.contains(server)) {
            None => Ok(()),
            Some(unknown) => {
                let words = format!("barman's configuration has no server {unknown}");
                Err(Refusal::new(RefusalKind::NotFound, words))
            }
        }
    }
}

fn truth_parameter(parameters: &mut Parameters, word: &str) -> Result<Option<bool>, Refusal> {
    let Some(value) = parameters.take(word)? else {
        return Ok(None);
    };
    match value {
        parameters::Value::Bool(truth) => Ok(Some(truth)),
        parameters::Value::Text(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
        parameters::Value::Text(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
        _ => Err(Refusal::invalid(format!(
            "parameter {word} takes true or false"
        ))),
    }
}

fn wants_json(parameters: &mut Parameters) -> Result<bool, Refusal> {
    match text_parameter(parameters, "format")?.as_deref() {
        None | Some("console") => Ok(false),
        Some("json") => Ok(true),
        Some(other) => Err(Refusal::invalid(format!(
            "format is {other:?}: expected json or console"
        ))),
    }
}
