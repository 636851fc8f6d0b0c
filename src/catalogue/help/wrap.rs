//! Putting wrapped text together again.
//!
//! argparse wraps with Python's `textwrap`: at white space, behind the hyphen of a compound, and,
//! where a word is longer than the line, anywhere. The first is undone by a space; the second by
//! nothing, told by the letters around the hyphen; the third leaves no mark. It can only be
//! suspected where a line is full to the last column and the word, put together, would not fit
//! one line; then what is known of the other words decides. Measured on the help of 2.10 to 3.19.1:
//! from 24 columns on every text comes out as it went in, below one space may be too many or
//! missing in a description.

use std::collections::HashSet;

/// The most words kept; Barman's help has 1,000.
const MAX_WORDS: usize = 20_000;

/// No English word is this long, so two that were joined are two.
const LONGEST_WORD: usize = 15;

/// The most characters of one word that are looked at.
const MAX_WORD: usize = 200;

/// The words that are seen whole in help texts.
#[derive(Default)]
pub(super) struct Words(HashSet<String>);

impl Words {
    /// Learns the words of one wrapped text, those left out that may have been cut.
    pub(super) fn learn(&mut self, lines: &[&str], full: usize) {
        let last = lines.len().saturating_sub(1);
        let mut after_full = false;
        for (at, line) in lines.iter().enumerate() {
            let is_full = at < last && width(line) >= full;
            let mut words = line.split(' ').peekable();
            let mut first = true;
            while let Some(word) = words.next() {
                let may_be_cut = first && after_full || is_full && words.peek().is_none();
                first = false;
                if !may_be_cut {
                    self.add(word);
                }
            }
            after_full = is_full;
        }
    }

    /// Learns one word.
    pub(super) fn add(&mut self, word: &str) {
        let word = bare(word);
        if (1..=MAX_WORD).contains(&word.len())
            && self.0.len() < MAX_WORDS
            && !self.0.contains(word)
        {
            self.0.insert(word.to_owned());
        }
    }

    fn know(&self, word: &str) -> bool {
        self.0.contains(bare(word))
    }
}

/// The width of the longest line that is followed by another one of its text.
pub(super) fn full<'t>(texts: impl Iterator<Item = &'t [&'t str]>) -> usize {
    texts
        .filter_map(|lines| lines.split_last())
        .flat_map(|(_, before)| before)
        .map(|line| width(line))
        .max()
        .unwrap_or(0)
}

/// Joins the lines of one wrapped text. `full` is the width of a full line.
pub(super) fn join(lines: &[&str], full: usize, words: &Words) -> String {
    let mut text = String::new();
    let mut before: Option<&str> = None;
    for line in lines.iter().filter(|line| !line.is_empty()) {
        if let Some(before) = before {
            let joint = Joint {
                text: &text,
                before,
                after: line,
                full,
            };
            if !joint.is_inside_a_word(words) {
                text.push(' ');
            }
        }
        text.push_str(line);
        before = Some(line);
    }
    text
}

/// Where two lines meet.
struct Joint<'t> {
    /// All text before.
    text: &'t str,
    /// The line before.
    before: &'t str,
    /// The line after.
    after: &'t str,
    /// The width of a full line.
    full: usize,
}

impl Joint<'_> {
    fn is_inside_a_word(&self, words: &Words) -> bool {
        let head = self.after.split(' ').next().unwrap_or_default();
        let tail = self.before.rsplit(' ').next().unwrap_or_default();
        let chunk = first_chunk(self.after);
        if width(self.before) + width(chunk) <= self.full {
            return false; // It would have fitted, so a space stood here.
        }
        if ends_in_hyphen(self.before) && starts_a_compound(self.after) {
            return !matches!(head, "and" | "or"); // As in "pre- and post-".
        }
        if ends_in_dash(tail) && self.after.starts_with(is_word)
            || is_lone_quote(tail) && self.after.starts_with("--")
        {
            return true;
        }
        if width(last_chunk(tail)) + width(chunk) <= self.full {
            return false; // The word would have been moved, not cut.
        }
        if width(self.before) < self.full {
            // Newer Pythons cut a long word behind its last hyphen that fits.
            return tail.ends_with('-') && tail.chars().any(char::is_alphanumeric);
        }
        self.is_cut(tail, head, words)
    }

    /// Whether the last word of a full line and the first of the next are parts of one.
    ///
    /// Certain is nothing here; the order is that of how much each sign says.
    fn is_cut(&self, tail: &str, head: &str, words: &Words) -> bool {
        // The word so far: its start may be lines above.
        let start = last_word(self.text);
        let whole = format!("{start}{head}");
        if words.know(&whole) || starts_inside(head) || ends_inside(start) {
            return true;
        }
        if ends_whole(start) || head.starts_with(['`', '\'', '"', '(', '[', '{']) {
            return false;
        }
        if tail.ends_with(['.', '!', '?']) && head.starts_with(char::is_uppercase) {
            return false;
        }
        if opens_quote(start) {
            return true;
        }
        let whole = bare(&whole);
        let is_plain = whole.chars().all(char::is_alphabetic);
        match (words.know(tail), words.know(head)) {
            (true, true) => false,
            // A cut seldom falls so that what it leaves is a word.
            (false, true) if width(bare(head)) > 3 => false,
            (true, false) if (2..=4).contains(&width(bare(tail))) || tail.ends_with('.') => false,
            (false, false) if is_plain => width(whole) <= LONGEST_WORD,
            _ => !is_plain,
        }
    }
}

