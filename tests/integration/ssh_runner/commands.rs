//! Short commands: arguments, surroundings, endings, shells.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use barmanapi::runner::ssh::{LinkError, Run};
use barmanapi::runner::{Ending, StartError, Stop};
use serde_json::json;

use super::{Desk, LONG, end, job_name, stdout, until};
use crate::rig::{Lab, Sshd, StandIn, argv, processes};

/// A `ForceCommand` by which a shell gets the command as a login shell does.
fn through(shell: &str) -> String {
    format!("ForceCommand exec {shell} -c \"$SSH_ORIGINAL_COMMAND\"")
}

#[test]
fn arguments_arrive_byte_for_byte_through_every_login_shell() {
    let mut arguments: Vec<String> = (1..=0xff_u8).map(|byte| char::from(byte).into()).collect();
    arguments.extend((0..1000).map(|number| format!("argument {number}")));
    arguments.push("x".repeat(100 * 1024));
    for word in [
        "",
        "'",
        "\"",
        "\\",
        "$HOME `id` $(id)",
        "a\nb\r\n",
        "!!",
        "#",
        "~",
        "*",
        "-x",
        "{a,b}",
        "%s",
    ] {
        arguments.push(word.to_owned());
    }
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    for shell in ["/bin/sh", "/bin/bash", "/usr/bin/fish", "/usr/bin/tcsh"] {
        let (sshd, stand_in, desk) = (Sshd::start(&[&through(shell)]), StandIn::new(), Desk::new());
        let mut run = Run::start(&sshd.link(), &desk.plan(&stand_in, &words)).unwrap();
        assert_eq!(end(&mut run), Ending::Exited(0), "{shell}");
        let mut job =
            Run::start_job(&sshd.link(), &desk.plan(&stand_in, &words), &job_name()).unwrap();
        assert_eq!(end(&mut job), Ending::Exited(0), "{shell}");
        let starts = stand_in.starts();
        assert_eq!(starts.len(), 2, "{shell}");
        for start in starts {
            assert_eq!(argv(&start), arguments, "{shell}");
        }
    }
}

#[test]
fn a_command_finds_there_what_it_finds_here() {
    let (sshd, stand_in, desk) = (
        Sshd::start(&["SetEnv TZ=Europe/Rome PGPASSWORD=x PYTHONHOME=/nowhere"]),
        StandIn::new(),
        Desk::new(),
    );
    let lab = Lab::get();
    let plan = |desk: &Desk| {
        let mut plan = desk.plan(&stand_in, &["show"]);
        plan.environment = vec![
            ("LANG".into(), "C.UTF-8".into()),
            ("HOME".into(), "/of/this/host".into()),
            ("TZ".into(), "Of/This".into()),
            (
                "ODD".into(),
                std::os::unix::ffi::OsStringExt::from_vec(b"\xff\n'\"".to_vec()),
            ),
        ];
        plan
    };
    end(&mut Run::start(&sshd.link(), &plan(&desk)).unwrap());
    end(&mut Run::start_job(&sshd.link(), &plan(&desk), &job_name()).unwrap());
    let starts = stand_in.starts();
    assert_eq!(starts.len(), 2);
    for start in starts {
        let env = start["env"].as_object().unwrap();
        let mut names: Vec<_> = env.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["HOME", "LANG", "LOGNAME", "ODD", "PATH", "TZ", "USER"]
        );
        assert_eq!(env["HOME"], lab.fact("LAB_HOME"));
        assert_eq!(env["USER"], lab.fact("LAB_USER"));
        assert_eq!(env["TZ"], "Europe/Rome");
        assert_eq!(start["env_hex"]["4f4444"], "ff0a2722");
        assert_eq!(start["cwd"], "/");
        assert_eq!(start["umask"], "0022");
        assert_eq!(start["stdin"], "/dev/null");
        assert_eq!(start["sid"], start["pid"]);
        assert_eq!(start["pgid"], start["pid"]);
        assert_eq!(start["sig"]["blocked"], "0000000000000000");
        let ignored = start["sig"]["ignored"].as_str().unwrap();
        let ignored = u64::from_str_radix(ignored, 16).unwrap();
        // Python's own: SIGPIPE and SIGXFSZ. Of the first 31, since the next two nobody can set.
        assert_eq!(ignored & 0x7fff_ffff, 0x0100_1000);
        let fds: Vec<_> = start["fds"].as_object().unwrap().keys().collect();
        assert_eq!(fds, ["0", "1", "2"], "{start}");
    }
}

