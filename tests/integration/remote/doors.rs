//! A Barman host that lets nobody in, each time for another reason.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Far;
use crate::rig::{Barman, Lab, Site, Sshd, StandIn};
use crate::running::{backup, control, eventually};

/// Every command is refused with this reason and nothing is started; a ticket fails with that one.
#[track_caller]
fn is_closed(far: &Far, reason: &str, of_ticket: &str) -> Value {
    let before = far.stand_in.log().len();
    let admin = far.admin();
    let direct = admin
        .get("/barman/list-backups?server_name=main")
        .expect(502);
    let direct = direct.json();
    assert_eq!(
        (&direct["type"], &direct["reason"]),
        (&json!("barman unreachable"), &json!(reason)),
        "{direct}"
    );
    let ticket = backup(&admin);
    let result = admin.finished(&ticket);
    assert_eq!(
        (&result["state"], &result["status_code"], &result["reason"]),
        (&json!("failed"), &json!(502), &json!(of_ticket)),
        "{result}"
    );
    assert_eq!(far.stand_in.log().len(), before, "something was started");
    direct
}

#[track_caller]
fn is_open(far: &Far) {
    let admin = far.admin();
    let since = Instant::now();
    let question = "/barman/list-backups?server_name=main";
    while admin.get(question).status != 200 {
        assert!(since.elapsed() < Duration::from_secs(4), "still closed");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(admin.finished(&backup(&admin))["state"], "done");
}

#[test]
fn a_changed_host_key_closes_the_door() {
    let mut far = Far::new(&json!({}), &[]);
    is_open(&far);
    let old = std::fs::read(far.sshd.file("host_key")).unwrap();
    far.sshd.down();
    far.sshd.new_host_key();
    far.sshd.up();
    let told = is_closed(&far, "host key mismatch", "host_key");
    let words = told["message"].as_str().unwrap();
    assert!(!words.contains('/'), "no paths: {words}");
    far.sshd.down();
    let key = far.sshd.file("host_key");
    Lab::get().write(&key, &String::from_utf8(old).unwrap(), 0o600);
    far.sshd.up();
    is_open(&far);
}

#[test]
fn an_unknown_host_is_not_trusted() {
    let mut far = Far::new(&json!({}), &[]);
    is_open(&far);
    let known = far.sshd.file("known_hosts");
    Lab::get().write(&known, "", 0o600);
    // The connection that is open was made to a known host.
    far.sshd.down();
    far.sshd.up();
    is_closed(&far, "host key unknown", "host_key");
    let after = std::fs::read_to_string(&known).unwrap();
    assert_eq!(after, "", "nobody becomes known by himself");
}

#[test]
fn a_key_that_is_not_let_in_is_told() {
    let mut far = Far::new(&json!({}), &[]);
    is_open(&far);
    Lab::get().write(&far.sshd.file("authorized_keys"), "", 0o600);
    far.sshd.down();
    far.sshd.up();
    is_closed(&far, "permission denied", "login_refused");
}

#[test]
fn a_host_that_is_away_is_told_and_found_again_without_a_restart() {
    let mut far = Far::new(&json!({}), &[]);
    is_open(&far);
    for _ in 0..3 {
        far.sshd.down();
        is_closed(&far, "no route", "no_route");
        far.sshd.up();
        is_open(&far);
    }
}

#[test]
fn a_host_that_comes_back_in_time_gets_the_job() {
    let mut far = Far::new(&json!({}), &[]);
    is_open(&far);
    far.sshd.down();
    let ticket = backup(&far.admin());
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(far.admin().result(&ticket)["state"], "queued");
    far.sshd.up();
    assert_eq!(far.admin().finished(&ticket)["state"], "done");
    let backups = far.stand_in.commands();
    assert_eq!(
        backups.iter().filter(|words| words[0] == "backup").count(),
        2,
        "once by is_open, once now"
    );
}

#[test]
fn a_service_starts_while_the_host_is_away_and_is_ready_when_it_is_there() {
    let mut far = Far::new(&json!({}), &[]);
    far.server.kill();
    far.sshd.down();
    far.server = far.site.serve_unready(&[]);
    let ready = || far.server.get("/readyz");
    crate::running::eventually("trouble", || (ready().status == 503).then_some(()));
    far.sshd.up();
    far.server.wait_until_ready();
    is_open(&far);
}

#[test]
fn the_accounts_own_file_leads_there_and_opens_no_other_door() {
    let lab = Lab::get();
    let (stand_in, sshd) = (StandIn::new(), Sshd::start(&[]));
    stand_in.control(&control(&json!({})));
    let word = format!("{:x}", getrandom::u64().unwrap());
    let (host, gate) = (format!("host-{word}"), format!("gate-{word}"));
    let known = sshd.file("known_hosts");
    let trusted = std::fs::read_to_string(&known).unwrap();
    let command = sshd.file("keys");
    let key = trusted.trim();
    lab.write(&command, &format!("#!/bin/sh\necho '{key}'\n"), 0o755);
    let target = sshd.remote_ssh();
    let port = target.split(' ').nth(2).unwrap();
    let sockets = lab.folder("sockets");
    let own = format!(
        "Host {host}\nHostName 127.0.0.1\nHostKeyAlias [127.0.0.1]:{port}\nProxyJump {gate}\n\
         Host {gate}\nHostName 127.0.0.1\nPort {port}\nIdentityFile {}\nUserKnownHostsFile {}\n\
         ControlMaster auto\nControlPath {}/c\nControlPersist yes\n\
         Host {host} {gate}\nKnownHostsCommand {}\n",
        sshd.file("client_key").display(),
        known.display(),
        sockets.display(),
        command.display(),
    );
    let home = std::path::PathBuf::from(lab.fact("LAB_HOME"));
    let file = home.join(".ssh/config");
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    std::fs::create_dir_all(home.join(".ssh")).unwrap();
    lab.own(&home.join(".ssh"));
    lab.write(&file, &format!("{own}Host *\n{before}"), 0o600);
    let way = target.replace("@127.0.0.1", &format!("@{host}"));
    let way = format!("barman.remote_ssh = {way}");
    let site = Site::new(&Barman::StandIn(&stand_in), &["barman.remote = true", &way]);
    site.user("admin", &["--full"]);
    let mut far = Far {
        server: site.serve(),
        site,
        stand_in,
        sshd,
    };
    is_open(&far);
    let left = std::fs::read_dir(&sockets).unwrap().count();
    assert_eq!(left, 0, "a connection to the gate that nobody ends");
    // A program that tells keys makes no host known.
    lab.write(&known, "", 0o600);
    far.sshd.down();
    far.sshd.up();
    eventually("a closed door", || {
        let told = far.admin().get("/barman/list-backups?server_name=main");
        (told.status == 502).then_some(())
    });
    lab.write(&file, &before, 0o600);
}
