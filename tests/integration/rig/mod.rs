//! What the tests stand on: the lab, sites with a server of their own, and the stand-in for Barman.

mod catalogue;
mod http;
mod lab;
mod operator;
mod postgres;
mod site;
mod sshd;
mod standin;

pub use http::{Answer, raw, spelled};
pub use lab::Lab;
pub use postgres::{ask_lab, ask_restored};
pub use site::{Barman, Server, Site, User};
pub use sshd::{Process, Sshd, processes};
pub use standin::{StandIn, argv};
