//! What a command starts with, and what becomes of one that can't start.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Bench, backup, control, eventually, number, status_of};
use crate::rig::{Answer, Barman, Lab, Site, StandIn, User};

/// A command within its request, and one that is a job, both started just now.
fn two_starts(bench: &Bench, admin: &User<'_>) -> [Value; 2] {
    let before = bench.stand_in.starts().len();
    admin
        .get("/barman/list-backups?server_name=main")
        .expect(200);
    let ticket = backup(admin);
    assert_eq!(admin.finished(&ticket)["state"], "done");
    let starts = bench.started(before + 2).split_off(before);
    starts.try_into().unwrap()
}

#[test]
fn a_command_has_its_own_session_nothing_to_read_and_two_files_to_write() {
    let bench = Bench::new(&json!({}), &[]);
    let starts = two_starts(&bench, &bench.admin());
    // Python itself ignores SIGPIPE (13) and SIGXFSZ (25); what our own starter ignores is
    // inherited, but for what stops Barman. From 32 on they are the C library's own.
    let signals = |mask: &str| u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff;
    let own = signals(&status_of(std::process::id().into(), "SigIgn").unwrap());
    let stopping = [1, 2, 3, 15]
        .iter()
        .fold(0, |mask, signal| mask | 1 << (signal - 1));
    let ignored = (own & !stopping) | 1 << 12 | 1 << 24;
    for start in starts {
        assert_eq!(start["sid"], start["pid"], "{start}");
        assert_eq!(start["pgid"], start["pid"], "{start}");
        assert_ne!(number(&start["sid"]), u64::from(bench.server.pid()));
        assert_eq!(start["stdin"], "/dev/null", "{start}");
        let descriptors = start["fds"].as_object().unwrap();
        let mut numbers: Vec<&str> = descriptors.keys().map(String::as_str).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, ["0", "1", "2"], "{start}");
        for (number, name) in [("1", "stdout"), ("2", "stderr")] {
            let path = descriptors[number].as_str().unwrap();
            assert!(
                path.starts_with(bench.server.store().to_str().unwrap()),
                "{path}"
            );
            assert!(path.contains(name), "{path}");
        }
        assert_eq!(start["umask"], "0022", "{start}");
        assert_eq!(start["cwd"], "/", "{start}");
        let sig = |word: &str| signals(start["sig"][word].as_str().unwrap());
        assert_eq!((sig("blocked"), sig("ignored")), (0, ignored), "{start}");
    }
}

#[test]
fn a_command_gets_the_allowed_variables_and_no_other() {
    let stand_in = StandIn::new();
    stand_in.control(&control(&json!({})));
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve_unready(&[
        ("JWT_SECRET", "x"),
        ("AWS_SECRET_ACCESS_KEY", "y"),
        ("LD_LIBRARY_PATH", "/x"),
        ("PYTHONPATH", "/x"),
        ("PYTHONHOME", "/x"),
        ("BARMAN_CONFIG_FILE", "/x"),
        ("PGPASSWORD", "z"),
        ("PGSERVICEFILE", "/x"),
        ("HOME", "/nowhere"),
        ("USER", "nobody"),
        ("LANG", "de_DE.ISO-8859-1"),
        ("LC_ALL", "C"),
        ("COLUMNS", "40"),
        ("TZ", "Europe/Berlin"),
        ("SSH_AUTH_SOCK", "/x"),
        ("http_proxy", "http://x"),
    ]);
    eventually("readiness", || {
        (server.get("/readyz").status == 200).then_some(())
    });
    let bench = Bench {
        server,
        site,
        stand_in,
    };
    let starts = two_starts(&bench, &bench.admin());
    let lab = Lab::get();
    let account = lab.fact("LAB_USER");
    let home = nix_home(account);
    let expected = json!({
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "USER": account,
        "LOGNAME": account,
        "LANG": "C.UTF-8",
        "TZ": "Europe/Berlin",
    });
    for start in starts {
        assert_eq!(start["env"], expected);
    }
}

/// The home of an account in the password database.
fn nix_home(account: &str) -> String {
    let entry = Command::new("getent")
        .args(["passwd", account])
        .output()
        .unwrap();
    let entry = String::from_utf8(entry.stdout).unwrap();
    entry.trim().split(':').nth(5).unwrap().to_owned()
}

/// Every file and folder below a folder.
fn below(folder: &Path, found: &mut Vec<(String, u32, bool)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let mode = metadata.mode() & 0o7777;
        found.push((path.display().to_string(), mode, metadata.is_dir()));
        if metadata.is_dir() {
            below(&path, found);
        }
    }
}

#[test]
fn everything_in_the_store_belongs_to_the_service_alone() {
    let bench = Bench::new(&json!({"delete": {"stdout": "x\n", "hang": true}}), &[]);
    let admin = bench.admin();
    let ended = backup(&admin);
    admin.finished(&ended);
    let form = "server_name=main&backup_id=latest&async=true";
    let running = admin.form("/barman/delete", form).ticket();
    let folder = bench.folder(&running);
    eventually("kept output", || {
        folder.join("stdout").exists().then_some(())
    });
    let mut found = Vec::new();
    below(bench.server.store(), &mut found);
    assert!(
        found
            .iter()
            .any(|(path, ..)| path.ends_with("capture.stdout"))
    );
    assert!(found.iter().any(|(path, ..)| path.ends_with("result.json")));
    for (path, mode, is_folder) in found {
        assert_eq!(
            mode,
            if is_folder { 0o700 } else { 0o600 },
            "{mode:o} {path}"
        );
    }
    admin
        .form("/history/cancel", &format!("ticket={running}"))
        .expect(200);
}

