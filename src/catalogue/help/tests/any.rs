//! What holds of any text.

use proptest::prelude::*;

use super::*;

/// What must hold of a command, whatever the text was.
fn check_command(command: &Command) {
    let mut flags: Vec<&String> = command.options.iter().flat_map(|o| &o.flags).collect();
    flags.sort();
    let all = flags.len();
    flags.dedup();
    assert_eq!(flags.len(), all, "a flag stands twice");
    assert!(
        flags
            .iter()
            .all(|flag| flag.starts_with('-') && *flag != "--help")
    );
    assert!(
        command
            .options
            .iter()
            .all(|option| !option.flags.is_empty())
    );
    let mut names: Vec<&String> = command.positionals.iter().map(|p| &p.name).collect();
    names.sort();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "a positional stands twice");
    let texts = command.options.iter().map(|o| &o.description);
    for text in texts.chain([&command.description]) {
        assert!(!text.chars().any(crate::names::is_line_or_control));
    }
}

/// What must hold of a list of commands, whatever the text was.
fn check_entries(entries: &[Entry]) {
    assert!(!entries.is_empty());
    let mut names: Vec<&CommandName> = entries
        .iter()
        .flat_map(|entry| entry.aliases.iter().chain([&entry.name]))
        .collect();
    names.sort();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "a name leads to two commands");
}

/// Where a text is cut.
fn cuts(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().step_by(5).map(|(at, _)| &text[..at])
}

#[test]
fn a_text_that_was_cut_lacks_no_command_and_no_option() {
    for text in OVERVIEWS {
        let whole = parse_overview(text).unwrap();
        for cut in cuts(text) {
            if let Ok(entries) = parse_overview(cut) {
                assert_eq!(entries, whole);
            }
        }
    }
    for (command, text) in PAGES {
        let whole = read(command, text).unwrap();
        for cut in cuts(text) {
            if let Ok(read) = read(command, cut) {
                assert_eq!(read.positionals, whole.positionals);
                let flags = |command: Command| command.options.into_iter().map(|o| o.flags);
                assert!(flags(read).eq(flags(whole.clone())));
            }
        }
    }
}

/// A change to a text.
#[derive(Debug, Clone)]
enum Edit {
    Delete(usize),
    Double(usize),
    Swap(usize, usize),
    Cut(usize, usize),
    Insert(usize, usize, String),
}

fn edit() -> impl Strategy<Value = Edit> {
    let line = 0usize..400;
    let piece = prop_oneof![
        "[\\[\\]{}(),. |-]{1,4}",
        "\\PC{0,6}",
        Just("  ".to_owned()),
        Just("\n".to_owned()),
        Just("options:\n  ".to_owned()),
        Just("--help ".to_owned()),
        Just("\u{1b}[31".to_owned()),
    ];
    prop_oneof![
        line.clone().prop_map(Edit::Delete),
        line.clone().prop_map(Edit::Double),
        (line.clone(), line.clone()).prop_map(|(a, b)| Edit::Swap(a, b)),
        (line.clone(), 0usize..80).prop_map(|(line, at)| Edit::Cut(line, at)),
        (line, 0usize..80, piece).prop_map(|(line, at, piece)| Edit::Insert(line, at, piece)),
    ]
}

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for edit in edits {
        let count = lines.len().max(1);
        let split = |line: &str, at: usize| {
            let at = line.char_indices().nth(at).map_or(line.len(), |(at, _)| at);
            (line[..at].to_owned(), line[at..].to_owned())
        };
        match edit {
            _ if lines.is_empty() => {}
            Edit::Delete(line) => drop(lines.remove(line % count)),
            Edit::Double(line) => lines.insert(line % count, lines[line % count].clone()),
            Edit::Swap(one, other) => lines.swap(one % count, other % count),
            Edit::Cut(line, at) => lines[line % count] = split(&lines[line % count], *at).0,
            Edit::Insert(line, at, piece) => {
                let (before, after) = split(&lines[line % count], *at);
                lines[line % count] = before + piece + &after;
            }
        }
    }
    lines.join("\n")
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,300}", lines in "(?s)(usage: )?.{0,300}") {
        for text in [&text, &lines] {
            drop(parse_version(text));
            if let Ok(entries) = parse_overview(text) {
                check_entries(&entries);
            }
            if let Ok(command) = read("run", text) {
                check_command(&command);
            }
        }
    }

    #[test]
    fn help_with_a_few_changes_is_read_or_refused(
        which in 0usize..4,
        edits in proptest::collection::vec(edit(), 1..6),
    ) {
        let (command, text) = PAGES[which];
        if let Ok(command) = read(command, &edited(text, &edits)) {
            check_command(&command);
        }
        if let Ok(entries) = parse_overview(&edited(OVERVIEWS[which % 3], &edits)) {
            check_entries(&entries);
        }
    }

    #[test]
    fn a_colour_anywhere_changes_nothing(at in 0usize..4000, sgr in "[0-9;]{0,8}") {
        let at = BACKUP.char_indices().nth(at).map_or(BACKUP.len(), |(at, _)| at);
        let coloured = format!("{}\u{1b}[{sgr}m{}", &BACKUP[..at], &BACKUP[at..]);
        prop_assert_eq!(read("backup", &coloured), read("backup", BACKUP));
    }
}
