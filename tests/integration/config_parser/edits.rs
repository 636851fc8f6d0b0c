//! One edit at a time of a generated file: Python's own reader sees that change and no other, and
//! every byte outside the edited lines stays.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use barmanapi::inifile::{DEFAULT, Document};

use super::generate::Generator;
use super::number;
use super::python::Python;

/// How many edits are compared.
const EDITS: usize = 10_000;

/// Of a hundred edits, how many must be of each kind.
const LEAST: usize = 15;

/// What Python reads: sections in order, each with its own keys and raw values in order.
type Content = Vec<(String, Vec<(String, String)>)>;

/// The sections and keys of an answer; none when the text was refused.
fn content(answer: &[u8]) -> Option<Content> {
    let mut rest = answer;
    let mut fields = std::iter::from_fn(|| {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        let (field, tail) = tail.split_at(u32::from_be_bytes(*head) as usize);
        rest = tail;
        Some(String::from_utf8(field.to_vec()).unwrap())
    });
    (fields.next()? == "read").then_some(())?;
    let mut content = Content::new();
    while let Some(section) = fields.next() {
        let count: usize = fields.next().unwrap().parse().unwrap();
        let mut entries = Vec::new();
        for _ in 0..count {
            let (key, raw) = (fields.next().unwrap(), fields.next().unwrap());
            fields.next().unwrap();
            entries.push((key, raw));
        }
        content.push((section, entries));
    }
    Some(content)
}

#[derive(Debug, Clone)]
enum Edit {
    /// Another value for a key that is there.
    Set(String, String, String),
    /// A key that is not there.
    New(String, String, String),
    /// A key less.
    RemoveKey(String, String),
    /// A section more, with a key.
    Add(String, String, String),
    /// A section less.
    RemoveSection(String),
}

const VALUES: [&str; 12] = [
    "on",
    "",
    "/srv/new",
    "host=x dbname='y z'",
    "a, b",
    "# none",
    "a # b ; c",
    "[x]",
    "= y",
    "k: v",
    "\u{e9}\u{1f600}",
    "\"quoted\" \\ back",
];

const KEYS: [&str; 5] = ["fresh", "Another_Key", "k.1", "a b", "\u{e9}t\u{e9}"];

/// A random edit of a document.
fn edit(random: &mut Generator, document: &Document) -> Edit {
    let sections: Vec<&str> = document.sections().collect();
    let value = VALUES[random.below(VALUES.len())].to_owned();
    let key = KEYS[random.below(KEYS.len())].to_owned();
    let add = Edit::Add("a new one".to_owned(), key.clone(), value.clone());
    if sections.is_empty() {
        return add;
    }
    let section = sections[random.below(sections.len())].to_owned();
    let own: Vec<String> = document
        .settings(&section)
        .filter(|setting| section == DEFAULT || !setting.inherited)
        .map(|setting| setting.key.to_owned())
        .collect();
    let there = (!own.is_empty()).then(|| own[random.below(own.len())].clone());
    match (random.below(5), there) {
        (0, _) => add,
        (1, _) => Edit::RemoveSection(section),
        (2, Some(there)) => Edit::RemoveKey(section, there),
        (3, Some(there)) => {
            // As somebody writes it who cares for case or not.
            let there = if random.often(30) {
                there.to_uppercase()
            } else {
                there
            };
            Edit::Set(section, there, value)
        }
        _ if own.contains(&key.to_lowercase()) => Edit::Set(section, key, value),
        _ => Edit::New(section, key, value),
    }
}

