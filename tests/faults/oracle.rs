//! Random requests, and what Barman's own parser reads in the arguments that were made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use barmanapi::catalogue::argv::{self, Places, Target};
use barmanapi::catalogue::kinds::Kind;
use barmanapi::catalogue::traits::Traits;
use barmanapi::catalogue::{Catalogue, Command, Takes};
use barmanapi::names::CommandName;
use barmanapi::parameters::Value as Parameter;
use serde_json::{Map, Value, json};

use super::bench::Bench;
use super::rig::{self, Lab};
use super::run::{Fault, Random, Run};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "argv",
        how: "random requests, legal and nearly so, for every command: the arguments made of each are read by Barman's own parser and compared with the request, field by field",
        provoke: in_bulk,
    },
    Fault {
        name: "argv_http",
        how: "the same over HTTP, with the arguments that the stand-in was started with",
        provoke: over_http,
    },
];

const SSH_COMMAND: &str = "ssh postgres@db2";
const SERVERS: &[&str] = &["main", "other", "a b", "$(id)", "latest", "x=y", "ä"];

/// Folders that a request may name.
struct Folders {
    root: PathBuf,
    exchange: PathBuf,
}

impl Folders {
    fn new() -> Self {
        let (root, exchange) = (Lab::get().folder("target"), Lab::get().folder("exchange"));
        std::fs::write(exchange.join("x.tar"), "").unwrap();
        Self { root, exchange }
    }

    fn inside(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in [&self.root, &self.exchange] {
            drop(std::fs::remove_dir_all(folder));
        }
    }
}

/// Text that nobody should send, and some do.
const ODD: &[&str] = &[
    "",
    "-",
    "--",
    "-x",
    "--help",
    "--remote-ssh-command=x",
    "a b",
    " a",
    "a\nb",
    "a\tb",
    "'",
    "\"",
    "$(id)",
    "`id`",
    "a;b",
    "%s",
    "{x}",
    "\u{0}",
    "\u{202e}x",
    "ä",
    "日本",
    "*",
    "~",
    "../x",
    "/",
    "/etc",
    "=",
    "a=b",
    "true",
    "false",
    "null",
    "all",
    "latest",
    "1e3",
    "-1",
    "+1",
    " 1",
    "01",
    "0x10",
    "1_000",
    "١",
    "99999999999999999999",
    "\\",
    "a\\nb",
    "a,b",
    "[x]",
];

fn digits(random: &mut Random) -> String {
    let count = 1 + random.below(4);
    (0..count)
        .map(|_| char::from(b'0' + random.number().to_le_bytes()[0] % 10))
        .collect()
}

/// Letters and marks that many kinds of value take.
fn word(random: &mut Random) -> String {
    const ALL: &[u8] = b"abcdefXYZ0123456789_.:-+ ";
    let count = 1 + random.below(12);
    (0..count)
        .map(|_| char::from(ALL[random.below(ALL.len())]))
        .collect()
}

/// A value of a kind: as a rule one that it takes.
fn value(random: &mut Random, folders: &Folders, kind: Option<Kind>, choices: &[String]) -> String {
    if random.below(12) == 0 {
        return random.one_of(ODD).to_owned();
    }
    if !choices.is_empty() {
        return choices[random.below(choices.len())].clone();
    }
    let own = word(random);
    let fixed: &[&str] = match kind {
        Some(Kind::Server) => SERVERS,
        Some(Kind::BackupId | Kind::BackupIdOrAuto) => &[
            "latest",
            "20261120T214304",
            "last-failed",
            "nightly.1",
            "oldest",
            "auto",
            "a:b",
        ],
        Some(Kind::WalName) => &[
            "000000010000000000000003",
            "0000000A.history",
            "000000010000000000000003.partial",
            "000000010000000000000003.00000028.backup",
        ],
        Some(Kind::Lsn) => &["3/64000000", "0/0", "FFFFFFFF/FF"],
        Some(Kind::Time) => &[
            "2026-11-20 21:43:04.5+00:00",
            "2026-11-20T21:43:04Z",
            "Fri Nov 20 21:43:04 2026",
        ],
        Some(Kind::Timeline) => &["1", "2", "current", "latest"],
        Some(Kind::TargetAction) => &["pause", "promote", "shutdown"],
        Some(Kind::Size) => &["30Gi", "5MB", "100", "1Ti"],
        Some(Kind::Port) => &["5432", "1", "65535"],
        Some(Kind::FileName) => &["recovery.conf", "x_1-2.y"],
        Some(Kind::Process) => &["receive-wal"],
        Some(Kind::Tablespace) => {
            return format!("{own}:{}", folders.inside(&own.replace(' ', "")));
        }
        Some(Kind::RestoreDirectory | Kind::WalStaging | Kind::Staging | Kind::LocalStaging) => {
            return folders.inside(&own.replace([' ', '.'], "x"));
        }
        Some(Kind::RemoteCommand) => &[SSH_COMMAND, "ssh postgres@db2", "ssh evil"],
        Some(Kind::ExchangeDirectory) => return folders.exchange.display().to_string(),
        Some(Kind::ExchangeFile) => return folders.exchange.join("x.tar").display().to_string(),
        Some(Kind::ConfigChanges) => &[
            r#"[{"scope":"server","server_name":"main","description":"--x [y] 'z'"}]"#,
            r#"[{"scope":"server","server_name":"main","retention_policy":"REDUNDANCY 2"}]"#,
        ],
        Some(Kind::Model) => &["main:m", "other:a-1"],
        Some(Kind::Integer | Kind::Xid) => return digits(random),
        _ => return own,
    };
    random.one_of(fixed).to_owned()
}

