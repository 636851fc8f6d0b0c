//! `barman --help`: which commands there are.

use std::collections::{HashMap, HashSet};

use super::command::texts;
use super::page::{Line, Page};
use super::spec;
use super::usage::Usage;
use super::wrap::{self, Words};
use super::{Entry, HelpError, MAX_COMMANDS, option};
use crate::names::CommandName;

/// The text, as an error names it.
const WHAT: &str = "overview";

/// The indent of a command under the set of commands.
const COMMAND: usize = 4;

/// One command as the list shows it.
struct Listed<'t> {
    name: &'t str,
    aliases: Vec<&'t str>,
    help: Vec<&'t str>,
}

/// What the overview says of commands.
struct Overview<'t> {
    /// The names in the usage, aliases among them; empty when it shows no set.
    set: Vec<String>,
    /// The commands of the list.
    listed: Vec<Listed<'t>>,
    /// The width of a full line of help.
    full: usize,
}

/// Reads a page that has been cut into its parts.
pub(super) fn read(page: &Page<'_>, words: &Words) -> Result<Vec<Entry>, HelpError> {
    let overview = Overview::read(page)?;
    let mut entries = Vec::new();
    let mut names = HashSet::new();
    for each in &overview.listed {
        let name = CommandName::parse(each.name)?;
        if !names.insert(name.clone()) {
            return Err(HelpError::Twice {
                what: WHAT.to_owned(),
                name: name.to_string(),
            });
        }
        let mut entry = Entry {
            name,
            aliases: Vec::new(),
            description: wrap::join(&each.help, overview.full, words),
        };
        for alias in &each.aliases {
            let alias = CommandName::parse(alias)?;
            // Barman 3.10 and later call lock-directory-cleanup an alias of itself.
            if alias != entry.name && !entry.aliases.contains(&alias) {
                entry.aliases.push(alias);
            }
        }
        entries.push(entry);
    }
    check(&entries, &overview.set)?;
    Ok(entries)
}

/// Learns the words of a page.
pub(super) fn learn(page: &Page<'_>, words: &mut Words) {
    if let Ok(overview) = Overview::read(page) {
        for each in &overview.listed {
            words.learn(&each.help, overview.full);
            each.name.split('-').for_each(|part| words.add(part));
        }
    }
}

/// Holds the names against each other and against the set in the usage.
fn check(entries: &[Entry], set: &[String]) -> Result<(), HelpError> {
    let mut owners: HashMap<&CommandName, &CommandName> = entries
        .iter()
        .map(|entry| (&entry.name, &entry.name))
        .collect();
    for entry in entries {
        for alias in &entry.aliases {
            if let Some(other) = owners.insert(alias, &entry.name) {
                return Err(HelpError::AliasClash {
                    alias: alias.clone(),
                    command: entry.name.clone(),
                    other: other.clone(),
                });
            }
        }
    }
    let disagree = |detail| HelpError::Disagree {
        what: WHAT.to_owned(),
        detail,
    };
    if entries.is_empty() {
        return Err(HelpError::NoCommands);
    }
    if set.is_empty() {
        return Ok(());
    }
    let set: HashSet<&str> = set.iter().map(String::as_str).collect();
    if let Some(name) = owners.keys().find(|name| !set.contains(name.as_str())) {
        return Err(disagree(format!("the command {name} is not in it")));
    }
    // argparse leaves a command without help out of the list; most are in it.
    let hidden = set.len().saturating_sub(owners.len());
    if hidden > entries.len().max(4) / 4 {
        return Err(disagree(format!("{hidden} of its commands are not listed")));
    }
    Ok(())
}

impl<'t> Overview<'t> {
    fn read(page: &Page<'t>) -> Result<Self, HelpError> {
        let usage = Usage::parse(&page.usage, |_| false, WHAT)?;
        let options = option::listed(page, WHAT)?;
        let remain = usage.check_options(&options, WHAT)?;
        let Some((commands, lines)) = remain.iter().find_map(|token| {
            page.items()
                .find(|item| item.label == *token)
                .map(|item| (*token, &item.lines))
        }) else {
            return Err(HelpError::NoCommands);
        };
        let set = spec::set(commands).unwrap_or_default();
        let listed = list(lines, &set)?;
        if set.len() > 2 * MAX_COMMANDS || listed.len() > MAX_COMMANDS {
            return Err(HelpError::TooMany {
                what: format!("commands in the {WHAT}"),
                limit: MAX_COMMANDS,
            });
        }
        let help: Vec<Vec<&str>> = options
            .iter()
            .map(|option| texts(&option.item.lines))
            .collect();
        let full = wrap::full(
            listed
                .iter()
                .map(|each| each.help.as_slice())
                .chain(help.iter().map(Vec::as_slice)),
        );
        Ok(Self { set, listed, full })
    }
}

