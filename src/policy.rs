//! Who may do what: lists of rules, and the one decision about a path and its servers.
//!
//! Nothing here knows users, commands or routes. A caller hands in every name that a thing goes
//! by (`barman/restore`, `barman/recover`), so that a rule counts by whichever name it was written.

mod rule;

pub use rule::{MAX_RULE, Rule};

use crate::names::{Scope, ServerName};

/// The greatest number of rules in one list.
pub const MAX_RULES: usize = 200;

/// The greatest length in bytes of a list as text.
const MAX_LIST: usize = MAX_RULES * (MAX_RULE + 8);

/// A rule or a list of rules that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A rule does not have the form of one.
    #[error("{rule:?} is not a rule: {problem}")]
    Rule {
        /// The rule as it came, cut.
        rule: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A list is neither an array of texts nor separated by commas.
    #[error("not a list of rules: write ['a','b'], a JSON array of texts, or a, b ({problem})")]
    List {
        /// What is wrong.
        problem: &'static str,
    },
    /// A list is too long.
    #[error("a list has at most {MAX_RULES} rules")]
    TooMany,
}

/// What a user may and may not do. An empty `access` allows everything; `deny` wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    access: Vec<Rule>,
    deny: Vec<Rule>,
}

impl Rights {
    /// The rights of two lists.
    ///
    /// # Errors
    /// When a list has more than [`MAX_RULES`] rules.
    pub fn new(access: Vec<Rule>, deny: Vec<Rule>) -> Result<Self, PolicyError> {
        if access.len() > MAX_RULES || deny.len() > MAX_RULES {
            return Err(PolicyError::TooMany);
        }
        Ok(Self { access, deny })
    }

    /// The rights of a user who may do everything.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            access: Vec::new(),
            deny: Vec::new(),
        }
    }

    /// Reads a list of rules: `['a','b']`, a JSON array of texts, or `a, b`. It is data and never
    /// evaluated; a `u` before a quote, as Python 2 wrote it, is skipped.
    ///
    /// # Errors
    /// When the text has another form, an entry is no [`Rule`], or there are too many.
    pub fn parse_list(text: &str) -> Result<Vec<Rule>, PolicyError> {
        let entries = Self::entries(text)?;
        entries.iter().map(|entry| Rule::parse(entry)).collect()
    }

    /// All that is wrong with a list, where [`Rights::parse_list`] tells the first.
    #[must_use]
    pub fn faults(text: &str) -> Vec<PolicyError> {
        match Self::entries(text) {
            Ok(entries) => {
                let rules = entries.iter().map(|entry| Rule::parse(entry));
                rules.filter_map(Result::err).collect()
            }
            Err(error) => vec![error],
        }
    }

    fn entries(text: &str) -> Result<Vec<String>, PolicyError> {
        if text.len() > MAX_LIST {
            return Err(PolicyError::TooMany);
        }
        let text = text.trim();
        let entries = match text.strip_prefix('[') {
            Some(inner) => match serde_json::from_str(text) {
                Ok(entries) => entries,
                Err(_) => bracketed(inner)?,
            },
            None if text.is_empty() => Vec::new(),
            None => text.split(',').map(str::trim).map(str::to_owned).collect(),
        };
        if entries.len() > MAX_RULES {
            return Err(PolicyError::TooMany);
        }
        Ok(entries)
    }

    /// What is allowed; empty = everything.
    #[must_use]
    pub fn access(&self) -> &[Rule] {
        &self.access
    }

    /// What is denied.
    #[must_use]
    pub fn deny(&self) -> &[Rule] {
        &self.deny
    }

    /// Whether these rights leave nothing out.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.deny.is_empty()
            && (self.access.is_empty() || self.access.iter().any(Rule::is_everything))
    }

    /// Decides about a path, by all names it goes by, and the servers that are touched.
    ///
    /// A rule with `@SERVER` allows the servers it names, each by itself, and never a request
    /// about all of them or about none; such a rule in `deny` denies those two as well, since
    /// they touch its servers too. A path without a name is never allowed.
    #[must_use]
    pub fn allows<S: AsRef<str>>(&self, names: &[S], scope: &Scope) -> bool {
        if names.is_empty() {
            return false;
        }
        let meets = |rule: &&Rule| names.iter().any(|name| rule.meets_path(name.as_ref()));
        let deny: Vec<&Rule> = self.deny.iter().filter(meets).collect();
        let access: Vec<&Rule> = self.access.iter().filter(meets).collect();
        let everything = self.access.is_empty();
        match single_servers(scope) {
            None => {
                deny.is_empty() && (everything || access.iter().any(|rule| rule.server().is_none()))
            }
            Some(servers) => servers.iter().all(|server| {
                let server = server.as_str();
                !deny.iter().any(|rule| rule.meets_server(server))
                    && (everything || access.iter().any(|rule| rule.meets_server(server)))
            }),
        }
    }

    /// Whether a path is allowed, and `access` names it and each of the servers word for word: not
    /// by `*`, by a path above it, or by leaving the server away.
    #[must_use]
    pub fn writes_out<S: AsRef<str>>(&self, names: &[S], scope: &Scope) -> bool {
        let is_named = |rule: &Rule| {
            let mut names = names.iter().map(AsRef::as_ref);
            rule.is_written_out() && names.any(|name| rule.path().eq_ignore_ascii_case(name))
        };
        let rules: Vec<&Rule> = self.access.iter().filter(|rule| is_named(rule)).collect();
        let has = |server: &ServerName| rules.iter().any(|r| r.server() == Some(server.as_str()));
        single_servers(scope).is_some_and(|servers| servers.iter().all(has))
            && self.allows(names, scope)
    }

    /// Whether a path, by all names it goes by, could be allowed for some server or for none. It
    /// is asked before anything of a request is read.
    #[must_use]
    pub fn may_ever<S: AsRef<str>>(&self, names: &[S]) -> bool {
        let meets = |rule: &&Rule| names.iter().any(|name| rule.meets_path(name.as_ref()));
        let is_denied = self
            .deny
            .iter()
            .filter(meets)
            .any(|rule| matches!(rule.server(), None | Some("*")));
        !names.is_empty()
            && !is_denied
            && (self.access.is_empty() || self.access.iter().any(|rule| meets(&rule)))
    }

    /// Whether `deny` by itself forbids a path, by any of the names it goes by, whatever `access` says.
    #[must_use]
    pub fn denies<S: AsRef<str>>(&self, names: &[S], scope: &Scope) -> bool {
        let everything_else = Self {
            access: Vec::new(),
            deny: self.deny.clone(),
        };
        !names.is_empty() && !everything_else.allows(names, scope)
    }

    /// The same rights with each path replaced by its canonical form: `canonical` is asked for the
    /// path and, where it has no answer, for the path's beginnings, longest first
    /// (`barman/recover/help`, then `barman/recover`). Paths with `*` stay as they are up to it.
    #[must_use]
    pub fn canonicalised(&self, canonical: impl Fn(&str) -> Option<String>) -> Self {
        let of = |rule: &Rule| {
            let path = rule.path();
            let ends = path.match_indices('/').map(|(end, _)| end);
            let ends: Vec<usize> = ends.chain([path.len()]).collect();
            ends.iter()
                .rev()
                .filter_map(|end| path.split_at_checked(*end))
                .filter(|(head, _)| !head.contains('*'))
                .find_map(|(head, tail)| rule.with_path(&format!("{}{tail}", canonical(head)?)))
                .unwrap_or_else(|| rule.clone())
        };
        Self {
            access: self.access.iter().map(of).collect(),
            deny: self.deny.iter().map(of).collect(),
        }
    }

    /// Whether these rights grant no more than others. Both must be canonical. The answer is no
    /// where that cannot be seen rule by rule.
    #[must_use]
    pub fn within(&self, other: &Self) -> bool {
        let any = |rules: &[Rule], rule: &Rule| rules.iter().any(|known| known.covers(rule));
        let access = other.access.is_empty()
            || other.access.iter().any(Rule::is_everything)
            || (!self.access.is_empty() && self.access.iter().all(|rule| any(&other.access, rule)));
        let deny = other.deny.iter().all(|rule| {
            any(&self.deny, rule)
                || (!self.access.is_empty()
                    && self.access.iter().all(|own| own.is_apart_from(rule)))
        });
        access && deny
    }

    /// Whether each rule for one of these paths that is written out stands in others, too. Where
    /// such a rule counts for more than one that covers it, [`Rights::within`] does not tell.
    #[must_use]
    pub fn writes_out_within(&self, other: &Self, paths: &[String]) -> bool {
        let mut counting = self
            .access
            .iter()
            .filter(|rule| rule.is_written_out() && paths.iter().any(|path| path == rule.path()));
        counting.all(|rule| other.access.contains(rule))
    }
}

