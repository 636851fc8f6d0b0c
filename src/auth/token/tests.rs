use super::*;
use serde_json::{Value, json};

const SECRET: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b";
const NOW: u64 = 1_800_000_000;
const LIFE: u64 = 6000;

fn tokens(secret: &str, algorithm: Algorithm) -> Tokens {
    Tokens::new(&Secret::plain(secret), algorithm, Duration::from_secs(LIFE)).unwrap()
}

fn accept(token: &str) -> Result<Accepted, Refusal> {
    tokens(SECRET, Algorithm::Hs256).accept(token, NOW)
}

fn claims() -> Value {
    json!({
        "iss": "barmanapi", "aud": "barmanapi", "sub": "op", "iat": NOW, "nbf": NOW,
        "exp": NOW + LIFE, "jti": "x", "stamp": "s"
    })
}

/// A token put together by hand: header text, claims, and the signature of the two.
fn forge(header: &str, claims: &Value, secret: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(header), part(&claims.to_string()));
    let mac = hmac_of::<Hmac<Sha256>>(secret.as_bytes())
        .unwrap()
        .chain_update(&signed);
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{signed}.{signature}")
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The verdict on a token whose claims differ from a good one's in this one; null removes it.
fn with(claim: &str, value: Value) -> Result<Accepted, Refusal> {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
        value => claims[claim] = value,
    }
    accept(&forge(HEADER, &claims, SECRET))
}

#[test]
fn an_issued_token_is_accepted_until_it_expires() {
    for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
        let tokens = tokens(SECRET, algorithm);
        let user = UserName::parse("op").unwrap();
        let issued = tokens.issue(&user, b"state", NOW).unwrap();
        assert_eq!(issued.expires_in, LIFE);
        assert!(issued.token.len() < LONGEST / 2, "{}", issued.token.len());
        let accepted = tokens.accept(&issued.token, NOW + LIFE).unwrap();
        assert_eq!(
            (accepted.user, accepted.stamp),
            (user, tokens.stamp(b"state"))
        );
        let late = tokens.accept(&issued.token, NOW + LIFE + 6);
        assert_eq!(late, Err(Refusal::Expired));
        let early = tokens.accept(&issued.token, NOW - 60);
        assert_eq!(early, Err(Refusal::NotYet));
    }
}

#[test]
fn what_has_expired_stays_so_however_long_tokens_live_later() {
    let tokens = tokens(SECRET, Algorithm::Hs256);
    let user = UserName::parse("op").unwrap();
    let issue = |now: u64| tokens.issue(&user, b"state", now).unwrap().token;
    let (old, young) = (issue(NOW), issue(NOW + 50));
    let accepts = |token: &str, now: u64| tokens.accept(token, now).is_ok();
    tokens.set_life(Duration::from_secs(20), NOW + 55);
    assert!(!accepts(&old, NOW + 55) && accepts(&young, NOW + 55));
    tokens.set_life(Duration::from_secs(LIFE), NOW + 60);
    assert!(!accepts(&old, NOW + 60));
    // It was good all the time.
    assert!(accepts(&young, NOW + 60) && accepts(&young, NOW + 50 + LIFE));
    assert!(accepts(&issue(NOW + 60), NOW + 60));
    // The same life again is no other.
    tokens.set_life(Duration::from_secs(LIFE), NOW + 61);
    assert!(accepts(&young, NOW + 61));
    // The clock was a year ahead when a life was set.
    tokens.set_life(Duration::from_secs(LIFE), NOW + 31_536_000);
    assert!(accepts(&issue(NOW + 70), NOW + 70));
}

#[test]
fn a_token_made_by_hand_with_the_secret_is_the_twin_of_every_refusal() {
    assert_eq!(
        accept(&forge(HEADER, &claims(), SECRET))
            .unwrap()
            .user
            .as_str(),
        "op"
    );
}

#[test]
fn a_token_signed_with_another_secret_is_refused() {
    assert!(accept(&forge(HEADER, &claims(), "Deneme")).is_err());
    assert!(accept(&forge(HEADER, &claims(), "")).is_err());
}

#[test]
fn an_unsigned_token_is_refused() {
    for alg in ["none", "None", "NONE", "nOnE"] {
        let header = format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#);
        let token = forge(&header, &claims(), SECRET);
        assert!(accept(&token).is_err());
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        assert!(accept(&format!("{unsigned}.")).is_err());
    }
    let token = forge(HEADER, &claims(), SECRET);
    let (unsigned, signature) = token.rsplit_once('.').unwrap();
    assert!(accept(&format!("{unsigned}.")).is_err());
    assert!(accept(unsigned).is_err());
    assert!(accept(&format!("{unsigned}.{}", &signature[..signature.len() - 2])).is_err());
    assert!(accept(&format!("{token}.{signature}")).is_err());
}

