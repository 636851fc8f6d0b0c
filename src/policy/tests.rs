//! Decisions, lists, canonical names and comparisons of rights.

use proptest::prelude::*;

use super::*;

fn rights(access: &str, deny: &str) -> Rights {
    let list = |text| Rights::parse_list(text).unwrap();
    Rights::new(list(access), list(deny)).unwrap()
}

fn on(servers: &[&str]) -> Scope {
    let servers = servers
        .iter()
        .map(|server| ServerName::parse(server).unwrap());
    Scope::Servers(servers.collect())
}

#[test]
fn an_empty_access_allows_everything_and_deny_wins() {
    let all = rights("", "");
    assert!(all.is_full() && all.allows(&["barman/backup"], &Scope::All));
    assert!(rights("*", "").is_full());
    let none = rights("*", "barman");
    assert!(!none.is_full());
    assert!(!none.allows(&["barman/backup"], &on(&["main"])));
    assert!(!none.may_ever(&["barman/backup"]));
    assert!(none.allows(&["auth/user/list"], &Scope::Global));
    assert!(!rights("barman", "").is_full());
    assert!(!rights("*@*", "").is_full());
    assert!(!all.allows::<&str>(&[], &Scope::Global));
}

#[test]
fn a_rule_for_one_server_gives_that_server_and_no_more() {
    let tenant = rights("barman@main", "");
    for (scope, allowed) in [
        (on(&["main"]), true),
        (on(&["other"]), false),
        (on(&["main", "other"]), false),
        (on(&["ALL"]), false),
        (on(&["main,other"]), false),
        (on(&["all"]), false),
        (on(&[]), false),
        (Scope::All, false),
        (Scope::Global, false),
    ] {
        assert_eq!(
            tenant.allows(&["barman/list-backups"], &scope),
            allowed,
            "{scope:?}"
        );
    }
    assert!(tenant.may_ever(&["barman/list-backups"]));
    assert!(!tenant.may_ever(&["auth/user"]));
    let several = rights("barman/backup@pg-*, barman/backup@main", "");
    assert!(several.allows(&["barman/backup"], &on(&["main", "pg-1"])));
    assert!(!rights("barman/backup@*", "").allows(&["barman/backup"], &Scope::All));
    let plain = rights("barman/backup", "");
    assert!(plain.allows(&["barman/backup"], &Scope::All));
    assert!(plain.allows(&["barman/backup"], &on(&["main"])));
}

#[test]
fn a_denial_for_one_server_denies_all_of_them_at_once_too() {
    let user = rights("", "barman/backup@main");
    assert!(!user.allows(&["barman/backup"], &on(&["main"])));
    assert!(!user.allows(&["barman/backup"], &on(&["other", "main"])));
    assert!(!user.allows(&["barman/backup"], &Scope::All));
    assert!(!user.allows(&["barman/backup"], &on(&["all"])));
    assert!(user.allows(&["barman/backup"], &on(&["other"])));
    assert!(user.may_ever(&["barman/backup"]));
    assert!(!rights("", "barman@other").allows(&["barman/diagnose"], &Scope::Global));
    assert!(!rights("", "barman/backup@*").may_ever(&["barman/backup"]));
}

#[test]
fn a_denied_alias_is_denied_by_every_name() {
    let names = ["barman/restore", "barman/recover"];
    for deny in [
        "barman/recover",
        "barman/restore",
        "barman/rec*",
        "BARMAN/Recover",
    ] {
        let user = rights("", deny);
        assert!(!user.allows(&names, &on(&["main"])), "{deny}");
        assert!(!user.may_ever(&names), "{deny}");
        assert!(user.allows(&["barman/backup"], &on(&["main"])), "{deny}");
    }
    let may = rights("barman/recover", "");
    assert!(may.allows(&names, &on(&["main"])));
    assert!(!may.allows(&["barman/backup"], &on(&["main"])));
}

#[test]
fn canonical_paths_replace_aliases_and_keep_what_is_around_them() {
    let canonical = |path: &str| (path == "barman/recover").then(|| "barman/restore".to_owned());
    let user = rights(
        "barman/recover@pg-*, barman/recover/help",
        "barman/rec*, barman/backup",
    );
    assert_eq!(
        user.canonicalised(canonical),
        rights(
            "barman/restore@pg-*, barman/restore/help",
            "barman/rec*, barman/backup"
        )
    );
    assert_eq!(user.canonicalised(|_| Some("[".into())), user);
}

