//! The commands, on the real Barman and the real PostgreSQL of the lab.

mod backups;
mod fixture;
mod freshness;
mod questions;
mod restore;
mod secrets;
