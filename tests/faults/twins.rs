//! Two services on one store, each of which dies now and then.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use super::bench::ask;
use super::requests;
use super::rig::{Answer, Barman, Server, Site, StandIn, User};
use super::run::{Fault, Random, Run, Times, eventually, ms};
use super::truth;

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "both",
        how: "three clients give commands to both; one or both are killed at a random moment and started again; users are changed through either",
        provoke: both,
    },
    Fault {
        name: "config",
        how: "eight clients change keys of their own, four through each: of Barman's configuration and of barmanapi's",
        provoke: config,
    },
];

/// The ticket in an answer; a command that ended within its request has one as well.
fn ticket_in(answer: &Answer) -> Option<String> {
    let body = answer.json();
    let ticket = if answer.status == 202 {
        &body["list"]["ticket"]
    } else {
        &body["ticket"]
    };
    ticket.as_str().map(str::to_owned)
}

/// One command, with a word of its own.
fn command(random: &mut Random, round: usize, lane: usize, n: usize) -> String {
    let id = format!(
        "2026{:02}{:02}T{lane:02}{:02}{:02}",
        1 + round / 28 % 12,
        1 + round % 28,
        n / 60 % 24,
        n % 60
    );
    match random.below(4) {
        0 | 1 => format!("/barman/backup?server_name=main&name=r{round}-l{lane}-n{n}"),
        2 => format!("/barman/delete?server_name=main&backup_id={id}"),
        _ => format!("/barman/verify-backup?server_name=other&backup_id={id}"),
    }
}

fn both(run: &mut Run) {
    let stand_in = StandIn::new();
    let site = Site::new(
        &Barman::StandIn(&stand_in),
        &[
            "barman.max_jobs = 8",
            "barman.queue = 5000",
            "barman.sync_timeout = 1",
        ],
    );
    site.user("ada", &["--full"]);
    let mut servers = [site.serve(), site.serve()];
    let token = servers[0].login("ada").token;
    let handed_out = Mutex::new(BTreeMap::new());
    let wrong = Mutex::new(Vec::new());
    let until = Instant::now() + Duration::from_secs(run.of(90, 8));
    let mut ready = Times::default();
    let (mut deaths, mut changes) = (0, 0);
    for round in 0.. {
        if Instant::now() > until {
            break;
        }
        stand_in.control(&json!({
            "backup": {"stdout": "backup\n", "sleep": run.random.milliseconds(20, 300).as_secs_f64()},
            "delete": {"stderr": "no\n", "sleep": 0.02, "exit": 1 + round % 5},
            "verify-backup": {"sleep": 0.05},
        }));
        let whom = 1 + run.random.below(3);
        let moment = run.random.milliseconds(50, 500);
        let seeds: Vec<u64> = (0..3).map(|_| run.random.number() | 1).collect();
        std::thread::scope(|scope| {
            for (lane, seed) in seeds.iter().enumerate() {
                let (servers, token, handed_out, wrong) = (&servers, &token, &handed_out, &wrong);
                scope.spawn(move || {
                    let mut random = Random(*seed);
                    let mut dead = [false, false];
                    for n in 0..8 {
                        let target = command(&mut random, round, lane, n);
                        let choice = random.below(2);
                        let choice = if dead[choice] { 1 - choice } else { choice };
                        if dead[choice] {
                            break;
                        }
                        let Some(answer) = ask(&servers[choice], token, "POST", &target) else {
                            dead[choice] = true;
                            continue;
                        };
                        let ticket = ticket_in(&answer);
                        match ticket {
                            Some(ticket) if matches!(answer.status, 200 | 202) => {
                                let key = truth::key(&target).unwrap();
                                handed_out.lock().unwrap().insert(key, ticket);
                            }
                            _ => wrong
                                .lock()
                                .unwrap()
                                .push(format!("{target}: {}", answer.json())),
                        }
                    }
                });
            }
            std::thread::sleep(moment);
            for (number, server) in servers.iter().enumerate() {
                if whom & (1 << number) != 0 {
                    let pid = i32::try_from(server.pid()).unwrap();
                    let pid = rustix::process::Pid::from_raw(pid).unwrap();
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
                }
            }
        });
        for (number, server) in servers.iter_mut().enumerate() {
            if whom & (1 << number) != 0 {
                let since = Instant::now();
                server.kill();
                *server = site.serve();
                ready.add(since.elapsed());
                deaths += 1;
                run.once();
            }
        }
        if round % 4 == 0 {
            changes += 1;
            change_users(run, &site, &servers, round);
        }
    }
    for words in wrong.into_inner().unwrap() {
        run.hold(false, || words);
    }
    let handed_out = handed_out.into_inner().unwrap();
    let users = [servers[0].with_token(&token), servers[1].with_token(&token)];
    let all = everything(&users[0]);
    run.hold(everything(&users[1]) == all, || "two lists".to_owned());
    for (key, ticket) in &handed_out {
        run.hold(all.contains(ticket), || {
            format!("{key}: {ticket} is not listed")
        });
    }
    let of_tickets = truth::compare(&users[0], &stand_in, &handed_out, &all, &servers[0]);
    for ticket in &all {
        let [one, other] = [users[0].closed(ticket), users[1].closed(ticket)];
        run.hold(one == other, || format!("{one} and {other}"));
    }
    let open = servers[0].store().join("active/open");
    eventually("end of all open jobs", || {
        (std::fs::read_dir(&open).unwrap().count() == 0).then_some(())
    });
    run.hold(!site.logged().contains("panicked"), || "a panic".to_owned());
    run.measure(format!(
        "{deaths} deaths, {} tickets handed out, {} recorded, {of_tickets} starts, each of a ticket of its own; {changes} changes of users; ready again after {} (slowest {})",
        handed_out.len(),
        all.len(),
        ms(ready.within(0.5)),
        ms(ready.slowest())
    ));
}

