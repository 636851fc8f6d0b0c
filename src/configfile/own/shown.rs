//! Our own file as callers may see it.
//!
//! A value is shown where its key is known and takes it, and nowhere else: the table knows which
//! keys are secrets, and not how somebody misspelt one of them, or which line a secret got into.

use crate::inifile::Document;
use crate::redact;
use crate::settings::keys::{KEYS, nearest};
use crate::settings::{may_be_shown, may_be_shown_anywhere, name_may_be_shown};

use super::super::conninfo::HIDDEN;

/// A value of the file.
pub(in super::super) fn value(section: &str, key: &str, value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else if may_be_shown(section, key, value) {
        redact::text(value).into_owned()
    } else {
        HIDDEN.to_owned()
    }
}

/// The name of a key of the file.
pub(in super::super) fn name(section: &str, key: &str) -> String {
    let shown = if name_may_be_shown(section, key) {
        key
    } else {
        HIDDEN
    };
    shown.to_owned()
}

/// The lines of the file, without their ends.
pub(in super::super) fn lines(document: &Document) -> Vec<String> {
    let lines = document.lines();
    let mut shown = Vec::with_capacity(lines.len());
    // Whether what is commented out may go on over the next line.
    let mut hiding = false;
    let mut lines = lines.into_iter().peekable();
    while let Some((line, of)) = lines.next() {
        let line = line.trim_end_matches(['\n', '\r']);
        let more = lines.peek().is_some_and(|(_, next)| *next == of);
        if of.is_some() || !is_comment(line) {
            hiding = false;
        }
        shown.push(match of {
            Some((section, key)) => entry(line, section, key, more),
            None if is_comment(line) => comment(line, &mut hiding),
            None => header(line),
        });
    }
    shown
}