#[test]
fn another_algorithm_is_refused_even_with_the_right_secret() {
    let all = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512];
    let user = UserName::parse("op").unwrap();
    for made in all {
        let token = tokens(SECRET, made)
            .issue(&user, b"state", NOW)
            .unwrap()
            .token;
        for asked in all {
            let verdict = tokens(SECRET, asked).accept(&token, NOW);
            assert_eq!(verdict.is_ok(), made == asked, "{made:?} for {asked:?}");
        }
    }
    for alg in ["RS256", "ES256", "EdDSA", "PS512", "HS1"] {
        let header = format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#);
        assert!(accept(&forge(&header, &claims(), SECRET)).is_err(), "{alg}");
    }
}

#[test]
fn a_token_without_one_of_its_claims_is_refused() {
    for claim in ["iss", "aud", "sub", "iat", "nbf", "exp", "jti", "stamp"] {
        assert!(with(claim, Value::Null).is_err(), "{claim}");
    }
}

#[test]
fn a_token_from_or_for_somebody_else_is_refused() {
    for claim in ["iss", "aud"] {
        for value in [json!("other"), json!(["barmanapi"]), json!(""), json!(1)] {
            assert!(with(claim, value.clone()).is_err(), "{claim} {value}");
        }
    }
    for name in ["", "../x", "a b", "x]"] {
        assert!(with("sub", json!(name)).is_err(), "{name:?}");
    }
}

#[test]
fn times_are_held_to_two_seconds() {
    for (claim, value, wanted) in [
        ("exp", NOW - 30, Some(Refusal::Expired)),
        ("exp", NOW - 6, Some(Refusal::Expired)),
        ("exp", NOW - 2, Some(Refusal::Expired)),
        ("exp", NOW - 1, None),
        ("nbf", NOW + 60, Some(Refusal::NotYet)),
        ("nbf", NOW + 2, None),
        ("iat", NOW + 60, Some(Refusal::NotYet)),
        ("iat", NOW + 2, None),
        // It lives as long as tokens do now, whatever it says, unless no token ever lived so long.
        ("exp", NOW + LONGEST_LIFE, None),
        ("exp", NOW + LONGEST_LIFE + 1, Some(Refusal::TooLasting)),
        ("exp", u64::MAX, Some(Refusal::TooLasting)),
        ("iat", NOW - LIFE - 2, Some(Refusal::Expired)),
        ("iat", NOW - LIFE - 1, None),
        ("iat", 0, Some(Refusal::Expired)),
    ] {
        assert_eq!(with(claim, json!(value)).err(), wanted, "{claim} {value}");
    }
    for value in [
        json!("1800006000"),
        json!(-1),
        json!(1.8e9 + 0.5),
        json!(true),
    ] {
        assert!(with("exp", value.clone()).is_err(), "{value}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let long = "x".repeat(LONGEST + 1);
    for word in [
        "",
        ".",
        "..",
        "a.b.c",
        "20261120T214304-k3v9m2x8q4c7",
        "é.é.é",
        &long,
    ] {
        assert!(accept(word).is_err(), "{word:?}");
    }
    let mut padded = claims();
    padded["pad"] = json!("x".repeat(LONGEST));
    assert_eq!(
        accept(&forge(HEADER, &padded, SECRET)),
        Err(Refusal::TooLong)
    );
}

#[test]
fn the_stamp_depends_on_state_and_secret() {
    let (one, two) = (
        tokens(SECRET, Algorithm::Hs256),
        tokens("other", Algorithm::Hs256),
    );
    assert_eq!(one.stamp(b"a"), one.stamp(b"a"));
    assert_ne!(one.stamp(b"a"), one.stamp(b"b"));
    assert_ne!(one.stamp(b"a"), two.stamp(b"a"));
}

#[test]
fn neither_tokens_nor_their_maker_print_a_secret() {
    let tokens = tokens(SECRET, Algorithm::Hs256);
    let issued = tokens
        .issue(&UserName::parse("op").unwrap(), b"", NOW)
        .unwrap();
    let printed = format!("{tokens:?} {issued:?}");
    assert!(
        !printed.contains(SECRET) && !printed.contains(&issued.token),
        "{printed}"
    );
}

#[test]
fn only_tokens_that_we_signed_are_remembered_and_never_too_many() {
    let tokens = tokens(SECRET, Algorithm::Hs256);
    let good = forge(HEADER, &claims(), SECRET);
    let forged = forge(
        HEADER,
        &claims(),
        "another secret of forty characters in all",
    );
    for _ in 0..2 {
        assert!(tokens.accept(&good, NOW).is_ok());
        assert!(tokens.accept(&forged, NOW).is_err());
    }
    assert_eq!(tokens.signed.read().unwrap().len(), 1);
    let user = UserName::parse("op").unwrap();
    for _ in 0..=REMEMBERED {
        let token = tokens.issue(&user, b"state", NOW).unwrap().token;
        assert!(tokens.accept(&token, NOW).is_ok());
        assert!(tokens.signed.read().unwrap().len() <= REMEMBERED);
    }
}