#[test]
fn lists_are_read_in_three_forms_and_never_evaluated() {
    let wanted = vec![
        Rule::parse("barman").unwrap(),
        Rule::parse("auth/user/list").unwrap(),
    ];
    for text in [
        "['barman','auth/user/list']",
        "[ \"barman\", \"auth/user/list\" ]",
        "barman, auth/user/list",
        "[u'barman', u'auth/user/list']",
        "['barman','auth/user/list',]",
    ] {
        assert_eq!(Rights::parse_list(text).unwrap(), wanted, "{text}");
    }
    for text in ["", "[]", " [ ] "] {
        assert!(Rights::parse_list(text).unwrap().is_empty(), "{text:?}");
    }
    let many = vec!["a"; 201].join(",");
    let quoted = format!("[{}]", vec!["'a'"; 10_000].join(","));
    for text in [
        "[",
        "[a]",
        "['a'",
        "['a' 'b']",
        "['a'] + ['b']",
        "['a','b')]",
        "['a\\x41']",
        "a,,b",
        ",",
        "['']",
        "__import__('os').popen('id').read()",
        "['a', __import__('os')]",
        "[[\"a\"]]",
        "[1]",
        "[null]",
        "{\"a\":1}",
        &many,
        &quoted,
    ] {
        assert!(Rights::parse_list(text).is_err(), "{text:.40}");
    }
    assert_eq!(
        Rights::parse_list(&vec!["a"; 200].join(",")).unwrap().len(),
        200
    );
    assert!(Rights::new(vec![wanted[0].clone(); 201], Vec::new()).is_err());
}

#[test]
fn nobody_grants_more_than_they_have() {
    for (own, other, within) in [
        (("", ""), ("", ""), true),
        (("barman", ""), ("", ""), true),
        (("", ""), ("barman", ""), false),
        (("*", ""), ("barman", ""), false),
        (("barman/backup", ""), ("barman", ""), true),
        (("barman", ""), ("barman/backup", ""), false),
        (("barman/backup@main", ""), ("barman/backup", ""), true),
        (("barman/backup", ""), ("barman/backup@main", ""), false),
        (("barman/backup", ""), ("barman/backup@*", ""), false),
        (("barman/backup@pg-1", ""), ("barman@pg-*", ""), true),
        (("barman/backup@pg-*", ""), ("barman@pg-1", ""), false),
        (("barman/list-backups", ""), ("barman/list-*", ""), true),
        (("barman/*", ""), ("barman/list-*", ""), false),
        (("barman", ""), ("barman", "barman/delete"), false),
        (
            ("barman", "barman/delete"),
            ("barman", "barman/delete"),
            true,
        ),
        (("barman", "barman"), ("barman", "barman/delete@main"), true),
        (("barman/backup", ""), ("barman", "barman/delete"), true),
        (("barman@main", ""), ("barman", "barman@other"), true),
        (("barman@main", ""), ("barman", "barman@m*"), false),
        (("barman/rec*", ""), ("barman", "barman/restore"), false),
        (("", "barman/delete"), ("", "barman/delete@main"), true),
        (("", "barman/delete@main"), ("", "barman/delete"), false),
    ] {
        let (own_rights, other_rights) = (rights(own.0, own.1), rights(other.0, other.1));
        assert_eq!(
            own_rights.within(&other_rights),
            within,
            "{own:?} {other:?}"
        );
    }
}

