//! A command that becomes a job at once, for other families of routes.
//!
//! Whoever asks for what runs already gets the ticket of that, and nothing new is started. The store
//! decides that under its lock, so it holds for all processes that share one.

use std::time::Instant;

use super::run::{Call, HandedIn};
use super::{CallContext, Dispatch, Outcome, Refusal, may, trail};
use crate::audit::Entry;
use crate::auth::Caller;
use crate::names::{CommandName, Scope, Ticket};
use crate::parameters::Parameters;

impl Dispatch {
    /// Whether a caller may run a command on these servers, whatever its parameters.
    ///
    /// # Errors
    /// When there is no catalogue yet.
    pub fn permits(
        &self,
        caller: &Caller,
        name: &CommandName,
        scope: &Scope,
    ) -> Result<bool, Refusal> {
        Ok(may(caller, &self.names_of(name)?, scope))
    }

    /// Every path that rules name a command by.
    ///
    /// # Errors
    /// When there is no catalogue yet.
    pub fn paths_of(&self, name: &CommandName) -> Result<Vec<String>, Refusal> {
        Ok(super::paths(&self.names_of(name)?))
    }

    fn names_of(&self, name: &CommandName) -> Result<Vec<CommandName>, Refusal> {
        let catalogue = self.catalogue()?;
        Ok(match self.traits.canonical(name, &catalogue) {
            Some(command) => self.traits.names(command, &catalogue),
            None => vec![name.clone()],
        })
    }

    /// Has a command run for a caller and returns the ticket: a new one or, where the same runs
    /// already and must not run twice, the ticket of that.
    ///
    /// # Errors
    /// When the caller, the command or its parameters don't pass, or nothing could be started.
    pub async fn begin(
        &self,
        caller: &Caller,
        name: &CommandName,
        context: CallContext,
        parameters: Parameters,
    ) -> Result<Ticket, Refusal> {
        let began = Instant::now();
        let mut entry = trail::entry("ran", caller, &context);
        entry.command = Some(name.to_string());
        let call = Call {
            caller,
            context: &context,
        };
        let handed_in = self
            .admit_and_begin(&call, name, parameters, &mut entry)
            .await;
        entry.status = Some(match &handed_in {
            // The line about its acceptance stands, and its supervisor writes one about its end.
            Ok(HandedIn::New(submitted)) => return Ok(submitted.ticket.clone()),
            Ok(HandedIn::Running(ticket)) => {
                entry.event = "joined";
                entry.ticket = Some(ticket.to_string());
                Outcome::Accepted.row().http
            }
            Err(refusal) => {
                entry.event = "refused";
                Outcome::Refused(refusal.kind).row().http
            }
        });
        entry.duration_ms = u64::try_from(began.elapsed().as_millis()).ok();
        self.note(entry).await;
        match handed_in? {
            HandedIn::New(submitted) => Ok(submitted.ticket),
            HandedIn::Running(ticket) => Ok(ticket),
        }
    }

    async fn admit_and_begin(
        &self,
        call: &Call<'_>,
        name: &CommandName,
        parameters: Parameters,
        entry: &mut Entry,
    ) -> Result<HandedIn, Refusal> {
        let admitted = self
            .admit(call.caller, name, call.context, parameters)
            .await?;
        entry.command = Some(admitted.invocation.command.to_string());
        entry.servers = trail::servers(&admitted.invocation.scope);
        self.hand_in(call, &admitted, entry).await
    }
}
