//! What `barmanapi check-config` says.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::rig::{Barman, Lab, Site, StandIn};

/// Mistakes of every kind.
const SETTINGS: &str = "\
; the mistakes of one evening
[user]
config_file = SITE/client.conf
[application]
store_directory = SITE/store
port = http
debug
tokn_life = 5
[barman]
command = barman
config_file = /etc/../etc/barman.conf
job_timeout = soon
max_jobs = 0
max_jobs = 4
output_limit = 16 MB
async_command = ['backup'
[target:spare]
ssh_command = ssh postgres@pg2
[auth_tokens]
secret = hunter2-hunter2
[auth_token]
secret = hunter2-hunter2
algorithm = none
[config]
unlock = conninfo, barman_home
";

const USERS: &str = "\
[ada]
password = hunter2
access = barman/**, history
[eve]
password = 5f4dcc3b5aa765d61d8327deb882cf99
acess = []
";

const GOLDEN: &str = r#"
SITE/barmanapi.conf:6: [application] port: "http" is no port; write a number from 0 to 65535, for example 1935
SITE/barmanapi.conf:7: [application] the line has no =; write KEY = VALUE, or # in front of a comment
SITE/barmanapi.conf:8: [application] tokn_life: there is no such key; write token_life in [auth_token]
SITE/barmanapi.conf:10: [barman] command: "barman" is not an absolute path; write a path that begins with /
SITE/barmanapi.conf:11: [barman] config_file: "/etc/../etc/barman.conf" goes up with ..; write the path without ..
SITE/barmanapi.conf:12: [barman] job_timeout: "soon" is not a time such as 30 s, 5 min or 2 h (a bare number is seconds); write a time such as 30 s, 5 min or 2 h (a bare number is seconds)
SITE/barmanapi.conf:13: [barman] max_jobs: "0" is out of bounds; write a whole number, from 1 to 1000
SITE/barmanapi.conf:14: [barman] max_jobs: the key has a value on line 13 already; keep one of the two
SITE/barmanapi.conf:15: [barman] output_limit: "16 MB" is not a size such as 512 KiB or 16 MiB (a bare number is bytes); write a size such as 512 KiB or 16 MiB (a bare number is bytes)
SITE/barmanapi.conf:16: [barman] async_command: "['backup'" is no list; write ['a','b'] or a, b
SITE/barmanapi.conf:17: [target:spare] directories: the target has no directories; write for example directories = /srv/restore
SITE/barmanapi.conf:19: [auth_tokens] there is no such section; write [auth_token]
SITE/barmanapi.conf:22: [auth_token] secret: the secret is shorter than 32 bytes; leave it blank, and a strong one is generated and kept in store_directory
SITE/barmanapi.conf:23: [auth_token] algorithm: "none" is not known; write one of HS256, HS384, HS512
SITE/barmanapi.conf:25: [config] unlock: "barman_home" would move the whole installation; remove it: it is changed on disk alone
SITE/barmanapi.conf: the file holds a secret and every account may read it; run: chmod 640 SITE/barmanapi.conf
SITE/client.conf:2: [ada] password: its password is neither an argon2id hash nor an md5; run: barmanapi user passwd ada
SITE/client.conf:3: [ada] access: "barman/**" is not a rule: '*' stands only at the end of a segment; write a path such as barman/list-* or barman/backup@main
SITE/client.conf:4: [eve] access: it has none, so the user can't log in; write access = [] for full access, or the rules of this user
SITE/client.conf:6: [eve] acess: there is no such key; write access
"#;

#[test]
fn every_mistake_of_every_file_is_told_in_one_run_and_no_secret() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    let place = site.file("").display().to_string();
    let place = place.trim_end_matches('/');
    let lab = Lab::get();
    let write = |name: &str, text: &str| {
        lab.write(&site.file(name), &text.replace("SITE", place), 0o600);
    };
    write("barmanapi.conf", SETTINGS);
    write("client.conf", USERS);
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(site.file("barmanapi.conf"), open).unwrap();
    let output = site.run(&["check-config"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.replace(place, "SITE"), GOLDEN.trim_start());
    assert!(!told.contains("hunter2"), "{told}");

    // The samples have no mistake of their own.
    let conf = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let sample = fs::read_to_string(conf.join("barmanapi.conf")).unwrap();
    let sample = sample
        .replace("/etc/barmanapi/client.conf", "SITE/client.conf")
        .replace("/var/lib/barmanapi/", "SITE/store")
        .replace("/usr/bin/barman", &stand_in.program().display().to_string());
    write("barmanapi.conf", &sample);
    write(
        "client.conf",
        &fs::read_to_string(conf.join("client.conf")).unwrap(),
    );
    let good = fs::Permissions::from_mode(0o600);
    fs::set_permissions(site.file("barmanapi.conf"), good).unwrap();
    let output = site.run(&["check-config"], "");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{place}/barmanapi.conf: OK\n")
    );
}

/// Values of the right form that mean nothing.
const MEANT: &str = "\
[user]
config_file = SITE/client.conf
[application]
store_directory = SITE/store
[barman]
command = BARMAN
async_command = ['recover','bakup','list-server']
job_timeout.check = 5 min
job_timeout.nosuch = 5 min
allow_commands = put-wal, backup
exchange_directory = SITE/nowhere
max_jobs = 3
max_jobs = many
[target:here]
directories = SITE/store, SITE/client.conf, SITE/later
[target:there]
ssh_command = ssh postgres@pg2
directories = /nowhere/there
[auth_token]
secret = abcdefgh-abcdefgh-abcdefgh-abcdefgh-
[config]
unlock = conninfo, pre_bakup_script, nosuch, parallel_jobs, retention_policy
";

const MEANT_GOLDEN: &str = r#"
SITE/barmanapi.conf:7: [barman] async_command: barman has no command bakup; write backup
SITE/barmanapi.conf:9: [barman] job_timeout.nosuch: barman has no command nosuch; write a name that barman --help lists
SITE/barmanapi.conf:10: [barman] allow_commands: backup is allowed without it; remove it; those that are off are cloud-wal-archive, cloud-wal-restore, put-wal
SITE/barmanapi.conf:11: [barman] exchange_directory: warning: SITE/nowhere does not exist; make it before it is used: mkdir -p SITE/nowhere
SITE/barmanapi.conf:13: [barman] max_jobs: the key has a value on line 12 already; keep one of the two
SITE/barmanapi.conf:13: [barman] max_jobs: "many" is not a whole number; write a whole number
SITE/barmanapi.conf:15: [target:here] directories: SITE/client.conf is not a directory; name a directory
SITE/barmanapi.conf:15: [target:here] directories: warning: SITE/later does not exist; make it before it is used: mkdir -p SITE/later
SITE/barmanapi.conf:20: [auth_token] secret: it repeats itself and can be guessed; leave it blank, and a strong one is generated and kept in store_directory
SITE/barmanapi.conf:22: [config] unlock: "pre_bakup_script" is no key of Barman's configuration; write pre_backup_script
SITE/barmanapi.conf:22: [config] unlock: "nosuch" is no key of Barman's configuration; remove it; /config/barman/help lists the keys
SITE/barmanapi.conf:22: [config] unlock: "parallel_jobs" needs no unlocking: it tunes barman; remove it
SITE/barmanapi.conf:22: [config] unlock: "retention_policy" needs no unlocking: it can lose data or blind the monitoring; remove it
SITE/store/config/pepper: every account may read it (mode 644); run: chmod 600 SITE/store/config/pepper
"#;

#[test]
fn names_that_mean_nothing_and_what_is_not_there_are_told_too() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("ann", &["--full"]);
    let place = site.file("").display().to_string();
    let place = place.trim_end_matches('/');
    let lab = Lab::get();
    let program = stand_in.program().display().to_string();
    let text = |text: &str| text.replace("SITE", place).replace("BARMAN", &program);
    let file = site.file("barmanapi.conf");
    lab.write(&file, &text(MEANT), 0o600);
    let pepper = site.file("store/config/pepper");
    fs::set_permissions(&pepper, fs::Permissions::from_mode(0o644)).unwrap();
    let output = site.run(&["check-config"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.replace(place, "SITE"), MEANT_GOLDEN.trim_start());

    // A folder may be made later: that is told, and nothing is refused.
    fs::set_permissions(&pepper, fs::Permissions::from_mode(0o600)).unwrap();
    let later = format!("[barman]\nexchange_directory = {place}/nowhere\ncommand = {program}\n");
    let rest = "[user]\nconfig_file = SITE/client.conf\n[application]\nstore_directory = SITE/store\nport = 0\n";
    lab.write(&file, &text(&format!("{later}{rest}")), 0o600);
    let output = site.run(&["check-config"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(
        told.contains(":2: [barman] exchange_directory: warning: "),
        "{told}"
    );
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{place}/barmanapi.conf: OK\n")
    );
    site.serve().get("/healthz").expect(200);
}

/// A newer Barman, or one that somebody has changed, has commands that nobody has told us of.
#[test]
fn a_command_that_the_barman_of_this_host_has_is_known() {
    let stand_in = StandIn::new();
    let site = Site::new(
        &Barman::StandIn(&stand_in),
        &["barman.async_command = tune-all"],
    );
    site.user("ann", &["--full"]);
    let check = || {
        let output = site.run(&["check-config"], "");
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, told) = check();
    assert_eq!(code, Some(1));
    assert!(told.contains("barman has no command tune-all"), "{told}");
    let saved = serde_json::json!({
        "fingerprint": {"program": []},
        "catalogue": {"version": "9.9", "commands": [{
            "name": "tune-all", "aliases": [], "description": "", "positionals": [], "options": [],
        }]},
    });
    let file = site.file("store/config/barman.json");
    Lab::get().write(&file, &saved.to_string(), 0o600);
    let (code, told) = check();
    assert_eq!(code, Some(0), "{told}");
}
