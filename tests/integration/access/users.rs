//! Users over HTTP: added, changed and removed, by whom and by whom not.

use std::fs;

use serde_json::{Value, json};

use crate::rig::{Answer, Barman, Server, Site, StandIn, User};

pub const PASSWORD: &str = "correct horse battery";

/// A service with `ada`, who may everything, and `olga`, who may run backups of `main` and look
/// after users, but never delete.
pub struct House {
    pub stand_in: StandIn,
    pub site: Site,
    pub server: Server,
}

impl House {
    pub fn new() -> Self {
        Self::with(&[])
    }

    pub fn with(settings: &[&str]) -> Self {
        let stand_in = StandIn::new();
        let site = Site::new(&Barman::StandIn(&stand_in), settings);
        site.user("ada", &["--full"]);
        site.user(
            "olga",
            &[
                "--access",
                "auth,history,barman/backup@main,barman/recover@main",
                "--deny",
                "barman/delete",
            ],
        );
        site.user("rob", &["--access", "barman/list-*"]);
        let server = site.serve();
        Self {
            stand_in,
            site,
            server,
        }
    }

    pub fn ask(&self, user: &str) -> User<'_> {
        self.server.with_token(&self.site.token(user))
    }

    pub fn file(&self) -> String {
        fs::read_to_string(self.site.file("client.conf")).unwrap()
    }

    /// Holds that a request is refused with this status and changes nothing.
    #[track_caller]
    fn refuses(&self, user: &str, task: &str, body: &Value, status: u16) -> Value {
        self.refused(user, task, body, status).json()
    }

    /// As `refuses`, with the whole answer.
    #[track_caller]
    pub fn refused(&self, user: &str, task: &str, body: &Value, status: u16) -> Answer {
        let before = self.file();
        let answer = self.ask(user).post(&format!("/auth/user/{task}"), body);
        assert_eq!(answer.status, status, "{user} {task} {body}: {answer:?}");
        assert_eq!(self.file(), before, "{user} {task} {body}");
        answer
    }

    /// The line of audit.log that tells of a refused request; there is one and no other.
    #[track_caller]
    pub fn refusal_of(&self, answer: &Answer) -> Value {
        let id = answer.header("x-request-id").unwrap();
        let text = fs::read_to_string(self.server.store().join("logs/audit.log")).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let own = lines.filter(|line| line["request_id"] == id && line["event"] == "refused");
        let own: Vec<Value> = own.collect();
        assert_eq!(own.len(), 1, "{answer:?}: {own:?}");
        own[0].clone()
    }

    pub fn logs_in(&self, name: &str, password: &str) -> bool {
        self.server.basic("/auth/token", name, password).status == 200
    }
}

#[test]
fn a_user_is_added_listed_changed_and_removed_over_http() {
    let house = House::new();
    let ada = house.ask("ada");
    let wish = json!({"username": "eve", "password": PASSWORD, "access": ["barman/backup@main", "history"]});
    let answer = ada.post("/auth/user/add", &wish).expect(200).json();
    let rights = json!({"access": ["barman/backup@main", "history"], "deny": []});
    assert_eq!(answer["list"], rights, "{answer}");
    assert!(house.logs_in("eve", PASSWORD));
    let list = ada.get("/auth/user/list").expect(200).json();
    assert_eq!(list["list"]["eve"], rights);
    assert_eq!(list["list"]["ada"], json!({"access": [], "deny": []}));
    assert!(!list.to_string().contains("argon2"));
    // By query, form and the old text form of a list too; what is not named stays.
    let deny = "/auth/user/change?username=eve&deny=['barman/delete']";
    let answer = ada.get(deny).expect(200).json();
    assert_eq!(answer["list"]["deny"], json!(["barman/delete"]));
    assert_eq!(answer["list"]["access"], rights["access"]);
    let form = "username=eve&access=barman%2Fcheck%2C+history&deny=";
    let answer = ada.form("/auth/user/change", form).expect(200).json();
    let now = json!({"access": ["barman/check", "history"], "deny": []});
    assert_eq!(answer["list"], now);
    let eve = house.ask("eve");
    eve.get("/auth/user").expect(403);
    eve.get("/history/list").expect(200);
    ada.form("/auth/user/remove", "username=eve").expect(200);
    eve.get("/history/list").expect(401);
    assert!(!house.logs_in("eve", PASSWORD));
    assert!(!house.file().contains("eve"));
    let twice = house.refuses("ada", "remove", &json!({"username": "eve"}), 404);
    assert!(
        twice["message"].as_str().unwrap().contains("eve"),
        "{twice}"
    );
    let taken = json!({"username": "rob", "password": PASSWORD, "access": []});
    house.refuses("ada", "add", &taken, 409);
    // Who did what to whom is on record, and no password is.
    let logged = house.site.logged();
    for event in ["user_add", "user_change", "user_remove"] {
        assert!(
            logged.contains(&format!("\"event\":\"{event}\"")),
            "{event}"
        );
    }
    assert!(logged.contains("\"subject\":\"eve\""));
    assert!(!logged.contains(PASSWORD) && !logged.contains("argon2"));
}

