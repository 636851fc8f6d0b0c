use super::*;
use proptest::prelude::*;

const FILE: &str = "\
# users of the API\r
[memin]\r
password: 81dc9bdb52d04dc20036dbd8313ed055\r
; may do all\r
access=[]\r
deny=\r
  ['barman/delete',\r
  # not this\r
   'barman/cron']\r
\r
# the operator\r
[op]\r
  Password = \u{e9}\r
  access = []";

fn read(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap()
}

fn text(document: &Document) -> String {
    String::from_utf8(document.to_bytes()).unwrap()
}

#[test]
fn a_changed_value_changes_its_line_alone() {
    let mut document = read(FILE);
    document
        .set("memin", "PASSWORD", "$argon2id$v=19$x")
        .unwrap();
    let wanted = FILE.replace("81dc9bdb52d04dc20036dbd8313ed055", "$argon2id$v=19$x");
    assert_eq!(text(&document), wanted);
    document.set("op", "access", "['a']").unwrap();
    assert_eq!(
        text(&document),
        wanted.replace("access = []", "access = ['a']")
    );
}

#[test]
fn a_value_that_stays_changes_nothing() {
    let mut document = read(FILE);
    document.set("memin", "access", "[]").unwrap();
    assert_eq!(text(&document), FILE);
}

#[test]
fn a_continued_value_becomes_one_line_and_its_comment_stays() {
    let mut document = read(FILE);
    document.set("memin", "deny", "[]").unwrap();
    let long = "deny=\r\n  ['barman/delete',\r\n  # not this\r\n   'barman/cron']\r\n";
    let wanted = FILE.replace(long, "deny=[]\r\n  # not this\r\n");
    assert_eq!(text(&document), wanted);
}

#[test]
fn an_empty_value_is_filled_behind_its_separator() {
    for (before, after) in [
        ("[a]\nx =   \n", "[a]\nx = 1\n"),
        ("[a]\nx=\n", "[a]\nx=1\n"),
        ("[a]\nx :", "[a]\nx : 1"),
    ] {
        let mut document = read(before);
        document.set("a", "x", "1").unwrap();
        assert_eq!(text(&document), after);
    }
}

#[test]
fn a_new_key_is_written_like_its_neighbours() {
    let mut document = read(FILE);
    document.set("memin", "stamp", "s").unwrap();
    document.set("op", "stamp", "t").unwrap();
    let wanted = FILE.replace("'barman/cron']\r\n", "'barman/cron']\r\nstamp=s\r\n");
    assert_eq!(text(&document), format!("{wanted}\r\n  stamp = t\r\n"));
}

#[test]
fn the_last_of_two_keys_is_the_one_that_changes() {
    let mut document = read("[a]\nx = 1\n[b]\n[a]\nx = 2\n");
    document.set("a", "x", "3").unwrap();
    assert_eq!(text(&document), "[a]\nx = 1\n[b]\n[a]\nx = 3\n");
}

#[test]
fn a_removed_key_leaves_its_comments() {
    let mut document = read(FILE);
    assert!(document.remove_key("memin", "deny").unwrap());
    assert!(!document.remove_key("memin", "deny").unwrap());
    let long = "deny=\r\n  ['barman/delete',\r\n  # not this\r\n   'barman/cron']\r\n";
    assert_eq!(text(&document), FILE.replace(long, "  # not this\r\n"));
}

#[test]
fn an_added_and_removed_section_leaves_a_line_at_most() {
    let mut document = read(FILE);
    document.add_section("new").unwrap();
    document.set("new", "access", "[]").unwrap();
    assert_eq!(
        text(&document),
        format!("{FILE}\r\n\r\n[new]\r\naccess = []\r\n")
    );
    assert!(document.remove_section("new").unwrap());
    assert_eq!(text(&document), format!("{FILE}\r\n\r\n"));
    assert!(document.remove_section("memin").unwrap());
    assert_eq!(
        text(&document),
        "# users of the API\r\n\r\n# the operator\r\n[op]\r\n  Password = \u{e9}\r\n  access = []\r\n\r\n"
    );
    assert!(!document.remove_section("memin").unwrap());
}

#[test]
fn an_empty_file_takes_a_section() {
    let mut document = read("");
    document.add_section("first").unwrap();
    document.set("first", "x", "").unwrap();
    assert_eq!(text(&document), "[first]\nx = \n");
}

