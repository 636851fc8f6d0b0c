//! What was changed, told and taken back.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[track_caller]
fn made(answer: Answer) -> String {
    answer.expect(200).json()["revision"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn revisions_are_listed_newest_first_and_page_by_page() {
    let desk = Desk::here(&["config.unlock = conninfo"]);
    let admin = desk.admin();
    let ids: Vec<_> = (1..6)
        .map(|jobs| made(change(&admin, &json!({"main.parallel_jobs": jobs}))))
        .collect();
    let list = admin.get("/config/barman/revisions").expect(200).json();
    let listed: Vec<_> = list["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["revision"].as_str().unwrap().to_owned())
        .collect();
    let newest: Vec<_> = ids.iter().rev().cloned().collect();
    assert_eq!(listed, newest);
    let first = &list["list"][0];
    assert_eq!(first["user"], "admin");
    assert_eq!(first["changed"], json!(["main.parallel_jobs"]));
    assert_eq!(first["state"], "done");
    assert_eq!(first["undoes"], Value::Null);
    assert_eq!(list["cursor"], Value::Null);
    let page = admin.get("/config/barman/revisions?limit=2").json();
    assert_eq!(page["list"][1]["revision"], newest[1].as_str());
    let cursor = page["cursor"].as_str().unwrap();
    let page = admin
        .get(&format!("/config/barman/revisions?limit=3&cursor={cursor}"))
        .json();
    assert_eq!(page["list"][0]["revision"], newest[2].as_str());
    assert_eq!(page["cursor"], Value::Null);
    for wrong in [
        "limit=0",
        "limit=x",
        "cursor=x",
        "other=1",
        "limit=1&limit=2",
    ] {
        admin
            .get(&format!("/config/barman/revisions?{wrong}"))
            .expect(400);
    }
    let one = admin
        .get(&format!("/config/barman/revisions/{}", ids[4]))
        .expect(200)
        .json();
    let text = one["list"]["diff"].as_str().unwrap();
    assert!(
        text.contains("-parallel_jobs   =   4\n+parallel_jobs   =   5\n"),
        "{text}"
    );
    admin
        .get("/config/barman/revisions/20261120T214304-k3v9m2x8q4c7")
        .expect(404);
    for odd in ["x", "..", "%2e%2e", "20261120T214304-k3v9m2x8q4c7.json"] {
        admin
            .get(&format!("/config/barman/revisions/{odd}"))
            .expect(404);
    }
    // On disk they are for the service alone.
    for entry in std::fs::read_dir(desk.server.store().join("config/revisions/barman")).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_rollback_is_a_change_with_all_its_questions() {
    everywhere(&["config.unlock = conninfo, description"], |desk| {
        let admin = desk.admin();
        let first = made(change(
            &admin,
            &json!({"main.retention_policy": "REDUNDANCY 5"}),
        ));
        let second = made(change(
            &admin,
            &json!({"other.parallel_jobs": 2, "main.parallel_jobs": 2}),
        ));
        // Not over a later change of the same file.
        let answer = roll_back(&admin, &first).expect(409).json();
        assert!(answer["message"].as_str().unwrap().contains("main.conf"));
        let third = made(roll_back(&admin, &second));
        let one = admin
            .get(&format!("/config/barman/revisions/{third}"))
            .json();
        assert_eq!(one["list"]["undoes"], second.as_str());
        // It can lose data, as the change could.
        let body = json!({"revision": first});
        admin.post("/config/barman/rollback", &body).expect(428);
        let headers = [("Content-Type", "application/json"), ("If-Match", "\"x\"")];
        admin
            .request(
                "POST",
                "/config/barman/rollback",
                &headers,
                body.to_string().as_bytes(),
            )
            .expect(412);
        let before = desk.files.all();
        let dry = json!({"revision": first, "dry_run": true}).to_string();
        let tag = etag(&admin);
        let headers = [
            ("Content-Type", "application/json"),
            ("If-Match", tag.as_str()),
        ];
        let answer = admin
            .request("POST", "/config/barman/rollback", &headers, dry.as_bytes())
            .expect(200)
            .json();
        assert!(answer["diff"].as_str().unwrap().contains("REDUNDANCY 3"));
        assert_eq!(desk.files.all(), before);
        made(roll_back(&admin, &first));
        // And back again.
        roll_back(&admin, &third).expect(409);
        let again = made(change(&admin, &json!({"main.parallel_jobs": 9})));
        made(roll_back(&admin, &again));
        // What only full users may change, only they take back.
        let lab = Lab::get();
        let conninfo = format!(
            "host={} port={} user=barman dbname=template1",
            lab.fact("PGHOST"),
            lab.fact("PGPORT")
        );
        let locked = made(change(&admin, &json!({"other.conninfo": conninfo})));
        let dba = desk.server.login("dba");
        let answer = roll_back(&dba, &locked).expect(403).json();
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains("other.conninfo")
        );
        let shown = dba
            .get(&format!("/config/barman/revisions/{locked}"))
            .expect(200);
        assert!(!String::from_utf8_lossy(&shown.body).contains("s3cr3t"));
        made(roll_back(&admin, &locked));
        assert!(
            desk.files
                .read("barman.d/other.conf")
                .contains("password=s3cr3t-other")
        );
        for wrong in [
            json!({}),
            json!({"revision": "x"}),
            json!({"revision": first, "x": 1}),
        ] {
            admin.post("/config/barman/rollback", &wrong).expect(400);
        }
        let unknown = json!({"revision": "20261120T214304-k3v9m2x8q4c7"});
        admin.post("/config/barman/rollback", &unknown).expect(404);
    });
}

#[test]
fn what_a_crash_left_behind_is_settled_at_the_next_start() {
    let mut desk = Desk::here(&[]);
    let text = desk.files.read("barman.d/main.conf");
    let id = made(change(&desk.admin(), &json!({"main.parallel_jobs": 2})));
    let new = desk.files.read("barman.d/main.conf");
    let folder = desk.server.store().join("config/revisions/barman");
    let mark = folder.join(format!("0000000001-{id}.done"));
    for (now, after, state) in [
        (new.as_str(), new.as_str(), Some("done")),
        (
            "[main]\nby = hand\n",
            "[main]\nby = hand\n",
            Some("unsettled"),
        ),
        (text.as_str(), text.as_str(), None),
    ] {
        desk.server.kill();
        for kind in ["done", "left"] {
            drop(std::fs::remove_file(mark.with_extension(kind)));
        }
        desk.files.write("barman.d/main.conf", now);
        desk.server = desk.site.serve();
        let admin = desk.admin();
        let states = || {
            let list = admin.get("/config/barman/revisions").json();
            let states = list["list"].as_array().unwrap().iter();
            states
                .map(|one| one["state"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        crate::running::eventually("the change to be settled", || {
            (!states().contains(&"pending".to_owned())).then_some(())
        });
        assert_eq!(states(), state.into_iter().collect::<Vec<_>>());
        assert_eq!(desk.files.read("barman.d/main.conf"), after);
    }
    // A person has the word: the next change goes on.
    made(change(&desk.admin(), &json!({"main.parallel_jobs": 3})));
}

#[test]
fn a_damaged_record_stands_in_the_way_of_nothing_else() {
    let mut desk = Desk::here(&[]);
    let ids: Vec<_> = (1..4)
        .map(|jobs| made(change(&desk.admin(), &json!({"main.parallel_jobs": jobs}))))
        .collect();
    let folder = desk.server.store().join("config/revisions/barman");
    let record = |number: usize| {
        let mut names = fs::read_dir(&folder).unwrap().flatten();
        let name = names.find(|name| {
            let name = name.file_name().into_string().unwrap();
            name.ends_with(&format!("{}.json", ids[number]))
        });
        name.unwrap().path()
    };
    for bad in ["", "[]", "{\"id\": 1}", "\0\0\0"] {
        Lab::get().write(&record(1), bad, 0o600);
        let admin = desk.admin();
        let list = admin.get("/config/barman/revisions").expect(200).json();
        let damaged = json!({"revision": ids[1], "state": "damaged"});
        assert_eq!(list["list"][1], damaged, "{bad:?} {list}");
        assert_eq!(list["list"][2]["state"], "done");
        let target = format!("/config/barman/revisions/{}", ids[1]);
        for answer in [admin.get(&target), roll_back(&admin, &ids[1])] {
            let told = answer.expect(409).json()["message"].to_string();
            assert!(told.contains("damaged"), "{told}");
        }
    }
    let general = desk.site.log_lines("general.log");
    let names_it = |line: &Value| line["fields"]["file"] == record(1).display().to_string();
    assert!(general.iter().any(names_it), "{general:?}");
    // Of one that a crash cut short nobody knows what it was about.
    let torn = fs::read_to_string(record(2)).unwrap();
    Lab::get().write(&record(2), &torn[..200], 0o600);
    fs::remove_file(record(2).with_extension("done")).unwrap();
    desk.server.kill();
    desk.server = desk.site.serve();
    let admin = desk.admin();
    let next = made(change(&admin, &json!({"main.parallel_jobs": 9})));
    let list = admin.get("/config/barman/revisions").expect(200).json();
    assert_eq!(list["list"][0]["revision"], next);
    assert_eq!(list["list"][0]["state"], "done");
    assert_eq!(list["list"][1]["state"], "damaged");
    assert!(record(2).with_extension("left").exists());
}
