use super::*;
use serde_json::json;

/// Each line as it comes and as it must leave.
#[track_caller]
fn becomes(cases: &[(&str, &str)]) {
    for (given, wanted) in cases {
        assert_eq!(text(given), *wanted, "{given:?}");
    }
}

#[test]
fn a_password_in_a_connection_string_is_masked_and_the_rest_stays() {
    becomes(&[
        ("password=s", "password=*REDACTED*"),
        (
            "host=h port=5432 password=s user=u dbname=d",
            "host=h port=5432 password=*REDACTED* user=u dbname=d",
        ),
        ("password=s host=h", "password=*REDACTED* host=h"),
        (
            "host=h password='a b' user=u",
            "host=h password=*REDACTED* user=u",
        ),
        (
            r"host=h password='a \' b' user=u",
            "host=h password=*REDACTED* user=u",
        ),
        (
            r"host=h password='a \\' user=u",
            "host=h password=*REDACTED* user=u",
        ),
        (
            r"host=h password=a\ b user=u",
            "host=h password=*REDACTED* user=u",
        ),
        (
            "host=h password=a'b\"c user=u",
            "host=h password=*REDACTED* user=u",
        ),
        ("PASSWORD = s", "PASSWORD = *REDACTED*"),
        (
            "host=h PassWord\t=\ts user=u",
            "host=h PassWord\t=\t*REDACTED* user=u",
        ),
        (
            "sslpassword=s sslmode=require",
            "sslpassword=*REDACTED* sslmode=require",
        ),
        ("PGPASSWORD=s psql", "PGPASSWORD=*REDACTED*"),
        ("env PGPASSWORD=s psql", "env PGPASSWORD=*REDACTED* psql"),
        (
            "primary_conninfo = 'user=u password=s host=h'",
            "primary_conninfo = 'user=u password=*REDACTED* host=h'",
        ),
        (
            "primary_conninfo = 'user=u password=''a b'' host=h'",
            "primary_conninfo = 'user=u password=*REDACTED* host=h'",
        ),
        (
            r"'user=u password=\'a b\' host=h'",
            "'user=u password=*REDACTED* host=h'",
        ),
        ("password=\"a b\" x=y", "password=*REDACTED* x=y"),
        (
            "password = two words host=h",
            "password = *REDACTED* host=h",
        ),
        (
            "password=s\u{e9}\u{2713} host=h",
            "password=*REDACTED* host=h",
        ),
    ]);
}

#[test]
fn a_percent_encoded_password_is_masked() {
    becomes(&[
        ("password%3Ds", "password%3D*REDACTED*"),
        (
            "host%3Dh%20password%3ds%20user%3Du",
            "host%3Dh%20password%3d*REDACTED*%20user%3Du",
        ),
        (
            "host%3Dh%20password%3D%27a%20b%27%20user%3Du",
            "host%3Dh%20password%3D*REDACTED*%20user%3Du",
        ),
        (
            "c=password%253Ds%2520user%253Du&x=y",
            "c=password%253D*REDACTED*%2520user%253Du&x=y",
        ),
        ("password%20%3D%20s", "password%20%3D%20*REDACTED*"),
    ]);
}

#[test]
fn a_password_in_a_uri_is_masked() {
    becomes(&[
        ("postgres://u:p@h", "postgres://u:*REDACTED*@h"),
        (
            "postgresql://u:p@h:5432/db?sslmode=require",
            "postgresql://u:*REDACTED*@h:5432/db?sslmode=require",
        ),
        (
            "postgresql://:p@h1:1,h2:2/db",
            "postgresql://:*REDACTED*@h1:1,h2:2/db",
        ),
        (
            "x postgres://u:p@ss:w@h/db y",
            "x postgres://u:*REDACTED*@h/db y",
        ),
        ("postgres://u:p/w@h/db", "postgres://u:*REDACTED*@h/db"),
        (
            "postgres://h/db?user=u&password=s&sslpassword=t",
            "postgres://h/db?user=u&password=*REDACTED*&sslpassword=*REDACTED*",
        ),
        (
            "postgres://h/db?password=s&user=u",
            "postgres://h/db?password=*REDACTED*&user=u",
        ),
        (
            "postgres%3A%2F%2Fu%3Ap%40h%2Fdb",
            "postgres%3A%2F%2Fu%3A*REDACTED*%40h%2Fdb",
        ),
        (
            "postgres%3a%2f%2fu%3ap%40h&x=a@b",
            "postgres%3a%2f%2fu%3a*REDACTED*%40h&x=a@b",
        ),
        (
            r#"{"c":"postgres:\/\/u:p@h"}"#,
            r#"{"c":"postgres:\/\/u:*REDACTED*@h"}"#,
        ),
        (
            r#"{"c":"postgres://u:p\"q@h","d":"a@b"}"#,
            r#"{"c":"postgres://u:*REDACTED*@h","d":"a@b"}"#,
        ),
        (
            r#"["postgres://h:1/db","a@b"]"#,
            r#"["postgres://h:1/db","a@b"]"#,
        ),
        (
            "https://example.com:8080/a@b",
            "https://example.com:8080/a@b",
        ),
        ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
    ]);
}

