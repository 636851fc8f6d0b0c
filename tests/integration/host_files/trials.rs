//! Files tried out.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use barmanapi::runner::Ending;
use barmanapi::runner::files::{Command, FilesError, SAID, Trial};
use rustix::process::Signal;
use signal_hook::consts::SIGINT;

use super::{Side, both, until};
use crate::rig::{Lab, processes};

/// Where the lab's account has its trials.
pub(super) fn trials() -> PathBuf {
    Path::new(Lab::get().fact("LAB_HOME")).join(".barmanapi/trials")
}

/// Keeps other tests away from the account's trials, which are looked at as a whole.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A trial of one shell script.
pub(super) fn script(text: &str) -> Trial {
    Trial {
        placeholder: "@THERE@".to_owned(),
        files: Vec::new(),
        commands: vec![shell(text)],
        read_back: None,
        limit: Trial::LIMIT,
    }
}

fn shell(text: &str) -> Command {
    Command {
        program: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), text.to_owned()],
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_real_barman_judges_a_staged_configuration() {
    let _alone = alone();
    both(|side| {
        let lab = Lab::get();
        let main = fs::read_to_string(lab.fact("BARMAN_CONF")).unwrap();
        let lines = main.lines().filter(|line| {
            !line.starts_with("configuration_files_directory") && !line.starts_with("log_file")
        });
        let main = lines.collect::<Vec<_>>().join("\n").replacen(
            "[barman]",
            "[barman]\nconfiguration_files_directory = @THERE@/conf.d\nlog_file = @THERE@/log",
            1,
        );
        let server =
            "[staged]\ndescription = of the trial\nconninfo = host=x\nssh_command = ssh x\n";
        let mut trial = Trial {
            placeholder: "@THERE@".to_owned(),
            files: vec![
                ("barman.conf".into(), main.into_bytes()),
                ("conf.d/staged.conf".into(), server.into()),
            ],
            commands: vec![Command {
                program: lab.fact("BARMAN").into(),
                arguments: ["-c", "@THERE@/barman.conf", "list-servers", "--minimal"]
                    .map(str::to_owned)
                    .into(),
            }],
            read_back: Some("log".into()),
            limit: Trial::LIMIT,
        };
        let outcome = side.ask(|host| host.try_out(&trial)).unwrap();
        let [tried] = &outcome.tried[..] else {
            panic!("{outcome:?}")
        };
        assert_eq!(tried.ending, Ending::Exited(0), "{}", text(&tried.stderr));
        assert!(
            text(&tried.stdout).lines().any(|line| line == "staged"),
            "{tried:?}"
        );
        assert!(outcome.file.is_some());
        trial.files[1].1 = b"no section\n".to_vec();
        let outcome = side.ask(|host| host.try_out(&trial)).unwrap();
        let tried = &outcome.tried[0];
        assert_ne!(tried.ending, Ending::Exited(0));
        let words = format!("{}{}", text(&tried.stdout), text(&tried.stderr));
        assert!(words.contains("staged.conf"), "{words}");
        side.holds(&trials(), &[]);
    });
}

