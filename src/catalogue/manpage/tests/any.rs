//! Texts and bytes of every kind.

use proptest::prelude::*;

use super::{BY_DOCUTILS, by_pandoc};
use crate::catalogue::configkeys::is_key;
use crate::catalogue::manpage::read;

/// A line such as a manual has, or nearly.
fn line() -> impl Strategy<Value = String> {
    let request = proptest::sample::select(vec![
        ".",
        ".SH",
        ".SS",
        ".TP",
        ".IP",
        ".PP",
        ".sp",
        ".RS",
        ".RE",
        ".INDENT",
        ".UNINDENT",
        ".nf",
        ".fi",
        ".EX",
        ".EE",
        ".B",
        ".BR",
        ".TS",
        ".TE",
        ".de",
        ".ig",
        "..",
        ".UR",
        ".UE",
        "T{",
        "T}\tT{",
        "T}",
        "_",
        "l|l.",
        "Scope:",
        "'",
        "",
    ]);
    let word = prop_oneof![
        "[a-z_]{1,8}",
        proptest::sample::select(vec![
            "OPTIONS",
            "\\fB",
            "\\fP",
            "\\f[",
            "\\(",
            "\\[bu]",
            "\\X'",
            "\\",
            "\\s",
            "\"",
            "Global.",
            "Server / Model.",
            " <#",
            ">",
            "\t",
            "é",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,4}",
    ];
    (request, proptest::collection::vec(word, 0..4))
        .prop_map(|(request, words)| format!("{request} {}", words.join("")))
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(lines in proptest::collection::vec(line(), 0..40)) {
        let text = lines.join("\n");
        if let Ok(keys) = read(text.as_bytes()) {
            for key in keys.keys() {
                prop_assert!(is_key(key));
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_fail(bytes: Vec<u8>, packed: bool) {
        let bytes = if packed { [b"\x1f\x8b\x08".as_slice(), &bytes].concat() } else { bytes };
        drop(read(&bytes));
    }

    #[test]
    fn a_manual_with_a_few_bytes_changed_is_still_read(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..20),
        docutils: bool,
    ) {
        let page = if docutils { BY_DOCUTILS.to_owned() } else { by_pandoc(".B ") };
        let mut bytes = page.into_bytes();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        drop(read(&bytes));
    }
}
