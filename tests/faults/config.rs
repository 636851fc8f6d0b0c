//! The service dies while it changes Barman's configuration: at each system call, one after the
//! other.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::bench::Bench;
use super::crash::{deed, points};
use super::rig::{Barman, Lab, Site, StandIn};
use super::run::{Fault, Run, eventually};
use super::trace::{Orders, Trace};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "config",
        how: "the service is killed at each system call of `/config/barman/change`, which changes two files and makes a third, and started again",
        provoke: replaced,
    },
    Fault {
        name: "config_in_place",
        how: "the same where a file may be written and its folder may not",
        provoke: in_place,
    },
];

fn replaced(run: &mut Run) {
    provoke(run, false);
}

fn in_place(run: &mut Run) {
    provoke(run, true);
}

const MAIN: &str = "; main\n[barman]\nbarman_home = @/home\nconfiguration_files_directory = @/barman.d\ncheck_timeout = 0\n; end\n";
const SERVER: &str = "; server\n[main]\ndescription = none\n; end\n";

/// The files of a change, before or after it.
pub type State = Vec<Option<String>>;

pub struct Desk {
    pub bench: Bench,
    pub folder: PathBuf,
}

impl Desk {
    pub fn new(in_place: bool) -> Self {
        let lab = Lab::get();
        let folder = lab.folder("config");
        for name in ["barman.d", "home"] {
            fs::create_dir(folder.join(name)).unwrap();
            lab.own(&folder.join(name));
        }
        let text = MAIN.replace('@', &folder.display().to_string());
        lab.write(&folder.join("barman.conf"), &text, 0o640);
        lab.write(&folder.join("barman.d/main.conf"), SERVER, 0o640);
        if in_place {
            for name in ["", "barman.d"] {
                Lab::as_root(&["chown", "root", &folder.join(name).display().to_string()]);
            }
        }
        let stand_in = StandIn::new();
        stand_in.control(&json!({"servers": ["main", "other"]}));
        let config = format!(
            "barman.config_file = {}",
            folder.join("barman.conf").display()
        );
        let site = Site::new(&Barman::StandIn(&stand_in), &[&config]);
        Self {
            bench: Bench::on(stand_in, site),
            folder,
        }
    }

    /// The files now; `number` names the one that a change makes.
    pub fn state(&self, number: usize) -> State {
        let names = [
            "barman.conf".to_owned(),
            "barman.d/main.conf".to_owned(),
            format!("barman.d/new{number}.conf"),
        ];
        let read = |name: String| fs::read_to_string(self.folder.join(name)).ok();
        names.into_iter().map(read).collect()
    }

    pub fn journal(&self) -> PathBuf {
        self.bench.server.store().join("config/revisions/barman")
    }

    /// Removes what would make the next change longer than this one: the new file, and the folders
    /// of trials whose makers died before they had named them, which stay for an hour.
    pub fn forget(&self, number: usize) {
        drop(fs::remove_file(
            self.folder.join(format!("barman.d/new{number}.conf")),
        ));
        forget_trials();
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// Waits until no change is pending.
pub fn settled(journal: &Path) {
    eventually("the end of every change", || {
        let names = names(journal);
        let mut records = names.iter().filter_map(|name| name.strip_suffix(".json"));
        let ended = |name: &str| {
            let marks = ["done", "left"].map(|mark| format!("{name}.{mark}"));
            marks.iter().any(|mark| names.contains(mark))
        };
        records.all(ended).then_some(())
    });
}

/// The revisions of `/config/barman` or `/config/barmanapi`.
pub fn revisions(bench: &Bench, file: &str) -> Vec<Value> {
    let target = format!("/config/{file}/revisions?limit=1000");
    let list = bench.ada().get(&target).expect(200);
    list.json()["list"].as_array().unwrap().clone()
}

/// Removes the folders of trials whose makers died before they had named them.
pub fn forget_trials() {
    let trials = Path::new(Lab::get().fact("LAB_HOME")).join(".barmanapi/trials");
    for name in names(&trials) {
        if name.starts_with("new.") {
            drop(fs::remove_dir_all(trials.join(name)));
        }
    }
}

/// The names in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn provoke(run: &mut Run, in_place: bool) {
    let mut desk = Desk::new(in_place);
    desk.forget(0);
    let (mut old, mut new, mut number) = (0, 0, 0);
    points(run, &mut |run, at| {
        number += 1;
        let before = desk.state(number);
        let count = revisions(&desk.bench, "barman").len();
        let trace = Trace::begin(&Orders {
            pid: desk.bench.server.pid(),
            roles: "serve",
            names: "",
            deed: deed(at),
        });
        let file = if in_place {
            String::new()
        } else {
            format!("&new{number}.description=new&create=true")
        };
        let target = format!(
            "/config/barman/change?barman.check_timeout={number}&main.description=n{number}{file}"
        );
        let answer = desk.bench.ask("GET", &target);
        let told = trace.end();
        if at.is_none() {
            assert_eq!(answer.as_ref().unwrap().status, 200);
        }
        if at.is_some() && !told.is_empty() {
            desk.bench.restart();
        }
        settled(&desk.journal());
        let at = told.last().cloned().unwrap_or_default();
        let after = desk.state(number);
        let wanted: State = vec![
            before[0].as_ref().map(|text| {
                let old = text.lines().find(|line| line.starts_with("check_timeout"));
                text.replace(old.unwrap(), &format!("check_timeout = {number}"))
            }),
            before[1].as_ref().map(|text| {
                let old = text.lines().find(|line| line.starts_with("description"));
                text.replace(old.unwrap(), &format!("description = n{number}"))
            }),
            (!in_place).then(|| format!("[new{number}]\ndescription = new\n")),
        ];
        let (is_old, is_new) = (after == before, after == wanted);
        run.hold(is_old || is_new, || format!("a mix ({at}): {after:?}"));
        let revisions = revisions(&desk.bench, "barman");
        run.hold(revisions.len() == count + usize::from(is_new), || {
            format!("{} revisions after {count} ({at})", revisions.len())
        });
        run.hold(revisions.iter().all(|one| one["state"] == "done"), || {
            format!("a revision that is not real ({at}): {revisions:?}")
        });
        if let Some(answer) = answer {
            run.hold(answer.status != 200 || is_new, || {
                format!("answered and not made ({at})")
            });
        }
        desk.forget(number);
        old += usize::from(is_old);
        new += usize::from(is_new);
        told
    });
    // What the last crashes left beside the files goes with the next change.
    let target = "/config/barman/change?barman.check_timeout=0&main.description=end";
    desk.bench.ask("GET", target).unwrap().expect(200);
    for folder in ["", "barman.d"] {
        let names = names(&desk.folder.join(folder));
        run.hold(names.iter().all(|name| !name.starts_with('.')), || {
            format!("left behind: {names:?}")
        });
    }
    let left = names(&desk.journal());
    run.hold(left.iter().all(|name| !name.starts_with('.')), || {
        format!("left behind: {left:?}")
    });
    desk.bench.no_panic(run);
    run.measure(format!(
        "{old} times the old files, {new} times the new ones"
    ));
}
