//! The command line: `barmanapi serve`, `status`, `reload`, `check-config`, `user …`, `token`, `pki …`;
//! and the shorter one of the second name, `pg-backup-api`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the part of the program that speaks to people"
)]

mod check_config;
mod configuration;
mod drop_in;
mod generate;
mod listen;
mod manager;
mod pki;
mod probe;
mod reload;
mod serve;
mod token;
mod user;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::auth::{AuthSettings, Secret};
use crate::settings::{self, Settings};
use crate::store::Store;

/// Barman, the backup manager for PostgreSQL, behind a token-authenticated REST API.
#[derive(Debug, Parser)]
#[command(name = "barmanapi", version, arg_required_else_help = true)]
struct Cli {
    /// The configuration file [default: $BARMANAPI_CONFIG, else /etc/barmanapi.conf].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests until SIGTERM.
    #[command(alias = "runserver")]
    Serve,
    /// Ask the running service whether it is well; prints OK.
    Status,
    /// Make the running services read their configuration and Barman's help again.
    Reload,
    /// Read the configuration and print every problem with file and line.
    CheckConfig,
    /// Add, change, list and remove users.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Print a token for a user.
    Token(token::TokenCommand),
    /// Write the manual pages and the completions for shells into a folder, for packages.
    #[command(hide = true)]
    Generate {
        /// The folder; it is made.
        folder: PathBuf,
    },
    /// Make certificates for TLS and for clients.
    #[command(subcommand)]
    Pki(pki::PkiCommand),
}

/// Runs the command line; the exit code is 0 when it did what was asked, 1 when not, 2 when it was
/// not understood, and as pg-backup-api has it under that name.
#[must_use]
pub fn run() -> ExitCode {
    if is_called(drop_in::NAME) {
        return drop_in::run(drop_in::Cli::parse());
    }
    let cli = Cli::parse();
    let config = config_path(cli.config);
    let done = match cli.command {
        Command::CheckConfig => return check_config::run(&config),
        Command::Serve => serve::run(&config, drop_in::Overrides::default()),
        Command::Status => probe::status(&config),
        Command::Reload => reload::run(&config),
        Command::Generate { folder } => generate::run(&folder),
        Command::Pki(command) => pki::run(&command),
        Command::User(command) => {
            context(&config).and_then(|context| user::run(&command, &context))
        }
        Command::Token(command) => {
            context(&config).and_then(|context| token::run(&command, &context))
        }
    };
    told("barmanapi", done)
}

/// Whether the program was started by this name.
fn is_called(name: &str) -> bool {
    let first = std::env::args_os().next().unwrap_or_default();
    Path::new(&first).file_name().is_some_and(|own| own == name)
}

fn told(name: &str, done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn config_path(given: Option<PathBuf>) -> PathBuf {
    let config = given
        .or_else(|| std::env::var_os("BARMANAPI_CONFIG").map(PathBuf::from))
        .unwrap_or_else(|| settings::DEFAULT_PATH.into());
    // A service that runs for long may be asked about it from anywhere. Only an empty path fails.
    std::path::absolute(&config).unwrap_or(config)
}

fn context(config: &Path) -> anyhow::Result<user::AuthContext> {
    let settings = settings::load(config)?;
    let store = Store::open(&settings.application.store_directory)
        .context("run this as the account that runs the service")?;
    user::AuthContext::new(auth_settings(&settings, &store)?)
}

/// What `auth` is built from; secrets that are not configured are generated once and kept in the store.
fn auth_settings(settings: &Settings, store: &Store) -> anyhow::Result<AuthSettings> {
    let kept = |name: &str| Secret::load_or_create(&store.config().join(name));
    let pepper = match &settings.user.secret {
        Some(secret) => Secret::plain(secret.expose()),
        None => kept("pepper")?,
    };
    let secret = match &settings.auth_token.secret {
        Some(secret) => Secret::strong(secret.expose()).context("[auth_token] secret")?,
        None => kept("secret")?,
    };
    Ok(AuthSettings {
        users: settings.user.config_file.clone(),
        pepper,
        secret,
        algorithm: settings.auth_token.algorithm,
        token_life: settings.auth_token.token_life,
    })
}
