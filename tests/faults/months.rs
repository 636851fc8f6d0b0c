//! Closed months while they are archived or removed: services that die there, disks without room.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::calls;
use super::closed::{Closed, Heard, Plan, perhaps};
use super::crash::{deed, points};
use super::rig::Server;
use super::run::{Fault, Random, Run, Stopping, Times, eventually, ms};
use super::trace::Deed;

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "rotate",
        how: "the service is killed at each system call of archiving a month, into a new archive and behind one that is there, and started again",
        provoke: rotate,
    },
    Fault {
        name: "fails",
        how: "one system call of archiving a month fails, as it does without room, descriptors or memory, on a broken disk or a read-only one",
        provoke: fails,
    },
    Fault {
        name: "expire",
        how: "the service is killed at each system call of removing an archive that is older than `keep_months`",
        provoke: expire,
    },
    Fault {
        name: "killed",
        how: "two services archive a month while clients ask both for all tickets and pages of it; one or both are killed at a random moment and started again",
        provoke: killed,
    },
    Fault {
        name: "full",
        how: "a month is archived on a disk that has room for a few pages only, one more each time; half the services are killed meanwhile",
        provoke: full,
    },
];

/// How long a pass of rotation may take to be seen.
const PASS: Duration = Duration::from_secs(2);

const PLAN: Plan<'static> = Plan {
    settings: &[],
    back: 1,
    archived: 0,
    folders: 3,
    noise: 0,
    disk: None,
};

fn rotate(run: &mut Run) {
    let mut again = Times::default();
    for archived in [0, 2] {
        let closed = Closed::new(&Plan { archived, ..PLAN });
        points(run, &mut |run, at| {
            closed.restore();
            let told = closed.traced(run, deed(at), || !closed.folder().exists());
            let at = told.last().cloned().unwrap_or_default();
            if run.random.below(2) == 0 {
                // What was left is asked for before anybody goes on with it.
                let _held = closed.hold_rotation();
                let server = closed.site.serve_unready(&[]);
                closed.holds(run, &server, &at);
            }
            let since = Instant::now();
            let server = closed.site.serve_unready(&[]);
            // While it is archived, and after.
            closed.holds(run, &server, &at);
            closed.archived(run, &server, &at);
            again.add(since.elapsed());
            told
        });
        closed.no_panic(run);
    }
    run.measure(format!(
        "all answers and the whole archive {} after the start (slowest {})",
        ms(again.within(0.5)),
        ms(again.slowest())
    ));
}

fn fails(run: &mut Run) {
    if !calls::KNOWN {
        run.left_out = Some("the system calls of this kind of machine are not known here".into());
        return;
    }
    let closed = Closed::new(&Plan {
        archived: 2,
        ..PLAN
    });
    let archived = || !closed.folder().exists();
    closed.restore();
    let mut all = Vec::new();
    for (number, told) in closed.traced(run, Deed::Count, archived).iter().enumerate() {
        let name = told.split(' ').next_back().unwrap();
        all.extend(calls::errors(name).iter().map(|error| (number + 1, *error)));
    }
    let possible = all.len();
    let mut told_of = 0;
    for _ in 0..run.of(200, 12) {
        if all.is_empty() {
            break;
        }
        let (at, (word, error)) = all.swap_remove(run.random.below(all.len()));
        closed.restore();
        let begun = std::cell::Cell::new(false);
        let since = Instant::now();
        let is_over = || {
            let rotates = closed.is_rotating();
            begun.set(begun.get() || rotates);
            !rotates && (begun.get() || since.elapsed() > PASS)
        };
        let told = closed.traced(run, Deed::Fail(at, error), is_over);
        let at = format!("{:?}: {word}", told.last());
        told_of += usize::from(!archived());
        let held = closed.hold_rotation();
        let mut server = closed.site.serve_unready(&[]);
        closed.holds(run, &server, &at);
        server.kill();
        drop(held);
        let server = closed.site.serve_unready(&[]);
        closed.archived(run, &server, &at);
        run.once();
    }
    closed.no_panic(run);
    run.measure(format!(
        "of {possible} possible failures; {told_of} times the month was left for the next pass"
    ));
}

fn expire(run: &mut Run) {
    let closed = Closed::new(&Plan {
        settings: &["application.keep_months = 2"],
        back: 4,
        archived: 3,
        folders: 0,
        ..PLAN
    });
    let is_removed = || !closed.archive().exists() && !closed.index().exists();
    let (mut whole, mut gone) = (0, 0);
    points(run, &mut |run, at| {
        closed.restore();
        let told = closed.traced(run, deed(at), is_removed);
        let at = told.last().cloned().unwrap_or_default();
        let held = closed.hold_rotation();
        let mut server = closed.site.serve_unready(&[]);
        let all_gone = is_gone(&closed, &server);
        if all_gone {
            gone += 1;
        } else {
            whole += 1;
            closed.holds(run, &server, &at);
        }
        server.kill();
        drop(held);
        let server = closed.site.serve_unready(&[]);
        eventually("removal of the archive", || is_removed().then_some(()));
        run.hold(is_gone(&closed, &server), || {
            format!("removed and not gone ({at})")
        });
        told
    });
    closed.no_panic(run);
    run.measure(format!(
        "{whole} times the whole month, {gone} times all of it 410"
    ));
}

/// Whether every answer about the month is 410.
fn is_gone(closed: &Closed, server: &Server) -> bool {
    let list = super::bench::ask(
        server,
        &closed.token,
        "GET",
        &format!("/history/list?past={}", closed.month),
    );
    let tickets = closed.right.keys();
    let mut answers = tickets.map(|ticket| closed.result(server, ticket));
    let list = list.unwrap().status;
    list == 410 && answers.all(|answer| answer.unwrap().status == 410)
}