/// Takes a command's label apart: `NAME` or `NAME (ALIAS, ALIAS)`.
fn label(text: &str) -> Option<Label<'_>> {
    let Some((name, rest)) = text.split_once(' ') else {
        return Some((text, Vec::new()));
    };
    let aliases = spec::inside(rest, '(', ')')?;
    Some((name, aliases.split(", ").collect()))
}

/// Reads the lines under the set of commands.
fn list<'t>(lines: &[Line<'t>], set: &[String]) -> Result<Vec<Listed<'t>>, HelpError> {
    let known: HashSet<&str> = set.iter().map(String::as_str).collect();
    if lines
        .iter()
        .all(|line| line.indent == COMMAND && line.columns().1.is_none())
    {
        let labels: Vec<_> = lines
            .iter()
            .map(|line| label(line.text).filter(|(name, _)| known.contains(name)))
            .collect();
        if !set.is_empty() && labels.iter().any(Option::is_none) {
            return Ok(flush_list(lines, labels, set));
        }
    }
    let mut listed: Vec<Listed<'t>> = Vec::new();
    for line in lines {
        if line.indent == COMMAND {
            let (left, help) = line.columns();
            let Some((name, aliases)) = label(left) else {
                return Err(HelpError::Malformed {
                    what: WHAT.to_owned(),
                    detail: format!("{:?} stands where a command should", super::start(left)),
                });
            };
            listed.push(Listed {
                name,
                aliases,
                help: help.iter().map(|line| line.text).collect(),
            });
        } else if let Some(last) = listed.last_mut() {
            last.help.push(line.text);
        }
    }
    Ok(listed)
}

/// A command's name and its aliases.
type Label<'t> = (&'t str, Vec<&'t str>);

/// Reads a list whose help starts in the column of its commands, as below 27 columns.
///
/// Only the set in the usage tells commands from help. Both are in one order, so the next command
/// is the next line that is exactly its label; where that may be a word of help that happens to
/// stand alone, a line that `textwrap` would not have left alone is preferred.
fn flush_list<'t>(
    lines: &[Line<'t>],
    labels: Vec<Option<Label<'t>>>,
    set: &[String],
) -> Vec<Listed<'t>> {
    let mut full = 0;
    let mut aliases = HashSet::new();
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, (line, label)) in lines.iter().zip(&labels).enumerate() {
        if let Some((name, others)) = label {
            aliases.extend(others.iter().copied().filter(|alias| alias != name));
            places.entry(name).or_default().push(at);
        } else {
            full = full.max(wrap::width(line.text));
        }
    }
    let stands_out = |at: usize| {
        let text = lines.get(at).map_or("", |line| line.text);
        let next = lines.get(at + 1).map_or("", |next| next.text);
        let word = next.split(' ').next().unwrap_or_default();
        text.contains('(') || wrap::width(text) + 1 + wrap::width(word) <= full
    };
    let mut starts = Vec::new();
    let mut from = 0;
    for name in set.iter().filter(|name| !aliases.contains(name.as_str())) {
        let mut later = places
            .get(name.as_str())
            .into_iter()
            .flatten()
            .copied()
            .filter(|at| *at >= from)
            .peekable();
        let first = later.peek().copied();
        if let Some(at) = later.find(|at| stands_out(*at)).or(first) {
            from = at + 2; // A command has one line of help at least.
            starts.push(at);
        }
    }
    let ends: Vec<usize> = starts
        .iter()
        .skip(1)
        .copied()
        .chain([lines.len()])
        .collect();
    let mut labels = labels;
    starts
        .into_iter()
        .zip(ends)
        .filter_map(|(at, end)| {
            let (name, aliases) = labels.get_mut(at)?.take()?;
            Some(Listed {
                name,
                aliases,
                help: texts(lines.get(at + 1..end).unwrap_or_default()),
            })
        })
        .collect()
}
