//! The catalogue parser against the truth: Barman's own argparse objects.
//!
//! Each version is installed from `PyPI` and its help is read at each width; every field of the
//! catalogue must be what argparse says. Kept under the target directory, so that only the first
//! run needs the network. More can be tried by the environment: `PARSER_SCORE_VERSIONS` and
//! `PARSER_SCORE_WIDTHS` (words with spaces between) replace the lists below,
//! `PARSER_SCORE_PYTHON` the system's Python.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at its first surprise"
)]

mod hostile;
pub(crate) mod installed;
mod truth;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;

use barmanapi::catalogue::Takes;
use barmanapi::catalogue::help::{HelpError, assemble, parse_overview};

use installed::Installed;
use truth::{Score, Truth};

/// The versions: argh's last and first known, each change of form, and the newest known.
const VERSIONS: &str = "2.10 2.12 2.15 2.17 2.19 3.0.1 3.4.0 3.9.0 3.10.1 3.11.1 3.12.0 3.14.0 \
                        3.16.2 3.18.0 3.19.1";

/// The version that is changed to see the score fall.
const NEWEST: &str = "3.19.1";

/// The width at which the installed program itself is run. At the others its `main` is, in one
/// process, which prints the same.
const RUN_AT: &str = "80";

/// The widths.
const WIDTHS: &str = "40 80 10000";

/// The fields that a version must have at least, so that a truth that went missing is seen.
const FIELDS: [(&str, usize); 2] = [("2.10", 610), ("3.19.1", 993)];

type Pages = HashMap<String, String>;