impl Edit {
    fn kind(&self) -> &'static str {
        match self {
            Self::Set(..) => "another value",
            Self::New(..) => "a new key",
            Self::RemoveKey(..) => "a key less",
            Self::Add(..) => "a new section",
            Self::RemoveSection(..) => "a section less",
        }
    }

    /// Whether it was made.
    fn make(&self, document: &mut Document) -> bool {
        match self {
            Self::Set(section, key, value) | Self::New(section, key, value) => {
                document.set_raw(section, key, value).is_ok()
            }
            Self::RemoveKey(section, key) => document.remove_key(section, key) == Ok(true),
            Self::Add(section, key, value) => {
                document.add_section(section).is_ok()
                    && document.set_raw(section, key, value).is_ok()
            }
            Self::RemoveSection(section) => document.remove_section(section) == Ok(true),
        }
    }

    /// What Python must read afterwards of what it read before. `[DEFAULT]` comes first and shows
    /// in every section.
    fn of(&self, before: &Content, document: &Document) -> Content {
        let mut after = before.clone();
        let lower = |key: &str| key.to_lowercase();
        match self {
            Self::Set(section, key, value) | Self::New(section, key, value) => {
                set(&mut after, document, section, &lower(key), Some(value));
            }
            Self::RemoveKey(section, key) => {
                set(&mut after, document, section, &lower(key), None);
            }
            Self::Add(section, key, value) => {
                let mut entries = vec![(lower(key), value.clone())];
                let handed = before[0].1.iter().filter(|(name, _)| *name != lower(key));
                entries.extend(handed.cloned());
                after.push((section.clone(), entries));
            }
            Self::RemoveSection(section) if section == DEFAULT => {
                for (key, _) in &before[0].1 {
                    set(&mut after, document, DEFAULT, key, None);
                }
            }
            Self::RemoveSection(section) => after.retain(|(name, _)| name != section),
        }
        after
    }
}

/// Sets or removes a key as it shows in what Python reads.
fn set(after: &mut Content, document: &Document, section: &str, key: &str, value: Option<&str>) {
    let handed = document.get(DEFAULT, key);
    for (name, entries) in after.iter_mut() {
        let own = name == section;
        if !own && section != DEFAULT {
            continue;
        }
        // A value of its own hides the one that is handed down. Where both are alike, only the
        // text tells; that we read it as Python does is the other test's matter.
        let mut settings = document.settings(name);
        if !own && settings.any(|setting| setting.key == key && !setting.inherited) {
            continue;
        }
        let below = handed.as_deref().filter(|_| own && section != DEFAULT);
        let shown = entries.iter().position(|(name, _)| name == key);
        match (shown, value.or(below)) {
            (Some(at), Some(value)) => value.clone_into(&mut entries[at].1),
            (Some(at), None) => drop(entries.remove(at)),
            (None, Some(value)) => entries.push((key.to_owned(), value.to_owned())),
            (None, None) => {}
        }
    }
}

/// In an order of its own: Python lists what is handed down behind the rest.
fn sorted(content: &Content) -> Content {
    let mut content = content.clone();
    for (_, entries) in &mut content {
        entries.sort();
    }
    content
}

/// How many bytes at the begin and at the end of two texts are alike.
fn alike(one: &[u8], other: &[u8]) -> (usize, usize) {
    let begin = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let most = one.len().min(other.len()) - begin;
    let ends = one.iter().rev().zip(other.iter().rev());
    let end = ends.take(most).take_while(|(a, b)| a == b).count();
    (begin, end)
}

/// Whether all lines but those of the edit are the same bytes, in the same order.
fn only_its_lines(edit: &Edit, document: &Document, old: &[u8], new: &[u8]) -> bool {
    let lines = |text: &[u8], crlf: bool| -> Vec<Vec<u8>> {
        let mut lines = vec![Vec::new()];
        let mut bytes = text.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            lines.last_mut().unwrap().push(byte);
            let goes_on = crlf && byte == b'\r' && bytes.peek() == Some(&b'\n');
            if matches!(byte, b'\n' | b'\r') && !goes_on {
                lines.push(Vec::new());
            }
        }
        lines
    };
    // A CR and a LF that come together when a line between them goes are one line end.
    let crlf = !matches!(edit, Edit::RemoveKey(..) | Edit::RemoveSection(..));
    let lines = |text| lines(text, crlf);
    let (old_lines, new_lines) = (lines(old), lines(new));
    let own = |section: &str, key: &str| -> Vec<usize> {
        let mut settings = document.settings(section);
        let setting = settings.find(|setting| setting.key == key.to_lowercase());
        setting.map_or(Vec::new(), |setting| setting.lines.collect())
    };
    // What the edit is about, by number from 1; a key or section that stands twice has more.
    let twice = |text: &[u8]| String::from_utf8_lossy(text).to_lowercase();
    let touched: Vec<usize> = match edit {
        Edit::Set(section, key, _) => own(section, key),
        _ => Vec::new(),
    };
    match edit {
        Edit::Set(..) => {
            let (first, last) = (touched[0] - 1, touched[touched.len() - 1]);
            let tail = old_lines.len() - last;
            // Comments within a continued value stay, on lines of their own.
            new_lines.len() >= first + 1 + tail
                && new_lines[..first] == old_lines[..first]
                && new_lines[new_lines.len() - tail..] == old_lines[last..]
        }
        Edit::New(_, key, _) | Edit::Add(_, key, _) => {
            // Nothing goes: a line end may come behind the last line, and lines come.
            let (begin, end) = alike(old, new);
            let added = twice(&new[begin..new.len() - end]);
            begin + end == old.len() && added.contains(&key.to_lowercase())
        }
        Edit::RemoveKey(..) | Edit::RemoveSection(..) => {
            // Nothing comes, and what stays stays in order.
            let mut left = old_lines.iter();
            new_lines
                .iter()
                .filter(|line| !line.is_empty())
                .all(|line| left.any(|old| old == line))
        }
    }
}

