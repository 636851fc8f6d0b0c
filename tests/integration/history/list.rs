//! `/history/list`: pages, filters, months.

use serde_json::json;

use super::{backup, page, serve, site, tickets};
use crate::rig::StandIn;

#[test]
fn pages_show_every_ticket_once_while_new_ones_come() {
    let stand_in = StandIn::new();
    let site = site(&stand_in, &["barman.max_jobs = 8"]);
    let server = serve(&site);
    let ada = server.login("ada");
    let submit = |n: u32| ada.get(&backup(&format!("n{n}"))).ticket();
    let mut expected: Vec<_> = (0..17).map(submit).collect();
    expected.reverse();
    let (mut seen, mut cursor, mut new) = (Vec::new(), String::new(), 100);
    loop {
        let page = page(&ada, &format!("limit=5{cursor}"));
        let tickets = tickets(&page);
        assert!(tickets.len() <= 5, "{page}");
        seen.extend(tickets);
        submit(new);
        new += 1;
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, expected);
    // Without a cursor the new ones come first, and the rest is as it was.
    let all = tickets(&page(&ada, "limit=1000"));
    assert_eq!(all.len(), 17 + (new - 100) as usize);
    assert_eq!(all[all.len() - 17..], expected);
    for wrong in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=-1",
        "limit=5&limit=5",
        "cursor=x",
        "cursor=20260101T000000-aaaaaaaaaaaa",
        "colour=red",
    ] {
        ada.get(&format!("/history/list?{wrong}")).expect(400);
    }
}

#[test]
fn filters_choose_by_command_alias_server_user_and_state() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({
        "backup": {"hang": true},
        "delete": {"exit": 3},
        "switch-wal": {"stdout": "switched\n"},
    }));
    let site = site(&stand_in, &["barman.max_jobs = 1"]);
    site.user("eve", &["--access", "barman@other,history"]);
    let server = serve(&site);
    let (ada, eve) = (server.login("ada"), server.login("eve"));
    let ticket = |answer: crate::rig::Answer| {
        let body = answer.expect(200).json();
        body["ticket"].as_str().unwrap().to_owned()
    };
    let deleted = ticket(ada.get("/barman/delete?server_name=main&backup_id=20260101T000000"));
    let switched = ticket(ada.get("/barman/switch-xlog?server_name=all"));
    let by_eve = ticket(eve.get("/barman/switch-wal?server_name=other"));
    let runs = ada.get(&backup("runs")).ticket();
    while ada.result(&runs)["state"] != "running" {}
    let waits = ada.get(&backup("waits")).ticket();
    for (query, expected) in [
        ("", vec![&waits, &runs, &by_eve, &switched, &deleted]),
        ("command=switch-wal", vec![&by_eve, &switched]),
        ("command=switch-xlog", vec![&by_eve, &switched]),
        ("command=delete", vec![&deleted]),
        ("command=cron", vec![]),
        ("server=other", vec![&by_eve, &switched]),
        ("server=main", vec![&waits, &runs, &switched, &deleted]),
        ("server=main&command=switch-wal", vec![&switched]),
        ("user=eve", vec![&by_eve]),
        ("user=nobody", vec![]),
        ("state=done", vec![&by_eve, &switched]),
        ("state=failed", vec![&deleted]),
        ("state=running", vec![&runs]),
        ("state=queued", vec![&waits]),
        ("state=lost", vec![]),
        ("state=done&limit=1", vec![&by_eve]),
    ] {
        assert_eq!(
            tickets(&page(&ada, query)).iter().collect::<Vec<_>>(),
            expected,
            "{query}"
        );
    }
    // Whoever may not call a command on a server does not see its jobs either.
    assert_eq!(tickets(&page(&eve, "")), std::slice::from_ref(&by_eve));
    eve.get(&format!("/history/result?ticket={deleted}"))
        .expect(404);
    eve.get(&format!("/history/result?ticket={by_eve}"))
        .expect(200);
    for wrong in [
        "state=odd",
        "state=",
        "command=../x",
        "server=-x",
        "user=%00",
    ] {
        ada.get(&format!("/history/list?{wrong}")).expect(400);
    }
    let line = &page(&ada, "state=failed")["list"][0];
    assert_eq!(line["exit_code"], 3);
    assert_eq!(line["result"]["status_code"], 3);
    assert_eq!(line["command"], "delete");
    assert_eq!(line["user"], "ada");
    assert_eq!(line["servers"], json!(["main"]));
    for ticket in [waits, runs] {
        let target = format!("/history/cancel?ticket={ticket}");
        ada.request("POST", &target, &[], b"").expect(200);
        assert_eq!(ada.finished(&ticket)["state"], "cancelled");
    }
}

#[test]
fn past_takes_a_month_and_nothing_else() {
    let stand_in = StandIn::new();
    let site = site(&stand_in, &[]);
    let server = serve(&site);
    let ada = server.login("ada");
    let ticket = ada.get(&backup("one")).ticket();
    for wrong in [
        "../../../../x/evil",
        "202610/../202611",
        "..%2F..%2Factive%2F202611",
        "/etc",
        "202610%00",
        "202610.tar.gz",
        "*",
        "",
        "000000",
        "202600",
        "202613",
        "202699",
        "190001",
        "20261",
        "2026111",
        " 202610",
        "+02610",
        "%EF%BC%92%EF%BC%90%EF%BC%92%EF%BC%96%EF%BC%91%EF%BC%90",
        "open",
        "slots",
    ] {
        let wrong = wrong.replace(' ', "%20");
        let answer = ada.get(&format!("/history/list?past={wrong}"));
        assert_eq!(answer.status, 400, "{wrong}");
        assert_eq!(answer.json()["type"], "invalid parameter", "{wrong}");
    }
    for empty in ["202001", "209912"] {
        assert_eq!(
            page(&ada, &format!("past={empty}"))["list"],
            json!([]),
            "{empty}"
        );
        assert!(!server.store().join("active").join(empty).exists());
    }
    let month = &ticket[..6];
    assert_eq!(tickets(&page(&ada, &format!("past={month}"))), [ticket]);
}
