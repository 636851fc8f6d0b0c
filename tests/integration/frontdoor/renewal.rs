//! Certificates and lists that are replaced while the service runs.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{House, run};
use crate::rig::Lab;

const OPTIONAL: &str = "tls.client_certificates = optional";

/// Puts another certificate of the server, by the same CA, in the place of the old one.
fn replace_server(house: &House, name: &str) {
    let (certificate, key) = house.odd(name, None, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![rcgen::SanType::DnsName("localhost".try_into().unwrap())];
    });
    for (new, old) in [(certificate, "server.crt"), (key, "server.key")] {
        fs::rename(new, house.pki(old)).unwrap();
    }
}

/// The subject of the certificate that the server shows.
fn subject(house: &House) -> String {
    let words = house.curl("/healthz", None, &["-v"]).expect(200).words;
    let line = words.lines().find(|line| line.contains("subject:"));
    line.unwrap_or_else(|| panic!("{words}")).to_owned()
}

#[test]
fn a_new_certificate_counts_after_a_reload_and_no_request_is_lost() {
    let house = House::new(&[OPTIONAL]);
    assert!(!subject(&house).contains("renewed"));
    let (done, good) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    house.curl("/healthz", None, &[]).expect(200);
                    good.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..5 {
            replace_server(&house, &format!("renewed-{round}"));
            let before = good.load(Ordering::SeqCst);
            let said = run(&house.site, &["reload"]);
            assert!(
                said.contains("works with the new files of [tls] certificate\n"),
                "{said}"
            );
            while good.load(Ordering::SeqCst) < before + 6 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(subject(&house).contains("renewed-4"));
    let said = run(&house.site, &["reload"]);
    assert!(said.contains("nothing new is in force"), "{said}");
    assert!(!said.contains("new files"), "{said}");
}

#[test]
fn a_broken_certificate_changes_nothing_and_is_told() {
    let house = House::new(&[OPTIONAL]);
    let old = subject(&house);
    let good = fs::read_to_string(house.pki("server.crt")).unwrap();
    let other = house.odd("other", None, |_| ());
    let other = fs::read_to_string(other.0).unwrap();
    for (text, words) in [
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "is no PEM file"),
        ("", "there is no certificate in it"),
        (&other, "it is not the key of"),
    ] {
        Lab::get().write(&house.pki("server.crt"), text, 0o644);
        let output = house.site.run(&["reload"], "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(words), "{told}");
        assert!(house.log().contains(words));
        assert_eq!(subject(&house), old);
    }
    Lab::get().write(&house.pki("server.crt"), &good, 0o644);
    run(&house.site, &["reload"]);
}

#[test]
fn a_revoked_certificate_is_refused_after_a_reload_and_its_open_connections_end() {
    let house = House::new(&[OPTIONAL]);
    let (ann, bob) = (house.client("ann"), house.client("bob"));
    assert_eq!(house.who(&bob, &[]), "bob");
    // A connection that stays, and asks again when it is told to.
    let (certificate, key) = (&bob.0, &bob.1);
    let keeping = |certificate: &std::path::Path, key: &std::path::Path| {
        let mut child = std::process::Command::new("openssl")
            .args([
                "s_client",
                "-quiet",
                "-no_ign_eof",
                "-verify_quiet",
                "-connect",
            ])
            .arg(format!("localhost:{}", house.server.port))
            .arg("-cert")
            .arg(certificate)
            .arg("-key")
            .arg(key)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::Write::write_all(&mut input, b"GET /auth/user HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        (child, input, output)
    };
    let read_status = |output: &mut dyn std::io::BufRead| {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line
    };
    let mut stays = keeping(&ann.0, &ann.1);
    let mut leaves = keeping(certificate, key);
    for connection in [&mut stays, &mut leaves] {
        assert!(read_status(&mut connection.2).starts_with("HTTP/1.1 200"));
    }
    let directory = house.pki("").display().to_string();
    let kept = (house.site.file("kept.crt"), house.site.file("kept.key"));
    fs::copy(certificate, &kept.0).unwrap();
    fs::copy(key, &kept.1).unwrap();
    run(
        &house.site,
        &["pki", "revoke", "bob", "--directory", &directory],
    );
    assert_eq!(house.who(&kept, &[]), "bob");
    let said = run(&house.site, &["reload"]);
    assert!(
        said.contains("works with the new files of [tls] crl\n"),
        "{said}"
    );
    assert!(!said.contains("nothing new"), "{said}");
    house.logs("\"renewed\":\"[tls] crl\"");
    house.curl("/auth/user", Some(&kept), &[]).refused();
    assert_eq!(house.who(&ann, &[]), "ann");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut leaves.2, &mut rest).ok();
    leaves.0.wait().unwrap();
    house.logs("its certificate is no longer good");
    assert_eq!(
        house
            .log()
            .matches("its certificate is no longer good")
            .count(),
        1
    );
    assert!(stays.0.try_wait().unwrap().is_none());
    stays.0.kill().unwrap();
    stays.0.wait().unwrap();
    // A new certificate for the same user is another one.
    let again = house.client("bob");
    assert_eq!(house.who(&again, &[]), "bob");
}

#[test]
fn what_needs_a_restart_is_told_and_nothing_else_is_taken() {
    let house = House::new(&[OPTIONAL]);
    let file = house.site.file("barmanapi.conf");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace(
        "client_certificates = optional",
        "client_certificates = required",
    );
    Lab::get().write(&file, &text, 0o600);
    let said = run(&house.site, &["reload"]);
    assert!(
        said.contains("needs a restart for [tls] client_certificates"),
        "{said}"
    );
    house.curl("/healthz", None, &[]).expect(200);
}