#[test]
fn ten_thousand_edits_change_for_python_what_they_name_and_nothing_else() {
    let seed = number("CONFIG_PARSER_SEED", 1);
    let edits = usize::try_from(number("CONFIG_PARSER_EDITS", EDITS as u64)).unwrap();
    println!("config parser: CONFIG_PARSER_SEED={seed}");
    let began = Instant::now();
    let (mut questions, answers) = Python::start();
    let (asked, to_compare) = sync_channel::<(Vec<u8>, Vec<u8>, Edit)>(256);
    let (mut counts, mut different) = (BTreeMap::<&str, usize>::new(), 0);
    let refused = std::thread::scope(|scope| {
        let asking = scope.spawn(move || {
            let mut random = Generator::new(seed ^ 0xed17);
            let (mut made, mut refused) = (0, BTreeMap::<&str, usize>::new());
            while made < edits {
                let text = random.file();
                let Ok(document) = Document::parse(&text) else {
                    continue;
                };
                let edit = edit(&mut random, &document);
                let mut changed = document.clone();
                if !edit.make(&mut changed) {
                    *refused.entry(edit.kind()).or_default() += 1;
                    continue;
                }
                let new = changed.to_bytes();
                let sent = questions.ask(&text).and_then(|()| questions.ask(&new));
                if sent.is_err() || asked.send((text, new, edit)).is_err() {
                    break;
                }
                made += 1;
            }
            refused
        });
        // Python ends with its answers, so that a failure here does not leave the other thread behind.
        let mut answers = answers;
        for (number, (old, new, edit)) in to_compare.into_iter().enumerate() {
            let (before, after) = (answers.answer(), answers.answer());
            let before = content(&before).expect("python reads what we read");
            let document = Document::parse(&old).unwrap();
            let wanted = edit.of(&before, &document);
            let read = content(&after);
            let same = read.is_some_and(|read| sorted(&read) == sorted(&wanted));
            if !same || !only_its_lines(&edit, &document, &old, &new) {
                different += 1;
                println!(
                    "edit {number} of seed {seed}, {edit:?}, {} for python:\n  {:?}\n  {:?}",
                    if same { "right" } else { "wrong" },
                    String::from_utf8_lossy(&old),
                    String::from_utf8_lossy(&new),
                );
                assert!(different < 5, "too many differences");
            }
            *counts.entry(edit.kind()).or_default() += 1;
        }
        asking.join().unwrap()
    });
    println!(
        "config parser: {edits} edits compared in {:.1} s, {different} differences",
        began.elapsed().as_secs_f64()
    );
    for (kind, count) in &counts {
        let refused = refused.get(kind).copied().unwrap_or_default();
        println!("  {kind:16} {count:6}, and {refused:5} that were refused");
    }
    assert_eq!(different, 0);
    assert_eq!(counts.values().sum::<usize>(), edits);
    for kind in [
        "another value",
        "a new key",
        "a key less",
        "a new section",
        "a section less",
    ] {
        let count = counts.get(kind).copied().unwrap_or_default();
        assert!(count * 100 >= edits * LEAST, "{kind}: {count}");
    }
    // What is refused is rare, else it would be no editor.
    assert!(refused.values().sum::<usize>() * 10 < edits, "{refused:?}");
}
