//! What is left when something in the store was lost or damaged.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{backup, page, serve, site, tickets};
use crate::rig::{Lab, Server, StandIn};

/// The folder of a job.
fn folder(server: &Server, ticket: &str) -> PathBuf {
    let active = server.store().join("active");
    active.join(&ticket[..6]).join(ticket)
}

/// The index of a ticket's month.
fn index(server: &Server, ticket: &str) -> PathBuf {
    server
        .store()
        .join("active")
        .join(&ticket[..6])
        .join("index")
}

/// The list without the order that jobs of one second have among themselves.
fn sorted(page: &Value) -> Vec<Value> {
    let mut list = page["list"].as_array().unwrap().clone();
    list.sort_by_key(|item| item["ticket"].as_str().unwrap().to_owned());
    list
}

#[test]
fn an_index_that_is_gone_is_built_anew_with_everything() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({"delete": {"exit": 4}}));
    let site = site(&stand_in, &[]);
    let server = serve(&site);
    let ada = server.login("ada");
    for n in 0..5 {
        let ticket = ada.get(&backup(&format!("n{n}"))).ticket();
        ada.closed(&ticket);
    }
    let delete = "/barman/delete?server_name=main&backup_id=20260101T000000";
    ada.get(delete).expect(200);
    let before = sorted(&page(&ada, ""));
    assert_eq!(before.len(), 6);
    let index = index(&server, before[0]["ticket"].as_str().unwrap());
    // Read next.
    fs::remove_file(&index).unwrap();
    assert_eq!(sorted(&page(&ada, "")), before);
    // Written to next, by an accepted job.
    fs::remove_file(&index).unwrap();
    let ticket = ada.get(&backup("after")).ticket();
    ada.closed(&ticket);
    let mut after = sorted(&page(&ada, ""));
    assert!(after.iter().any(|item| item["ticket"] == *ticket));
    after.retain(|item| item["ticket"] != *ticket);
    assert_eq!(after, before);
    // Written to next, by the end of a job.
    stand_in.control(&json!({"backup": {"sleep": 0.5}}));
    let ends = ada.get(&backup("ends")).ticket();
    fs::remove_file(&index).unwrap();
    while !index.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ada.closed(&ends)["state"], "done");
    let mut after = sorted(&page(&ada, ""));
    after.retain(|item| item["ticket"] != *ticket && item["ticket"] != *ends);
    assert_eq!(after, before);
}

#[test]
fn a_torn_line_of_the_index_hides_no_other_ticket() {
    let stand_in = StandIn::new();
    let site = site(&stand_in, &[]);
    let server = serve(&site);
    let ada = server.login("ada");
    let submit = |name: &str| {
        let ticket = ada.get(&backup(name)).ticket();
        assert_eq!(ada.closed(&ticket)["state"], "done");
        ticket
    };
    let first = submit("one");
    let index = index(&server, &first);
    let torn = |text: &[u8]| {
        let mut file = fs::File::options().append(true).open(&index).unwrap();
        file.write_all(text).unwrap();
    };
    torn(br#"{"ticket":"20261120T2143"#);
    let second = submit("two");
    torn(b"\0\0\0\0\xff\xfe not a line\n\n\n[]\n{}\n");
    let third = submit("three");
    assert_eq!(
        tickets(&page(&ada, "")),
        [third.clone(), second.clone(), first.clone()]
    );
    // The line that told of the last end is cut: the job itself knows.
    let text = fs::read(&index).unwrap();
    fs::write(&index, &text[..text.len() - 20]).unwrap();
    let list = page(&ada, "");
    assert_eq!(tickets(&list), [third, second, first]);
    assert_eq!(list["list"][0]["state"], "done");
}

#[test]
fn a_job_whose_folder_somebody_removed_is_gone_and_takes_nothing_with_it() {
    let stand_in = StandIn::new();
    let site = site(&stand_in, &["barman.max_jobs = 2"]);
    let server = serve(&site);
    let ada = server.login("ada");
    let kept = ada.get(&backup("kept")).ticket();
    let removed = ada.get(&backup("removed")).ticket();
    ada.closed(&kept);
    ada.closed(&removed);
    fs::remove_dir_all(folder(&server, &removed)).unwrap();
    assert_eq!(tickets(&page(&ada, "")), std::slice::from_ref(&kept));
    ada.get(&format!("/history/result?ticket={removed}"))
        .expect(404);
    assert_eq!(ada.result(&kept)["state"], "done");
    // While it runs: its place is free again and its supervisor goes away.
    stand_in.control(&json!({"backup": {"sleep": 0.5}}));
    let running = ada.get(&backup("running")).ticket();
    while ada.result(&running)["state"] != "running" {}
    let supervisor = supervisor_of(&running).expect("a supervisor");
    // At once: what is removed file by file may get a new file meanwhile.
    fs::rename(folder(&server, &running), site.file("taken-away")).unwrap();
    ada.get(&format!("/history/result?ticket={running}"))
        .expect(404);
    assert_eq!(tickets(&page(&ada, "")), [kept]);
    let since = Instant::now();
    while supervisor_of(&running) == Some(supervisor) {
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "process {supervisor} looks after nothing"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let open = server.store().join("active/open");
    while open.join(&running).exists() {
        assert!(since.elapsed() < Duration::from_secs(20), "it stays open");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The process that looks after a job.
fn supervisor_of(ticket: &str) -> Option<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).collect();
            words.get(1) == Some(&b"run-job".as_slice()) && words.contains(&ticket.as_bytes())
        })
}