#[test]
fn a_name_or_value_that_would_be_read_as_more_is_refused() {
    let mut document = read(FILE);
    for value in ["a\nb", "a\rb", " a", "a ", "a\u{2028}b", "a\0", "\u{85}"] {
        let refused = document.set("op", "access", value);
        assert_eq!(
            refused,
            Err(EditError::Value("access".to_owned())),
            "{value:?}"
        );
    }
    for key in ["", "a=b", "a:b", "#a", ";a", "[a", "a\nb", " a"] {
        assert!(
            matches!(document.set("op", key, "x"), Err(EditError::Key(_))),
            "{key:?}"
        );
    }
    for name in ["", "x]\npassword=1\n[y", "a]", " a", "a\r"] {
        let refused = document.add_section(name);
        assert_eq!(refused, Err(EditError::SectionName(name.to_owned())));
    }
    assert!(matches!(
        document.add_section("op"),
        Err(EditError::SectionExists(_))
    ));
    assert!(matches!(
        document.set("none", "x", "1"),
        Err(EditError::NoSection(_))
    ));
    assert_eq!(text(&document), FILE);
}

#[test]
fn an_edit_that_would_swallow_the_next_header_is_refused() {
    let entangled = "[a]\n    x = 1\n[b]\n  y = 1\n [c]\nz = 1\n";
    let mut document = read(entangled);
    // Without [b], the line ` [c]` would still be a header: deeper than nothing but [a]'s x.
    assert!(document.remove_section("b").unwrap());
    let mut document = read("[a]\nx = 1\n  [c]\n[b]\n  [d]\nz = 1\n");
    let refused = document.remove_section("b");
    assert_eq!(refused, Err(EditError::Entangled("b".to_owned())));
    assert!(document.has_section("d"));
}

#[test]
fn a_percent_sign_is_set_only_where_it_is_asked_for_as_text() {
    let mut document = read("[a]\nx = 1\n");
    for value in ["100%", "%%", "%(x)s"] {
        let refused = document.set("a", "X", value);
        assert_eq!(refused, Err(EditError::Percent("x".to_owned())));
    }
    assert_eq!(text(&document), "[a]\nx = 1\n");
    let escaped = crate::inifile::escape("100% %(x)s");
    document.set_raw("a", "x", &escaped).unwrap();
    assert_eq!(text(&document), "[a]\nx = 100%% %%(x)s\n");
    let read_back = document.interpolated("a", "x").unwrap();
    assert_eq!(read_back.as_deref(), Some("100% %(x)s"));
}

#[test]
fn a_new_key_stands_as_deep_as_what_follows_needs() {
    let mut document = read("[a]\n  [b]\n  x: 1\n");
    document.set("a", "k", "2").unwrap();
    assert_eq!(text(&document), "[a]\n  k: 2\n  [b]\n  x: 1\n");
}

fn texts() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[a]\n",
        "[b]\r\n",
        " [c]\n",
        "x = 1\n",
        "  X: 2\n",
        "y=\n",
        "    more\n",
        "# note\n",
        "\n",
        "  \n",
        "z = é",
        "\r",
        "\t; c\n",
    ]);
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

fn lines_of(text: &str) -> Vec<&[u8]> {
    super::super::line::split(text.as_bytes())
}

/// The blank lines and comments among the lines of a value.
fn silent(lines: &[&[u8]]) -> Vec<u8> {
    let says_nothing = |line: &&&[u8]| {
        let line = String::from_utf8_lossy(line);
        line.trim().is_empty() || line.trim().starts_with(['#', ';'])
    };
    lines
        .iter()
        .filter(says_nothing)
        .copied()
        .collect::<Vec<_>>()
        .concat()
}

