//! Any texts as lists of rules: what is told as wrong is what is refused, and whoever has no more
//! rights than another may do nothing that the other may not.

#![no_main]

use barmanapi::names::{Scope, ServerName};
use barmanapi::policy::Rights;
use libfuzzer_sys::fuzz_target;

/// The rights of two lists, one a line.
fn rights(lines: &mut std::str::Lines<'_>) -> Option<Rights> {
    let mut list = || {
        let text = lines.next().unwrap_or_default();
        let rules = Rights::parse_list(text);
        assert_eq!(rules.is_ok(), Rights::faults(text).is_empty(), "{text:?}");
        rules.ok()
    };
    Rights::new(list()?, list()?).ok()
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let (Some(one), Some(other)) = (rights(&mut lines), rights(&mut lines)) else {
        return;
    };
    assert!(one.within(&one), "{one:?}");
    let within = one.within(&other);
    let servers: Vec<ServerName> = ["main", "pg", "a"]
        .into_iter()
        .filter_map(|name| ServerName::parse(name).ok())
        .collect();
    let rules = [one.access(), one.deny(), other.access(), other.deny()].concat();
    let paths = rules.iter().map(|rule| rule.path().replace('*', "x"));
    for path in paths.chain(lines.map(str::to_owned)).take(32) {
        let scopes = servers.iter().map(|server| Scope::Servers(vec![server.clone()]));
        for scope in scopes.chain([Scope::All, Scope::Global]) {
            let names = [path.as_str()];
            let may = one.allows(&names, &scope);
            assert!(!may || one.may_ever(&names), "{one:?} {path:?} {scope:?}");
            assert!(
                !within || !may || other.allows(&names, &scope),
                "{one:?} {other:?} {path:?} {scope:?}"
            );
        }
    }
});
