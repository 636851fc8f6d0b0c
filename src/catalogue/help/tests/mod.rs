//! Real texts, texts in every notation of argparse, and hostile ones.

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/help/", $name, ".txt"))
    };
}

mod any;
mod hostile;
mod real;

use super::*;
use crate::catalogue::CommandOption;

const OVERVIEW: &str = fixture!("barman-3.19.1-python3.13/overview");
const BACKUP: &str = fixture!("barman-3.19.1-python3.13/backup");
const RESTORE: &str = fixture!("barman-3.19.1-python3.13/restore");
const OLD_OVERVIEW: &str = fixture!("barman-2.15-python2.7/overview");
const OLD_RECOVER: &str = fixture!("barman-2.15-python2.7/recover");
const NARROW_OVERVIEW: &str = fixture!("barman-3.19.1-columns20/overview");
const NARROW_RESTORE: &str = fixture!("barman-3.19.1-columns20/restore");

/// Pages of commands with the names they are asked for by.
const PAGES: [(&str, &str); 4] = [
    ("backup", BACKUP),
    ("restore", RESTORE),
    ("recover", OLD_RECOVER),
    ("restore", NARROW_RESTORE),
];

const OVERVIEWS: [&str; 3] = [OVERVIEW, OLD_OVERVIEW, NARROW_OVERVIEW];

fn name(word: &str) -> CommandName {
    CommandName::parse(word).unwrap()
}

fn read(word: &str, text: &str) -> Result<Command, HelpError> {
    parse_command(&name(word), &[], text)
}

fn option<'c>(command: &'c Command, flag: &str) -> &'c CommandOption {
    let mut options = command.options.iter();
    options
        .find(|option| option.flags.iter().any(|f| f == flag))
        .unwrap_or_else(|| panic!("no {flag}"))
}

/// A small overview with these lines of commands under this set.
fn overview(set: &str, lines: &[&str]) -> String {
    format!(
        "usage: barman [-h] {{{set}}} ...\n\npositional arguments:\n  {{{set}}}\n{}\n\noptions:\n  \
         -h, --help  show this help\n",
        lines
            .iter()
            .map(|line| format!("    {line}"))
            .collect::<Vec<_>>()
            .join("\n")
    )
}

/// A small help of `run` with these words in its usage and these lines of options.
fn run(usage: &str, lines: &[&str]) -> String {
    format!(
        "usage: barman run [-h] {usage}\n\nRun it.\n\noptions:\n  -h, --help  show this help\n{}\n",
        lines
            .iter()
            .map(|line| format!("  {line}"))
            .collect::<Vec<_>>()
            .join("\n")
    )
}
