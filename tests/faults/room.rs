//! A store without room, and one that can't be written.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::bench::Bench;
use super::rig::{Barman, Lab, Site, StandIn};
use super::run::{Fault, Run, Stopping, Times, eventually, ms};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "full",
        how: "the store's disk is filled and freed again and again at random moments while backups are asked for, run and end",
        provoke: full,
    },
    Fault {
        name: "read_only",
        how: "the store's file system turns read-only and back again",
        provoke: read_only,
    },
];

/// A small file system of its own, where a store will be.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(path: PathBuf, size: &str) -> Self {
        let lab = Lab::get();
        fs::create_dir_all(&path).unwrap();
        let (uid, gid) = lab.account();
        let options = format!("size={size},mode=0700,uid={uid},gid={gid}");
        let place = path.display().to_string();
        Lab::as_root(&["mount", "-t", "tmpfs", "-o", &options, "faults", &place]);
        Self(path)
    }

    /// Takes all room but this many pages.
    pub fn fill(&self, pages_left: u64) {
        let mut file = fs::File::create(self.0.join("ballast")).unwrap();
        let block = vec![0; 1 << 20];
        let mut written = 0;
        for size in [block.len(), 4096] {
            while file.write_all(&block[..size]).is_ok() {
                written += size as u64;
            }
            // What was written of the last block is not counted.
            drop(file.set_len(written));
            drop(file.seek(SeekFrom::End(0)));
        }
        drop(file.set_len(u64::saturating_sub(written, pages_left * 4096)));
    }

    pub fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }

    /// Lays a read-only view of itself over it: a file system with open files can't be made
    /// read-only by hand, a failing disk is.
    fn read_only(&self) {
        let place = self.0.display().to_string();
        Lab::as_root(&["mount", "--bind", &place, &place]);
        Lab::as_root(&["mount", "-o", "remount,bind,ro", &place]);
    }

    fn writable(&self) {
        Lab::as_root(&["umount", "-l", &self.0.display().to_string()]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Lab::as_root(&["umount", "-l", &self.0.display().to_string()]);
    }
}

fn bench_on_small_disk(control: &Value, room: &str) -> (Bench, SmallDisk) {
    let stand_in = StandIn::new();
    stand_in.control(control);
    let site = Site::new(&Barman::StandIn(&stand_in), &["barman.queue = 5000"]);
    let disk = SmallDisk::mount(site.file("store"), room);
    (Bench::on(stand_in, site), disk)
}

/// Every record and line of the store is whole JSON.
fn torn_files(store: &Path) -> Vec<String> {
    let mut torn = Vec::new();
    let mut folders = vec![store.join("active"), store.join("config")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let whole = if path.extension().is_some_and(|end| end == "json")
                && !name.starts_with('.')
            {
                // A file may be gone by now.
                fs::read(&path).map_or(true, |text| serde_json::from_slice::<Value>(&text).is_ok())
            } else {
                true
            };
            if !whole {
                torn.push(path.display().to_string());
            }
        }
    }
    torn
}