#[test]
fn a_trial_has_a_private_folder_and_the_environment_of_every_run() {
    let _alone = alone();
    both(|side| {
        let mut trial = script(
            "pwd; stat -c '%a %u %n' . a a/b; cat a/b; umask; cat; env | cut -d= -f1 | sort | tr '\\n' ' '; echo said >&2; echo kept >log; exit 7",
        );
        trial.files = vec![("a/b".into(), b"at @THERE@\n".to_vec())];
        trial.commands.push(shell("kill -9 $$"));
        trial.commands.push(shell("echo @THERE@"));
        trial.read_back = Some("log".into());
        let outcome = side.ask(|host| host.try_out(&trial)).unwrap();
        let [first, second, third] = &outcome.tried[..] else {
            panic!("{outcome:?}")
        };
        assert_eq!(first.ending, Ending::Exited(7));
        assert_eq!(second.ending, Ending::Signalled(9));
        assert_eq!(
            (text(&first.stderr), outcome.file),
            ("said\n", Some(b"kept\n".to_vec()))
        );
        let place = text(&third.stdout).trim();
        assert_eq!(Path::new(place).parent().unwrap(), trials());
        let uid = Lab::get().account().0;
        let lines: Vec<_> = text(&first.stdout).lines().collect();
        assert_eq!(lines[0], place);
        assert_eq!(lines[1], format!("700 {uid} ."));
        assert_eq!(lines[2], format!("700 {uid} a"));
        assert_eq!(lines[3], format!("600 {uid} a/b"));
        assert_eq!(lines[4], format!("at {place}"));
        let names: Vec<_> = lines[6].split(' ').collect();
        for name in ["HOME", "LANG", "LOGNAME", "PATH", "USER"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(
            !names
                .iter()
                .any(|name| name.starts_with("SSH") || name.starts_with("CARGO")),
            "{names:?}"
        );
        assert!(!Path::new(place).exists());
    });
}

#[test]
fn what_hangs_or_floods_is_stopped() {
    let _alone = alone();
    // Whoever starts the tests in the background may have SIGINT ignored, and what is ignored stays so
    // in every program that is started. A service catches it.
    let dies = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_default(SIGINT, dies).unwrap();
    both(|side| {
        let mut trial = script("trap '' INT; echo begun; sleep 100 & wait; sleep 100");
        trial.commands.push(shell("echo never"));
        trial.limit = Duration::from_millis(500);
        let since = Instant::now();
        let outcome = side.ask(|host| host.try_out(&trial)).unwrap();
        assert_eq!(outcome.tried.len(), 1);
        let tried = &outcome.tried[0];
        assert_eq!((tried.ending, tried.stopped), (Ending::Signalled(9), true));
        assert_eq!(tried.stdout, b"begun\n");
        let took = since.elapsed();
        assert!(
            took > Duration::from_secs(2) && took < Duration::from_secs(6),
            "{took:?}"
        );

        trial.commands = vec![shell("exec sleep 100")];
        let outcome = side.ask(|host| host.try_out(&trial)).unwrap();
        assert_eq!(outcome.tried[0].ending, Ending::Signalled(2));

        trial.commands = vec![shell("yes flood")];
        let outcome = side.ask(|host| host.try_out(&trial)).unwrap();
        let tried = &outcome.tried[0];
        assert!(tried.stopped && tried.cut);
        assert_eq!(tried.stdout, "flood\n".repeat(SAID).as_bytes()[..SAID]);

        trial.limit = Trial::LIMIT;
        trial.commands = vec![shell(
            "head -c 1048577 /dev/zero >&2; head -c 2000000 /dev/zero > log; echo end",
        )];
        trial.read_back = Some("log".into());
        let outcome = side.ask(|host| host.try_out(&trial)).unwrap();
        let tried = &outcome.tried[0];
        assert_eq!(
            (tried.ending, tried.stopped, tried.cut),
            (Ending::Exited(0), false, true)
        );
        assert_eq!(
            (tried.stderr.len(), &tried.stdout[..]),
            (SAID, &b"end\n"[..])
        );
        assert_eq!(outcome.file.unwrap().len(), SAID);
    });
}

#[test]
fn nothing_is_left_of_what_a_command_leaves_behind() {
    let _alone = alone();
    both(|side| {
        let mark = format!("1{:010}", getrandom::u32().unwrap());
        let mut trial = script(&format!(
            "sleep {mark} & mkdir -p a/b/c; echo x >a/b/c/d; chmod 0 a/b; mkfifo log; ln -s / root; echo done"
        ));
        trial.read_back = Some("log".into());
        let since = Instant::now();
        let outcome = side.ask(|host| host.try_out(&trial)).unwrap();
        assert_eq!(outcome.tried[0].stdout, b"done\n");
        assert_eq!(outcome.file, None);
        assert!(since.elapsed() < Duration::from_secs(5));
        until(|| !runs(&mark));
        side.holds(&trials(), &[]);
    });
}

pub(super) fn runs(word: &str) -> bool {
    processes()
        .iter()
        .any(|process| process.state != 'Z' && process.words.iter().any(|found| found == word))
}

#[test]
fn a_program_that_can_not_be_started_and_names_that_lead_outside_are_told() {
    let _alone = alone();
    both(|side| {
        let mut trial = script("true");
        trial.commands[0].program = "/nonexistent/barman".into();
        match side.ask(|host| host.try_out(&trial)) {
            Err(FilesError::NotStarted { program, reason }) => {
                assert_eq!(program, trial.commands[0].program);
                assert!(reason.contains("No such file"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        for name in ["/etc/x", "../x", "a/../../x", "a//b", "", "."] {
            let mut trial = script("true");
            trial.files.push((name.into(), Vec::new()));
            let refused = side.ask(|host| host.try_out(&trial));
            assert!(
                matches!(refused, Err(FilesError::Invalid { .. })),
                "{refused:?}"
            );
        }
        side.holds(&trials(), &[]);
    });
}

#[test]
fn a_command_ends_with_its_link_and_so_does_its_folder() {
    let _alone = alone();
    let mut side = Side::there();
    let mark = format!("2{:010}", getrandom::u32().unwrap());
    let mut trial = script(&format!("sleep {mark}"));
    trial.limit = Duration::from_secs(60);
    std::thread::scope(|scope| {
        let host = side.host.clone();
        let trying = scope.spawn(move || host.try_out(&trial));
        until(|| runs(&mark));
        side.sshd.as_mut().unwrap().down();
        let lost = trying.join().unwrap();
        assert!(matches!(lost, Err(FilesError::Link(_))), "{lost:?}");
    });
    until(|| !runs(&mark));
    until(|| super::names(&trials()).is_empty());
    let sshd = side.sshd.as_mut().unwrap();
    sshd.up();
    sshd.signal(Signal::CONT);
    assert!(side.ask(|host| host.try_out(&script("true"))).is_ok());
}