#[test]
fn a_damaged_record_spoils_only_its_own_ticket() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({"backup": {"stdout": "said\n"}, "delete": {"exit": 4}}));
    let site = site(&stand_in, &[]);
    let server = serve(&site);
    let ada = server.login("ada");
    let sound = ada.get(&backup("sound")).ticket();
    ada.closed(&sound);
    let damage: [&dyn Fn(&fs::File); 5] = [
        &|file| file.set_len(10).unwrap(),
        &|mut file| file.write_all(b"\0\xff\xfe\x01").unwrap(),
        // No room is used for it.
        &|file| file.set_len(2 << 30).unwrap(),
        &|mut file| {
            file.set_len(0).unwrap();
            file.write_all(b"[1, 2]").unwrap();
        },
        &|mut file| {
            file.set_len(0).unwrap();
            file.write_all(br#"{"state":"done","state":"lost"}"#)
                .unwrap();
        },
    ];
    let mut damaged = Vec::new();
    for (n, damage) in damage.iter().enumerate() {
        let ticket = ada.get(&backup(&format!("n{n}"))).ticket();
        ada.closed(&ticket);
        let file = folder(&server, &ticket).join("result.json");
        damage(&fs::File::options().write(true).open(&file).unwrap());
        damaged.push((ticket, fs::metadata(file).unwrap().len()));
    }
    let expected = damaged.len() + 1;
    // As long as the index knows the end, it is told, and that its record is damaged.
    for (ticket, _) in &damaged {
        let result = ada.result(ticket);
        assert_eq!(result["state"], "done", "{result}");
        assert_eq!(result["status_code"], 200, "{result}");
        assert_eq!(result["list"], json!(["said"]), "{result}");
        assert!(
            result["detail"].as_str().unwrap().contains("damaged"),
            "{result}"
        );
    }
    assert_eq!(tickets(&page(&ada, "state=done")).len(), expected);
    // When the index is gone as well, nobody knows how it ended.
    fs::remove_file(index(&server, &sound)).unwrap();
    assert_eq!(tickets(&page(&ada, "")).len(), expected);
    assert_eq!(
        tickets(&page(&ada, "state=done")),
        std::slice::from_ref(&sound)
    );
    for (ticket, length) in &damaged {
        let result = ada.result(ticket);
        assert_eq!(result["state"], "lost", "{result}");
        assert_eq!(result["status_code"], -98, "{result}");
        assert_eq!(result["reason"], "record_damaged", "{result}");
        assert_eq!(result["list"], json!(["said"]), "{result}");
        // It is left as it is for whoever wants to look.
        let file = folder(&server, ticket).join("result.json");
        assert_eq!(fs::metadata(file).unwrap().len(), *length);
    }
    assert_eq!(tickets(&page(&ada, "state=lost")).len(), damaged.len());
    assert_eq!(ada.result(&sound)["state"], "done");
    // The other record: what was accepted.
    let job = folder(&server, &sound).join("job.json");
    Lab::get().write(&job, "{", 0o600);
    let answer = ada.get(&format!("/history/result?ticket={sound}"));
    assert_eq!(answer.status, 500);
    assert_eq!(answer.json()["type"], "internal");
    assert!(tickets(&page(&ada, "")).contains(&sound));
    assert!(server.get("/healthz").status == 200);
}

#[test]
fn an_open_job_whose_record_is_damaged_is_closed_once_and_takes_no_place() {
    let stand_in = StandIn::new();
    stand_in.control(&json!({"backup": {"hang": true}}));
    let site = site(&stand_in, &["barman.max_jobs = 1", "barman.queue = 0"]);
    let server = serve(&site);
    let ada = server.login("ada");
    let ticket = ada.get(&backup("torn")).ticket();
    let since = Instant::now();
    let start = loop {
        if let Some(start) = stand_in.starts().into_iter().next() {
            break start;
        }
        assert!(since.elapsed() < Duration::from_secs(30));
    };
    Lab::get().write(&folder(&server, &ticket).join("job.json"), "{", 0o600);
    for pid in ["ppid", "pid"] {
        let pid = i32::try_from(start[pid].as_i64().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    let marker = server.store().join("active/open").join(&ticket);
    while marker.exists() {
        assert!(since.elapsed() < Duration::from_secs(30), "it stays open");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(
        tickets(&page(&ada, "state=lost")),
        std::slice::from_ref(&ticket)
    );
    // The one place is free again.
    let next = ada.get(&backup("next")).ticket();
    ada.form("/history/cancel", &format!("ticket={next}"));
    ada.closed(&next);
    let told = site.logged();
    let told = told
        .lines()
        .filter(|line| line.contains(&ticket) && line.contains("damaged"));
    assert_eq!(told.count(), 1);
}