#[test]
fn a_rule_is_written_out_when_it_names_the_path_and_the_server_word_for_word() {
    let names = ["barman/config-switch"];
    for (access, deny, written) in [
        ("barman/config-switch@main", "", true),
        ("barman/Config-Switch@main", "", true),
        ("barman/backup@main, barman/config-switch@main", "", true),
        ("", "", false),
        ("*", "", false),
        ("barman", "", false),
        ("barman@main", "", false),
        ("barman/config-switch", "", false),
        ("barman/config-switch@*", "", false),
        ("barman/config-switch@mai*", "", false),
        ("barman/config-*@main", "", false),
        ("barman/*@main", "", false),
        ("*/config-switch@main", "", false),
        ("barman/config-switch@other", "", false),
        ("barman/config-switch/help@main", "", false),
        (
            "barman/config-switch@main",
            "barman/config-switch@main",
            false,
        ),
        ("barman/config-switch@main", "barman/config-switch@*", false),
        ("barman/config-switch@main", "barman", false),
    ] {
        let user = rights(access, deny);
        assert_eq!(
            user.writes_out(&names, &on(&["main"])),
            written,
            "{access} - {deny}"
        );
        assert!(!user.writes_out(&names, &Scope::Global), "{access}");
        assert!(!user.writes_out(&names, &Scope::All), "{access}");
        assert!(
            !user.writes_out(&names, &on(&["main", "other"])),
            "{access}"
        );
    }
    let both = rights("barman/config-switch@main, barman/config-switch@other", "");
    assert!(both.writes_out(&names, &on(&["main", "other"])));
    let by_another_name = rights("b/old@main", "");
    assert!(by_another_name.writes_out(&["b/new", "b/old"], &on(&["main"])));
}

#[test]
fn a_rule_that_counts_for_more_when_written_out_is_granted_by_those_who_have_it() {
    let paths = ["barman/config-switch".to_owned()];
    for (own, other, within) in [
        (
            "barman/config-switch@main",
            "barman/config-switch@main",
            true,
        ),
        ("barman/config-switch@main", "barman@main", false),
        ("barman/config-switch@main", "barman/config-switch@*", false),
        ("barman/config-switch@main", "", false),
        (
            "barman/config-switch@main",
            "barman, barman/config-switch@other",
            false,
        ),
        ("barman/backup@main", "barman@main", true),
        ("barman/config-switch@m*", "barman@m*", true),
        ("barman/config-switch", "barman", true),
    ] {
        let (own_rights, other_rights) = (rights(own, ""), rights(other, ""));
        assert!(other.is_empty() || own_rights.within(&other_rights) || !within);
        assert_eq!(
            own_rights.writes_out_within(&other_rights, &paths),
            within,
            "{own} {other}"
        );
    }
}

/// A few rules over two words and two servers, so that they often meet.
fn list() -> impl Strategy<Value = Vec<Rule>> {
    let rule = "(\\*|b|b/\\*|b/r\\*|b/re|b/rec|b/x|x)(@(\\*|m|m\\*|o|n\\*))?";
    let rule = rule.prop_map(|text| Rule::parse(&text).unwrap());
    prop::collection::vec(rule, 0..3)
}

fn some_rights() -> impl Strategy<Value = Rights> {
    (list(), list()).prop_map(|(access, deny)| Rights::new(access, deny).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn rights_within_others_allow_nothing_that_those_do_not(own in some_rights(), other in some_rights()) {
        // `b/rec` is a second name of `b/re`.
        let canonical = |path: &str| (path == "b/rec").then(|| "b/re".to_owned());
        let (own, other) = (own.canonicalised(canonical), other.canonicalised(canonical));
        if !own.within(&other) {
            return Ok(());
        }
        let paths: [&[&str]; 5] = [&["b"], &["b/re", "b/rec"], &["b/x"], &["x"], &["b/re/help", "b/rec/help"]];
        for names in paths {
            for scope in [on(&["m"]), on(&["mm"]), on(&["o", "m"]), on(&["nn"]), Scope::All, Scope::Global] {
                prop_assert!(!own.allows(names, &scope) || other.allows(names, &scope), "{names:?} {scope:?}");
            }
        }
    }

    #[test]
    fn what_is_allowed_now_may_ever_be(user in some_rights()) {
        for names in [&["b"][..], &["b/re", "b/rec"], &["x"]] {
            for scope in [on(&["m"]), on(&["o"]), on(&["z"]), Scope::All, Scope::Global] {
                prop_assert!(!user.allows(names, &scope) || user.may_ever(names));
            }
        }
    }

    #[test]
    fn a_list_of_any_text_is_read_or_refused(text in "\\PC{0,60}|[\\[\\]'\"a,u ]{0,12}") {
        if let Ok(rules) = Rights::parse_list(&text) {
            let json = serde_json::to_string(&rules).unwrap();
            prop_assert_eq!(Rights::parse_list(&json), Ok(rules));
        }
    }
}
