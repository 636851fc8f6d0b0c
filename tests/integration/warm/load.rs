//! Callers who ask without end while something goes away and comes back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::eventually;
use crate::rig::{Lab, Server, User};

const TARGET: &str = "/barman/list-servers?format=json";

/// How many ask at once.
const CALLERS: usize = 3;

/// Longer than this no request may take.
const HANGING: Duration = Duration::from_secs(15);

/// What a caller was told.
struct Told {
    began: Instant,
    ended: Instant,
    /// What went wrong; a wrong answer is no such thing.
    failure: Option<String>,
}

/// What callers have been told so far.
pub(super) struct Load {
    told: Mutex<Vec<Told>>,
    done: AtomicBool,
    /// What a plain start takes while they ask.
    plain: Mutex<Duration>,
}

/// Ends those who ask, however the test ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something while callers ask.
pub(super) fn under_load(server: &Server, something: impl FnOnce(&Load)) {
    let wanted = server.login("reader").get(TARGET).expect(200).json()["data"].clone();
    assert!(wanted.is_object(), "{wanted}");
    let load = Load {
        told: Mutex::default(),
        done: AtomicBool::new(false),
        plain: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let _ends = Ends(&load.done);
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let user = server.login("reader");
                while !load.done.load(Ordering::Relaxed) {
                    let told = ask(&user, &wanted);
                    load.told.lock().unwrap().push(told);
                }
            });
        }
        let since = Instant::now();
        assert!(Lab::get().barman(&["list-servers"]).status.success());
        *load.plain.lock().unwrap() = since.elapsed();
        something(&load);
    });
    let told = load.told.lock().unwrap();
    let longest = told.iter().map(|told| told.ended - told.began).max();
    assert!(longest.unwrap() < HANGING, "one request took {longest:?}");
}

/// One request; an answer that is given as a good one is one.
fn ask(user: &User<'_>, wanted: &Value) -> Told {
    let began = Instant::now();
    let answer = user.get(TARGET);
    let ended = Instant::now();
    let body = answer.json();
    let good = answer.status == 200 && body["exit_code"] == 0;
    assert!(!good || body["data"] == *wanted, "{body}");
    Told {
        began,
        ended,
        failure: (!good).then(|| format!("{} {body}", answer.status)),
    }
}

impl Load {
    fn count(&self, wanted: impl Fn(&Told) -> bool) -> usize {
        let told = self.told.lock().unwrap();
        told.iter().filter(|told| wanted(told)).count()
    }

    /// Waits until callers feel that something is away.
    pub(super) fn is_felt(&self) {
        let before = self.count(|told| told.failure.is_some());
        eventually("failures", || {
            self.count(|told| told.failure.is_some()) >= before + 2 * CALLERS
        });
    }

    /// Takes something away and brings it back; no later than a second after that callers are
    /// served again.
    #[track_caller]
    pub(super) fn without(&self, away: impl FnOnce(), back: impl FnOnce()) {
        away();
        self.is_felt();
        back();
        self.serves_since(Instant::now());
    }

    /// A second after this callers are told the right thing, each time.
    #[track_caller]
    pub(super) fn serves_since(&self, mended: Instant) {
        eventually("answers again", || {
            self.count(|told| told.began > mended && told.failure.is_none()) > 4 * CALLERS
        });
        let told = self.told.lock().unwrap();
        let good = told.iter().filter(|told| told.failure.is_none());
        let first = good.map(|told| told.ended).filter(|ended| *ended > mended);
        let first = first.min().unwrap() - mended;
        // On a machine that is busy with other things everything takes longer.
        let limit = Duration::from_secs(1).max(*self.plain.lock().unwrap() * 4);
        assert!(first < limit, "the first answer came after {first:?}");
        println!("served again after {first:?}, limit {limit:?}");
        let late = told.iter().filter(|told| told.began > mended + limit);
        let failures: Vec<_> = late.filter_map(|told| told.failure.as_ref()).collect();
        assert!(failures.is_empty(), "long after: {failures:?}");
    }

    /// Every caller has been told the right thing each time.
    #[track_caller]
    pub(super) fn nobody_noticed(&self) {
        let told = self.told.lock().unwrap();
        let failures: Vec<_> = told
            .iter()
            .filter_map(|told| told.failure.as_ref())
            .collect();
        assert!(failures.is_empty(), "{failures:?}");
        assert!(told.len() > CALLERS);
    }
}
