//! Who is let in by which certificate.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rcgen::{DistinguishedName, DnType, ExtendedKeyUsagePurpose, SanType};
use time::OffsetDateTime;

use super::{House, run};
use crate::rig::Lab;

const REQUIRED: &str = "tls.client_certificates = required";
const OPTIONAL: &str = "tls.client_certificates = optional";

#[test]
fn a_certificate_names_a_user_whose_rules_apply() {
    let house = House::new(&[REQUIRED]);
    let (ann, bob) = (house.client("ann"), house.client("bob"));
    assert_eq!(house.who(&ann, &[]), "ann");
    assert_eq!(house.who(&bob, &[]), "bob");
    house.curl("/config/barmanapi", Some(&ann), &[]).expect(200);
    house.curl("/config/barmanapi", Some(&bob), &[]).expect(403);
    house.curl("/history/list", Some(&bob), &[]).expect(200);
    let answer = house.curl("/healthz", Some(&bob), &[]).expect(200);
    assert!(answer.head.contains("strict-transport-security: max-age="));
    // Rules that change count from the next request on, as for everybody.
    run(&house.site, &["user", "change", "bob", "--access", "auth"]);
    house.curl("/history/list", Some(&bob), &[]).expect(403);
    run(&house.site, &["user", "remove", "bob"]);
    house.curl("/auth/user", Some(&bob), &[]).expect(401);
}

#[test]
fn without_a_certificate_the_handshake_is_refused_where_one_is_required() {
    let house = House::new(&[REQUIRED]);
    let token = house.token("ann");
    house.curl("/auth/user", None, &["-H", &token]).refused();
    house.curl("/healthz", None, &[]).refused();
}

#[test]
fn without_a_certificate_a_token_is_needed_where_one_is_optional() {
    let house = House::new(&[OPTIONAL]);
    for target in ["/auth/user", "/status", "/diagnose", "/operations"] {
        house.curl(target, None, &[]).expect(401);
    }
    let token = house.token("ann");
    house.curl("/auth/user", None, &["-H", &token]).expect(200);
    house
        .curl("/auth/token", None, &["-u", "ann:correct horse battery"])
        .expect(200);
}

/// Holds that a certificate of ann that is odd in one thing is refused in the handshake, although none
/// would be needed; and that it is that one thing.
#[track_caller]
fn refused_in_the_handshake(odd: impl FnOnce(&House) -> (PathBuf, PathBuf)) {
    let house = House::new(&[OPTIONAL]);
    let certificate = odd(&house);
    house.curl("/healthz", Some(&certificate), &[]).refused();
    assert_eq!(house.who(&house.odd("ann", None, |_| ()), &[]), "ann");
}

#[test]
fn a_certificate_that_signed_itself_is_refused() {
    refused_in_the_handshake(|house| house.odd("ann", Some(Path::new("")), |_| ()));
}

#[test]
fn a_certificate_of_another_ca_of_the_same_name_is_refused() {
    refused_in_the_handshake(|house| {
        let other = Lab::get().folder("pki");
        let directory = other.display().to_string();
        run(&house.site, &["pki", "init", "--directory", &directory]);
        house.odd("ann", Some(&other), |_| ())
    });
}

#[test]
fn a_certificate_that_has_ended_is_refused() {
    let ended = OffsetDateTime::now_utc() - time::Duration::minutes(1);
    refused_in_the_handshake(|house| house.odd("ann", None, |params| params.not_after = ended));
}

#[test]
fn a_certificate_that_has_not_begun_is_refused() {
    let begins = OffsetDateTime::now_utc() + time::Duration::hours(1);
    refused_in_the_handshake(|house| house.odd("ann", None, |params| params.not_before = begins));
}

