//! The passwords in Barman's configuration never come out, whatever is asked.

use std::fs;
use std::path::Path;

use super::fixture::Fixture;
use crate::rig::Lab;

/// What of the passwords must never be seen: all of it, and the part that no escape changes.
fn secrets() -> Vec<String> {
    let lab = Lab::get();
    ["OTHER_PASSWORD", "OTHER_STREAMING_PASSWORD"]
        .into_iter()
        .flat_map(|name| {
            let secret = lab.fact(name).to_owned();
            let tail = secret.rsplit(':').next().unwrap().to_owned();
            assert!(tail.len() >= 16, "{tail}");
            [secret, tail]
        })
        .collect()
}

const QUESTIONS: [&str; 5] = [
    "/barman/show-servers?server_name=other",
    "/barman/show-servers?server_name=all",
    "/barman/diagnose?",
    "/barman/sync-info?server_name=other",
    "/barman/check?server_name=other",
];

#[test]
fn the_lab_does_show_its_passwords_where_nobody_masks_them() {
    let output = Lab::get().barman(&["-f", "json", "show-servers", "other"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for secret in secrets() {
        assert!(text.contains(&secret), "the tests below prove nothing");
    }
}

#[test]
fn no_answer_and_no_file_of_ours_holds_a_password_of_barman() {
    let fixture = Fixture::get();
    let ada = fixture.ada();
    let secrets = secrets();
    let clean = |what: &str, bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        for secret in &secrets {
            assert!(!text.contains(secret), "{what} holds {secret}");
        }
    };
    for question in QUESTIONS {
        for form in ["", "&format=json"] {
            let target = format!("{question}{form}").replace("?&", "?");
            let answer = ada.get(&target).expect(200);
            clean(&target, &answer.body);
            let body = answer.json();
            assert_eq!(body["status_code"], 200, "{target}: {body}");
            let masks = !question.contains("check");
            let text = body.to_string();
            assert_eq!(text.contains("*REDACTED*"), masks, "{target}: {text}");
            if !form.is_empty() {
                assert!(body["data"].is_object(), "{target}: {body}");
            }
            let joint = if target.ends_with('?') { "" } else { "&" };
            let ticket = ada.get(&format!("{target}{joint}async=true")).ticket();
            let result = ada.closed(&ticket);
            assert_eq!(result["status_code"], 200, "{target}: {result}");
            clean(&target, result.to_string().as_bytes());
            assert_eq!(
                result.to_string().contains("*REDACTED*"),
                masks,
                "{target}: {result}"
            );
            assert_eq!(result.get("data").is_some(), !form.is_empty(), "{target}");
            let month = fixture.server.store().join("active").join(&ticket[..6]);
            files(&month.join(&ticket), &mut |path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                assert!(!name.starts_with("capture"), "{name} stayed");
            });
        }
    }
    let mut looked_at = 0;
    let store = fixture.server.store();
    for folder in ["active", "archive", "config", "logs"] {
        files(&store.join(folder), &mut |path| {
            // Captures of what other tests run now are there only as long as that runs.
            let name = path.file_name().unwrap().to_str().unwrap();
            let Ok(bytes) = fs::read(path) else { return };
            if !name.starts_with("capture") {
                clean(&path.display().to_string(), &bytes);
                looked_at += 1;
            }
        });
    }
    assert!(looked_at > 4 * QUESTIONS.len(), "{looked_at} files");
    clean(
        "standard error",
        &fs::read(fixture.site.file("stderr")).unwrap(),
    );
}

fn files(path: &Path, look: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, look);
        } else {
            look(&path);
        }
    }
}
