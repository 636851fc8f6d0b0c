//! Operations at once, again, and through the ends of servers and supervisors.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Desk, MAIN, begun, ended, error, recovery};
use crate::rig::User;
use crate::running::{eventually, number, runs, signal};

/// Sends a POST and leaves the answer for later.
fn send(admin: &User<'_>, body: &Value) -> TcpStream {
    let body = body.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", admin.server.port)).unwrap();
    let head = format!(
        "POST {MAIN} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        admin.token,
        body.len()
    );
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .unwrap();
    stream
}

/// The id in the answer.
fn receive(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 202 "), "{text}");
    let body: Value = serde_json::from_str(body).unwrap();
    body["operation_id"].as_str().unwrap().to_owned()
}

#[test]
fn two_hundred_requests_within_a_second_are_two_hundred_operations() {
    let desk = Desk::new(&json!({}), &[]);
    let admin = desk.caller("admin");
    let began = Instant::now();
    let sent: Vec<TcpStream> = (0..200)
        .map(|number| send(&admin, &recovery(&format!("/srv/r/{number}"))))
        .collect();
    assert!(began.elapsed() < Duration::from_secs(1));
    let ids: HashSet<String> = sent.into_iter().map(receive).collect();
    assert_eq!(ids.len(), 200);
    for id in &ids {
        assert_eq!(ended(&admin, id)["status"], "DONE");
    }
    assert_eq!(desk.commands().len(), 200);
    // Barman was asked about its backups a few times, not two hundred.
    let asked = desk.stand_in.commands().len() - 200;
    assert!(asked < 20, "{asked}");
    let listed = admin.get(MAIN).expect(200).json();
    let listed: HashSet<&str> = listed["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|operation| operation["id"].as_str().unwrap())
        .collect();
    assert_eq!(listed.len(), 200);
}

#[test]
fn the_same_recovery_is_one_operation_while_it_runs_by_whichever_server() {
    let desk = Desk::new(&json!({"restore": {"sleep": 4}}), &[]);
    let second = desk.site.serve();
    let admin = desk.caller("admin");
    let patroni = second.with_token(&desk.site.token("patroni"));
    let together = Barrier::new(20);
    let ids: HashSet<String> = std::thread::scope(|scope| {
        let requests: Vec<_> = (0..20)
            .map(|number| {
                let user = if number % 2 == 0 { &admin } else { &patroni };
                let together = &together;
                scope.spawn(move || {
                    together.wait();
                    begun(user.post(MAIN, &recovery("/srv/r/data")))
                })
            })
            .collect();
        requests
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect()
    });
    assert_eq!(ids.len(), 1, "{ids:?}");
    let id = ids.into_iter().next().unwrap();
    let another = begun(admin.post(MAIN, &recovery("/srv/r/other")));
    assert_ne!(another, id);
    assert_eq!(ended(&patroni, &id)["status"], "DONE");
    // What has ended does not run: this is a new one.
    let again = begun(admin.post(MAIN, &recovery("/srv/r/data")));
    assert_ne!(again, id);
    ended(&admin, &another);
    ended(&admin, &again);
    assert_eq!(desk.commands().len(), 3);
    let audit = std::fs::read_to_string(desk.server.store().join("logs/audit.log")).unwrap();
    assert_eq!(audit.matches("\"joined\"").count(), 19, "{audit}");
}

#[test]
fn two_words_for_one_backup_are_one_recovery_while_it_runs() {
    let desk = Desk::new(&json!({"restore": {"sleep": 4}}), &[]);
    let admin = desk.caller("admin");
    let begin = |directory: &str, word: &str| {
        let mut body = recovery(directory);
        body["backup_id"] = word.into();
        begun(admin.post(MAIN, &body))
    };
    let words = [
        ["latest", "last"],
        ["first", "oldest"],
        ["last-full", "latest-full"],
    ];
    let mut ids = HashSet::new();
    for [one, other] in words {
        let directory = format!("/srv/r/{one}");
        let id = begin(&directory, one);
        assert_eq!(begin(&directory, other), id, "{one} and {other}");
        ids.insert(id);
    }
    assert_eq!(ids.len(), words.len());
    for id in ids {
        ended(&admin, &id);
    }
    assert_eq!(desk.commands().len(), words.len());
}

#[test]
fn another_recovery_does_not_get_into_a_directory_while_one_fills_it() {
    let desk = Desk::new(&json!({"restore": {"hang": true}}), &[]);
    let admin = desk.caller("admin");
    let asked = |directory: &str, backup: &str| {
        let mut body = recovery(directory);
        body["backup_id"] = backup.into();
        admin.post(MAIN, &body)
    };
    let id = begun(asked("/srv/r/a/data", "latest"));
    for (directory, backup) in [
        ("/srv/r/a/data", "oldest"),
        ("/srv/r/a/data/base", "latest"),
        ("/srv/r/a", "latest"),
        ("/srv/r/a/data/", "oldest"),
    ] {
        let answer = asked(directory, backup);
        let told = error(answer, 409);
        let directory = directory.trim_end_matches('/');
        assert!(
            told.contains(&format!("ticket {id} writes to {directory}, ")),
            "{told}"
        );
    }
    // Its tablespaces are its directories, too, whichever way it was asked for.
    let restore = |directory: &str, tablespace: &str| {
        let target = "target=db2&backup_id=latest&server_name=main&async=true";
        let form = format!("{target}&destination_directory={directory}&tablespace=t:{tablespace}");
        admin.form("/barman/restore", &form)
    };
    let told = restore("/srv/r/b", "/srv/r/a/data/t").expect(409).json();
    assert!(told["message"].as_str().unwrap().contains(&id), "{told}");
    let other = restore("/srv/r/b", "/srv/r/t").ticket();
    error(asked("/srv/r/t", "latest"), 409);
    // Beside each other is not in each other.
    let beside = begun(asked("/srv/r/a/data2", "latest"));
    let started = |count: usize| {
        eventually("the starts", || {
            (desk.commands().len() == count).then_some(())
        });
    };
    started(3);
    for ticket in [&id, &other, &beside] {
        admin
            .form("/history/cancel", &format!("ticket={ticket}"))
            .expect(200);
        admin.finished(ticket);
    }
    let after = begun(asked("/srv/r/a", "oldest"));
    started(4);
    admin
        .form("/history/cancel", &format!("ticket={after}"))
        .expect(200);
}

#[test]
fn a_lost_recovery_keeps_its_directory_as_long_as_barman_runs() {
    let desk = Desk::new(&json!({"restore": {"hang": true}}), &[]);
    let admin = desk.caller("admin");
    let id = begun(admin.post(MAIN, &recovery("/srv/r/data")));
    let start = eventually("a start", || {
        let mut starts = desk.stand_in.starts();
        starts.retain(|start| start["start"] == "restore");
        starts.pop()
    });
    let (pid, supervisor) = (number(&start["pid"]), number(&start["ppid"]));
    signal(supervisor, Signal::KILL);
    eventually("end of the supervisor", || {
        (!runs(supervisor)).then_some(())
    });
    assert_eq!(ended(&admin, &id)["barman_still_runs"], true);
    // The same is not that operation, which has failed, and no second one either.
    for directory in ["/srv/r/data", "/srv/r/data/base"] {
        let told = error(admin.post(MAIN, &recovery(directory)), 409);
        assert!(
            told.contains(&format!("ticket {id} writes to {directory}")),
            "{told}"
        );
    }
    signal(pid, Signal::KILL);
    let again = eventually("a free directory", || {
        let answer = admin.post(MAIN, &recovery("/srv/r/data"));
        (answer.status != 409).then(|| begun(answer))
    });
    assert_ne!(again, id);
    admin
        .form("/history/cancel", &format!("ticket={again}"))
        .expect(200);
}

#[test]
fn another_user_is_told_that_a_directory_is_in_use_and_not_by_whom() {
    let desk = Desk::new(
        &json!({"restore": {"hang": true}}),
        &["barman.max_jobs = 1"],
    );
    let (admin, patroni) = (desk.caller("admin"), desk.caller("patroni"));
    let other = "/servers/other/operations";
    // One that runs, and one that waits for its turn.
    let running = begun(admin.post(other, &recovery("/srv/r/one")));
    let waiting = begun(admin.post(other, &recovery("/srv/r/two")));
    for (directory, id) in [("/srv/r/one/data", running), ("/srv/r/two", waiting)] {
        let told = error(patroni.post(MAIN, &recovery(directory)), 409);
        assert!(
            told.contains(&format!("another job writes to {directory}, ")),
            "{told}"
        );
        assert!(!told.contains(&id), "{told}");
        let told = error(admin.post(MAIN, &recovery(directory)), 409);
        assert!(
            told.contains(&format!("ticket {id} writes to {directory}, ")),
            "{told}"
        );
        admin
            .form("/history/cancel", &format!("ticket={id}"))
            .expect(200);
    }
}

#[test]
fn an_operation_outlives_its_server_and_is_in_progress_until_it_ends() {
    let mut desk = Desk::new(
        &json!({"restore": {"lines": {"count": 40, "every": 0.1}, "exit": 1}}),
        &[],
    );
    let id = begun(desk.caller("admin").post(MAIN, &recovery("/srv/r/data")));
    eventually("a start", || (!desk.commands().is_empty()).then_some(()));
    desk.server.kill();
    desk.server = desk.site.serve();
    let admin = desk.caller("admin");
    let early = admin.get(&format!("{MAIN}/{id}")).expect(200).json();
    assert_eq!(early["status"], "IN_PROGRESS", "{early}");
    assert_eq!(
        (&early["output"], &early["ended_at"]),
        (&json!(null), &json!(null))
    );
    // A client that repeats its request after the restart gets what runs.
    assert_eq!(begun(admin.post(MAIN, &recovery("/srv/r/data"))), id);
    let end = ended(&admin, &id);
    assert_eq!(end["status"], "FAILED", "{end}");
    assert!(end["output"].as_str().unwrap().ends_with("line 40\n"));
}

#[test]
fn one_that_is_cancelled_or_lost_has_failed() {
    let desk = Desk::new(&json!({"restore": {"hang": true}}), &[]);
    let admin = desk.caller("admin");
    let cancelled = begun(admin.post(MAIN, &recovery("/srv/r/one")));
    eventually("a start", || (desk.commands().len() == 1).then_some(()));
    admin
        .form("/history/cancel", &format!("ticket={cancelled}"))
        .expect(200);
    let end = ended(&admin, &cancelled);
    assert_eq!(
        (&end["status"], &end["state"]),
        (&json!("FAILED"), &json!("cancelled"))
    );

    let lost = begun(admin.post(MAIN, &recovery("/srv/r/two")));
    let start = eventually("a start", || {
        let mut starts = desk.stand_in.starts();
        starts.retain(|start| start["start"] == "restore");
        (starts.len() == 2).then(|| starts.remove(1))
    });
    let (pid, supervisor) = (number(&start["pid"]), number(&start["ppid"]));
    signal(supervisor, Signal::KILL);
    eventually("end of the supervisor", || {
        (!runs(supervisor)).then_some(())
    });
    let while_it_runs = ended(&admin, &lost);
    assert_eq!(while_it_runs["status"], "FAILED", "{while_it_runs}");
    assert_eq!(while_it_runs["barman_still_runs"], true);
    signal(pid, Signal::KILL);
    let end = eventually("its end", || {
        let body = admin.get(&format!("{MAIN}/{lost}")).expect(200).json();
        (body["barman_still_runs"] == false).then_some(body)
    });
    assert_eq!(
        (&end["status"], &end["state"]),
        (&json!("FAILED"), &json!("lost"))
    );
}

#[test]
fn diagnose_is_asked_once_for_many_and_says_when_barman_can_not_answer() {
    let said = "{\"servers\": {\"main\": {\"config\": {\"conninfo\": \"host=h password=hunter2\"}, \"n\": 1.10}}, \"global\": {}}";
    let desk = Desk::new(&json!({"diagnose": {"stdout": said, "sleep": 1}}), &[]);
    let admin = desk.caller("admin");
    let together = Barrier::new(30);
    std::thread::scope(|scope| {
        for _ in 0..30 {
            let (admin, together) = (&admin, &together);
            scope.spawn(move || {
                together.wait();
                let body = admin.get("/diagnose").expect(200).body;
                let expected = said.replace("hunter2", "*REDACTED*");
                assert_eq!(String::from_utf8(body).unwrap(), expected);
            });
        }
    });
    let asked = desk.commands().len();
    assert!((1..=4).contains(&asked), "{asked}");
    for (action, word) in [
        (
            json!({"stderr": "EXCEPTION: no way\n", "exit": 1}),
            "no way",
        ),
        (json!({"stdout": "not JSON"}), "JSON"),
        (json!({"kill": "KILL"}), "signal 9"),
    ] {
        desk.stand_in.control(&json!({"diagnose": action}));
        let text = error(admin.get("/diagnose"), 502);
        assert!(text.contains(word), "{text}");
    }
}
