//! The contract, held through the real binary against the lab: a real PostgreSQL, a real Barman and
//! a real sshd; a scripted stand-in for Barman where the real one can't be made to misbehave.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::missing_panics_doc,
    reason = "a test that can't go on fails, and says so"
)]

mod access;
mod archive;
mod config;
mod config_parser;
mod frontdoor;
mod history;
mod host_files;
mod injection;
mod kill_minus_nine;
mod layers;
mod manpage;
mod own_config;
mod parser_score;
mod pg_backup_api;
mod real_barman;
mod remote;
mod rig;
mod running;
mod service;
mod ssh_runner;
mod transcript;
mod warm;
