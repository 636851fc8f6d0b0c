//! The service dies while it changes Barman's configuration: at each system call, one after the
//! other.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::bench::Bench;
use super::crash::{deed, every};
use super::rig::{Answer, Barman, Lab, Site, Sshd, StandIn};
use super::run::{Fault, Run, eventually};
use super::trace::{Orders, Trace};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "config",
        how: "the service is killed at each system call of `/config/barman/change`, which changes two files and makes a third, and started again",
        provoke: |run| provoke(run, Way::Replaced, Place::Here),
    },
    Fault {
        name: "config_in_place",
        how: "the same where a file may be written and its folder may not",
        provoke: |run| provoke(run, Way::InPlace, Place::Here),
    },
    Fault {
        name: "config_there",
        how: "the same over SSH: the service is killed at its calls, every eighth of them, and what it had asked the Barman host for goes on there",
        provoke: |run| provoke(run, Way::Replaced, Place::There),
    },
    Fault {
        name: "config_in_place_there",
        how: "the same over SSH where a file may be written and its folder may not",
        provoke: |run| provoke(run, Way::InPlace, Place::There),
    },
    Fault {
        name: "config_under_way_there",
        how: "the same over SSH, both ways, some milliseconds after the revision was begun, while the Barman host replaces the files",
        provoke: under_way,
    },
];

const MAIN: &str = "; main\n[barman]\nbarman_home = @/home\nconfiguration_files_directory = @/barman.d\ncheck_timeout = 0\n; end\n";
const SERVER: &str = "; server\n[main]\ndescription = none\n; end\n";

/// The files of a change, before or after it.
pub type State = Vec<Option<String>>;

/// How files are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By a new file under the old one's name.
    Replaced,
    /// Where they are, since nobody may make names in their folders.
    InPlace,
}

/// Where Barman is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Here,
    /// Behind an sshd.
    There,
}

pub struct Desk {
    pub bench: Bench,
    pub folder: PathBuf,
    pub sshd: Option<Sshd>,
    way: Way,
}

impl Desk {
    /// Barman's files, of which the main one has an access list, and the other is a link where files
    /// are replaced.
    pub fn new(way: Way, place: Place) -> Self {
        let lab = Lab::get();
        let folder = lab.folder("config");
        for name in ["barman.d", "home", "linked"] {
            fs::create_dir(folder.join(name)).unwrap();
            lab.own(&folder.join(name));
        }
        let text = MAIN.replace('@', &folder.display().to_string());
        let path = folder.join("barman.conf");
        lab.write(&path, &text, 0o640);
        let path = path.display().to_string();
        Lab::as_root(&["setfacl", "-m", "u:daemon:r,m::rw", &path]);
        let server = folder.join("barman.d/main.conf");
        if way == Way::InPlace {
            lab.write(&server, SERVER, 0o604);
            for name in ["", "barman.d"] {
                Lab::as_root(&["chown", "root", &folder.join(name).display().to_string()]);
            }
        } else {
            lab.write(&folder.join("linked/main.conf"), SERVER, 0o604);
            symlink("../linked/main.conf", &server).unwrap();
            lab.own(&server);
        }
        let stand_in = StandIn::new();
        stand_in.control(&json!({"servers": ["main", "other"]}));
        let config = format!(
            "barman.config_file = {}",
            folder.join("barman.conf").display()
        );
        let sshd = (place == Place::There).then(|| Sshd::start(&[]));
        let remote = sshd.as_ref().map(Sshd::remote_ssh);
        let remote = remote.map(|words| format!("barman.remote_ssh = {words}"));
        let mut settings = vec![config.as_str()];
        if let Some(remote) = &remote {
            settings.extend(["barman.remote = true", remote]);
        }
        let site = Site::new(&Barman::StandIn(&stand_in), &settings);
        Self {
            bench: Bench::on(stand_in, site),
            folder,
            sshd,
            way,
        }
    }

    /// What the files have besides their bytes: link, mode, owner and access list.
    pub fn facts(&self) -> Vec<String> {
        let names = ["barman.conf", "barman.d/main.conf"];
        names.map(|name| facts(&self.folder.join(name))).into()
    }