/// What the clients of one life have heard.
#[derive(Default)]
struct Ears {
    answers: AtomicUsize,
    not_yet: AtomicUsize,
    wrong: std::sync::Mutex<Vec<String>>,
}

impl Ears {
    /// Whether it makes sense to ask on.
    fn take(&self, heard: Heard, dies: bool) -> bool {
        match heard {
            Heard::Right => drop(self.answers.fetch_add(1, Ordering::Relaxed)),
            Heard::NotYet => drop(self.not_yet.fetch_add(1, Ordering::Relaxed)),
            Heard::Nothing if dies => return false,
            Heard::Nothing => self.wrong.lock().unwrap().push("no answer".to_owned()),
            Heard::Wrong(words) => self.wrong.lock().unwrap().push(words),
        }
        true
    }
}

fn killed(run: &mut Run) {
    let closed = Closed::new(&Plan {
        archived: 20,
        folders: 120,
        ..PLAN
    });
    let tickets: Vec<&str> = closed.right.keys().map(String::as_str).collect();
    let until = Instant::now() + Duration::from_secs(run.of(60, 4));
    let ears = Ears::default();
    let mut servers: Vec<Server> = Vec::new();
    let (mut months, mut cut_short) = (0, 0);
    while Instant::now() < until {
        if servers.is_empty() || !closed.folder().exists() {
            servers.clear();
            closed.restore();
            months += 1;
            servers = vec![
                closed.site.serve_unready(&[]),
                closed.site.serve_unready(&[]),
            ];
        }
        let whom = 1 + run.random.below(3);
        let moment = run.random.milliseconds(0, 120);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stopping = Stopping(&over);
            for (number, server) in servers.iter().enumerate() {
                let dies = whom & (1 << number) != 0;
                let (closed, over, ears, tickets) = (&closed, &over, &ears, &tickets);
                let mut random = Random(run.random.number() | 1);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let ticket = tickets[random.below(tickets.len())];
                        if !ears.take(closed.hear(server, ticket), dies) {
                            break;
                        }
                    }
                });
                let mut random = Random(run.random.number() | 1);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let limit = 10 + random.below(150);
                        if !ears.take(closed.hear_list(server, limit), dies) {
                            break;
                        }
                    }
                });
            }
            std::thread::sleep(moment);
            for (number, server) in servers.iter().enumerate() {
                if whom & (1 << number) != 0 {
                    let pid = i32::try_from(server.pid()).unwrap();
                    let pid = rustix::process::Pid::from_raw(pid).unwrap();
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
                    run.once();
                }
            }
            cut_short += usize::from(closed.folder().exists());
            // The other one is asked a little longer.
            std::thread::sleep(Duration::from_millis(30));
        });
        for (number, server) in servers.iter_mut().enumerate() {
            if whom & (1 << number) != 0 {
                server.kill();
                *server = closed.site.serve_unready(&[]);
            }
        }
    }
    servers.clear();
    let server = closed.site.serve_unready(&[]);
    closed.archived(run, &server, "at the end");
    closed.no_panic(run);
    for words in ears.wrong.into_inner().unwrap() {
        run.hold(false, || words);
    }
    run.hold(cut_short > 0 || !run.long, || {
        "no archiving was cut short".to_owned()
    });
    run.measure(format!(
        "{months} times a month of 120 jobs, {cut_short} deaths before its end; {} right answers, {} times 503 with `Retry-After`",
        ears.answers.into_inner(),
        ears.not_yet.into_inner()
    ));
}

fn full(run: &mut Run) {
    let closed = Closed::new(&Plan {
        archived: 1,
        folders: 4,
        noise: 20_000,
        disk: Some("8m"),
        ..PLAN
    });
    let disk = closed.disk.as_ref().unwrap();
    let log = closed.past.root.join("logs/general.log");
    let told = || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.matches("a closed month can't be archived").count()
    };
    let (mut without_room, mut with_room) = (0, 0);
    let step = run.of(1, 4);
    let mut pages = run.random.below(step) as u64;
    while pages < 45 {
        closed.restore();
        disk.fill(pages);
        let before = told();
        let mut server = closed.site.serve_unready(&[]);
        let at = format!("room for {pages} pages");
        if run.random.below(2) == 0 {
            std::thread::sleep(run.random.milliseconds(0, 300));
            server.kill();
            server = closed.site.serve_unready(&[]);
        }
        let settled = || told() > before || !closed.folder().exists();
        perhaps(Duration::from_millis(1500), settled);
        if closed.folder().exists() {
            without_room += 1;
        } else {
            with_room += 1;
        }
        closed.holds(run, &server, &at);
        server.kill();
        disk.free();
        let server = closed.site.serve_unready(&[]);
        closed.archived(run, &server, &at);
        run.once();
        pages += step as u64;
    }
    if run.long {
        // The same service goes on by itself.
        closed.restore();
        disk.fill(10);
        let server = closed.site.serve_unready(&[]);
        perhaps(Duration::from_secs(3), || {
            told() > 0 && closed.folder().exists()
        });
        disk.free();
        let since = Instant::now();
        run.hold(
            perhaps(Duration::from_secs(150), || !closed.folder().exists()),
            || "a service does not go on when there is room".to_owned(),
        );
        run.once();
        run.measure(format!(
            "goes on {} after there is room",
            ms(since.elapsed())
        ));
        closed.archived(run, &server, "by itself");
    }
    run.hold(without_room > 0, || "there was always room".to_owned());
    closed.no_panic(run);
    run.measure(format!(
        "{without_room} times nothing moved, {with_room} times there was room"
    ));
}