#[test]
fn the_value_of_a_secret_name_is_masked_whole() {
    becomes(&[
        (
            r#""encryption_passphrase_command": "echo s","#,
            r#""encryption_passphrase_command": "*REDACTED*","#,
        ),
        (
            "\tencryption_passphrase_command: echo s",
            "\tencryption_passphrase_command: *REDACTED*",
        ),
        (
            "encryption_passphrase_command = echo 's' \"t\"",
            "encryption_passphrase_command = *REDACTED*",
        ),
        (
            "+encryption_passphrase_command = echo s",
            "+encryption_passphrase_command = *REDACTED*",
        ),
        ("; secret = a b", "; secret = *REDACTED*"),
        (
            "azure_credential=managed-identity",
            "azure_credential=*REDACTED*",
        ),
        (
            "AWS_SECRET_ACCESS_KEY=s aws s3 ls",
            "AWS_SECRET_ACCESS_KEY=*REDACTED*",
        ),
        (
            "run AWS_SECRET_ACCESS_KEY=s aws s3 ls",
            "run AWS_SECRET_ACCESS_KEY=*REDACTED* aws s3 ls",
        ),
        (
            "curl --token=s https://h",
            "curl --token=*REDACTED* https://h",
        ),
        ("GET /x?token=s&y=z", "GET /x?token=*REDACTED*&y=z"),
        ("authorization: Bearer s", "authorization: *REDACTED*"),
        (
            r#"{"password": 1234, "a": 1}"#,
            r#"{"password": "*REDACTED*", "a": 1}"#,
        ),
        (
            "{'password': 'it\\'s', 'a': 1}",
            "{'password': '*REDACTED*', 'a': 1}",
        ),
        (
            r#"{"api_key":"a\"b","x":"y"}"#,
            r#"{"api_key":"*REDACTED*","x":"y"}"#,
        ),
        (
            r#"{"password":"a\\","x":"y"}"#,
            r#"{"password":"*REDACTED*","x":"y"}"#,
        ),
    ]);
}

#[test]
fn secrets_within_json_strings_of_any_depth_are_masked() {
    becomes(&[
        (
            r#"{"c": "host=h password=a\"b user=u"}"#,
            r#"{"c": "host=h password=*REDACTED* user=u"}"#,
        ),
        (
            r#"{"c": "host=h password='a \\' b' user=u"}"#,
            r#"{"c": "host=h password=*REDACTED* user=u"}"#,
        ),
        (
            r#"{"c": "password=s", "d": 1}"#,
            r#"{"c": "password=*REDACTED*", "d": 1}"#,
        ),
        (
            r#"{"c": "password=s\nhost=h"}"#,
            r#"{"c": "password=*REDACTED*\nhost=h"}"#,
        ),
        (
            r#"{"c": "password=s\\\nhost=h"}"#,
            r#"{"c": "password=*REDACTED*\nhost=h"}"#,
        ),
        (
            r#"{"i": ["{\"c\": \"password=s\", \"d\": 1}"]}"#,
            r#"{"i": ["{\"c\": \"password=*REDACTED*\", \"d\": 1}"]}"#,
        ),
        (
            r#"{"i": "{\"password\": \"a\\\"b\", \"d\": 1}"}"#,
            r#"{"i": "{\"password\": \"*REDACTED*\", \"d\": 1}"}"#,
        ),
        (
            r#"{"i": "{\"password\": 12}"}"#,
            r#"{"i": "{\"password\": \"*REDACTED*\"}"}"#,
        ),
        (
            r#"{"c": "\tpassword: a b\n\thost: h"}"#,
            r#"{"c": "\tpassword: *REDACTED*\n\thost: h"}"#,
        ),
    ]);
}

#[test]
fn harmless_text_is_left_as_it_is() {
    for line in [
        "\tPostgreSQL: OK",
        "\tWAL archive: OK",
        "\tpasswordcheck: OK",
        r#""password_encryption": "scram-sha-256","#,
        "password_encryption = scram-sha-256",
        "token_bucket=8/s",
        "FATAL:  password authentication failed for user \"barman\"",
        "fe_sendauth: no password supplied",
        "\tencryption_passphrase_command: None",
        r#"{"encryption_passphrase_command": null, "password": ""}"#,
        r#"["username", "password", "token"]"#,
        "passive_node: False",
        "password=*REDACTED* host=h",
        "Enter the password:",
        "ssh barman@backup:22",
        "2026-11-20 21:43:04,123 [77] barman.server INFO: Starting backup using postgres method for server main",
        "encryption_key_id = 0xABCD",
        "",
        "\r\n\r\n",
    ] {
        assert_eq!(text(line), line);
    }
}

