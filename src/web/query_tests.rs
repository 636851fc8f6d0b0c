use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn pair(key: &str, value: &str) -> (String, Value) {
    (key.to_owned(), text(value))
}

/// Encodes every byte that a query could read otherwise; a space becomes `+`.
fn encode(pairs: &[(String, String)]) -> String {
    let mut encoded = String::new();
    for (key, value) in pairs {
        if !encoded.is_empty() {
            encoded.push('&');
        }
        for (part, end) in [(key, "="), (value, "")] {
            for byte in part.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                        encoded.push(char::from(byte));
                    }
                    b' ' => encoded.push('+'),
                    other => write!(encoded, "%{other:02X}").unwrap(),
                }
            }
            encoded.push_str(end);
        }
    }
    encoded
}

#[test]
fn order_and_repeated_names_are_kept() {
    assert_eq!(
        from_query("a=1&b=2&a=3"),
        Ok(vec![pair("a", "1"), pair("b", "2"), pair("a", "3")])
    );
}

#[test]
fn names_with_dots_and_brackets_stay_whole() {
    assert_eq!(
        from_query("main.description=x&main.conninfo=y&a[b]=c=d"),
        Ok(vec![
            pair("main.description", "x"),
            pair("main.conninfo", "y"),
            pair("a[b]", "c=d")
        ])
    );
}

#[test]
fn escapes_are_undone_once_and_plus_is_a_space() {
    assert_eq!(
        from_query("a%20b=%2B+%2541"),
        Ok(vec![pair("a b", "+ %41")])
    );
}

#[test]
fn no_query_has_no_parameters() {
    assert_eq!(from_query(""), Ok(vec![]));
}

#[test]
fn what_is_not_well_formed_is_refused_by_name() {
    let a = || "a".to_owned();
    for (query, error) in [
        ("a=%", QueryError::Escape(a())),
        ("a=%4", QueryError::Escape(a())),
        ("a=%+1", QueryError::Escape(a())),
        ("a=%zz", QueryError::Escape(a())),
        ("a=%ff%fe", QueryError::NotUtf8(a())),
        ("a=%c0%af", QueryError::NotUtf8(a())),
        ("a=%ed%a0%80", QueryError::NotUtf8(a())),
        ("a=x%00y", QueryError::Nul(a())),
        ("a", QueryError::NoValue(a())),
        ("=1", QueryError::NoName),
        ("a=1&&b=2", QueryError::NoName),
        ("a=1&", QueryError::NoName),
        ("a%0ab=1", QueryError::ControlInName("a\nb".to_owned())),
        ("_method=delete", QueryError::MethodOverride),
        ("%5Fmethod=delete", QueryError::MethodOverride),
    ] {
        assert_eq!(from_query(query), Err(error), "{query}");
    }
    assert!(matches!(from_query("a%00=1"), Err(QueryError::Nul(_))));
    assert!(matches!(from_query("%ff=1"), Err(QueryError::NotUtf8(_))));
}

#[test]
fn the_number_of_parameters_and_the_length_of_names_are_bounded() {
    let many = |n: usize| vec!["a=1"; n].join("&");
    assert_eq!(from_query(&many(MAX_PAIRS)).unwrap().len(), MAX_PAIRS);
    assert_eq!(from_query(&many(MAX_PAIRS + 1)), Err(QueryError::TooMany));
    let long = |n: usize| format!("{}=1", "k".repeat(n));
    assert!(from_query(&long(MAX_KEY)).is_ok());
    assert_eq!(
        from_query(&long(MAX_KEY + 1)),
        Err(QueryError::LongName("k".repeat(80)))
    );
    let list = |n: usize| format!("{{\"a\":[{}]}}", vec!["1"; n].join(","));
    assert!(from_json(list(MAX_PAIRS).as_bytes()).is_ok());
    assert_eq!(
        from_json(list(MAX_PAIRS + 1).as_bytes()),
        Err(QueryError::TooMany)
    );
}

