//! Lossless ini text: what was read is written back byte for byte, and an edit touches only the
//! lines it must.
//!
//! The text is read as Python's `ConfigParser(strict=False)` reads it, which is how every Barman
//! from 2.10 to 3.19 builds its parser (`barman/config.py`, `Config.__init__`; CPython 3
//! `Lib/configparser.py`, `RawConfigParser._read`):
//!
//! - `\n`, `\r\n` and `\r` end a line, and nothing else does; form feeds, U+0085, U+2028 and the
//!   like are white space.
//! - Keys are lower-cased, section names are not; `=` or `:` separates, the first of them; a key
//!   without either is an error.
//! - `#` and `;` start a comment only at the start of a line, white space aside.
//! - A line that is indented deeper than the key above it continues its value, whatever it looks
//!   like; blank lines within count, comments do not.
//! - A header runs from `[` to the last `]`; what follows it is ignored. White space within the
//!   brackets belongs to the name, and `[]` is none.
//! - A section or key may stand twice: sections of one name are one, and the last value wins.
//! - `[DEFAULT]` hands its keys down to every other section, and `%(name)s` stands for the value of
//!   another key ([`Document::interpolated`]).
//! - Bytes that are not UTF-8 are refused wherever they stand. Python reads with the encoding of its
//!   locale, and Barman is always started under a UTF-8 one.
//! - A byte order mark is refused: Python takes it for a part of the first line.
//!
//! Pythons differ in one thing: before 3.10 a header ended at its first `]`, so that `[a]b]` was
//! the section `a` there and is `a]b` since. Texts with one `]` per header read alike everywhere.
//!
//! What Barman makes of it is not part of this:
//!
//! - A pair of quotes around a value is stripped, and `None` is no value (`Config.get`).
//! - Until 3.9 one parser reads all files one after the other: a `[DEFAULT]` counts for all of them,
//!   a reference may name a key of another file, and a wrong one fails where the key is used (those
//!   of `[barman]` always are).
//! - From 3.10 on every file is read by a parser of its own: a `[DEFAULT]` counts in its file alone,
//!   what it hands down becomes the sections' own, references name keys of the same file, one that
//!   is wrong makes the file unreadable, and values are interpolated a second time when they are
//!   used ([`is_settable`]).

mod document;
mod edit;
mod interpolation;
mod line;

pub use document::{Document, Setting};
pub use edit::EditError;
pub use interpolation::{InterpolationError, escape, expand, is_settable};
pub use line::Fault;

/// The section whose values all others inherit.
pub const DEFAULT: &str = "DEFAULT";

/// A file that can't be read as ini text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct IniError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}
