//! The certificates that the program makes, and what is said of those in the configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{House, mode, run};
use crate::rig::{Barman, Lab, Site, StandIn};

fn site() -> (StandIn, Site) {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    (stand_in, site)
}

#[test]
fn a_name_that_nobody_can_ask_for_makes_nothing() {
    let (_stand_in, site) = site();
    let folder = Lab::get().folder("pki-names");
    let at = folder.join("pki").display().to_string();
    for name in [
        "a b",
        "",
        "-a",
        "a..b",
        "https://a",
        "a:443",
        "*.",
        "a.*",
        "*.127.0.0.1",
        "ä",
    ] {
        let name = format!("--name={name}");
        let output = site.run(&["pki", "init", "--directory", &at, &name], "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && told.contains("it is no host name"),
            "{name}: {told}"
        );
        assert!(!folder.join("pki").exists(), "{name}");
    }
    let names = ["*.example.org", "db-1.example", "::2", "192.0.2.7"];
    let mut words = vec!["pki", "init", "--directory", &at];
    words.extend(names.iter().flat_map(|name| ["--name", name]));
    run(&site, &words);
}

#[test]
fn two_commands_make_all_that_is_needed_and_nothing_is_overwritten() {
    let (_stand_in, site) = site();
    let folder = Lab::get().folder("pki");
    let at = folder.display().to_string();
    let said = run(
        &site,
        &[
            "pki",
            "init",
            "--directory",
            &at,
            "--name",
            "backup.example",
        ],
    );
    for line in [
        format!("certificate = {at}/server.crt"),
        format!("key = {at}/server.key"),
        format!("client_ca = {at}/ca.crt"),
        format!("crl = {at}/crl.pem"),
    ] {
        assert!(said.lines().any(|found| found == line), "{said}");
    }
    run(&site, &["pki", "client", "ann", "--directory", &at]);
    for (name, wanted) in [
        ("ca.key", 0o600),
        ("server.key", 0o600),
        ("client-ann.key", 0o600),
        ("ca.crt", 0o644),
        ("server.crt", 0o644),
        ("client-ann.crt", 0o644),
        ("crl.pem", 0o644),
    ] {
        assert_eq!(mode(&folder.join(name)), wanted, "{name}");
    }
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let file = |name: &str| folder.join(name).display().to_string();
    let told = openssl(&["x509", "-noout", "-text", "-in", &file("server.crt")]);
    for words in [
        "DNS:backup.example",
        "DNS:localhost",
        "IP Address:127.0.0.1",
        "TLS Web Server Authentication",
    ] {
        assert!(told.contains(words), "{words} {told}");
    }
    for (purpose, name) in [("sslserver", "server.crt"), ("sslclient", "client-ann.crt")] {
        openssl(&[
            "verify",
            "-CAfile",
            &file("ca.crt"),
            "-purpose",
            purpose,
            &file(name),
        ]);
    }
    let subject = openssl(&["x509", "-noout", "-subject", "-in", &file("client-ann.crt")]);
    assert!(subject.contains("CN = ann"), "{subject}");

    let before = files(&folder);
    for arguments in [&["pki", "init"][..], &["pki", "client", "ann"]] {
        let output = site.run(&[arguments, &["--directory", &at]].concat(), "");
        assert!(!output.status.success());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            told.contains("is there already and is not overwritten"),
            "{told}"
        );
    }
    assert_eq!(files(&folder), before);
    // One file of a set is enough to leave all alone.
    fs::remove_file(folder.join("client-ann.crt")).unwrap();
    let output = site.run(&["pki", "client", "ann", "--directory", &at], "");
    assert!(!output.status.success());
    assert!(!folder.join("client-ann.crt").exists());
}

fn files(folder: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn check_config_tells_what_is_wrong_with_certificates_and_keys() {
    let (_stand_in, site) = site();
    let folder = Lab::get().folder("pki");
    let other = Lab::get().folder("pki");
    for folder in [&folder, &other] {
        run(
            &site,
            &["pki", "init", "--directory", &folder.display().to_string()],
        );
    }
    let file = site.file("barmanapi.conf");
    let plain = fs::read_to_string(&file).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = (
        format!("certificate = {}\n", at("server.crt")),
        format!("key = {}\n", at("server.key")),
    );
    // A file of the right mode with the wrong thing in it.
    let text = fs::read_to_string(folder.join("ca.crt")).unwrap();
    Lab::get().write(&folder.join("cert.key"), &text, 0o600);
    let check = |tls: &str| {
        Lab::get().write(&file, &format!("{plain}[tls]\n{tls}"), 0o600);
        let output = site.run(&["check-config"], "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), told)
    };
    let good = format!("{certificate}{key}");
    assert_eq!(check(&good), (Some(0), String::new()));
    for (tls, words) in [
        (
            certificate.clone(),
            "[tls] key: the certificate has no key; write key = FILE",
        ),
        (key.clone(), "nothing of [tls] counts without a certificate"),
        (
            "client_certificates = required\n".to_owned(),
            "nothing of [tls] counts without",
        ),
        (
            format!("{good}client_certificates = optional\n"),
            "write client_ca = FILE",
        ),
        (
            format!("{good}client_ca = {}\n", at("ca.crt")),
            "no client is asked for a certificate",
        ),
        (
            format!("{certificate}key = {}\n", at("none")),
            "none: it can't be read",
        ),
        (
            format!(
                "{certificate}key = {}\n",
                other.join("server.key").display()
            ),
            "it is not the key of",
        ),
        (
            format!("{certificate}key = {}\n", at("cert.key")),
            "there is no private key in it",
        ),
        (
            format!(
                "{good}client_ca = {}\nclient_certificates = optional\ncrl = {}\n",
                at("ca.crt"),
                at("ca.crt")
            ),
            "there is no revocation list in it",
        ),
    ] {
        let (code, told) = check(&tls);
        assert!(told.contains(words), "{words}: {told}");
        assert_eq!((code, told.lines().count()), (Some(1), 1), "{told}");
    }
    fs::set_permissions(folder.join("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, told) = check(&good);
    assert!(
        code == Some(1)
            && told.contains("other accounts may use the key (mode 644); run: chmod 600"),
        "{told}"
    );
    fs::set_permissions(folder.join("server.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(check(&good).0, Some(0));
}

#[test]
fn an_expired_certificate_is_a_warning() {
    let house = House::new(&["tls.client_certificates = optional"]);
    let (certificate, key) = house.odd("old", None, |params| {
        params.not_after = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    });
    fs::rename(certificate, house.pki("server.crt")).unwrap();
    fs::rename(key, house.pki("server.key")).unwrap();
    let output = house.site.run(&["check-config"], "");
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("[tls] certificate: warning: ")
            && told.contains("the certificate has expired on"),
        "{told}"
    );
}
