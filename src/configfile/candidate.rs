//! What Barman itself says of files before they are put in place.
//!
//! Both the files that are there and those that are to be are copied into a private folder on the
//! Barman host, with a log there, and `list-servers` runs on each. What Barman says of the new
//! ones and not of the old ones is what a change did.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use super::error::ConfigError;
use super::tree::{Role, Tree};
use super::view::GLOBAL;
use crate::inifile::Document;
use crate::redact;
use crate::refresh::Barman;
use crate::runner::Ending;
use crate::runner::files::{Command, Trial, Tried};

/// The keys beside the servers in Barman's JSON (`barman/output.py`, 3.19.1).
pub(super) const MESSAGES: [&str; 5] = ["_DEBUG", "_INFO", "_WARNING", "_ERROR", "_EXCEPTION"];

/// What a server that can't be used has behind its description (`list_servers` in barman/cli.py).
const DISABLED: &str = "(WARNING: disabled)";

/// Lines of Barman's words that are passed on.
const TOLD: usize = 12;

/// Characters of a line that are passed on.
const LINE: usize = 400;

/// Lets Barman read both, and returns what it warns of that is new. All that Barman says is told
/// as `hide` makes it: it quotes values, and parts of them.
pub(super) fn try_out(
    barman: &Barman,
    command: &str,
    old: &Tree,
    new: &Tree,
    hide: &mut dyn FnMut(&str) -> String,
) -> Result<Vec<String>, ConfigError> {
    let random =
        getrandom::u64().map_err(|error| ConfigError::Internal(std::io::Error::other(error)))?;
    let placeholder = format!("/@barmanapi-{random:016x}@");
    let keeps_format = format(old) == format(new);
    let mut files = staged(old, "old", &placeholder, keeps_format)?;
    files.extend(staged(new, "new", &placeholder, keeps_format)?);
    let list = |folder: &str| ask(barman, &format!("{placeholder}/{folder}"), &[command]);
    let log = Command {
        program: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), "cat old/log".to_owned()],
    };
    let commands = vec![list("new"), list("old"), log];
    let outcome = barman.host.try_out(&Trial {
        placeholder,
        files,
        commands,
        read_back: Some("new/log".into()),
        limit: Trial::LIMIT,
    })?;
    let mut tried = outcome.tried.iter();
    let (candidate, present, old_log) = (tried.next(), tried.next(), tried.next());
    let Some(candidate) = candidate else {
        return Err(ConfigError::Refused("it gave no answer".to_owned()));
    };
    let old_log = old_log.map(|tried| tried.stdout.as_slice());
    let present = present.map(|tried| Answer::of(tried, old_log));
    let mut present = present.unwrap_or_default();
    // A section that goes with its file goes on purpose.
    let after = new.view();
    present
        .servers
        .retain(|name, _| after.section(name).is_some());
    let mut candidate = Answer::of(candidate, outcome.file.as_deref());
    if let Some(name) = candidate.disabled_since(&present) {
        for word in why_disabled(barman, new, name) {
            candidate.say(&word);
        }
    }
    let mut told = |line: &str| -> String { hide(line).chars().take(LINE).collect() };
    let mut all_told = |words: String| -> String {
        let words: Vec<_> = words.lines().map(&mut told).collect();
        words.join("\n")
    };
    match candidate.against(&present) {
        Ok(words) => Ok(words.into_iter().map(all_told).collect()),
        Err(ConfigError::Refused(words)) => Err(ConfigError::Refused(all_told(words))),
        Err(ConfigError::Unreadable(words)) => Err(ConfigError::Unreadable(all_told(words))),
        Err(other) => Err(other),
    }
}

/// Barman's program with the files in a folder of the trial.
fn ask(barman: &Barman, folder: &str, words: &[&str]) -> Command {
    let config = format!("{folder}/barman.conf");
    let arguments = ["-c", &config, "-f", "json"];
    Command {
        program: barman.program.clone(),
        arguments: arguments
            .iter()
            .chain(words)
            .map(|word| (*word).to_owned())
            .collect(),
    }
}

/// Why Barman can't use a server. The list says only that it can't; whoever asks for that server
/// alone is told the reason, and nothing else is done. Without an answer there is none.
fn why_disabled(barman: &Barman, new: &Tree, name: &str) -> Vec<String> {
    let answer = || {
        let placeholder = format!("/@barmanapi-{:016x}@", getrandom::u64().ok()?);
        let trial = Trial {
            files: staged(new, "new", &placeholder, false).ok()?,
            commands: vec![ask(
                barman,
                &format!("{placeholder}/new"),
                &["sync-info", name],
            )],
            placeholder,
            read_back: None,
            limit: Trial::LIMIT,
        };
        let outcome = barman.host.try_out(&trial).ok()?;
        Some(Answer::of(outcome.tried.first()?, None).words)
    };
    answer().unwrap_or_default()
}

