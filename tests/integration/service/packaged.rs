//! What a package needs of the program: words to systemd, manual pages, completions.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use crate::rig::{Barman, Lab, Site, StandIn};

#[test]
fn systemd_is_told_that_the_service_is_ready_well_and_stopping() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let path = site.file("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    let hear = |limit: u64| {
        let mut words = [0; 64];
        let limit = Duration::from_millis(limit);
        socket.set_read_timeout(Some(limit)).unwrap();
        let heard = socket.recv(&mut words).ok()?;
        Some(String::from_utf8(words[..heard].to_vec()).unwrap())
    };
    let path = path.display().to_string();
    let mut server = site.serve_unready(&[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "600000")]);
    assert_eq!(hear(20_000).unwrap().trim_end(), "READY=1");
    for _ in 0..3 {
        assert_eq!(hear(20_000).unwrap().trim_end(), "WATCHDOG=1");
    }
    // A service that does nothing any more says nothing.
    let pid = server.pid().to_string();
    Lab::as_root(&["kill", "-STOP", &pid]);
    while hear(1_200).is_some() {}
    Lab::as_root(&["kill", "-CONT", &pid]);
    assert_eq!(hear(20_000).unwrap().trim_end(), "WATCHDOG=1");
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    let told: Vec<String> = std::iter::from_fn(|| hear(100)).collect();
    let told: Vec<&str> = told.iter().map(|words| words.trim_end()).collect();
    assert!(told.contains(&"STOPPING=1"), "{told:?}");
}

#[test]
fn every_command_has_a_manual_page_and_is_completed_under_both_names_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(&Lab::get().binary)
        .arg("generate")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    for (name, commands) in [("barmanapi", 7), ("pg-backup-api", 2)] {
        let help = Command::new("bash")
            .args(["-c", r#"exec -a "$1" "$0" --help"#])
            .arg(&Lab::get().binary)
            .arg(name)
            .output()
            .unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let listed = listed.take_while(|line| !line.is_empty());
        let mut count = 0;
        for command in listed.filter_map(|line| line.split_whitespace().next()) {
            if command == "help" {
                continue;
            }
            count += 1;
            let page = folder.path().join(format!("man/{name}-{command}.1"));
            let page = std::fs::read_to_string(page).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{page}");
            let first = &command[..command.len() - 1];
            let ask = "source \"$1\"; COMP_WORDS=(\"$3\" \"$2\"); COMP_CWORD=1
                       \"_${3//-/__}\" \"$3\" \"$2\" \"$3\"; echo \"${COMPREPLY[@]}\"";
            let completed = Command::new("bash")
                .args(["-c", ask, "bash"])
                .arg(folder.path().join(format!("bash/{name}.bash")))
                .args([first, name])
                .output()
                .unwrap();
            let words = String::from_utf8(completed.stdout).unwrap();
            assert!(
                words.split_whitespace().any(|word| word == command),
                "{first}: {words:?}"
            );
        }
        assert_eq!(count, commands, "{help}");
    }
}
