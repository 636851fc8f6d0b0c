//! All that is wrong with a users file, each problem with its line and what to write instead.
//!
//! A service passes over what it can't read and keeps those users out; this is for the operator,
//! who wants to know of every mistake in one run.

use std::fs;
use std::io;
use std::path::Path;

use super::password::Stored;
use crate::inifile::{DEFAULT, Document};
use crate::names::UserName;
use crate::policy::{PolicyError, Rights};
use crate::settings::keys::nearest;
use crate::settings::{Problem, Problems};

/// The keys of a user; `stamp` is written by the program alone.
const KEYS: [&str; 4] = ["password", "access", "deny", "stamp"];

/// Lines that are no ini text, at most: more of them are no users file.
const MOST: usize = 100;

/// Checks a users file. One that does not exist has no users, which is no problem.
#[must_use]
pub fn check_users(path: &Path) -> Problems {
    let mut check = Check {
        path,
        found: Vec::new(),
    };
    match fs::read(path) {
        Ok(bytes) => check.text(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let write = "let the account that runs the service read it";
            check.add(None, "", "", format!("it can't be read: {error}"), write);
        }
    }
    check.found.sort_by_key(|problem| problem.line);
    let mut problems = Problems::default();
    for problem in check.found {
        problems.add(problem);
    }
    problems
}

struct Check<'a> {
    path: &'a Path,
    found: Vec<Problem>,
}

/// A header, or a key below one.
struct Place {
    line: usize,
    section: String,
    /// Empty for a header.
    key: String,
}

impl Check<'_> {
    /// Adds a problem, once.
    fn add(
        &mut self,
        line: Option<usize>,
        section: &str,
        key: &str,
        wrong: impl Into<String>,
        write: impl Into<String>,
    ) {
        let named = |word: &str| Some(word.to_owned()).filter(|word| !word.is_empty());
        let problem = Problem {
            file: self.path.to_owned(),
            line,
            section: named(section),
            key: named(key),
            wrong: wrong.into(),
            write: write.into(),
            ..Problem::default()
        };
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    fn text(&mut self, bytes: &[u8]) {
        let mut lines = split(bytes);
        let Some(document) = self.readable(&mut lines) else {
            return;
        };
        let places = places(&lines);
        self.places(&places);
        let nameless = |section: &str| section.starts_with(NAMELESS);
        for section in document.sections() {
            if section != DEFAULT && !nameless(section) {
                self.user(&document, &places, section);
            }
        }
    }

    /// The text without the lines that are no ini text, each of which is a problem.
    fn readable(&mut self, lines: &mut [Vec<u8>]) -> Option<Document> {
        for _ in 0..MOST {
            let error = match Document::parse_kindly(&lines.concat()) {
                Ok(document) => return Some(document),
                Err(error) => error,
            };
            let line = lines.get_mut(error.line.checked_sub(1)?)?;
            let header = line.trim_ascii_start().starts_with(b"[");
            let write = if header {
                "write [NAME] and nothing else on the line"
            } else {
                "write KEY = VALUE below a [NAME], or # in front of a comment"
            };
            self.add(Some(error.line), "", "", error.fault.to_string(), write);
            // What follows a header that can't be read belongs to nobody.
            *line = if header {
                format!("[{NAMELESS}{}]\n", error.line).into_bytes()
            } else {
                b"#\n".to_vec()
            };
        }
        None
    }

    /// What stands twice, and what is no key.
    fn places(&mut self, places: &[Place]) {
        for (index, place) in places.iter().enumerate() {
            let same = |other: &&Place| other.section == place.section && other.key == place.key;
            let first = places.iter().take(index).find(same);
            let (line, section, key) = (Some(place.line), &place.section, &place.key);
            if section.starts_with(NAMELESS) {
                continue;
            }
            match first {
                Some(first) if key.is_empty() => {
                    let wrong = format!("the section stands on line {} already", first.line);
                    self.add(line, section, "", wrong, "write its keys there");
                }
                Some(first) => {
                    let wrong = format!("the key has a value on line {} already", first.line);
                    self.add(line, section, key, wrong, "keep one of the two");
                }
                None if key.is_empty() || KEYS.contains(&key.as_str()) => {}
                None => {
                    let write = nearest(key, KEYS.into_iter())
                        .map_or("write one of password, access, deny".to_owned(), |near| {
                            format!("write {near}")
                        });
                    self.add(line, section, key, "there is no such key", write);
                }
            }
        }
    }

    fn user(&mut self, document: &Document, places: &[Place], section: &str) {
        let line_of = |section: &str, key: &str| {
            // The last value counts, and the first header.
            let found = |place: &&Place| place.section == section && place.key == key;
            let place = if key.is_empty() {
                places.iter().find(found)
            } else {
                places.iter().rfind(found)
            };
            place.map(|place| place.line)
        };
        let header = line_of(section, "");
        if let Err(error) = UserName::parse(section) {
            let wrong = format!("{section:?} is no user's name");
            self.add(
                header,
                section,
                "",
                wrong,
                format!("write {}", error.expected),
            );
        }
        // What is handed down is told where it stands.
        let value = |key: &str| {
            [section, DEFAULT].into_iter().find_map(|own| {
                let value = document.get(own, key)?;
                Some((own, line_of(own, key), value))
            })
        };
        let (own, line, password) =
            value("password").unwrap_or_else(|| (section, header, String::new()));
        if let Some(fault) = Stored::parse(&password).fault() {
            let write = format!("run: barmanapi user passwd {section}");
            self.add(line, own, "password", fault, write);
        }
        if value("access").is_none() {
            let write = "write access = [] for full access, or the rules of this user";
            self.add(
                header,
                section,
                "access",
                "it has none, so the user can't log in",
                write,
            );
        }
        for key in ["access", "deny"] {
            let Some((own, line, text)) = value(key) else {
                continue;
            };
            for fault in Rights::faults(&text) {
                let write = match fault {
                    PolicyError::Rule { .. } => {
                        "write a path such as barman/list-* or barman/backup@main"
                    }
                    PolicyError::List { .. } => "write for example ['barman/check','history']",
                    PolicyError::TooMany => "write fewer; * stands for the rest of a segment",
                };
                self.add(line, own, key, fault.to_string(), write);
            }
        }
    }
}

