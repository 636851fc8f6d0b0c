//! Which backups a server has, and where their tablespaces were: what has to be known of a restore
//! before it begins.
//!
//! Barman puts a tablespace that is not relocated where it was when the backup was taken
//! (`recovery_executor.py` of 3.19.1), which no parameter of the request tells.

use serde_json::Value;

use super::{Dispatch, Refusal, RefusalKind};
use crate::catalogue::argv::{Restore, Tablespace};
use crate::names::{CommandName, ServerName};

/// Backups that are looked at for one restore, where Barman is to choose among them.
const LOOKED_AT: usize = 100;

/// A backup as Barman lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
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

impl Backup {
    fn is_named(&self, word: &str) -> bool {
        self.id == word || self.name.as_deref() == Some(word)
    }
}

impl Dispatch {
    /// The backups of a server, as Barman lists them.
    ///
    /// # Errors
    /// When Barman gives no list; see [`Dispatch::ask`].
    pub async fn backups(&self, server: &ServerName) -> Result<Vec<Backup>, Refusal> {
        let said = self
            .ask(&command("list-backups")?, &["--", server.as_str()], true)
            .await?;
        listed(&said.finished().stdout, server)
            .ok_or_else(|| not_understood("barman's list of backups"))
    }

    /// The tablespaces of every backup that a restore may mean. A backup that is not there has none.
    ///
    /// # Errors
    /// When Barman does not tell, or would choose among too many backups.
    pub(super) async fn tablespaces(
        &self,
        server: &ServerName,
        restore: &Restore,
    ) -> Result<Vec<Tablespace>, Refusal> {
        let backups = self.backups(server).await?;
        let ids = candidates(&restore.backup, restore.to_target, &backups);
        if ids.len() > LOOKED_AT {
            let words = format!(
                "backup_id is {:?}: barman would choose among {} backups, and where their \
                 tablespaces go is looked up for {LOOKED_AT} at most; name one of them",
                restore.backup,
                ids.len()
            );
            return Err(Refusal::invalid(words));
        }
        let command = command("show-backup")?;
        let mut all = Vec::new();
        for id in ids {
            let words = ["--", server.as_str(), id];
            let said = self.ask(&command, &words, true).await?;
            let found = of_backup(&said.finished().stdout, server)
                .ok_or_else(|| not_understood("what barman shows of a backup"))?;
            for tablespace in found {
                if !all.contains(&tablespace) {
                    all.push(tablespace);
                }
            }
        }
        Ok(all)
    }
}

fn command(name: &str) -> Result<CommandName, Refusal> {
    CommandName::parse(name).map_err(Refusal::internal)
}

fn not_understood(what: &str) -> Refusal {
    let words = format!("{what} can't be understood");
    Refusal::new(RefusalKind::BarmanUnreachable, words)
}

