//! What is told of the keys, against the Barman that is there.

use std::collections::BTreeSet;

use super::*;

#[test]
fn the_help_lists_the_keys_that_this_barman_knows_and_is_read_anew_when_asked() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/config-keys.py");
    let mut python = std::process::Command::new(Lab::get().fact("BARMAN_PYTHON"))
        .arg(script)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), b"[]").unwrap();
    let truth = python.wait_with_output().unwrap();
    let truth: Value = serde_json::from_slice(&truth.stdout).unwrap();
    let places = truth["keys"].as_object().unwrap();
    assert!(places.len() > 120);

    let wrapped = Wrapped::new();
    let program = PathBuf::from(Lab::get().fact("BARMAN"));
    let manual = program.ancestors().nth(2).unwrap();
    let manual = fs::read_to_string(manual.join("share/man/man5/barman.5")).unwrap();
    let path = wrapped.folder.join("share/man/man5/barman.5");
    fs::write(&path, &manual).unwrap();
    for sshd in [None, Some(Sshd::start(&[]))] {
        fs::write(&path, &manual).unwrap();
        let desk = Desk::new(&[&wrapped.setting()], sshd);
        let admin = desk.admin();
        let list = |target: &str| admin.get(target).expect(200).json()["list"].clone();
        let help = list("/config/barman/help");
        let told: BTreeSet<&String> = help.as_object().unwrap().keys().collect();
        assert_eq!(told, places.keys().collect::<BTreeSet<_>>());
        // Another manual counts once it is asked for, for everybody.
        let about = |help: &Value| help["parallel_jobs"]["description"].to_string();
        assert!(!about(&help).contains("Sedan chairs"));
        let line = "Controls the number of parallel workers used";
        assert!(manual.contains(line), "the manual says it otherwise");
        fs::write(
            &path,
            manual.replace(line, "Sedan chairs carry this option, and how many workers"),
        )
        .unwrap();
        assert_eq!(about(&list("/config/barman/help")), about(&help));
        let fresh = list("/config/barman/reload");
        assert!(about(&fresh).contains("Sedan chairs"), "{}", about(&fresh));
        assert_eq!(list("/config/barman/help"), fresh);
        // One that is none gives no descriptions, and says so.
        fs::write(&path, "no manual").unwrap();
        let answer = admin.get("/config/barman/reload").expect(200).json();
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        let list = list("/config/barman/help");
        assert_eq!(list.as_object().unwrap().len(), places.len());
    }
}

#[test]
fn however_often_the_help_is_read_anew_no_barman_starts() {
    let stand_in = StandIn::new();
    for sshd in [None, Some(Sshd::start(&[]))] {
        let way = sshd.as_ref().map(Sshd::remote_ssh);
        let way = way.map(|way| format!("barman.remote_ssh = {way}"));
        let mut settings = vec![];
        if let Some(way) = &way {
            settings.extend(["barman.remote = true", way]);
        }
        let site = Site::new(&Barman::StandIn(&stand_in), &settings);
        site.user("admin", &["--full"]);
        let server = site.serve();
        let admin = server.login("admin");
        let starts = || (stand_in.log().len(), stand_in.overviews());
        let before = starts();
        std::thread::scope(|scope| {
            for target in ["/config/barman/reload", "/config/barman/help"].repeat(5) {
                let admin = &admin;
                scope.spawn(move || {
                    for _ in 0..20 {
                        admin.get(target).expect(200);
                    }
                });
            }
        });
        assert_eq!(starts(), before);
        admin.form("/barman/reload", "").expect(200);
        assert!(starts() > before, "the stand-in tells of no start");
    }
}
