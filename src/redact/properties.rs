use super::*;
use proptest::prelude::*;
use serde_json::json;

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "password",
        "=",
        " = ",
        ":",
        ": ",
        "secret",
        "token",
        "'",
        "\"",
        "\\",
        "\\\"",
        "\\n",
        "\\t",
        " ",
        "   ",
        "\n",
        "\r\n",
        "://",
        "u:p@h",
        "postgres",
        "@",
        "/",
        "?",
        "&",
        "%3D",
        "%20",
        "%27",
        "%3A%2F%2F",
        "%40",
        "%3A",
        "%25",
        "host=h",
        "a",
        "1",
        "null",
        "None",
        "*REDACTED*",
        "{",
        "}",
        "[",
        "]",
        ",",
        "é",
        "''",
        "on",
        "_command",
        "password=",
        "\"password\": ",
        "\\\"token\\\": ",
        "u003d",
        "-",
        "#",
        ".",
        "\0",
        "==",
        "=>",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn document() -> impl Strategy<Value = Value> {
    let string = prop_oneof![pieces(), "\\PC{0,12}", any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        string.clone().prop_map(Value::from),
        // A document within a string.
        (string.clone(), string.clone()).prop_map(|(name, value)| Value::from(
            serde_json::to_string(&json!({name: value})).unwrap()
        )),
    ];
    let name = prop_oneof![
        string,
        Just("password".to_owned()),
        Just("a_token".to_owned())
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Whether two documents differ in nothing but text, and in numbers that became text.
fn same_shape(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| same_shape(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() >= other.len()
                && (one.len() != other.len()
                    || one
                        .values()
                        .zip(other.values())
                        .all(|(one, other)| same_shape(one, other)))
        }
        (Value::Number(_) | Value::String(_), Value::String(_)) => true,
        _ => one == other,
    }
}

proptest! {
    #[test]
    fn what_was_redacted_once_is_not_changed_again(given in pieces()) {
        let once = text(&given).into_owned();
        prop_assert_eq!(text(&once), once.as_str());
    }

    #[test]
    fn a_stream_in_any_pieces_gives_what_the_whole_gives(
        given in prop::collection::vec(pieces(), 1..60),
        sizes in prop::collection::vec(1usize..700, 1..20),
        piece in 1usize..900,
    ) {
        let given = given.join(" x ").replace('\n', if piece % 2 == 0 { "" } else { "\n" });
        let mut redactor = Redactor::with_pieces(piece);
        let mut out = Vec::new();
        let mut rest = given.as_bytes();
        for size in sizes.iter().cycle() {
            let (head, tail) = rest.split_at((*size).min(rest.len()));
            redactor.push(head, &mut out);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        redactor.finish(&mut out);
        prop_assert_eq!(String::from_utf8(out).unwrap(), text(&given).into_owned());
    }

    #[test]
    fn redacted_json_is_json_of_the_same_shape(document in document(), pretty: bool) {
        let given = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
        let masked = text(&given).into_owned();
        let parsed: Value = serde_json::from_str(&masked).map_err(|error| TestCaseError::fail(format!("{error}: {given} -> {masked}")))?;
        prop_assert!(same_shape(&document, &parsed), "{} -> {}", given, masked);
    }

    #[test]
    fn a_password_never_shows(
        secret in "[!-~éß]{4,16}",
        form in 0usize..6,
        depth in 0u32..3,
    ) {
        prop_assume!(!"*REDACTED*host=h user=u://password".contains(&secret));
        let quoted = secret.replace('\\', "\\\\").replace('\'', "\\'");
        let bare: String = quoted.clone();
        let encoded: String = secret.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
        let mut given = match form {
            0 => format!("host=h password='{quoted}' user=u"),
            1 => format!("host=h password={bare} user=u"),
            2 => format!("postgres://u:{encoded}@h/db"),
            3 => format!("host%3Dh%20password%3D%27{encoded}%27%20user%3Du"),
            4 => format!("\tencryption_passphrase_command: {secret}"),
            _ => serde_json::to_string(&json!({"password": secret, "host": "host=h"})).unwrap(),
        };
        for _ in 0..depth {
            given = serde_json::to_string(&json!({"list": [given]})).unwrap();
        }
        let mut masked: Value = Value::from(text(&given).into_owned());
        let shown = loop {
            let Some(text) = masked.as_str() else { break masked.to_string() };
            match serde_json::from_str::<Value>(text) {
                Ok(mut inner) if inner.get("list").is_some() => masked = inner["list"][0].take(),
                _ => break text.to_owned(),
            }
        };
        prop_assert!(!shown.contains(&secret) && !shown.contains(&quoted) && !shown.contains(&encoded), "{} -> {}", given, shown);
        prop_assert!(shown.contains("*REDACTED*"));
        prop_assert!(form == 2 || form == 4 || shown.contains("host"));
    }
}
