use super::*;
use crate::auth::password::Stored;
use crate::policy::Rights;
use std::os::unix::fs::PermissionsExt;

const OPERATOR: Authority = Authority::Operator { force: false };
const FORCED: Authority = Authority::Operator { force: true };
const OLD: &str = "\
# kept by hand\r
[memin]\r
password = 26588e932c7ccfa1df309280702fe1b5\r
access = []\r
deny = []\r
\r
[op]\r
password=26588e932c7ccfa1df309280702fe1b5\r
access=['barman/list-servers','auth/user']\r
deny=['barman/delete']";

struct File {
    dir: tempfile::TempDir,
    users: Users,
}

fn file(text: &str) -> File {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client.conf");
    fs::write(&path, text).unwrap();
    File {
        users: Users::open(path),
        dir,
    }
}

impl File {
    fn text(&self) -> String {
        fs::read_to_string(self.users.path()).unwrap()
    }

    fn find(&self, user: &str) -> Option<Arc<User>> {
        self.users.find(&name(user)).unwrap()
    }
}

fn name(word: &str) -> UserName {
    UserName::parse(word).unwrap()
}

fn rules(text: &str) -> Vec<Rule> {
    Rights::parse_list(text).unwrap()
}

fn texts(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

#[test]
fn barmanapis_own_file_is_read() {
    let file = file(OLD);
    let op = file.find("op").unwrap();
    assert!(matches!(op.password, Stored::Md5(_)));
    assert_eq!(
        texts(op.rights.access()),
        ["barman/list-servers", "auth/user"]
    );
    assert_eq!(texts(op.rights.deny()), ["barman/delete"]);
    assert!(file.find("nobody").is_none());
    assert!(file.find("Memin").is_none());
    let listing = file.users.listing().unwrap();
    assert_eq!(listing.users.keys().collect::<Vec<_>>(), ["memin", "op"]);
}

#[test]
fn without_a_file_there_are_no_users_and_the_first_one_makes_it() {
    let dir = tempfile::tempdir().unwrap();
    let users = Users::open(dir.path().join("client.conf"));
    assert!(users.find(&name("op")).unwrap().is_none());
    users
        .add(&name("op"), "hash", &rules("barman"), &[], &OPERATOR)
        .unwrap();
    let mode = fs::metadata(users.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let text = fs::read_to_string(users.path()).unwrap();
    let start = "[op]\npassword = hash\naccess = ['barman']\ndeny = []\nstamp = ";
    assert!(text.starts_with(start), "{text}");
    assert_eq!(
        texts(users.find(&name("op")).unwrap().unwrap().rights.access()),
        ["barman"]
    );
}

#[test]
fn a_change_touches_its_own_lines_alone() {
    let file = file(OLD);
    let change = Change {
        access: Some(rules("config")),
        ..Change::default()
    };
    file.users.change(&name("op"), &change, &OPERATOR).unwrap();
    let wanted = OLD.replace("['barman/list-servers','auth/user']", "['config']");
    let text = file.text();
    let rest = text.strip_prefix(&wanted).unwrap();
    assert!(
        rest.starts_with("\r\nstamp=") && rest.matches('\n').count() == 2,
        "{rest:?}"
    );
}

#[test]
fn an_edit_by_hand_counts_at_once() {
    let file = file(OLD);
    for round in 0..20 {
        let rule = format!("barman/r{round}");
        fs::write(file.users.path(), OLD.replace("barman/list-servers", &rule)).unwrap();
        let op = file.find("op").unwrap();
        assert_eq!(texts(op.rights.access()), [rule.as_str(), "auth/user"]);
    }
    fs::remove_file(file.users.path()).unwrap();
    assert!(file.find("op").is_none());
}

#[test]
fn a_file_that_was_replaced_by_an_older_one_is_read_anew() {
    let file = file(OLD);
    let other = file.dir.path().join("other");
    fs::write(&other, OLD.replace("auth/user", "auth/none")).unwrap();
    let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    for path in [file.users.path(), &other] {
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(past)
            .unwrap();
    }
    assert_eq!(
        texts(file.find("op").unwrap().rights.access())[1],
        "auth/user"
    );
    fs::rename(&other, file.users.path()).unwrap();
    assert_eq!(
        texts(file.find("op").unwrap().rights.access())[1],
        "auth/none"
    );
}

#[test]
fn every_part_of_a_section_is_in_the_fingerprint() {
    let file = file(OLD);
    let before = file.find("op").unwrap().fingerprint;
    let mut seen = vec![before];
    for (old, new) in [
        ("password=2", "password=3"),
        ("'auth/user'", "'auth/use'"),
        ("'barman/delete'", ""),
        ("deny=[", "stamp=x\r\ndeny=["),
    ] {
        let text = OLD.rsplit_once("[op]").unwrap();
        let text = format!("{}[op]{}", text.0, text.1.replace(old, new));
        fs::write(file.users.path(), text).unwrap();
        let fingerprint = file.find("op").unwrap().fingerprint;
        assert!(!seen.contains(&fingerprint), "{old}");
        seen.push(fingerprint);
    }
    fs::write(file.users.path(), OLD).unwrap();
    assert_eq!(file.find("op").unwrap().fingerprint, before);
}

#[test]
fn logging_out_and_coming_back_give_new_fingerprints() {
    let file = file(OLD);
    let mut seen = vec![file.find("op").unwrap().fingerprint];
    file.users.log_out(&name("op")).unwrap();
    seen.push(file.find("op").unwrap().fingerprint);
    file.users.log_out(&name("op")).unwrap();
    seen.push(file.find("op").unwrap().fingerprint);
    for _ in 0..2 {
        file.users.remove(&name("op"), &OPERATOR).unwrap();
        file.users
            .add(&name("op"), "same", &rules("barman"), &[], &OPERATOR)
            .unwrap();
        seen.push(file.find("op").unwrap().fingerprint);
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

#[test]
fn a_text_that_is_not_ini_lets_nobody_in_and_is_not_edited() {
    let broken = OLD.replace("[op]", "op]");
    let file = file(OLD);
    assert!(file.find("op").is_some());
    fs::write(file.users.path(), &broken).unwrap();
    assert!(file.find("op").is_none() && file.find("memin").is_none());
    let error = file.users.listing().unwrap().broken.unwrap();
    assert_eq!(error.line, 7);
    let refused = file.users.log_out(&name("memin")).unwrap_err().to_string();
    assert!(refused.contains("line 7"), "{refused}");
    assert_eq!(file.text(), broken);
}

#[test]
fn a_section_that_cant_be_read_lets_its_user_out_and_no_other() {
    for (old, new, fault) in [
        ("'auth/user']", "__import__('os')]", "`access`"),
        ("['barman/delete']", "['BAR MAN']", "`deny`"),
        (
            "access=['barman/list-servers','auth/user']\r\n",
            "",
            "no `access`",
        ),
    ] {
        let file = file(&OLD.replace(old, new));
        assert!(file.find("op").is_none(), "{new}");
        assert!(file.find("memin").is_some());
        let listing = file.users.listing().unwrap();
        let (section, said) = &listing.faults[0];
        assert!(
            section == "op" && said.contains(fault) && said.contains("line 7"),
            "{said}"
        );
    }
    let file = file("[a b]\naccess=[]\n");
    assert!(file.users.listing().unwrap().users.is_empty());
}

#[test]
fn a_hash_that_costs_too_much_is_told() {
    let hash =
        "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$q/GvOR2nbPY0ijhcGuhOPZSLRkPQtyQRyLF6oJmKXyA";
    let file = file(&format!("[op]\npassword = {hash}\naccess = []\n"));
    assert!(file.find("op").unwrap().password.fault().is_some());
    assert!(
        file.users.listing().unwrap().faults[0]
            .1
            .contains("m=262144")
    );
}

#[test]
fn a_default_section_is_inherited_and_is_no_user() {
    let file = file("[DEFAULT]\ndeny = ['barman/delete']\n[op]\naccess = []\n");
    assert_eq!(
        texts(file.find("op").unwrap().rights.deny()),
        ["barman/delete"]
    );
    assert!(file.find("DEFAULT").is_none());
    let add = file.users.add(&name("DEFAULT"), "x", &[], &[], &OPERATOR);
    assert!(matches!(add, Err(UsersError::Reserved(_))));
    let change = file.users.log_out(&name("DEFAULT"));
    assert!(matches!(change, Err(UsersError::Unknown(_))));
}

#[test]
fn a_new_name_is_in_lower_case_and_one_that_is_there_stays_good() {
    let file = file("[Ann]\naccess = []\n");
    let add = file.users.add(&name("ANN"), "x", &[], &[], &OPERATOR);
    assert!(matches!(add, Err(UsersError::UpperCase(_))));
    file.users.log_out(&name("Ann")).unwrap();
    assert!(file.find("Ann").is_some());
}

#[test]
fn a_name_is_taken_once_and_a_missing_one_is_not_changed() {
    let file = file(OLD);
    let add = file.users.add(&name("op"), "x", &[], &[], &OPERATOR);
    assert!(matches!(add, Err(UsersError::Exists(_))));
    let remove = file.users.remove(&name("none"), &FORCED);
    assert!(matches!(remove, Err(UsersError::Unknown(_))));
    assert_eq!(file.text(), OLD);
}

#[test]
fn the_last_user_with_full_access_stays_unless_forced() {
    let file = file(OLD);
    let less = Change {
        deny: Some(rules("config")),
        ..Change::default()
    };
    let unusable = Change {
        password: Some("nonsense".to_owned()),
        ..Change::default()
    };
    for change in [&less, &unusable] {
        let refused = file.users.change(&name("memin"), change, &OPERATOR);
        assert!(matches!(refused, Err(UsersError::LastFull(_))));
    }
    let refused = file.users.remove(&name("memin"), &OPERATOR);
    assert!(matches!(refused, Err(UsersError::LastFull(_))));
    assert_eq!(file.text(), OLD);
    file.users
        .add(
            &name("second"),
            "26588e932c7ccfa1df309280702fe1b5",
            &[],
            &[],
            &OPERATOR,
        )
        .unwrap();
    file.users.change(&name("memin"), &less, &OPERATOR).unwrap();
    file.users.remove(&name("second"), &FORCED).unwrap();
    file.users.remove(&name("memin"), &OPERATOR).unwrap();
    file.users.remove(&name("op"), &OPERATOR).unwrap();
}

#[test]
fn an_outdated_password_is_replaced_only_while_it_is_the_one_that_was_seen() {
    let file = file(OLD);
    let seen = file.find("op").unwrap();
    assert!(file.users.upgrade(&seen, "new").unwrap());
    let wanted = OLD.replacen(
        "password=26588e932c7ccfa1df309280702fe1b5",
        "password=new",
        1,
    );
    assert_eq!(file.text(), wanted);
    assert!(!file.users.upgrade(&seen, "newer").unwrap());
    file.users.remove(&name("op"), &FORCED).unwrap();
    assert!(!file.users.upgrade(&seen, "newer").unwrap());
}

#[test]
fn changes_made_at_the_same_time_are_all_kept() {
    let file = file(OLD);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let users = Users::open(file.users.path().to_owned());
            let add = move || {
                users.add(
                    &name(&format!("u{number}")),
                    "x",
                    &rules("barman"),
                    &[],
                    &OPERATOR,
                )
            };
            scope.spawn(move || add().unwrap());
        }
    });
    assert_eq!(file.users.listing().unwrap().users.len(), 10);
}

#[test]
fn rules_read_back_whatever_stands_in_a_servers_name() {
    let file = file(OLD);
    for rule in [
        "barman@it's",
        "barman@back\\slash",
        "barman@a, b",
        "barman@\"q\"",
        "barman@é",
    ] {
        let change = Change {
            access: Some(vec![
                Rule::parse(rule).unwrap(),
                Rule::parse("config").unwrap(),
            ]),
            ..Change::default()
        };
        file.users.change(&name("op"), &change, &OPERATOR).unwrap();
        assert_eq!(
            texts(file.find("op").unwrap().rights.access()),
            [rule, "config"]
        );
    }
}

#[test]
fn a_change_that_leaves_the_section_unreadable_is_refused() {
    let text = OLD.replace(
        "access=['barman/list-servers','auth/user']",
        "access=['BAR MAN']",
    );
    let file = file(&text);
    let deny = Change {
        deny: Some(rules("config")),
        ..Change::default()
    };
    let refused = file
        .users
        .change(&name("op"), &deny, &OPERATOR)
        .unwrap_err();
    assert!(refused.to_string().contains("`access`"), "{refused}");
    assert_eq!(file.text(), text);
    let both = Change {
        access: Some(rules("barman")),
        ..deny
    };
    file.users.change(&name("op"), &both, &OPERATOR).unwrap();
    assert!(file.find("op").is_some());
}