/// The servers that a request names; `None` when it is about all of them, or about none.
fn single_servers(scope: &Scope) -> Option<&[ServerName]> {
    match scope {
        Scope::Servers(servers)
            if !servers.is_empty() && !servers.iter().any(|server| server.as_str() == "all") =>
        {
            Some(servers)
        }
        Scope::Servers(_) | Scope::Global | Scope::All => None,
    }
}

/// The quoted entries behind an opening bracket.
fn bracketed(inner: &str) -> Result<Vec<String>, PolicyError> {
    let error = |problem| PolicyError::List { problem };
    let mut entries = Vec::new();
    let mut rest = inner.trim_start();
    loop {
        if let Some(behind) = rest.strip_prefix(']') {
            return if behind.trim().is_empty() {
                Ok(entries)
            } else {
                Err(error("text follows the closing bracket"))
            };
        }
        rest = rest.strip_prefix('u').unwrap_or(rest);
        let quote = rest
            .chars()
            .next()
            .filter(|c| matches!(c, '\'' | '"'))
            .ok_or_else(|| error("entries in brackets stand in quotes"))?;
        let (entry, behind) = rest
            .get(1..)
            .and_then(|rest| rest.split_once(quote))
            .ok_or_else(|| error("a quote is not closed"))?;
        if entry.contains('\\') {
            return Err(error("an entry has no backslash"));
        }
        entries.push(entry.to_owned());
        if entries.len() > MAX_RULES {
            return Err(PolicyError::TooMany);
        }
        let behind = behind.trim_start();
        rest = match behind.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if behind.starts_with(']') => behind,
            None => return Err(error("entries are separated by commas and end with ']'")),
        };
    }
}

#[cfg(test)]
mod tests;