#[test]
fn lists_that_are_not_given_are_the_callers_own_and_nothing_grants_everything_silently() {
    let house = House::new();
    let olga = house.ask("olga");
    let wish = json!({"username": "eve", "password": PASSWORD});
    let answer = olga.post("/auth/user/add", &wish).expect(200).json();
    let own = json!({
        "access": ["auth", "history", "barman/backup@main", "barman/recover@main"],
        "deny": ["barman/delete"],
    });
    assert_eq!(answer["list"], own);
    let silent = json!({"username": "bob", "password": PASSWORD, "access": ""});
    let refused = house.refuses("ada", "add", &silent, 400);
    assert!(
        refused["message"].as_str().unwrap().contains("[]"),
        "{refused}"
    );
    let loud = json!({"username": "bob", "password": PASSWORD, "access": []});
    house.ask("ada").post("/auth/user/add", &loud).expect(200);
}

#[test]
fn nobody_grants_more_than_their_own_rights() {
    let house = House::new();
    let add = |access: Value, deny: Value| json!({"username": "eve", "password": PASSWORD, "access": access, "deny": deny});
    let kept = json!(["barman/delete"]);
    for (access, deny) in [
        (json!([]), kept.clone()),
        (json!(["*"]), kept.clone()),
        (json!(["barman"]), kept.clone()),
        (json!(["barman/backup"]), kept.clone()),
        (json!(["barman/backup@other"]), kept.clone()),
        (json!(["barman/backup@*"]), kept.clone()),
        (json!(["barman/backup@main", "config"]), kept.clone()),
        // Whoever may delete by another name may delete.
        (json!(["auth", "barman/*@main"]), json!([])),
    ] {
        house.refuses("olga", "add", &add(access.clone(), deny.clone()), 403);
        let change = json!({"username": "olga", "access": access, "deny": deny});
        house.refuses("olga", "change", &change, 403);
    }
    // The same command by its other name is within.
    let restore = add(json!(["barman/restore@main", "history/list"]), json!([]));
    house
        .ask("olga")
        .post("/auth/user/add", &restore)
        .expect(200);
    // Less is within, also for oneself.
    let less = json!({"username": "olga", "access": ["auth"]});
    let answer = house.ask("olga").post("/auth/user/change", &less);
    assert_eq!(answer.expect(200).json()["list"]["access"], json!(["auth"]));
}

#[test]
fn whoever_has_less_changes_nobody_who_has_more() {
    let house = House::new();
    for (task, body) in [
        ("change", json!({"username": "ada", "password": "x"})),
        ("change", json!({"username": "ada", "access": ["auth"]})),
        ("change", json!({"username": "ada", "deny": ["barman"]})),
        ("change", json!({"username": "rob", "password": "x"})),
        ("remove", json!({"username": "ada"})),
        ("remove", json!({"username": "rob"})),
        // Whether somebody is there is none of her business either.
        ("remove", json!({"username": "nobody"})),
        ("change", json!({"username": "nobody", "password": "x"})),
    ] {
        house.refuses("olga", task, &body, 403);
    }
    assert!(house.logs_in("ada", PASSWORD));
}

