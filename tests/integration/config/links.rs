//! Changes over a link that breaks or stands still.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::*;
use crate::running::eventually;

const OLD: &str = "retention_policy   =   REDUNDANCY 3\n";

/// The lock that is waited for before files are replaced.
fn hold_lock(files: &Files) -> fs::File {
    let path = files.path("home/.config-update.lock");
    Lab::get().write(&path, "1", 0o600);
    let lock = fs::File::open(path).unwrap();
    lock.lock().unwrap();
    lock
}

/// Names of revisions that have been begun.
fn begun(desk: &Desk) -> usize {
    let folder = desk.server.store().join("config/revisions/barman");
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_record = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".json");
    names.filter(is_record).count()
}

/// Makes the next change as soon as the host can be reached, and then looks whether the one before
/// is there whole, with its revision, or is not there at all. Returns whether it is.
fn settled(desk: &Desk, admin: &User<'_>, jobs: u32) -> bool {
    let since = Instant::now();
    loop {
        let next = json!({"other.parallel_jobs": jobs});
        let answer = admin.post("/config/barman/change", &next);
        if answer.status == 200 {
            break;
        }
        assert!([502, 504, 503, 412].contains(&answer.status), "{answer:?}");
        assert!(since.elapsed() < Duration::from_secs(90), "{answer:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let text = desk.files.read("barman.d/main.conf");
    let new = format!("parallel_jobs   =   {jobs}\n");
    assert!(text.contains(OLD) && text.contains("; the end"), "{text}");
    let list = admin.get("/config/barman/revisions?limit=1000").expect(200);
    let list = list.json()["list"].as_array().unwrap().clone();
    assert!(list.iter().all(|one| one["state"] == "done"), "{list:?}");
    let is_of_main = |one: &&Value| one["changed"] == json!(["main.parallel_jobs"]);
    let one = list.iter().take(2).find(is_of_main);
    let shown = one.map(|one| {
        let id = one["revision"].as_str().unwrap();
        let one = admin.get(&format!("/config/barman/revisions/{id}"));
        one.expect(200).json()["list"]["diff"].to_string()
    });
    let is_revision = shown.is_some_and(|diff| diff.contains(&format!("=   {jobs}\\n")));
    assert_eq!(text.contains(&new), is_revision, "{text} {list:?}");
    desk.files.barman(&["list-servers"]);
    is_revision
}

/// A change that is cut while it waits for the lock, its revision begun.
fn cut_before_the_files_are_replaced(cut: impl Fn(&mut Sshd), mend: impl Fn(&mut Sshd)) {
    let mut desk = Desk::there(&[]);
    let mut sshd = desk.sshd.take().unwrap();
    let admin = desk.admin();
    let before = desk.files.all();
    let lock = hold_lock(&desk.files);
    let answer = std::thread::scope(|scope| {
        let change = scope.spawn(|| {
            let body = json!({"main.parallel_jobs": 2});
            admin.post("/config/barman/change", &body)
        });
        eventually("the revision", || (begun(&desk) == 1).then_some(()));
        cut(&mut sshd);
        change.join().unwrap()
    });
    // Nothing can be known, and that is said.
    let told = answer.clone().expect(502).json()["message"].to_string();
    assert!(
        told.contains("not known") && told.contains("revision"),
        "{told}"
    );
    assert_eq!(desk.files.all(), before);
    let list = admin.get("/config/barman/revisions").expect(200).json();
    assert_eq!(list["list"][0]["state"], "pending");
    drop(lock);
    mend(&mut sshd);
    let is_made = settled(&desk, &admin, 2);
    eprintln!(
        "the change that was cut was {}",
        if is_made { "made" } else { "dropped" }
    );
}

#[test]
fn an_sshd_that_dies_while_files_wait_to_be_replaced_leaves_one_state() {
    cut_before_the_files_are_replaced(Sshd::down, Sshd::up);
}

#[test]
fn an_sshd_that_stands_still_while_files_wait_to_be_replaced_leaves_one_state() {
    let stop = |sshd: &mut Sshd| sshd.signal(Signal::STOP);
    cut_before_the_files_are_replaced(stop, |sshd| sshd.signal(Signal::CONT));
}

#[test]
fn a_link_that_breaks_at_any_moment_of_a_change_leaves_whole_files() {
    let mut desk = Desk::there(&[]);
    let mut sshd = desk.sshd.take().unwrap();
    let admin = desk.admin();
    let since = Instant::now();
    admin
        .post("/config/barman/change", &json!({"main.parallel_jobs": 90}))
        .expect(200);
    let whole = since.elapsed();
    let (mut made, mut statuses) = (0, Vec::new());
    for round in 0..6 {
        let jobs = 10 + round;
        let status = std::thread::scope(|scope| {
            let change = scope.spawn(|| {
                let body = json!({"main.parallel_jobs": jobs});
                admin.post("/config/barman/change", &body).status
            });
            // Most of it lies in the trial; the end is looked at closer.
            std::thread::sleep(whole * [2, 9, 13, 14, 15, 16][round as usize] / 16);
            sshd.down();
            sshd.up();
            change.join().unwrap()
        });
        assert!([200, 502].contains(&status), "{status}");
        let is_made = settled(&desk, &admin, jobs);
        assert!(is_made || status != 200, "{jobs} was acknowledged");
        made += u32::from(is_made);
        statuses.push(status);
    }
    eprintln!("{statuses:?}, {made} of them made; a whole change takes {whole:?}");
    assert!(statuses.contains(&502));
}