fn format(tree: &Tree) -> Option<String> {
    tree.files.first()?.document.get(GLOBAL, "log_format")
}

/// The files as they are put into a folder of the trial.
fn staged(
    tree: &Tree,
    folder: &str,
    placeholder: &str,
    plain_log: bool,
) -> Result<Vec<(PathBuf, Vec<u8>)>, ConfigError> {
    let mut files = Vec::new();
    let folder_of = PathBuf::from(folder);
    // A folder that is named must be there, or Barman warns.
    files.push((folder_of.join("conf.d/.keep"), Vec::new()));
    for file in &tree.files {
        match file.role {
            Role::Main => {
                let staged = main(file.document.clone(), tree, folder, placeholder, plain_log);
                let staged = staged.map_err(|error| {
                    let words = format!("{}: {error}", file.path.display());
                    ConfigError::Conflict(words)
                })?;
                files.push((folder_of.join("barman.conf"), staged.to_bytes()));
            }
            Role::Included => {
                let name = file.path.file_name().unwrap_or_default();
                let path = folder_of.join("conf.d").join(name);
                files.push((path, file.document.to_bytes()));
            }
            // Barman finds it in its home, which is the real one.
            Role::Auto => {}
        }
    }
    Ok(files)
}

/// The main file with its paths inside the folder, and a log of the form that is known.
fn main(
    mut document: Document,
    tree: &Tree,
    folder: &str,
    placeholder: &str,
    plain_log: bool,
) -> Result<Document, crate::inifile::EditError> {
    if tree.folder.is_some() {
        let path = format!("{placeholder}/{folder}/conf.d");
        document.set_raw(GLOBAL, "configuration_files_directory", &path)?;
    }
    document.set_raw(GLOBAL, "log_file", &format!("{placeholder}/{folder}/log"))?;
    if plain_log {
        document.remove_key(GLOBAL, "log_format")?;
        document.set_raw(GLOBAL, "log_level", "INFO")?;
    }
    Ok(document)
}

/// What Barman made of files.
#[derive(Debug, Default)]
struct Answer {
    ended_well: bool,
    /// Whether it took too long.
    stopped: bool,
    /// Whether each server is disabled.
    servers: BTreeMap<String, bool>,
    /// What it complained of, in order, each once.
    words: Vec<String>,
    traceback: bool,
}

impl Answer {
    fn of(tried: &Tried, log: Option<&[u8]>) -> Self {
        let mut answer = Self {
            ended_well: tried.ending == Ending::Exited(0),
            stopped: tried.stopped,
            ..Self::default()
        };
        let stdout = String::from_utf8_lossy(&tried.stdout);
        if let Ok(Value::Object(said)) = serde_json::from_str(&stdout) {
            answer.take(&said);
        } else {
            answer.ended_well = false;
            stdout.lines().for_each(|line| answer.say(line));
        }
        let stderr = String::from_utf8_lossy(&tried.stderr);
        stderr.lines().for_each(|line| answer.say(line));
        answer.read_log(&String::from_utf8_lossy(log.unwrap_or_default()));
        answer
    }

    fn take(&mut self, said: &serde_json::Map<String, Value>) {
        for (name, value) in said {
            if !MESSAGES.contains(&name.as_str()) {
                let description = value.get("description").and_then(Value::as_str);
                let disabled = description.is_some_and(|text| text.contains(DISABLED));
                self.servers.insert(name.clone(), disabled);
                continue;
            }
            if name == "_DEBUG" || name == "_INFO" {
                continue;
            }
            let texts = value.as_array().map(Vec::as_slice).unwrap_or_default();
            for text in texts.iter().filter_map(Value::as_str) {
                text.lines().for_each(|line| self.say(line));
            }
        }
    }

    /// Takes warnings and errors of a log in Barman's own format.
    fn read_log(&mut self, log: &str) {
        for line in log.lines() {
            self.traceback |= line.starts_with("Traceback (most recent call last)");
            let said = [" WARNING: ", " ERROR: ", " CRITICAL: "]
                .iter()
                .find_map(|level| Some(line.split_once(level)?.1));
            if let Some(said) = said {
                self.say(said);
            }
        }
    }

    fn say(&mut self, line: &str) {
        let line = line.trim();
        let noise = line.is_empty() || line == "See log file for more details.";
        let bare = ["WARNING: ", "ERROR: ", "EXCEPTION: "]
            .iter()
            .find_map(|prefix| line.strip_prefix(prefix))
            .unwrap_or(line);
        let shown = redact::text(bare);
        if !noise && !self.words.iter().any(|word| *word == shown) {
            self.words.push(shown.into_owned());
        }
    }

