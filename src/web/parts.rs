//! What HTTP needs of the parts below, named as traits so that tests can play them.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::audit::Entry;
use crate::auth::{Auth, AuthError, AuthKind, Caller, IssuedToken};
use crate::configfile::{Answer, ConfigError, ConfigFiles, OwnFile, Request};
use crate::dispatch::{CallContext, Dispatch, Refusal, Reply, UserTask};
use crate::names::{CommandName, UserName};
use crate::parameters::Parameters;
use crate::pgbackupapi;

/// Tells who is calling.
#[async_trait]
pub trait Identify: Send + Sync {
    /// Issues a token for a name and a password.
    ///
    /// # Errors
    /// See [`AuthError`].
    async fn login(
        &self,
        name: &str,
        password: &str,
        from: IpAddr,
    ) -> Result<IssuedToken, AuthError>;

    /// Checks a name and a password.
    ///
    /// # Errors
    /// See [`AuthError`].
    async fn basic(&self, name: &str, password: &str, from: IpAddr) -> Result<Caller, AuthError>;

    /// Checks a token.
    ///
    /// # Errors
    /// See [`AuthError`].
    fn verify(&self, token: &str, from: IpAddr) -> Result<Caller, AuthError>;

    /// Recognises a caller whose name somebody else stands up for.
    ///
    /// # Errors
    /// See [`AuthError`].
    fn vouched(&self, name: &UserName, from: IpAddr, kind: AuthKind) -> Result<Caller, AuthError>;

    /// Ends every token of a caller.
    ///
    /// # Errors
    /// See [`AuthError`].
    async fn logout(&self, caller: &Caller) -> Result<(), AuthError>;
}

/// Takes a request of a known caller further.
#[async_trait]
pub trait Door: Send + Sync {
    /// Every command that there is.
    ///
    /// # Errors
    /// When the door refuses it; see [`Refusal`].
    async fn help(&self, caller: &Caller) -> Result<Reply, Refusal>;

    /// One command.
    ///
    /// # Errors
    /// When the door refuses it; see [`Refusal`].
    async fn command_help(&self, caller: &Caller, command: &CommandName) -> Result<Reply, Refusal>;

    /// Reads the catalogue anew.
    ///
    /// # Errors
    /// When the door refuses it; see [`Refusal`].
    async fn reload(&self, caller: &Caller, context: CallContext) -> Result<Reply, Refusal>;

    /// Runs a command.
    ///
    /// # Errors
    /// When the door refuses it; see [`Refusal`].
    async fn run(
        &self,
        caller: &Caller,
        command: &CommandName,
        context: CallContext,
        parameters: Parameters,
    ) -> Result<Reply, Refusal>;

    /// Lists tickets.
    ///
    /// # Errors
    /// When the door refuses it; see [`Refusal`].
    async fn history_list(&self, caller: &Caller, given: Parameters) -> Result<Reply, Refusal>;

    /// The result of a ticket.
    ///
    /// # Errors
    /// When the door refuses it; see [`Refusal`].
    async fn history_result(&self, caller: &Caller, given: Parameters) -> Result<Reply, Refusal>;

    /// Stops a job.
    ///
    /// # Errors
    /// When the door refuses it; see [`Refusal`].
    async fn history_cancel(
        &self,
        caller: &Caller,
        context: CallContext,
        given: Parameters,
    ) -> Result<Reply, Refusal>;

    /// Lists or changes users.
    ///
    /// # Errors
    /// When the door refuses it; see [`Refusal`].
    async fn users(
        &self,
        task: UserTask,
        caller: &Caller,
        context: CallContext,
        given: Parameters,
    ) -> Result<Reply, Refusal>;

    /// Tells the audit log of something that happened outside the door.
    async fn note(&self, entry: Entry);

    /// Whether commands can run.
    ///
    /// # Errors
    /// The reasons why they can't.
    fn ready(&self) -> Result<(), Vec<String>>;
}

