//! Changes to ini text, each on the lines it must touch and no other.
//!
//! Every change is made on a copy, which is then read anew: unless it says exactly what was asked
//! for and nothing else, the change is refused and the document stays as it was.

use std::ops::Range;

use super::document::{Content, Document};
use super::line::{Kind, Line, is_space};
use crate::names::is_line_or_control;

/// A change that was refused; the document is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The section does not stand in the file.
    #[error("no section [{0}]: add it first")]
    NoSection(String),
    /// The section stands in the file already.
    #[error("section [{0}] exists already")]
    SectionExists(String),
    /// A name that can't be a section.
    #[error("{0:?} can't be a section name: no brackets, line ends or surrounding spaces")]
    SectionName(String),
    /// A word that can't be a key.
    #[error("{0:?} can't be a key: no separator, line end, comment sign or surrounding space")]
    Key(String),
    /// A value that would not read back as it is. The value is not repeated: it may be a secret.
    #[error("the value of {0:?} has a line end, a control character or surrounding spaces")]
    Value(String),
    /// A value that would be interpolated. It is not repeated: it may be a secret.
    #[error("the value of {0:?} has a %, which is taken for a reference: write it as %%")]
    Percent(String),
    /// The file is written in a way that this change would spoil.
    #[error("[{0}] can't be edited: its lines would be read differently; edit it by hand")]
    Entangled(String),
}

impl Document {
    /// Sets the value of a key, which must then be read back as it is, by [`get`](Self::get) and by
    /// [`interpolated`](Self::interpolated) alike. The key's line changes in place (the last one,
    /// where it stands twice), a continued value becomes one line, and a new key is added below
    /// the section's last.
    ///
    /// # Errors
    /// When the section is missing or the value would not read back as itself.
    pub fn set(&mut self, section: &str, key: &str, value: &str) -> Result<(), EditError> {
        if value.contains('%') {
            return Err(EditError::Percent(key.to_lowercase()));
        }
        self.set_raw(section, key, value)
    }

