//! Questions of ours to Barman, for other families of routes: commands that change nothing.
//!
//! Whether the caller may know the answer is decided before, by whoever asks.

use std::sync::Arc;

use super::outcome::RefusalKind;
use super::{Dispatch, Refusal, Said};
use crate::jobs::direct::Finished;
use crate::names::{CommandName, ServerName};
use crate::runner::Ending;

/// Lines of what Barman says that are told when it fails.
const TOLD: usize = 5;

impl Dispatch {
    /// Has a command run that changes nothing, and says what it printed, masked. `words` come behind
    /// its name. Those who ask together share a run, with requests for the command as well.
    ///
    /// # Errors
    /// When Barman has no such command, can't be started, takes too long, fails, or prints more
    /// than is kept.
    pub async fn ask(
        &self,
        name: &CommandName,
        words: &[&str],
        json: bool,
    ) -> Result<Arc<Said>, Refusal> {
        let catalogue = self.catalogue()?;
        let command = self
            .traits
            .canonical(name, &catalogue)
            .filter(|command| self.traits.of(command).read_only)
            .ok_or_else(|| {
                let words = format!("barman {} can't be asked for {name}", catalogue.version);
                Refusal::new(RefusalKind::BarmanUnreachable, words)
            })?;
        let mut arguments = self.refresh.barman().global_arguments(json);
        arguments.push(command.name.to_string());
        arguments.extend(words.iter().map(|word| (*word).to_owned()));
        let Some(said) = self.said(&arguments).await? else {
            let words = "no answer came within [barman] sync_timeout";
            return Err(unanswered(name, words));
        };
        whole(name, said.finished())?;
        Ok(said)
    }

    /// The servers that Barman's configuration defines; those `wanted` may be new ones.
    ///
    /// # Errors
    /// When there is no catalogue, or Barman can't read its configuration.
    pub async fn servers(&self, wanted: &[ServerName]) -> Result<Arc<Vec<ServerName>>, Refusal> {
        Ok(self.refresh.servers(wanted).await?)
    }
}

/// Whether a command went well and all that it printed was kept.
fn whole(name: &CommandName, finished: &Finished) -> Result<(), Refusal> {
    match finished.ending {
        Ending::Exited(0) if finished.kept_stdout.truncated => Err(unanswered(
            name,
            "it printed more than [barman] output_limit lets be kept",
        )),
        Ending::Exited(0) if finished.kept_stdout.incomplete => {
            Err(unanswered(name, "what it printed was not read to its end"))
        }
        Ending::Exited(0) => Ok(()),
        Ending::Exited(code) => {
            let said = [&finished.stderr, &finished.stdout]
                .into_iter()
                .find(|said| !said.trim_ascii().is_empty());
            let said = String::from_utf8_lossy(said.map_or(&[][..], Vec::as_slice));
            let lines: Vec<&str> = said.trim_end().lines().collect();
            let last = lines.get(lines.len().saturating_sub(TOLD)..);
            let words = last.unwrap_or_default().join("\n");
            Err(unanswered(name, &format!("exit code {code}: {words}")))
        }
        Ending::Signalled(signal) => Err(unanswered(name, &format!("signal {signal} ended it"))),
        Ending::Unknown { .. } => Err(unanswered(name, "nobody knows how it ended")),
    }
}

fn unanswered(name: &CommandName, why: &str) -> Refusal {
    Refusal::new(
        RefusalKind::BarmanUnreachable,
        format!("barman {name} gave no answer: {why}"),
    )
}