    /// A server that can't be used any more.
    fn disabled_since(&self, present: &Self) -> Option<&String> {
        let is_new = |name: &String| !present.servers.get(name).copied().unwrap_or(false);
        let mut disabled = self.servers.iter().filter(|(_, disabled)| **disabled);
        disabled
            .find(|(name, _)| is_new(name))
            .map(|(name, _)| name)
    }

    /// What is new against another answer; an error when Barman refuses, loses a server, or can't
    /// use one any more.
    fn against(&self, present: &Self) -> Result<Vec<String>, ConfigError> {
        let old: BTreeSet<&String> = present.words.iter().collect();
        let new = self.words.iter().filter(|word| !old.contains(word));
        let mut new: Vec<String> = new.take(TOLD).cloned().collect();
        let refused = |mut words: Vec<String>, last: Option<String>| {
            words.extend(last);
            Err(ConfigError::Refused(words.join("\n")))
        };
        if self.stopped {
            let words = "barman did not answer in time, and nothing was written";
            return Err(ConfigError::Unreadable(words.to_owned()));
        }
        if !self.ended_well {
            let as_it_is = new.is_empty() && !present.ended_well;
            if new.is_empty() {
                new.extend(self.words.iter().take(TOLD).cloned());
            }
            if new.is_empty() {
                new.push("it ended with an error and said nothing".to_owned());
            }
            if as_it_is {
                let first = "barman can't read its configuration as it is, mend it by hand first:";
                new.insert(0, first.to_owned());
                return Err(ConfigError::Unreadable(new.join("\n")));
            }
            return refused(new, None);
        }
        let lost = present
            .servers
            .keys()
            .find(|name| !self.servers.contains_key(*name));
        if let Some(name) = lost {
            return refused(
                new,
                Some(format!("server {name} would not be there any more")),
            );
        }
        if let Some(name) = self.disabled_since(present) {
            return refused(new, Some(format!("{name} {DISABLED}")));
        }
        let bad = |word: &String| word.to_lowercase().contains("invalid configuration value");
        let failed = self.traceback && !present.traceback;
        if failed || new.iter().any(bad) {
            return refused(new, failed.then(|| "it logged a traceback".to_owned()));
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(exit: i32, stdout: &str, stderr: &str, log: &str) -> Answer {
        let tried = Tried {
            ending: Ending::Exited(exit),
            stopped: false,
            cut: false,
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        Answer::of(&tried, Some(log.as_bytes()))
    }

    const GOOD: &str = r#"{"main": {"description": "x"}, "other": {"description": ""}}"#;

    fn refusal(candidate: &Answer, present: &Answer) -> String {
        candidate.against(present).unwrap_err().to_string()
    }

    #[test]
    fn what_barman_said_before_already_is_no_reason_to_refuse() {
        let log = "2026-11-21 07:11:22,678 [25503] barman.config WARNING: Ignoring invalid configuration value 'x' for key y\n";
        let with = answer(0, GOOD, "", log);
        let without = answer(0, GOOD, "", "");
        assert!(with.against(&with).unwrap().is_empty());
        assert!(refusal(&with, &without).contains("Ignoring invalid configuration value 'x'"));
        assert!(without.against(&with).unwrap().is_empty());
    }

    #[test]
    fn a_lost_a_disabled_and_an_unreadable_server_are_refused() {
        let present = answer(0, GOOD, "", "");
        let lost = answer(0, r#"{"main": {"description": "x"}}"#, "", "");
        assert!(refusal(&lost, &present).contains("other"));
        let disabled = r#"{"_WARNING": ["No archiver"], "main": {"description": "x (WARNING: disabled)"}, "other": {"description": ""}}"#;
        let disabled = answer(0, disabled, "", "");
        let words = refusal(&disabled, &present);
        assert!(words.contains("No archiver") && words.contains("main (WARNING: disabled)"));
        assert!(disabled.against(&disabled).is_ok());
        let broken = answer(
            1,
            "",
            "EXCEPTION: bad boolean\nSee log file for more details.\n",
            "",
        );
        assert!(refusal(&broken, &present).ends_with("bad boolean"));
        // A file that mends a broken one.
        assert!(present.against(&broken).is_ok());
        let trace = answer(0, GOOD, "", "Traceback (most recent call last):\n");
        assert!(trace.against(&present).is_err());
    }

    #[test]
    fn what_else_is_new_is_told_and_secrets_are_not() {
        let present = answer(0, GOOD, "", "");
        let log = "x [1] barman.server WARNING: slow password=s3cret\n";
        let words = answer(0, GOOD, "", log).against(&present).unwrap();
        assert_eq!(words, ["slow password=*REDACTED*"]);
    }
}
