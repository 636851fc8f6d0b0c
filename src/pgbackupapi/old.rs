//! Operations that pg-backup-api has run: the files it left where Barman keeps its servers.
//!
//! `BARMAN_HOME/[SERVER/]jobs/ID.json` says what was wanted, `…/output/ID.json` how it ended
//! (`server_operation.py` of pg-backup-api 2.2). They are read and never written.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::place::{Kind, Place};
use crate::blocking;
use crate::configfile::{ConfigError, ConfigFiles};
use crate::dispatch::{Refusal, RefusalKind};
use crate::fresh::Fresh;
use crate::redact;
use crate::runner::Host;
use crate::runner::files::FilesError;

/// Files of one list that are left out because they can't be read; more are a fault to be told.
const LEFT_OUT: u32 = 16;

/// An id of pg-backup-api: the local second, `YYYYmmddTHHMMSS`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OldId(String);

impl OldId {
    /// The id, when it has its form.
    pub(super) fn parse(word: &str) -> Option<Self> {
        let is_id = word.len() == 15
            && word.bytes().enumerate().all(|(at, byte)| {
                if at == 8 {
                    byte == b'T'
                } else {
                    byte.is_ascii_digit()
                }
            });
        is_id.then(|| Self(word.to_owned()))
    }
}

/// An operation of pg-backup-api.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Old {
    id: OldId,
    /// What it did.
    pub(super) kind: Kind,
    started_at: Option<String>,
    end: Option<End>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    success: bool,
    at: Option<String>,
    output: Option<String>,
}

/// The file that says what was wanted.
#[derive(Deserialize)]
struct JobFile {
    operation_type: Option<String>,
    start_time: Option<String>,
}

/// The file that says how it ended; it repeats the other one.
#[derive(Deserialize)]
struct OutputFile {
    /// What does not say that it went well did not.
    #[serde(default)]
    success: bool,
    operation_type: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
    output: Option<String>,
}

impl Old {
    /// What the two files say; `None` when neither can be understood.
    fn of(id: OldId, job: Option<&[u8]>, output: Option<&[u8]>) -> Option<Self> {
        let job: Option<JobFile> = job.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let output: Option<OutputFile> =
            output.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let (word, started_at) = match (job, &output) {
            (Some(job), _) => (job.operation_type, job.start_time),
            (None, Some(output)) => (output.operation_type.clone(), output.start_time.clone()),
            (None, None) => return None,
        };
        let kind = Kind::parse(&word.unwrap_or_default())?;
        Some(Self {
            id,
            kind,
            started_at,
            end: output.map(|output| End {
                success: output.success,
                at: output.end_time,
                output: output.output,
            }),
        })
    }

    fn status(&self) -> &'static str {
        match &self.end {
            // Its own answer; whether anything still runs can't be told.
            None => "IN_PROGRESS",
            Some(end) if end.success => "DONE",
            Some(_) => "FAILED",
        }
    }

    /// All of it, as an answer.
    pub(super) fn body(&self) -> Value {
        let end = self.end.as_ref();
        json!({
            "operation_id": self.id.0,
            "status": self.status(),
            "type": self.kind.word(),
            "output": masked(end.and_then(|end| end.output.as_deref())),
            "exit_code": Value::Null,
            "started_at": masked(self.started_at.as_deref()),
            "ended_at": masked(end.and_then(|end| end.at.as_deref())),
        })
    }

    /// Its line in a list.
    pub(super) fn line(&self) -> Value {
        json!({"id": self.id.0, "type": self.kind.word()})
    }
}

fn masked(text: Option<&str>) -> Option<Cow<'_, str>> {
    text.map(redact::text)
}

/// The operation of an id; `None` when there is none.
///
/// # Errors
/// When the files of the Barman host can't be read.
pub(super) async fn one(
    config: &Arc<ConfigFiles>,
    place: Place,
    id: OldId,
) -> Result<Option<Old>, Refusal> {
    let config = Arc::clone(config);
    let read = blocking::run(move || {
        let Some(folder) = folder(&config, &place)? else {
            return Ok(None);
        };
        let name = format!("{}.json", id.0);
        let paths = ["jobs", "output"].map(|part| folder.join(part).join(&name));
        let mut found = read(config.host(), &paths)?.into_iter();
        let mut next = || found.next().flatten();
        let (job, output) = (next(), next());
        Ok(Old::of(id, job.as_deref(), output.as_deref()))
    });
    read.await.map_err(Refusal::internal)?
}

