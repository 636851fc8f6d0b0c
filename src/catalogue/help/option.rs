//! The options that a page lists.

use std::collections::HashSet;

use super::page::{Item, Page};
use super::spec::{self, Spec};
use super::{HelpError, MAX_OPTIONS};

/// One option as the list shows it.
pub(super) struct Listed<'p, 't> {
    /// Its spellings.
    pub(super) flags: Vec<String>,
    /// What it takes.
    pub(super) spec: Spec,
    /// Where it stands.
    pub(super) item: &'p Item<'t>,
}

impl Listed<'_, '_> {
    /// Whether it is `--help`, which no catalogue holds.
    pub(super) fn is_help(&self) -> bool {
        self.flags.iter().any(|flag| flag == "--help")
    }
}

/// Every option that the page lists, `--help` with them.
///
/// # Errors
/// When a line is no option, a spelling stands twice, or there are none or too many.
pub(super) fn listed<'p, 't>(
    page: &'p Page<'t>,
    what: &str,
) -> Result<Vec<Listed<'p, 't>>, HelpError> {
    let mut listed = Vec::new();
    let mut seen = HashSet::new();
    for item in page.items().filter(|item| item.is_option()) {
        if listed.len() >= MAX_OPTIONS {
            return Err(HelpError::TooMany {
                what: format!("options in the {what}"),
                limit: MAX_OPTIONS,
            });
        }
        let (flags, spec) = spec::option(item.label, what)?;
        for flag in &flags {
            if !seen.insert(flag.clone()) {
                return Err(HelpError::Twice {
                    what: what.to_owned(),
                    name: flag.clone(),
                });
            }
        }
        listed.push(Listed { flags, spec, item });
    }
    if listed.is_empty() {
        return Err(HelpError::Malformed {
            what: what.to_owned(),
            detail: "it lists no option, not even --help; it may be cut".to_owned(),
        });
    }
    Ok(listed)
}
