use super::*;
use crate::policy::Rights;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

const OPERATOR: Authority = Authority::Operator { force: false };
const SECRET: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b";
const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
const THERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

/// A clock that is moved by hand.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn unix(&self) -> u64 {
        1_700_000_000 + self.0.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

struct Rig {
    auth: Auth,
    clock: Arc<Hand>,
    dir: tempfile::TempDir,
}

/// Two users, `admin` with full access and `op` without, both with the password `right`; and
/// `old`, whose md5 is of `1258`.
fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let hash = password::hash(&Secret::plain("pepper"), "right").unwrap();
    let text = format!(
        "[admin]\npassword = {hash}\naccess = []\ndeny = []\n\n\
         [op]\npassword = {hash}\naccess = ['barman']\ndeny = []\n\n\
         [old]\npassword = 26588e932c7ccfa1df309280702fe1b5\naccess = ['barman']\ndeny = []\n"
    );
    fs::write(dir.path().join("client.conf"), text).unwrap();
    let clock = Arc::new(Hand::default());
    let auth = auth(&dir, Arc::clone(&clock));
    Rig { auth, clock, dir }
}

fn auth(dir: &tempfile::TempDir, clock: Arc<Hand>) -> Auth {
    let settings = AuthSettings {
        users: dir.path().join("client.conf"),
        pepper: Secret::plain("pepper"),
        secret: Secret::strong(SECRET).unwrap(),
        algorithm: Algorithm::Hs256,
        token_life: Duration::from_secs(6000),
    };
    Auth::with_clock(settings, clock, Duration::ZERO).unwrap()
}

impl Rig {
    async fn token(&self, user: &str) -> String {
        self.auth.login(user, "right", HERE).await.unwrap().token
    }

    fn is_good(&self, token: &str) -> bool {
        match self.auth.verify(token, HERE) {
            Ok(_) => true,
            Err(AuthError::Unauthorized) => false,
            Err(other) => panic!("{other}"),
        }
    }

    fn text(&self) -> String {
        fs::read_to_string(self.dir.path().join("client.conf")).unwrap()
    }
}

fn name(word: &str) -> UserName {
    UserName::parse(word).unwrap()
}

fn rules(text: &str) -> Vec<Rule> {
    Rights::parse_list(text).unwrap()
}

#[tokio::test]
async fn a_token_brings_its_user_and_the_rights_of_the_moment() {
    let rig = rig();
    let token = rig.token("op").await;
    let caller = rig.auth.verify(&token, THERE).unwrap();
    assert_eq!(
        (caller.user.as_str(), caller.kind, caller.from),
        ("op", AuthKind::Token, THERE)
    );
    assert_eq!(caller.rights.access(), rules("barman"));
    let caller = rig.auth.basic("admin", "right", HERE).await.unwrap();
    assert_eq!(
        (caller.user.as_str(), caller.kind),
        ("admin", AuthKind::Basic)
    );
    assert!(caller.rights.is_full());
}

#[tokio::test]
async fn a_token_dies_with_its_time() {
    let rig = rig();
    let token = rig.token("op").await;
    rig.clock.0.store(5999, Ordering::Relaxed);
    assert!(rig.is_good(&token));
    rig.clock.0.store(6006, Ordering::Relaxed);
    assert!(!rig.is_good(&token));
}

#[tokio::test]
async fn every_change_of_a_user_ends_the_older_tokens_and_no_others() {
    let rig = rig();
    let bystander = rig.token("admin").await;
    for (password, access, deny) in [
        (Some("right"), "barman", ""),
        (None, "barman,config", ""),
        (None, "barman,config", "barman/delete"),
        (None, "barman,config", "barman/delete"),
    ] {
        let token = rig.token("op").await;
        assert!(rig.is_good(&token));
        let (access, deny) = (Some(rules(access)), Some(rules(deny)));
        let change = rig
            .auth
            .change_user(name("op"), password, access, deny, OPERATOR);
        change.await.unwrap();
        assert!(!rig.is_good(&token));
    }
    let token = rig.token("op").await;
    rig.auth.remove_user(name("op"), OPERATOR).await.unwrap();
    assert!(!rig.is_good(&token));
    rig.auth
        .add_user(name("op"), "right", rules("barman"), vec![], OPERATOR)
        .await
        .unwrap();
    assert!(!rig.is_good(&token));
    assert!(rig.is_good(&rig.token("op").await));
    assert!(rig.is_good(&bystander));
}

#[tokio::test]
async fn an_edit_by_hand_ends_the_tokens_of_that_user() {
    let rig = rig();
    let (op, admin) = (rig.token("op").await, rig.token("admin").await);
    let text = rig
        .text()
        .replacen("access = ['barman']", "access = ['barman','config']", 1);
    fs::write(rig.dir.path().join("client.conf"), text).unwrap();
    assert!(!rig.is_good(&op) && rig.is_good(&admin));
}

#[tokio::test]
async fn a_logout_ends_all_tokens_of_the_caller_in_every_process_and_for_good() {
    let rig = rig();
    let (first, second) = (rig.token("op").await, rig.token("op").await);
    let other = auth(&rig.dir, Arc::clone(&rig.clock));
    assert!(other.verify(&first, HERE).is_ok());
    let caller = rig.auth.verify(&first, HERE).unwrap();
    rig.auth.logout(&caller).await.unwrap();
    assert!(!rig.is_good(&first) && !rig.is_good(&second));
    assert!(matches!(
        other.verify(&second, HERE),
        Err(AuthError::Unauthorized)
    ));
    let restarted = auth(&rig.dir, Arc::clone(&rig.clock));
    assert!(matches!(
        restarted.verify(&first, HERE),
        Err(AuthError::Unauthorized)
    ));
    assert!(rig.is_good(&rig.token("op").await));
}

