//! Texts that would be more than texts somewhere: to a shell, to Python, to a parser of ini files.

use super::*;
use crate::rig::spelled;

/// Values that would make a file, each in its own language, were they run.
fn programs(marker: &str) -> Vec<String> {
    vec![
        format!("'); import os;os.system('touch {marker}')#"),
        format!("\"); __import__('os').system(\"touch {marker}\")#"),
        format!("$(touch {marker})"),
        format!("`touch {marker}`"),
        format!("'; touch {marker} #"),
        format!("x\"; touch {marker}; \""),
        format!("; touch {marker}"),
        format!("| touch {marker}"),
        format!("x && touch {marker} &"),
        format!("{{{{ touch {marker} }}}} ${{IFS}}"),
        format!("x' + open('{marker}', 'w').name + '"),
        "100% safe".to_owned(),
        "%%".to_owned(),
        "%s %d %".to_owned(),
        "%%s%%%%".to_owned(),
        "@barmanapi-0000000000000000@".to_owned(),
        "[barman] x = y".to_owned(),
        "# = : ; [x]".to_owned(),
        "\\".to_owned(),
        "back\\slash \\n \\x0a \\".to_owned(),
    ]
}

/// Further servers whose descriptions are free to be anything.
fn write_servers(files: &Files, count: usize) {
    let server = |at| {
        format!(
            "[s{at}]\ndescription = {at}\nconninfo = host=127.0.0.1 port=@PORT@ user=barman dbname=postgres\nbackup_method = local-rsync\narchiver = on\n\n"
        )
    };
    let text: String = (0..count).map(server).collect();
    files.write("barman.d/many.conf", &text);
}

/// The descriptions, as the real Barman tells them.
fn descriptions(files: &Files) -> Value {
    serde_json::from_str(&files.barman(&["-f", "json", "list-servers"])).unwrap()
}

#[test]
fn what_looks_like_a_program_is_a_text_here_and_over_ssh() {
    everywhere(&["application.get_changes = true"], |desk| {
        let marker = desk.files.path("M");
        let values = programs(&marker.display().to_string());
        write_servers(&desk.files, values.len());
        let admin = desk.admin();
        let named = |at: usize| format!("s{at}.description");
        let body: serde_json::Map<String, Value> = values
            .iter()
            .enumerate()
            .map(|(at, value)| (named(at), value.as_str().into()))
            .collect();
        let answer = admin
            .post("/config/barman/change", &Value::Object(body))
            .expect(200);
        let revision = answer.json()["revision"].as_str().unwrap().to_owned();
        let shown = admin.get("/config/barman").expect(200).json();
        let told = descriptions(&desk.files);
        for (at, value) in values.iter().enumerate() {
            let section = format!("s{at}");
            assert_eq!(shown["list"][&section]["description"], value.as_str());
            assert_eq!(told[&section]["description"], value.as_str(), "{section}");
        }
        // The same as a query, and as names of sections and keys.
        let before = desk.files.all();
        for value in &values {
            let encoded = spelled(value);
            for target in [
                format!("/config/barman/change?{encoded}.description=x&create=true"),
                format!("/config/barman/change?s0.{encoded}=x"),
                format!("/config/barman/change?unset={encoded}.description"),
            ] {
                let answer = admin.get(&target);
                assert!([400, 404].contains(&answer.status), "{target} {answer:?}");
            }
            let target = format!("/config/barman/rollback?revision={encoded}");
            admin.form(&target, "").expect(400);
            let headers = [("If-Match", value.as_str())];
            let target = "/config/barman/change?s0.description=x";
            admin.request("POST", target, &headers, b"").expect(412);
        }
        let encoded = "%24(touch%20M)%25%25";
        admin
            .get(&format!(
                "/config/barman/change?s0.description={encoded}&dry_run=true"
            ))
            .expect(200);
        assert_eq!(desk.files.all(), before);
        roll_back(&admin, &revision).expect(200);
        assert_eq!(descriptions(&desk.files)["s3"]["description"], "3");
        assert!(!marker.exists(), "it was run");
        for name in ["M", "home/M", "barman.d/M"] {
            assert!(!desk.files.path(name).exists());
        }
    });
}

