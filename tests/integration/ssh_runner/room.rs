//! The Barman host's disk is full.

use std::fs;
use std::time::Duration;

use barmanapi::runner::ssh::{Run, remove_job};
use barmanapi::runner::{Ending, StartError, Stop};
use serde_json::json;

use super::{Desk, LONG, end, job_name, until};
use crate::rig::{Lab, Sshd, StandIn};

/// Room for a job or two.
const ROOM: &str = "256k";

/// Whether this host lets us make small disks.
fn can_mount() -> bool {
    rustix::process::getuid().is_root()
}

fn interrupts(stand_in: &StandIn) -> usize {
    let log = stand_in.log();
    log.iter()
        .filter(|line| line.get("signal").is_some())
        .count()
}

#[test]
fn a_job_is_stopped_although_the_disk_there_is_full() {
    if !can_mount() {
        return;
    }
    let (sshd, stand_in, desk) = (Sshd::on_small_disk(ROOM), StandIn::new(), Desk::new());
    stand_in.control(&json!({
        "polite": {"hang": true},
        "deaf": {"ignore": ["INT"], "hang": true},
    }));
    let link = sshd.link();
    for (turn, (command, ending)) in [
        ("polite", Ending::Exited(1)),
        ("deaf", Ending::Signalled(9)),
    ]
    .into_iter()
    .enumerate()
    {
        let plan = desk.plan(&stand_in, &[command]);
        let name = job_name();
        let mut run = Run::start_job(&link, &plan, &name).unwrap();
        until(LONG, || stand_in.starts().len() == turn + 1);
        sshd.fill();
        run.stop(Stop::Cancel).unwrap();
        assert_eq!(end(&mut run), ending);
        assert_eq!(interrupts(&stand_in), 1);
        sshd.free();
        remove_job(&link, &name).unwrap();
    }
}

#[test]
fn a_job_whose_folder_can_not_be_written_is_stopped_and_goes_on_being_followed() {
    use std::os::unix::fs::PermissionsExt;
    let (sshd, stand_in, desk) = (Sshd::start(&[]), StandIn::new(), Desk::new());
    stand_in.control(&json!({"*": {"hang": true, "stdout": "out\n"}}));
    let plan = desk.plan(&stand_in, &["backup", "main"]);
    let name = job_name();
    let mut run = Run::start_job(&sshd.link(), &plan, &name).unwrap();
    until(LONG, || stand_in.starts().len() == 1);
    let home = std::path::PathBuf::from(Lab::get().fact("LAB_HOME"));
    let folder = home.join(".barmanapi/jobs").join(name.to_string());
    let allow = |mode: u32| {
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    };
    // Nothing in it can be looked at: that is not an end.
    allow(0o000);
    assert_eq!(run.wait(Duration::from_millis(800)).unwrap(), None);
    allow(0o500);
    run.stop(Stop::Cancel).unwrap();
    until(LONG, || interrupts(&stand_in) > 0);
    allow(0o700);
    assert_eq!(end(&mut run), Ending::Exited(1));
    assert_eq!(interrupts(&stand_in), 1);
}

#[test]
fn without_room_there_nothing_starts_and_that_is_told() {
    if !can_mount() {
        return;
    }
    let (sshd, stand_in, desk) = (Sshd::on_small_disk(ROOM), StandIn::new(), Desk::new());
    let link = sshd.link();
    // What every job shares is there.
    let first = desk.plan(&stand_in, &["first"]);
    let name = job_name();
    end(&mut Run::start_job(&link, &first, &name).unwrap());
    remove_job(&link, &name).unwrap();
    // With no room at all, and with some that is not enough.
    for left in [0, 1, 2, 3, 5, 9, 20] {
        sshd.fill();
        let ballast = fs::File::options()
            .write(true)
            .open(sshd.disk().join("ballast"))
            .unwrap();
        let length = ballast.metadata().unwrap().len();
        ballast.set_len(length - left * 4096).unwrap();
        let plan = desk.plan(&stand_in, &["backup", "main"]);
        let name = job_name();
        let outcome = Run::start_job(&link, &plan, &name);
        let error = match outcome {
            Err(error) => {
                assert!(matches!(error, StartError::Execute { .. }), "{error}");
                error.to_string()
            }
            Ok(mut run) => run.wait(Duration::from_secs(20)).unwrap_err().to_string(),
        };
        assert!(error.contains("No space left"), "{left}: {error}");
        sshd.free();
        remove_job(&link, &name).unwrap();
        assert_eq!(fs::read_dir(sshd.disk().join("jobs")).unwrap().count(), 0);
    }
    assert_eq!(stand_in.starts().len(), 1);
}
