//! One help text, cleaned and cut into usage, description and sections.
//!
//! Nothing here knows what an option or a command is: only lines, indents and headings, as
//! argparse lays them out. All of it is one pass over the text.

use super::HelpError;
use crate::names::is_line_or_control;

/// The most bytes one help text may have. Barman's longest has 20 KiB.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// The most lines one help text may have. Barman's longest has 700, at 20 columns.
const MAX_LINES: usize = 20_000;

/// The headings that argparse gives of itself; before Python 3.10 it wrote the last one.
const HEADINGS: [&str; 3] = ["positional arguments:", "options:", "optional arguments:"];

/// The indent of what a section lists.
const ITEM: usize = 2;

/// A help text in parts.
pub(super) struct Page<'t> {
    /// The usage, its lines joined, without the word `usage:`.
    pub(super) usage: String,
    /// The lines of the description.
    pub(super) description: Vec<Line<'t>>,
    /// The sections in order.
    pub(super) sections: Vec<Section<'t>>,
}

/// One section of a help text.
pub(super) struct Section<'t> {
    /// Whether argparse made the section of itself.
    pub(super) known: bool,
    /// What it lists.
    pub(super) items: Vec<Item<'t>>,
}

/// One entry of a section.
pub(super) struct Item<'t> {
    /// The words in the left column.
    pub(super) label: &'t str,
    /// The lines that belong to it: its help, or, under the set of commands, the commands.
    pub(super) lines: Vec<Line<'t>>,
}

/// A line without surrounding spaces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'t> {
    /// The column at which it starts.
    pub(super) indent: usize,
    /// What it says.
    pub(super) text: &'t str,
}

impl<'t> Line<'t> {
    fn new(line: &'t str) -> Self {
        let text = line.trim_start_matches(' ');
        Self {
            indent: line.len() - text.len(),
            text: text.trim_end_matches(' '),
        }
    }

    /// Cuts a line at its first wide gap into a left column and a line of help.
    ///
    /// argparse folds white space inside help and writes two spaces at least between the columns.
    pub(super) fn columns(self) -> (&'t str, Option<Self>) {
        let Some((label, rest)) = self.text.split_once("  ") else {
            return (self.text, None);
        };
        let text = rest.trim_start_matches(' ');
        let before = self.text.len() - text.len();
        let indent = self.indent + self.text.chars().count() - text.chars().count();
        debug_assert!(before > label.len());
        (label, (!text.is_empty()).then_some(Self { indent, text }))
    }
}

/// Drops terminal sequences and control characters; a tab becomes a space.
///
/// # Errors
/// When the text is longer than [`MAX_BYTES`] or has too many lines; `what` names it then.
pub(super) fn clean(text: &str, what: &str) -> Result<String, HelpError> {
    if text.len() > MAX_BYTES {
        return Err(HelpError::TooLong {
            what: what.to_owned(),
            size: text.len(),
            limit: MAX_BYTES,
        });
    }
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut lines = 0;
    while let Some(c) = chars.next() {
        match c {
            '\n' => {
                lines += 1;
                kept.push('\n');
            }
            '\t' => kept.push(' '),
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_until(&mut chars, |c| matches!(c, '@'..='~')),
            c if is_line_or_control(c) => {}
            c => kept.push(c),
        }
    }
    if lines > MAX_LINES {
        return Err(HelpError::TooMany {
            what: format!("lines of the {what}"),
            limit: MAX_LINES,
        });
    }
    Ok(kept)
}

type Chars<'t> = std::iter::Peekable<std::str::Chars<'t>>;

/// Skips the rest of a terminal sequence whose ESC has been read; never past the end of the line.
fn skip_escape(chars: &mut Chars<'_>) {
    match chars.next_if(|c| *c != '\n') {
        Some('[') => skip_until(chars, |c| matches!(c, '@'..='~')),
        Some(']' | 'P' | 'X' | '^' | '_') => {
            skip_until(chars, |c| matches!(c, '\u{7}' | '\u{1b}' | '\u{9c}'));
            // A string may end with ESC and a backslash.
            let _backslash = chars.next_if_eq(&'\\');
        }
        Some(' '..='/') => skip_until(chars, |c| !matches!(c, ' '..='/')),
        _ => {}
    }
}

fn skip_until(chars: &mut Chars<'_>, last: impl Fn(char) -> bool) {
    while let Some(c) = chars.next_if(|c| *c != '\n') {
        if last(c) {
            return;
        }
    }
}

impl<'t> Page<'t> {
    /// Cuts a cleaned text into its parts; what stands before the usage is passed over.
    ///
    /// # Errors
    /// When there is no usage; `what` names the text then.
    pub(super) fn parse(text: &'t str, what: &str) -> Result<Self, HelpError> {
        let mut lines = text
            .lines()
            .skip_while(|line| !line.starts_with("usage:"))
            .peekable();
        let usage = lines
            .by_ref()
            .take_while(|line| !line.trim().is_empty())
            .map(|line| line.strip_prefix("usage:").unwrap_or(line).trim())
            .collect::<Vec<_>>()
            .join(" ");
        if usage.is_empty() {
            return Err(HelpError::NoUsage {
                what: what.to_owned(),
                start: super::start(text),
            });
        }
        let lines: Vec<Line<'t>> = lines.map(Line::new).collect();
        let mut page = Self {
            usage,
            description: Vec::new(),
            sections: Vec::new(),
        };
        page.read_body(&lines);
        Ok(page)
    }

    fn read_body(&mut self, lines: &[Line<'t>]) {
        let mut after_blank = true;
        let mut ended = false;
        for (line, next) in lines
            .iter()
            .zip(lines.iter().skip(1).map(Some).chain([None]))
        {
            if line.text.is_empty() {
                after_blank = true;
                continue;
            }
            let begins = after_blank && self.is_heading(*line, next.copied());
            after_blank = false;
            if begins {
                ended = false;
                self.sections.push(Section {
                    known: HEADINGS.contains(&line.text),
                    items: Vec::new(),
                });
            } else if let Some(section) = self.sections.last_mut() {
                // A line at the margin under the sections is the closing remark.
                ended |= line.indent < ITEM;
                if !ended {
                    section.take(*line);
                }
            } else {
                self.description.push(*line);
            }
        }
    }

    /// Whether a line that follows an empty one begins a section.
    ///
    /// A description may hold a line such as `Example:` too, so a heading that argparse does not
    /// give of itself must stand among sections, or over options or a set of commands.
    fn is_heading(&self, line: Line<'_>, next: Option<Line<'_>>) -> bool {
        line.indent == 0
            && line.text.ends_with(':')
            && next.is_some_and(|next| {
                next.indent == ITEM
                    && (HEADINGS.contains(&line.text)
                        || !self.sections.is_empty()
                        || next.text.starts_with(['-', '{']))
            })
    }

    /// Every item of every section.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item<'t>> {
        self.sections.iter().flat_map(|section| &section.items)
    }
}

impl<'t> Section<'t> {
    fn take(&mut self, line: Line<'t>) {
        if line.indent == ITEM {
            let (label, help) = line.columns();
            self.items.push(Item {
                label,
                lines: help.into_iter().collect(),
            });
        } else if let Some(item) = self.items.last_mut() {
            item.lines.push(line);
        }
    }
}

impl Item<'_> {
    /// Whether the item is an option.
    pub(super) fn is_option(&self) -> bool {
        self.label.starts_with('-')
    }
}
