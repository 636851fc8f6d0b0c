//! STUB settings.
#![allow(missing_docs, clippy::all, clippy::pedantic, clippy::unwrap_used)]
use crate::inifile::Document;
use crate::names::CommandName;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
#[derive(Debug, Clone)]
pub struct Secret(String);
impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}
#[derive(Debug, Clone)]
pub struct User {
    pub config_file: PathBuf,
    pub secret: Option<Secret>,
}
#[derive(Debug, Clone)]
pub struct Application {
    pub store_directory: PathBuf,
    pub host: IpAddr,
    pub port: u16,
    pub debug: bool,
    pub get_changes: bool,
}
#[derive(Debug, Clone)]
pub struct Barman {
    pub config_file: Option<PathBuf>,
    pub command: PathBuf,
    pub remote: bool,
    pub async_command: Vec<CommandName>,
    pub sync_timeout: Duration,
    pub job_timeout: Option<Duration>,
    pub job_timeouts: BTreeMap<CommandName, Option<Duration>>,
    pub max_jobs: u32,
    pub queue: u32,
    pub output_limit: u64,
    pub any_target: bool,
    pub allow_commands: Vec<CommandName>,
    pub exchange_directory: Option<PathBuf>,
}
#[derive(Debug, Clone)]
pub struct Target {
    pub name: String,
    pub ssh_command: String,
    pub directories: Vec<PathBuf>,
}
#[derive(Debug, Clone)]
pub struct AuthToken {
    pub secret: Option<Secret>,
    pub algorithm: Algorithm,
    pub token_life: Duration,
    pub query_token: bool,
}
#[derive(Debug, Clone, Copy)]
pub enum Algorithm {
    Hs256,
}
#[derive(Debug, Clone)]
pub struct Log;
#[derive(Debug, Clone)]
pub struct Audit {
    pub keep_months: u32,
}
#[derive(Debug, Clone)]
pub struct Config {
    pub unlock: Vec<String>,
}
#[derive(Debug, Clone)]
pub struct Settings {
    pub user: User,
    pub application: Application,
    pub barman: Barman,
    pub targets: Vec<Target>,
    pub auth_token: AuthToken,
    pub log: Log,
    pub audit: Audit,
    pub config: Config,
}
pub fn load(path: &Path) -> anyhow::Result<Settings> {
    let d = Document::parse(&std::fs::read(path)?)?;
    let g = |s: &str, k: &str| d.get(s, k).filter(|v| !v.is_empty());
    let num = |k: &str, n: u64| g("barman", k).map_or(n, |v| v.parse().unwrap());
    let cmds = |k: &str, def: &str| {
        g("barman", k)
            .unwrap_or(def.into())
            .split(',')
            .filter_map(|w| CommandName::parse(w.trim()).ok())
            .collect::<Vec<_>>()
    };
    let targets = d
        .sections()
        .filter_map(|s| {
            s.strip_prefix("target:").map(|n| Target {
                name: n.into(),
                ssh_command: g(s, "ssh_command").unwrap_or_default(),
                directories: g(s, "directories")
                    .unwrap_or_default()
                    .split(',')
                    .map(PathBuf::from)
                    .collect(),
            })
        })
        .collect();
    Ok(Settings {
        user: User {
            config_file: g("user", "config_file").unwrap().into(),
            secret: None,
        },
        application: Application {
            store_directory: g("application", "store_directory").unwrap().into(),
            host: "127.0.0.1".parse().unwrap(),
            port: g("application", "port").unwrap_or("1935".into()).parse()?,
            debug: true,
            get_changes: g("application", "get_changes").is_none_or(|v| v == "true"),
        },
        barman: Barman {
            config_file: g("barman", "config_file").map(Into::into),
            command: g("barman", "command").unwrap().into(),
            remote: false,
            async_command: cmds("async_command", "backup,cron,recover"),
            sync_timeout: Duration::from_secs(num("sync_timeout", 30)),
            job_timeout: g("barman", "job_timeout")
                .map(|v| Duration::from_secs(v.parse().unwrap())),
            job_timeouts: BTreeMap::new(),
            max_jobs: num("max_jobs", 4) as u32,
            queue: num("queue", 1000) as u32,
            output_limit: num("output_limit", 16 << 20),
            any_target: g("barman", "any_target").is_some(),
            allow_commands: cmds("allow_commands", ""),
            exchange_directory: g("barman", "exchange_directory").map(Into::into),
        },
        targets,
        auth_token: AuthToken {
            secret: None,
            algorithm: Algorithm::Hs256,
            token_life: Duration::from_secs(6000),
            query_token: true,
        },
        log: Log,
        audit: Audit { keep_months: 0 },
        config: Config { unlock: vec![] },
    })
}
pub fn check_environment(_: &Settings) -> anyhow::Result<()> {
    Ok(())
}
impl From<Algorithm> for crate::names::Month {
    fn from(_: Algorithm) -> Self {
        unreachable!()
    }
}
