//! The service dies while it changes its own configuration: at each system call, one after the other.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::bench::Bench;
use super::config::{Way, facts, names, revisions, settled};
use super::crash::{deed, points};
use super::rig::{Barman, Lab, Site, StandIn};
use super::run::{Fault, Run};
use super::trace::{Orders, Trace};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "own_config",
        how: "the service is killed at each system call of `/config/barmanapi/change`, which changes two keys, and started again",
        provoke: |run| provoke(run, Way::Replaced),
    },
    Fault {
        name: "own_config_in_place",
        how: "the same where the file may be written and its folder may not",
        provoke: |run| provoke(run, Way::InPlace),
    },
];

pub struct Desk {
    pub bench: Bench,
    pub file: PathBuf,
    pub journal: PathBuf,
}

impl Desk {
    pub fn new(way: Way) -> Self {
        let stand_in = StandIn::new();
        let settings = ["barman.queue = 100", "log.backup_count = 7"];
        let site = Site::new(&Barman::StandIn(&stand_in), &settings);
        let (file, folder) = (site.file("barmanapi.conf"), site.file(""));
        let text = fs::read_to_string(&file).unwrap();
        Lab::get().write(&file, &format!("# ours\n{text}# the end"), 0o600);
        let path = file.display().to_string();
        Lab::as_root(&["setfacl", "-m", "u:daemon:r,m::r", &path]);
        let bench = Bench::on(stand_in, site);
        if way == Way::InPlace {
            let folder = folder.display().to_string();
            Lab::as_root(&["chmod", "755", &folder]);
            Lab::as_root(&["chown", "root", &folder]);
        }
        let journal = bench.server.store().join("config/revisions/barmanapi");
        Self {
            bench,
            file,
            journal,
        }
    }

    pub fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }
}

/// The text with other numbers for both keys.
fn changed(text: &str, number: usize) -> String {
    let mut wanted = String::new();
    for line in text.split_inclusive('\n') {
        match line.split_once(" = ") {
            Some(("queue", _)) => wanted += &format!("queue = {}\n", 1000 + number),
            Some(("backup_count", _)) => wanted += &format!("backup_count = {number}\n"),
            _ => wanted += line,
        }
    }
    wanted
}

fn provoke(run: &mut Run, way: Way) {
    let mut desk = Desk::new(way);
    let (mut old, mut new, mut number) = (0, 0, 0);
    let as_made = facts(&desk.file);
    points(run, &mut |run, at| {
        number += 1;
        let before = desk.text();
        let wanted = changed(&before, number);
        let count = revisions(&desk.bench, "barmanapi").len();
        let trace = Trace::begin(&Orders {
            pid: desk.bench.server.pid(),
            roles: "serve",
            names: "",
            deed: deed(at),
        });
        let target = format!(
            "/config/barmanapi/change?barman.queue={}&log.backup_count={number}",
            1000 + number
        );
        let answer = desk.bench.ask("GET", &target);
        let told = trace.end();
        if at.is_none() {
            assert_eq!(answer.as_ref().unwrap().status, 200);
        }
        if at.is_some() && !told.is_empty() {
            desk.bench.restart();
        }
        settled(&desk.journal);
        let at = told.last().cloned().unwrap_or_default();
        let after = desk.text();
        let (is_old, is_new) = (after == before, after == wanted);
        run.hold(is_old || is_new, || format!("a mix ({at}): {after:?}"));
        let now = facts(&desk.file);
        run.hold(now == as_made, || format!("{as_made} is {now} ({at})"));
        let list = revisions(&desk.bench, "barmanapi");
        run.hold(list.len() == count + usize::from(is_new), || {
            format!("{} revisions after {count} ({at})", list.len())
        });
        run.hold(list.iter().all(|one| one["state"] == "done"), || {
            format!("a revision that is not real ({at}): {list:?}")
        });
        let shown = desk.bench.ask("GET", "/config/barmanapi").unwrap();
        let shown = shown.expect(200).json();
        run.hold(shown["not_in_force"] == json!([]), || {
            format!("written and not in force ({at}): {shown}")
        });
        if let Some(answer) = answer {
            run.hold(answer.status != 200 || is_new, || {
                format!("answered and not made ({at})")
            });
        }
        old += usize::from(is_old);
        new += usize::from(is_new);
        told
    });
    // What the last crashes left beside the file goes with the next change.
    let target = "/config/barmanapi/change?barman.queue=5";
    desk.bench.ask("GET", target).unwrap().expect(200);
    let folder = desk.file.parent().unwrap();
    for left in [names(folder), names(&desk.journal)] {
        run.hold(left.iter().all(|name| !name.starts_with('.')), || {
            format!("left behind: {left:?}")
        });
    }
    desk.bench.no_panic(run);
    run.measure(format!("{old} times the old file, {new} times the new one"));
}
