//! Lossless ini text: what was read is written back byte for byte, and an edit touches only the
//! lines it must.
//!
//! The text is read as Python's `configparser` reads it (the module behind Barman's and
//! barmanapi's files, CPython 3 `Lib/configparser.py`, `RawConfigParser._read`): keys are
//! lower-cased, section names are not; `=` and `:` separate; `#` and `;` start a comment only at
//! the start of a line; a deeper indented line continues the value above it; `\n`, `\r\n` and
//! `\r` end a line. Two things are read more kindly: a section or key that stands twice (its last
//! value wins, as barmanapi's Python 2 parser has it) and a byte order mark.
//!
//! This module knows lines, sections and keys. What `[DEFAULT]` hands down and what `%(name)s`
//! stands for is for its callers.

mod document;
mod edit;
mod line;

pub use document::Document;
pub use edit::EditError;
pub use line::Fault;

/// A file that can't be read as ini text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct IniError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}