/// Commands of each kind while Barman can't be started.
#[track_caller]
fn nothing_starts(bench: &Bench, admin: &User<'_>) {
    let before = bench.stand_in.starts().len();
    let refused = |answer: Answer| {
        let body = answer.expect(502).json();
        assert_eq!(body["type"], "barman unreachable", "{body}");
        let text = body.to_string();
        assert!(
            !text.contains(bench.stand_in.folder().to_str().unwrap()),
            "{text}"
        );
    };
    refused(admin.get("/barman/list-backups?server_name=main"));
    refused(admin.form("/barman/delete", "server_name=main&backup_id=latest"));
    let ticket = backup(admin);
    let result = admin.finished(&ticket);
    assert_eq!(result["state"], "failed", "{result}");
    assert_eq!(result["reason"], "could_not_start", "{result}");
    assert_eq!(result["status_code"], 502, "{result}");
    assert!(
        result["exit_code"].is_null() && result["started_at"].is_null(),
        "{result}"
    );
    assert_eq!(bench.stand_in.starts().len(), before);
}

#[track_caller]
fn becomes(bench: &Bench, status: u16) {
    eventually(&format!("readiness of {status}"), || {
        (bench.server.get("/readyz").status == status).then_some(())
    });
}

#[test]
fn a_barman_that_is_gone_or_not_executable_is_told_and_comes_back() {
    let bench = Bench::new(&json!({}), &[]);
    let admin = bench.admin();
    let program = bench.stand_in.program();
    let aside = program.with_extension("aside");
    two_starts(&bench, &admin);

    fs::rename(&program, &aside).unwrap();
    nothing_starts(&bench, &admin);
    becomes(&bench, 503);
    // What is known of its commands stays.
    admin.get("/barman/backup/help").expect(200);
    admin.get("/barman/reload").expect(502);
    fs::rename(&aside, &program).unwrap();
    two_starts(&bench, &admin);
    becomes(&bench, 200);

    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    nothing_starts(&bench, &admin);
    becomes(&bench, 503);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    becomes(&bench, 200);
    two_starts(&bench, &admin);

    // A file that somebody writes can't be executed (ETXTBSY).
    let held = fs::File::options().append(true).open(&program).unwrap();
    nothing_starts(&bench, &admin);
    drop(held);
    two_starts(&bench, &admin);
}

#[test]
fn another_barman_brings_its_own_commands_while_the_old_one_still_runs() {
    let bench = Bench::new(&json!({"backup": {"sleep": 3, "stdout": "old\n"}}), &[]);
    let admin = bench.admin();
    let ticket = backup(&admin);
    bench.started(1);
    admin.get("/barman/status?server_name=main").expect(404);
    // The whole set of commands now, by a program of another inode.
    bench
        .stand_in
        .control(&json!({"backup": {"sleep": 3, "stdout": "new\n"}}));
    let program = bench.stand_in.program();
    let fresh = program.with_extension("fresh");
    fs::copy(&program, &fresh).unwrap();
    fs::rename(&fresh, &program).unwrap();
    eventually("the new command", || {
        (admin.get("/barman/status?server_name=main").status == 200).then_some(())
    });
    assert_eq!(admin.finished(&ticket)["list"], json!(["old"]));
    let saved = fs::read(bench.server.store().join("config/barman.json")).unwrap();
    assert!(
        String::from_utf8(saved)
            .unwrap()
            .contains("replication-status")
    );
}

#[test]
fn a_host_without_room_for_processes_refuses_and_recovers() {
    let bench = Bench::new(&json!({}), &[]);
    let admin = bench.admin();
    // The names of the servers are known from here on.
    two_starts(&bench, &admin);
    let limit = |processes: &str| {
        let pid = format!("--pid={}", bench.server.pid());
        let mut prlimit = Lab::get().command("/usr/bin/prlimit");
        let done = prlimit
            .args([&pid, &format!("--nproc={processes}")])
            .status();
        assert!(done.unwrap().success());
    };
    let soft_and_hard = fs::read_to_string(format!("/proc/{}/limits", bench.server.pid())).unwrap();
    let line = soft_and_hard
        .lines()
        .find(|line| line.starts_with("Max processes"))
        .unwrap();
    let hard = line.split_whitespace().nth(3).unwrap().to_owned();
    limit(&format!("1:{hard}"));
    let mut tickets = Vec::new();
    for _ in 0..5 {
        let direct = admin.get("/barman/list-backups?server_name=main");
        assert_eq!(
            direct.clone().expect(502).json()["type"],
            "barman unreachable"
        );
        let job = admin
            .form("/barman/backup", "server_name=main")
            .expect(502)
            .json();
        let message = job["message"].as_str().unwrap().to_owned();
        tickets.push(message.rsplit(' ').next().unwrap().to_owned());
    }
    limit(&format!("{hard}:{hard}"));
    for ticket in tickets {
        let result = admin.result(&ticket);
        assert_eq!(
            (&result["state"], &result["reason"]),
            (&json!("failed"), &json!("could_not_start"))
        );
    }
    assert_eq!(bench.stand_in.starts().len(), 2);
    two_starts(&bench, &admin);
}
