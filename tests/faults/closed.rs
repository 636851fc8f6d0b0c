//! A closed month that is put back as it was, again and again, and what must hold of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use barmanapi::atomicfile::Lock;
use barmanapi::names::Month;
use serde_json::Value;

use super::bench::ask;
use super::crash::held_command;
use super::past::{Past, give, month};
use super::rig::{Answer, Barman, Server, Site, StandIn};
use super::room::SmallDisk;
use super::run::{Run, eventually};
use super::trace::{Deed, Orders, Trace};

/// How a month begins.
pub struct Plan<'a> {
    pub settings: &'a [&'a str],
    /// How many months it lies back.
    pub back: u32,
    /// Jobs that are in its archive.
    pub archived: usize,
    /// Jobs that are in their folders.
    pub folders: usize,
    /// Bytes of output that does not shrink, for each of these.
    pub noise: usize,
    /// The room of a disk of its own.
    pub disk: Option<&'a str>,
}

/// A site with one closed month.
pub struct Closed {
    pub site: Site,
    pub disk: Option<SmallDisk>,
    pub past: Past,
    pub month: Month,
    pub token: String,
    /// What every ticket answers.
    pub right: BTreeMap<String, Vec<u8>>,
    /// What the list holds, the newest first.
    pub listed: Vec<Value>,
    _stand_in: StandIn,
}

/// A process that dies with its fault, also when that can't go on.
struct Mortal(Child);

impl Drop for Mortal {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What an answer was.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Right,
    /// 503 with `Retry-After`.
    NotYet,
    /// Nobody was there.
    Nothing,
    Wrong(String),
}

impl Closed {
    pub fn new(plan: &Plan<'_>) -> Self {
        let stand_in = StandIn::new();
        let site = Site::new(&Barman::StandIn(&stand_in), plan.settings);
        let disk = plan
            .disk
            .map(|room| SmallDisk::mount(site.file("store"), room));
        site.user("ada", &["--full"]);
        let token = site.serve().login("ada").token;
        let mut past = Past::new(&site);
        let closed = month(plan.back);
        past.ended(&closed, plan.archived);
        let lock = past.store.lock_rotation().unwrap().unwrap();
        while past.store.rotate_some(&closed).unwrap().more {}
        for ticket in past.ended(&closed, plan.folders) {
            if plan.noise > 0 {
                let mut noise = vec![0; plan.noise];
                getrandom::fill(&mut noise).unwrap();
                let text: Vec<u8> = noise.iter().map(|byte| b' ' + byte % 94).collect();
                let folder = past.store.month(&closed).join(ticket);
                fs::write(folder.join("stdout"), text).unwrap();
            }
        }
        // Months are counted from one that has a job.
        past.ended(&month(0), 1);
        past.hand_over();
        let mut closed = Self {
            site,
            disk,
            past,
            month: closed,
            token,
            right: BTreeMap::new(),
            listed: Vec::new(),
            _stand_in: stand_in,
        };
        let server = closed.site.serve_unready(&[]);
        let (listed, heard) = closed.pages(&server, 1000);
        assert_eq!(heard, Heard::Right);
        assert_eq!(listed.len(), plan.archived + plan.folders);
        for item in &listed {
            let ticket = item["ticket"].as_str().unwrap();
            let answer = closed.result(&server, ticket).unwrap().expect(200);
            closed.right.insert(ticket.to_owned(), answer.body);
        }
        closed.listed = listed;
        drop((server, lock));
        closed.copy(&closed.past.root, &closed.site.file("kept"));
        closed
    }

    /// Copies all that there is of the month.
    fn copy(&self, from: &Path, to: &Path) {
        for folder in ["active", "archive"] {
            fs::create_dir_all(to.join(folder)).unwrap();
        }
        let month = self.month.as_str();
        let names = [
            format!("active/{month}"),
            format!("archive/{month}.tar.gz"),
            format!("archive/{month}.index"),
        ];
        for name in names {
            if from.join(&name).exists() {
                let place = to.join(&name);
                let mut cp = Command::new("cp");
                cp.arg("-a").arg(from.join(&name)).arg(place);
                assert!(cp.status().unwrap().success());
            }
        }
    }

