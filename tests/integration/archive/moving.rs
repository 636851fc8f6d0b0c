//! Ended jobs of closed months move into archives, and nobody who asks can tell.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use barmanapi::atomicfile::Lock;
use barmanapi::names::Month;
use serde_json::{Value, json};

use super::{Ends, Past, all_pages, month, site, tickets_of, wait_until};
use crate::rig::{StandIn, User};

#[test]
fn a_closed_month_is_archived_after_the_start_and_every_answer_stays_the_same() {
    let stand_in = StandIn::new();
    let site = site(&stand_in, &[]);
    let closed = month(2);
    let mut past = Past::new(&site);
    let mut tickets = past.ended(&closed, 400);
    let runs = past.accept(&closed, "main");
    tickets.push(runs.folder.ticket().to_string());
    // As it was: while somebody else holds the lock of rotation, nothing moves.
    let held = Lock::exclusive(&past.root.join("active/slots/rotate")).unwrap();
    past.hand_over();
    let mut server = site.serve();
    let (ada, eve) = (server.login("ada"), server.login("eve"));
    let target = |ticket: &str| format!("/history/result?ticket={ticket}");
    let before: BTreeMap<_, _> = tickets
        .iter()
        .map(|ticket| (ticket.clone(), ada.get(&target(ticket)).expect(200).body))
        .collect();
    let listed = all_pages(&ada, &closed, 1000);
    assert_eq!(listed.len(), tickets.len());
    let by_eve = all_pages(&eve, &closed, 1000);
    assert_eq!(by_eve.len(), 40);
    let page = ada
        .get(&format!("/history/list?past={closed}&limit=150"))
        .expect(200)
        .json();
    let cursor = page["cursor"].as_str().unwrap().to_owned();
    assert!(!past.store.archive(&closed).exists());
    drop(held);
    server.kill();
    // While it moves, and after.
    let server = site.serve_unready(&[]);
    let (ada, eve) = (server.login("ada"), server.login("eve"));
    let moved = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    let poll = |offset: usize| {
        let mut n = offset;
        while !moved.load(Ordering::Relaxed) {
            let ticket = &tickets[n % tickets.len()];
            let answer = ada.get(&target(ticket)).expect(200);
            assert!(
                answer.body == before[ticket],
                "{ticket}: {:?}",
                answer.json()
            );
            n += 7;
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| poll(0));
        scope.spawn(|| poll(3));
        scope.spawn(|| {
            while !moved.load(Ordering::Relaxed) {
                assert!(all_pages(&ada, &closed, 97) == listed);
            }
        });
        let _ends = Ends(&moved);
        let folder = past.store.month(&closed);
        wait_until("only what runs is left", || {
            let left = std::fs::read_dir(&folder).unwrap().flatten();
            left.filter(|entry| entry.file_name().to_string_lossy().starts_with("20"))
                .count()
                == 1
        });
        wait_until("it was asked", || asked.load(Ordering::Relaxed) >= 300);
    });
    assert!(runs.folder.path().exists());
    for limit in [1000, 97] {
        assert!(all_pages(&ada, &closed, limit) == listed);
    }
    // A page that was begun before goes on after.
    let rest = ada.get(&format!(
        "/history/list?past={closed}&limit=1000&cursor={cursor}"
    ));
    assert!(rest.expect(200).json()["list"].as_array().unwrap()[..] == listed[150..]);
    assert!(all_pages(&eve, &closed, 1000) == by_eve);
    let hidden = tickets
        .iter()
        .find(|t| !tickets_of(&by_eve).contains(&t.as_str()))
        .unwrap();
    eve.get(&target(hidden)).expect(404);
    filters_choose_the_same(&ada, &closed, &listed);
    // Plain tar has no complaint.
    let list = Command::new("tar")
        .arg("tzf")
        .arg(past.store.archive(&closed))
        .output()
        .unwrap();
    assert!(list.status.success() && list.stderr.is_empty(), "{list:?}");
    let names = String::from_utf8(list.stdout).unwrap();
    assert_eq!(names.lines().count(), 400 * 4);
    // Cancelling what is archived changes nothing.
    let done = ada.request(
        "POST",
        &format!("/history/cancel?ticket={}", tickets[0]),
        &[],
        b"",
    );
    assert_eq!(done.expect(200).body, before[&tickets[0]]);
    let unknown = format!("{closed}05T000000-000000000000");
    ada.get(&target(&unknown)).expect(404);
}

/// Holds filters against what the whole list says.
fn filters_choose_the_same(ada: &User<'_>, closed: &Month, listed: &[Value]) {
    for (filter, state) in [
        ("state=failed", "failed"),
        ("state=done&server=main", "done"),
    ] {
        let page = ada.get(&format!("/history/list?past={closed}&limit=1000&{filter}"));
        let page = page.expect(200).json();
        let wanted = listed.iter().filter(|item| {
            item["state"] == state
                && (!filter.contains("main") || item["servers"] == json!(["main"]))
        });
        assert!(
            page["list"].as_array().unwrap().iter().eq(wanted),
            "{filter}"
        );
    }
}

#[test]
fn archives_older_than_keep_months_are_gone_and_say_so() {
    let stand_in = StandIn::new();
    let site = site(&stand_in, &["application.keep_months = 2"]);
    let mut past = Past::new(&site);
    let (old, older, kept) = (month(3), month(5), month(2));
    let removed = past.ended(&old, 3);
    // Months are counted from the newest that has a job.
    past.ended(&month(0), 1);
    let stays = past.ended(&kept, 3);
    let with_open = past.ended(&older, 2);
    let open = past.accept(&older, "main");
    past.hand_over();
    let server = site.serve();
    let ada = server.login("ada");
    let archive = |month| past.store.archive(month);
    wait_until("the old one is removed", || {
        !past.store.month(&old).exists() && !archive(&old).exists() && archive(&kept).exists()
    });
    let target = |ticket: &str| format!("/history/result?ticket={ticket}");
    for ticket in &removed {
        let answer = ada.get(&target(ticket)).expect(410).json();
        assert_eq!(answer["type"], "gone");
        assert!(
            answer["message"].as_str().unwrap().contains("keep_months"),
            "{answer}"
        );
    }
    ada.get(&format!("/history/list?past={old}")).expect(410);
    ada.get("/history/list?past=200101").expect(410);
    assert!(!past.store.archive_index(&old).exists());
    for ticket in &stays {
        ada.get(&target(ticket)).expect(200);
    }
    // A month in which something still runs is kept as it is.
    for ticket in &with_open {
        ada.get(&target(ticket)).expect(200);
    }
    assert_eq!(all_pages(&ada, &older, 10).len(), 3);
    assert_eq!(
        ada.result(open.folder.ticket().as_str())["status_code"],
        -99
    );
    assert_eq!(all_pages(&ada, &month(0), 10).len(), 1);
}
