//! Patroni's own client of pg-backup-api, called as Patroni calls it: over TLS, with a client
//! certificate, as users with no right but the one they need, on the real Barman.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::House;
use crate::config::Files;
use crate::rig::{Lab, ask_lab, ask_restored};

const REQUIRED: &str = "tls.client_certificates = required";

/// The exit code of `patroni_barman` with the certificate of the user patroni, and what it logged.
#[track_caller]
fn patroni_barman(house: &House, words: &[&str]) -> (i32, String) {
    let lab = Lab::get();
    let program = Path::new(lab.fact("PATRONI_BARMAN"));
    let folder = lab.fact("LAB_DIR");
    assert!(
        program.exists(),
        "the lab has no Patroni, {folder}/log/patroni.log says why; `tests/lab/lab.sh up {folder}` tries again"
    );
    let mut command: Command = lab.command(program);
    // It asks OpenSSL for the CAs of its host.
    command.env("SSL_CERT_FILE", house.pki("ca.crt"));
    let url = format!("https://localhost:{}", house.server.port);
    command.args(["--api-url", &url, "--cert-file"]);
    command.arg(house.pki("client-patroni.crt"));
    command
        .arg("--key-file")
        .arg(house.pki("client-patroni.key"));
    // It waits after an answer that it can't use, and asks again.
    command.args(["--retry-wait", "0", "--max-retries", "2"]);
    let output = command.args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), said)
}

#[test]
fn patroni_restores_a_backup_whose_rows_are_there_and_hears_of_a_restore_that_failed() {
    let lab = Lab::get();
    let fact = |name: &str| lab.fact(name);
    let ssh = format!(
        "ssh -p {} -i {} -o UserKnownHostsFile={} {}@{}",
        fact("SSH_PORT"),
        fact("SSH_KEY"),
        fact("SSH_KNOWN_HOSTS"),
        fact("LAB_USER"),
        fact("SSH_HOST")
    );
    let house = House::real(&[
        REQUIRED,
        &format!("target:node.ssh_command = {ssh}"),
        &format!("target:node.directories = {}", fact("RESTORE_DIR")),
    ]);
    house
        .site
        .user("patroni", &["--access", "barman/restore@main"]);
    house.ready("patroni");
    let name = format!("patroni_{:016x}", getrandom::u64().unwrap());
    let directory = Path::new(fact("RESTORE_DIR")).join(&name);
    let datadir = format!("--datadir={}", directory.display());
    let (ssh_command, other_backup) = (
        format!("--ssh-command={ssh}"),
        "--backup-id=20200101T000000",
    );
    // So Patroni adds what it knows to what stands in its configuration.
    let recover = |server: &str, more: &[&str]| {
        let server = format!("--barman-server={server}");
        let own = [
            "--loop-wait=1",
            "--scope=batman",
            "--role=replica",
            "--connstring=dbname=postgres",
        ];
        let words = [
            &["recover", &server, &ssh_command, &datadir],
            &own[..],
            more,
        ]
        .concat();
        patroni_barman(&house, &words)
    };
    let rows = format!("SELECT count(*), md5(string_agg(word, ',' ORDER BY n)) FROM {name}");
    let before = {
        let _main = Lab::hold("main");
        ask_lab(&format!(
            "CREATE TABLE {name} AS SELECT n, md5(n::text) AS word FROM generate_series(1, 500) AS n"
        ));
        let before = ask_lab(&rows);
        let backup = lab.barman(&["backup", "--wait", "main"]);
        assert!(backup.status.success(), "{backup:?}");
        let (code, said) = recover("main", &[]);
        assert_eq!(code, 0, "{said}\n{}", house.log());
        assert!(
            said.contains("Recovery operation finished successfully"),
            "{said}"
        );
        before
    };
    assert!(before.starts_with("500|"), "{before}");
    assert_eq!(ask_restored(&directory, &rows), before);
    ask_lab(&format!("DROP TABLE {name}"));
    // Barman restores into no folder that holds something.
    let (code, said) = recover("main", &[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("Recovery operation failed"), "{said}");
    // What is refused has no operation: it tries again, gives up, and says that with a code of its own.
    for (server, more) in [
        ("main", &[other_backup][..]),
        ("other", &[]),
        ("nosuch", &[]),
    ] {
        let (code, said) = recover(server, more);
        assert_eq!(code, 2, "{server} {said}");
        assert_eq!(said.matches("failed with KeyError").count(), 2, "{said}");
    }
    let audit = fs::read_to_string(house.server.store().join("logs/audit.log")).unwrap();
    let accepted = audit.lines().filter(|line| line.contains("\"accepted\""));
    let by_certificate =
        accepted.filter(|line| line.contains("\"patroni\"") && line.contains("\"certificate\""));
    assert_eq!(by_certificate.count(), 2, "{audit}");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn patroni_switches_a_server_to_a_model_and_back() {
    let files = Files::new();
    let model = "[main:leader]\nmodel = true\ncluster = main\nparallel_jobs = 7\n";
    files.write("barman.d/models.conf", model);
    // Barman makes the folder of a server at its first check, and notes the model there.
    let home = files.path("home/main");
    fs::create_dir(&home).unwrap();
    Lab::get().own(&home);
    let config = files.path("barman.conf").display().to_string();
    let house = House::real(&[REQUIRED, &format!("barman.config_file = {config}")]);
    house
        .site
        .user("patroni", &["--access", "barman/config-switch@main"]);
    house.ready("patroni");
    let is_active = || {
        files
            .barman(&["show-servers", "main"])
            .contains("parallel_jobs: 7")
    };
    let switch = |own: &[&str], role: &str| {
        let before = ["config-switch", "--barman-server", "main"];
        let words = [&before, own, &["on_role_change", role, "batman"]].concat();
        let (code, said) = patroni_barman(&house, &words);
        assert_eq!(code, 0, "{said}\n{}", house.log());
        assert!(said.contains("finished successfully"), "{said}");
    };
    assert!(!is_active());
    switch(
        &["--barman-model", "main:leader", "--switch-when", "promoted"],
        "primary",
    );
    assert!(is_active());
    switch(&["--reset", "--switch-when", "always"], "replica");
    assert!(!is_active());
}