#[test]
fn blanks_and_line_ends_stay() {
    becomes(&[
        ("a\npassword=s\nb\n", "a\npassword=*REDACTED*\nb\n"),
        ("password=s \t\r\nb", "password=*REDACTED* \t\r\nb"),
        ("secret: a b  \r\n\r\n", "secret: *REDACTED*  \r\n\r\n"),
        ("password=\nhost=h\n", "password=\nhost=h\n"),
        ("A=b\0PGPASSWORD=s\0C=d", "A=b\0PGPASSWORD=*REDACTED*\0C=d"),
    ]);
}

#[test]
fn bytes_that_are_no_text_pass_unchanged() {
    assert_eq!(
        bytes(b"\xff\xfe password=\xff\xfe \xc3\n\x80"),
        &b"\xff\xfe password=*REDACTED* \xc3\n\x80"[..]
    );
}

#[test]
fn a_servers_document_of_barman_keeps_all_but_its_secrets() {
    let given = include_str!("../../tests/fixtures/show-servers.json");
    let masked = text(given);
    assert!(!masked.contains("s3cr3t"), "{masked}");
    let mut document: Value = serde_json::from_str(given).unwrap();
    json(&mut document);
    assert_eq!(serde_json::from_str::<Value>(&masked).unwrap(), document);
    let main = &document["main"];
    assert_eq!(
        main["conninfo"],
        "host=pg.example port=5432 user=barman password=*REDACTED* dbname=postgres"
    );
    assert_eq!(
        main["wal_conninfo"],
        "postgresql://barman:*REDACTED@pg.example/postgres".replace("REDACTED", "REDACTED*")
    );
    assert_eq!(main["description"], json!("The \"main\" server"));
    assert_eq!(main["password_encryption"], "scram-sha-256");
    // The same document on one line, and as a string of another.
    let line = serde_json::to_string(&serde_json::from_str::<Value>(given).unwrap()).unwrap();
    let nested = serde_json::to_string(&json!({ "_INFO": [line] })).unwrap();
    for text in [bytes(line.as_bytes()), bytes(nested.as_bytes())] {
        assert!(!String::from_utf8_lossy(&text).contains("s3cr3t"));
        serde_json::from_slice::<Value>(&text).unwrap();
    }
}

#[test]
fn json_masks_all_that_a_secret_name_holds() {
    let mut value = json!({"credentials": {"a": ["s", 1, null, true, ""]}, "token_life": 6000, "x": ["password=s"]});
    json(&mut value);
    let mask = "*REDACTED*";
    assert_eq!(
        value,
        json!({"credentials": {"a": [mask, mask, null, true, ""]}, "token_life": 6000, "x": ["password=*REDACTED*"]})
    );
}

#[test]
fn a_line_without_an_end_takes_time_in_proportion_and_bounded_memory() {
    let pieces: [&[u8]; 8] = [
        b"://",
        b"password",
        b"a://b:c",
        b"token:on ",
        b"\\",
        b"password='",
        b"secret: ",
        b"%25",
    ];
    for piece in pieces {
        let chunk = piece.repeat(60_000 / piece.len());
        let mut redactor = Redactor::new();
        let mut out = Vec::new();
        let started = std::time::Instant::now();
        for _ in 0..40 {
            redactor.push(&chunk, &mut out);
            out.clear();
            assert!(redactor.line.len() <= 3 * PIECE);
        }
        redactor.finish(&mut out);
        let took = started.elapsed();
        assert!(
            took.as_secs() < 20,
            "{:?}: {took:?}",
            String::from_utf8_lossy(piece)
        );
    }
}

#[test]
fn a_secret_longer_than_the_buffer_is_masked_whole() {
    let mut redactor = Redactor::new();
    let mut out = Vec::new();
    redactor.push(b"{\"c\": \"host=h password=", &mut out);
    for _ in 0..50 {
        redactor.push(&b"s3cr3t".repeat(5_000), &mut out);
    }
    redactor.push(b" user=u\", \"token\": \"s3cr3t\"}", &mut out);
    redactor.finish(&mut out);
    let out = String::from_utf8(out).unwrap();
    assert_eq!(
        out,
        r#"{"c": "host=h password=*REDACTED* user=u", "token": "*REDACTED*"}"#
    );
}