/// A line of a value.
fn entry(line: &str, section: &str, key: &str, more: bool) -> String {
    let begins = line.split_once(['=', ':']);
    let begins = begins.filter(|(name, _)| name.trim().to_lowercase() == key);
    match begins {
        Some(_) if !name_may_be_shown(section, key) => HIDDEN.to_owned(),
        Some((_, text)) => {
            let head = line.strip_suffix(text).unwrap_or_default();
            let text = text.trim();
            if !more && (text.is_empty() || may_be_shown(section, key, text)) {
                return redact::text(line).into_owned();
            }
            let hidden = if text.is_empty() { "" } else { HIDDEN };
            format!("{head} {hidden}").trim_end().to_owned()
        }
        None => format!("    {HIDDEN}"),
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

/// The header of a section; what follows it is nothing that anybody reads.
fn header(line: &str) -> String {
    match line.rsplit_once(']') {
        Some((head, rest)) if !rest.trim().is_empty() => format!("{head}] {HIDDEN}"),
        _ => line.to_owned(),
    }
}

/// A line that holds no value, but may have held one.
fn comment(line: &str, hiding: &mut bool) -> String {
    let marks = |c: char| c.is_whitespace() || matches!(c, '#' | ';');
    let was = line.trim_start_matches(marks);
    let marks = line.strip_suffix(was).unwrap_or_default();
    if let Some((name, text)) = was.split_once(['=', ':'])
        && let Some(is_open) = commented(name, text, was)
    {
        *hiding = !is_open;
        let name = name.trim().to_lowercase();
        if !name_may_be_shown("", &name) && !may_be_shown_anywhere(&name, "") {
            return format!("{marks}{HIDDEN}");
        }
        if is_open || text.trim().is_empty() {
            return redact::text(line).into_owned();
        }
        let head = line.strip_suffix(text).unwrap_or_default();
        return format!("{head} {HIDDEN}");
    }
    if *hiding && !was.is_empty() {
        return format!("{marks}{HIDDEN}");
    }
    redact::text(line).into_owned()
}

/// Whether the value of a key that was commented out may be shown; `None` when the line is no such
/// key but words.
fn commented(name: &str, text: &str, whole: &str) -> Option<bool> {
    let name = name.trim().to_lowercase();
    let last = name.split_whitespace().last().unwrap_or_default();
    let secrets = KEYS.iter().filter(|key| key.secret).map(|key| key.name);
    let secret = nearest(last, secrets).is_some();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let is_key = last == name && !name.is_empty() && name.chars().all(plain);
    let equals = whole
        .get(..whole.len() - text.len())
        .is_some_and(|head| head.ends_with('='));
    // Behind a colon stand words about a key more often than its value.
    let is_word = !text.trim().is_empty() && !text.trim().contains(char::is_whitespace);
    let known = is_word && may_be_shown_anywhere(&name, "");
    (secret || is_key && (equals || known))
        .then(|| !secret && may_be_shown_anywhere(&name, text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        lines(&Document::parse_kindly(text.as_bytes()).unwrap()).join("\n")
    }

    #[test]
    fn the_shipped_file_is_shown_as_it_is_but_for_words_that_look_like_a_secret() {
        let text = include_str!("../../../conf/barmanapi.conf");
        let shown = lines(&Document::parse_kindly(text.as_bytes()).unwrap());
        assert_eq!(shown.len(), text.lines().count());
        let differ = text.lines().zip(&shown).filter(|(was, is)| was != is);
        let differ: Vec<_> = differ.map(|(was, _)| was).collect();
        assert_eq!(differ.len(), 3, "{differ:#?}");
        assert!(differ.iter().all(|line| is_comment(line)), "{differ:#?}");
    }

    #[test]
    fn what_is_no_value_of_a_known_key_is_hidden() {
        let text = "[auth_token] HUNTER\n\
                    secret = HUNTER\n\
                    secert: HUNTER\n\
                    algorithm = HUNTER\n\
                    token_life = 60\n  HUNTER\n\
                    Query_Token : true\n\
                    user = \n\
                    [nowhere]\n\
                    token_life = 60\n\
                    [barman]\n\
                    remote_ssh = HUNTER\n\
                    HUNTERHUNTERHUNTERHUNTERHUNTER==\n";
        assert_eq!(
            shown(text),
            "[auth_token] *REDACTED*\n\
             secret = *REDACTED*\n\
             secert: *REDACTED*\n\
             algorithm = *REDACTED*\n\
             token_life = *REDACTED*\n    *REDACTED*\n\
             Query_Token : true\n\
             user = \n\
             [nowhere]\n\
             token_life = *REDACTED*\n\
             [barman]\n\
             remote_ssh = *REDACTED*\n\
             *REDACTED*"
        );
    }

    #[test]
    fn what_was_commented_out_is_hidden_to_the_end_of_the_comment() {
        let text = "[auth_token]\n\
                    # Signs the tokens. Blank: one is generated.\n\
                    # secret = HUNTER\n\
                    #   HUNTER\n\
                    #\n\
                    ; max_jobs = 7\n\
                    # words again, such as a = HUNTER2?\n\
                    # max_jobs: commands that run at once\n\
                    # algorithm: HUNTER\n\
                    token_life = 60\n\
                    # secert=HUNTER\n\
                    ; HUNTER: x\n\
                    \n\
                    # my old Secret : HUNTER\n\
                    # HUNTER\n\
                    algorithm = HS256\n\
                    #secret =\n\
                    #  HUNTER\n\
                    #[old] x\n\
                    \n\
                    # job_timeout.cloud-wal-archive = 5 min\n\
                    # HUNTERHUNTERHUNTERHUNTERHUNTER==\n";
        assert_eq!(
            shown(text),
            "[auth_token]\n\
             # Signs the tokens. Blank: one is generated.\n\
             # secret = *REDACTED*\n\
             #   *REDACTED*\n\
             #\n\
             ; max_jobs = 7\n\
             # words again, such as a = HUNTER2?\n\
             # max_jobs: commands that run at once\n\
             # algorithm: *REDACTED*\n\
             token_life = 60\n\
             # secert= *REDACTED*\n\
             ; *REDACTED*\n\
             \n\
             # my old Secret : *REDACTED*\n\
             # *REDACTED*\n\
             algorithm = HS256\n\
             #secret =\n\
             #  *REDACTED*\n\
             #*REDACTED*\n\
             \n\
             # job_timeout.cloud-wal-archive = 5 min\n\
             # *REDACTED*"
        );
    }
}