    /// The temporary files that somebody left.
    pub fn left_behind(&self) -> Vec<String> {
        let mut left = Vec::new();
        for folder in ["", "barman.d", "linked"] {
            left.extend(names(&self.folder.join(folder)));
        }
        left.extend(names(&self.journal()));
        left.retain(|name| name.starts_with('.'));
        left
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

/// What a file has besides its bytes: link, mode, owner and access list.
pub fn facts(path: &Path) -> String {
    let found = fs::metadata(path).unwrap();
    let list = Command::new("getfacl")
        .args(["-c", "-p"])
        .arg(path)
        .output();
    format!(
        "{} {:?} {:o} {} {} {}",
        path.display(),
        fs::read_link(path).ok(),
        found.mode(),
        found.uid(),
        found.gid(),
        String::from_utf8(list.unwrap().stdout).unwrap()
    )
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

/// One at so many calls in the long form: over SSH each of them takes a new connection.
fn stride(place: Place) -> usize {
    if place == Place::There { 8 } else { 1 }
}

/// Changes that are disturbed, one after the other.
struct Changes {
    desk: Desk,
    facts: Vec<String>,
    /// The files after the last one.
    last: Option<State>,
    number: usize,
    old: usize,
    new: usize,
    swept: usize,
}

/// The files and the revisions before a change.
struct Before {
    state: State,
    revisions: usize,
    target: String,
}

impl Changes {
    fn new(way: Way, place: Place) -> Self {
        let desk = Desk::new(way, place);
        desk.forget(0);
        Self {
            facts: desk.facts(),
            desk,
            last: None,
            number: 0,
            old: 0,
            new: 0,
            swept: 0,
        }
    }

    fn next(&mut self, run: &mut Run) -> Before {
        self.number += 1;
        let number = self.number;
        let state = self.desk.state(number);
        // What was killed before did not come true later on.
        let last = &self.last;
        run.hold(last.as_ref().is_none_or(|last| *last == state), || {
            format!("something was changed later: {last:?} is {state:?}")
        });
        let file = match self.desk.way {
            Way::Replaced => format!("&new{number}.description=new&create=true"),
            Way::InPlace => String::new(),
        };
        Before {
            state,
            revisions: revisions(&self.desk.bench, "barman").len(),
            target: format!(
                "/config/barman/change?barman.check_timeout={number}&main.description=n{number}{file}"
            ),
        }
    }

    /// What must hold after a change that was killed `at` some place.
    fn look_at(&mut self, run: &mut Run, before: &Before, answer: Option<&Answer>, at: &str) {
        let (desk, number) = (&self.desk, self.number);
        settled(&desk.journal());
        let after = desk.state(number);
        let with = |text: &Option<String>, key: &str, value: &str| {
            let text = text.as_ref()?;
            let old = text.lines().find(|line| line.starts_with(key)).unwrap();
            Some(text.replace(old, &format!("{key} = {value}")))
        };
        let wanted: State = vec![
            with(&before.state[0], "check_timeout", &number.to_string()),
            with(&before.state[1], "description", &format!("n{number}")),
            (desk.way == Way::Replaced).then(|| format!("[new{number}]\ndescription = new\n")),
        ];
        let (is_old, is_new) = (after == before.state, after == wanted);
        run.hold(is_old || is_new, || format!("a mix ({at}): {after:?}"));
        self.same_facts(run, at);
        let revisions = revisions(&desk.bench, "barman");
        let count = before.revisions;
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
        // What a crash left beside the files goes with the next change, and nothing else does.
        if !desk.left_behind().is_empty() {
            self.swept += 1;
            next_change(run, desk, at);
            self.same_facts(run, at);
        }
        self.last = Some(desk.state(number + 1));
        self.old += usize::from(is_old);
        self.new += usize::from(is_new);
    }

    fn same_facts(&self, run: &mut Run, at: &str) {
        let (facts, now) = (&self.facts, self.desk.facts());
        run.hold(now == *facts, || format!("{facts:?} is {now:?} ({at})"));
    }

    fn end(self, run: &mut Run) {
        next_change(run, &self.desk, "the end");
        self.desk.bench.no_panic(run);
        run.measure(format!(
            "{} times the old files, {} times the new ones; {} times a temporary file was left until the next change",
            self.old, self.new, self.swept
        ));
    }
}

fn provoke(run: &mut Run, way: Way, place: Place) {
    let mut changes = Changes::new(way, place);
    every(run, stride(place), &mut |run, at| {
        let before = changes.next(run);
        let bench = &mut changes.desk.bench;
        let trace = Trace::begin(&Orders {
            pid: bench.server.pid(),
            roles: "serve",
            names: "",
            deed: deed(at),
        });
        let answer = bench.ask("GET", &before.target);
        let told = trace.end();
        if at.is_none() {
            assert_eq!(answer.as_ref().unwrap().status, 200);
        }
        if at.is_some() && !told.is_empty() {
            bench.restart();
        }
        let at = told.last().cloned().unwrap_or_default();
        changes.look_at(run, &before, answer.as_ref(), &at);
        told
    });
    changes.end(run);
}

/// Kills the service while the Barman host is at work on what it was asked for.
fn under_way(run: &mut Run) {
    for way in [Way::Replaced, Way::InPlace] {
        let mut changes = Changes::new(way, Place::There);
        for _ in 0..run.of(15, 3) {
            let before = changes.next(run);
            let bench = &mut changes.desk.bench;
            let journal = bench.server.store().join("config/revisions/barman");
            let records = || {
                let names = names(&journal).into_iter();
                names.filter(|name| name.contains(".json")).count()
            };
            let (count, wait) = (records(), run.random.milliseconds(0, 200));
            let answer = std::thread::scope(|scope| {
                let asked = scope.spawn(|| bench.ask("GET", &before.target));
                eventually("the revision", || (records() > count).then_some(()));
                std::thread::sleep(wait);
                let pid = i32::try_from(bench.server.pid()).unwrap();
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
                asked.join().unwrap()
            });
            bench.restart();
            run.once();
            let at = format!("{wait:?} after the revision");
            changes.look_at(run, &before, answer.as_ref(), &at);
        }
        changes.end(run);
    }
}

/// Makes a change that nobody disturbs, in every folder in which names may be made. It leaves nothing
/// of those before beside the files.
fn next_change(run: &mut Run, desk: &Desk, at: &str) {
    let file = match desk.way {
        Way::Replaced => "&new0.description=new&create=true",
        Way::InPlace => "",
    };
    // Values that are not there yet: a file that stays as it is has its folder left alone.
    let number = 5000 + run.times;
    let target = format!(
        "/config/barman/change?barman.check_timeout={number}&main.description=e{number}{file}"
    );
    desk.bench.ask("GET", &target).unwrap().expect(200);
    let left = desk.left_behind();
    run.hold(left.is_empty(), || format!("left behind ({at}): {left:?}"));
    desk.forget(0);
}
