//! `barmanapi token`: a token for a user, made by the operator on the host.

use std::io::{self, Write};

use anyhow::Context;
use clap::Args;

use super::user::AuthContext;
use crate::auth::token_for;
use crate::names::UserName;

/// Print a token for a user
///
/// The token goes to standard output, alone on its line. It dies like any other: when its time is
/// up, or the user changes, logs out or is removed.
#[derive(Debug, Args)]
pub(super) struct TokenCommand {
    /// The user
    #[arg(value_name = "NAME")]
    pub name: UserName,
}

/// Prints a token.
///
/// # Errors
/// When there is no such user, or the users file can't be read.
pub(super) fn run(command: &TokenCommand, context: &AuthContext) -> anyhow::Result<()> {
    write(command, context, &mut io::stdout().lock())
}

fn write(command: &TokenCommand, context: &AuthContext, out: &mut dyn Write) -> anyhow::Result<()> {
    let file = context.users.path().display();
    let issued = token_for(&context.users, &context.tokens, &command.name)
        .with_context(|| format!("no token from the users in {file}"))?;
    writeln!(out, "{}", issued.token)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::user::tests::context;

    #[test]
    fn a_token_stands_alone_on_its_line_and_a_missing_user_gets_none() {
        let (_dir, context) = context("[op]\naccess = ['barman']\n");
        let ask = |name: &str| {
            let name = UserName::parse(name).unwrap();
            let mut out = Vec::new();
            write(&TokenCommand { name }, &context, &mut out)
                .map(|()| String::from_utf8(out).unwrap())
        };
        let out = ask("op").unwrap();
        assert_eq!((out.lines().count(), out.trim().split('.').count()), (1, 3));
        let error = format!("{:#}", ask("none").unwrap_err());
        assert!(
            error.contains("client.conf") && error.contains("does not exist"),
            "{error}"
        );
    }
}