fn words(variable: &str, default: &str) -> Vec<String> {
    std::env::var(variable)
        .unwrap_or_else(|_| default.to_owned())
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Tells it to whoever runs the tests; `println!` would be kept until a test fails.
pub(crate) fn tell(line: &str) {
    std::io::stderr()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

fn score(truth: &Truth, pages: &Pages) -> Result<Score, HelpError> {
    let entries = parse_overview(&pages[""])?;
    let catalogue = assemble(&pages["--version"], &pages[""], |name| {
        pages.get(name.as_str()).map(String::as_str)
    })?;
    Ok(Score::of(truth, &entries, &catalogue))
}

#[test]
fn every_field_of_every_version_is_what_argparse_says() {
    let widths = words("PARSER_SCORE_WIDTHS", WIDTHS);
    let mut failed = String::new();
    for version in words("PARSER_SCORE_VERSIONS", VERSIONS) {
        let installed = Installed::new(&version);
        let mut truth = installed.introspect(&widths);
        if truth.pages.contains_key(RUN_AT) {
            let printed = installed.printed(RUN_AT, &truth);
            let of_main = truth.pages.insert(RUN_AT.to_owned(), printed);
            assert_eq!(
                of_main.as_ref(),
                truth.pages.get(RUN_AT),
                "{version}: the program and its main print different help"
            );
        }
        let mut line = format!("parser score, Barman {version}:");
        for width in &widths {
            let score = score(&truth, &truth.pages[width])
                .unwrap_or_else(|error| panic!("{version} at {width} columns: {error}"));
            write!(
                line,
                " {width} columns {} / {}, {} wrong;",
                score.right(),
                score.fields,
                score.wrong.len()
            )
            .unwrap();
            let least = FIELDS.iter().find(|(of, _)| *of == version);
            if let Some((_, least)) = least.filter(|(_, least)| score.fields < *least) {
                writeln!(failed, "{version}: {} fields, not {least}", score.fields).unwrap();
            }
            for wrong in &score.wrong {
                writeln!(failed, "{version} at {width} columns: {wrong}").unwrap();
            }
        }
        tell(line.trim_end_matches(';'));
    }
    assert!(failed.is_empty(), "\n{failed}");
}

/// A change to one field of a truth.
type Flip = (&'static str, fn(&mut Truth));

/// One change for each kind of field.
const FLIPS: [Flip; 21] = [
    ("version", |t| t.version.push('0')),
    ("a command's name", |t| t.commands[0].name.push('x')),
    ("a command less", |t| drop(t.commands.pop())),
    ("a command more", |t| {
        let mut more = t.commands[0].clone();
        more.name.push_str("-more");
        t.commands.push(more);
    }),
    ("an alias less", |t| {
        let with = t.commands.iter_mut().find(|c| !c.aliases.is_empty());
        with.unwrap().aliases.clear();
    }),
    ("an alias more", |t| t.commands[0].aliases.push("x".into())),
    ("a summary", |t| t.commands[0].summary.push('.')),
    ("a description", |t| t.commands[0].description.push('.')),
    ("a positional less", |t| {
        let with = t.commands.iter_mut().find(|c| !c.positionals.is_empty());
        drop(with.unwrap().positionals.pop());
    }),
    ("a positional's name", |t| a_positional(t).name.push('x')),
    ("a positional's min", |t| a_positional(t).min += 1),
    ("a positional's max", |t| a_positional(t).max = Some(7)),
    ("a positional's choices", |t| {
        a_positional(t).choices.push("x".into());
    }),
    ("a positional's description", |t| {
        a_positional(t).description.push('.');
    }),
    ("an option less", |t| {
        let with = t.commands.iter_mut().find(|c| !c.options.is_empty());
        drop(with.unwrap().options.pop());
    }),
    ("an option's flags", |t| {
        an_option(t, |_| true).flags.push("-!".into());
    }),
    ("what an option takes", |t| {
        an_option(t, |takes| takes == Takes::One).takes = Takes::Many;
    }),
    ("an option's metavar", |t| {
        an_option(t, |takes| takes == Takes::One).metavar = Some("X".into());
    }),
    ("an option's choices", |t| {
        an_option(t, |takes| takes == Takes::Optional).choices.pop();
    }),
    ("an option's default", |t| {
        an_option(t, |_| true).default = Some("x".into());
    }),
    ("an option's description", |t| {
        an_option(t, |_| true).description.push('.');
    }),
];

fn a_positional(truth: &mut Truth) -> &mut truth::TruePositional {
    let mut all = truth.commands.iter_mut().flat_map(|c| &mut c.positionals);
    all.next().unwrap()
}

fn an_option(truth: &mut Truth, takes: fn(Takes) -> bool) -> &mut truth::TrueOption {
    let mut all = truth.commands.iter_mut().flat_map(|c| &mut c.options);
    all.find(|option| takes(option.takes)).unwrap()
}

#[test]
fn a_truth_with_one_field_changed_makes_the_score_wrong() {
    let truth = Installed::new(NEWEST).introspect(&[RUN_AT.to_owned()]);
    let pages = &truth.pages[RUN_AT];
    assert_eq!(score(&truth, pages).unwrap().wrong, Vec::<String>::new());
    for (what, flip) in FLIPS {
        let mut flipped = truth.clone();
        flip(&mut flipped);
        assert_ne!(
            score(&flipped, pages).unwrap().wrong,
            Vec::<String>::new(),
            "{what}: the change was not seen"
        );
    }
}

#[test]
fn a_help_text_with_one_word_changed_makes_the_score_wrong() {
    let truth = Installed::new(NEWEST).introspect(&[RUN_AT.to_owned()]);
    let pages = &truth.pages[RUN_AT];
    for (from, to) in [
        ("(recover)", "(recovers)"),
        ("[server_name ...]", ""),
        ("{copy,link,off}", "{copy,link}"),
        ("--bwlimit KBPS", "--bwlimit N"),
        ("--no-retry", "--no-retries"),
        ("transfer rate", "transfer speed"),
    ] {
        let changed: Pages = pages
            .iter()
            .map(|(name, text)| (name.clone(), text.replace(from, to)))
            .collect();
        assert_ne!(changed, *pages, "{from:?} does not occur");
        match score(&truth, &changed) {
            Ok(score) => assert_ne!(score.wrong, Vec::<String>::new(), "{from:?} to {to:?}"),
            Err(error) => tell(&format!("{from:?} to {to:?} is refused: {error}")),
        }
    }
}