/// Takes a request in pg-backup-api's words further.
#[async_trait]
pub trait Operations: Send + Sync {
    /// Answers a request of a known caller.
    ///
    /// # Errors
    /// When it is refused; see [`Refusal`].
    async fn answer(
        &self,
        caller: &Caller,
        request: pgbackupapi::Request,
    ) -> Result<Reply, Refusal>;
}

#[async_trait]
impl Operations for pgbackupapi::Operations {
    async fn answer(
        &self,
        caller: &Caller,
        request: pgbackupapi::Request,
    ) -> Result<Reply, Refusal> {
        pgbackupapi::Operations::answer(self, caller, request).await
    }
}

/// Shows and changes a configuration: Barman's, or our own.
#[async_trait]
pub trait Configuration: Send + Sync {
    /// Answers a request of a caller who has the right to the route.
    ///
    /// # Errors
    /// See [`ConfigError`].
    async fn answer(&self, request: Request) -> Result<Answer, ConfigError>;
}

#[async_trait]
impl Configuration for Arc<ConfigFiles> {
    async fn answer(&self, request: Request) -> Result<Answer, ConfigError> {
        ConfigFiles::answer(self, request).await
    }
}

#[async_trait]
impl Configuration for Arc<OwnFile> {
    async fn answer(&self, request: Request) -> Result<Answer, ConfigError> {
        OwnFile::answer(self, request).await
    }
}

#[async_trait]
impl Identify for Auth {
    async fn login(
        &self,
        name: &str,
        password: &str,
        from: IpAddr,
    ) -> Result<IssuedToken, AuthError> {
        Auth::login(self, name, password, Some(from)).await
    }

    async fn basic(&self, name: &str, password: &str, from: IpAddr) -> Result<Caller, AuthError> {
        Auth::basic(self, name, password, Some(from)).await
    }

    fn verify(&self, token: &str, from: IpAddr) -> Result<Caller, AuthError> {
        Auth::verify(self, token, Some(from))
    }

    fn vouched(&self, name: &UserName, from: IpAddr, kind: AuthKind) -> Result<Caller, AuthError> {
        Auth::vouched(self, name, Some(from), kind)
    }

    async fn logout(&self, caller: &Caller) -> Result<(), AuthError> {
        Auth::logout(self, caller).await
    }
}

#[async_trait]
impl Door for Dispatch {
    async fn help(&self, caller: &Caller) -> Result<Reply, Refusal> {
        Dispatch::help(self, caller)
    }

    async fn command_help(&self, caller: &Caller, command: &CommandName) -> Result<Reply, Refusal> {
        Dispatch::command_help(self, caller, command)
    }

    async fn reload(&self, caller: &Caller, context: CallContext) -> Result<Reply, Refusal> {
        Dispatch::reload(self, caller, context).await
    }

    async fn run(
        &self,
        caller: &Caller,
        command: &CommandName,
        context: CallContext,
        parameters: Parameters,
    ) -> Result<Reply, Refusal> {
        Dispatch::run(self, caller, command, context, parameters).await
    }

    async fn history_list(&self, caller: &Caller, given: Parameters) -> Result<Reply, Refusal> {
        Dispatch::history_list(self, caller, given).await
    }

    async fn history_result(&self, caller: &Caller, given: Parameters) -> Result<Reply, Refusal> {
        Dispatch::history_result(self, caller, given).await
    }

    async fn history_cancel(
        &self,
        caller: &Caller,
        context: CallContext,
        given: Parameters,
    ) -> Result<Reply, Refusal> {
        Dispatch::history_cancel(self, caller, context, given).await
    }

    async fn users(
        &self,
        task: UserTask,
        caller: &Caller,
        context: CallContext,
        given: Parameters,
    ) -> Result<Reply, Refusal> {
        Dispatch::users(self, task, caller, context, given).await
    }

    async fn note(&self, entry: Entry) {
        Dispatch::note(self, entry).await;
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        Dispatch::ready(self)
    }
}
