//! Legal values of each type beside the nearest illegal ones.

use super::*;

#[track_caller]
fn takes(kind: Kind, good: &[&str], bad: &[&str]) {
    for value in good {
        assert!(kind.accepts(value), "{kind:?} refuses {value:?}");
    }
    for value in bad {
        assert!(!kind.accepts(value), "{kind:?} takes {value:?}");
    }
}

#[test]
fn every_type_has_one_name_and_one_form() {
    for (name, kind, expected) in KINDS {
        assert_eq!(Kind::parse(name), Some(*kind));
        assert_eq!(kind.expected(), *expected);
    }
    assert_eq!(Kind::parse("nonsense"), None);
}

#[test]
fn a_part_of_last_failed_is_not_a_backup() {
    let parts = [
        "", "a", "-", "last-", "failed", "fail", "f", "t-f", "las", "d", "l", "ast", "ed",
    ];
    takes(
        Kind::BackupId,
        &[
            "20261120T214304",
            "latest",
            "last",
            "oldest",
            "first",
            "last-failed",
            "latest-full",
            "last-full",
            "nightly",
            "before-upgrade_2.1:x",
            "failed2",
        ],
        &parts,
    );
    takes(Kind::BackupName, &["nightly", "failed2"], &parts);
    takes(
        Kind::BackupId,
        &[],
        &[
            "auto",
            "20261120t214304x\n",
            "a b",
            "--x",
            "../x",
            "nightly\n",
        ],
    );
    takes(Kind::BackupIdOrAuto, &["auto", "latest"], &["fail", ""]);
    takes(
        Kind::BackupName,
        &[],
        &[
            "latest",
            "auto",
            "last-full",
            "20261120T214304",
            "-x",
            "a\nb",
        ],
    );
}

#[test]
fn a_wal_name_is_never_a_path() {
    takes(
        Kind::WalName,
        &[
            "000000010000000000000003",
            "000000010000000000000003.partial",
            "000000010000000000000003.00000028.backup",
            "00000002.history",
        ],
        &[
            "../../other/wals/000000010000000000000003",
            "/x/000000010000000000000003",
            "00000001000000000000000g",
            "000000010000000000000003.partial.partial",
            "000000010000000000000003\n",
            "..\\000000010000000000000003",
            "00000001.backup",
        ],
    );
}

#[test]
fn recovery_targets_hold_no_quote_and_no_line_end() {
    takes(
        Kind::RestorePoint,
        &["before upgrade 2.1", "-x"],
        &["x'", "x\ny", "", "a=b", "a\\"],
    );
    takes(Kind::Xid, &["731"], &["-1", "1'", "1 ", "٣"]);
    takes(
        Kind::Lsn,
        &["3/64000000", "0/0"],
        &["3", "3/6g", "/", "3/6/1", "'3/6", "3/6\n"],
    );
    takes(
        Kind::Time,
        &[
            "2026-11-20 21:43:04.123+02:00",
            "Nov 20 2026 10:00:00 Europe/Berlin",
            "2026-11-20T21:43:04Z",
        ],
        &["2026'", "2026\n", ""],
    );
    takes(
        Kind::Timeline,
        &["2", "current", "latest"],
        &["-2", "newest", "0x1"],
    );
    takes(
        Kind::TargetAction,
        &["pause", "promote", "shutdown"],
        &["PAUSE", "x"],
    );
}

#[test]
fn numbers_are_ascii_digits_within_their_range() {
    takes(
        Kind::Integer,
        &["0", "42"],
        &["-0", "+1", "1e4", "1.0", "1_0", " 1", "１", ""],
    );
    takes(Kind::Port, &["1", "65535"], &["0", "65536", "-1", "22 "]);
    takes(
        Kind::Size,
        &["30Gi", "500MB", "1", "2k", "3TiB"],
        &["Gi", "1X", "1 Gi", "-1", "1iiB"],
    );
}

#[test]
fn a_path_is_absolute_shortest_and_plain() {
    takes(
        Kind::RestoreDirectory,
        &["/srv/r", "/srv/r/a-b_c.d+e=f,g:h@i", "/srv/größe"],
        &[
            "x",
            "./x",
            "",
            "/",
            "//srv",
            "/srv//r",
            "/srv/./r",
            "/srv/../r",
            "/srv/r/",
            "/srv/a b",
            "/srv/$x",
            "/srv/`x`",
            "/srv/a;b",
            "/srv/%f",
            "/srv/a'b",
            "/srv/*",
            "/srv/~",
            "/srv/a\nb",
            "/srv/a\\b",
            "/srv/\0",
        ],
    );
    takes(
        Kind::Tablespace,
        &["ts 1:/srv/r/ts"],
        &["x", ":/srv/r", "x:srv", "x:/srv/../etc"],
    );
    takes(
        Kind::FileName,
        &["postgresql.auto.conf"],
        &["../x", ".x", "-x", "a/b", ""],
    );
}

#[test]
fn tasks_and_models_are_plain_words() {
    takes(
        Kind::Process,
        &["receive-wal"],
        &["1", "-x", "a b", "Receive", "../x"],
    );
    takes(
        Kind::Model,
        &["main:model1"],
        &["", "-x", "a]b", "a\nb", "a b"],
    );
    assert!(is_plain_command("ssh -p 22 postgres@db2"));
    for text in [
        "",
        "id > /x/P; false",
        "ssh $(id)",
        "ssh `id`",
        "ssh a\nb",
        "ssh a|b",
        "ssh 'a'",
    ] {
        assert!(!is_plain_command(text), "{text:?}");
    }
}
