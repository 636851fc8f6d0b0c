//! Hosts that answer with nonsense, with impossible numbers, or so slowly that they never end.

use std::fs;
use std::time::{Duration, Instant};

use barmanapi::runner::ssh::{Run, remove_job};
use barmanapi::runner::{Ending, StartError, Stop};

use super::{Desk, LONG, job_name, until};
use crate::rig::{Lab, Sshd};

/// A host that reads a request as ours would and then answers as its file `answer` says in Python.
const HOSTILE: &str = r#"
import os, sys, time
def exactly(n):
    data = b""
    while len(data) < n:
        data += os.read(0, n - len(data))
    return data
while os.read(0, 1) != b"\n":
    pass
exactly(int(exactly(10)))
request = exactly(int(exactly(10)))
word = request.split(b":", 1)[1][:32]
def say(data):
    os.write(1, data)
say(word + b"\n")
open(os.path.dirname(sys.argv[0]) + "/asked", "ab").write(b"x")
exec(open(os.path.dirname(sys.argv[0]) + "/answer").read())
"#;

/// A host that answers as the file says.
fn hostile() -> Sshd {
    let mut sshd = Sshd::start(&[]);
    Lab::get().write(&sshd.file("hostile.py"), HOSTILE, 0o644);
    let forced = format!(
        "ForceCommand exec /usr/bin/python3 {}",
        sshd.file("hostile.py").display()
    );
    sshd.configure(&[&forced]);
    sshd.down();
    sshd.up();
    sshd
}

fn answers(sshd: &Sshd, answer: &str) {
    Lab::get().write(&sshd.file("answer"), answer, 0o644);
}

#[test]
fn a_host_that_answers_with_nonsense_is_not_believed() {
    let (sshd, desk) = (hostile(), Desk::new());
    let link = sshd.link();
    for (answer, words) in [
        (r#"say(b"o7fffffff" + b"x" * 65000)"#, "longer than"),
        (
            r#"say(b"s00000001"); say(b"0"); say(b"GARBAGE!!")"#,
            "no head",
        ),
        (
            r#"say(b"s000000010o000000110000000000000005x")"#,
            "came after",
        ),
        (
            r#"say(b"s000000010x0000000aexit 0 5 0")"#,
            "output is missing",
        ),
        (r#"say(b"s000000010x0000000aexit 999 0")"#, "can't be read"),
        (r#"say(b"s000000010l00000000")"#, "can't be read"),
        (r#"say(b"s000000010d00000000")"#, "something else"),
        (r#"say(b"f00003fff1 " + b"n" * 16381)"#, "nnnn"),
        ("sys.exit(0)", "link to the host broke"),
        (
            r#"sys.stderr.write("Traceback (most recent call last):\nValueError: odd\n"); sys.exit(1)"#,
            "ValueError",
        ),
    ] {
        answers(&sshd, answer);
        let plan = desk.plan_of("/bin/true".into(), &[]);
        let error = match Run::start(&link, &plan) {
            Err(error) => error.to_string(),
            Ok(mut run) => run.wait(LONG).unwrap_err().to_string(),
        };
        assert!(error.contains(words), "{answer}: {error}");
        assert!(error.len() < 1000, "{error}");
    }
    answers(&sshd, r#"say(b"l0000000a9:/bin/true")"#);
    assert_eq!(
        link.look("/bin/true".as_ref()).unwrap_err().word(),
        "odd answer"
    );
}

#[test]
fn numbers_that_can_not_be_end_nobody() {
    let (sshd, desk) = (hostile(), Desk::new());
    let link = sshd.link();
    for answer in [
        r#"say(b"s000000041e15"); time.sleep(60)"#,
        r#"say(b"s0000000418446744073709551615"); time.sleep(60)"#,
        r#"say(b"s00000003inf"); time.sleep(60)"#,
        r#"say(b"o00000011ffffffffffffffffx"); time.sleep(60)"#,
        r#"say(b"x0000002dexit 0 18446744073709551615 18446744073709551615"); time.sleep(60)"#,
        r#"say(b"f0000000f-2147483648 odd"); time.sleep(60)"#,
    ] {
        answers(&sshd, answer);
        let since = Instant::now();
        let plan = desk.plan_of("/bin/true".into(), &[]);
        let told = match Run::start(&link, &plan) {
            Err(error) => error.to_string(),
            Ok(mut run) => run.wait(LONG).unwrap_err().to_string(),
        };
        assert!(!told.is_empty());
        assert!(since.elapsed() < Duration::from_secs(5), "{answer}");
    }
    // A job is not told as ended by that, nor is its host asked again and again.
    answers(&sshd, r#"say(b"s000000041e15"); time.sleep(60)"#);
    fs::remove_file(sshd.file("asked")).unwrap();
    let plan = desk.plan_of("/bin/true".into(), &[]);
    let since = Instant::now();
    let mut run = Run::start_job(&link, &plan, &job_name()).unwrap();
    assert!(since.elapsed() < Duration::from_secs(5));
    run.stop(Stop::Cancel).unwrap();
    assert_eq!(run.wait(Duration::from_secs(6)).unwrap(), None);
    let asked = fs::metadata(sshd.file("asked")).unwrap().len();
    assert!((2..8).contains(&asked), "asked {asked} times");
}

#[test]
fn one_answer_has_one_deadline_however_slowly_it_comes() {
    let sshd = hostile();
    let link = sshd.link();
    answers(
        &sshd,
        "say(b'r00003000')\nfor _ in range(100):\n time.sleep(1)\n say(b'x')",
    );
    let since = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| link.look("/bin/true".as_ref()).unwrap_err());
        scope.spawn(|| remove_job(&link, &job_name()).unwrap_err());
        let error = link.resolve("/bin/true".as_ref()).unwrap_err();
        assert_eq!(error.word(), "no route", "{error}");
    });
    assert!(since.elapsed() < Duration::from_secs(25));
    // And nobody holds a place any more.
    until(LONG, || sshd.connections().len() < 3);
}

#[test]
fn a_job_on_a_host_that_only_answers_oddly_can_be_given_up() {
    let (sshd, desk) = (hostile(), Desk::new());
    answers(&sshd, r#"say(b"s000000010x0000000aexit 0 5 0")"#);
    let plan = desk.plan_of("/bin/true".into(), &[]);
    let mut run = Run::start_job(&sshd.link(), &plan, &job_name()).unwrap();
    assert_eq!(run.wait(Duration::from_secs(1)).unwrap(), None);
    run.stop(Stop::Cancel).unwrap();
    let ending = run.wait(LONG).unwrap();
    assert_eq!(ending, Some(Ending::Unknown { restarted: false }));
}

#[test]
fn what_tells_the_command_instead_of_running_it_is_no_lack_of_python() {
    let desk = Desk::new();
    for forced in [
        "echo \"$SSH_ORIGINAL_COMMAND\"",
        "echo you may not run \"$SSH_ORIGINAL_COMMAND\" here",
        "echo barmanapi: no python; echo go away",
    ] {
        let sshd = Sshd::start(&[&format!("ForceCommand {forced}")]);
        let plan = desk.plan_of("/bin/true".into(), &[]);
        let error = Run::start(&sshd.link(), &plan).map(|_| ()).unwrap_err();
        let StartError::Link(error) = error else {
            panic!("{forced}: {error:?}");
        };
        assert_eq!(error.word(), "remote shell", "{forced}: {error}");
    }
}