/// How the sections begin that stand for headers which can't be read; no user's name has a blank
/// in front.
const NAMELESS: &str = " ";

/// Cuts text into lines that keep their ends, as ini text has them.
fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    let mut bytes = bytes.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let ends = byte == b'\n' || (byte == b'\r' && bytes.peek() != Some(&b'\n'));
        if let Some(line) = lines.last_mut() {
            line.push(byte);
        }
        if ends {
            lines.push(Vec::new());
        }
    }
    lines
}

/// The headers and keys of a text that can be read, with their lines.
fn places(lines: &[Vec<u8>]) -> Vec<Place> {
    let mut places = Vec::new();
    let mut section = String::new();
    // How deep the key above stands, while its value may go on.
    let mut depth: Option<usize> = None;
    for (index, line) in lines.iter().enumerate() {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_start_matches('\u{feff}').trim_end();
        let words = text.trim_start();
        if words.is_empty() || words.starts_with(['#', ';']) {
            continue;
        }
        let indent = text.chars().count() - words.chars().count();
        if depth.is_some_and(|depth| indent > depth) {
            continue;
        }
        let name = words
            .strip_prefix('[')
            .and_then(|inner| inner.rsplit_once(']'))
            .map(|(name, _)| name);
        let key = if let Some(name) = name {
            depth = None;
            name.clone_into(&mut section);
            String::new()
        } else {
            depth = Some(indent);
            let key = words.split(['=', ':']).next().unwrap_or_default();
            key.trim_end().to_lowercase()
        };
        places.push(Place {
            line: index + 1,
            section: section.clone(),
            key,
        });
    }
    places
}

#[cfg(test)]
mod tests {
    use super::super::listing::read;
    use super::*;

    fn told(text: &[u8]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.conf");
        fs::write(&path, text).unwrap();
        let prefix = format!("{}:", path.display());
        let problems = check_users(&path);
        problems
            .iter()
            .map(ToString::to_string)
            .map(|line| line.strip_prefix(&prefix).unwrap().to_owned())
            .collect::<Vec<_>>()
    }

    const PASSWORD: &str = "password = 5f4dcc3b5aa765d61d8327deb882cf99\n";