#[test]
fn a_certificate_that_was_made_for_servers_alone_is_refused() {
    refused_in_the_handshake(|house| {
        house.odd("ann", None, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    });
}

#[test]
fn a_certificate_that_was_revoked_before_the_start_is_refused() {
    let mut house = House::new(&[OPTIONAL]);
    let (ann, bob) = (house.client("ann"), house.client("bob"));
    let kept = (house.site.file("kept.crt"), house.site.file("kept.key"));
    fs::copy(&bob.0, &kept.0).unwrap();
    fs::copy(&bob.1, &kept.1).unwrap();
    assert_eq!(house.who(&kept, &[]), "bob");
    let directory = house.pki("").display().to_string();
    run(
        &house.site,
        &["pki", "revoke", "bob", "--directory", &directory],
    );
    house.server = house.site.serve_unready(&[]);
    house.curl("/healthz", Some(&kept), &[]).refused();
    assert_eq!(house.who(&ann, &[]), "ann");
}

#[test]
fn a_certificate_of_another_user_gives_the_rights_of_that_one() {
    let house = House::new(&[REQUIRED]);
    let bob = house.client("bob");
    // Whatever the request says about somebody else.
    let ann = house.token("ann");
    house
        .curl("/config/barmanapi", Some(&bob), &["-H", &ann])
        .expect(401);
    house.curl("/config/barmanapi", Some(&bob), &[]).expect(403);
    assert_eq!(house.who(&bob, &[]), "bob");
}

#[test]
fn a_certificate_that_names_no_user_or_more_than_one_gives_nobody() {
    let house = House::new(&[REQUIRED]);
    let names = |names: &[&str], others: &[&str]| {
        house.odd("", None, |params| {
            let mut subject = DistinguishedName::new();
            subject.push(DnType::OrganizationName, "ann");
            for name in names {
                // Two of a kind can't be pushed; a second one has an id of its own.
                subject.push(DnType::CommonName, *name);
            }
            params.distinguished_name = subject;
            let dns = |name: &&str| SanType::DnsName((*name).try_into().unwrap());
            params.subject_alt_names = others.iter().map(dns).collect();
        })
    };
    for (subject, others) in [
        (&["eve"][..], &[][..]),
        (&["ANN"], &[]),
        (&["ann "], &[]),
        (&["ann,CN=bob"], &[]),
        (&["eve"], &["ann"]),
        (&[], &["ann", "bob"]),
        (&[], &[]),
    ] {
        let odd = names(subject, others);
        house.curl("/auth/user", Some(&odd), &[]).expect(401);
    }
    assert_eq!(house.who(&names(&[], &["ann"]), &[]), "ann");
    assert_eq!(house.who(&names(&["ann"], &["bob"]), &[]), "ann");
}

#[test]
fn a_token_or_password_must_be_of_the_user_that_the_certificate_names() {
    let house = House::new(&[OPTIONAL]);
    let bob = house.client("bob");
    let (ann_token, bob_token) = (house.token("ann"), house.token("bob"));
    assert_eq!(house.who(&bob, &["-H", &bob_token]), "bob");
    house
        .curl("/auth/user", Some(&bob), &["-H", &ann_token])
        .expect(401);
    let ann = "ann:correct horse battery";
    house
        .curl("/auth/user", Some(&bob), &["-u", ann])
        .expect(401);
    house
        .curl("/auth/token", Some(&bob), &["-u", ann])
        .expect(401);
    house
        .curl(
            "/auth/token",
            Some(&bob),
            &["-u", "bob:correct horse battery"],
        )
        .expect(200);
    // Credentials that can't be read are not passed over.
    house
        .curl(
            "/auth/user",
            Some(&bob),
            &["-H", "Authorization: Bearer x y"],
        )
        .expect(401);
    house
        .curl(
            "/auth/user",
            Some(&bob),
            &["-H", "Authorization: Negotiate x"],
        )
        .expect(401);
    house
        .curl("/auth/user?token=x.y.z", Some(&bob), &[])
        .expect(401);
}

#[test]
fn no_header_says_who_is_calling_and_no_page_borrows_a_certificate() {
    let house = House::new(&[OPTIONAL]);
    let bob = house.client("bob");
    let forged = [
        "X-Forwarded-For: 192.0.2.1",
        "X-Real-IP: 192.0.2.1",
        "Forwarded: for=192.0.2.1",
        "X-SSL-Client-CN: ann",
        "X-Client-Cert: ann",
        "SSL_CLIENT_S_DN_CN: ann",
        "X-Remote-User: ann",
        "Remote-User: ann",
    ];
    let headers: Vec<&str> = forged.iter().flat_map(|header| ["-H", header]).collect();
    assert_eq!(house.who(&bob, &headers), "bob");
    house.curl("/auth/user", None, &headers).expect(401);
    assert!(!house.log().contains("192.0.2.1"));
    for header in [
        "Origin: https://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        house
            .curl("/auth/user", Some(&bob), &["-H", header])
            .expect(401);
    }
    let typed = ["-H", "Sec-Fetch-Site: none"];
    house.curl("/auth/user", Some(&bob), &typed).expect(200);
}

#[test]
fn other_protocols_than_tls_1_2_and_1_3_get_nothing() {
    let house = House::new(&[OPTIONAL]);
    let answer = house.curl(
        "/healthz",
        None,
        &["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"],
    );
    answer.refused();
    for version in ["1.2", "1.3"] {
        let answer = house
            .curl("/healthz", None, &["--tls-max", version])
            .expect(200);
        assert!(answer.head.starts_with("http/1.1 "), "{}", answer.head);
    }
    let mut plain = TcpStream::connect(("127.0.0.1", house.server.port)).unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).ok();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("this port speaks TLS"), "{answer}");
}

#[test]
fn the_program_knows_its_own_service_by_its_certificate() {
    for setting in [OPTIONAL, REQUIRED] {
        let house = House::new(&[setting]);
        // The service has chosen its port by itself.
        let file = house.site.file("barmanapi.conf");
        let text = fs::read_to_string(&file).unwrap();
        let port = format!("port = {}\n", house.server.port);
        Lab::get().write(&file, &text.replace("port = 0\n", &port), 0o600);
        assert_eq!(run(&house.site, &["status"]), "OK\n", "{setting}");
        // Somebody else's certificate, although of the same CA, is not enough.
        let (other, _) = house.odd("other", None, |_| ());
        fs::rename(other, house.pki("server.crt")).unwrap();
        let output = house.site.run(&["status"], "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{setting}");
        assert!(
            told.contains("another certificate than the one in the configuration"),
            "{told}"
        );
    }
}

#[test]
fn clients_of_pg_backup_api_need_their_certificate_and_one_right() {
    let house = House::real(&[REQUIRED]);
    house.site.user("pem", &["--access", "barman/diagnose"]);
    let (pem, bob) = (house.ready("pem"), house.client("bob"));
    let get = ["-X", "GET"];
    let status = house.curl("/status", Some(&pem), &get).expect(200);
    assert_eq!(status.body, "\"OK\"");
    let told = house.curl("/diagnose", Some(&pem), &get).expect(200).json();
    assert!(told["global"]["config"].is_object() && told["global"]["system_info"].is_object());
    for part in ["backups", "config", "status", "wals"] {
        assert!(told["servers"]["main"].get(part).is_some(), "{part}");
    }
    for target in ["/status", "/diagnose", "/servers/main/operations"] {
        house.curl(target, None, &get).refused();
    }
    house.curl("/diagnose", Some(&bob), &get).expect(403);
    house.curl("/operations", Some(&pem), &get).expect(403);
}
