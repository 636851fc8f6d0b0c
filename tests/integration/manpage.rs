//! The reader of Barman's manual, and the list of its keys, against the truth: `barman.config`.
//!
//! Each version is installed from `PyPI`, as for the score of the help parser.
//! `MANPAGE_VERSIONS` (words with spaces between) replaces the list of versions below.

mod truth;
mod values;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use barmanapi::catalogue::configkeys::ConfigKeys;
use barmanapi::catalogue::manpage::{candidates, key_help, read};

use crate::parser_score::installed::Installed;
use crate::parser_score::tell;
use crate::rig::Lab;
use truth::Truth;

/// The first known, each change of form, and the newest known.
const VERSIONS: &str = "2.10 2.12 2.15 2.17 2.19 3.0.1 3.4.0 3.9.0 3.10.1 3.11.1 3.12.0 3.14.0 \
                        3.16.2 3.18.0 3.19.1";

/// The version that `share/config-keys.conf` is written for.
const NEWEST: &str = "3.19.1";

/// Keys that the manuals of some versions do not have.
const LACKING: [&str; 11] = [
    "barman_user",
    "log_format",
    "disabled",
    "configuration_files_directory",
    "snapshot_gcp_project",
    "snapshot_zone",
    "cloud_wal_restore_parallel",
    "aws_snapshot_lock_mode",
    "aws_snapshot_lock_duration",
    "aws_snapshot_lock_cool_off_period",
    "aws_snapshot_lock_expiration_date",
];

/// What the manuals of some versions say of a key's scope and the code does not do: it has a
/// slip in the name of the first, leaves the second out, and lets the third stand in models too.
const MISTAKEN: [(&str, &str); 3] = [
    ("keepalive_interval", "Global/Server/Model"),
    ("cloud_upload_max_archive_size", "Global/Server/Model"),
    ("cloud_wal_archive_parallel", "Global/Server"),
];

/// The first of the places that holds a manual.
fn manual_of(program: &Path) -> (PathBuf, Vec<u8>) {
    candidates(program)
        .into_iter()
        .find_map(|path| std::fs::read(&path).ok().map(|bytes| (path, bytes)))
        .unwrap_or_else(|| panic!("{} has no manual", program.display()))
}

/// The term that a line of a manual is, if it is one in any of the dialects.
fn term(line: &str) -> Option<&str> {
    let line = line.strip_prefix(".B ").unwrap_or(line);
    let bold = line
        .strip_prefix("\\fB")
        .and_then(|l| l.strip_suffix("\\fP"));
    let word = bold.unwrap_or(line);
    let is_word = word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    (is_word && !word.is_empty()).then_some(word)
}

/// Whether a manual says nothing of the scope between a term and the next one.
fn is_silent(manual: &str, key: &str) -> bool {
    let lines: Vec<_> = manual.lines().collect();
    let start = lines.iter().position(|line| term(line) == Some(key));
    lines[start.unwrap() + 1..]
        .iter()
        .take_while(|line| **line != ".TP" && term(line).is_none())
        .all(|line| {
            let line = line.to_lowercase();
            let said = line.strip_prefix("scope:").unwrap_or(&line);
            !["global", "server", "model"]
                .iter()
                .any(|p| said.trim().starts_with(p))
        })
}

#[test]
fn every_key_of_every_version_is_told_with_its_scope() {
    let versions = std::env::var("MANPAGE_VERSIONS").unwrap_or_else(|_| VERSIONS.to_owned());
    let mut failed = Vec::new();
    for version in versions.split_whitespace() {
        let installed = Installed::new(version);
        let truth = Truth::of(&installed, &[]);
        let (path, bytes) = manual_of(&installed.folder.join("bin/barman"));
        assert_eq!(path, installed.folder.join("share/man/man5/barman.5"));
        let text = String::from_utf8(bytes).unwrap();
        let manual = read(text.as_bytes()).unwrap();
        let mut fail = |what: String| failed.push(format!("{version}: {what}"));

        let missing: Vec<_> = truth
            .keys
            .keys()
            .filter(|key| !manual.contains_key(*key))
            .map(String::as_str)
            .collect();
        for key in &missing {
            let has = text.lines().any(|line| term(line) == Some(key));
            if has || !LACKING.contains(key) {
                fail(format!("{key} was not found"));
            }
        }
        let (mut silent, mut mistaken) = (Vec::new(), Vec::new());
        for (key, help) in &manual {
            if !truth.keys.contains_key(key) {
                fail(format!("{key} is no key"));
                continue;
            }
            if help.description.len() < 20 || help.description.contains('\\') {
                fail(format!("{key}: {:?}", help.description));
            }
            match help.scope.map(|scope| scope.to_string()) {
                None if is_silent(&text, key) => silent.push(key.as_str()),
                Some(said) if said == truth.scope(key) => {}
                Some(said) if MISTAKEN.contains(&(key, &said)) => mistaken.push(key.as_str()),
                said => fail(format!("{key}: {said:?}, not {}", truth.scope(key))),
            }
        }
        tell(&format!(
            "manual of Barman {version}: {} keys of {} found; {} lacking: {}; {} without a scope: \
             {}; {} with another scope than the code's: {}",
            manual.len(),
            truth.keys.len(),
            missing.len(),
            missing.join(" "),
            silent.len(),
            silent.join(" "),
            mistaken.len(),
            mistaken.join(" "),
        ));

        let keys = ConfigKeys::builtin();
        let listed: Vec<_> = keys
            .iter()
            .filter_map(|(key, info)| Some((key, info.scope_in(Some(version))?.to_string())))
            .collect();
        let real: Vec<_> = truth
            .keys
            .keys()
            .map(|key| (key.as_str(), truth.scope(key)))
            .collect();
        assert_eq!(listed, real, "{version}: the list is not the code's");

        let told = key_help(manual.clone(), &keys, Some(version));
        assert!(
            told.keys().eq(truth.keys.keys()),
            "{version}: the keys that are told are not those of the code"
        );
        for (key, help) in &told {
            let scope = help.scope.map(|scope| scope.to_string());
            if scope != Some(truth.scope(key)) {
                fail(format!(
                    "{key} is told as {scope:?}, not {}",
                    truth.scope(key)
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn the_list_of_keys_has_every_key_of_the_newest_version_and_its_places() {
    let truth = Truth::of(&Installed::new(NEWEST), &[]);
    let keys = ConfigKeys::builtin();
    let listed: Vec<_> = keys
        .iter()
        .map(|(key, info)| (key, info.scope.to_string()))
        .collect();
    let real: Vec<_> = truth
        .keys
        .keys()
        .map(|key| (key.as_str(), truth.scope(key)))
        .collect();
    assert_eq!(listed, real);
}

#[test]
fn the_manual_of_the_labs_own_barman_is_found_and_read() {
    let lab = Lab::get();
    let program = Path::new(lab.fact("BARMAN"));
    let (path, bytes) = manual_of(program);
    assert!(path.starts_with(program.parent().unwrap().parent().unwrap()));
    let manual = read(&bytes).unwrap();
    let policy = &manual["retention_policy"];
    assert!(policy.description.contains("RECOVERY WINDOW OF"));
    assert!(policy.scope.is_some());
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&bytes).unwrap();
    assert_eq!(read(&packer.finish().unwrap()).unwrap(), manual);
}
