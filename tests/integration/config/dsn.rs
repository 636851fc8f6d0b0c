//! Connection strings of any shape: what libpq takes for a secret is never shown, and what is shown
//! is what libpq reads.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

/// Reads JSON lines and writes what libpq makes of each: an object, or null where it refuses.
const LIBPQ: &str = "import json, sys
from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn
for line in sys.stdin:
    try:
        print(json.dumps(parse_dsn(json.loads(line))))
    except ProgrammingError:
        print('null')";

fn libpq(texts: &[String]) -> Vec<Value> {
    let python = Path::new(Lab::get().fact("BARMAN")).with_file_name("python");
    let mut child = Command::new(python)
        .args(["-c", LIBPQ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = texts
        .iter()
        .map(|text| json!(text).to_string() + "\n")
        .collect();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let read: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(read.len(), texts.len());
    read
}

/// Picks by a stream of random bytes.
struct Dice(Vec<u8>);

impl Dice {
    fn new() -> Self {
        let mut bytes = vec![0; 1 << 16];
        getrandom::fill(&mut bytes).unwrap();
        Self(bytes)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::from(self.0.pop().unwrap()) % count
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const WORDS: [&str; 14] = [
    "host",
    "port",
    "user",
    "dbname",
    "application_name",
    "password",
    "PASSWORD",
    "Password",
    "sslpassword",
    "options",
    "passfile",
    "sslkey",
    "service",
    "require_auth",
];

/// A value with the marker in the middle, and whatever an escape or a quote could go wrong with.
fn value(dice: &mut Dice, marker: &str) -> String {
    let odd = [
        "", "a", "\\'", "\\\\", "=", "@", "/", "://", "%41", "é", ":", "?", "&", "#", ",", "\"",
    ];
    let mut text = dice.pick(&odd).to_owned();
    text += marker;
    text += dice.pick(&odd);
    if dice.below(2) == 0 {
        text += dice.pick(&[" ", "  b", " = c", " password=x", "\t"]);
        text = format!("'{text}'");
    }
    text
}

fn conninfo(dice: &mut Dice, at: usize) -> String {
    let blanks = ["", "", " ", "  "];
    if dice.below(3) == 0 {
        let scheme = dice.pick(&["postgres://", "postgresql://"]);
        let user = dice.pick(&["u", "u%40x", "", "HOST"]);
        let odd = dice.pick(&["", "%2F", "%3d", "/", "@", ":", "?", "#", "%25"]);
        let host = dice.pick(&["h", "h:5432", "h1,h2:6", "[::1]:5", "", "%2Fvar"]);
        let query = match dice.below(4) {
            0 => format!("?sslpassword=q{at}HUNTER"),
            1 => format!("?application_name=x&password=q{at}HUNTER"),
            2 => "?connect_timeout=5".to_owned(),
            _ => String::new(),
        };
        return format!("{scheme}{user}:p{at}HUNTER{odd}@{host}/d{query}");
    }
    let mut text = String::new();
    for _ in 0..=dice.below(4) {
        let word = dice.pick(&WORDS);
        let secret = word.to_lowercase().contains("password");
        let marker = if secret {
            format!("s{at}HUNTER")
        } else {
            format!("v{at}")
        };
        let (before, after) = (dice.pick(&blanks), dice.pick(&blanks));
        text += [word, before, "=", after, &value(dice, &marker), " "]
            .concat()
            .as_str();
    }
    text.trim_end().to_owned()
}

#[test]
fn of_any_connection_string_no_secret_is_shown_and_the_rest_is_what_libpq_reads() {
    const COUNT: usize = 1_500;
    let mut dice = Dice::new();
    let mut texts = Vec::new();
    while texts.len() < COUNT {
        if dice.0.len() < 200 {
            dice = Dice::new();
        }
        let text = conninfo(&mut dice, texts.len());
        // Barman takes a pair of quotes off, and a line end is none.
        if !text.contains('\n') && !text.starts_with(['\'', '"']) {
            texts.push(text);
        }
    }
    let desk = Desk::here(&[]);
    let section = |(at, text): (usize, &String)| {
        format!("[s{at}]\nconninfo = {}\n", text.replace('%', "%%%%"))
    };
    let file: String = texts.iter().enumerate().map(section).collect();
    desk.files.write("barman.d/many.conf", &file);
    let shown = desk
        .server
        .login("reader")
        .get("/config/barman")
        .expect(200)
        .json();
    let shown = |at: usize| {
        shown["list"][format!("s{at}")]["conninfo"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let read = libpq(&texts);
    let again = libpq(&(0..COUNT).map(shown).collect::<Vec<_>>());
    let (mut known, mut whole) = (0, 0);
    for (at, text) in texts.iter().enumerate() {
        assert!(
            !shown(at).contains("HUNTER"),
            "{text:?} is shown as {:?}",
            shown(at)
        );
        let Some(read) = read[at].as_object() else {
            continue;
        };
        known += 1;
        // What nobody escaped may belong to the password: it is not shown, whatever libpq makes of it.
        let torn = ["HUNTER/", "HUNTER@", "HUNTER?", "HUNTER#"];
        let is_uri = text.starts_with("postgres");
        if shown(at) == "*REDACTED*" || is_uri && torn.iter().any(|torn| text.contains(torn)) {
            continue;
        }
        // A word that is shown is there, with the same value.
        let again = again[at].as_object();
        let again = again.unwrap_or_else(|| panic!("{text:?}: {:?}", shown(at)));
        for (word, value) in again {
            if value != "*REDACTED*" {
                assert_eq!(read.get(word), Some(value), "{text:?}: {:?}", shown(at));
                whole += 1;
            }
        }
    }
    // Most of them are connection strings, and most of these have something that is shown.
    assert!(known > COUNT / 4 && whole > COUNT / 4, "{known} {whole}");
}
