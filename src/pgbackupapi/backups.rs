//! Which backups a server has, as far as a recovery has to know before it begins.

use serde_json::Value;

use super::{Operations, command};
use crate::dispatch::{Refusal, RefusalKind};
use crate::names::ServerName;

/// A backup as Barman lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backup {
    id: String,
    name: Option<String>,
    state: State,
    incremental: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It can be restored.
    Done,
    Failed,
    /// It goes on, or was cut short.
    Other,
}

impl Operations {
    /// The word for a backup that the server has, as it is handed on; `None` when there is none. It is
    /// an id, a name, or one of the words that `barman restore` takes, of which two that mean the same
    /// become one.
    pub(super) async fn backup_word<'a>(
        &self,
        server: &ServerName,
        word: &'a str,
    ) -> Result<Option<&'a str>, Refusal> {
        let backups = self.list_backups(server).await?;
        Ok(names_one_of(word, &backups).then(|| one_of_two(word)))
    }

    async fn list_backups(&self, server: &ServerName) -> Result<Vec<Backup>, Refusal> {
        let command = command("list-backups")?;
        let words = ["--", server.as_str()];
        let said = self.door.ask(&command, &words, true).await?;
        read(&said.finished().stdout, server).ok_or_else(|| {
            let words = "barman's list of backups can't be understood";
            Refusal::new(RefusalKind::BarmanUnreachable, words)
        })
    }
}

/// Reads Barman's JSON; `None` when it is something else.
fn read(said: &[u8], server: &ServerName) -> Option<Vec<Backup>> {
    let said: Value = serde_json::from_slice(said).ok()?;
    let listed = said.get(server.as_str())?.as_array()?;
    let text = |backup: &Value, key: &str| Some(backup.get(key)?.as_str()?.to_owned());
    Some(
        listed
            .iter()
            .filter_map(|backup| {
                Some(Backup {
                    id: text(backup, "backup_id")?,
                    name: text(backup, "backup_name"),
                    state: match text(backup, "status").as_deref() {
                        Some("DONE" | "WAITING_FOR_WALS") => State::Done,
                        Some("FAILED") => State::Failed,
                        _ => State::Other,
                    },
                    incremental: text(backup, "backup_type").as_deref() == Some("incremental"),
                })
            })
            .collect(),
    )
}

/// Whether a word names one of the backups, as Barman's shortcuts do (`get_backup_id_using_shortcut`
/// in barman/utils.py of 3.19.1).
fn names_one_of(word: &str, backups: &[Backup]) -> bool {
    backups.iter().any(|backup| match word {
        "latest" | "last" | "oldest" | "first" | "auto" => backup.state == State::Done,
        "latest-full" | "last-full" => backup.state == State::Done && !backup.incremental,
        "last-failed" => backup.state == State::Failed,
        word => backup.id == word || backup.name.as_deref() == Some(word),
    })
}

/// One of the two words that Barman has for the same.
fn one_of_two(word: &str) -> &str {
    match word {
        "last" => "latest",
        "first" => "oldest",
        "last-full" => "latest-full",
        word => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Option<Vec<Backup>> {
        read(text.as_bytes(), &ServerName::parse("main").unwrap())
    }

    #[test]
    fn a_backup_goes_by_its_id_its_name_and_the_words_that_fit() {
        let backups = listed(
            r#"{"main": [
                {"backup_id": "20260101T000000", "backup_type": "full", "status": "FAILED"},
                {"backup_id": "20260102T000000", "backup_type": "incremental", "status": "DONE",
                 "backup_name": "weekly", "size": "1"}], "_INFO": []}"#,
        )
        .unwrap();
        for word in [
            "20260101T000000",
            "20260102T000000",
            "weekly",
            "latest",
            "last",
            "oldest",
            "first",
            "auto",
            "last-failed",
        ] {
            assert!(names_one_of(word, &backups), "{word}");
        }
        for word in [
            "latest-full",
            "last-full",
            "20260103T000000",
            "",
            "Weekly",
            "failed",
        ] {
            assert!(!names_one_of(word, &backups), "{word}");
        }
    }

    #[test]
    fn no_backup_is_an_answer_and_no_list_is_none() {
        assert_eq!(listed(r#"{"main": []}"#), Some(Vec::new()));
        assert!(!names_one_of("latest", &[]));
        for text in ["", "{}", r#"{"other": []}"#, r#"{"main": {}}"#, "[]"] {
            assert_eq!(listed(text), None, "{text}");
        }
    }
}
