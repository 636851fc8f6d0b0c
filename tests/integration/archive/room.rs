//! A store that has no room for an archive.

use std::fs;

use super::{Past, give, month, wait_until};
use crate::history::room::SmallDisk;
use crate::rig::{Barman, Site, StandIn};

#[test]
fn without_room_nothing_moves_every_ticket_answers_and_it_follows_when_there_is_room() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let disk = SmallDisk::mount(site.file("store"));
    site.user("ada", &["--full"]);
    let closed = month(1);
    let mut past = Past::new(&site);
    let mut tickets = Vec::new();
    for _ in 0..4 {
        let job = past.accept(&closed, "main");
        past.end(&job, 3);
        // What does not shrink by packing.
        let mut noise = vec![0; 100_000];
        getrandom::fill(&mut noise).unwrap();
        let text: Vec<u8> = noise.iter().map(|byte| b' ' + byte % 94).collect();
        fs::write(job.folder.file("stdout"), text).unwrap();
        tickets.push(job.folder.ticket().to_string());
    }
    past.hand_over();
    // The catalogue is there before the room is gone.
    let held = past.store.lock_rotation().unwrap().unwrap();
    give(&past.root.join("active/slots"), true);
    let mut server = site.serve();
    let ada = server.login("ada");
    let before: Vec<_> = tickets.iter().map(|ticket| ada.result(ticket)).collect();
    server.kill();
    drop(held);
    disk.fill(40);
    let mut server = site.serve();
    let ada = server.login("ada");
    let log = || fs::read_to_string(past.root.join("logs/general.log")).unwrap_or_default();
    wait_until("the log says so", || {
        log().contains("a closed month can't be archived")
    });
    for (ticket, before) in tickets.iter().zip(&before) {
        assert_eq!(ada.result(ticket), *before);
    }
    let page = ada
        .get(&format!("/history/list?past={closed}"))
        .expect(200)
        .json();
    assert_eq!(page["list"].as_array().unwrap().len(), tickets.len());
    // Nothing half-written takes the little room that is left.
    let archive = fs::metadata(past.store.archive(&closed)).map_or(0, |found| found.len());
    assert_eq!(archive, 0);
    server.kill();
    disk.free();
    let server = site.serve();
    let ada = server.login("ada");
    wait_until("it is archived", || !past.store.month(&closed).exists());
    for (ticket, before) in tickets.iter().zip(&before) {
        assert_eq!(ada.result(ticket), *before);
    }
}
