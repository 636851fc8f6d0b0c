//! Jobs that are accepted, refused, ended and found again.

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
