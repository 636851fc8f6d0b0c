//! What is a token, and how long.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};

use super::status_with;
use crate::rig::{Barman, Site, StandIn};

/// The claims of a token, unchecked.
fn claims(token: &str) -> Value {
    let middle = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle).unwrap()).unwrap()
}

/// A token with this algorithm in its header, these claims and, unless it is "none", a signature.
fn forge(algorithm: &str, claims: &Value, secret: &[u8]) -> String {
    let header = json!({"typ": "JWT", "alg": algorithm});
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encode(&header), encode(claims));
    let signature = match algorithm {
        "HS256" => signed::<Hmac<Sha256>>(secret, &text),
        "HS384" => signed::<Hmac<Sha384>>(secret, &text),
        "HS512" => signed::<Hmac<Sha512>>(secret, &text),
        _ => Vec::new(),
    };
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn signed<M: Mac + KeyInit>(secret: &[u8], text: &str) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(secret).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[test]
fn only_a_token_of_ours_within_its_time_is_a_token() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let admin = server.login("admin");
    let secret = std::fs::read_to_string(site.file("store/config/secret")).unwrap();
    let secret = secret.trim().as_bytes();
    let good = claims(&admin.token);
    let now = good["iat"].as_u64().unwrap();
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        claims
    };
    let without = |key: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(key);
        claims
    };
    // What the forger does is right but for the one thing that each line names.
    assert_eq!(status_with(&server, &forge("HS256", &good, secret)), 200);
    let ours = |claims: &Value| forge("HS256", claims, secret);
    let known = json!({"user": {"username": "admin"}});
    for (what, token) in [
        (
            "a secret that everybody knows",
            forge("HS256", &good, b"Deneme"),
        ),
        ("the claims of barmanapi 0.3", ours(&known)),
        ("no algorithm", forge("none", &good, secret)),
        ("another name for none", forge("NonE", &good, secret)),
        ("a longer signature", forge("HS384", &good, secret)),
        ("the longest signature", forge("HS512", &good, secret)),
        ("a time that is over", ours(&with("exp", json!(now - 6)))),
        ("a time to come", ours(&with("nbf", json!(now + 60)))),
        ("no end", ours(&without("exp"))),
        ("no begin", ours(&without("nbf"))),
        (
            "an end in years",
            ours(&with("exp", json!(now + 400_000_000))),
        ),
        ("another audience", ours(&with("aud", json!("history")))),
        ("another issuer", ours(&with("iss", json!("somebody")))),
        ("another user", ours(&with("sub", json!("nobody")))),
        ("another stamp", ours(&with("stamp", json!("x")))),
        ("no user", ours(&without("sub"))),
        ("nothing", String::new()),
    ] {
        assert_eq!(status_with(&server, &token), 401, "{what}");
    }
    let cut = &admin.token[..admin.token.len() - 1];
    assert_eq!(status_with(&server, cut), 401, "a cut signature");

    // A ticket is not a token, and a token is not a ticket.
    let ticket = admin
        .get("/barman/list-backups?server_name=main&async=true")
        .ticket();
    assert_eq!(status_with(&server, &ticket), 401);
    let answer = admin.get(&format!("/history/result?ticket={}", admin.token));
    assert!([400, 404].contains(&answer.status), "{answer:?}");
    assert_eq!(admin.finished(&ticket)["state"], "done");
}

#[test]
fn a_secret_that_can_be_guessed_keeps_the_service_from_starting() {
    let stand_in = StandIn::new();
    let repeated = "a".repeat(32);
    for secret in ["Deneme", &repeated, "k3v9m2x8q4c7k3v9m2x8q4c7abcdefg"] {
        let setting = format!("auth_token.secret = {secret}");
        let site = Site::new(&Barman::StandIn(&stand_in), &[&setting]);
        let words = site.refuses_to_serve();
        assert!(words.contains("secret"), "{words}");
        assert!(!words.contains(secret), "a secret was shown: {words}");
    }
    let strong = "auth_token.secret = 9f86d081884c7d659a2feaa0c55ad015";
    let site = Site::new(&Barman::StandIn(&stand_in), &[strong]);
    site.user("admin", &["--full"]);
    let server = site.serve();
    let token = site.token("admin");
    assert_eq!(status_with(&server, &token), 200);
    let forged = forge("HS256", &claims(&token), &strong.as_bytes()[20..]);
    assert_eq!(forged, token, "the secret of the file is not what signs");
}

