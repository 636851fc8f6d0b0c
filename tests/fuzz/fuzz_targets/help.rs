//! Any bytes as a help text: read or refused, without a panic and without an end.

#![no_main]

use barmanapi::catalogue::help::{assemble, parse_command, parse_overview, parse_version};
use barmanapi::names::CommandName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let _version = parse_version(&text);
    let _entries = parse_overview(&text);
    // The page is asked for by the name that its usage gives, or none would be read far.
    let word = text.split_whitespace().nth(2).unwrap_or_default();
    if let Ok(name) = CommandName::parse(word) {
        let _command = parse_command(&name, &[], &text);
    }
    // The overview and the pages of its commands, with a line of equal signs between them.
    let mut parts = text.split("\n====\n");
    let overview = parts.next().unwrap_or_default();
    let pages: Vec<&str> = parts.collect();
    let _catalogue = assemble("0.0", overview, |name| {
        pages
            .iter()
            .find(|page| page.split_whitespace().nth(2) == Some(name.as_str()))
            .copied()
    });
});
