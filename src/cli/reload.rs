//! `barmanapi reload` and what a running service does about it.
//!
//! The service is asked by SIGHUP, which carries no words. Its answer is a file in its own folder of
//! the store, with the time at which it began: whoever asks waits for one that began later.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal as SystemSignal};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::Signal;

use super::configuration::Configuration;
use crate::refresh::{Refresh, RefreshError};
use crate::settings::keys::Applies;
use crate::store::Store;
use crate::store::garbage::LivingProcess;
use crate::{atomicfile, blocking, settings};

/// The name of the answer.
pub(super) const ANSWER: &str = "reload.json";

/// How long a service may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked for an answer.
const TICK: Duration = Duration::from_millis(20);

/// What came of a configuration that was read again.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Answer {
    /// When the service began to read, in nanoseconds since 1970.
    began: u64,
    /// The keys that have another value now.
    changed: String,
    /// The keys whose files say something else now.
    renewed: String,
    /// The keys that have another value from the next start on.
    restart: String,
    /// Why the old configuration stays.
    problems: Vec<String>,
}

/// Makes every service that runs on the configured store read its configuration and Barman's help
/// again, and tells what came of the former.
///
/// # Errors
/// When the configuration is wrong, no service runs, or one of them keeps its old configuration,
/// can't be signalled or does not answer.
pub(super) fn run(config: &Path) -> anyhow::Result<()> {
    let settings = settings::load(config)?;
    let store = Store::open(&settings.application.store_directory)
        .context("run this as the account that runs the service")?;
    let living = store.living_processes()?;
    if living.is_empty() {
        bail!("no service runs on {}", store.root().display());
    }
    let mut asked = Vec::new();
    for process in living {
        if let Some(pid) = Pid::from_raw(process.pid) {
            let now = nanoseconds();
            rustix::process::kill_process(pid, SystemSignal::HUP)
                .with_context(|| format!("process {} can't be signalled", process.pid))?;
            asked.push((process, now));
        }
    }
    let since = Instant::now();
    let mut failed = 0;
    for (process, signalled) in asked {
        failed += usize::from(!tell(&process, wait(&process, signalled, since).as_ref()));
    }
    let log = store.logs().join("general.log");
    println!(
        "Barman's commands are learnt anew; {} tells how that went",
        log.display()
    );
    if failed > 0 {
        bail!("{failed} of the services did not take the configuration");
    }
    Ok(())
}

fn wait(process: &LivingProcess, signalled: u64, since: Instant) -> Option<Answer> {
    loop {
        let answer = fs::read(process.folder.join(ANSWER)).ok();
        let answer = answer.and_then(|bytes| serde_json::from_slice::<Answer>(&bytes).ok());
        if let Some(answer) = answer.filter(|answer| answer.began >= signalled) {
            return Some(answer);
        }
        if since.elapsed() > PATIENCE {
            return None;
        }
        std::thread::sleep(TICK);
    }
}

/// Prints what came of it and returns whether the configuration was taken.
fn tell(process: &LivingProcess, answer: Option<&Answer>) -> bool {
    let pid = process.pid;
    let Some(answer) = answer else {
        eprintln!("process {pid} has said nothing in {} s", PATIENCE.as_secs());
        return false;
    };
    if !answer.problems.is_empty() {
        eprintln!("process {pid} keeps its configuration:");
        for problem in &answer.problems {
            eprintln!("{problem}");
        }
        return false;
    }
    if answer.changed.is_empty() && answer.renewed.is_empty() {
        println!("process {pid} has read its configuration: nothing new is in force");
    }
    if !answer.changed.is_empty() {
        println!("process {pid} has new values of {}", answer.changed);
    }
    if !answer.renewed.is_empty() {
        println!(
            "process {pid} works with the new files of {}",
            answer.renewed
        );
    }
    if !answer.restart.is_empty() {
        println!("process {pid} needs a restart for {}", answer.restart);
    }
    true
}

fn nanoseconds() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// Reads the configuration again with each signal.
pub(super) async fn configuration_on_hangup(
    configuration: Arc<Configuration>,
    answer: PathBuf,
    mut hangup: Signal,
) {
    while hangup.recv().await.is_some() {
        let (configuration, answer) = (Arc::clone(&configuration), answer.clone());
        let done = blocking::run(move || read_again(&configuration, &answer)).await;
        if let Err(error) = done.flatten() {
            tracing::error!(%error, "what came of a reload can't be told");
        }
    }
}

fn read_again(configuration: &Configuration, file: &Path) -> std::io::Result<()> {
    let began = nanoseconds();
    let answer = match configuration.read_again() {
        Ok(news) => Answer {
            began,
            changed: news.names(Applies::Now),
            renewed: news.renewed_names(),
            restart: news.names(Applies::Restart),
            problems: Vec::new(),
        },
        Err(problems) => Answer {
            began,
            problems: problems.iter().map(ToString::to_string).collect(),
            ..Answer::default()
        },
    };
    atomicfile::replace(file, &serde_json::to_vec(&answer)?, 0o600)
}

/// Builds the catalogue anew with each signal. A rebuild may take long, so nothing else waits here.
pub(super) async fn catalogue_on_hangup(refresh: Arc<Refresh>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        match refresh.rebuild().await {
            Ok(_) => {}
            Err(error @ RefreshError::TooSoon) => tracing::info!("{error}"),
            Err(error) => tracing::error!(%error, "the catalogue stays as it was"),
        }
    }
}