#[test]
fn exit_codes_and_signals_are_exact() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    let ending = |is_job: bool, control: serde_json::Value| {
        stand_in.control(&json!({"*": control}));
        let plan = desk.plan(&stand_in, &["x"]);
        let mut run = if is_job {
            Run::start_job(&sshd.link(), &plan, &job_name()).unwrap()
        } else {
            Run::start(&sshd.link(), &plan).unwrap()
        };
        end(&mut run)
    };
    for is_job in [false, true] {
        for code in [0, 1, 127, 128, 143, 255] {
            let seen = ending(is_job, json!({"exit": code}));
            assert_eq!(seen, Ending::Exited(code));
        }
        for (name, number) in [("INT", 2), ("KILL", 9), ("TERM", 15)] {
            // The stand-in makes SIGINT an exit code of its own, as Barman does.
            let seen = ending(is_job, json!({"kill": name, "sleep": 0.01}));
            if number == 2 {
                assert_eq!(seen, Ending::Exited(1));
            } else {
                assert_eq!(seen, Ending::Signalled(number));
            }
        }
    }
    let desk_plan = desk.plan_of("/bin/sh".into(), &["-c", "kill -INT $$"]);
    let mut run = Run::start(&sshd.link(), &desk_plan).unwrap();
    assert_eq!(end(&mut run), Ending::Signalled(2));
}

#[test]
fn what_cannot_be_executed_is_told_and_is_no_exit_code() {
    let (sshd, desk) = (Sshd::start(&[]), Desk::new());
    let link = sshd.link();
    let odd = sshd.file("odd");
    Lab::get().write(&odd, "#!/nonexistent\n", 0o755);
    for (program, words) in [
        (PathBuf::from("/nonexistent/barman"), "No such file"),
        (sshd.file("sshd_config"), "Permission denied"),
        (odd, "No such file"),
        ("/nonexistent/\n'x".into(), "No such file"),
    ] {
        let plan = desk.plan_of(program.clone(), &[]);
        let short = Run::start(&link, &plan).map(|_| ());
        let again = desk.plan_of(program, &[]);
        let job = Run::start_job(&link, &again, &job_name()).map(|_| ());
        for outcome in [short, job] {
            let error = outcome.unwrap_err();
            assert!(matches!(error, StartError::Execute { .. }), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
    let mut plan = desk.plan_of("/bin/true".into(), &[]);
    plan.arguments = vec!["a\0b".to_owned()];
    let error = Run::start(&link, &plan).unwrap_err().to_string();
    assert!(error.contains("NUL"), "{error}");
}

#[test]
fn what_start_up_files_print_is_passed_over() {
    let noise = "ForceCommand head -c 500000 /dev/zero | tr '\\\\0' n; echo; echo welcome >&2; exec /bin/bash -c \"$SSH_ORIGINAL_COMMAND\"";
    let (sshd, stand_in, desk) = (Sshd::start(&[noise]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"stdout": "out\n"}}));
    let plan = desk.plan(&stand_in, &["show"]);
    let mut run = Run::start(&sshd.link(), &plan).unwrap();
    assert_eq!(end(&mut run), Ending::Exited(0));
    assert_eq!(stdout(&plan), b"out\n");
    assert_eq!(fs::read(&plan.stderr).unwrap(), b"");
}

#[test]
fn a_login_shell_that_runs_nothing_is_told_with_its_words() {
    let (stand_in, desk) = (StandIn::new(), Desk::new());
    for (shell, words) in [
        ("echo go away password=hunter2; exit 1", "go away"),
        ("/usr/sbin/nologin", "not available"),
        (
            "exec /usr/bin/python3 -c \"$SSH_ORIGINAL_COMMAND\"",
            "SyntaxError",
        ),
        ("yes", "more than"),
    ] {
        let sshd = Sshd::start(&[&format!("ForceCommand {shell}")]);
        let link = sshd.link();
        let plan = desk.plan(&stand_in, &["show"]);
        let short = Run::start(&link, &plan).map(|_| ()).unwrap_err();
        let plan = desk.plan(&stand_in, &["show"]);
        let job = Run::start_job(&link, &plan, &job_name()).map(|_| ());
        for error in [short, job.unwrap_err()] {
            let StartError::Link(error @ LinkError::Shell { .. }) = error else {
                panic!("{shell}: {error:?}");
            };
            assert_eq!(error.word(), "remote shell");
            let error = error.to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
    assert_eq!(stand_in.starts().len(), 0);
}

#[test]
fn a_host_without_python_is_told() {
    let sshd = Sshd::start(&[
        "ForceCommand PATH=/nowhere HOME=/nowhere; export HOME; exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"",
    ]);
    let desk = Desk::new();
    let plan = desk.plan_of("/bin/true".into(), &[]);
    let error = Run::start(&sshd.link(), &plan).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, StartError::Link(LinkError::NoPython)),
        "{error:?}"
    );
}

#[test]
fn facts_about_the_program_are_those_of_its_host() {
    let (sshd, stand_in) = (Sshd::start(&[]), StandIn::new());
    let link = sshd.link();
    let facts = link.look(&stand_in.program()).unwrap();
    let wanted = [
        fs::canonicalize(stand_in.program()).unwrap(),
        fs::canonicalize("/usr/bin/python3").unwrap(),
    ];
    for (seen, path) in facts.iter().zip(&wanted) {
        let found = fs::metadata(path).unwrap();
        let facts = (
            path.clone(),
            found.ino(),
            found.size(),
            found.mtime(),
            found.mtime_nsec(),
            found.mode(),
        );
        assert_eq!(*seen, facts);
    }
    assert_eq!(facts.len(), 2);
    let error = link.look(Path::new("/nonexistent/barman")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/barman"), "{error}");
    assert!(matches!(&error, LinkError::Io(error) if error.kind() == std::io::ErrorKind::NotFound));
}

#[test]
fn a_stop_reaches_the_children_of_barman_too() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({
        "polite": {"grandchild": {"sleep": 100}, "hang": true},
        "deaf": {"ignore": ["INT"], "grandchild": {"sleep": 100}, "hang": true},
    }));
    let link = sshd.link();
    let mut runs = Vec::new();
    for command in ["polite", "deaf"] {
        let plan = desk.plan(&stand_in, &[command]);
        runs.push((command, Run::start(&link, &plan).unwrap()));
        let plan = desk.plan(&stand_in, &[command]);
        let job = Run::start_job(&link, &plan, &job_name()).unwrap();
        runs.push((command, job));
    }
    let grandchildren = || {
        let mut log = stand_in.log();
        log.retain(|line| line.get("grandchild").is_some());
        log
    };
    until(LONG, || grandchildren().len() == 4);
    for (_, run) in &mut runs {
        run.stop(Stop::Cancel).unwrap();
        assert_eq!(run.stopped_by(), Some(Stop::Cancel));
    }
    for (command, run) in &mut runs {
        let ending = match *command {
            "polite" => Ending::Exited(1),
            _ => Ending::Signalled(9),
        };
        assert_eq!(end(run), ending, "{command}");
    }
    let numbers: Vec<_> = grandchildren()
        .iter()
        .map(|line| line["grandchild"].as_i64().unwrap())
        .collect();
    until(LONG, || {
        !processes()
            .iter()
            .any(|process| numbers.contains(&process.pid.into()) && process.state != 'Z')
    });
}

