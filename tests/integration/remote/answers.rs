//! What comes over SSH is what Barman says.

use std::fs;

use serde_json::json;

use super::{Far, site};
use crate::rig::{Barman, Lab, Site, Sshd, StandIn};
use crate::running::{backup, eventually};

#[test]
fn the_real_barman_gives_the_same_answers_over_ssh() {
    let _one_at_a_time = Lab::hold("other");
    let sshd = Sshd::start(&[]);
    let far = site(&Barman::Real, &sshd, &[]);
    let near = Site::new(&Barman::Real, &[]);
    near.user("admin", &["--full"]);
    let (far, near) = (far.serve(), near.serve());
    let (far, near) = (far.login("admin"), near.login("admin"));
    let help = "/barman/help";
    assert_eq!(far.get(help).json(), near.get(help).json());
    let ticket = far
        .form("/barman/backup", "server_name=other&wait=true")
        .ticket();
    let result = far.finished(&ticket);
    assert_eq!(
        (&result["state"], &result["exit_code"]),
        (&json!("done"), &json!(0)),
        "{result}"
    );
    for question in [
        "/barman/list-servers",
        "/barman/list-backups?server_name=other&format=json",
        "/barman/list-backups?server_name=other",
        "/barman/show-backup?server_name=other&backup_id=latest&format=json",
        "/barman/list-files?server_name=other&backup_id=latest",
        "/barman/show-backup?server_name=other&backup_id=20010101T000000",
    ] {
        let [far, near] = [&far, &near].map(|user| user.get(question).expect(200).json());
        assert_eq!(far, near, "{question}");
    }
    let wals = near
        .get("/barman/list-files?server_name=other&backup_id=latest&target=wal")
        .expect(200)
        .json();
    let name = wals["list"][0]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    let wal = format!("/barman/get-wal?server_name=other&wal_name={name}");
    let [far, near] = [&far, &near].map(|user| user.get(&wal).expect(200));
    assert_eq!(far.header("content-type"), Some("application/octet-stream"));
    assert!(far.body.len() >= 1 << 20, "{}", far.body.len());
    assert!(far.body == near.body, "the same bytes");
}

#[test]
fn every_ending_is_told_as_it_was() {
    let endings = [
        (json!({"exit": 0}), json!("done"), json!(0), None),
        (json!({"exit": 1}), json!("failed"), json!(1), None),
        (json!({"exit": 143}), json!("failed"), json!(143), None),
        (json!({"exit": 255}), json!("failed"), json!(255), None),
        (
            json!({"kill": "TERM"}),
            json!("failed"),
            json!(null),
            Some(15),
        ),
        (
            json!({"kill": "KILL"}),
            json!("failed"),
            json!(null),
            Some(9),
        ),
    ];
    let far = Far::new(&json!({}), &[]);
    let admin = far.admin();
    for (action, state, code, signal) in endings {
        far.stand_in.control(&super::control(
            &json!({"backup": action, "list-backups": action}),
        ));
        let result = admin.finished(&backup(&admin));
        assert_eq!(
            (&result["state"], &result["exit_code"]),
            (&state, &code),
            "{result}"
        );
        assert_eq!(result["signal"].as_i64(), signal, "{result}");
        let direct = admin
            .get("/barman/list-backups?server_name=main")
            .expect(200);
        let direct = direct.json();
        assert_eq!(direct["status_code"], result["status_code"], "{direct}");
    }
}

#[test]
fn output_of_any_bytes_comes_whole_and_masked_and_nothing_is_left_there() {
    let far = Far::new(
        &json!({"backup": {"stdout": "one\npassword=hunter2\n", "stderr_hex": "ff00410a"}}),
        &[],
    );
    let admin = far.admin();
    let ticket = backup(&admin);
    let result = admin.finished(&ticket);
    assert_eq!(
        result["list"],
        json!(["one", "password=*REDACTED*"]),
        "{result}"
    );
    assert_eq!(
        result["message"].as_str().unwrap().chars().last(),
        Some('\n')
    );
    let there = far.folder_there(&ticket);
    eventually("an empty place", || (!there.exists()).then_some(()));
    let marker = far.server.store().join("active/abroad").join(&ticket);
    eventually("an end of it all", || (!marker.exists()).then_some(()));
}