#[test]
fn an_error_never_shows_a_value() {
    for query in [
        "password=hunter2%",
        "password=hunter2%00",
        "password=hunter2%ff",
    ] {
        let message = from_query(query).unwrap_err().to_string();
        assert!(message.contains("password"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let message = from_json(b"\"hunter2\"").unwrap_err().to_string();
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn json_values_keep_their_form() {
    assert_eq!(
        from_json(br#" {"a":"x","b":1e400,"c":-0,"d":true,"e":["p",2,false],"f":[]} "#),
        Ok(vec![
            pair("a", "x"),
            ("b".to_owned(), Value::Number("1e400".to_owned())),
            ("c".to_owned(), Value::Number("-0".to_owned())),
            ("d".to_owned(), Value::Bool(true)),
            (
                "e".to_owned(),
                Value::List(vec!["p".to_owned(), "2".to_owned(), "false".to_owned()])
            ),
            ("f".to_owned(), Value::List(vec![])),
        ])
    );
}

#[test]
fn json_of_another_shape_is_refused() {
    for body in [
        "",
        "null",
        "[1]",
        "\"x\"",
        "1",
        "{",
        "{}x",
        "{\"a\":}",
        "{\"a\":01}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":nul}",
        "{\"a\":tru}",
        "\u{feff}{}",
        "{\"a\":\"\n\"}",
        "{\"a\":NaN}",
    ] {
        assert!(
            matches!(from_json(body.as_bytes()), Err(QueryError::Json { .. })),
            "{body:?}: {:?}",
            from_json(body.as_bytes())
        );
    }
    assert!(matches!(
        from_json(b"{\"a\":\"\xff\"}"),
        Err(QueryError::Json { .. } | QueryError::NotUtf8(_))
    ));
    let a = || "a".to_owned();
    for (body, error) in [
        (r#"{"a":null}"#, QueryError::Null(a())),
        (r#"{"a":[null]}"#, QueryError::Null(a())),
        (r#"{"a":{}}"#, QueryError::Nested(a())),
        (r#"{"a":[[1]]}"#, QueryError::Nested(a())),
        (r#"{"a":[{}]}"#, QueryError::Nested(a())),
        (r#"{"a":1,"a":2}"#, QueryError::Repeated(a())),
        (r#"{"a":1,"\u0061":2}"#, QueryError::Repeated(a())),
        (r#"{"a":"\u0000"}"#, QueryError::Nul(a())),
        (r#"{"a":"\ud800"}"#, QueryError::NotUtf8(a())),
        (r#"{"":1}"#, QueryError::NoName),
        (r#"{"_method":"delete"}"#, QueryError::MethodOverride),
    ] {
        assert_eq!(from_json(body.as_bytes()), Err(error), "{body}");
    }
}

#[test]
fn a_name_that_the_json_library_uses_inside_is_an_ordinary_name() {
    for key in [
        "$serde_json::private::Number",
        "$serde_json::private::RawValue",
    ] {
        assert_eq!(
            from_json(format!("{{\"{key}\":\"1\"}}").as_bytes()),
            Ok(vec![pair(key, "1")])
        );
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!(
            "{{\"a\":{}1{}}}",
            open.repeat(100_000),
            close.repeat(100_000)
        );
        assert_eq!(
            from_json(deep.as_bytes()),
            Err(QueryError::Nested("a".to_owned()))
        );
    }
}

#[test]
fn a_name_in_query_and_body_is_refused_in_whatever_spelling() {
    let query = vec![pair("server_name", "main")];
    assert_eq!(
        join(query.clone(), vec![pair("SERVERNAME", "other")]),
        Err(QueryError::TwoPlaces("SERVERNAME".to_owned()))
    );
    assert_eq!(join(query, vec![pair("x", "1")]).unwrap().len(), 2);
}

#[test]
fn a_reserved_word_comes_once_and_others_may_repeat() {
    for word in RESERVED {
        let twice = vec![pair(word, "1"), pair(&word.to_uppercase(), "2")];
        assert_eq!(
            join(twice, vec![]),
            Err(QueryError::Repeated(word.to_uppercase()))
        );
    }
    let twice = vec![pair("exclude", "1"), pair("exclude", "2")];
    assert_eq!(join(twice, vec![]).unwrap().len(), 2);
}

proptest! {
    #[test]
    fn reading_undoes_encoding(
        pairs in proptest::collection::vec(("[^\\p{Cc}\\x00\u{2028}\u{2029}]{1,30}", "[^\\x00]{0,40}"), 0..20)
    ) {
        let pairs: Vec<(String, String)> = pairs;
        prop_assume!(pairs.iter().all(|(key, _)| key.len() <= MAX_KEY && key != "_method"));
        let expected: Pairs = pairs.iter().map(|(key, value)| pair(key, value)).collect();
        prop_assert_eq!(from_query(&encode(&pairs)), Ok(expected));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        // What is read is never longer than what came and holds no NUL.
        for read in [from_form(&bytes), from_json(&bytes)].into_iter().flatten() {
            for (key, value) in read {
                prop_assert!(!key.is_empty() && key.len() <= bytes.len());
                prop_assert!(value.texts().all(|text| !text.contains('\0')));
            }
        }
    }

    #[test]
    fn any_query_like_text_is_read_or_refused(raw in "([a-z%=&+\\[\\]{}:\",0-9]|%[0-9a-f]{2}){0,60}") {
        for read in [from_query(&raw), from_json(raw.as_bytes())].into_iter().flatten() {
            prop_assert!(read.len() <= MAX_PAIRS);
        }
    }

    #[test]
    fn json_texts_come_back_as_they_were(value in "[^\\x00]{0,40}") {
        let body = serde_json::json!({ "key": value }).to_string();
        prop_assert_eq!(from_json(body.as_bytes()), Ok(vec![pair("key", &value)]));
    }
}
