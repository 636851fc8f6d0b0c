//! A run of Barman, wherever it runs.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use super::ssh::Link;
use super::{Ending, Plan, StartError, Stop, environment, local, ssh, warm};

/// Where Barman runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// On this host.
    Here,
    /// On another one, reached over SSH.
    There(Link),
}

impl Host {
    /// Barman's environment, as far as it is decided here.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        match self {
            Self::Here => environment::clean(),
            Self::There(_) => environment::language(),
        }
    }

    /// The environment in which help text comes unwrapped, without colour and in English.
    #[must_use]
    pub fn help_environment(&self) -> Vec<(OsString, OsString)> {
        let mut environment = self.environment();
        environment.extend(environment::for_help());
        environment
    }
}

/// A running program and what is known about its end.
#[derive(Debug)]
pub enum Run {
    /// On this host.
    Here(local::Run),
    /// On another one.
    There(ssh::Run),
    /// Here or there, from a Barman that was started before.
    Warm(warm::Run),
}

impl Run {
    /// Starts a program that ends with whoever started it, and returns when it runs. The way to
    /// another host is given up after `limit`.
    ///
    /// # Errors
    /// When nothing could be started.
    pub fn start(host: &Host, plan: &Plan, limit: Duration) -> Result<Self, StartError> {
        match host {
            Host::Here => local::Run::start(plan).map(Self::Here),
            Host::There(link) => ssh::Run::start_within(link, plan, Some(limit)).map(Self::There),
        }
    }

    /// How long ago the program started.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match self {
            Self::Here(run) => run.elapsed(),
            Self::There(run) => run.elapsed(),
            Self::Warm(run) => run.elapsed(),
        }
    }

    /// Why the program is being stopped, once it is.
    #[must_use]
    pub fn stopped_by(&self) -> Option<Stop> {
        match self {
            Self::Here(run) => run.stopped_by(),
            Self::There(run) => run.stopped_by(),
            Self::Warm(run) => run.stopped_by(),
        }
    }

    /// Waits at most `limit` for the end; `None` when the program still runs.
    ///
    /// # Errors
    /// When nobody can say any more how the program ended.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<Ending>> {
        match self {
            Self::Here(run) => run.wait(limit),
            Self::There(run) => run.wait(limit),
            Self::Warm(run) => run.wait(limit),
        }
    }

    /// Begins to stop the program: SIGINT to its group now, SIGKILL after [`super::GRACE`]. A second
    /// call changes nothing.
    ///
    /// # Errors
    /// When the system refuses the signal.
    pub fn stop(&mut self, reason: Stop) -> io::Result<()> {
        match self {
            Self::Here(run) => run.stop(reason),
            Self::There(run) => run.stop(reason),
            Self::Warm(run) => run.stop(reason),
        }
    }
}
