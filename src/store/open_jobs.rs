//! Accepting jobs, and the jobs whose end is not recorded.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::record::{Job, JobFolder, JobResult};
use super::{Store, StoreError, make_folder, open_directory};
use crate::atomicfile::{Lock, sync_parent};
use crate::names::Ticket;

/// A job that was recorded and whose folder is locked for its supervisor.
#[derive(Debug)]
pub struct AcceptedJob {
    /// The job's folder.
    pub folder: JobFolder,
    /// The folder, opened and locked; whoever holds a duplicate of it supervises the job.
    pub lock: File,
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// As many jobs run and wait as may.
    #[error("{open} jobs run or wait, which is the limit")]
    QueueFull {
        /// How many.
        open: usize,
    },
    /// The same job runs or waits already.
    #[error("the same job runs already: ticket {ticket}")]
    SameJob {
        /// Its ticket.
        ticket: Ticket,
    },
    /// Another job that has not ended writes to a directory of this one, or to one below or above it.
    #[error("ticket {} writes to {}, or below or above it", job.ticket, directory.display())]
    DirectoryInUse {
        /// The other job.
        job: Box<Job>,
        /// The directory of this one.
        directory: PathBuf,
    },
    /// The store can't record it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Records a job: folder, record, open marker and index line, each on disk, the folder locked.
    ///
    /// One job is accepted at a time, whichever process asks.
    ///
    /// # Errors
    /// When the same exclusive job is open already, one that writes to its directories is, `limit`
    /// jobs are, or the store can't record it. Nothing is left behind then.
    pub fn accept(&self, job: &Job, limit: usize) -> Result<AcceptedJob, Refused> {
        let lock_path = self.accept_lock();
        let _one_at_a_time = Lock::exclusive(&lock_path).map_err(StoreError::record(&lock_path))?;
        let open = self.open_tickets()?;
        let taken = open.len();
        // A request that is repeated needs no room.
        if job.exclusive || job.fills.is_some() {
            self.check_beside(job, open)?;
        }
        if taken >= limit {
            return Err(Refused::QueueFull { open: taken });
        }
        let folder = self.job(&job.ticket);
        match self.write_accepted(job, &folder) {
            Ok(lock) => Ok(AcceptedJob { folder, lock }),
            Err(error) => {
                self.forget(&folder);
                Err(error.into())
            }
        }
    }

    /// The tickets of the jobs whose end is not recorded, the oldest first.
    ///
    /// # Errors
    /// When the folder of open jobs can't be read.
    pub fn open_tickets(&self) -> Result<Vec<Ticket>, StoreError> {
        tickets_in(&self.open_folder())
    }

    /// Records the end of a job whose folder the caller has locked, and everything that follows
    /// from it; `tell` as for [`Store::close_recorded`]. Repeating it after a crash at any point
    /// completes it.
    ///
    /// # Errors
    /// When a step can't be done; the job stays among the open ones.
    pub fn close(
        &self,
        folder: &JobFolder,
        result: &JobResult,
        tell: impl FnOnce(&JobResult),
    ) -> Result<(), StoreError> {
        folder.write_result(result)?;
        self.close_recorded(folder, tell)
    }

    /// Does what follows from an end that is recorded, for a caller who has locked the folder.
    ///
    /// `tell` is called with the end that counts before the job stops being open: after a crash it
    /// may be called once more, and is never left out.
    ///
    /// # Errors
    /// When a step can't be done; the job stays among the open ones.
    pub fn close_recorded(
        &self,
        folder: &JobFolder,
        tell: impl FnOnce(&JobResult),
    ) -> Result<(), StoreError> {
        // What gives room comes before what may need some.
        folder.remove_captures()?;
        folder.remove_torn()?;
        folder.mask_job()?;
        match folder.result() {
            Ok(Some(result)) => {
                self.index_end(folder.ticket(), &result)?;
                tell(&result);
            }
            Ok(None) => {}
            // It will not get better, and the job must not stay open for it.
            Err(error) if error.is_damaged() => {}
            Err(error) => return Err(error),
        }
        self.remove_marker(folder.ticket())
    }