fn full(run: &mut Run) {
    let control = json!({"backup": {"stdout": "one\ntwo\n", "sleep": 0.05, "exit": 3}});
    // Thousands of jobs have to fit beside what fills it.
    let (bench, disk) = bench_on_small_disk(&control, run.of("400m", "24m"));
    let stop = AtomicBool::new(false);
    let rounds = run.of(120, 12);
    let mut random = super::run::Random(run.random.number() | 1);
    let (mut given, mut answers) = (BTreeMap::new(), BTreeMap::<u16, usize>::new());
    let mut back = Times::default();
    std::thread::scope(|scope| {
        // Also when this thread can't go on.
        let _stopping = Stopping(&stop);
        let clients: Vec<_> = (0..2)
            .map(|client| {
                let (bench, stop) = (&bench, &stop);
                scope.spawn(move || {
                    let mut seen = Vec::new();
                    for turn in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = format!("c{client}n{turn}");
                        let target = format!("/barman/backup?server_name=main&name={name}");
                        seen.push((name, bench.ask("POST", &target)));
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    seen
                })
            })
            .collect();
        for round in 0..rounds {
            std::thread::sleep(random.milliseconds(20, 200));
            disk.fill(random.number() % 40);
            std::thread::sleep(random.milliseconds(20, 200));
            if round % 10 == 0 {
                let torn = torn_files(bench.server.store());
                run.hold(torn.is_empty(), || format!("torn: {torn:?}"));
            }
            disk.free();
            let since = Instant::now();
            let name = format!("r{round}");
            eventually("ticket when there is room again", || {
                let target = format!("/barman/backup?server_name=other&name={name}");
                let answer = bench.ask("POST", &target)?;
                (answer.status == 202).then(|| given.insert(name.clone(), answer.ticket()))
            });
            back.add(since.elapsed());
            run.once();
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            for (name, answer) in client.join().unwrap() {
                let answer = answer.expect("an answer");
                *answers.entry(answer.status).or_default() += 1;
                match answer.status {
                    202 => drop(given.insert(name, answer.ticket())),
                    507 => {
                        let starts = bench.starts_of(&format!("--name={name}")).len();
                        run.hold(starts == 0, || format!("{name}: 507 and {starts} starts"));
                    }
                    503 | 429 | 502 => {}
                    other => run.hold(false, || format!("{name}: {other}: {}", answer.json())),
                }
            }
        }
    });
    let room = Instant::now();
    let (mut ended, mut not_started, mut cut) = (0, 0, 0);
    let mut starts = BTreeMap::<String, usize>::new();
    let results: Vec<_> = given
        .iter()
        .map(|(name, ticket)| (name, bench.ended(ticket)))
        .collect();
    let recorded = room.elapsed();
    for start in bench.stand_in.starts() {
        let words = start["argv"].as_array().unwrap().iter();
        let name = words.filter_map(|word| word.as_str()?.strip_prefix("--name="));
        for name in name {
            *starts.entry(name.to_owned()).or_default() += 1;
        }
    }
    for (name, result) in results {
        let count = starts.remove(name).unwrap_or_default();
        let state = result["state"].as_str().unwrap();
        let holds = match state {
            "failed" if result["exit_code"] == 3 => {
                ended += 1;
                let whole = result["list"] == json!(["one", "two"]);
                if !whole {
                    cut += 1;
                }
                count == 1 && (whole || result["truncated"] == true)
            }
            "failed" => {
                not_started += 1;
                count == 0 && result["reason"] == "could_not_start"
            }
            _ => false,
        };
        run.hold(holds, || format!("{name}: {count} starts and {result}"));
    }
    run.hold(starts.is_empty(), || {
        format!("started without a ticket: {starts:?}")
    });
    let torn = torn_files(bench.server.store());
    run.hold(torn.is_empty(), || format!("torn: {torn:?}"));
    run.hold(back.slowest() < Duration::from_secs(1), || {
        format!("a ticket only after {}", ms(back.slowest()))
    });
    bench.settled();
    bench.no_panic(run);
    let answers: Vec<_> = answers
        .iter()
        .map(|(status, count)| format!("{count} × {status}"))
        .collect();
    run.measure(format!(
        "answers: {}; {ended} jobs ended as Barman did ({cut} with an output marked as cut), {not_started} said that nothing could be started; a ticket {} after there was room (slowest {}), the last end recorded after {}",
        answers.join(", "),
        ms(back.within(0.5)),
        ms(back.slowest()),
        ms(recorded)
    ));
}

fn read_only(run: &mut Run) {
    let control = json!({"*": {"stdout": "said\n"}, "backup": {"stdout": "said\n", "sleep": 0.4}});
    let (bench, disk) = bench_on_small_disk(&control, "6m");
    let ada = bench.ada();
    let mut told = Times::default();
    let mut back = Times::default();
    for turn in 0..run.of(20, 2) {
        let target = format!("/barman/backup?server_name=main&name=n{turn}");
        let ticket = ada.request("POST", &target, &[], b"").ticket();
        eventually("start", || {
            let starts = bench.starts_of(&format!("--name=n{turn}"));
            (starts.len() == 1).then_some(())
        });
        std::thread::sleep(run.random.milliseconds(0, 300));
        disk.read_only();
        run.once();
        let since = Instant::now();
        eventually("word about it on /readyz", || {
            let answer = bench.server.get("/readyz");
            let told = String::from_utf8_lossy(&answer.body).contains("store");
            (answer.status == 503 && told).then_some(())
        });
        told.add(since.elapsed());
        let before = bench.stand_in.starts().len();
        for target in [
            "/barman/backup?server_name=main&name=x",
            "/barman/keep?server_name=main&backup_id=latest&target=full",
        ] {
            let answer = ada.request("POST", target, &[], b"");
            run.hold(answer.status == 503, || {
                format!("{target}: {}", answer.json())
            });
        }
        let starts = bench.stand_in.starts().len();
        run.hold(starts == before, || format!("{} starts", starts - before));
        for target in [
            "/history/list".to_owned(),
            format!("/history/result?ticket={ticket}"),
            "/auth/user".to_owned(),
        ] {
            let answer = ada.get(&target);
            run.hold(answer.status == 200, || {
                format!("{target}: {}", answer.json())
            });
        }
        run.hold(bench.server.get("/healthz").status == 200, || {
            "the process is not healthy".to_owned()
        });
        disk.writable();
        let since = Instant::now();
        eventually("word that all is well", || {
            (bench.server.get("/readyz").status == 200).then_some(())
        });
        let again = format!("/barman/backup?server_name=main&name=again{turn}");
        let again = ada.request("POST", &again, &[], b"").ticket();
        back.add(since.elapsed());
        for ticket in [ticket, again] {
            let result = bench.ended(&ticket);
            run.hold(
                result["state"] == "done" && result["list"] == json!(["said"]),
                || format!("{result}"),
            );
        }
    }
    bench.settled();
    bench.no_panic(run);
    run.measure(format!(
        "`/readyz` says it after {} (slowest), all is well again after {}",
        ms(told.slowest()),
        ms(back.slowest())
    ));
}
