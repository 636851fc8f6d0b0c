//! Changes where something else is out of order: the audit log, a disk, Barman itself.

use super::*;
use crate::running::eventually;

/// Both configurations, byte by byte.
fn everything(desk: &Desk) -> Vec<(PathBuf, Vec<u8>)> {
    let own = desk.site.file("barmanapi.conf");
    let mut all = desk.files.all();
    all.push((own.clone(), fs::read(own).unwrap()));
    all
}

/// A change of each file, and a rollback of the revision that it made before.
struct Four {
    asked: [(&'static str, Value); 4],
}

impl Four {
    /// Makes the two changes that can be taken back.
    fn new(admin: &User<'_>) -> Self {
        let made = |target: &str, body: &Value| {
            let answer = admin.post(target, body).expect(200).json();
            answer["revision"].clone()
        };
        let barman = made("/config/barman/change", &json!({"main.parallel_jobs": 2}));
        let own = made("/config/barmanapi/change", &json!({"barman.max_jobs": 2}));
        Self {
            asked: [
                ("/config/barman/change", json!({"main.parallel_jobs": 3})),
                ("/config/barman/rollback", json!({"revision": barman})),
                ("/config/barmanapi/change", json!({"barman.max_jobs": 3})),
                ("/config/barmanapi/rollback", json!({"revision": own})),
            ],
        }
    }

    /// Asks for all of them; all of them fail with one of these, and nothing changes.
    #[track_caller]
    fn fail(&self, desk: &Desk, admin: &User<'_>, routes: &str, status: u16) {
        let before = everything(desk);
        for (target, body) in &self.asked {
            if !target.starts_with(routes) {
                continue;
            }
            let answer = admin.post(target, body);
            assert_eq!(answer.status, status, "{target} {answer:?}");
            if status == 503 {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
            }
            assert_eq!(everything(desk), before, "{target}");
        }
    }

    /// The revisions are those two; then all is done.
    fn work_again(&self, admin: &User<'_>) {
        for file in ["barman", "barmanapi"] {
            let list = admin.get(&format!("/config/{file}/revisions")).expect(200);
            let list = list.json()["list"].as_array().unwrap().clone();
            assert_eq!(list.len(), 1, "{list:?}");
            assert_eq!(list[0]["state"], "done");
        }
        for at in [1, 3, 0, 2] {
            let (target, body) = &self.asked[at];
            admin.post(target, body).expect(200);
        }
    }
}

#[test]
fn nothing_is_changed_while_the_audit_log_takes_no_line() {
    everywhere(&[], |desk| {
        let admin = desk.admin();
        let four = Four::new(&admin);
        let log = desk.server.store().join("logs/audit.log");
        let away = desk.site.file("away");
        fs::rename(&log, &away).unwrap();
        fs::create_dir(&log).unwrap();
        four.fail(desk, &admin, "/config", 503);
        // What writes nothing is answered.
        let dry = json!({"main.parallel_jobs": 4, "dry_run": true});
        admin.post("/config/barman/change", &dry).expect(200);
        fs::remove_dir(&log).unwrap();
        fs::rename(&away, &log).unwrap();
        four.work_again(&admin);
        let lines = desk.audit();
        let of = |event: &str| {
            let lines = lines.iter().filter(|line| line["event"] == event);
            lines.count()
        };
        assert_eq!((of("config_change"), of("config_rollback")), (4, 2));
    });
}

#[test]
fn a_full_store_and_one_that_may_not_be_written_are_told_and_no_file_is_touched() {
    let mut room = None;
    let desk = Desk::prepared(&[], None, |site| {
        for folder in ["store", "store/config"] {
            let path = site.file(folder);
            if !path.exists() {
                fs::create_dir(&path).unwrap();
                Lab::get().own(&path);
            }
        }
        // What a running service keeps open for writing is not on it.
        room = Some(Disk::over(&site.file("store/config"), "2m"));
    });
    let room = room.unwrap();
    let admin = desk.admin();
    let four = Four::new(&admin);
    room.fill();
    four.fail(&desk, &admin, "/config", 507);
    room.free();
    room.remount("ro");
    four.fail(&desk, &admin, "/config", 503);
    room.remount("rw");
    four.work_again(&admin);
    desk.files.barman(&["list-servers"]);
    drop(desk);
}

#[test]
fn our_own_file_on_a_read_only_disk_stays_as_it_is() {
    let lab = Lab::get();
    let folder = lab.folder("own");
    let room = Disk::over(&folder, "64k");
    let mut file = None;
    let desk = Desk::prepared(&[], None, |site| {
        let (path, other) = (site.file("barmanapi.conf"), folder.join("barmanapi.conf"));
        let (shown, there) = (path.display().to_string(), other.display().to_string());
        Lab::as_root(&["cp", "-a", &shown, &there]);
        Lab::as_root(&["mount", "--bind", &there, &shown]);
        file = Some(Disk { path });
    });
    let admin = desk.admin();
    let four = Four::new(&admin);
    room.remount("ro");
    four.fail(&desk, &admin, "/config/barmanapi", 503);
    room.remount("rw");
    four.work_again(&admin);
    drop((desk, file, room));
    fs::remove_dir(folder).unwrap();
}

#[test]
fn our_own_file_on_a_full_disk_stays_as_it_is() {
    let folder = Lab::get().folder("own");
    let room = Disk::over(&folder, "64k");
    let desk = Desk::prepared(&[], None, |site| {
        let (path, other) = (site.file("barmanapi.conf"), folder.join("barmanapi.conf"));
        let (shown, there) = (path.display().to_string(), other.display().to_string());
        Lab::as_root(&["mv", &shown, &there]);
        Lab::as_root(&["ln", "-s", &there, &shown]);
    });
    let admin = desk.admin();
    let four = Four::new(&admin);
    room.fill();
    four.fail(&desk, &admin, "/config/barmanapi", 507);
    room.free();
    four.work_again(&admin);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    drop((desk, room));
    fs::remove_dir(folder).unwrap();
}

/// What a trial of these files has left behind: processes, and folders with their names.
fn leftovers(desk: &Desk, wrapped: &Wrapped) -> Vec<String> {
    let mut found = Vec::new();
    let names = [&desk.files.folder, &wrapped.folder].map(|path| path.display().to_string());
    for process in crate::rig::processes() {
        let words = process.words.join(" ");
        let is_ours = names.iter().any(|name| words.contains(name.as_str()));
        if is_ours && process.state != 'Z' {
            found.push(words);
        }
    }
    let home = Path::new(Lab::get().fact("LAB_HOME")).join(".barmanapi/trials");
    let output = std::process::Command::new("grep")
        .args(["-rl", &names[0]])
        .arg(home)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    found.extend(text.lines().map(str::to_owned));
    for folder in ["barman.d", "home", ""] {
        for entry in fs::read_dir(desk.files.path(folder)).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".barmanapi") {
                found.push(name);
            }
        }
    }
    found
}