#[test]
fn a_command_whose_run_is_dropped_is_interrupted() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"hang": true}}));
    let run = Run::start(&sshd.link(), &desk.plan(&stand_in, &["x"])).unwrap();
    until(LONG, || stand_in.starts().len() == 1);
    drop(run);
    until(LONG, || {
        stand_in
            .log()
            .iter()
            .any(|line| line.get("signal").is_some())
    });
}

#[test]
fn no_process_shows_what_barman_is_told_but_barman() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"hang": true}}));
    let secret = "a-word-that-nobody-else-says";
    let arguments = ["x", secret];
    let run = Run::start(&sshd.link(), &desk.plan(&stand_in, &arguments)).unwrap();
    let name = job_name();
    let mut job = Run::start_job(&sshd.link(), &desk.plan(&stand_in, &arguments), &name).unwrap();
    until(LONG, || stand_in.starts().len() == 2);
    let program = stand_in.program().display().to_string();
    let all = processes();
    let says: Vec<_> = all
        .iter()
        .filter(|process| process.words.iter().any(|word| word.contains(secret)))
        .collect();
    assert_eq!(says.len(), 2);
    assert!(says.iter().all(|process| process.words.contains(&program)));
    drop(run);
    job.stop(Stop::Cancel).unwrap();
    end(&mut job);
}

#[test]
fn a_key_that_may_do_nothing_else_is_enough() {
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    sshd.permit("restrict ");
    let plan = desk.plan(&stand_in, &["x"]);
    assert_eq!(
        end(&mut Run::start(&sshd.link(), &plan).unwrap()),
        Ending::Exited(0)
    );
    let plan = desk.plan(&stand_in, &["x"]);
    let mut job = Run::start_job(&sshd.link(), &plan, &job_name()).unwrap();
    assert_eq!(end(&mut job), Ending::Exited(0));
    let mode = fs::metadata(&plan.stdout).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
