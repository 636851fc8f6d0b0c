//! Which backups a server has, and where their tablespaces were: what has to be known of a restore
//! before it begins.
//!
//! Barman puts a tablespace that is not relocated where it was when the backup was taken
//! (`recovery_executor.py` of 3.19.1), which no parameter of the request tells.

use serde_json::Value;

use super::{Dispatch, Refusal, RefusalKind};
use crate::catalogue::argv::{Restore, Tablespace};
use crate::names::{CommandName, ServerName};
use crate::redact;

/// Backups that are looked at for one restore, where Barman is to choose among them.
const LOOKED_AT: usize = 100;

/// A backup as Barman lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    id: String,
    name: Option<String>,
    state: State,
    full: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It can be restored.
    Done,
    /// It never will.
    Failed,
    /// It goes on, or was cut short.
    Other,
}

impl State {
    fn of(word: Option<&str>) -> Self {
        match word {
            Some("DONE" | "WAITING_FOR_WALS") => Self::Done,
            Some("FAILED") => Self::Failed,
            _ => Self::Other,
        }
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

    /// The tablespaces of every backup that a restore may mean.
    ///
    /// # Errors
    /// When there is no such backup, it is not finished, Barman does not tell, or would choose among
    /// too many.
    pub(super) async fn tablespaces(
        &self,
        server: &ServerName,
        restore: &Restore,
    ) -> Result<Vec<Tablespace>, Refusal> {
        let limit = self.jobs.limits().sync_timeout;
        let looked = async {
            match restore.backup.as_str() {
                "auto" if restore.to_target => self.tablespaces_of_all(server).await,
                // Barman takes the last one.
                "auto" => self.tablespaces_of(server, "latest").await,
                word => self.tablespaces_of(server, word).await,
            }
        };
        tokio::time::timeout(limit, looked)
            .await
            .unwrap_or_else(|_| {
                let words = "where the backup's tablespaces go could not be found out within \
                [barman] sync_timeout";
                Err(Refusal::new(RefusalKind::BarmanUnreachable, words))
            })
    }

    /// Those of the backup that a word means to Barman; `show-backup` and `restore` read it alike
    /// (`parse_backup_id` in barman/cli.py).
    async fn tablespaces_of(
        &self,
        server: &ServerName,
        word: &str,
    ) -> Result<Vec<Tablespace>, Refusal> {
        let words = ["--", server.as_str(), word];
        let said = match self.ask(&command("show-backup")?, &words, true).await {
            Ok(said) => said,
            Err(refusal) => {
                return Err(match self.backups(server).await {
                    Ok(backups) if !names_one_of(word, &backups) => {
                        let words = format!("server {server} has no backup {word:?}");
                        Refusal::new(RefusalKind::NotFound, words)
                    }
                    _ => refusal,
                });
            }
        };
        let (state, tablespaces) = shown(&said.finished().stdout, server)
            .ok_or_else(|| not_understood("what barman shows of a backup"))?;
        match state {
            State::Done => {
                tablespaces.ok_or_else(|| not_understood("what barman shows of a backup"))
            }
            // Barman restores none of these, and says so.
            State::Failed => Ok(Vec::new()),
            State::Other => {
                let words = format!("backup {word:?} of server {server} is not finished");
                Err(Refusal::new(RefusalKind::Conflict, words))
            }
        }
    }

    /// Those of all backups: Barman chooses one by the target of the recovery.
    async fn tablespaces_of_all(&self, server: &ServerName) -> Result<Vec<Tablespace>, Refusal> {
        let backups = self.backups(server).await?;
        let done = backups.iter().filter(|backup| backup.state == State::Done);
        let ids: Vec<&str> = done.map(|backup| backup.id.as_str()).collect();
        if ids.len() > LOOKED_AT {
            let words = format!(
                "backup_id is \"auto\": barman would choose among {} backups, and where their \
                 tablespaces go is looked up for {LOOKED_AT} at most; name one of them",
                ids.len()
            );
            return Err(Refusal::invalid(words));
        }
        if ids.is_empty() {
            let words = format!("server {server} has no backup that can be restored");
            return Err(Refusal::new(RefusalKind::NotFound, words));
        }
        let mut all = Vec::new();
        for id in ids {
            for tablespace in self.tablespaces_of(server, id).await? {
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
                let kind = text(backup, "backup_type");
                Some(Backup {
                    id: text(backup, "backup_id")?,
                    name: text(backup, "backup_name"),
                    state: State::of(text(backup, "status").as_deref()),
                    full: !matches!(kind.as_deref(), Some("incremental" | "snapshot")),
                })
            })
            .collect(),
    )
}

/// The state in what Barman shows of a backup, and its tablespaces; `None` when it is something else.
fn shown(said: &[u8], server: &ServerName) -> Option<(State, Option<Vec<Tablespace>>)> {
    let said: Value = serde_json::from_slice(said).ok()?;
    let shown = said.get(server.as_str())?;
    let state = State::of(Some(shown.get("status")?.as_str()?));
    let listed = shown.get("tablespaces").and_then(Value::as_array);
    let text = |tablespace: &Value, key: &str| {
        let text = tablespace.get(key)?.as_str()?;
        // What is masked is not what Barman works with.
        (!redact::is_masked(text)).then(|| text.to_owned())
    };
    let each = listed.map(|listed| {
        let read = listed.iter().map(|tablespace| {
            Some(Tablespace {
                name: text(tablespace, "name")?,
                location: text(tablespace, "location")?,
            })
        });
        read.collect::<Option<Vec<_>>>()
    });
    Some((state, each.flatten()))
}

/// Whether a word names one of the backups, as Barman's shortcuts do (`get_backup_id_using_shortcut`
/// in barman/utils.py of 3.19.1).
#[must_use]
pub fn names_one_of(word: &str, backups: &[Backup]) -> bool {
    backups.iter().any(|backup| match word {
        "latest" | "last" | "oldest" | "first" | "auto" => backup.state == State::Done,
        "latest-full" | "last-full" => backup.state == State::Done && backup.full,
        "last-failed" => backup.state == State::Failed,
        word => backup.id == word || backup.name.as_deref() == Some(word),
    })
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

    #[test]
    fn a_backup_goes_by_its_id_its_name_and_the_words_that_fit() {
        let backups = read(
            r#"{"main": [
                {"backup_id": "20260103T000000", "backup_type": "incremental", "status": "DONE"},
                {"backup_id": "20260105T000000", "backup_type": "snapshot", "status": "DONE"},
                {"backup_id": "20260102T000000", "backup_type": "full", "status": "WAITING_FOR_WALS",
                 "backup_name": "weekly", "size": "1"},
                {"backup_id": "20260104T000000", "status": "FAILED"}], "_INFO": []}"#,
        )
        .unwrap();
        for word in [
            "20260102T000000",
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
        let (partial, failed) = (&backups[..2], &backups[3..]);
        assert!(names_one_of("latest", partial) && !names_one_of("latest-full", partial));
        assert!(!names_one_of("latest", failed));
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
        let of = |backup: &str| shown(format!("{{\"main\": {backup}}}").as_bytes(), &main());
        let fast = Tablespace {
            name: "fast".to_owned(),
            location: "/ts/fast".to_owned(),
        };
        for (backup, tablespaces) in [
            (
                r#"{"status": "DONE", "tablespaces": [
                    {"name": "fast", "location": "/ts/fast", "oid": 16387}]}"#,
                Some(vec![fast]),
            ),
            (r#"{"status": "DONE", "tablespaces": []}"#, Some(Vec::new())),
            (r#"{"status": "DONE"}"#, None),
            (r#"{"status": "DONE", "tablespaces": null}"#, None),
            (
                r#"{"status": "DONE", "tablespaces": [{"name": "x"}]}"#,
                None,
            ),
            (
                r#"{"status": "DONE", "tablespaces": [{"name": "x", "location": 1}]}"#,
                None,
            ),
            (
                r#"{"status": "DONE", "tablespaces": [
                    {"name": "x", "location": "/srv/token=*REDACTED*"}]}"#,
                None,
            ),
        ] {
            assert_eq!(of(backup), Some((State::Done, tablespaces)), "{backup}");
        }
        for (status, state) in [
            ("WAITING_FOR_WALS", State::Done),
            ("FAILED", State::Failed),
            ("STARTED", State::Other),
            ("SYNCING", State::Other),
            ("EMPTY", State::Other),
        ] {
            let backup = format!("{{\"status\": \"{status}\"}}");
            assert_eq!(of(&backup), Some((state, None)), "{backup}");
        }
        for backup in ["{}", "[]", "null", r#"{"status": 1}"#] {
            assert_eq!(of(backup), None, "{backup}");
        }
        assert_eq!(shown(b"{\"other\": {\"status\": \"DONE\"}}", &main()), None);
        assert_eq!(shown(b"", &main()), None);
    }
}
