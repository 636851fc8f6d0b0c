//! `barman COMMAND --help`: one command's arguments.

use std::collections::HashSet;

use super::page::{Item, Line, Page};
use super::spec::{self, Spec};
use super::usage::{self, Usage};
use super::wrap::{self, Words};
use super::{HelpError, option};
use crate::catalogue::{Command, CommandOption, Positional};
use crate::names::CommandName;

/// The most positional arguments of one command.
const MAX_POSITIONALS: usize = 100;

/// Reads a page that has been cut into its parts.
pub(super) fn read(
    name: &CommandName,
    aliases: &[CommandName],
    page: &Page<'_>,
    words: &Words,
) -> Result<Command, HelpError> {
    let what = &format!("help of {name}");
    let is_name =
        |word: &str| name.as_str() == word || aliases.iter().any(|alias| alias.as_str() == word);
    let usage = Usage::parse(&page.usage, is_name, what)?;
    match usage.program.last() {
        Some(word) if usage.program.len() > 1 && is_name(word) => {}
        _ => {
            return Err(HelpError::WrongPage {
                command: name.clone(),
                found: super::start(&usage.program.join(" ")),
            });
        }
    }
    let listed = option::listed(page, what)?;
    let remain = usage.check_options(&listed, what)?;
    let full = full(page);
    let help = |item: &Item<'_>| wrap::join(&texts(&item.lines), full, words);
    let positionals = positionals(page, &remain, help, what)?;
    let options = listed
        .into_iter()
        .filter(|option| !option.is_help())
        .map(|option| {
            let description = help(option.item);
            CommandOption {
                flags: option.flags,
                takes: option.spec.takes(),
                metavar: option.spec.word,
                choices: option.spec.choices,
                default: default(&description),
                description,
            }
        })
        .collect();
    Ok(Command {
        name: name.clone(),
        aliases: aliases.to_vec(),
        description: description(page, full, words),
        positionals,
        options,
    })
}

/// Learns the words of a page.
pub(super) fn learn(page: &Page<'_>, words: &mut Words) {
    let full = full(page);
    for item in page.items() {
        words.learn(&texts(&item.lines), full);
        for part in item.label.split(['-', '_', ' ', ',']) {
            words.add(part);
        }
    }
    if !is_raw(page) {
        let lines = texts(&page.description);
        words.learn(&lines, wrap::full(std::iter::once(lines.as_slice())));
    }
}

/// The words of lines.
pub(super) fn texts<'t>(lines: &[Line<'t>]) -> Vec<&'t str> {
    lines.iter().map(|line| line.text).collect()
}

/// The width of a full line of help on this page.
fn full(page: &Page<'_>) -> usize {
    let all: Vec<Vec<&str>> = page.items().map(|item| texts(&item.lines)).collect();
    wrap::full(all.iter().map(Vec::as_slice))
}

/// Pairs the positional arguments of the usage, which tells their number and order, with those of
/// the list, which tells what they are; a group of arguments is listed after the others.
fn positionals(
    page: &Page<'_>,
    usage: &[&str],
    help: impl Fn(&Item<'_>) -> String,
    what: &str,
) -> Result<Vec<Positional>, HelpError> {
    let specs = usage::positionals(usage, what)?;
    if specs.len() > MAX_POSITIONALS {
        return Err(HelpError::TooMany {
            what: format!("positional arguments in the {what}"),
            limit: MAX_POSITIONALS,
        });
    }
    let disagree = |detail: String| HelpError::Disagree {
        what: what.to_owned(),
        detail,
    };
    let mut listed = Vec::new();
    for section in &page.sections {
        for item in section.items.iter().filter(|item| !item.is_option()) {
            let shown = Spec::one(item.label);
            // Under a heading of Barman's own, a line that is no argument describes the group.
            let is_argument = |shown: &Spec| specs.iter().any(|spec| spec.shows(shown));
            if !section.known && !shown.as_ref().is_some_and(is_argument) {
                continue;
            }
            if listed.len() > MAX_POSITIONALS {
                break;
            }
            let shown = shown.ok_or_else(|| HelpError::Malformed {
                what: what.to_owned(),
                detail: format!(
                    "{:?} stands where an argument should",
                    super::start(item.label)
                ),
            })?;
            listed.push((item, shown));
        }
    }
    let mut names = HashSet::new();
    let mut positionals = Vec::new();
    for spec in specs {
        // The usage shows `...` alone for an argument that takes the rest of the line.
        let is_rest = spec.word.is_none() && spec.choices.is_empty();
        let place = listed
            .iter()
            .position(|(_, shown)| is_rest || shown.shows(&spec))
            .ok_or_else(|| disagree(format!("{} is not listed", spec.label())))?;
        let (item, shown) = listed.remove(place);
        // A set hides the argument's name.
        let name = shown.word.unwrap_or_else(|| "value".to_owned());
        if !names.insert(name.clone()) {
            return Err(HelpError::Twice {
                what: what.to_owned(),
                name,
            });
        }
        positionals.push(Positional {
            name,
            min: spec.min,
            max: spec.max,
            choices: shown.choices,
            description: help(item),
        });
    }
    match listed.first() {
        Some((item, _)) => Err(disagree(format!(
            "{:?} is not in it",
            super::start(item.label)
        ))),
        None => Ok(positionals),
    }
}

/// What the command does.
fn description(page: &Page<'_>, full: usize, words: &Words) -> String {
    let lines = texts(&page.description);
    if is_raw(page) {
        return lines
            .iter()
            .flat_map(|line| line.split_whitespace())
            .collect::<Vec<_>>()
            .join(" ");
    }
    // The description is wrapped at the right edge of the help column.
    let column = page
        .items()
        .flat_map(|item| &item.lines)
        .map(|line| line.indent)
        .next();
    let edge = column.map_or(0, |column| column.saturating_add(full));
    let full = wrap::full(std::iter::once(lines.as_slice())).max(edge);
    wrap::join(&lines, full, words)
}

/// Whether the description stands as its author wrote it: such text keeps its indent.
fn is_raw(page: &Page<'_>) -> bool {
    page.description.iter().any(|line| line.indent > 0)
}

/// The default that a description states as `(default: X)`; `-` and `None` mean that there is none.
fn default(description: &str) -> Option<String> {
    const START: &str = "(default: ";
    let at = description.rfind(START)?;
    let text = description.get(at + START.len()..)?;
    let mut depth = 1usize;
    let end = text.find(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    })?;
    let stated = text.get(..end)?.trim();
    let unquoted = ['\'', '"']
        .into_iter()
        .find_map(|quote| spec::inside(stated, quote, quote))
        .unwrap_or(stated);
    (!matches!(stated, "" | "-" | "None")).then(|| unquoted.to_owned())
}