/// Every control character and every separator of lines that Python or Barman knows.
fn unfit() -> Vec<char> {
    let controls = (0..0x20_u8).chain(0x7f..0xa0).map(char::from);
    controls.chain(['\u{2028}', '\u{2029}']).collect()
}

#[test]
fn no_control_character_gets_in_at_any_place_in_any_spelling() {
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    let before = desk.files.all();
    for bad in unfit() {
        let encoded = spelled(&bad.to_string());
        for (name, value) in [
            ("main.description", format!("{bad}a")),
            ("main.description", format!("a{bad}")),
            ("main.description", format!("a{bad}ssh_command = id")),
            ("main.description", bad.to_string()),
            (&format!("main.description{bad}"), "a".to_owned()),
            (&format!("main.{bad}description"), "a".to_owned()),
            (&format!("main{bad}.description"), "a".to_owned()),
            (&format!("{bad}main.description"), "a".to_owned()),
        ] {
            let answer = admin.post("/config/barman/change", &json!({name: value}));
            assert_eq!(answer.status, 400, "{name:?} {value:?} {answer:?}");
            let sent = |text: &str| text.replace(bad, &encoded).replace(' ', "+");
            let pair = format!("{}={}", sent(name), sent(&value));
            let answer = admin.form("/config/barman/change", &pair);
            assert_eq!(answer.status, 400, "{pair} {answer:?}");
            let answer = admin.get(&format!("/config/barman/change?{pair}"));
            assert_eq!(answer.status, 400, "{pair} {answer:?}");
        }
        let unset = json!({"unset": format!("main.active{bad}")});
        admin.post("/config/barman/change", &unset).expect(400);
    }
    // Bytes that are no text at all.
    for bytes in ["%80", "%ff", "a%0d%0a", "%c3", "%ed%a0%80"] {
        let pair = format!("main.description={bytes}");
        admin
            .get(&format!("/config/barman/change?{pair}"))
            .expect(400);
        admin.form("/config/barman/change", &pair).expect(400);
    }
    assert_eq!(desk.files.all(), before);
    assert_eq!(
        admin.get("/config/barman/revisions").json()["list"],
        json!([])
    );
    // Each of them was written down, in one line; a query that nobody reads has no name to blame.
    let refused = desk.site.log_lines("audit.log");
    let refused = refused.iter().filter(|line| line["event"] == "refused");
    assert!(refused.count() >= unfit().len() * 21);
    desk.site.log_lines("general.log");
}

#[test]
fn a_value_that_is_so_already_keeps_its_bytes_however_it_is_written() {
    let desk = Desk::here(&[]);
    let text = "[third]\narchiver = on\nbackup_options =   \"concurrent_backup\"\n\
                retention_policy = RECOVERY WINDOW OF %(days)s DAYS\ndays = 5\n\
                description = %%%%\n";
    desk.files.write("barman.d/third.conf", text);
    let admin = desk.admin();
    let body = json!({
        "third.backup_options": "concurrent_backup",
        "third.retention_policy": "RECOVERY WINDOW OF 5 DAYS",
        "third.description": "%",
    });
    let tag = etag(&admin);
    let answer = change_with(&admin, &tag, &body).expect(200).json();
    assert_eq!(answer["changed"], json!([]), "{answer}");
    assert_eq!(desk.files.read("barman.d/third.conf"), text);
    let list = admin.get("/config/barman/revisions").expect(200).json();
    assert_eq!(list["list"], json!([]));
}

#[test]
fn a_value_that_barman_would_strip_is_refused() {
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    let before = desk.files.all();
    for (value, reads) in [
        ("\"my text\"", "my text"),
        ("'my text'", "my text"),
        ("None", "nothing"),
        ("''", "nothing"),
    ] {
        let body = json!({"main.description": value});
        let told = change(&admin, &body).expect(400).json();
        let told = told["message"].as_str().unwrap();
        let reads = format!("main.description: barman reads {reads}");
        assert!(told.starts_with(&reads), "{told}");
    }
    assert_eq!(desk.files.all(), before);
    for value in ["\"my\" text'", "none", "\"", ""] {
        change(&admin, &json!({"main.description": value})).expect(200);
        let shown = admin.get("/config/barman").expect(200).json();
        assert_eq!(shown["list"]["main"]["description"], value);
    }
}
