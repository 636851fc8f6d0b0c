//! Jobs of closed months, written as they would have been in their time.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use barmanapi::names::{CommandName, Month, Scope, ServerName, Ticket, UserName};
use barmanapi::output::Kept;
use barmanapi::store::Store;
use barmanapi::store::open_jobs::AcceptedJob;
use barmanapi::store::record::{DataForm, EndState, Job, JobResult};
use serde_json::Value;

use crate::rig::{Lab, Site, User};

/// The month that lies so many before the current one.
pub(super) fn month(back: u32) -> Month {
    let now = Month::of(time::OffsetDateTime::now_utc());
    let mut at = time::OffsetDateTime::now_utc();
    while Month::of(at).months_before(&now) < back {
        at -= time::Duration::days(1);
    }
    Month::of(at)
}

/// A store that jobs of the past are written to, before or while it is served.
pub(super) struct Past {
    pub(super) store: Store,
    pub(super) root: PathBuf,
    next: u64,
}

impl Past {
    pub(super) fn new(site: &Site) -> Self {
        let root = site.file("store");
        give(&root, false);
        Self {
            store: Store::open(&root).unwrap(),
            root,
            next: 0,
        }
    }

    /// Accepts a job of the fifth of a month, a second after the one before.
    pub(super) fn accept(&mut self, month: &Month, server: &str) -> AcceptedJob {
        self.next += 1;
        let text = format!(
            "{month}05T{:02}{:02}{:02}-000000000000",
            self.next / 3600,
            self.next / 60 % 60,
            self.next % 60
        );
        let random = self.next.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let random = Ticket::new(time::OffsetDateTime::now_utc(), random);
        let ticket = Ticket::parse(&format!("{}{}", &text[..16], &random.as_str()[16..])).unwrap();
        let command = CommandName::parse("backup").unwrap();
        let job = Job {
            names: vec![command.clone()],
            command,
            scope: Scope::Servers(vec![ServerName::parse(server).unwrap()]),
            program: "/usr/bin/barman".into(),
            arguments: vec!["backup".into(), "--".into(), server.into()],
            data: DataForm::Lines,
            user: UserName::parse("ada").unwrap(),
            from: None,
            accepted_at: ticket.accepted_at(),
            request_id: "r".into(),
            time_limit: None,
            output_limit: 16 << 20,
            max_jobs: 4,
            exclusive: false,
            requires_full: false,
            or_written_out: false,
            fills: None,
            users: self.root.with_file_name("client.conf"),
            remote: None,
            ticket,
        };
        self.store.accept(&job, 100_000).unwrap()
    }

    /// Ends a job in one of several ways, with so many lines of output.
    pub(super) fn end(&self, job: &AcceptedJob, lines: usize) {
        let ticket = job.folder.ticket();
        let mut text = String::new();
        for n in 0..lines {
            writeln!(text, "line {n} of {ticket}").unwrap();
        }
        fs::write(job.folder.file("stdout"), text).unwrap();
        fs::write(job.folder.file("stderr"), format!("err {ticket}\n")).unwrap();
        let (state, exit_code) = match lines % 3 {
            0 => (EndState::Done, Some(0)),
            1 => (EndState::Failed, Some(3)),
            _ => (EndState::Cancelled, None),
        };
        let result = JobResult {
            state,
            exit_code,
            signal: None,
            reason: None,
            detail: None,
            started_at: Some(ticket.accepted_at()),
            ended_at: ticket.accepted_at(),
            duration_ms: Some(5),
            stdout: Kept::default(),
            stderr: Kept::default(),
        };
        self.store.close(&job.folder, &result, |_| {}).unwrap();
    }

    /// Jobs of a month that have ended.
    pub(super) fn ended(&mut self, month: &Month, count: usize) -> Vec<String> {
        let one = |n: usize| {
            let server = if n.is_multiple_of(10) {
                "other"
            } else {
                "main"
            };
            let job = self.accept(month, server);
            self.end(&job, 50 + n % 7);
            job.folder.ticket().to_string()
        };
        (0..count).map(one).collect()
    }

    /// Hands the store to the service's account.
    pub(super) fn hand_over(&self) {
        give(&self.root, true);
    }
}

/// Tells other threads to end when it is dropped, also by a test that fails.
pub(super) struct Ends<'a>(pub(super) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Gives a folder with all that is in it to the service's account, or to ours.
pub(super) fn give(path: &Path, to_service: bool) {
    if !rustix::process::getuid().is_root() || !path.exists() {
        return;
    }
    let (uid, gid) = if to_service {
        Lab::get().account()
    } else {
        (0, 0)
    };
    let owner = format!("{uid}:{gid}");
    Lab::as_root(&["chown", "-R", &owner, path.to_str().unwrap()]);
}

/// Waits until something holds.
#[track_caller]
pub(super) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All tickets of a month, page by page.
#[track_caller]
pub(super) fn all_pages(user: &User<'_>, month: &Month, limit: usize) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let target = format!("/history/list?past={month}&limit={limit}{cursor}");
        let page = user.get(&target).expect(200).json();
        items.extend(page["list"].as_array().unwrap().clone());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

pub(super) fn tickets_of(items: &[Value]) -> Vec<&str> {
    items
        .iter()
        .map(|item| item["ticket"].as_str().unwrap())
        .collect()
}