    #[test]
    fn every_mistake_is_told_with_its_line_and_what_to_write() {
        let text = format!(
            "stray = 1\n\
             [ada]\n{PASSWORD}access = ['barman/**', 'history', 'Barman//x']\ndenny = barman\n\
             [eve\n{PASSWORD}\
             [bob]\npassword = secret-word\naccess = barman\n  , history\nword\n\
             [ada]\naccess = [\n\
             [carl]\n\
             [a b/c]\n{PASSWORD}access = []\n\
             \u{e9}\n",
        );
        assert_eq!(
            told(text.as_bytes()),
            [
                "1: a key before the first [section]; write KEY = VALUE below a [NAME], or # in front of a comment",
                "5: [ada] denny: there is no such key; write deny",
                "6: not a [section], not `key = value`, not a comment; write [NAME] and nothing else on the line",
                "9: [bob] password: its password is neither an argon2id hash nor an md5; run: barmanapi user passwd bob",
                "12: not a [section], not `key = value`, not a comment; write KEY = VALUE below a [NAME], or # in front of a comment",
                "13: [ada] the section stands on line 2 already; write its keys there",
                "14: [ada] access: the key has a value on line 4 already; keep one of the two",
                "14: [ada] access: not a list of rules: write ['a','b'], a JSON array of texts, or a, b (entries in brackets stand in quotes); write for example ['barman/check','history']",
                "15: [carl] password: it has no password; run: barmanapi user passwd carl",
                "15: [carl] access: it has none, so the user can't log in; write access = [] for full access, or the rules of this user",
                "16: [a b/c] \"a b/c\" is no user's name; write a letter or digit, then letters, digits, '.', '_', '@' or '-', at most 64 characters",
                "19: not a [section], not `key = value`, not a comment; write KEY = VALUE below a [NAME], or # in front of a comment",
            ]
        );
    }

    #[test]
    fn the_sample_holds_no_user_and_its_examples_are_right() {
        let sample = include_str!("../../conf/client.conf");
        let is_comment = |line: &str| line.is_empty() || line.starts_with('#');
        assert!(sample.lines().all(is_comment), "{sample}");
        assert_eq!(told(sample.as_bytes()), Vec::<String>::new());
        // Examples begin right behind the sign, words after a blank.
        let uncommented: Vec<&str> = sample
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(example) if !example.starts_with(' ') => example,
                _ => line,
            })
            .collect();
        let uncommented = uncommented.join("\n");
        assert_eq!(told(uncommented.as_bytes()), Vec::<String>::new());
        let listing = read(&Document::parse_kindly(uncommented.as_bytes()).unwrap());
        assert!(listing.faults.is_empty(), "{:?}", listing.faults);
        let rights = |name: &str| &listing.users[name].rights;
        assert!(rights("dba").is_full());
        assert_eq!(
            (
                rights("backup").access().len(),
                rights("backup").deny().len()
            ),
            (5, 2)
        );
        assert_eq!(listing.users.len(), 2);
    }

    #[test]
    fn every_rule_of_a_list_is_looked_at() {
        let text = format!("[ada]\n{PASSWORD}access = barman/**, history, barman//x\ndeny = -/\n");
        let told = told(text.as_bytes());
        let lines: Vec<_> = told
            .iter()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(lines, ["3:", "3:", "4:"], "{told:#?}");
        assert!(told[0].contains("barman/**") && told[1].contains("barman//x"));
    }

    #[test]
    fn what_is_handed_down_is_told_once_and_where_it_stands() {
        let text =
            format!("[DEFAULT]\naccess = ['x']\ndeny = a//b\n[ada]\n{PASSWORD}[eve]\n{PASSWORD}");
        let told = told(text.as_bytes());
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].starts_with("3: [DEFAULT] deny:"), "{told:#?}");
    }

    #[test]
    fn a_good_file_of_any_form_has_no_problems() {
        let text = format!(
            "\u{feff}; top\r\n[ada]\r\n  {PASSWORD}  Access : ['a',\r\n    'b']\r\n# deny\r\n  stamp = x\r\n"
        );
        assert_eq!(told(text.as_bytes()), Vec::<String>::new());
        assert_eq!(told(b""), Vec::<String>::new());
        assert!(check_users(Path::new("/nowhere/client.conf")).is_empty());
        assert!(!check_users(Path::new("/")).is_empty());
        assert!(!told(&b"\xff\n".repeat(500)).is_empty());
    }
}
