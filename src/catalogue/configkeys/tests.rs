//! The list itself, and values of each type on both sides of the line. That the line is Barman's
//! own is held by the integration tests, which ask the real one.

use super::*;

#[test]
fn every_line_of_the_built_in_list_is_a_key_in_a_known_class() {
    let entries = lines::read(BUILTIN).unwrap();
    let mut seen = std::collections::HashSet::new();
    for entry in &entries {
        let class = KeyClass::of_section(entry.section);
        assert!(class.is_some(), "{entry:?}");
        if let Some(key) = entry.key {
            assert!(is_key(key), "{entry:?}");
            let info = KeyInfo::parse(class.unwrap(), entry.value.unwrap());
            assert!(info.is_some(), "{entry:?}");
            assert!(seen.insert(key), "{key} stands in two classes");
        }
    }
    assert_eq!(seen.len(), ConfigKeys::builtin().keys.len());
}

#[test]
fn a_hook_is_known_in_any_case_and_a_strange_key_in_none() {
    let keys = ConfigKeys::builtin();
    assert_eq!(keys.class("PRE_Backup_script"), Some(KeyClass::Executes));
    assert_eq!(keys.class("parallel_jobs"), Some(KeyClass::Tuning));
    assert_eq!(keys.class("barman_home"), Some(KeyClass::Installation));
    assert_eq!(keys.class("pre_backup_scr\u{131}pt"), None);
}

#[test]
fn only_the_plain_form_is_a_key() {
    assert!(is_key("pre_backup_script"));
    for word in [
        "", "A", " a", "a ", "a:", "a\t", "1a", "a-b", "[a]", "a=b", "a\u{131}",
    ] {
        assert!(!is_key(word), "{word:?}");
    }
}

/// A key, values that Barman takes, and values that it does not.
type Case = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const CASES: &[Case] = &[
    (
        "archiver",
        &["on", "TRUE", "f", "'0'"],
        &["", "None", "truee", "2", "' on'"],
    ),
    (
        "parallel_jobs",
        &["4", " +4 ", "-1", "1_000", "٣"],
        &["", "None", "4.0", "1__0", "²"],
    ),
    ("minimum_redundancy", &["0", "-0", "3"], &["-1", "", "x"]),
    ("bandwidth_limit", &["", "4000", "-1"], &["4k"]),
    (
        "tablespace_bandwidth_limit",
        &["", "a:1 b:2"],
        &["a", "a:x", "a:1 b"],
    ),
    (
        "last_backup_minimum_size",
        &["", "5", "5Gi", "5 k", "0"],
        &["5K", "5gi", "-5", " x"],
    ),
    (
        "last_wal_maximum_age",
        &["", "1 DAY", "2 hours", "999999999 days"],
        &["1DAY", "1", "1 year", "1000000000 days", "142857143 weeks"],
    ),
    (
        "retention_policy",
        &[
            "",
            "REDUNDANCY 2",
            "recovery window of 4 weeks",
            "\"redundancy 0\"",
        ],
        &[
            "REDUNDANCY",
            "2",
            "RECOVERY WINDOW OF 1 HOUR",
            "REDUNDANCY -1",
        ],
    ),
    ("retention_policy_mode", &["auto"], &["AUTO", "manual", ""]),
    (
        "reuse_backup",
        &["link", "COPY", "off"],
        &["", "on", "false"],
    ),
    ("staging_location", &["local"], &["LOCAL", ""]),
    ("compression", &["", "zstd", "Gzip"], &["zip", "none"]),
    (
        "compression_level",
        &["", "-22", "high"],
        &["+1", "--1", "-", "1.5"],
    ),
    (
        "backup_options",
        &["", "concurrent_backup, External_Configuration"],
        &["x", "concurrent_backup,exclusive_backup", "a,,b"],
    ),
    ("slot_name", &["barman", "BARMAN_1"], &["", "a-b", "a b"]),
    ("snapshot_disks", &["a", "a, b"], &["", "a,,b"]),
    ("staging_path", &["/tmp"], &["tmp", "", "~/x"]),
    (
        "wals_directory",
        &[
            "/x",
            "s3://b/p",
            "gs://b",
            "https://a.blob.core.windows.net/c",
            "rel",
            "",
        ],
        &[
            "s3://",
            "ftp://x/y",
            "gs:///x",
            "https://a.blob.core.windows.net",
        ],
    ),
    (
        "log_level",
        &["", "debug", "WARN", "15"],
        &["VERBOSE", "trace"],
    ),
    ("lock_directory_cleanup", &["", "no"], &["maybe"]),
    ("model", &["true"], &["\"true\"", ""]),
    ("conninfo", &["host=x", "", "None"], &[]),
    ("no_such_key", &["", "anything"], &["50%"]),
];