/// The last word of a text; of a word without end, its end.
fn last_word(text: &str) -> &str {
    let start = text
        .char_indices()
        .rev()
        .take(MAX_WORD)
        .take_while(|(_, c)| *c != ' ')
        .last()
        .map_or(text.len(), |(at, _)| at);
    text.get(start..).unwrap_or_default()
}

/// The number of columns a text takes, one for each character, as Python counts them.
pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}

/// A word without the marks around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '/' | '_' | '%' | '~'))
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The marks that `textwrap` counts with the word before a dash.
fn is_word_or_mark(c: char) -> bool {
    is_word(c) || matches!(c, '!' | '"' | '\'' | '&' | '.' | ',' | '?')
}

/// Whether a text ends in a hyphen behind which `textwrap` breaks: two letters before it, or a
/// letter, a hyphen and a character.
fn ends_in_hyphen(text: &str) -> bool {
    let mut back = text.chars().rev();
    if back.next() != Some('-') {
        return false;
    }
    match (back.next(), back.next(), back.next()) {
        (Some(near), Some('-'), Some(letter)) => is_word_or_mark(near) && is_letter(letter),
        (Some(near), Some(far), _) => is_letter(near) && is_letter(far),
        _ => false,
    }
}

/// Whether a text starts as the second part of a compound: a letter, perhaps a hyphen, a letter.
fn starts_a_compound(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(is_letter)
        && match chars.next() {
            Some('-') => chars.next().is_some_and(is_letter),
            next => next.is_some_and(is_letter),
        }
}

/// Whether a word ends in a dash of two hyphens or more that belongs to it, as in `so--`.
fn ends_in_dash(word: &str) -> bool {
    let start = word.trim_end_matches('-');
    word.len() - start.len() >= 2 && start.ends_with(is_word_or_mark)
}

/// Whether a word is an opening quote alone: `textwrap` takes the `--` after it for a dash.
fn is_lone_quote(word: &str) -> bool {
    matches!(word, "'" | "\"")
}

/// Whether a mark at the end of a word shows that it ends there.
fn ends_whole(word: &str) -> bool {
    let quoted =
        |quote| word.len() > 1 && word.starts_with(['\'', '"', '(']) && word.ends_with(quote);
    word.ends_with([',', ';', ':', ')', ']', '}', '`']) || quoted('\'') || quoted('"')
}

/// Whether a word goes on: its last mark joins or opens.
fn ends_inside(word: &str) -> bool {
    word.ends_with('_') || !word.is_empty() && word.chars().all(|c| "`'\"([{".contains(c))
}

/// Whether a word is the rest of one: it starts with a mark that closes.
fn starts_inside(word: &str) -> bool {
    word.starts_with(['.', ',', ';', ':', ')', ']', '}', '!', '?'])
        || !word.chars().any(char::is_alphanumeric)
            && word.contains(['.', ',', ')', '\'', '"', '`'])
}

/// Whether a word opens a quotation that it does not close.
fn opens_quote(word: &str) -> bool {
    ['\'', '"', '`']
        .into_iter()
        .any(|quote| word.starts_with(quote) && word.matches(quote).count() == 1)
}

/// The part of a line that could not be broken, at its start.
fn first_chunk(line: &str) -> &str {
    let word = line.split(' ').next().unwrap_or_default();
    breaks(word)
        .next()
        .and_then(|at| word.get(..at))
        .unwrap_or(word)
}

/// The part of a word that could not be broken, at its end.
fn last_chunk(word: &str) -> &str {
    breaks(word)
        .last()
        .and_then(|at| word.get(at..))
        .unwrap_or(word)
}

/// The places inside a word where `textwrap` may break it, behind its hyphens.
fn breaks(word: &str) -> impl Iterator<Item = usize> {
    word.match_indices('-').filter_map(|(at, hyphen)| {
        let (before, after) = word.split_at_checked(at + hyphen.len())?;
        (ends_in_hyphen(before) && starts_a_compound(after)).then_some(before.len())
    })
}
