//! Archives as they are written, killed, damaged and planted.

mod crashes;
mod moving;
mod planted;

use std::collections::BTreeMap;

use super::super::record::{DataForm, EndState, Job, JobResult};
use super::*;
use crate::names::{CommandName, Scope, ServerName, UserName};
use crate::output::Kept;

pub(super) const LIMIT: u64 = 1 << 20;

pub(super) struct Bench {
    _dir: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) month: Month,
    next: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            store: Store::open(&dir.path().join("store")).unwrap(),
            _dir: dir,
            month: Month::parse("202601").unwrap(),
            next: 0,
        }
    }

    /// A job that was accepted, has ended and said something of its own.
    pub(super) fn ended(&mut self, second: u32) -> Ticket {
        let accepted = self.accepted(second);
        let ticket = accepted.folder.ticket().clone();
        self.end(&accepted.folder);
        ticket
    }

    pub(super) fn accepted(&mut self, second: u32) -> super::super::open_jobs::AcceptedJob {
        self.next += 1;
        let random = self.next.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let at = time::macros::datetime!(2026-01-10 00:00:00 UTC)
            + time::Duration::seconds(second.into());
        let job = Job {
            ticket: Ticket::new(at, random),
            command: CommandName::parse("backup").unwrap(),
            names: vec![CommandName::parse("backup").unwrap()],
            scope: Scope::Servers(vec![ServerName::parse("main").unwrap()]),
            program: "/usr/bin/barman".into(),
            arguments: vec!["backup".into()],
            data: DataForm::Lines,
            user: UserName::parse("dba").unwrap(),
            from: None,
            accepted_at: "2026-01-10T00:00:00Z".into(),
            request_id: "r".into(),
            time_limit: None,
            output_limit: LIMIT,
            max_jobs: 4,
            exclusive: false,
            requires_full: false,
            or_written_out: false,
            fills: None,
            users: "/etc/barmanapi/client.conf".into(),
            remote: None,
        };
        self.store.accept(&job, 100_000).unwrap()
    }

    pub(super) fn end(&self, folder: &super::super::record::JobFolder) {
        use std::fmt::Write as _;
        let mut text = format!("{}\n", folder.ticket());
        for n in 0..40 {
            writeln!(text, "line {n} of {}", folder.ticket()).unwrap();
        }
        fs::write(folder.file("stdout"), text).unwrap();
        fs::write(folder.file("stderr"), "").unwrap();
        let result = JobResult {
            state: EndState::Failed,
            exit_code: Some(3),
            signal: None,
            reason: None,
            detail: None,
            started_at: None,
            ended_at: "2026-01-10T00:00:05Z".into(),
            duration_ms: Some(1),
            stdout: Kept::default(),
            stderr: Kept::default(),
        };
        self.store.close(folder, &result, |_| {}).unwrap();
    }

    pub(super) fn tickets(&mut self, count: u32) -> Vec<Ticket> {
        (0..count).map(|second| self.ended(second)).collect()
    }

    pub(super) fn rotate(&self) {
        let _lock = self.store.lock_rotation().unwrap().unwrap();
        while self.store.rotate_some(&self.month).unwrap().more {}
        // A month without folders goes with the next pass.
        self.store.rotate_some(&self.month).unwrap();
    }

    /// What is told of a job, wherever it is; the word "damaged" for one that is.
    pub(super) fn told(&self, ticket: &Ticket) -> Option<String> {
        let folder = self.store.job(ticket);
        if let Some(job) = folder.job().unwrap() {
            let out = String::from_utf8(folder.output("stdout").unwrap()).unwrap();
            return Some(digest(&format!(
                "{job:?} {:?} {out}",
                folder.result().unwrap().unwrap()
            )));
        }
        self.store
            .archived(ticket, LIMIT)
            .unwrap()
            .map(|archived| match archived {
                Archived::Whole(whole) => {
                    let out = String::from_utf8(whole.stdout).unwrap();
                    digest(&format!("{:?} {:?} {out}", whole.job, whole.result))
                }
                Archived::Damaged { .. } => "damaged".to_owned(),
            })
    }

    pub(super) fn all_told(&self, tickets: &[Ticket]) -> BTreeMap<Ticket, Option<String>> {
        let told = |ticket: &Ticket| (ticket.clone(), self.told(ticket));
        tickets.iter().map(told).collect()
    }

    pub(super) fn listed(&self) -> Vec<Ticket> {
        let mut tries = 0;
        loop {
            let listing = self.store.listing(&self.month, None).unwrap();
            let listed: Result<Vec<_>, _> = listing
                .map(|entry| entry.map(|entry| entry.accepted.ticket))
                .collect();
            match listed {
                Ok(listed) => return listed,
                Err(StoreError::IndexNotReady { .. }) if tries < 3 => tries += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(super) fn archive(&self) -> PathBuf {
        self.store.archive(&self.month)
    }

    pub(super) fn index(&self) -> PathBuf {
        self.store.archive_index(&self.month)
    }

    pub(super) fn damaged(&self) -> u64 {
        self.store.listing(&self.month, None).unwrap().damaged()
    }
}

/// What was told in short: the ticket in it, and a digest of all of it.
fn digest(text: &str) -> String {
    use sha2::Digest;
    let ticket = text.split('"').nth(1).unwrap();
    format!("{ticket} {:x?}", &sha2::Sha256::digest(text)[..8])
}

pub(super) fn reversed(tickets: &[Ticket]) -> Vec<Ticket> {
    tickets.iter().rev().cloned().collect()
}
