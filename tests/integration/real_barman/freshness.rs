//! What the real Barman lists is as of now, however many ask at the same time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::fixture::{Fixture, started_backup};
use crate::rig::Lab;

const READERS: usize = 200;
const ROUNDS: usize = 3;

/// Ends the readers, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits for as many answers that all readers may have asked twice.
fn all_have_asked(answers: &AtomicU32) {
    let enough = answers.load(Ordering::SeqCst) + 2 * u32::try_from(READERS).unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while answers.load(Ordering::SeqCst) < enough {
        assert!(Instant::now() < until, "the readers get no answers");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_request_sent_after_a_delete_returned_never_shows_the_deleted_backup() {
    let fixture = Fixture::get();
    let ada = fixture.ada();
    let _main = Lab::hold("main");
    let backups: Vec<String> = (0..ROUNDS)
        .map(|_| {
            Lab::await_next_second();
            let ticket = ada.get("/barman/backup?SERVERNAME=main").ticket();
            let made = ada.finished(&ticket);
            assert_eq!(made["status_code"], 200, "{made}");
            started_backup(&made)
        })
        .collect();
    let gone: Mutex<Vec<&str>> = Mutex::default();
    let (over, answers, seen) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for number in 0..READERS {
            let (ada, gone, over) = (fixture.ada(), &gone, &over);
            let (answers, seen, backups) = (&answers, &seen, &backups);
            let form = ["", "&format=json"][number % 2];
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let deleted = gone.lock().unwrap().clone();
                    let target = format!("/barman/list-backups?server_name=main{form}");
                    let listed = ada.get(&target).expect(200);
                    let text = String::from_utf8(listed.body).unwrap();
                    for id in &deleted {
                        assert!(!text.contains(id), "{id} was deleted before: {text}");
                    }
                    let there = backups.iter().any(|id| text.contains(id.as_str()));
                    seen.fetch_add(u32::from(there), Ordering::SeqCst);
                    answers.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let _stop = Stop(&over);
        for id in &backups {
            // All readers have asked again since the last delete.
            all_have_asked(&answers);
            let form = json!({"server_name": "main", "backup_id": id});
            let deleted = ada.post("/barman/delete", &form).expect(200).json();
            assert_eq!(deleted["status_code"], 200, "{deleted}; of {backups:?}");
            gone.lock().unwrap().push(id);
        }
        all_have_asked(&answers);
    });
    assert!(
        seen.load(Ordering::SeqCst) > 0,
        "no reader ever saw a backup"
    );
}
