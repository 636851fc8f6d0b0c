use super::*;
use crate::inifile::Fault;
use proptest::prelude::*;

fn read(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap()
}

#[test]
fn keys_lose_their_case_and_sections_keep_it() {
    let document = read("[Main]\nKEY: one\nother = two\n[main]\nkey=three\n");
    assert_eq!(document.get("Main", "key").as_deref(), Some("one"));
    assert_eq!(document.get("Main", "Other").as_deref(), Some("two"));
    assert_eq!(document.get("main", "key").as_deref(), Some("three"));
    assert_eq!(document.get("MAIN", "key"), None);
    assert_eq!(document.sections().collect::<Vec<_>>(), ["Main", "main"]);
}

#[test]
fn the_first_separator_ends_the_key() {
    let document = read("[a]\nconninfo = host=x dbname=y\nurl: http://x\n");
    assert_eq!(
        document.get("a", "conninfo").as_deref(),
        Some("host=x dbname=y")
    );
    assert_eq!(document.get("a", "url").as_deref(), Some("http://x"));
}

#[test]
fn a_comment_sign_inside_a_line_belongs_to_the_value() {
    let document = read("# top\n[a]\n ; note\nx = 1 # one ; two\ny = #2\n");
    assert_eq!(document.get("a", "x").as_deref(), Some("1 # one ; two"));
    assert_eq!(document.get("a", "y").as_deref(), Some("#2"));
}

#[test]
fn deeper_lines_continue_a_value_across_comments_and_blank_lines() {
    let document = read("[a]\nx = 1\n  2\n# note\n\n\t3\n\n\ny = 4\n");
    assert_eq!(document.get("a", "x").as_deref(), Some("1\n2\n\n3"));
    assert_eq!(document.get("a", "y").as_deref(), Some("4"));
}

#[test]
fn a_deeper_header_or_key_is_part_of_the_value_above() {
    let document = read("[a]\nx =\n  [b]\n  y = 2\n");
    assert_eq!(document.get("a", "x").as_deref(), Some("\n[b]\ny = 2"));
    assert!(!document.has_section("b"));
}

#[test]
fn a_wholly_indented_section_reads_as_usual() {
    let document = read("  [a]\n    x = 1\n    y = 2\n  [b]\n  z = 3\n");
    assert_eq!(document.get("a", "y").as_deref(), Some("2"));
    assert_eq!(document.get("b", "z").as_deref(), Some("3"));
}

#[test]
fn every_line_end_counts_and_none_is_needed_at_the_end() {
    let text = "[a]\r\nx = 1\ry = 2\nz = 3";
    let document = read(text);
    for (key, value) in [("x", "1"), ("y", "2"), ("z", "3")] {
        assert_eq!(document.get("a", key).as_deref(), Some(value));
    }
    assert_eq!(document.to_bytes(), text.as_bytes());
}

#[test]
fn the_last_of_two_wins_and_sections_of_one_name_are_one() {
    let document = read("[a]\nx = 1\nx = 2\n[b]\n[a]\nX = 3\ny = 4\n");
    assert_eq!(document.get("a", "x").as_deref(), Some("3"));
    let entries: Vec<_> = document.entries("a").collect();
    assert_eq!(entries, [("x", "3"), ("y", "4")]);
}

#[test]
fn a_header_runs_to_its_last_bracket_and_the_rest_is_ignored() {
    assert!(read("[zz] junk\n").has_section("zz"));
    assert!(read("[a]b]\n").has_section("a]b"));
}

#[test]
fn an_unreadable_line_is_named() {
    for (text, line, fault) in [
        ("x = 1\n", 1, Fault::NoSection),
        ("[a]\n\nword\n", 3, Fault::Unreadable),
        ("[a]\r\n= 1\r\n", 2, Fault::NoKey),
        ("[]\n", 1, Fault::NoSection),
        ("[a]\n[]\n", 2, Fault::Unreadable),
    ] {
        let error = Document::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error, IniError { line, fault }, "{text:?}");
    }
    for (text, line) in [
        (b"[a]\nx = \xfe\n".as_slice(), 2),
        (b"\xfe", 1),
        (b"[a]\r\n\r\xfe", 3),
        (b"# \xfe\n", 1),
    ] {
        let error = Document::parse(text).unwrap_err();
        assert_eq!(error.to_string(), format!("line {line}: not UTF-8 text"));
    }
}