/// Reads Barman's list in JSON; `None` when it is something else.
fn listed(said: &[u8], server: &ServerName) -> Option<Vec<Backup>> {
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

/// The tablespaces in what Barman shows of a backup; `None` when it is something else.
fn of_backup(said: &[u8], server: &ServerName) -> Option<Vec<Tablespace>> {
    let said: Value = serde_json::from_slice(said).ok()?;
    let listed = said.get(server.as_str())?.get("tablespaces")?.as_array()?;
    let text = |tablespace: &Value, key: &str| Some(tablespace.get(key)?.as_str()?.to_owned());
    let each = listed.iter().map(|tablespace| {
        Some(Tablespace {
            name: text(tablespace, "name")?,
            location: text(tablespace, "location")?,
        })
    });
    each.collect()
}

/// Whether a word names one of the backups, as Barman's shortcuts do (`get_backup_id_using_shortcut`
/// in barman/utils.py of 3.19.1).
#[must_use]
pub fn names_one_of(word: &str, backups: &[Backup]) -> bool {
    backups.iter().any(|backup| match word {
        "latest" | "last" | "oldest" | "first" | "auto" => backup.state == State::Done,
        "latest-full" | "last-full" => backup.state == State::Done && !backup.incremental,
        "last-failed" => backup.state == State::Failed,
        word => backup.is_named(word),
    })
}

/// The ids of the backups that a word may mean and that can be restored; with `to_target`, `auto`
/// chooses one by the target of the recovery.
fn candidates<'a>(word: &str, to_target: bool, backups: &'a [Backup]) -> Vec<&'a str> {
    let done = || backups.iter().filter(|backup| backup.state == State::Done);
    let ids = |found: Option<&'a Backup>| found.map(|backup| backup.id.as_str());
    // Ids begin with the second in which a backup began.
    let found = match word {
        "auto" if to_target => return done().map(|backup| backup.id.as_str()).collect(),
        "latest" | "last" | "auto" => done().max_by_key(|backup| &backup.id),
        "oldest" | "first" => done().min_by_key(|backup| &backup.id),
        "latest-full" | "last-full" => done()
            .filter(|backup| !backup.incremental)
            .max_by_key(|backup| &backup.id),
        // It is not restored.
        "last-failed" => None,
        word => {
            let named = done().filter(|backup| backup.is_named(word));
            return named.map(|backup| backup.id.as_str()).collect();
        }
    };
    ids(found).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn main() -> ServerName {
        ServerName::parse("main").unwrap()
    }

    fn read(text: &str) -> Option<Vec<Backup>> {
        listed(text.as_bytes(), &main())
    }

    fn three() -> Vec<Backup> {
        let listed = read(
            r#"{"main": [
                {"backup_id": "20260103T000000", "backup_type": "incremental", "status": "DONE"},
                {"backup_id": "20260102T000000", "backup_type": "full", "status": "WAITING_FOR_WALS",
                 "backup_name": "weekly", "size": "1"},
                {"backup_id": "20260104T000000", "backup_type": "full", "status": "FAILED"},
                {"backup_id": "20260101T000000", "status": "DONE", "backup_name": "weekly"}],
                "_INFO": []}"#,
        );
        listed.unwrap()
    }

    #[test]
    fn a_backup_goes_by_its_id_its_name_and_the_words_that_fit() {
        let backups = three();
        for word in [
            "20260101T000000",
            "20260104T000000",
            "weekly",
            "latest",
            "last",
            "oldest",
            "first",
            "auto",
            "last-failed",
            "latest-full",
            "last-full",
        ] {
            assert!(names_one_of(word, &backups), "{word}");
        }
        for word in ["20260109T000000", "", "Weekly", "failed"] {
            assert!(!names_one_of(word, &backups), "{word}");
        }
        let incremental = &backups[..1];
        assert!(names_one_of("latest", incremental));
        assert!(!names_one_of("latest-full", incremental));
    }

    #[test]
    fn what_a_word_may_mean_is_looked_at_and_nothing_else() {
        let backups = three();
        let of = |word, to_target| candidates(word, to_target, &backups);
        for word in ["latest", "last", "auto"] {
            assert_eq!(of(word, false), ["20260103T000000"], "{word}");
        }
        for word in ["oldest", "first"] {
            assert_eq!(of(word, true), ["20260101T000000"], "{word}");
        }
        for word in ["latest-full", "last-full"] {
            assert_eq!(of(word, false), ["20260102T000000"], "{word}");
        }
        assert_eq!(of("weekly", false), ["20260102T000000", "20260101T000000"]);
        assert_eq!(of("20260103T000000", false), ["20260103T000000"]);
        assert_eq!(
            of("auto", true),
            ["20260103T000000", "20260102T000000", "20260101T000000"]
        );
        for word in ["last-failed", "20260104T000000", "20260109T000000", ""] {
            assert!(of(word, false).is_empty(), "{word}");
        }
    }

    #[test]
    fn no_backup_is_an_answer_and_no_list_is_none() {
        assert_eq!(read(r#"{"main": []}"#), Some(Vec::new()));
        assert!(!names_one_of("latest", &[]));
        for text in ["", "{}", r#"{"other": []}"#, r#"{"main": {}}"#, "[]"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn tablespaces_are_read_or_it_is_told_that_they_can_not_be() {
        let of = |text: &str| of_backup(text.as_bytes(), &main());
        let one = of(r#"{"main": {"backup_id": "x", "tablespaces": [
                {"name": "fast", "location": "/ts/fast", "oid": 16387}]}}"#);
        let fast = Tablespace {
            name: "fast".to_owned(),
            location: "/ts/fast".to_owned(),
        };
        assert_eq!(one, Some(vec![fast]));
        assert_eq!(of(r#"{"main": {"tablespaces": []}}"#), Some(Vec::new()));
        for text in [
            "",
            "{}",
            r#"{"main": {}}"#,
            r#"{"main": {"tablespaces": null}}"#,
            r#"{"main": {"tablespaces": [{"name": "x"}]}}"#,
            r#"{"main": {"tablespaces": [{"name": "x", "location": 1}]}}"#,
            r#"{"other": {"tablespaces": []}}"#,
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