/// Lists of what pg-backup-api has left, by place and length; those who ask together share a look.
pub(super) type Left = Fresh<(Place, usize), Result<Arc<Latest>, Arc<Refusal>>>;

/// The latest operations, the newest first; and whether there are more.
type Latest = (Vec<Old>, bool);

/// The latest operations of a place, `limit` at most.
///
/// # Errors
/// When the files of the Barman host can't be read.
pub(super) async fn list(
    left: &Left,
    config: &Arc<ConfigFiles>,
    place: Place,
    limit: usize,
) -> Result<Arc<Latest>, Refusal> {
    let key = (place.clone(), limit);
    let look = || {
        let config = Arc::clone(config);
        async move {
            let looked = blocking::run(move || latest(&config, &place, limit)).await;
            let looked = looked.map_err(Refusal::internal).flatten();
            looked.map(Arc::new).map_err(Arc::new)
        }
    };
    let latest = left.get(&key, look).await.map_err(Refusal::internal)?;
    latest.map_err(|refusal| Refusal::told(&refusal))
}

fn latest(config: &ConfigFiles, place: &Place, limit: usize) -> Result<Latest, Refusal> {
    let Some(folder) = folder(config, place)? else {
        return Ok((Vec::new(), false));
    };
    let jobs = folder.join("jobs");
    let names = match config.host().list(&jobs) {
        Ok(names) => names,
        Err(FilesError::NotFound { .. } | FilesError::NotAFile { .. }) => Vec::new(),
        // Which of them are the latest can't be told; there are more for certain.
        Err(FilesError::TooMany { .. }) => return Ok((Vec::new(), true)),
        Err(error) => return Err(unreadable(error)),
    };
    let mut ids: Vec<OldId> = names.iter().filter_map(|name| id_of(name)).collect();
    ids.sort();
    let more = ids.len() > limit;
    let ids: Vec<OldId> = ids.into_iter().rev().take(limit).collect();
    let paths: Vec<PathBuf> = ids
        .iter()
        .map(|id| jobs.join(format!("{}.json", id.0)))
        .collect();
    let mut found = read_what_can_be(config.host(), paths.clone())?;
    let old = ids.into_iter().zip(&paths).filter_map(|(id, path)| {
        let job = found.remove(path)?;
        Old::of(id, Some(&job), None)
    });
    Ok((old.collect(), more))
}

fn id_of(name: &OsStr) -> Option<OldId> {
    OldId::parse(name.to_str()?.strip_suffix(".json")?)
}

/// The folder of a place below `barman_home`; `None` for a name that is no folder's.
fn folder(config: &ConfigFiles, place: &Place) -> Result<Option<PathBuf>, Refusal> {
    let name = match place {
        Place::Instance => "",
        Place::Server(name) if is_folder(name) => name,
        Place::Server(_) => return Ok(None),
    };
    match config.barman_home() {
        Ok(home) => Ok(home.map(|home| home.join(name))),
        Err(error @ ConfigError::Files(_)) => Err(unread(error)),
        // Where there is no configuration that can be read, there are no files to be found by it.
        Err(error) => {
            tracing::debug!(%error, "barman_home is not known");
            Ok(None)
        }
    }
}

fn is_folder(name: &str) -> bool {
    !name.contains('/') && !["", ".", ".."].contains(&name)
}

/// Reads files, those left out that are none or may not be read: one of them must not hide all others.
fn read_what_can_be(
    host: &Host,
    mut paths: Vec<PathBuf>,
) -> Result<HashMap<PathBuf, Vec<u8>>, Refusal> {
    let mut left_out = 0;
    loop {
        if paths.is_empty() {
            return Ok(HashMap::new());
        }
        let odd = match host.read(&paths) {
            Ok(found) => {
                let read = paths.into_iter().zip(found);
                return Ok(read
                    .filter_map(|(path, found)| Some((path, found?.bytes)))
                    .collect());
            }
            Err(
                FilesError::NotAFile { path }
                | FilesError::NotPermitted { path }
                | FilesError::TooLarge { path, .. },
            ) if left_out < LEFT_OUT && paths.contains(&path) => path,
            Err(error) => return Err(unreadable(error)),
        };
        tracing::warn!(path = %odd.display(), "a job file of pg-backup-api can't be read");
        paths.retain(|path| *path != odd);
        left_out += 1;
    }
}

