//! What `%(name)s` in a value stands for.
//!
//! The rules of CPython's `configparser.BasicInterpolation` (`Lib/configparser.py`, 3.11): `%%` is
//! a `%`, `%(name)s` the value of another key of the section or of `[DEFAULT]`, expanded in turn up
//! to ten deep, and every other `%` is an error.

/// How deep references may go (`configparser.MAX_INTERPOLATION_DEPTH`).
const DEPTH: usize = 10;

/// How many bytes references may add to a value. Python sets no limit; a few lines that name each
/// other ten times each would fill the memory.
const ADDED: usize = 64 * 1024;

/// Why a value can't be interpolated. Values are not repeated: they may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterpolationError {
    /// A reference to a key that neither the section nor `[DEFAULT]` has.
    #[error("%({0})s names no key of the section or of [DEFAULT]")]
    Missing(String),
    /// A `%` that begins neither `%%` nor `%(name)s`.
    #[error("a % that begins neither %% nor %(name)s; write %% for a %")]
    Syntax,
    /// References that lead to references, more than ten deep or in a circle.
    #[error("references lead on to references more than {DEPTH} times")]
    Depth,
    /// References that make a value of enormous length. Python would try.
    #[error("references make the value too long")]
    TooLong,
}

/// Replaces the references of a value by what `lookup` has for them, whose references are replaced
/// in turn; names are lower-cased first.
///
/// # Errors
/// When Python's `get` would fail.
pub fn expand<'a>(
    raw: &'a str,
    lookup: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<String, InterpolationError> {
    let mut expansion = Expansion {
        lookup,
        text: String::new(),
        left: ADDED + raw.len(),
    };
    expansion.add(raw, 1)?;
    Ok(expansion.text)
}

/// Whether Python's `ConfigParser.set` takes a value: every `%` in it must begin `%%` or
/// `%(name)s`.
///
/// Barman from 3.10 on reads each file by itself, interpolates its values, and hands the results to
/// `set` of another parser, which interpolates them again: there the result of an interpolation
/// must pass this too, and a `%` is written `%%%%` (`ConfigMapping.read_config` in
/// `barman/config.py`).
#[must_use]
pub fn is_settable(value: &str) -> bool {
    let rest = value.replace("%%", "");
    let mut rest = rest.as_str();
    while let Some(at) = rest.find('%') {
        let Some((_, after)) = rest.get(at..).and_then(reference) else {
            return false;
        };
        rest = after;
    }
    true
}

/// A value with every `%` doubled, so that interpolation gives it back as it is.
#[must_use]
pub fn escape(value: &str) -> String {
    value.replace('%', "%%")
}

/// The name in a leading `%(name)s`, and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.strip_prefix("%(")?.split_once(')')?;
    let rest = rest.strip_prefix('s')?;
    (!name.is_empty()).then_some((name, rest))
}

struct Expansion<'l, 'a> {
    lookup: &'l dyn Fn(&str) -> Option<&'a str>,
    text: String,
    /// What may still be added; a reference costs a byte, that empty ones end too.
    left: usize,
}

impl Expansion<'_, '_> {
    fn add(&mut self, mut rest: &str, depth: usize) -> Result<(), InterpolationError> {
        if depth > DEPTH {
            return Err(InterpolationError::Depth);
        }
        while let Some(at) = rest.find('%') {
            let (plain, special) = rest.split_at(at);
            self.push(plain)?;
            if let Some(after) = special.strip_prefix("%%") {
                self.push("%")?;
                rest = after;
                continue;
            }
            let (name, after) = reference(special).ok_or(InterpolationError::Syntax)?;
            rest = after;
            let name = name.to_lowercase();
            let Some(value) = (self.lookup)(&name) else {
                return Err(InterpolationError::Missing(name));
            };
            self.spend(1)?;
            self.add_value(value, depth + 1)?;
        }
        self.push(rest)
    }

    /// Python looks at the depth only where there is something to replace.
    fn add_value(&mut self, value: &str, depth: usize) -> Result<(), InterpolationError> {
        if value.contains('%') {
            self.add(value, depth)
        } else {
            self.push(value)
        }
    }

    fn push(&mut self, text: &str) -> Result<(), InterpolationError> {
        self.spend(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), InterpolationError> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or(InterpolationError::TooLong)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inifile::Document;

    fn get(text: &str, key: &str) -> Result<Option<String>, InterpolationError> {
        Document::parse(text.as_bytes())
            .unwrap()
            .interpolated("a", key)
    }

    fn value(text: &str) -> Result<Option<String>, InterpolationError> {
        get(&format!("[a]\nhome = /srv\nx = {text}\n"), "x")
    }

    #[test]
    fn references_are_replaced_and_doubled_percent_signs_halved() {
        for (raw, read) in [
            ("%(home)s/x", "/srv/x"),
            ("%(HOME)s%(home)s", "/srv/srv"),
            ("100%% sure", "100% sure"),
            ("%%(home)s", "%(home)s"),
            ("%%%(home)s", "%/srv"),
            ("plain", "plain"),
        ] {
            assert_eq!(value(raw), Ok(Some(read.to_owned())), "{raw}");
        }
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for raw in ["100%", "%d", "%(home)", "%(home)d", "%()s", "% ", "%%%"] {
            assert_eq!(value(raw), Err(InterpolationError::Syntax), "{raw}");
        }
        let missing = Err(InterpolationError::Missing("nothing".to_owned()));
        assert_eq!(value("%(Nothing)s"), missing);
        assert_eq!(value("%(x)s"), Err(InterpolationError::Depth));
    }

    #[test]
    fn default_hands_values_down_that_the_section_reads_with_its_own() {
        let text = "[DEFAULT]\nroot = /a\ndir = %(root)s/d\n[a]\nroot = /b\n[b]\n";
        assert_eq!(get(text, "dir"), Ok(Some("/b/d".to_owned())));
        let document = Document::parse(text.as_bytes()).unwrap();
        let of = |section| document.interpolated(section, "dir").unwrap();
        assert_eq!(of("b").as_deref(), Some("/a/d"));
        assert_eq!(of("DEFAULT").as_deref(), Some("/a/d"));
        assert_eq!(of("none"), None);
    }

    #[test]
    fn ten_values_with_references_may_lead_to_each_other_and_no_more() {
        let chain = |count: usize| {
            let links: Vec<_> = (0..count)
                .map(|link| format!("k{link} = %(k{})s\n", link + 1))
                .collect();
            get(&format!("[a]\n{}k{count} = end\n", links.concat()), "k0")
        };
        assert_eq!(chain(10), Ok(Some("end".to_owned())));
        assert_eq!(chain(11), Err(InterpolationError::Depth));
    }

    #[test]
    fn references_that_multiply_end_soon() {
        for leaf in ["laugh", ""] {
            let many = |name: &str| format!("%({name})s").repeat(40);
            let links: Vec<_> = (0..9)
                .map(|link| format!("k{link} = {}\n", many(&format!("k{}", link + 1))))
                .collect();
            let text = format!("[a]\n{}k9 = {leaf}\n", links.concat());
            assert_eq!(get(&text, "k0"), Err(InterpolationError::TooLong));
        }
    }

    #[test]
    fn a_value_that_set_would_refuse_is_told() {
        for value in ["", "a", "%%", "%%%%", "%(a)s", "%(a)s%%", "%%%(a)s", "%%(a"] {
            assert!(is_settable(value), "{value}");
        }
        for value in ["%", "100% safe", "%(a)", "%()s", "%%%", "%(a)d"] {
            assert!(!is_settable(value), "{value}");
        }
    }
}
