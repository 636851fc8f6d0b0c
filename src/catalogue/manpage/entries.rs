//! The keys of a manual, found in its events.
//!
//! A key is the term of a `.TP` (pandoc), or a paragraph of its own in bold (docutils), not
//! indented. What follows up to the next key, or up to the next section, is its description.

use std::collections::BTreeMap;

use super::roff::{Event, events};
use super::{KeyHelp, MAX_DESCRIPTION, MAX_KEYS};
use crate::catalogue::configkeys::{Scope, is_key};

/// Reads the keys of a manual.
pub(super) fn read(page: &str) -> BTreeMap<String, KeyHelp> {
    let events = events(page);
    let is_options = |title: &str| title.to_ascii_uppercase().contains("OPTION");
    let has_options = events
        .iter()
        .any(|event| matches!(event, Event::Section(title) if is_options(title)));
    let mut entries = Entries {
        wanted: !has_options,
        ..Entries::default()
    };
    for event in events {
        match event {
            Event::Section(title) => {
                entries.close();
                entries.wanted = !has_options || is_options(&title);
                entries.depth = 0;
            }
            _ if !entries.wanted => {}
            event => entries.event(event),
        }
    }
    entries.close();
    entries.found
}

#[derive(Default)]
struct Entries {
    found: BTreeMap<String, KeyHelp>,
    /// Whether the section is one about keys.
    wanted: bool,
    /// How far in we are.
    depth: usize,
    /// The next line is a term.
    term: bool,
    /// The keys that are being described; empty before the first.
    keys: Vec<String>,
    description: Description,
}

impl Entries {
    fn event(&mut self, event: Event) {
        if !matches!(event, Event::Text { .. }) {
            self.term = false;
        }
        match event {
            Event::Section(_) => {}
            // The title of a table stands in the midst of a description; that of the next group
            // of keys, with an introduction, behind the scope of the last one.
            Event::Subsection(_) if self.description.scope.is_some() => self.close(),
            Event::Subsection(title) => {
                self.description.end();
                self.description.text(&title);
                self.description.end();
            }
            Event::Paragraph => self.paragraph(),
            Event::Term => {
                self.paragraph();
                self.term = true;
            }
            Event::Item(mark) => {
                self.paragraph();
                self.description.item(&mark);
            }
            Event::In => {
                self.paragraph();
                self.depth = self.depth.saturating_add(1);
            }
            Event::Out => {
                self.paragraph();
                self.depth = self.depth.saturating_sub(1);
            }
            Event::Text { text, bold } => {
                // In 2.17 to 3.9 a term lost its `.TP` and stands behind the scope of the last key.
                let lost = self.description.scope_was_last && text.contains('_');
                if (std::mem::take(&mut self.term) || lost) && self.open(&text) {
                    return;
                }
                if bold && self.depth == 0 && self.description.at_start() {
                    // Whether the paragraph ends here is known at its end.
                    self.description.bold = Some(text.clone());
                } else {
                    self.description.bold = None;
                }
                self.description.text(&text);
            }
            Event::Line(line) => self.description.line(&line),
        }
    }

    /// Ends the paragraph, which may turn out to have been a key.
    fn paragraph(&mut self) {
        if let Some(text) = self.description.bold.take() {
            let kept = std::mem::take(&mut self.description.paragraph);
            if self.open(&text) {
                return;
            }
            self.description.paragraph = kept;
        }
        self.description.end();
    }

    /// Begins the description of a key, or of several with commas between.
    fn open(&mut self, term: &str) -> bool {
        let keys: Vec<&str> = term.split(',').map(str::trim).collect();
        if self.depth > 0 || !keys.iter().all(|key| is_key(key)) {
            return false;
        }
        self.close();
        self.keys = keys.into_iter().map(str::to_owned).collect();
        true
    }

    fn close(&mut self) {
        if self.description.bold.take().is_some() {
            // A paragraph in bold at the end of a section describes nothing.
            self.description.paragraph.clear();
        }
        let description = std::mem::take(&mut self.description);
        let help = description.finish();
        for key in std::mem::take(&mut self.keys) {
            if self.found.len() < MAX_KEYS || self.found.contains_key(&key) {
                let known = self.found.entry(key).or_default();
                // A second place adds to the first only what that lacks.
                if known.description.is_empty() {
                    known.description.clone_from(&help.description);
                }
                known.scope = known.scope.or(help.scope);
            }
        }
    }
}

