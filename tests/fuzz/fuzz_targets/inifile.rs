//! Any bytes as ini text: read or refused, written back as they were, and edited without a change
//! that was not asked for.

#![no_main]

use barmanapi::inifile::Document;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for read in [Document::parse, Document::parse_kindly] {
        let Ok(document) = read(data) else { continue };
        assert_eq!(document.to_bytes(), data);
        let sections: Vec<String> = document.sections().map(str::to_owned).collect();
        // Every key of a large text would take a minute.
        for section in sections.iter().take(8) {
            let keys: Vec<String> = document
                .settings(section)
                .take(8)
                .map(|setting| setting.key.to_owned())
                .collect();
            for key in &keys {
                let _value = document.interpolated(section, key);
                let mut changed = document.clone();
                if changed.set(section, key, "changed").is_ok() {
                    let again = read(&changed.to_bytes()).expect("an edit leaves a text");
                    assert_eq!(again.get(section, key).as_deref(), Some("changed"));
                }
                let mut removed = document.clone();
                if removed.remove_key(section, key) == Ok(true) {
                    assert_eq!(removed.get(section, key), None);
                }
            }
            let mut removed = document.clone();
            if removed.remove_section(section) == Ok(true) {
                assert!(!removed.has_section(section));
            }
        }
        let mut added = document.clone();
        if added.add_section("a new one").is_ok() {
            added.set("a new one", "key", "value").expect("a new section takes a key");
        }
    }
});
