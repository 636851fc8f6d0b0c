//! What is wrong with a configuration file, and what to write instead.

use std::fmt;
use std::path::{Path, PathBuf};

use super::shown::name_may_be_shown;

/// One thing that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder.
    pub file: PathBuf,
    /// The line, from 1; `None` when it is about the whole file.
    pub line: Option<usize>,
    /// The section.
    pub section: Option<String>,
    /// The key.
    pub key: Option<String>,
    /// What is wrong, with the value unless it is a secret.
    pub wrong: String,
    /// The same without the value, where `wrong` quotes one: it may be a secret that stands in the
    /// wrong place.
    pub unquoted: Option<String>,
    /// What to write or do instead.
    pub write: String,
    /// Whether it may be meant so: nothing is refused for it.
    pub is_warning: bool,
    /// Whether it is nothing that somebody wrote: a disk or the system fails just now.
    pub is_of_host: bool,
}

impl Problem {
    pub(super) fn new(file: &Path, wrong: &str, write: &str) -> Self {
        let (wrong, write) = (wrong.to_owned(), write.to_owned());
        Self {
            file: file.to_owned(),
            line: None,
            section: None,
            key: None,
            wrong,
            unquoted: None,
            write,
            is_warning: false,
            is_of_host: false,
        }
    }

    pub(super) fn at(file: &Path, line: usize, wrong: &str, write: &str) -> Self {
        Self {
            line: Some(line),
            ..Self::new(file, wrong, write)
        }
    }

    pub(super) fn section(self, section: &str) -> Self {
        Self {
            section: Some(section.to_owned()).filter(|section| !section.is_empty()),
            ..self
        }
    }

    pub(super) fn key(self, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..self
        }
    }

    pub(super) fn unquoted(self, unquoted: Option<String>) -> Self {
        Self { unquoted, ..self }
    }

    /// The same without file and line, for a text that has not become a file yet.
    #[must_use]
    pub fn words(&self) -> String {
        let section = self.section.as_ref().map(|section| format!("[{section}] "));
        let key = self.key.as_ref().map(|key| format!("{key}: "));
        let warning = if self.is_warning { "warning: " } else { "" };
        format!(
            "{}{}{warning}{}; {}",
            section.unwrap_or_default(),
            key.unwrap_or_default(),
            self.wrong,
            self.write
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.words())
    }
}

/// All that is wrong, one line each.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each in turn.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// The same for readers who may not see what stands in the file: no value is quoted, and no
    /// name of a key that may be one.
    #[must_use]
    pub fn without_values(&self) -> Self {
        let bare = |problem: &Problem| Problem {
            key: problem.key.clone().filter(|key| {
                name_may_be_shown(problem.section.as_deref().unwrap_or_default(), key)
            }),
            wrong: problem
                .unquoted
                .clone()
                .unwrap_or_else(|| problem.wrong.clone()),
            ..problem.clone()
        };
        Self(self.0.iter().map(bare).collect())
    }

    /// Adds one.
    pub fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Puts them in the order of the file, what has no line last.
    pub fn sort(&mut self) {
        self.0
            .sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}
