//! What Barman's own parser makes of our argument vectors.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Map, Value, json};

use super::Bench;
use crate::rig::{Lab, argv};

/// Requests that are made up.
const REQUESTS: usize = 200;

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn one_of(&mut self, words: &[&str]) -> String {
        words[self.below(words.len())].to_owned()
    }
}

/// A legal value of a parameter, odd where it may be; `None` where there is none.
fn value(
    numbers: &mut Numbers,
    bench: &Bench,
    command: &str,
    name: &str,
    facts: &Value,
) -> Option<String> {
    if let Some(choices) = facts["choices"]
        .as_array()
        .filter(|choices| !choices.is_empty())
    {
        return Some(
            choices[numbers.below(choices.len())]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    let inside = |word: &str| Some(bench.inside(word));
    let name = name.replace('_', "-");
    Some(match name.as_str() {
        "server-name" => numbers.one_of(&["main", "other", "a b", "$(id)", "latest", "x=y", "ä"]),
        "backup-id" | "incremental" => numbers.one_of(&[
            "latest",
            "20261120T214304",
            "last-failed",
            "nightly.1",
            "a:b",
        ]),
        "wal-name" | "last-wal" => {
            numbers.one_of(&["000000010000000000000003", "0000000A.history"])
        }
        "destination-directory" | "recovery-staging-path" => return inside("r"),
        "local-staging-path" | "staging-wal-directory" => return inside("s-=+,:@"),
        "tablespace" => format!("ts $1:{}", bench.inside("ts")),
        "output-directory" if command == "export-backup" => bench.exchange.display().to_string(),
        "input-tarball" => bench.exchange.join("x.tar").display().to_string(),
        "remote-ssh-command" => super::SSH_COMMAND.to_owned(),
        "target-tli" => numbers.one_of(&["2", "latest", "current"]),
        "target-time" => "2026-11-20 21:43:04.5+00:00".to_owned(),
        "target-xid" => "4242".to_owned(),
        "target-lsn" => "3/64000000".to_owned(),
        "target-name" => numbers.one_of(&["-x", "--get-wal", "a b", "--"]),
        "target-action" => "promote".to_owned(),
        "name" => numbers.one_of(&["a", "x-1", "n.1:2"]),
        "recovery-conf-filename" => "recovery.conf".to_owned(),
        "cloud-staging-max-size" => "30Gi".to_owned(),
        "task" => "receive-wal".to_owned(),
        "model-name" => "main:m".to_owned(),
        "json-changes" => {
            r#"[{"scope":"server","server_name":"main","description":"--x [y] 'z'"}]"#.to_owned()
        }
        "wal-path" | "wal-dest" | "spool-dir" => numbers.one_of(&["/x y", "/--x"]),
        "jobs"
        | "bwlimit"
        | "retry-times"
        | "retry-sleep"
        | "wait-timeout"
        | "check-timeout"
        | "archive-timeout"
        | "jobs-start-batch-period"
        | "jobs-start-batch-size"
        | "keepalive-interval"
        | "peek"
        | "compression-level"
        | "parallel"
        | "last-position"
        | "timeline" => numbers.one_of(&["1", "7", "42"]),
        "recovery-option-port" => "5433".to_owned(),
        _ => return None,
    })
}

/// A request: its parameters as JSON, and as the words each stands for (none for a flag).
fn request(
    numbers: &mut Numbers,
    bench: &Bench,
    command: &str,
    facts: &Value,
) -> (Map<String, Value>, Map<String, Value>) {
    let (mut body, mut asked) = (Map::new(), Map::new());
    let mut groups: Vec<String> = Vec::new();
    let mut give = |name: &str, values: Vec<String>| {
        let sent = match values.as_slice() {
            [] => json!(true),
            [one] => json!(one),
            many => json!(many),
        };
        body.insert(name.to_owned(), sent);
        asked.insert(name.to_owned(), json!(values));
    };
    for positional in facts["positionals"].as_array().unwrap() {
        let name = positional["name"].as_str().unwrap();
        let several = positional["max"].is_null() && numbers.below(2) == 0;
        if positional["min"] == 0 && numbers.below(2) == 0 {
            break;
        }
        let mut values = vec![value(numbers, bench, command, name, positional).unwrap()];
        if several {
            values.push("other".to_owned());
        }
        give(name, values);
    }
    let options = facts["optional"].as_object().unwrap();
    for (name, option) in options {
        // Two words for one setting, or for its opposite, are not asked for at once.
        let group = name.trim_start_matches("no-").trim_start_matches("no_");
        let group = group.split(['-', '_']).next().unwrap().to_owned();
        if numbers.below(3) != 0 || groups.contains(&group) || name == "help" {
            continue;
        }
        // An optional positional stands here, too.
        let Some(takes) = option["takes"].as_str() else {
            continue;
        };
        match takes {
            "none" => give(name, Vec::new()),
            "optional" if numbers.below(2) == 0 => give(name, Vec::new()),
            _ => match value(numbers, bench, command, name, option) {
                Some(value) => give(name, vec![value]),
                None => continue,
            },
        }
        groups.push(group);
    }
    (body, asked)
}

#[test]
fn barmans_own_parser_reads_what_was_asked_and_nothing_else() {
    let servers = json!({"servers": ["main", "other", "a b", "$(id)", "latest", "x=y", "ä"]});
    let bench = Bench::with(
        &servers,
        &["barman.allow_commands = cloud-wal-archive, cloud-wal-restore"],
    );
    std::fs::write(bench.exchange.join("x.tar"), "").unwrap();
    let admin = bench.admin();
    let help = admin.get("/barman/help").expect(200).json();
    let commands: Vec<(&String, &Value)> = help["list"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, facts)| facts["alias_of"].is_null())
        .collect();
    let mut numbers = Numbers(0x2026_1120_2143_0405);
    let mut cases = String::new();
    let mut run = std::collections::BTreeSet::new();
    for turn in 0..REQUESTS {
        let (command, facts) = commands[turn % commands.len()];
        let (mut body, asked) = request(&mut numbers, &bench, command, facts);
        body.insert("async".to_owned(), json!(false));
        if numbers.below(4) == 0 && command != "get-wal" {
            body.insert("format".to_owned(), json!("json"));
        }
        let answer = admin.post(&format!("/barman/{command}"), &body.clone().into());
        bench.check(&answer, &format!("{command} {body:?}"));
        let started = bench.new_starts_for(command == "restore");
        assert!(started.len() <= 1, "{command} {body:?}: {started:?}");
        assert_eq!(
            started.len() == 1,
            matches!(answer.status, 200 | 202),
            "{command} {body:?}"
        );
        if let [start] = started.as_slice() {
            run.insert(command.as_str());
            cases.push_str(&json!({"argv": argv(start), "asked": asked}).to_string());
            cases.push('\n');
        }
    }
    let count = cases.lines().count();
    assert!(count >= 100, "{count} of {REQUESTS} requests were accepted");
    assert!(run.len() >= 30, "{run:?}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/parse-argv.py");
    let mut python = Lab::get().command(Lab::get().fact("BARMAN_PYTHON"));
    let mut child = python
        .args(["-I", "-c", &std::fs::read_to_string(script).unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(cases.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.ends_with(&format!("{count}\n")), "{said}");
    println!(
        "{count} argument vectors of {} commands, as barman's parser reads them",
        run.len()
    );
}