proptest! {
    #[test]
    fn an_edit_says_what_was_asked_and_nothing_else(
        before in texts(),
        key in prop::sample::select(vec!["x", "Y", "new"]),
        value in "[ -~é]{0,12}|.{0,4}",
        raw: bool,
    ) {
        let Ok(mut document) = Document::parse(before.as_bytes()) else { return Ok(()) };
        let old = document.clone();
        let outcome = if raw {
            document.set_raw("a", key, &value)
        } else {
            document.set("a", key, &value)
        };
        match outcome {
            Ok(()) => {
                let new = Document::parse(&document.to_bytes()).unwrap();
                prop_assert_eq!(&new, &document);
                prop_assert_eq!(new.get("a", key), Some(value.clone()));
                if !raw {
                    prop_assert_eq!(new.interpolated("a", key), Ok(Some(value)));
                }
                for section in old.sections() {
                    for (name, kept) in old.entries(section) {
                        if (section, name) != ("a", key.to_lowercase().as_str()) {
                            prop_assert_eq!(new.get(section, name), Some(kept.to_owned()));
                        }
                    }
                }
                prop_assert_eq!(new.sections().collect::<Vec<_>>(), old.sections().collect::<Vec<_>>());
            }
            Err(EditError::Percent(_)) => {
                prop_assert!(value.contains('%') && !raw);
                prop_assert_eq!(document.to_bytes(), before.as_bytes());
            }
            Err(EditError::Value(_) | EditError::Entangled(_) | EditError::NoSection(_)) => {
                prop_assert_eq!(document.to_bytes(), before.as_bytes());
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn a_plain_value_is_always_taken_by_a_key_that_is_there(
        before in texts(),
        value in "([!-$&-~é]([ !-$&-~é]{0,8}[!-$&-~é])?)?",
    ) {
        let Ok(mut document) = Document::parse(before.as_bytes()) else { return Ok(()) };
        let keys: Vec<(String, String)> = document
            .sections()
            .flat_map(|section| document.entries(section).map(|(key, _)| (section.to_owned(), key.to_owned())))
            .collect();
        for (section, key) in keys {
            document.set(&section, &key, &value).unwrap();
            prop_assert_eq!(document.interpolated(&section, &key), Ok(Some(value.clone())));
        }
    }

    #[test]
    fn a_changed_or_removed_key_touches_no_line_but_its_own(before in texts(), remove: bool) {
        let Ok(mut document) = Document::parse(before.as_bytes()) else { return Ok(()) };
        let Some(setting) = document.setting("a", "x").filter(|setting| !setting.inherited) else {
            return Ok(());
        };
        let (first, last) = (setting.lines.start() - 1, *setting.lines.end());
        let old = lines_of(&before);
        // Where the key stands twice, the earlier ones go as well.
        let alone = document.lines.iter().filter(|line| matches!(&line.kind, Kind::Entry { key, .. } if key == "x")).count() == 1;
        if remove && !alone {
            return Ok(());
        }
        if remove {
            prop_assert!(document.remove_key("a", "x").unwrap());
        } else {
            document.set("a", "x", "changed").unwrap();
        }
        let after = text(&document);
        let kept_within = silent(&old[first + 1..last]);
        let mut wanted = old[..first].concat();
        let rest = [kept_within, old[last..].concat()].concat();
        if !remove {
            let line = lines_of(&after)[first];
            prop_assert!(String::from_utf8_lossy(line).contains("changed"));
            wanted.extend_from_slice(line);
        }
        wanted.extend(rest);
        prop_assert_eq!(after, String::from_utf8(wanted).unwrap());
    }

    #[test]
    fn a_new_key_adds_one_line_and_changes_none_but_a_last_one_without_end(before in texts()) {
        let Ok(mut document) = Document::parse(before.as_bytes()) else { return Ok(()) };
        if document.set("a", "new", "1").is_ok() {
            let after = text(&document);
            let mut lines = lines_of(&after);
            let count = lines.len();
            lines.retain(|line| !line.starts_with(b"new") && !line.trim_ascii().starts_with(b"new"));
            prop_assert_eq!(lines.len() + 1, count);
            let kept = lines.concat();
            let end = kept.strip_prefix(before.as_bytes());
            prop_assert!(matches!(end, Some(b"" | b"\n" | b"\r\n" | b"\r")));
        }
    }

    #[test]
    fn adding_and_removing_a_section_keeps_every_other_line(before in texts()) {
        let Ok(mut document) = Document::parse(before.as_bytes()) else { return Ok(()) };
        document.add_section("new").unwrap();
        document.set("new", "k", "v").unwrap();
        prop_assert!(document.remove_section("new").unwrap());
        prop_assert!(document.to_bytes().starts_with(before.as_bytes()));
    }
}
