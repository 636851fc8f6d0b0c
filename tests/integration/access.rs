//! Who gets in, and what they may do then.

mod closed;
mod guesses;
mod logins;
mod refusals;
mod rights;
mod rules;
mod tenants;
mod tokens;
mod userfile;
mod users;

/// The status of `/auth/user` with this token.
fn status_with(server: &super::rig::Server, token: &str) -> u16 {
    server.with_token(token).get("/auth/user").status
}
