//! Rights and tokens that end over HTTP, in every service on the store, and two who would take each
//! other's rights away.

use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use super::users::{House, PASSWORD};
use crate::rig::{Server, User};

fn works(server: &Server, token: &str) -> bool {
    let status = server
        .with_token(token)
        .get("/barman/list-servers/help")
        .status;
    assert!([200, 401].contains(&status), "{status}");
    status == 200
}

#[test]
fn the_tokens_of_before_die_at_once_in_both_services() {
    let house = House::new();
    let second = house.site.serve();
    let old = house.ask("ada");
    let mut dead: Vec<String> = Vec::new();
    let rob = |extra: Value| {
        let mut body = json!({"username": "rob"});
        for (key, value) in extra.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    let rights = json!({"password": PASSWORD, "access": ["barman/list-*"]});
    for steps in [
        vec![("change", rob(json!({"password": "another"})))],
        vec![("change", rob(json!({"password": PASSWORD})))],
        vec![(
            "change",
            rob(json!({"access": ["barman/list-*", "history"]})),
        )],
        vec![("change", rob(json!({"deny": ["barman/list-files"]})))],
        // Also where all is as it was.
        vec![("change", rob(json!({"deny": ["barman/list-files"]})))],
        vec![("remove", rob(json!({}))), ("add", rob(rights.clone()))],
        vec![("remove", rob(json!({}))), ("add", rob(rights))],
    ] {
        let token = house.site.token("rob");
        assert!(works(&house.server, &token) && works(&second, &token));
        for (task, body) in &steps {
            old.post(&format!("/auth/user/{task}"), body).expect(200);
            for server in [&second, &house.server] {
                assert!(!works(server, &token), "{steps:?}");
            }
        }
        dead.push(token);
    }
    for token in &dead {
        assert!(!works(&house.server, token) && !works(&second, token));
    }
    // Nobody else's has ended.
    old.get("/auth/user").expect(200);
    second.with_token(&old.token).get("/auth/user").expect(200);
}

#[test]
fn a_right_that_is_gone_is_gone_for_the_next_token_and_for_what_waits() {
    let house = House::with(&["barman.max_jobs = 1"]);
    let second = house.site.serve();
    house.stand_in.control(&json!({"delete": {"hang": true}}));
    let ada = house.ask("ada");
    let rights = json!({"username": "rob", "access": ["barman/backup@main", "history"]});
    ada.post("/auth/user/change", &rights).expect(200);
    let first = ada
        .form(
            "/barman/delete",
            "server_name=other&backup_id=latest&async=true",
        )
        .ticket();
    let waiting = house
        .ask("rob")
        .form("/barman/backup", "server_name=main")
        .ticket();
    assert_eq!(ada.result(&waiting)["state"], "queued");
    // By the other service than the one that took it.
    let fewer = json!({"username": "rob", "access": ["history"]});
    second
        .with_token(&ada.token)
        .post("/auth/user/change", &fewer)
        .expect(200);
    for server in [&house.server, &second] {
        let rob = server.with_token(&house.site.token("rob"));
        rob.form("/barman/backup", "server_name=main").expect(403);
        rob.get("/barman/backup?server_name=main").expect(403);
    }
    ada.form("/history/cancel", &format!("ticket={first}"))
        .expect(200);
    let ended = ada.closed(&waiting);
    assert_eq!(ended["state"], "cancelled", "{ended}");
    assert!(
        ended["detail"].to_string().contains("no longer permitted"),
        "{ended}"
    );
    let starts = house.stand_in.starts();
    assert!(
        starts.iter().all(|start| start["start"] != "backup"),
        "{starts:?}"
    );
}

#[test]
fn a_switch_to_a_model_that_waits_is_looked_at_again_by_the_rule_that_allowed_it() {
    let house = House::with(&["barman.max_jobs = 1"]);
    house.stand_in.control(&json!({"delete": {"hang": true}}));
    let ada = house.ask("ada");
    let give = |access: &str| {
        let rights = json!({"username": "rob", "access": [access, "history"]});
        ada.post("/auth/user/change", &rights).expect(200);
    };
    give("barman/config-switch@main");
    let form = "server_name=other&backup_id=latest&async=true";
    let first = ada.form("/barman/delete", form).ticket();
    let switch = || {
        let form = "server_name=main&model_name=main:m&async=true";
        house.ask("rob").form("/barman/config-switch", form)
    };
    let waiting = switch().ticket();
    // The command is still allowed, the model is not.
    give("barman@main");
    switch().expect(403);
    ada.form("/history/cancel", &format!("ticket={first}"))
        .expect(200);
    let ended = ada.closed(&waiting);
    assert_eq!(ended["state"], "cancelled", "{ended}");
    assert!(
        ended["detail"].to_string().contains("no longer permitted"),
        "{ended}"
    );
    give("barman/config-switch@main");
    let ran = switch().ticket();
    assert_eq!(ada.finished(&ran)["state"], "done");
    let switches = house.stand_in.commands();
    let switches = switches.iter().filter(|words| words[0] == "config-switch");
    assert_eq!(switches.count(), 1);
}

#[test]
fn nobody_without_the_right_to_models_gives_it_away_or_takes_it() {
    let house = House::new();
    let ada = house.ask("ada");
    let rights = |name: &str, access: &[&str]| json!({"username": name, "access": access});
    let user = |name: &str, access: &[&str]| {
        let mut body = rights(name, access);
        body["password"] = PASSWORD.into();
        body
    };
    let (wide, switch) = ("barman@main", "barman/config-switch@main");
    for body in [user("tina", &["auth", wide]), user("patroni", &[switch])] {
        ada.post("/auth/user/add", &body).expect(200);
    }
    // All of `barman@main`, and yet not this.
    for (task, body) in [
        ("add", user("eve", &[switch])),
        ("change", rights("tina", &["auth", wide, switch])),
        ("change", rights("patroni", &[wide])),
        ("remove", json!({"username": "patroni"})),
    ] {
        house.refused("tina", task, &body, 403);
    }
    let less = user("eve", &["barman/backup@main", "barman/config-*@main"]);
    let tina = house.ask("tina");
    tina.post("/auth/user/add", &less).expect(200);
    // With it she may.
    let more = rights("tina", &["auth", wide, switch]);
    ada.post("/auth/user/change", &more).expect(200);
    let tina = house.ask("tina");
    tina.post("/auth/user/change", &rights("eve", &[switch]))
        .expect(200);
}

/// Two full users, one at each of two services, ask at the same moment, many times over.
fn at_the_same_moment(wish: impl Fn(&str, &str) -> (&'static str, Value) + Sync, statuses: &[u16]) {
    let house = House::new();
    let second = house.site.serve();
    let section = |name: &str| {
        format!("[{name}]\npassword = 26588e932c7ccfa1df309280702fe1b5\naccess = []\n\n")
    };
    let text = section("ada") + &section("bob");
    house.site.users(&text);
    let ada = house.ask("ada");
    let bob = second.with_token(&house.site.token("bob"));
    let mut losers = Vec::new();
    for round in 0..20 {
        // The tokens are good again with what they were made for.
        house.site.users(&text);
        let start = Barrier::new(2);
        let ask = |caller: &User<'_>, own: &str, other: &str| {
            let (task, body) = wish(own, other);
            start.wait();
            caller.post(&format!("/auth/user/{task}"), &body).status
        };
        let mut told = thread::scope(|scope| {
            let one = scope.spawn(|| ask(&ada, "ada", "bob"));
            let two = ask(&bob, "bob", "ada");
            [one.join().unwrap(), two]
        });
        told.sort_unstable();
        assert_eq!(told[0], 200, "round {round}: {told:?}");
        assert!(statuses.contains(&told[1]), "round {round}: {told:?}");
        losers.push(told[1]);
        let full = house.file().matches("access = []").count();
        assert_eq!(full, 1, "round {round}: {}", house.file());
    }
    println!("who came second was told {losers:?}");
}

#[test]
fn of_two_who_leave_at_the_same_moment_the_last_with_full_access_stays() {
    at_the_same_moment(|own, _| ("remove", json!({"username": own})), &[409]);
    at_the_same_moment(
        |own, _| ("change", json!({"username": own, "access": ["barman"]})),
        &[409],
    );
}

#[test]
fn of_two_who_take_each_others_rights_away_one_comes_too_late() {
    // Who is gone, or has less, when the turn comes has no say any more.
    let late = [401, 403];
    at_the_same_moment(|_, other| ("remove", json!({"username": other})), &late);
    at_the_same_moment(
        |_, other| ("change", json!({"username": other, "access": ["barman"]})),
        &late,
    );
}