/// Adds users on the host twice at once, and ends a user's tokens through one of the services.
fn change_users(run: &mut Run, site: &Site, servers: &[Server; 2], round: usize) {
    let names = [format!("a{round}"), format!("b{round}")];
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| site.user(name, &["--full"]));
        }
    });
    for (name, through) in names.iter().zip([0, 1]) {
        let token = servers[through].login(name).token;
        for server in servers {
            let known = server.with_token(&token).get("/auth/user").status;
            run.hold(known == 200, || {
                format!("{name} is not known to both: {known}")
            });
        }
        let out = servers[1 - through]
            .with_token(&token)
            .form("/auth/logout", "");
        run.hold(out.status == 200, || format!("{}", out.json()));
        for server in servers {
            let known = server.with_token(&token).get("/auth/user").status;
            run.hold(known == 401, || {
                format!("{name} is logged out and known: {known}")
            });
        }
    }
}

/// Every ticket of the list, page by page.
fn everything(user: &User<'_>) -> HashSet<String> {
    let (mut all, mut count, mut cursor) = (HashSet::new(), 0, String::new());
    loop {
        let target = format!("/history/list?limit=500{cursor}");
        let page = user.get(&target).expect(200).json();
        for item in page["list"].as_array().unwrap() {
            all.insert(item["ticket"].as_str().unwrap().to_owned());
            count += 1;
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(all.len(), count, "a ticket is listed twice");
    all
}

/// Who changes what: the service, the file, and the key, whose values are numbers.
const CHANGERS: [(usize, &str, &str); 8] = [
    (0, "barman", "main.parallel_jobs"),
    (0, "barman", "barman.check_timeout"),
    (1, "barman", "main.check_timeout"),
    (1, "barman", "barman.parallel_jobs"),
    (0, "barmanapi", "barman.queue"),
    (0, "barmanapi", "log.backup_count"),
    (1, "barmanapi", "barman.max_jobs"),
    (1, "barmanapi", "barman.job_timeout.check"),
];

fn config(run: &mut Run) {
    let first = requests::bench();
    let second = first.site.serve();
    let servers = [&first.server, &second];
    let token = &first.token;
    let rounds = run.of(25, 6);
    let change = |(server, file, key): (usize, &str, &str), value: usize| {
        let target = format!("/config/{file}/change?{key}={value}");
        ask(servers[server], token, "POST", &target).unwrap()
    };
    let stale: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = CHANGERS
            .iter()
            .enumerate()
            .map(|(client, changer)| {
                scope.spawn(move || {
                    let mut stale = 0;
                    for round in 1..=rounds {
                        loop {
                            let answer = change(*changer, 100 * client + round);
                            if answer.status == 200 {
                                break;
                            }
                            // Somebody was between the look and the change: once more.
                            assert_eq!(answer.status, 412, "{answer:?}");
                            stale += 1;
                        }
                    }
                    stale
                })
            })
            .collect();
        clients.into_iter().map(|one| one.join().unwrap()).sum()
    });
    for (number, server) in servers.iter().enumerate() {
        for file in ["barman", "barmanapi"] {
            let user = server.with_token(token);
            let shown = user.get(&format!("/config/{file}")).expect(200).json();
            let changers = CHANGERS.iter().enumerate();
            for (client, (_, _, name)) in changers.filter(|(_, (_, of, _))| *of == file) {
                run.once();
                let (section, key) = name.split_once('.').unwrap();
                let wanted = (100 * client + rounds).to_string();
                run.hold(shown["list"][section][key] == wanted, || {
                    format!("{name} is not {wanted}, service {number}: {shown}")
                });
            }
            let revisions = format!("/config/{file}/revisions?limit=1000");
            let list = user.get(&revisions).expect(200).json()["list"].clone();
            let list = list.as_array().unwrap();
            let done = list.iter().filter(|one| one["state"] == "done").count();
            let ids: HashSet<_> = list.iter().map(|one| one["revision"].to_string()).collect();
            run.hold(done == 4 * rounds && ids.len() == list.len(), || {
                format!(
                    "{done} revisions of {file}, service {number}, of {}",
                    4 * rounds
                )
            });
        }
    }
    tell_each_other(run, &servers, token);
    run.hold(!first.site.logged().contains("panicked"), || {
        "a panic".to_owned()
    });
    run.measure(format!(
        "{} changes, each of them there and a revision; {stale} were told to look again",
        CHANGERS.len() * rounds
    ));
}

/// What one service changes of our own file the other one shows, and says that it has not got it yet.
fn tell_each_other(run: &mut Run, servers: &[&Server; 2], token: &str) {
    for (number, value) in [(0, "4321"), (1, "1234")] {
        let [one, other] = [servers[number], servers[1 - number]].map(|of| of.with_token(token));
        let target = format!("/config/barmanapi/change?barman.queue={value}");
        let made = one.request("POST", &target, &[], b"").expect(200).json();
        // What the other one has changed before comes into force with it.
        let applied = made["applied"].as_array().unwrap();
        run.hold(applied.contains(&json!("barman.queue")), || {
            format!("not in force where it was changed: {made}")
        });
        let [here, there] = [one, other].map(|user| {
            let shown = user.get("/config/barmanapi").expect(200).json();
            run.hold(shown["list"]["barman"]["queue"] == value, || {
                format!("not shown: {shown}")
            });
            let keys = shown["not_in_force"].as_array().unwrap();
            keys.contains(&json!("barman.queue"))
        });
        run.hold(!here && there, || {
            format!("not in force: here {here}, there {there}")
        });
    }
}