/// Another spelling of a name that means the same.
fn spelt(random: &mut Random, name: &str) -> String {
    match random.below(4) {
        0 => name.to_uppercase(),
        1 => name.replace(['-', '_'], ""),
        2 => name.replace('-', "_"),
        _ => name.to_owned(),
    }
}

/// A request: what is sent, and the texts that each parameter stands for (none for a flag).
fn request(
    random: &mut Random,
    folders: &Folders,
    command: &Command,
    traits: &Traits,
) -> (Vec<(String, Parameter)>, Map<String, Value>) {
    let (mut sent, mut asked) = (Vec::new(), Map::new());
    for positional in &command.positionals {
        let kind = traits.kind(command, &positional.name);
        if positional.min == 0 && random.below(2) == 0 || random.below(60) == 0 {
            continue;
        }
        let most = positional.max.map_or(3, |max| max.min(3)).max(1);
        let count = 1 + random.below(usize::try_from(most).unwrap());
        let texts: Vec<String> = (0..count)
            .map(|_| value(random, folders, kind, &positional.choices))
            .collect();
        give(random, &positional.name, &texts, &mut sent, &mut asked);
    }
    for option in &command.options {
        let share = if command.options.len() > 8 { 6 } else { 3 };
        if random.below(share) > 0 {
            continue;
        }
        let name = option.name().to_owned();
        let kind = traits.kind(command, &name);
        let count = match option.takes {
            Takes::None => 0,
            Takes::Optional if random.below(2) == 0 => 0,
            Takes::Many => 1 + random.below(3),
            _ if traits.of(command).repeats(&name) => 1 + random.below(3),
            _ => 1,
        };
        let texts: Vec<String> = (0..count)
            .map(|_| value(random, folders, kind, &option.choices))
            .collect();
        give(random, &name, &texts, &mut sent, &mut asked);
    }
    (sent, asked)
}

fn give(
    random: &mut Random,
    name: &str,
    texts: &[String],
    sent: &mut Vec<(String, Parameter)>,
    asked: &mut Map<String, Value>,
) {
    let parameter = match texts {
        [] => Parameter::Bool(true),
        [one]
            if one.bytes().all(|byte| byte.is_ascii_digit())
                && !one.is_empty()
                && !one.starts_with('0')
                && random.below(2) == 0 =>
        {
            Parameter::Number(one.clone())
        }
        [one] => Parameter::Text(one.clone()),
        many => Parameter::List(many.to_vec()),
    };
    sent.push((spelt(random, name), parameter));
    asked.insert(name.to_owned(), json!(texts));
}

/// Asks Barman's parser about all cases: how many were read as asked, and how many it refuses by itself.
fn ask_barman(run: &mut Run, cases: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/parse-argv.py");
    let mut python = Lab::get().command(Lab::get().fact("BARMAN_PYTHON"));
    let mut child = python
        .args(["-I", "-c", &std::fs::read_to_string(script).unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (said, complaint) = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(cases.as_bytes()).unwrap());
        let output = child.wait_with_output().unwrap();
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (words(&output.stdout), words(&output.stderr))
    });
    let mut lines: Vec<&str> = said.lines().collect();
    let count = lines.pop().unwrap_or_default();
    run.hold(count == cases.lines().count().to_string(), || {
        format!("the parser said {count:?}; {complaint}")
    });
    let refused = lines
        .iter()
        .position(|line| line.starts_with("refused by barman: "));
    let refused = refused.map(|at| lines.remove(at)).unwrap_or_default();
    for line in lines {
        run.hold(false, || line.to_owned());
    }
    refused.trim_start_matches("refused by barman: ").to_owned()
}