/// A description that is being put together.
#[derive(Default)]
struct Description {
    text: String,
    /// The lines of the paragraph that is being read.
    paragraph: Vec<String>,
    /// What stands before the paragraph: `- ` of a list.
    mark: Option<String>,
    /// The paragraph so far is this line in bold.
    bold: Option<String>,
    /// The last thing in `text`.
    last: Last,
    scope: Option<Scope>,
    /// The last line of the paragraph told the scope.
    scope_was_last: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Last {
    #[default]
    Paragraph,
    Item,
    Line,
}

impl Description {
    fn at_start(&self) -> bool {
        self.paragraph.is_empty() && self.mark.is_none()
    }

    fn text(&mut self, text: &str) {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // pandoc breaks lines behind sentences: the scope has a line of its own, or more of them
        // follow behind it.
        let begins = self
            .paragraph
            .last()
            .is_none_or(|line| line.ends_with(['.', ')', ':', '!', '?']));
        let scope = scope_of(&text).filter(|_| begins);
        self.scope_was_last = scope.is_some();
        if scope.is_some() {
            self.scope = scope;
        } else if !text.is_empty() {
            self.paragraph.push(text);
        }
    }

    fn item(&mut self, mark: &str) {
        self.mark = match mark {
            "" => None,
            "•" | "*" | "-" | "o" => Some("- ".to_owned()),
            mark => Some(format!("{mark} ")),
        };
    }

    fn line(&mut self, line: &str) {
        self.end();
        self.push(line.trim_end(), Last::Line);
    }

    /// Ends the paragraph.
    fn end(&mut self) {
        self.scope_was_last = false;
        let text = std::mem::take(&mut self.paragraph).join(" ");
        if text.is_empty() {
            return;
        }
        match self.mark.take() {
            Some(mark) => self.push(&format!("{mark}{}", without_anchors(&text)), Last::Item),
            None => self.push(&without_anchors(&text), Last::Paragraph),
        }
    }

    fn push(&mut self, text: &str, kind: Last) {
        if self.last == Last::Line && kind != Last::Line {
            self.text.truncate(self.text.trim_end().len());
        } else if self.last != Last::Line && kind == Last::Line && text.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            let together = kind == self.last && kind != Last::Paragraph;
            self.text.push_str(if together { "\n" } else { "\n\n" });
        }
        if self.text.len() < MAX_DESCRIPTION {
            self.text.push_str(text);
        }
        self.last = kind;
    }

    fn finish(mut self) -> KeyHelp {
        self.end();
        let mut end = self.text.len().min(MAX_DESCRIPTION);
        while !self.text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        self.text.truncate(end);
        KeyHelp {
            description: self.text.trim().to_owned(),
            scope: self.scope,
        }
    }
}

/// The scope that a sentence tells and nothing else: `Scope: Global / Server.`, `Server.`
fn scope_of(sentence: &str) -> Option<Scope> {
    let text = match sentence.split_once(':') {
        Some((word, text)) if word.eq_ignore_ascii_case("scope") => text,
        Some(_) => return None,
        // Without the word before it, a full stop and a capital tell it from the end of a sentence
        // that was broken there.
        None => sentence
            .strip_suffix('.')
            .filter(|text| text.starts_with(|c: char| c.is_ascii_uppercase()))?,
    };
    Scope::parse(text.trim().trim_end_matches('.'))
}

/// The text without the targets of links inside the manual, `<#term-GPG>`, which lead nowhere.
fn without_anchors(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, anchor)) = rest.split_once(" <#") {
        kept.push_str(before);
        let end = anchor.find([' ', '>']).unwrap_or(anchor.len());
        rest = if let Some(after) = anchor.split_at(end).1.strip_prefix('>') {
            after
        } else {
            kept.push_str(" <#");
            anchor
        };
    }
    kept.push_str(rest);
    kept
}
