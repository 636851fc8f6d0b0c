//! The contract, held through the real binary against the lab: a real PostgreSQL, a real Barman and
//! a real sshd; a scripted stand-in for Barman where the real one can't be made to misbehave.

mod layers;
mod rig;