#[test]
fn a_token_in_the_query_works_unless_it_is_switched_off_and_is_never_logged() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({"list-backups": {"stdout": "none\n"}, "backup": {"exit": 1}}));
    for (on, status) in [(true, 200), (false, 401)] {
        let setting = format!("auth_token.query_token = {on}");
        let debug = "application.debug = true";
        let site = Site::new(&Barman::StandIn(&stand_in), &[&setting, debug]);
        site.user("admin", &["--full"]);
        let mut server = site.serve();
        let admin = server.login("admin");
        let token = admin.token.clone();
        let ask = |target: &str| server.get(&format!("{target}token={token}"));
        let answer = ask("/barman/list-backups?server_name=main&");
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        // Also where the request fails in every way it can.
        ask("/barman/backup?server_name=main&");
        ask("/barman/backup?server_name=main&async=true&");
        ask("/barman/list-backups?nonsense=1&");
        ask("/nowhere?");
        ask("/barman/nosuch?");
        ask(&format!("/history/list?cursor={token}&"));
        ask("/barman//backup?");
        server.request("PUT", &format!("/barman/backup?token={token}"), &[], b"");
        ask(&format!("/auth/user?token={token}&"));
        server.request(
            "POST",
            "/auth/token",
            &[],
            format!("token={token}").as_bytes(),
        );
        let ticket = admin
            .get("/barman/list-backups?server_name=main&async=true")
            .ticket();
        admin.finished(&ticket);
        assert_eq!(server.stop(), Some(0));
        let logged = site.logged();
        assert!(logged.contains("/auth/user"), "nothing is logged: {logged}");
        for part in token.split('.') {
            assert!(!logged.contains(part), "a token is in the logs");
        }
        // Nor in any record of the store.
        let found = std::process::Command::new("grep")
            .args(["-rlF", &token])
            .arg(site.file("store"))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(found.stdout).unwrap(), "");
        assert!(!format!("{:?}", stand_in.log()).contains(&token));
    }
}

#[test]
fn a_token_ends_with_the_password_the_rights_the_user_and_the_logout_in_every_process() {
    let stand_in = StandIn::new();
    let site = Site::new(&Barman::StandIn(&stand_in), &[]);
    site.user("admin", &["--full"]);
    site.user(
        "op",
        &["--access", "auth/user,barman/backup,barman/list-backups"],
    );
    let (mut one, other) = (site.serve(), site.serve());
    let statuses = |token: &str| [status_with(&one, token), status_with(&other, token)];
    let run = |arguments: &[&str], input: &str| {
        let output = site.run(arguments, input);
        assert!(output.status.success(), "{output:?}");
    };

    let old = one.login("op").token;
    assert_eq!(statuses(&old), [200, 200]);
    run(
        &["user", "passwd", "op", "--password-stdin"],
        "another one\n",
    );
    assert_eq!(statuses(&old), [401, 401]);
    assert_eq!(one.basic("/auth/token", "op", "another one").status, 200);

    let old = site.token("op");
    assert_eq!(statuses(&old), [200, 200]);
    run(&["user", "change", "op", "--access", "auth/user"], "");
    assert_eq!(statuses(&old), [401, 401]);
    let new = site.token("op");
    for server in [&one, &other] {
        let answer = server
            .with_token(&new)
            .form("/barman/backup", "server_name=main");
        assert_eq!(answer.status, 403);
    }
    assert_eq!(stand_in.starts().len(), 0);

    let (first, second) = (site.token("op"), site.token("op"));
    one.with_token(&first).form("/auth/logout", "").expect(200);
    assert_eq!(statuses(&first), [401, 401]);
    assert_eq!(statuses(&second), [401, 401]);
    // The user of another token is not touched, and the end outlives the process.
    let admin = site.token("admin");
    one.kill();
    let again = site.serve();
    for token in [&first, &second, &old, &new] {
        assert_eq!(status_with(&again, token), 401);
    }
    assert_eq!(status_with(&again, &admin), 200);

    let last = site.token("op");
    assert_eq!(status_with(&other, &last), 200);
    run(&["user", "remove", "op"], "");
    assert_eq!(status_with(&again, &last), 401);
    assert_eq!(status_with(&other, &last), 401);
    run(
        &[
            "user",
            "add",
            "op",
            "--access",
            "auth/user",
            "--password-stdin",
        ],
        "another one\n",
    );
    assert_eq!(
        status_with(&other, &last),
        401,
        "a name does not bring old tokens back"
    );
}
