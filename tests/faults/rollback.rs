//! The service dies while it takes a change of a configuration back: at each system call, one after
//! the other.

use super::bench::Bench;
use super::config::{self, Place, Way, names, revisions, settled};
use super::crash::{deed, every, points};
use super::own_config;
use super::run::{Fault, Run};
use super::trace::{Orders, Trace};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "config_rollback",
        how: "the service is killed at system calls of `/config/barman/rollback`, which takes a change of two files back: every third of them, from one that the seed decides on; and started again",
        provoke: barman,
    },
    Fault {
        name: "own_config_rollback",
        how: "the same of `/config/barmanapi/rollback`, at each of them",
        provoke: own,
    },
];

/// Barman's files are copied and read before they are replaced, which takes most of some 400 calls.
const STRIDE: usize = 3;

fn barman(run: &mut Run) {
    let mut desk = config::Desk::new(Way::Replaced, Place::Here);
    desk.forget(0);
    let (mut old, mut new, mut number) = (0, 0, 0);
    every(run, STRIDE, &mut |run, at| {
        number += 1;
        let before = desk.state(0);
        let target = format!(
            "/config/barman/change?barman.check_timeout={number}&main.description=n{number}"
        );
        let id = change(&desk.bench, &target);
        let changed = desk.state(0);
        let (turn, told) = take_back(run, &mut desk.bench, "barman", &id, at);
        let after = desk.state(0);
        desk.forget(0);
        turn.look_at(run, after == changed, after == before);
        old += usize::from(after == changed);
        new += usize::from(after == before);
        told
    });
    change(
        &desk.bench,
        "/config/barman/change?barman.check_timeout=0&main.description=end",
    );
    let journal = desk.journal();
    for folder in [desk.folder.clone(), desk.folder.join("barman.d"), journal] {
        left_behind(run, &names(&folder));
    }
    desk.bench.no_panic(run);
    run.measure(format!(
        "{old} times the old files, {new} times the new ones"
    ));
}

fn own(run: &mut Run) {
    let mut desk = own_config::Desk::new(Way::Replaced);
    let (mut old, mut new, mut number) = (0, 0, 0);
    points(run, &mut |run, at| {
        number += 1;
        let before = desk.text();
        let target = format!(
            "/config/barmanapi/change?barman.queue={}&log.backup_count={number}",
            1000 + number
        );
        let id = change(&desk.bench, &target);
        let changed = desk.text();
        let (turn, told) = take_back(run, &mut desk.bench, "barmanapi", &id, at);
        let after = desk.text();
        turn.look_at(run, after == changed, after == before);
        let shown = desk
            .bench
            .ask("GET", "/config/barmanapi")
            .unwrap()
            .expect(200)
            .json();
        run.hold(shown["not_in_force"] == serde_json::json!([]), || {
            format!("written and not in force ({}): {shown}", turn.at)
        });
        old += usize::from(after == changed);
        new += usize::from(after == before);
        told
    });
    change(&desk.bench, "/config/barmanapi/change?barman.queue=5");
    left_behind(run, &names(desk.file.parent().unwrap()));
    left_behind(run, &names(&desk.journal));
    desk.bench.no_panic(run);
    run.measure(format!("{old} times the old file, {new} times the new one"));
}

/// Makes a change and returns its revision.
fn change(bench: &Bench, target: &str) -> String {
    let changed = bench.ask("GET", target).unwrap().expect(200).json();
    changed["revision"].as_str().unwrap().to_owned()
}

fn left_behind(run: &mut Run, names: &[String]) {
    run.hold(names.iter().all(|name| !name.starts_with('.')), || {
        format!("left behind: {names:?}")
    });
}

/// What one killed rollback has told.
struct Turn {
    /// Where it was killed.
    at: String,
    /// The status of its answer, where one came.
    status: Option<u16>,
    /// How many revisions there are more than before.
    more: usize,
}

/// Takes a change back, and starts the service again where it was killed.
fn take_back(
    run: &mut Run,
    bench: &mut Bench,
    file: &str,
    id: &str,
    at: Option<usize>,
) -> (Turn, Vec<String>) {
    let count = revisions(bench, file).len();
    let trace = Trace::begin(&Orders {
        pid: bench.server.pid(),
        roles: "serve",
        names: "",
        deed: deed(at),
    });
    let answer = bench.ask("POST", &format!("/config/{file}/rollback?revision={id}"));
    let told = trace.end();
    let status = answer.map(|answer| answer.status);
    if at.is_none() {
        assert_eq!(status, Some(200));
    }
    if at.is_some() && !told.is_empty() {
        bench.restart();
    }
    settled(&bench.server.store().join("config/revisions").join(file));
    let at = told.last().cloned().unwrap_or_default();
    let list = revisions(bench, file);
    run.hold(list.iter().all(|one| one["state"] == "done"), || {
        format!("a revision that is not real ({at}): {list:?}")
    });
    let more = list.len() - count;
    (Turn { at, status, more }, told)
}

impl Turn {
    fn look_at(&self, run: &mut Run, is_old: bool, is_new: bool) {
        let at = &self.at;
        run.hold(is_old != is_new, || format!("a mix ({at})"));
        run.hold(self.more == usize::from(is_new), || {
            format!("{} revisions more ({at})", self.more)
        });
        run.hold(self.status != Some(200) || is_new, || {
            format!("answered and not made ({at})")
        });
    }
}
