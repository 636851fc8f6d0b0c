//! What is running: jobs with a ticket, and short runs without one.
//!
//! A job is recorded, handed to a supervisor process of its own, and followed from its folder in
//! the store. A short run belongs to the request that waits for it. Who may start what is decided
//! before either begins.

pub mod direct;
mod end;
pub mod far;
mod place;
pub mod reconcile;
pub mod rotate;
pub mod submit;
pub mod supervise;
pub mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::live::Live;
use crate::runner::warm::Warm;
use crate::store::Store;
use crate::store::garbage::Garbage;

/// Short runs that go on at once; each holds one thread. Others wait for their turn.
const DIRECT_RUNS: usize = 8;

/// How long the end of the Barman that is kept warm is waited for.
const ENDING: Duration = Duration::from_secs(1);

/// The limits that hold for all jobs.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Jobs that run at once.
    pub max_jobs: u32,
    /// Jobs that may wait.
    pub queue: u32,
    /// Bytes kept of each output.
    pub output_limit: u64,
    /// How long a request waits for its command before it gets a ticket.
    pub sync_timeout: Duration,
    /// The file of users, for supervisors that look a right up again.
    pub users: PathBuf,
    /// Closed months of history that are kept; 0 keeps all.
    pub keep_months: u32,
    /// Whether short runs come from a Barman that is kept warm.
    pub warm: bool,
}

/// The engine that runs things.
#[derive(Debug, Clone)]
pub struct Jobs {
    store: Store,
    garbage: Garbage,
    limits: Arc<Live<Limits>>,
    direct: Arc<Semaphore>,
    warm: Warm,
}

impl Jobs {
    /// An engine over a store; `warm` is for the short runs.
    #[must_use]
    pub fn new(store: Store, garbage: Garbage, limits: Limits, warm: Warm) -> Self {
        warm.switch(limits.warm);
        let direct = Arc::new(Semaphore::new(DIRECT_RUNS));
        Self {
            store,
            garbage,
            limits: Arc::new(Live::new(limits)),
            direct,
            warm,
        }
    }

    /// The store the jobs are recorded in.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.get()
    }

    /// Ends the Barman that is kept warm, and waits for that a moment.
    pub fn end_warm(&self) {
        self.warm.end(ENDING);
    }

    /// Puts other limits in force. Jobs that were accepted keep those they were accepted with.
    pub fn set_limits(&self, limits: Limits) {
        self.warm.switch(limits.warm);
        self.limits.set(limits);
    }
}