#[test]
fn values_that_barman_takes_pass_and_their_neighbours_do_not() {
    let keys = ConfigKeys::builtin();
    let digits = |count: usize| keys.check("parallel_jobs", &"9".repeat(count)).is_ok();
    assert_eq!((digits(4300), digits(4301)), (true, false));
    for (key, good, bad) in CASES {
        for value in *good {
            assert_eq!(keys.check(key, value), Ok(()), "{key} = {value}");
        }
        for value in *bad {
            assert!(keys.check(key, value).is_err(), "{key} = {value}");
        }
    }
}

#[test]
fn a_percent_sign_is_doubled_or_names_a_key() {
    let keys = ConfigKeys::builtin();
    for value in ["100%%", "%(barman_home)s/x", "%%(x)", "%%%%"] {
        assert_eq!(keys.check("description", value), Ok(()), "{value}");
    }
    for value in ["%", "100%", "%%%", "%(x)", "%()s", "%(x)d", "%s", "%%%x"] {
        let refused = keys.check("conninfo", value).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the value of conninfo has a '%' that names no key; write '%%' for the character itself"
        );
    }
    // What the other key holds is Barman's to say.
    assert_eq!(keys.check("parallel_jobs", "%(jobs)s"), Ok(()));
    assert!(keys.check("parallel_jobs", "%%").is_err());
}

#[test]
fn a_refusal_names_the_key_the_value_and_what_is_allowed() {
    let keys = ConfigKeys::builtin();
    let refused = |key, value| keys.check(key, value).unwrap_err().to_string();
    assert_eq!(
        refused("Reuse_Backup", "yes"),
        "reuse_backup can't be \"yes\": it takes one of copy, link, off"
    );
    assert_eq!(
        refused("retention_policy", "2"),
        "retention_policy can't be \"2\": it takes REDUNDANCY n, or RECOVERY WINDOW OF n DAYS, \
         WEEKS or MONTHS, or nothing"
    );
    assert_eq!(
        refused("wal_retention_policy", "x"),
        "wal_retention_policy can't be \"x\": it takes main"
    );
    assert_eq!(
        refused("backup_options", "x"),
        "backup_options can't be \"x\": it takes one of exclusive_backup, concurrent_backup, \
         external_configuration, several with commas between, not both of the first two, or nothing"
    );
    assert_eq!(
        refused("disabled", "true"),
        "disabled can't be set: barman takes no value for it from its configuration"
    );
    assert!(refused("archiver", &"x".repeat(1000)).len() < 200);
}

#[test]
fn a_key_in_a_section_where_barman_does_not_look_is_refused_with_the_right_one() {
    let keys = ConfigKeys::builtin();
    let refused = |key, place| keys.check_place(key, place).unwrap_err().to_string();
    assert_eq!(
        refused("barman_home", Place::Server),
        "barman_home has no effect in a server's section; it belongs in [barman]"
    );
    assert_eq!(
        refused("conninfo", Place::Global),
        "conninfo has no effect in [barman]; it belongs in a server's section or a model's section"
    );
    assert!(keys.check_place("pre_backup_script", Place::Model).is_err());
    for place in [Place::Global, Place::Server, Place::Model] {
        assert_eq!(keys.check_place("retention_policy", place), Ok(()));
        assert_eq!(keys.check_place("no_such_key", place), Ok(()));
    }
}

#[test]
fn the_nearest_key_is_told_and_no_far_one() {
    let keys = ConfigKeys::builtin();
    assert_eq!(keys.nearest("retention_polcy"), Some("retention_policy"));
    assert_eq!(
        keys.nearest("keepalive_internval"),
        Some("keepalive_interval")
    );
    assert_eq!(keys.nearest("command"), None);
    assert_eq!(keys.nearest(&"a".repeat(100_000)), None);
}

#[test]
fn an_old_version_has_no_new_key_and_no_model() {
    let keys = ConfigKeys::builtin();
    let scope = |key: &str, barman| {
        let scope = keys.get(key).unwrap().scope_in(barman);
        scope.map(|scope| scope.to_string())
    };
    let all = Some("Global/Server/Model".to_owned());
    assert_eq!(scope("worm_mode", Some("3.12.1")), None);
    assert_eq!(scope("worm_mode", Some("3.13.0")), all);
    assert_eq!(
        scope("archiver", Some("3.9.0")),
        Some("Global/Server".to_owned())
    );
    assert_eq!(scope("archiver", Some("3.10")), all);
    assert_eq!(scope("worm_mode", None), all);
    assert_eq!(scope("worm_mode", Some("strange")), all);
}