    /// Puts everything back as it was at first, while nobody serves it.
    pub fn restore(&self) {
        drop(fs::remove_dir_all(self.folder()));
        for entry in fs::read_dir(self.past.root.join("archive")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        self.copy(&self.site.file("kept"), &self.past.root);
    }

    /// The folder of the month.
    pub fn folder(&self) -> PathBuf {
        self.past.store.month(&self.month)
    }

    pub fn archive(&self) -> PathBuf {
        self.past.store.archive(&self.month)
    }

    pub fn index(&self) -> PathBuf {
        self.past.store.archive_index(&self.month)
    }

    fn lock_path(&self) -> PathBuf {
        self.past.root.join("active/slots/rotate")
    }

    /// Whether a service rotates right now.
    pub fn is_rotating(&self) -> bool {
        let inode = fs::metadata(self.lock_path()).unwrap().ino();
        let locks = fs::read_to_string("/proc/locks").unwrap();
        locks
            .lines()
            .any(|line| line.contains(&format!(":{inode} ")))
    }

    /// Keeps all services from rotating.
    pub fn hold_rotation(&self) -> Lock {
        let lock = eventually("lock of rotation", || {
            Lock::try_exclusive(&self.lock_path()).unwrap()
        });
        give(&self.lock_path(), true);
        lock
    }

    /// Serves the store until a pass of rotation is over, or until the service has died at the
    /// chosen call of it. Returns what the tracer told.
    pub fn traced(&self, run: &mut Run, deed: Deed, is_done: impl Fn() -> bool) -> Vec<String> {
        let mut child = Mortal(held_command(&self.site, &["serve"], ""));
        let trace = Trace::begin(&Orders {
            pid: child.0.id(),
            roles: "serve",
            names: "@active/slots/rotate",
            deed,
        });
        let pid = rustix::process::Pid::from_child(&child.0);
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        eventually("end of the rotation or of the service", || {
            let over = || is_done() && Lock::try_exclusive(&self.lock_path()).unwrap().is_some();
            (child.0.try_wait().unwrap().is_some() || over()).then_some(())
        });
        let told = trace.end();
        let mut stderr = child.0.stderr.take().unwrap();
        drop(child);
        let mut said = Vec::new();
        stderr.read_to_end(&mut said).unwrap();
        let said = String::from_utf8_lossy(&said).into_owned();
        run.hold(!said.contains("panicked"), || said);
        told
    }

    /// Asks for a ticket.
    pub fn result(&self, server: &Server, ticket: &str) -> Option<Answer> {
        let target = format!("/history/result?ticket={ticket}");
        ask(server, &self.token, "GET", &target)
    }

    /// Asks for a ticket and holds the answer against the right one.
    pub fn hear(&self, server: &Server, ticket: &str) -> Heard {
        match self.result(server, ticket) {
            None => Heard::Nothing,
            Some(answer) if is_not_yet(&answer) => Heard::NotYet,
            Some(answer) if answer.status == 200 && answer.body == self.right[ticket] => {
                Heard::Right
            }
            Some(answer) => Heard::Wrong(format!("{ticket}: {}: {}", answer.status, text(&answer))),
        }
    }

    /// All pages of the month.
    pub fn pages(&self, server: &Server, limit: usize) -> (Vec<Value>, Heard) {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let target = format!("/history/list?past={}&limit={limit}{cursor}", self.month);
            let heard = match ask(server, &self.token, "GET", &target) {
                None => Heard::Nothing,
                Some(answer) if is_not_yet(&answer) => Heard::NotYet,
                Some(answer) if answer.status == 200 => {
                    let page = answer.json();
                    items.extend(page["list"].as_array().unwrap().clone());
                    if let Some(next) = page["cursor"].as_str() {
                        cursor = format!("&cursor={next}");
                        continue;
                    }
                    Heard::Right
                }
                Some(answer) => Heard::Wrong(format!("{target}: {}", text(&answer))),
            };
            return (items, heard);
        }
    }

    /// All pages of the month, held against the right ones.
    pub fn hear_list(&self, server: &Server, limit: usize) -> Heard {
        let (items, heard) = self.pages(server, limit);
        if heard == Heard::Right && items != self.listed {
            let known: Vec<_> = items
                .iter()
                .filter(|item| self.listed.contains(item))
                .collect();
            return Heard::Wrong(format!(
                "the list has {} items, {} of them right, instead of {}",
                items.len(),
                known.len(),
                self.listed.len()
            ));
        }
        heard
    }

    /// Every ticket and the list answer as at first; as soon as they can be answered.
    pub fn holds(&self, run: &mut Run, server: &Server, at: &str) {
        let mut patient = |what: &str, ask: &dyn Fn() -> Heard| {
            let heard = eventually(what, || Some(ask()).filter(|heard| *heard != Heard::NotYet));
            run.hold(heard == Heard::Right, || format!("{heard:?} ({at})"));
        };
        for ticket in self.right.keys() {
            patient("answer to a ticket", &|| self.hear(server, ticket));
        }
        patient("list", &|| self.hear_list(server, 1000));
        patient("list in pages", &|| {
            self.hear_list(server, 2.max(self.right.len() / 3))
        });
    }

    /// Waits until all is archived and holds what there is then.
    pub fn archived(&self, run: &mut Run, server: &Server, at: &str) {
        eventually("end of the rotation", || {
            (!self.folder().exists()).then_some(())
        });
        self.holds(run, server, at);
        let tar = Command::new("tar").arg("tzf").arg(self.archive()).output();
        let tar = tar.unwrap();
        let mut names: Vec<String> = String::from_utf8_lossy(&tar.stdout)
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        let files = ["job.json", "result.json", "stderr", "stdout"];
        let of = |ticket: &String| files.map(|file| format!("{}/{ticket}/{file}", self.month));
        let wanted: Vec<String> = self.right.keys().flat_map(of).collect();
        let whole = tar.status.success() && tar.stderr.is_empty() && names == wanted;
        run.hold(whole, || {
            let said = String::from_utf8_lossy(&tar.stderr);
            format!("tar reads {} names and says {said} ({at})", names.len())
        });
    }

    /// Notes a panic that stands in a log.
    pub fn no_panic(&self, run: &mut Run) {
        let logged = self.site.logged();
        let line = logged.lines().find(|line| line.contains("panicked"));
        run.hold(line.is_none(), || format!("a panic: {line:?}"));
    }
}

fn is_not_yet(answer: &Answer) -> bool {
    answer.status == 503 && answer.header("retry-after").is_some()
}

fn text(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    text.chars().take(300).collect()
}

/// Waits a little for something that need not come.
pub fn perhaps(patience: Duration, mut found: impl FnMut() -> bool) -> bool {
    let since = std::time::Instant::now();
    while since.elapsed() < patience {
        if found() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}