#[test]
fn without_the_right_there_is_the_own_password_for_the_old_one_and_nothing_else() {
    let house = House::new();
    for (task, body) in [
        (
            "add",
            json!({"username": "eve", "password": "x", "access": ["barman/list-*"]}),
        ),
        ("remove", json!({"username": "rob"})),
        ("change", json!({"username": "rob", "access": ["*"]})),
        (
            "change",
            json!({"username": "rob", "access": ["barman/list-*"]}),
        ),
        (
            "change",
            json!({"username": "rob", "password": "x", "old_password": PASSWORD, "deny": []}),
        ),
        ("change", json!({"username": "ada", "password": "x"})),
        (
            "change",
            json!({"username": "rob", "password": "x", "old_password": "wrong"}),
        ),
    ] {
        house.refuses("rob", task, &body, 403);
    }
    // What it says is about users, and not about servers of Barman.
    let record = json!({"username": "rob", "access": ["*"]});
    let told = house.refuses("rob", "change", &record, 403)["message"].to_string();
    assert!(
        told.contains("your own password and nothing else"),
        "{told}"
    );
    assert!(!told.contains("servers"), "{told}");
    house.ask("rob").get("/auth/user/list").expect(403);
    for body in [
        json!({"username": "rob"}),
        json!({"username": "rob", "password": "x"}),
        json!({"username": "rob", "password": "", "old_password": PASSWORD}),
    ] {
        house.refuses("rob", "change", &body, 400);
    }
    let rob = house.ask("rob");
    let own = json!({"username": "rob", "password": "new", "old_password": PASSWORD});
    rob.post("/auth/user/change", &own).expect(200);
    rob.get("/barman/help").expect(401);
    assert!(house.logs_in("rob", "new") && !house.logs_in("rob", PASSWORD));
    // Whoever came by the password has said it already.
    let again = "/auth/user/change?username=rob&password=newer";
    let answer = house.server.basic(again, "rob", "new");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(house.logs_in("rob", "newer"));
    // A shared account can be kept from it.
    let deny = json!({"username": "rob", "deny": ["auth/user/change"]});
    house
        .ask("ada")
        .post("/auth/user/change", &deny)
        .expect(200);
    let own = json!({"username": "rob", "password": "x", "old_password": "newer"});
    let told = house.refuses("rob", "change", &own, 403)["message"].clone();
    assert_eq!(told, "you have no right to auth/user/change");
}

#[test]
fn a_stolen_token_does_not_take_an_account_over() {
    let house = House::new();
    house.refuses(
        "ada",
        "change",
        &json!({"username": "ada", "password": "x"}),
        400,
    );
    let wrong = json!({"username": "ada", "password": "x", "old_password": "guess"});
    house.refuses("ada", "change", &wrong, 403);
    let others = json!({"username": "rob", "password": "x", "old_password": PASSWORD});
    house.refuses("ada", "change", &others, 400);
}

#[test]
fn the_last_user_with_full_access_stays() {
    let house = House::new();
    for (task, body) in [
        ("remove", json!({"username": "ada"})),
        ("change", json!({"username": "ada", "access": ["barman"]})),
        (
            "change",
            json!({"username": "ada", "deny": ["barman/delete"]}),
        ),
    ] {
        let refused = house.refuses("ada", task, &body, 409);
        assert!(
            refused["message"].as_str().unwrap().contains("last"),
            "{refused}"
        );
    }
    let second = json!({"username": "bob", "password": PASSWORD, "access": []});
    house.ask("ada").post("/auth/user/add", &second).expect(200);
    house
        .ask("ada")
        .form("/auth/user/remove", "username=ada")
        .expect(200);
}

