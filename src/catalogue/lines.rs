//! A strict reader of the small files in `share/`: sections, `key = value` or bare keys, comments.
//!
//! It is not an ini reader: there are no continuation lines, no quotes and no defaults, and what
//! it does not know is an error. Configuration files of people are read elsewhere.

/// One line that carries something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Line number, from 1.
    pub(super) line: usize,
    /// The section the line stands in; empty before the first one.
    pub(super) section: &'a str,
    /// The key, or `None` for the section's own header line.
    pub(super) key: Option<&'a str>,
    /// What follows `=`; `None` for a bare key.
    pub(super) value: Option<&'a str>,
}

/// A line that cannot be read: its number, from 1, and what is wrong with it.
pub(super) type Problem = (usize, String);

/// Reads a text into its entries.
///
/// # Errors
/// At the first line that is neither a comment, a section, `key = value` nor a bare key, and at a
/// section or key that stands there twice.
pub(super) fn read(text: &str) -> Result<Vec<Entry<'_>>, Problem> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut section = "";
    for (line, raw) in text
        .lines()
        .enumerate()
        .map(|(index, raw)| (index + 1, raw))
    {
        if raw.trim().is_empty() || raw.starts_with(['#', ';']) {
            continue;
        }
        if raw.starts_with(char::is_whitespace) {
            return Err((line, "a line begins in the first column".into()));
        }
        let raw = raw.trim_end();
        let (key, value) = if let Some(header) = raw.strip_prefix('[') {
            section = header
                .strip_suffix(']')
                .filter(|name| !name.is_empty() && !name.contains(['[', ']']))
                .ok_or_else(|| (line, format!("{raw:?} is not a [section]")))?;
            (None, None)
        } else {
            let (key, value) = match raw.split_once('=') {
                Some((key, value)) => (key.trim_end(), Some(value.trim())),
                None => (raw, None),
            };
            if key.is_empty() {
                return Err((line, "a key is missing before '='".into()));
            }
            (Some(key), value)
        };
        if !seen.insert((section, key)) {
            let what = key.map_or_else(|| format!("[{section}]"), |key| format!("{key:?}"));
            return Err((line, format!("{what} stands here twice")));
        }
        entries.push(Entry {
            line,
            section,
            key,
            value,
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_and_comments_are_told_apart() {
        let entries = read("# c\n[a]\nx = 1\ny\n\n; d\n[b]\nx=\n").unwrap();
        let told: Vec<_> = entries
            .iter()
            .map(|entry| (entry.line, entry.section, entry.key, entry.value))
            .collect();
        assert_eq!(
            told,
            [
                (2, "a", None, None),
                (3, "a", Some("x"), Some("1")),
                (4, "a", Some("y"), None),
                (7, "b", None, None),
                (8, "b", Some("x"), Some("")),
            ]
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for (text, line) in [
            ("[a]\nx = 1\n y\n", 3),
            ("[a\n", 1),
            ("[]\n", 1),
            ("[a]\nx = 1\nx = 2\n", 3),
            ("[a]\n[b]\n[a]\n", 3),
            ("= 1\n", 1),
        ] {
            assert_eq!(read(text).unwrap_err().0, line, "{text:?}");
        }
    }
}