fn read(host: &Host, paths: &[PathBuf]) -> Result<Vec<Option<Vec<u8>>>, Refusal> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let found = host.read(paths).map_err(unreadable)?;
    let bytes = found
        .into_iter()
        .map(|found| found.map(|contents| contents.bytes));
    Ok(bytes.collect())
}

fn unreadable(error: FilesError) -> Refusal {
    unread(ConfigError::Files(error))
}

fn unread(error: ConfigError) -> Refusal {
    let words = format!("the job files of pg-backup-api can't be read: {error}");
    Refusal {
        source: Some(Box::new(error)),
        ..Refusal::new(RefusalKind::BarmanUnreachable, words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(job: Option<&str>, output: Option<&str>) -> Option<Old> {
        let id = OldId::parse("20240102T030405").unwrap();
        Old::of(id, job.map(str::as_bytes), output.map(str::as_bytes))
    }

    const JOB: &str = r#"{"type": "recovery", "backup_id": "latest", "destination_directory": "/r",
        "remote_ssh_command": "ssh x", "operation_type": "recovery",
        "start_time": "2024-01-02T03:04:05.000006"}"#;

    #[test]
    fn an_id_is_a_second_and_leads_nowhere_else() {
        assert!(OldId::parse("20240102T030405").is_some());
        for word in [
            "",
            "20240102T03040",
            "20240102T0304055",
            "20240102-030405",
            "../../../etc/pas",
            "20240102T03040/",
            "２0240102T0304",
        ] {
            assert_eq!(OldId::parse(word), None, "{word}");
        }
        assert_eq!(id_of(OsStr::new("20240102T030405.txt")), None);
        assert!(id_of(OsStr::new("20240102T030405.json")).is_some());
        for name in ["", ".", "..", "a/b", "/"] {
            assert!(!is_folder(name), "{name}");
        }
    }

    #[test]
    fn the_two_files_tell_how_it_went() {
        let going_on = old(Some(JOB), None).unwrap().body();
        assert_eq!(going_on["operation_id"], "20240102T030405");
        assert_eq!(going_on["status"], "IN_PROGRESS");
        assert_eq!(going_on["started_at"], "2024-01-02T03:04:05.000006");
        let end = |success: bool| {
            let mut end: Value = serde_json::from_str(JOB).unwrap();
            end["success"] = success.into();
            end["end_time"] = "2024-01-02T03:05:05.000006".into();
            end["output"] = "conninfo = host=h password=hunter2\nfine\n".into();
            end.to_string()
        };
        let done = old(Some(JOB), Some(&end(true))).unwrap().body();
        assert_eq!(done["status"], "DONE");
        assert_eq!(done["ended_at"], "2024-01-02T03:05:05.000006");
        let output = done["output"].as_str().unwrap();
        assert!(output.ends_with("fine\n") && !output.contains("hunter2"));
        let odd = end(true).replace("2024-01-02", "password=hunter2 ");
        let odd = old(Some(&odd), Some(&odd)).unwrap().body().to_string();
        assert!(
            odd.contains("*REDACTED*") && !odd.contains("hunter2"),
            "{odd}"
        );
        let failed = old(None, Some(&end(false))).unwrap();
        assert_eq!(failed.status(), "FAILED");
        assert_eq!(
            failed.line(),
            json!({"id": "20240102T030405", "type": "recovery"})
        );
        let unsaid = old(Some(JOB), Some("{}")).unwrap();
        assert_eq!(unsaid.status(), "FAILED");
    }

    #[test]
    fn what_can_t_be_understood_is_not_there() {
        assert_eq!(old(None, None), None);
        assert_eq!(old(Some("{"), None), None);
        assert_eq!(old(Some("[]"), None), None);
        assert_eq!(old(Some(r#"{"operation_type": "x"}"#), None), None);
        // An end that is being written is none yet.
        let begun = old(Some(JOB), Some(r#"{"success": tr"#)).unwrap();
        assert_eq!(begun.status(), "IN_PROGRESS");
    }
}
