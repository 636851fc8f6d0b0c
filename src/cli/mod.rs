//! The command line.

pub mod token;
pub mod user;