    /// Removes what a crash has left of a job that was never recorded, and so never handed out.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove_unrecorded(&self, folder: &JobFolder) -> Result<(), StoreError> {
        let lock_path = self.accept_lock();
        let _nobody_accepts =
            Lock::exclusive(&lock_path).map_err(StoreError::record(&lock_path))?;
        if folder.job()?.is_some() {
            return Ok(());
        }
        match fs::remove_dir_all(folder.path()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::record(folder.path())(error)),
        }
        self.remove_marker(folder.ticket())
    }

    /// Removes the marker of an open job.
    fn remove_marker(&self, ticket: &Ticket) -> Result<(), StoreError> {
        let marker = self.open_folder().join(ticket.as_str());
        match fs::remove_file(&marker) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StoreError::record(&marker)(error)),
        }
    }

    fn write_accepted(&self, job: &Job, folder: &JobFolder) -> Result<File, StoreError> {
        let month = self.month(&job.ticket.month());
        make_folder(&month).map_err(StoreError::record(&month))?;
        // The marker comes first: a crash after it leaves a marker without a record, which is
        // removed, and never a record that nobody looks after.
        let marker = self.open_folder().join(job.ticket.as_str());
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&marker);
        made.and_then(|_| sync_parent(&marker))
            .map_err(StoreError::record(&marker))?;
        let path = folder.path();
        let lock = make_folder(path).and_then(|()| {
            let lock = open_directory(path)?;
            lock.try_lock().map_err(io::Error::from)?;
            Ok(lock)
        });
        let lock = lock.map_err(StoreError::record(path))?;
        self.join_line(&job.ticket)?;
        // A line without a record is passed over by its readers; a record without a line would
        // never be listed.
        self.index_accepted(job)?;
        folder.write_job(job)?;
        Ok(lock)
    }

    /// Removes what is left of a job that could not be recorded.
    fn forget(&self, folder: &JobFolder) {
        // The caller reports why the job was not accepted. What can't be removed now has no
        // complete record and goes when open jobs are looked through the next time.
        self.leave_line(folder.ticket());
        drop(fs::remove_dir_all(folder.path()));
        drop(self.remove_marker(folder.ticket()));
    }

    /// Whether a job may run beside those that are open.
    fn check_beside(&self, job: &Job, open: Vec<Ticket>) -> Result<(), Refused> {
        for ticket in open {
            let folder = self.job(&ticket);
            let Ok(Some(other)) = folder.job() else {
                continue;
            };
            let same = job.exclusive
                && other.command == job.command
                && other.arguments == job.arguments
                && on_one_host(job, &other);
            let both = job.fills.as_ref().zip(other.fills.as_ref());
            let shared = both
                .filter(|(own, _)| !own.ssh_command.is_empty() || on_one_host(job, &other))
                .and_then(|(own, its)| own.shared_with(its));
            if !same && shared.is_none() {
                continue;
            }
            // On another host it runs whether or not somebody looks after it here.
            let supervised = folder.is_supervised()? || self.abroad(&ticket)?.is_some();
            // Barman outlives whoever looks after it; what has come of it is recorded when it ends.
            let runs = supervised || folder.process().exists();
            if !runs || folder.result()?.is_some() {
                continue;
            }
            let is_lost = !supervised || folder.orphaned().exists();
            match shared.cloned() {
                Some(directory) if !same || is_lost => {
                    let job = Box::new(other);
                    return Err(Refused::DirectoryInUse { job, directory });
                }
                _ if same && supervised => return Err(Refused::SameJob { ticket }),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether two jobs have the same Barman host.
fn on_one_host(one: &Job, other: &Job) -> bool {
    let host = |job: &Job| job.remote.as_ref().map(|there| there.remote.host.clone());
    host(one) == host(other)
}

/// The tickets that files of a folder are named by, the oldest first.
pub(super) fn tickets_in(path: &Path) -> Result<Vec<Ticket>, StoreError> {
    let names = fs::read_dir(path).map_err(StoreError::record(path))?;
    let mut tickets: Vec<Ticket> = names
        .flatten()
        .filter_map(|name| Ticket::parse(name.file_name().to_str()?).ok())
        .collect();
    tickets.sort();
    Ok(tickets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destinations::Destinations;
    use crate::names::{CommandName, Scope, ServerName, UserName};
    use crate::output::Kept;
    use crate::settings::Remote;
    use crate::store::record::EndState;
    use crate::store::record::RemoteHost;

    fn job(second: i64) -> Job {
        let at = time::OffsetDateTime::from_unix_timestamp(1_795_000_000 + second).unwrap();
        Job {
            ticket: Ticket::new(at, getrandom::u64().unwrap()),
            command: CommandName::parse("backup").unwrap(),
            names: vec![CommandName::parse("backup").unwrap()],
            scope: Scope::Servers(vec![ServerName::parse("main").unwrap()]),
            program: "/usr/bin/barman".into(),
            arguments: vec!["backup".into(), "--".into(), "main".into()],
            data: super::super::record::DataForm::Lines,
            user: UserName::parse("dba").unwrap(),
            from: None,
            accepted_at: "2026-11-20T21:43:04Z".into(),
            request_id: "r".into(),
            time_limit: None,
            output_limit: 1000,
            max_jobs: 4,
            exclusive: false,
            requires_full: false,
            or_written_out: false,
            fills: None,
            users: "/etc/barmanapi/client.conf".into(),
            remote: None,
        }
    }

    #[test]
    fn a_closed_job_holds_no_secret_and_nothing_that_a_crash_has_torn() {
        let (_dir, store) = store();
        let mut job = job(0);
        job.arguments
            .push("conninfo=host=a password=hunter2".into());
        job.fills = Some(Destinations {
            ssh_command: "ssh -o password=hunter2 db".into(),
            directories: Vec::new(),
        });
        let accepted = store.accept(&job, 10).unwrap();
        let folder = &accepted.folder;
        for torn in [".job.json.00", ".process.json.00", ".result.json.00"] {
            fs::copy(folder.file("job.json"), folder.file(torn)).unwrap();
        }
        // Somebody may be writing this one right now.
        fs::write(folder.file(".cancel.00"), "{}").unwrap();
        folder.write_result(&end(EndState::Lost)).unwrap();
        // As whoever finds it does, after a crash between the result and the rest.
        store.close_recorded(folder, |_| {}).unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [".cancel.00", "job.json", "result.json"]);
        let kept = folder.job().unwrap().unwrap();
        assert_eq!(
            kept.arguments.last().unwrap(),
            "conninfo=host=a password=*REDACTED*"
        );
        let kept = kept.fills.unwrap();
        assert_eq!(kept.ssh_command, "ssh -o password=*REDACTED* db");
    }

    #[test]
    fn a_damaged_record_does_not_keep_its_job_open() {
        let (_dir, store) = store();
        let accepted = store.accept(&job(0), 10).unwrap();
        fs::write(accepted.folder.file("job.json"), "{").unwrap();
        store
            .close(&accepted.folder, &end(EndState::Done), |_| {})
            .unwrap();
        assert!(store.open_tickets().unwrap().is_empty());
    }

    fn end(state: EndState) -> JobResult {
        JobResult {
            state,
            exit_code: Some(0),
            signal: None,
            reason: None,
            detail: None,
            started_at: None,
            ended_at: "2026-11-20T21:43:05Z".into(),
            duration_ms: Some(1),
            stdout: Kept::default(),
            stderr: Kept::default(),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        (dir, store)
    }

    fn list(store: &Store, month: &crate::names::Month) -> Vec<(Ticket, Option<EndState>)> {
        let entries = store.active_entries(month).unwrap();
        entries
            .map(|e| e.unwrap())
            .map(|e| (e.accepted.ticket, e.ended.map(|e| e.state)))
            .collect()
    }

    #[test]
    fn a_job_is_open_and_supervised_until_its_end_is_recorded() {
        let (_dir, store) = store();
        let job = job(0);
        let accepted = store.accept(&job, 10).unwrap();
        assert_eq!(accepted.folder.job().unwrap().unwrap(), job);
        assert!(accepted.folder.is_supervised().unwrap());
        assert_eq!(
            store.open_tickets().unwrap(),
            std::slice::from_ref(&job.ticket)
        );
        store
            .close(&accepted.folder, &end(EndState::Done), |_| {})
            .unwrap();
        drop(accepted.lock);
        assert!(!accepted.folder.is_supervised().unwrap());
        assert!(store.open_tickets().unwrap().is_empty());
        assert_eq!(
            list(&store, &job.ticket.month()),
            [(job.ticket, Some(EndState::Done))]
        );
    }

    #[test]
    fn an_end_that_is_recorded_is_never_changed() {
        let (_dir, store) = store();
        let accepted = store.accept(&job(0), 10).unwrap();
        store
            .close(&accepted.folder, &end(EndState::Done), |_| {})
            .unwrap();
        assert!(!accepted.folder.write_result(&end(EndState::Lost)).unwrap());
        assert_eq!(
            accepted.folder.result().unwrap().unwrap().state,
            EndState::Done
        );
    }

    #[test]
    fn the_limit_of_open_jobs_and_the_same_exclusive_job_are_refused_and_leave_nothing() {
        let (_dir, store) = store();
        let first = Job {
            exclusive: true,
            ..job(0)
        };
        let held = store.accept(&first, 2).unwrap();
        let second = Job {
            exclusive: true,
            ..job(1)
        };
        assert!(
            matches!(store.accept(&second, 2), Err(Refused::SameJob { ticket })
            if ticket == first.ticket)
        );
        let third = job(2);
        store.accept(&third, 2).unwrap();
        assert!(matches!(
            store.accept(&job(3), 2),
            Err(Refused::QueueFull { open: 2 })
        ));
        // What runs already is told as that, also when there is no room.
        assert!(
            matches!(store.accept(&second, 2), Err(Refused::SameJob { ticket })
            if ticket == first.ticket)
        );
        assert_eq!(store.open_tickets().unwrap(), [first.ticket, third.ticket]);
        drop(held);
    }

    #[test]
    fn a_directory_that_is_filled_is_refused_until_nobody_looks_after_that_job() {
        let (_dir, store) = store();
        let into = |second: i64, directory: &str| Job {
            fills: Some(Destinations {
                ssh_command: String::new(),
                directories: vec![directory.into()],
            }),
            ..job(second)
        };
        let first = into(0, "/r/data");
        let held = store.accept(&first, 10).unwrap();
        let below = into(1, "/r/data/base");
        let refused = store.accept(&below, 10).unwrap_err();
        assert!(
            matches!(&refused, Refused::DirectoryInUse { job, directory }
            if **job == first && directory == Path::new("/r/data/base")),
            "{refused}"
        );
        store.accept(&into(2, "/r/other"), 10).unwrap();
        store.accept(&job(3), 10).unwrap();
        drop(held);
        let other_host = Job {
            remote: Some(RemoteHost {
                remote: Remote {
                    user: "barman".into(),
                    host: "backup2".into(),
                    port: None,
                    identity: None,
                    options: Vec::new(),
                },
                sockets: "/tmp".into(),
            }),
            ..into(4, "/r/data")
        };
        store.accept(&other_host, 10).unwrap();
        store.accept(&below, 10).unwrap();
    }

    #[test]
    fn the_list_is_newest_first_and_the_same_after_the_index_is_gone() {
        let (_dir, store) = store();
        let month = job(0).ticket.month();
        let mut tickets = Vec::new();
        for second in 0..50 {
            let job = job(second);
            let accepted = store.accept(&job, 100).unwrap();
            if second % 2 == 0 {
                store
                    .close(&accepted.folder, &end(EndState::Failed), |_| {})
                    .unwrap();
            }
            tickets.insert(0, job.ticket);
        }
        let listed = list(&store, &month);
        assert_eq!(
            listed
                .iter()
                .map(|(ticket, _)| ticket.clone())
                .collect::<Vec<_>>(),
            tickets
        );
        assert_eq!(
            listed.iter().filter(|(_, state)| state.is_some()).count(),
            25
        );
        fs::remove_file(store.month(&month).join("index")).unwrap();
        assert_eq!(list(&store, &month), listed);
    }

    #[test]
    fn a_torn_line_takes_no_other_with_it() {
        let (_dir, store) = store();
        let first = job(0);
        store.accept(&first, 10).unwrap();
        let index = store.month(&first.ticket.month()).join("index");
        let mut text = fs::read(&index).unwrap();
        text.extend_from_slice(br#"{"ticket":"2026"#);
        fs::write(&index, text).unwrap();
        let second = job(1);
        store.accept(&second, 10).unwrap();
        let listed = list(&store, &first.ticket.month());
        assert_eq!(listed, [(second.ticket, None), (first.ticket, None)]);
    }

    #[test]
    fn what_was_never_recorded_is_removed_and_what_was_is_not() {
        let (_dir, store) = store();
        let kept = store.accept(&job(0), 10).unwrap();
        store.remove_unrecorded(&kept.folder).unwrap();
        assert!(kept.folder.job().unwrap().is_some());
        let torn = store.accept(&job(1), 10).unwrap();
        fs::remove_file(torn.folder.file("job.json")).unwrap();
        store.remove_unrecorded(&torn.folder).unwrap();
        assert_eq!(
            store.open_tickets().unwrap(),
            [kept.folder.ticket().clone()]
        );
        assert!(!torn.folder.path().exists());
    }
}