#[test]
fn our_own_files_may_have_a_mark_and_any_bytes_in_comments() {
    let text = b"\xef\xbb\xbf# \xfe\xff\r\n[a]\r\nx = 1\r\n";
    let mut document = Document::parse_kindly(text).unwrap();
    assert_eq!(document.to_bytes(), text);
    document.set("a", "x", "2").unwrap();
    assert_eq!(
        document.to_bytes(),
        text.map(|b| if b == b'1' { b'2' } else { b })
    );
    let refused = Document::parse_kindly(b"[a]\nx = \xfe\n").unwrap_err();
    assert_eq!((refused.line, refused.fault), (2, Fault::NotUtf8));
    let refused = Document::parse(b"\xef\xbb\xbf[a]\n").unwrap_err();
    assert_eq!((refused.line, refused.fault), (1, Fault::Mark));
}

#[test]
fn a_key_has_its_lines_and_those_of_default_are_inherited() {
    let text = "[DEFAULT]\nHome = /d\nx = 0\n[a]\nx = 1\n # note\n\n  2\n\n[b]\n[a]\ny=3\ny=4\n";
    let document = read(text);
    let found: Vec<_> = document
        .settings("a")
        .map(|setting| (setting.key, setting.raw, setting.lines, setting.inherited))
        .collect();
    let wanted = [
        ("x", "1\n\n2", 5..=8, false),
        ("y", "4", 13..=13, false),
        ("home", "/d", 2..=2, true),
    ];
    assert_eq!(found, wanted);
    assert_eq!(document.settings("b").count(), 2);
    assert_eq!(document.settings("none").count(), 0);
    assert_eq!(
        document
            .settings("DEFAULT")
            .filter(|s| !s.inherited)
            .count(),
        2
    );
    assert_eq!(document.setting("a", "HOME").unwrap().lines, 2..=2);
    assert_eq!(document.setting("none", "home"), None);
    assert_eq!(document.line_of("b"), Some(10));
    assert_eq!(document.line_of("a"), Some(4));
}

#[test]
fn what_python_takes_for_white_space_is_blank_and_ends_no_line() {
    let text = "[a]\n\u{85}\n\x0cx\u{2028}=\u{1c}1\x0b2\u{3000}\n\u{a0}\u{2003}3\n\u{feff}y=4\n";
    let document = read(text);
    assert_eq!(document.get("a", "x").as_deref(), Some("1\x0b2\n3"));
    assert_eq!(document.get("a", "\u{feff}y").as_deref(), Some("4"));
}

fn ini_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "[a]",
        "[b]",
        "x",
        "Y",
        "=",
        ":",
        " ",
        "\t",
        "1",
        "#",
        ";",
        "\n",
        "\r\n",
        "\r",
        "[",
        "]",
        "\u{feff}",
        "\u{85}",
        "\u{a0}",
        "é",
        "\0",
        "[a]\nx=1\n",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn what_parses_is_written_back_byte_for_byte(text in ini_bytes()) {
        for read in [Document::parse, Document::parse_kindly] {
            if let Ok(document) = read(&text) {
                prop_assert_eq!(document.to_bytes(), text.as_slice());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_parse_or_are_refused(text: Vec<u8>) {
        let mut behind = b"[a]\nx = 1\n#".to_vec();
        behind.extend_from_slice(&text);
        for text in [text, behind] {
            for read in [Document::parse, Document::parse_kindly] {
                if let Ok(document) = read(&text) {
                    prop_assert_eq!(document.to_bytes(), text.as_slice());
                }
            }
        }
    }
}
