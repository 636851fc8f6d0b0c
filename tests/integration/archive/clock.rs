//! Clocks that jump, and months that begin elsewhere at another time.
//!
//! The service runs under `libfaketime`, which reads the offset of its clock from a file. What it
//! starts does not: a job's own process has the real clock, as if it were on another host.

use std::fs;
use std::path::PathBuf;

use barmanapi::names::{Month, Ticket};
use serde_json::{Value, json};
use time::macros::datetime;

use super::{all_pages, site, tickets_of, wait_until};
use crate::rig::{Lab, Server, Site, StandIn};

/// A clock for services of a site.
struct Clock<'a> {
    site: &'a Site,
    library: PathBuf,
}

impl<'a> Clock<'a> {
    fn new(site: &'a Site) -> Self {
        let folders = fs::read_dir("/usr/lib").unwrap().flatten();
        let library = folders
            .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.exists())
            .expect("libfaketime is installed by tests/lab/lab.sh");
        Self { site, library }
    }

    fn set(&self, seconds: i64) {
        let file = self.site.file("clock");
        Lab::get().write(&file, &format!("{seconds:+}\n"), 0o644);
    }

    fn set_to(&self, at: time::OffsetDateTime) {
        self.set((at - time::OffsetDateTime::now_utc()).whole_seconds());
    }

    fn serve(&self, zone: &str) -> Server {
        let file = self.site.file("clock").display().to_string();
        let server = self.site.serve_unready(&[
            ("LD_PRELOAD", self.library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
            ("TZ", zone),
        ]);
        server.wait_until_ready();
        server
    }
}

fn month_of(ticket: &str) -> Month {
    Ticket::parse(ticket).unwrap().month()
}

/// In how many months a ticket is listed.
fn months_with(server: &Server, ticket: &str, months: &[&str]) -> Vec<String> {
    let ada = server.login("ada");
    let lists = |month: &&&str| {
        let items = all_pages(&ada, &Month::parse(month).unwrap(), 1000);
        tickets_of(&items).contains(&ticket)
    };
    months
        .iter()
        .filter(lists)
        .map(|month| (*month).to_owned())
        .collect()
}

#[test]
fn every_ticket_stays_in_its_month_whatever_the_clock_does() {
    let stand_in = StandIn::new();
    let site = site(
        &stand_in,
        &["barman.max_jobs = 8", "auth_token.token_life = 86400"],
    );
    // The catalogue, by the true clock.
    drop(site.serve());
    let clock = Clock::new(&site);
    let active = |month: &str| site.file("store/active").join(month);
    let archive = |month: &str| site.file("store/archive").join(format!("{month}.tar.gz"));
    let start = |server: &Server, name: &str| {
        let target = format!("/barman/backup?server_name=main&name={name}");
        server.login("ada").get(&target).ticket()
    };
    let held = json!({"backup": {"hang": true}});
    // The last second of October, in UTC; in Rome it is November, in Honolulu still midday.
    clock.set_to(datetime!(2026-10-31 23:59:55 UTC));
    stand_in.control(&held);
    let mut server = clock.serve("Europe/Rome");
    let october = start(&server, "october");
    assert_eq!(month_of(&october).as_str(), "202610");
    // A month back, while it runs; the same second in another zone is the same month.
    clock.set_to(datetime!(2026-09-30 23:30:00 UTC));
    let september = start(&server, "september");
    assert_eq!(month_of(&september).as_str(), "202609");
    server.kill();
    let mut server = clock.serve("Pacific/Honolulu");
    let september_too = start(&server, "september_too");
    assert_eq!(month_of(&september_too).as_str(), "202609");
    for ticket in [&october, &september, &september_too] {
        assert_eq!(
            server.login("ada").result(ticket)["state"],
            "running",
            "{ticket}"
        );
    }
    // After the jump back, September is the current month and October is to come: both stay.
    let cancel = |server: &Server, ticket: &str| -> Value {
        let ada = server.login("ada");
        let target = format!("/history/cancel?ticket={ticket}");
        ada.request("POST", &target, &[], b"").expect(200);
        ada.closed(ticket)
    };
    let ended = cancel(&server, &september_too);
    assert!(ended["duration_ms"].as_u64().is_some(), "{ended}");
    server.kill();
    let mut server = clock.serve("UTC");
    let ada_sees = server.login("ada").result(&september_too);
    assert_eq!(ada_sees["state"], "cancelled");
    assert!(!archive("202609").exists() && !archive("202610").exists());
    server.kill();
    // 400 days on: whatever has ended is archived, what runs is not.
    clock.set(400 * 86_400);
    let mut server = clock.serve("UTC");
    wait_until("what has ended is archived", || {
        archive("202609").exists() && !active("202609").join(&september_too).exists()
    });
    assert!(active("202610").join(&october).exists());
    assert!(active("202609").join(&september).exists());
    stand_in.control(&json!({}));
    let far = start(&server, "far");
    server.login("ada").closed(&far);
    let far_month = month_of(&far).to_string();
    assert!(far_month.as_str() > "202711");
    // The job of October ends by the clock of its own process, in another month.
    let ended = cancel(&server, &october);
    assert_eq!(ended["state"], "cancelled");
    assert!(ended["ended_at"].as_str().unwrap() > "2026-11", "{ended}");
    assert!(ended["duration_ms"].as_u64().is_some(), "{ended}");
    server.kill();
    // And back: September is current again and gets a job beside those in its archive.
    clock.set_to(datetime!(2026-09-30 23:45:00 UTC));
    let mut server = clock.serve("Europe/Rome");
    let again = start(&server, "again");
    server.login("ada").closed(&again);
    assert_eq!(month_of(&again).as_str(), "202609");
    assert_eq!(cancel(&server, &september)["state"], "cancelled");
    let months = ["202608", "202609", "202610", "202611", &far_month];
    for (ticket, month) in [
        (&october, "202610"),
        (&september, "202609"),
        (&september_too, "202609"),
        (&again, "202609"),
        (&far, far_month.as_str()),
    ] {
        assert_eq!(months_with(&server, ticket, &months), [month]);
    }
    server.kill();
    // The true clock: both months are closed, the far one is not.
    let server = site.serve();
    wait_until("closed months are archived", || {
        !active("202609").exists() && !active("202610").exists()
    });
    assert!(active(&far_month).exists());
    let ada = server.login("ada");
    for ticket in [&october, &september, &september_too, &again, &far] {
        let result = ada.result(ticket);
        assert!(
            ["done", "cancelled"].contains(&result["state"].as_str().unwrap()),
            "{result}"
        );
        assert_eq!(months_with(&server, ticket, &months).len(), 1);
    }
}
