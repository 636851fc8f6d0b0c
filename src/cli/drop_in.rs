//! `pg-backup-api`: the second name of the program, for whoever starts or asks pg-backup-api.
//!
//! Its commands, defaults, words and exit codes are those of pg-backup-api 2.2; what serves is
//! `barmanapi serve`. The commands by which pg-backup-api started its own jobs are not here.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{CommandFactory, Parser, Subcommand};

use super::{probe, serve};
use crate::settings::{self, Settings};

/// The name that the program is started by then.
pub(super) const NAME: &str = "pg-backup-api";

/// Names Barman's configuration file, as it does for pg-backup-api 2.2.
const BARMAN_CONF: &str = "PG_BACKUP_API_BARMAN_CONF";

/// The port that pg-backup-api serves and asks when nobody names one.
const PORT: u16 = 7480;

/// What `status` prints when it prints no `OK`. Scripts may know the sentence.
const NOT_AVAILABLE: &str = "The Postgres Backup API does not appear to be available.";

/// The exit code of `status` then: pg-backup-api leaves with -1.
const NOT_OK: u8 = 255;

/// barmanapi in the place of pg-backup-api
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
pub(super) struct Cli {
    /// Without one, the help.
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests until SIGTERM: barmanapi serve, and a local port
    ///
    /// The local port is on 127.0.0.1, in plain HTTP and for requests without credentials, which run
    /// as [pgbackupapi] local_user. PG_BACKUP_API_BARMAN_CONF, where it is set, names Barman's
    /// configuration file, over [barman] config_file.
    Serve {
        /// The local port, over [pgbackupapi] local_port
        #[arg(long, default_value_t = PORT, value_name = "PORT")]
        port: u16,
        /// barmanapi's configuration file [default: $BARMANAPI_CONFIG, else /etc/barmanapi.conf]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Ask the running service whether it answers on its local port; prints OK
    Status {
        /// The local port
        #[arg(long, default_value_t = PORT, value_name = "PORT")]
        port: u16,
    },
}

/// What stands over the configuration file as long as this process runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Overrides {
    local_port: Option<u16>,
    barman_conf: Option<PathBuf>,
}

impl Overrides {
    fn new(port: u16, barman_conf: Option<OsString>) -> Self {
        let barman_conf = barman_conf.filter(|path| !path.is_empty());
        Self {
            local_port: Some(port),
            // A service that runs for long starts Barman in other folders. Only an empty path fails.
            barman_conf: barman_conf
                .map(PathBuf::from)
                .map(|path| std::path::absolute(&path).unwrap_or(path)),
        }
    }

    /// The settings with them.
    pub(super) fn over(&self, mut settings: Settings) -> Settings {
        if self.local_port.is_some() {
            settings.pgbackupapi.local_port = self.local_port;
        }
        if self.barman_conf.is_some() {
            settings.barman.config_file.clone_from(&self.barman_conf);
        }
        settings
    }
}

/// Does what was asked for; the exit code is 0 when that was done, 1 when it could not be served,
/// 255 when there is no `OK`.
pub(super) fn run(cli: Cli) -> ExitCode {
    let Some(command) = cli.command else {
        // Where nobody reads it, there is nobody to tell.
        drop(Cli::command().print_help());
        return ExitCode::SUCCESS;
    };
    match command {
        Command::Serve { port, config } => {
            let overrides = Overrides::new(port, std::env::var_os(BARMAN_CONF));
            super::told(NAME, run_service(&super::config_path(config), overrides))
        }
        Command::Status { port } => match status(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Ok(()) => {
                println!("OK");
                ExitCode::SUCCESS
            }
            Err(error) => {
                println!("{NOT_AVAILABLE}");
                eprintln!("{NAME}: {error:#}");
                ExitCode::from(NOT_OK)
            }
        },
    }
}

fn run_service(config: &Path, overrides: Overrides) -> anyhow::Result<()> {
    // A file that can't be read is told by the start, with all that is wrong.
    if let Ok(settings) = settings::load(config)
        && settings.pgbackupapi.local_user.is_none()
    {
        bail!(
            "{}: requests on the local port have no user; write local_user = NAME into \
             [pgbackupapi], a user of {} with few rights",
            config.display(),
            settings.user.config_file.display()
        );
    }
    serve::run(config, overrides)
}

fn status(address: SocketAddr) -> anyhow::Result<()> {
    let answer = probe::reach(address)
        .and_then(|stream| probe::talk(stream, address, "/status"))
        .with_context(|| format!("nobody answers on {address}"))?;
    if probe::status_of(&answer) != "200" || !answer.trim_end().ends_with("\"OK\"") {
        let first = answer.lines().next().unwrap_or_default();
        bail!("{address} is not well: {first}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        settings::parse(Path::new("/etc/barmanapi.conf"), text)
            .unwrap_or_else(|told| panic!("{told}"))
    }

    #[test]
    fn its_commands_take_what_those_of_pg_backup_api_take() {
        let port_of = |words: &[&str]| match Cli::try_parse_from(words).ok()?.command? {
            Command::Serve { port, .. } | Command::Status { port } => Some(port),
        };
        for command in ["serve", "status"] {
            assert_eq!(port_of(&[NAME, command]), Some(7480));
            assert_eq!(port_of(&[NAME, command, "--port", "7481"]), Some(7481));
            assert_eq!(port_of(&[NAME, command, "--port=7481"]), Some(7481));
            assert_eq!(port_of(&[NAME, command, "--port", "http"]), None);
        }
        for command in ["recovery", "user", "runserver"] {
            assert_eq!(port_of(&[NAME, command]), None, "{command}");
        }
    }

    #[test]
    fn port_and_variable_stand_over_the_file_and_nothing_else_does() {
        let text =
            "[pgbackupapi]\nlocal_port = 1\nlocal_user = local\n[barman]\nconfig_file = /a\n";
        let file = settings(text);
        assert_eq!(Overrides::default().over(file.clone()), file);
        let mut wanted = file.clone();
        wanted.pgbackupapi.local_port = Some(7480);
        for unset in [None, Some(OsString::new())] {
            assert_eq!(Overrides::new(7480, unset).over(file.clone()), wanted);
        }
        wanted.barman.config_file = Some("/b/barman.conf".into());
        let set = Overrides::new(7480, Some("/b/barman.conf".into()));
        assert_eq!(set.over(file.clone()), wanted);
        // As pg-backup-api reads it: from where it was started.
        let near = Overrides::new(7480, Some("barman.conf".into())).over(file);
        let here = std::env::current_dir().unwrap();
        assert_eq!(near.barman.config_file, Some(here.join("barman.conf")));
    }
}