#[tokio::test]
async fn every_wrong_pair_gets_the_same_answer_at_the_same_price() {
    let rig = rig();
    let long = "x".repeat(1 << 20);
    let pairs = [
        ("nosuch", "right"),
        ("admin", "wrong"),
        ("old", "wrong"),
        ("x]\npassword=1\n[y", "right"),
        ("", ""),
        ("admin", ""),
        ("admin", &long),
        ("admin", "right\0"),
        ("DEFAULT", "right"),
    ];
    for (user, password) in pairs {
        let before = rig.auth.hashes();
        let error = rig.auth.login(user, password, HERE).await.unwrap_err();
        assert_eq!(error.to_string(), "authentication failed", "{user:?}");
        assert_eq!(rig.auth.hashes(), before + 1, "{user:?}");
    }
}

#[tokio::test]
async fn a_failed_login_takes_its_floor_and_a_right_one_does_not() {
    let mut rig = rig();
    rig.auth.floor = Duration::from_millis(700);
    for user in ["nosuch", "op"] {
        let start = std::time::Instant::now();
        assert!(rig.auth.login(user, "wrong", HERE).await.is_err());
        assert!(start.elapsed() >= Duration::from_millis(700));
    }
    rig.auth.floor = Duration::from_secs(3600);
    assert!(rig.auth.login("op", "right", HERE).await.is_ok());
}

#[tokio::test]
async fn guessing_is_slowed_for_one_address_and_right_logins_do_not_count() {
    let rig = rig();
    for _ in 0..15 {
        assert!(rig.auth.login("op", "right", HERE).await.is_ok());
    }
    for _ in 0..10 {
        let error = rig.auth.login("op", "wrong", HERE).await.unwrap_err();
        assert!(matches!(error, AuthError::Unauthorized));
    }
    let before = rig.auth.hashes();
    for password in ["wrong", "right"] {
        let error = rig.auth.login("op", password, HERE).await.unwrap_err();
        assert!(
            matches!(error, AuthError::TooMany { retry_after: 60 }),
            "{error}"
        );
    }
    assert_eq!(rig.auth.hashes(), before);
    assert!(rig.auth.login("op", "right", THERE).await.is_ok());
    rig.clock.0.store(60, Ordering::Relaxed);
    assert!(rig.auth.login("op", "right", HERE).await.is_ok());
}

#[tokio::test]
async fn an_old_md5_logs_in_and_is_replaced_without_touching_another_line() {
    let rig = rig();
    let before = rig.text();
    let token = rig.auth.login("old", " 1258", HERE).await.unwrap().token;
    assert!(rig.is_good(&token));
    let after = rig.text();
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let changed: Vec<_> = old
        .iter()
        .zip(&new)
        .filter(|(old, new)| old != new)
        .collect();
    assert_eq!((old.len(), changed.len()), (new.len(), 1));
    assert!(
        changed[0]
            .1
            .starts_with("password = $argon2id$v=19$m=19456,t=2,p=1$")
    );
    assert!(rig.auth.login("old", "1258", HERE).await.is_ok());
    assert_eq!(rig.text(), after);
}

#[tokio::test]
async fn two_first_logins_with_an_old_md5_both_succeed() {
    let rig = rig();
    let (one, two) = tokio::join!(
        rig.auth.login("old", "1258", HERE),
        rig.auth.login("old", "1258", THERE)
    );
    assert!(rig.is_good(&one.unwrap().token) && rig.is_good(&two.unwrap().token));
}

#[tokio::test]
async fn a_users_file_that_cannot_be_read_is_our_fault_and_lets_nobody_in() {
    let rig = rig();
    let token = rig.token("op").await;
    let path = rig.dir.path().join("client.conf");
    fs::remove_file(&path).unwrap();
    assert!(!rig.is_good(&token));
    fs::create_dir(&path).unwrap();
    assert!(matches!(
        rig.auth.verify(&token, HERE),
        Err(AuthError::Storage(_))
    ));
    let login = rig.auth.login("op", "right", HERE).await;
    assert!(matches!(login, Err(AuthError::Storage(_))));
}

#[tokio::test]
async fn refused_changes_leave_the_file_as_it_was() {
    let rig = rig();
    let before = rig.text();
    let taken = rig
        .auth
        .add_user(name("op"), "x", vec![], vec![], OPERATOR)
        .await;
    assert!(matches!(
        taken,
        Err(AuthError::Refused(UsersError::Exists(_)))
    ));
    let last = rig.auth.remove_user(name("admin"), OPERATOR).await;
    assert!(matches!(
        last,
        Err(AuthError::Refused(UsersError::LastFull(_)))
    ));
    let empty = rig
        .auth
        .change_user(name("op"), Some(""), None, None, OPERATOR)
        .await;
    assert!(matches!(empty, Err(AuthError::Password(_))));
    assert_eq!(rig.text(), before);
}

#[tokio::test]
async fn the_operator_gets_a_token_for_a_user_that_exists() {
    let rig = rig();
    let users = Users::open(rig.dir.path().join("client.conf"));
    let life = Duration::from_secs(6000);
    let tokens = Tokens::new(&Secret::plain(SECRET), Algorithm::Hs256, life).unwrap();
    let token = token_for(&users, &tokens, &name("old")).unwrap().token;
    let now = SystemClock::default().unix();
    rig.clock.0.store(now - 1_700_000_000, Ordering::Relaxed);
    assert!(rig.is_good(&token));
    let unknown = token_for(&users, &tokens, &name("none"));
    assert!(matches!(
        unknown,
        Err(AuthError::Refused(UsersError::Unknown(_)))
    ));
}
