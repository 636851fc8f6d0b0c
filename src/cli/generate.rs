//! `barmanapi generate`: manual pages and completions, from the definition of the command line.

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

use super::{Cli, drop_in};

/// Writes `man/*.1` and a folder for each shell, of the program under both of its names.
///
/// # Errors
/// When a folder or a file can't be written.
pub(super) fn run(folder: &Path) -> anyhow::Result<()> {
    let made = |name: &str| {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        anyhow::Ok(folder)
    };
    for mut command in [Cli::command(), drop_in::Cli::command()] {
        // `disable_help_subcommand`: a page that says "print this message" is of no use.
        let pages = command.clone().disable_help_subcommand(true);
        clap_mangen::generate_to(pages, made("man")?)
            .context("the manual pages can't be written")?;
        let name = command.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            generate_to(shell, &mut command, &name, made(&shell.to_string())?)
                .with_context(|| format!("the completions for {shell} can't be written"))?;
        }
    }
    Ok(())
}