/// A Barman that does not answer as Barman does.
fn barman_in_trouble(sshd: Option<Sshd>) {
    let wrapped = Wrapped::new();
    let desk = Desk::new(&[&wrapped.setting()], sshd);
    let admin = desk.admin();
    let before = desk.files.all();
    let body = json!({"main.parallel_jobs": 2});
    let mut jobs = 2;
    let program = wrapped.program().display().to_string();
    let hang = format!("tail -f {program} & tail -f {program}");
    for (words, status, told) in [
        (hang.as_str(), 502, "did not answer in time"),
        ("kill -9 $$", 502, "said nothing"),
        ("kill -9 $PPID", 502, ""),
        ("echo nonsense; exit 0", 502, "nonsense"),
        ("missing", 502, ""),
    ] {
        // The one above it is our own service, when it is here.
        if words.contains("PPID") && desk.sshd.is_none() {
            continue;
        }
        if words == "missing" {
            fs::remove_file(wrapped.program()).unwrap();
        } else {
            wrapped.instead(words);
        }
        let answer = admin.post("/config/barman/change", &body);
        assert_eq!(answer.status, status, "{words} {answer:?}");
        let message = answer.json()["message"].to_string();
        assert!(message.contains(told), "{words}: {message}");
        assert_eq!(desk.files.all(), before, "{words}");
        eventually("nothing to be left", || {
            leftovers(&desk, &wrapped).is_empty().then_some(())
        });
        let list = admin.get("/config/barman/revisions").expect(200).json();
        assert_eq!(list["list"].as_array().unwrap().len(), jobs - 2, "{words}");
        if words == "missing" {
            wrapped.put_back();
        } else {
            wrapped.instead("");
        }
        desk.files.barman(&["list-servers"]);
        // It is as if nothing had been.
        jobs += 1;
        let next = json!({"other.parallel_jobs": jobs});
        eventually("the next change to be made", || {
            let answer = admin.post("/config/barman/change", &next);
            (answer.status == 200).then_some(())
        });
        desk.files.barman(&["list-servers"]);
        let text = desk.files.read("barman.d/main.conf");
        assert!(!text.contains("parallel_jobs"), "{text}");
        let other = desk.files.path("barman.d/other.conf");
        desk.files
            .write("barman.d/other.conf", &first_of(&before, &other));
    }
}

/// The text of a file as it was.
fn first_of(all: &[(PathBuf, Vec<u8>)], path: &Path) -> String {
    let (_, bytes) = all.iter().find(|(name, _)| name == path).unwrap();
    String::from_utf8(bytes.clone()).unwrap()
}

#[test]
fn a_barman_that_hangs_dies_or_is_gone_changes_nothing_here() {
    barman_in_trouble(None);
}

#[test]
fn a_barman_that_hangs_dies_or_is_gone_changes_nothing_over_ssh() {
    barman_in_trouble(Some(Sshd::start(&[])));
}