#[test]
fn a_flood_is_cut_and_held_down_here_and_there() {
    let flood = json!({"flood": {"bytes": 200_000_000, "stream": "stdout"}});
    let far = Far::new(
        &json!({"backup": flood, "list-backups": flood}),
        &["barman.output_limit = 1 MiB"],
    );
    let admin = far.admin();
    let result = admin.finished(&backup(&admin));
    assert_eq!(result["truncated"], true, "{:?}", result["truncated"]);
    assert_eq!(
        result["bytes_total"], 200_000_000,
        "{:?}",
        result["bytes_total"]
    );
    let direct = admin
        .get("/barman/list-backups?server_name=main")
        .expect(200);
    assert_eq!(direct.json()["bytes_total"], 200_000_000);
    assert!(
        far.server.size("VmHWM") < 128 * 1024,
        "{}",
        far.server.size("VmHWM")
    );
}

#[test]
fn an_argument_arrives_as_it_was_sent() {
    let far = Far::new(&json!({}), &[]);
    let admin = far.admin();
    let name = "a'b\"c $HOME `id` \\ !x *";
    far.stand_in
        .control(&super::control(&json!({"servers": ["main", name]})));
    let body = json!({"server_name": name});
    admin.post("/barman/list-backups", &body).expect(200);
    let commands = far.stand_in.commands();
    assert_eq!(commands.last().unwrap(), &["list-backups", "--", name]);
    let start = far.started(1).pop().unwrap();
    assert_eq!(
        (&start["cwd"], &start["umask"], &start["stdin"]),
        (&json!("/"), &json!("0022"), &json!("/dev/null"))
    );
    assert_eq!(start["fds"].as_object().unwrap().len(), 3, "{start}");
    let home = fs::canonicalize(Lab::get().fact("LAB_HOME")).unwrap();
    assert_eq!(start["env"]["HOME"], home.display().to_string());
    let ignored = start["sig"]["ignored"].as_str().unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    // HUP, INT, QUIT, TERM and CHLD.
    assert_eq!(ignored & 0x1_4007, 0, "{start}");
}

#[test]
fn a_restore_through_a_link_that_leads_out_of_its_target_is_refused() {
    let (stand_in, sshd) = (StandIn::new(), Sshd::start(&[]));
    let allowed = Lab::get().folder("allowed");
    let outside = Lab::get().folder("outside");
    std::os::unix::fs::symlink(&outside, allowed.join("link")).unwrap();
    let directories = format!("target:there.directories = {}", allowed.display());
    let settings = ["target:there.ssh_command = ", &directories];
    let site = site(&Barman::StandIn(&stand_in), &sshd, &settings);
    let mut far = Far {
        server: site.serve(),
        site,
        stand_in,
        sshd,
    };
    let restore = |far: &Far, directory: &str| {
        let body = json!({
            "server_name": "main",
            "backup_id": "latest",
            "target": "there",
            "destination_directory": allowed.join(directory),
        });
        far.admin().post("/barman/restore", &body)
    };
    for directory in ["link", "link/x"] {
        let refused = restore(&far, directory).expect(403).json();
        let words = refused["message"].as_str().unwrap();
        assert!(words.contains("lies in no allowed directory"), "{words}");
    }
    assert!(far.stand_in.starts().is_empty());
    let ticket = restore(&far, "fresh/x").ticket();
    assert_eq!(far.admin().finished(&ticket)["state"], "done");
    // Nobody can be asked: that is no reason to let it pass.
    far.sshd.down();
    let told = restore(&far, "fresh/y").expect(502).json();
    assert_eq!(told["reason"], "no route", "{told}");
    let mut starts = far.stand_in.starts();
    starts.retain(|start| start["start"] == "restore");
    assert_eq!(starts.len(), 1);
}
