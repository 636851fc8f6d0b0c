use super::*;
use std::os::unix::fs::PermissionsExt;
use time::macros::datetime;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn at(ts: OffsetDateTime) -> Entry {
    Entry::new(ts, "accepted")
}

#[test]
fn an_event_is_one_line_with_what_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let audit = Audit::open(&logs, 0).unwrap();
    let entry = Entry {
        user: Some("ada\n\u{2028}".to_owned()),
        servers: vec!["main".to_owned(), "x".repeat(600)],
        status: Some(202),
        ..at(datetime!(2026-11-20 21:43:04.5 +1))
    };
    audit.record(&entry).unwrap();
    let text = fs::read_to_string(logs.join("audit.log")).unwrap();
    let wanted = format!(
        "{{\"ts\":\"2026-11-20T20:43:04.5Z\",\"event\":\"accepted\",\"user\":\"ada\\n\\u2028\",\"servers\":[\"main\",\"{}…\"],\"status\":202}}\n",
        "x".repeat(512)
    );
    assert_eq!(text, wanted);
    assert_eq!(
        fs::metadata(logs.join("audit.log"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    assert_eq!(
        fs::metadata(&logs).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn another_month_begins_another_file_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), 2).unwrap();
    for ts in [
        datetime!(2026-09-30 23:59:59 UTC),
        datetime!(2026-10-01 00:00:00 UTC),
        datetime!(2026-10-02 00:00:00 UTC),
        datetime!(2026-12-01 00:00:00 UTC),
        datetime!(2027-01-01 00:00:00 UTC),
    ] {
        audit.record(&at(ts)).unwrap();
    }
    assert_eq!(
        names(dir.path()),
        ["audit-202612.log", "audit.lock", "audit.log"]
    );
    audit
        .record(&at(datetime!(2027-02-01 00:00:00 UTC)))
        .unwrap();
    assert_eq!(
        names(dir.path()),
        [
            "audit-202612.log",
            "audit-202701.log",
            "audit.lock",
            "audit.log"
        ]
    );
}

#[test]
fn events_that_are_written_together_are_a_line_each_in_the_log_of_their_month() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), 0).unwrap();
    let (october, november) = (
        at(datetime!(2026-10-31 23:59:59 UTC)),
        at(datetime!(2026-11-01 0:00 UTC)),
    );
    audit.note(&[]).unwrap();
    let together = [october.clone(), october, november.clone(), november.clone()];
    audit.note(&together).unwrap();
    audit.note(&[november]).unwrap();
    let lines = |name: &str| {
        let text = fs::read_to_string(dir.path().join(name)).unwrap();
        text.lines().count()
    };
    assert_eq!((lines("audit-202610.log"), lines("audit.log")), (2, 3));
}

#[test]
fn every_month_is_kept_when_nothing_else_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), 0).unwrap();
    for ts in [
        datetime!(2020-01-01 0:00 UTC),
        datetime!(2026-01-01 0:00 UTC),
        datetime!(2026-02-01 0:00 UTC),
    ] {
        audit.record(&at(ts)).unwrap();
    }
    assert_eq!(
        names(dir.path()),
        [
            "audit-202001.log",
            "audit-202601.log",
            "audit.lock",
            "audit.log"
        ]
    );
}

#[test]
fn a_clock_that_goes_back_and_forth_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), 0).unwrap();
    let (october, november) = (
        datetime!(2026-10-31 0:00 UTC),
        datetime!(2026-11-01 0:00 UTC),
    );
    audit.record(&at(october)).unwrap();
    audit.record(&at(november)).unwrap();
    audit.record(&at(october)).unwrap();
    assert_eq!(
        names(dir.path()),
        ["audit-202610.log", "audit.lock", "audit.log"]
    );
    fs::remove_file(dir.path().join("audit.log")).unwrap();
    audit.record(&at(october)).unwrap();
    audit.record(&at(november)).unwrap();
    assert_eq!(
        names(dir.path()),
        [
            "audit-202610.2.log",
            "audit-202610.log",
            "audit.lock",
            "audit.log"
        ]
    );
}

#[test]
fn writers_share_the_log_and_the_change_of_month() {
    let dir = tempfile::tempdir().unwrap();
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let audit = Audit::open(dir.path(), 0).unwrap();
            thread::spawn(move || {
                for month in 1..=12u8 {
                    let day =
                        time::Date::from_calendar_date(2026, month.try_into().unwrap(), 1).unwrap();
                    audit.record(&at(day.midnight().assume_utc())).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let mut lines = 0;
    for name in names(dir.path()) {
        for line in fs::read_to_string(dir.path().join(name)).unwrap().lines() {
            serde_json::from_str::<Value>(line).unwrap();
            lines += 1;
        }
    }
    assert_eq!(lines, 36);
}

#[test]
fn a_line_that_a_crash_cut_off_swallows_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), 0).unwrap();
    let first = at(datetime!(2026-11-20 0:00 UTC));
    audit.record(&first).unwrap();
    let path = dir.path().join("audit.log");
    fs::write(
        &path,
        [&fs::read(&path).unwrap(), b"{\"ts\":\"20".as_slice()].concat(),
    )
    .unwrap();
    audit.record(&first).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let whole = text
        .lines()
        .filter(|line| serde_json::from_str::<Value>(line).is_ok())
        .count();
    assert_eq!((whole, text.lines().count()), (2, 3));
}

#[test]
fn a_log_that_cannot_be_written_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("logs"), "in the way").unwrap();
    assert!(Audit::open(&dir.path().join("logs"), 0).is_err());
    let audit = Audit::open(&dir.path().join("there"), 0).unwrap();
    fs::remove_dir_all(dir.path().join("there")).unwrap();
    assert!(audit.record(&at(datetime!(2026-11-20 0:00 UTC))).is_err());
}

#[test]
fn lines_that_come_together_wait_for_a_held_log_once() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), 0).unwrap();
    let ts = datetime!(2026-11-20 0:00 UTC);
    let held = File::create(dir.path().join("audit.lock")).unwrap();
    held.lock().unwrap();
    let began = Instant::now();
    let error = audit.note(&[at(ts), at(ts), at(ts)]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(began.elapsed() < 2 * PATIENCE);
    drop(held);
    audit.note(&[at(ts), at(ts)]).unwrap();
    let text = fs::read_to_string(dir.path().join("audit.log")).unwrap();
    assert_eq!(text.lines().count(), 2);
}