fn catalogue(bench: &Bench) -> Catalogue {
    let file = bench.server.store().join("config/barman.json");
    let saved: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    serde_json::from_value(saved["catalogue"].clone()).unwrap()
}

fn off() -> Vec<CommandName> {
    ["cloud-wal-archive", "cloud-wal-restore", "put-wal"]
        .map(|name| CommandName::parse(name).unwrap())
        .to_vec()
}

fn in_bulk(run: &mut Run) {
    let bench = Bench::new(&json!({}), &[]);
    let catalogue = catalogue(&bench);
    let traits = Traits::builtin();
    let folders = Folders::new();
    let target = |name: &str, ssh_command: &str| Target {
        name: name.to_owned(),
        ssh_command: ssh_command.to_owned(),
        directories: vec![folders.root.clone()],
    };
    let places = Places {
        targets: vec![target("here", ""), target("there", SSH_COMMAND)],
        exchange_directory: Some(folders.exchange.clone()),
        allow_commands: off(),
        ..Places::default()
    };
    let requests = run.of(100_000, 3000);
    let (mut cases, mut accepted) = (String::new(), BTreeMap::<&str, usize>::new());
    for turn in 0..requests {
        let command = &catalogue.commands[turn % catalogue.commands.len()];
        let (sent, asked) = request(&mut run.random, &folders, command, &traits);
        run.once();
        let Ok(built) = argv::build(command, &traits, &sent, &places) else {
            continue;
        };
        *accepted.entry(command.name.as_str()).or_default() += 1;
        let mut words = vec![built.command.to_string()];
        words.extend(built.arguments);
        cases += &json!({"argv": words, "asked": asked}).to_string();
        cases.push('\n');
    }
    let count: usize = accepted.values().sum();
    run.hold(count * 10 > requests && accepted.len() >= 30, || {
        format!(
            "only {count} of {requests} were accepted, of {} commands",
            accepted.len()
        )
    });
    let refused = ask_barman(run, &cases);
    run.measure(format!(
        "{count} accepted, of {} commands, all read as asked ({refused} of them Barman refuses by itself); {} refused",
        accepted.len(),
        requests - count
    ));
}

fn over_http(run: &mut Run) {
    let folders = Folders::new();
    let settings = [
        format!("target:here.directories = {}", folders.root.display()),
        format!("target:there.ssh_command = {SSH_COMMAND}"),
        format!("target:there.directories = {}", folders.root.display()),
        format!("barman.exchange_directory = {}", folders.exchange.display()),
        "barman.async_command = cron".to_owned(),
        "barman.allow_commands = cloud-wal-archive, cloud-wal-restore".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let bench = Bench::new(&json!({"servers": SERVERS}), &settings);
    let catalogue = catalogue(&bench);
    let traits = Traits::builtin();
    let (mut cases, mut commands, mut seen) = (String::new(), BTreeSet::new(), 0);
    for turn in 0..run.of(500, 60) {
        let command = &catalogue.commands[turn % catalogue.commands.len()];
        let (sent, asked) = request(&mut run.random, &folders, command, &traits);
        let mut body = Map::new();
        for (name, parameter) in sent {
            let value = match parameter {
                Parameter::Text(text) => json!(text),
                Parameter::Number(text) => serde_json::from_str(&text).unwrap(),
                Parameter::Bool(truth) => json!(truth),
                Parameter::List(texts) => json!(texts),
            };
            body.insert(name, value);
        }
        body.insert("async".to_owned(), json!(false));
        let body = Value::Object(body);
        let answer = bench
            .ada()
            .post(&format!("/barman/{}", command.name), &body);
        run.once();
        run.hold(answer.status < 500, || {
            format!("{}: {body}: {}", command.name, answer.json())
        });
        let (mut started, now) = bench.stand_in.log_from(seen);
        seen = now;
        started.retain(|line| line.get("start").is_some());
        if command.name.as_str() == "restore" {
            // The backup is looked at before.
            started.retain(|line| line["start"] != "show-backup");
        }
        let wanted = usize::from(matches!(answer.status, 200 | 202));
        run.hold(started.len() == wanted, || {
            format!(
                "{}: {body}: {} and {} starts",
                command.name,
                answer.status,
                started.len()
            )
        });
        if let [start] = started.as_slice() {
            commands.insert(command.name.clone());
            cases += &json!({"argv": rig::argv(start), "asked": asked}).to_string();
            cases.push('\n');
        }
    }
    let count = cases.lines().count();
    let refused = ask_barman(run, &cases);
    bench.no_panic(run);
    run.measure(format!(
        "{count} started, of {} commands, all read as asked ({refused} of them Barman refuses by itself)",
        commands.len()
    ));
}