    /// Sets the text of a value as [`set`](Self::set) does, a `%` in it too: for files that are not
    /// interpolated, and for values that are escaped or refer to others.
    ///
    /// # Errors
    /// When the section is missing or the text would not be read back as it is.
    pub fn set_raw(&mut self, section: &str, key: &str, value: &str) -> Result<(), EditError> {
        let key = key.to_lowercase();
        check_key(&key)?;
        if value.chars().any(|c| is_line_or_control(c) && c != '\t')
            || value.trim_matches(is_space) != value
        {
            return Err(EditError::Value(key));
        }
        if !self.has_section(section) {
            return Err(EditError::NoSection(section.to_owned()));
        }
        let old = self.get(section, &key);
        if old.as_deref() == Some(value) {
            return Ok(());
        }
        let mut wanted = self.content();
        for (_, entries) in wanted.iter_mut().filter(|(name, _)| name == section) {
            match entries.iter_mut().find(|(name, _)| *name == key) {
                Some((_, old)) => value.clone_into(old),
                None => entries.push((key.clone(), value.to_owned())),
            }
        }
        if let Some(at) = self.entry_lines(section, &key).pop() {
            let mut lines = self.lines.clone();
            rewrite(&mut lines, at, value);
            return self.become_lines(&lines, section, &wanted);
        }
        let mut outcome = Err(EditError::Entangled(section.to_owned()));
        for indent in self.indents(section) {
            let mut lines = self.lines.clone();
            self.insert(&mut lines, section, &indent, (&key, value));
            outcome = self.become_lines(&lines, section, &wanted);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Adds an empty section at the end of the file.
    ///
    /// # Errors
    /// When it exists already or the name can't stand between brackets.
    pub fn add_section(&mut self, name: &str) -> Result<(), EditError> {
        if self.has_section(name) {
            return Err(EditError::SectionExists(name.to_owned()));
        }
        if name.is_empty()
            || name.contains(['[', ']'])
            || name.chars().any(is_line_or_control)
            || name.trim_matches(is_space) != name
        {
            return Err(EditError::SectionName(name.to_owned()));
        }
        let mut wanted = self.content();
        wanted.push((name.to_owned(), Vec::new()));
        let mut lines = self.lines.clone();
        let end = self.line_end(lines.len().saturating_sub(1));
        if let Some(last) = lines.last_mut() {
            if last.ending().is_empty() {
                last.raw.extend_from_slice(&end);
            }
            if last.kind != Kind::Blank {
                lines.push(bare_line("", &end));
            }
        }
        lines.push(bare_line(&format!("[{name}]"), &end));
        self.become_lines(&lines, name, &wanted)
    }

    /// Removes a section, all its blocks; comments and blank lines below its last key stay, for
    /// they mostly belong to what follows. `false` when there is none of this name.
    ///
    /// # Errors
    /// When the lines around it would then be read differently.
    pub fn remove_section(&mut self, name: &str) -> Result<bool, EditError> {
        if !self.has_section(name) {
            return Ok(false);
        }
        let mut wanted = self.content();
        wanted.retain(|(section, _)| section != name);
        let mut lines = self.lines.clone();
        for block in self.blocks(name).into_iter().rev() {
            let last = self.last_said(&block);
            lines.drain(block.start..=last);
        }
        self.become_lines(&lines, name, &wanted)?;
        Ok(true)
    }

    /// Removes a key wherever it stands in a section; comments stay. `false` when it is not there.
    ///
    /// # Errors
    /// When the lines around it would then be read differently.
    pub fn remove_key(&mut self, section: &str, key: &str) -> Result<bool, EditError> {
        let key = key.to_lowercase();
        let places = self.entry_lines(section, &key);
        if places.is_empty() {
            return Ok(false);
        }
        let mut wanted = self.content();
        for (_, entries) in wanted.iter_mut().filter(|(name, _)| name == section) {
            entries.retain(|(name, _)| *name != key);
        }
        let mut lines = self.lines.clone();
        for at in places.into_iter().rev() {
            remove_continuations(&mut lines, at);
            lines.remove(at);
        }
        self.become_lines(&lines, section, &wanted)?;
        Ok(true)
    }

    /// Takes the lines over when they say what is wanted.
    fn become_lines(
        &mut self,
        lines: &[Line],
        section: &str,
        wanted: &Content,
    ) -> Result<(), EditError> {
        match self.reread(lines) {
            Ok(new) if new.content() == *wanted => {
                *self = new;
                Ok(())
            }
            _ => Err(EditError::Entangled(section.to_owned())),
        }
    }

    /// The line ranges of a section's blocks, headers included.
    fn blocks(&self, name: &str) -> Vec<Range<usize>> {
        let headers: Vec<(usize, &str)> = self
            .lines
            .iter()
            .enumerate()
            .filter_map(|(at, line)| match &line.kind {
                Kind::Section(name) => Some((at, name.as_str())),
                _ => None,
            })
            .collect();
        let ends = headers.iter().skip(1).map(|(at, _)| *at);
        headers
            .iter()
            .zip(ends.chain([self.lines.len()]))
            .filter(|((_, header), _)| *header == name)
            .map(|((start, _), end)| *start..end)
            .collect()
    }

    /// The lines on which a key of a section stands.
    fn entry_lines(&self, section: &str, key: &str) -> Vec<usize> {
        let is_key = |at: &usize| matches!(self.lines.get(*at).map(|line| &line.kind), Some(Kind::Entry { key: name, .. }) if name == key);
        let blocks = self.blocks(section).into_iter().flatten();
        blocks.filter(is_key).collect()
    }

    /// The last line of a block that is neither blank nor a comment.
    fn last_said(&self, block: &Range<usize>) -> usize {
        let said = |at: &usize| {
            let kind = self.lines.get(*at).map(|line| &line.kind);
            !matches!(kind, None | Some(Kind::Blank | Kind::Comment))
        };
        block.clone().rev().find(said).unwrap_or(block.start)
    }

    /// How deep a new key of a section may stand: as deep as the one above it, or as the line that
    /// follows, which would else continue its value.
    fn indents(&self, section: &str) -> Vec<String> {
        let Some(block) = self.blocks(section).pop() else {
            return Vec::new();
        };
        let last = self.last_said(&block);
        let (above, below) = self.lines.split_at((last + 1).min(self.lines.len()));
        let says = |line: &&Line| matches!(line.kind, Kind::Section(_) | Kind::Entry { .. });
        let models = [above.iter().rfind(says), below.iter().find(says)];
        let models = models.into_iter().flatten();
        models.map(|line| line.indent().to_owned()).collect()
    }

    /// Adds a key below the last one of a section's last block, written as that one is.
    fn insert(&self, lines: &mut Vec<Line>, section: &str, indent: &str, pair: (&str, &str)) {
        let Some(block) = self.blocks(section).pop() else {
            return;
        };
        let last = self.last_said(&block);
        let entry = self.lines.get(block).unwrap_or_default().iter().rev();
        let model = entry
            .filter(|line| matches!(line.kind, Kind::Entry { .. }))
            .chain(self.lines.iter().rev())
            .find_map(separator)
            .unwrap_or(" = ");
        let end = self.line_end(last);
        if let Some(anchor) = lines.get_mut(last)
            && anchor.ending().is_empty()
        {
            anchor.raw.extend_from_slice(&end);
        }
        let (key, value) = pair;
        lines.insert(
            last + 1,
            bare_line(&format!("{indent}{key}{model}{value}"), &end),
        );
    }

    /// How a line added below another one ends: as that one does, else as the first.
    fn line_end(&self, above: usize) -> Vec<u8> {
        let models = [self.lines.get(above), self.lines.first()];
        let mut ends = models.into_iter().flatten().map(Line::ending);
        let end = ends.find(|end| !end.is_empty());
        end.unwrap_or(b"\n").to_vec()
    }
}

fn check_key(key: &str) -> Result<(), EditError> {
    if key.is_empty()
        || key.contains(['=', ':'])
        || key.starts_with(['#', ';', '['])
        || key.chars().any(is_line_or_control)
        || key.trim_matches(is_space) != key
    {
        return Err(EditError::Key(key.to_owned()));
    }
    Ok(())
}

/// A line whose kind is found out when the text is read anew.
fn bare_line(text: &str, end: &[u8]) -> Line {
    Line {
        raw: [text.as_bytes(), end].concat(),
        kind: Kind::Blank,
    }
}

/// The separator of an entry with the white space around it.
fn separator(line: &Line) -> Option<&str> {
    let Kind::Entry { value, .. } = &line.kind else {
        return None;
    };
    if value.is_empty() {
        return None;
    }
    let before = line.text(&(0..value.start));
    let at = before.find(['=', ':'])?;
    let start = before.get(..at)?.trim_end_matches(is_space).len();
    before.get(start..)
}

/// Puts a value in place of an entry's, and drops the lines that continued the old one.
fn rewrite(lines: &mut Vec<Line>, at: usize, value: &str) {
    remove_continuations(lines, at);
    let Some(line) = lines.get_mut(at) else {
        return;
    };
    let Kind::Entry { value: place, .. } = line.kind.clone() else {
        return;
    };
    if !place.is_empty() {
        line.raw.splice(place, value.bytes());
        return;
    }
    // Nothing stands behind the separator but spaces: its two sides are made alike.
    let before = line.text(&(0..place.start.saturating_sub(1)));
    let space = if before.ends_with(is_space) { " " } else { "" };
    let end = line.raw.len() - line.ending().len();
    let text = format!("{space}{value}");
    line.raw.splice(place.start..end, text.into_bytes());
}

fn remove_continuations(lines: &mut Vec<Line>, entry: usize) {
    let mut at = entry + 1;
    while let Some(line) = lines.get(at) {
        match line.kind {
            Kind::Continuation(_) => drop(lines.remove(at)),
            Kind::Blank | Kind::Comment => at += 1,
            Kind::Section(_) | Kind::Entry { .. } => break,
        }
    }
}

#[cfg(test)]
mod tests;
