//! The shape of a request: bytes, sizes and JSON types, whatever it asks for.

use serde_json::{Value, json};

use super::Bench;
use crate::rig::{Answer, User};

#[test]
fn bytes_that_are_no_text_are_refused_in_every_parameter() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    for (key, value) in [
        ("server_name", "%ff%fe"),
        ("server_name", "%c0%af"),
        ("server_name", "%e0%80%af"),
        ("server_name", "%ed%a0%80"),
        ("server_name", "main%00"),
        ("server_name", "main%0"),
        ("server_name", "main%zz"),
        ("server_name%ff", "main"),
        ("server_name%00", "main"),
        ("", "main"),
    ] {
        let pair = format!("{key}={value}");
        bench.refuses(
            &admin.get(&format!("/barman/list-backups?{pair}")),
            400,
            &pair,
        );
        bench.refuses(&admin.form("/barman/list-backups", &pair), 400, &pair);
    }
    let kind = [("Content-Type", "application/json")];
    let json = |body: &[u8]| admin.request("POST", "/barman/list-backups", &kind, body);
    for body in [
        &b"{\"server_name\":\"\xff\xfe\"}"[..],
        b"{\"server_name\":\"\xc0\xaf\"}",
        br#"{"server_name":"\ud800"}"#,
        br#"{"server_name":"main\u0000"}"#,
        b"\xef\xbb\xbf{\"server_name\":\"main\"}",
        b"\xff\xfe{\x00}\x00",
        b"",
        b"{",
        b"null",
        b"[]",
        b"\"main\"",
    ] {
        let status = 400;
        bench.refuses(&json(body), status, &String::from_utf8_lossy(body));
    }
    bench.runs(
        &json(br#"{"server_name":"m\u0061in"}"#),
        &["list-backups", "--", "main"],
        "escape",
    );
    // Each parameter of each command, by the names that the catalogue gives it.
    let help = admin.get("/barman/help").expect(200).json();
    let mut tried = 0;
    for (command, facts) in help["list"].as_object().unwrap() {
        let positionals = facts["positionals"].as_array().into_iter().flatten();
        let positionals = positionals.map(|each| each["name"].as_str().unwrap());
        let options = facts["optional"].as_object().into_iter().flatten();
        for name in positionals.chain(options.map(|(name, _)| name.as_str())) {
            let target = format!("/barman/{command}?{name}=a%00b");
            bench.refuses(&admin.get(&target), 400, &target);
            let body = json!({ name: "a\0b" }).to_string();
            let answer = admin.request(
                "POST",
                &format!("/barman/{command}"),
                &kind,
                body.as_bytes(),
            );
            bench.refuses(&answer, 400, &format!("{command} {body:?}"));
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried} parameters");
    bench.logs_are_clean(&[&admin]);
}

#[test]
fn what_is_too_big_is_refused_and_never_breaks() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let big = "x".repeat(200 << 10);
    let form = |body: &str| admin.form("/barman/list-backups", body);
    bench.refuses(
        &form(&format!("server_name={big}")),
        413,
        "a form of 200 KiB",
    );
    bench.refuses(
        &admin.post("/barman/list-backups", &json!({ "server_name": big })),
        413,
        "JSON",
    );
    let many = vec!["server_name=main"; 3000].join("&");
    bench.refuses(&form(&many), 400, "3,000 values in a form");
    let many = vec!["server_name=main"; 10_000].join("&");
    bench.refuses(&form(&many), 413, "10,000 values in a form");
    bench.refuses(
        &admin.post(
            "/barman/list-backups",
            &json!({"server_name": vec!["main"; 3000]}),
        ),
        400,
        "an array",
    );
    bench.refuses(
        &form(&format!("server_name={}", &big[..4097])),
        400,
        "a value of 4 KiB",
    );
    bench.refuses(
        &form(&format!("{}=x", &big[..129])),
        400,
        "a name of 129 bytes",
    );
    // What hyper itself refuses is no answer of ours, but is one.
    let query = admin.server.try_request(
        "GET",
        &format!("/barman/list-backups?server_name={big}"),
        &[],
        b"",
    );
    let status = query.map(|answer| answer.status);
    assert!(
        matches!(status, None | Some(400 | 413 | 414 | 431)),
        "{status:?}"
    );
    assert!(bench.new_starts().is_empty());
    let many = vec!["server_name=main"; 200].join("&");
    let mut expected = vec!["list-backups", "--"];
    expected.resize(202, "main");
    bench.runs(&form(&many), &expected, "200 values");
}

#[test]
fn a_json_value_of_another_type_is_refused_where_text_is_wanted() {
    let bench = Bench::new(&[]);
    let admin = bench.admin();
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let kind = [("Content-Type", "application/json")];
    let raw = |command: &str, body: &str| {
        admin.request(
            "POST",
            &format!("/barman/{command}"),
            &kind,
            body.as_bytes(),
        )
    };
    for value in [
        "1",
        "true",
        "null",
        "{}",
        "[]",
        "[1]",
        r#"[["main"]]"#,
        r#"{"a":1}"#,
        "1e400",
        "-0",
        "NaN",
        "01",
        &deep,
    ] {
        for (name, others) in [
            ("server_name", r#""backup_id":"latest""#),
            ("backup_id", r#""server_name":"main""#),
        ] {
            let body = format!(r#"{{"{name}":{value},{others}}}"#);
            let cut: String = body.chars().take(80).collect();
            bench.refuses(&raw("show-backup", &body), 400, &cut);
            bench.refuses(&raw("delete", &body), 400, &cut);
        }
    }
    for (name, value) in [
        ("jobs", "true"),
        ("jobs", "1.5"),
        ("jobs", "-1"),
        ("jobs", "1e2"),
        ("jobs", "99999999999999999999"),
        ("jobs", "[2]"),
        ("jobs", "null"),
        ("wait", "1"),
        ("wait", "null"),
        ("wait", r#""yes""#),
        ("wait", r#"["true"]"#),
        ("name", "7"),
        ("name", "true"),
        ("reuse_backup", r#""x""#),
        ("format", "true"),
        ("async", "1"),
        ("async", r#"["true"]"#),
    ] {
        let body = format!(r#"{{"server_name":"main","{name}":{value}}}"#);
        bench.refuses(&raw("backup", &body), 400, &body);
    }
    let run = |answer: Answer, option: &str| {
        bench.runs(&answer, &["backup", option, "--", "main"], option);
    };
    let post = |user: &User<'_>, more: Value| {
        let mut body = json!({"server_name": "main"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        user.post("/barman/backup", &body)
    };
    run(post(&admin, json!({"jobs": 2})), "--jobs=2");
    run(post(&admin, json!({"jobs": "2"})), "--jobs=2");
    run(post(&admin, json!({"wait": true})), "--wait");
    run(
        post(&admin, json!({"reuse_backup": true})),
        "--reuse-backup",
    );
    run(
        post(&admin, json!({"reuse_backup": "copy"})),
        "--reuse-backup=copy",
    );
    bench.runs(
        &post(&admin, json!({"wait": false})),
        &["backup", "--", "main"],
        "false",
    );
    let answer = post(&admin, json!({"server_name": ["main", "other"]}));
    bench.runs(&answer, &["backup", "--", "main", "other"], "array");
    bench.logs_are_clean(&[&admin]);
}
