//! barmanapi puts Barman, the backup manager for PostgreSQL, behind a token-authenticated REST API.
//!
//! The modules form rows: a module imports from rows below its own and never from its own row.
//! `share/doc/ARCHITECTURE.md` shows the rows and walks through the main requests.

// Row 9: the command line wires the parts.
pub mod cli;
// Row 8: HTTP, and the listener in front of it.
pub mod frontdoor;
pub mod web;
// Row 7: pg-backup-api's words.
pub mod pgbackupapi;
// Row 6: the door every command goes through.
pub mod configfile;
pub mod dispatch;
// Row 5: what is running; what Barman can do.
pub mod jobs;
pub mod refresh;
// Row 4: who is calling.
pub mod auth;
// Row 3: four independent parts.
pub mod catalogue;
pub mod policy;
pub mod runner;
pub mod store;
// Row 2: our own configuration.
pub mod settings;
// Row 1: lossless ini text.
pub mod inifile;
// Row 0: words, files, logs.
pub mod atomicfile;
pub mod audit;
pub mod blocking;
pub mod certificates;
pub mod clock;
pub mod destinations;
pub mod fresh;
pub mod live;
pub mod names;
pub mod output;
pub mod parameters;
pub mod redact;
pub mod telemetry;
pub mod visitors;

/// glibc's own keeps what many clients have taken, in an arena a thread.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