#[test]
fn a_name_or_a_list_that_would_be_read_as_more_changes_nothing() {
    let house = House::new();
    for name in [
        "x]\npassword=1\n[y",
        "x]",
        "[x",
        "a b",
        "",
        "DEFAULT",
        "Eve",
        "x\ny",
        "x\r",
        "../x",
        "-x",
        "x=y",
        "\u{131}",
        "x\0",
        "x\u{1b}[31m",
        "x\u{2028}y",
        "x\u{85}y",
    ] {
        let body = json!({"username": name, "password": PASSWORD, "access": []});
        house.refuses("ada", "add", &body, 400);
    }
    for list in [
        json!("__import__('os').popen('id').read()"),
        json!("[].__class__"),
        json!(["barman/[a"]),
        json!(["barman\n[x]"]),
        json!(["["]),
        json!(["**"]),
        json!(["a*a*a*a*a*b"]),
        json!(vec!["barman"; 201]),
        json!([["barman"]]),
        json!({"a": "b"}),
        json!(1),
        json!(true),
        json!("['barman"),
        json!("barman,,history"),
    ] {
        for name in ["access", "deny"] {
            house.refuses(
                "ada",
                "change",
                &json!({"username": "rob", name: list}),
                400,
            );
            let mut body = json!({"username": "eve", "password": PASSWORD, "access": ["barman"]});
            body[name] = list.clone();
            house.refuses("ada", "add", &body, 400);
        }
    }
    let endless = json!({"username": "rob", "access": vec!["barman"; 10_000]});
    house.refuses("ada", "change", &endless, 413);
    for body in [
        json!({"username": "eve", "password": "x", "acces": []}),
        json!({"username": "eve", "password": ["x"], "access": []}),
        json!({"password": "x"}),
        json!({"username": "eve"}),
        json!({"username": "eve", "password": "x".repeat(1025), "access": []}),
        json!({"username": "eve", "password": "x", "access": [], "old_password": "y"}),
    ] {
        house.refuses("ada", "add", &body, 400);
    }
    // With these nobody could ever log in.
    for password in ["x\n", "\n", "a\tb", "a\rb", "a\u{7f}b", "a\u{85}b"] {
        let add = json!({"username": "eve", "password": password, "access": ["barman"]});
        let told = house.refuses("ada", "add", &add, 400);
        assert!(told.to_string().contains("control character"), "{told}");
        for change in [
            json!({"username": "rob", "password": password}),
            json!({"username": "ada", "password": password, "old_password": PASSWORD}),
        ] {
            house.refuses("ada", "change", &change, 400);
        }
    }
    assert!(house.logs_in("ada", PASSWORD));
    for log in ["general.log", "audit.log"] {
        house.site.log_lines(log);
    }
}

#[test]
fn what_was_written_by_hand_stays_when_users_change_over_http() {
    let house = House::new();
    let text = format!(
        "; kept by hand\r\n{}\r\n# the end, without an end",
        house.file().replace('\n', "\r\n")
    );
    house.site.users(&text);
    let ada = house.ask("ada");
    let deny = json!({"username": "rob", "deny": ["barman/list-servers"]});
    ada.post("/auth/user/change", &deny).expect(200);
    let now = house.file();
    let changed = text
        .lines()
        .zip(now.lines())
        .filter(|(old, new)| old != new);
    let changed: Vec<_> = changed.map(|(_, new)| new).collect();
    assert!(changed.len() <= 2, "{changed:?}");
    assert!(now.starts_with("; kept by hand\r\n") && now.ends_with("# the end, without an end"));
    let eve = json!({"username": "eve", "password": PASSWORD, "access": ["barman/list-servers"]});
    ada.post("/auth/user/add", &eve).expect(200);
    let more = house.file();
    assert!(more.starts_with(&now), "{more}");
    assert!(more.contains("[eve]\r\n"), "{more:?}");
    house
        .ask("ada")
        .post("/auth/user/remove", &json!({"username": "eve"}))
        .expect(200);
    let left = house.file();
    assert!(left.starts_with(&now) && !left.contains("eve"), "{left:?}");
    // A section that can't be read is named to whoever lists.
    house
        .site
        .users(&format!("{now}\r\n[half]\r\npassword = x\r\n"));
    let list = house.ask("ada").get("/auth/user/list").expect(200).json();
    assert!(
        list["faults"]["half"].as_str().unwrap().contains("access"),
        "{list}"
    );
}

#[test]
fn tokens_of_a_changed_user_die_in_every_service_on_the_store() {
    let house = House::new();
    let second = house.site.serve();
    let token = house.site.token("rob");
    for server in [&house.server, &second] {
        server
            .with_token(&token)
            .get("/barman/list-servers/help")
            .expect(200);
    }
    let deny = json!({"username": "rob", "deny": ["barman/list-servers"]});
    house
        .ask("ada")
        .post("/auth/user/change", &deny)
        .expect(200);
    for server in [&house.server, &second] {
        server
            .with_token(&token)
            .get("/barman/list-servers/help")
            .expect(401);
    }
}
