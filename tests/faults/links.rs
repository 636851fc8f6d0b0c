//! The way to a Barman on another host, which breaks while jobs go on there.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::bench::Bench;
use super::rig::{Barman, Lab, Site, Sshd, StandIn, processes};
use super::run::{Fault, Run, Times, eventually, ms};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "sessions_killed",
        how: "SIGKILL to the processes of sshd that serve our connections, at random moments while jobs run",
        provoke: sessions_killed,
    },
    Fault {
        name: "masters_killed",
        how: "SIGKILL to the ssh processes on our side that hold the connections, at random moments while jobs run",
        provoke: masters_killed,
    },
    Fault {
        name: "sshd_restarted",
        how: "sshd and all its sessions killed, and started again after 0 to 2 s, while jobs run; the time until commands are answered again",
        provoke: sshd_restarted,
    },
    Fault {
        name: "frozen",
        how: "sshd and its sessions stopped by SIGSTOP for 25 s (2 s in short runs) while jobs run and end",
        provoke: frozen,
    },
    Fault {
        name: "supervisors_killed",
        how: "SIGKILL to the supervisors of jobs on another host; another one goes on",
        provoke: supervisors_killed,
    },
    Fault {
        name: "services_killed",
        how: "SIGKILL to the service and to the supervisors at once, then a new service",
        provoke: services_killed,
    },
    Fault {
        name: "keepers_killed",
        how: "SIGKILL to the process that waits for Barman on its host; the ticket says `lost`, and whether Barman still runs is compared with `/proc`",
        provoke: keepers_killed,
    },
    Fault {
        name: "host_key_changed",
        how: "another host key, and then none that is known; nothing is executed there",
        provoke: host_key_changed,
    },
];

/// How old the last word of the host may be on a host as busy as that of a test.
const STALE: Duration = Duration::from_secs(2);

/// Jobs that run while something breaks.
const JOBS: usize = 4;

/// A service whose stand-in for Barman is behind an sshd of its own.
struct Far {
    bench: Bench,
    sshd: Sshd,
    /// Jobs so far; each has a name.
    jobs: usize,
}

/// A job that was accepted.
struct Begun {
    name: String,
    ticket: String,
}

impl Far {
    fn new() -> Self {
        let (stand_in, sshd) = (StandIn::new(), Sshd::start(&[]));
        let lines = json!({"count": 12, "every": 0.1, "text": "line {n}"});
        stand_in.control(&json!({"backup": {"lines": lines, "exit": 3}}));
        let way = format!("barman.remote_ssh = {}", sshd.remote_ssh());
        let settings = ["barman.remote = true", &way, "barman.max_jobs = 16"];
        let site = Site::new(&Barman::StandIn(&stand_in), &settings);
        let bench = Bench::on(stand_in, site);
        Self {
            bench,
            sshd,
            jobs: 0,
        }
    }

    /// Starts some jobs and waits until they run.
    fn begin(&mut self, count: usize) -> Vec<Begun> {
        let mut begun = Vec::new();
        for _ in 0..count {
            self.jobs += 1;
            let name = format!("far{}", self.jobs);
            let target = format!("/barman/backup?server_name=main&name={name}");
            let ada = self.bench.ada();
            let ticket = ada.request("POST", &target, &[], b"").ticket();
            begun.push(Begun { name, ticket });
        }
        for job in &begun {
            eventually("start of a job", || self.start_of(job));
        }
        begun
    }

    fn start_of(&self, job: &Begun) -> Option<Value> {
        let starts = self.bench.starts_of(&format!("--name={}", job.name));
        starts.into_iter().next()
    }

    /// Each of these jobs ran once, to its own end, and all that it printed is there.
    fn are_whole(&self, run: &mut Run, jobs: &[Begun]) {
        for job in jobs {
            let result = self.bench.ended(&job.ticket);
            let starts = self.bench.starts_of(&format!("--name={}", job.name)).len();
            let lines = result["list"].as_array().map_or(0, Vec::len);
            let whole = result["state"] == "failed" && result["exit_code"] == 3 && lines == 12;
            run.hold(whole && starts == 1, || {
                format!("{starts} starts, {result}")
            });
        }
        let jobs_there = self.folders_there();
        run.hold(jobs_there.is_empty(), || {
            format!("left there: {jobs_there:?}")
        });
    }

    /// What our jobs have on the Barman host, once all is done that follows from their ends.
    fn folders_there(&self) -> Vec<PathBuf> {
        let markers = self.bench.server.store().join("active/abroad");
        eventually("end of the cleaning", || {
            (fs::read_dir(&markers).unwrap().count() == 0).then_some(())
        });
        let id = fs::read_to_string(self.bench.server.store().join("config/id")).unwrap();
        let home = PathBuf::from(Lab::get().fact("LAB_HOME"));
        let jobs = fs::read_dir(home.join(".barmanapi/jobs")).into_iter();
        let jobs = jobs.flatten().flatten().map(|entry| entry.path());
        jobs.filter(|path| path.to_string_lossy().contains(id.trim()))
            .collect()
    }

    /// Breaks something again and again, with jobs running each time.
    fn rounds(
        &mut self,
        run: &mut Run,
        rounds: usize,
        mut break_it: impl FnMut(&mut Self, &mut Run),
    ) {
        for _ in 0..rounds {
            let jobs = self.begin(JOBS);
            std::thread::sleep(run.random.milliseconds(0, 900));
            break_it(self, run);
            run.once();
            self.are_whole(run, &jobs);
        }
        self.bench.no_panic(run);
    }

    /// The supervisors of our store, which serve no other.
    fn supervisors(&self) -> Vec<i32> {
        let store = self.bench.server.store().display().to_string();
        let all = processes().into_iter().filter(|process| {
            process.words.get(1).is_some_and(|word| word == "run-job")
                && process.words.get(2).is_some_and(|word| *word == store)
        });
        all.map(|process| process.pid).collect()
    }

    /// The folder of the control sockets, as an open job has it recorded.
    fn socket_folder(&self) -> String {
        let open = fs::read_dir(self.bench.server.store().join("active/open")).unwrap();
        let ticket = open.flatten().next().expect("an open job").file_name();
        let folder = self.bench.folder(ticket.to_str().unwrap());
        let job = fs::read(folder.join("job.json")).unwrap();
        let job: Value = serde_json::from_slice(&job).unwrap();
        job["remote"]["sockets"].as_str().unwrap().to_owned()
    }

    /// The time until a command is answered again.
    fn answers_again(&self) -> Duration {
        let since = Instant::now();
        eventually("answer", || {
            let target = "/barman/list-backups?server_name=main";
            let answer = self.bench.ask("GET", target)?;
            (answer.status == 200).then_some(())
        });
        since.elapsed()
    }
}

fn kill(pids: &[i32]) {
    for pid in pids {
        let sent = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
        // It may have ended by itself.
        assert!(matches!(sent, Ok(()) | Err(rustix::io::Errno::SRCH)));
    }
}

fn sessions_killed(run: &mut Run) {
    let mut far = Far::new();
    let rounds = run.of(25, 3);
    far.rounds(run, rounds, |far, _| kill(&far.sshd.connections()));
}

fn masters_killed(run: &mut Run) {
    let mut far = Far::new();
    let rounds = run.of(25, 3);
    far.rounds(run, rounds, |far, _| {
        let sockets = far.socket_folder();
        let masters = processes().into_iter().filter(|process| {
            let words = &process.words;
            words.first().is_some_and(|word| word == "ssh")
                && words.contains(&"-M".to_owned())
                && words.iter().any(|word| word.starts_with(&sockets))
        });
        let masters: Vec<i32> = masters.map(|process| process.pid).collect();
        assert!(!masters.is_empty(), "no connection to kill in {sockets}");
        kill(&masters);
    });
}

fn sshd_restarted(run: &mut Run) {
    let mut far = Far::new();
    let mut times = Times::default();
    let rounds = run.of(20, 3);
    far.rounds(run, rounds, |far, run| {
        far.sshd.down();
        std::thread::sleep(run.random.milliseconds(0, 2000));
        far.sshd.up();
        times.add(far.answers_again());
    });
    run.measure(format!(
        "answers again after {} at most",
        ms(times.slowest())
    ));
}

fn frozen(run: &mut Run) {
    let mut far = Far::new();
    let (rounds, pause) = run.of((2, 25), (1, 2));
    let mut told = 0;
    far.rounds(run, rounds, |far, run| {
        far.sshd.signal(Signal::STOP);
        std::thread::sleep(Duration::from_secs(pause));
        if run.long {
            let open = fs::read_dir(far.bench.server.store().join("active/open")).unwrap();
            for entry in open.flatten() {
                let ticket = entry.file_name().into_string().unwrap();
                let result = far.bench.ada().result(&ticket);
                let truth = result["state"] == "running" && result["reachable"] == false;
                run.hold(truth, || format!("a frozen link and {result}"));
                told += 1;
            }
        }
        far.sshd.signal(Signal::CONT);
    });
    if run.long {
        run.measure(format!(
            "{told} tickets said `running` and `reachable: false`"
        ));
    }
}

fn supervisors_killed(run: &mut Run) {
    let mut far = Far::new();
    let rounds = run.of(20, 3);
    far.rounds(run, rounds, |far, _| kill(&far.supervisors()));
}

fn services_killed(run: &mut Run) {
    let mut far = Far::new();
    let rounds = run.of(12, 2);
    far.rounds(run, rounds, |far, _| {
        far.bench.server.kill();
        kill(&far.supervisors());
        far.bench.restart();
    });
}

fn keepers_killed(run: &mut Run) {
    let mut far = Far::new();
    let (mut still, mut over, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..run.of(20, 3) {
        let job = far.begin(1).remove(0);
        let start = far.start_of(&job).unwrap();
        let [pid, keeper] = ["pid", "ppid"].map(|name| start[name].as_i64().unwrap());
        std::thread::sleep(run.random.milliseconds(0, 600));
        kill(&[i32::try_from(keeper).unwrap()]);
        run.once();
        let runs = || super::processes::runs(i32::try_from(pid).unwrap());
        let mut gone: Option<Instant> = None;
        eventually("end of a job", || {
            if gone.is_none() && !runs() {
                gone = Some(Instant::now());
            }
            let result = far.bench.ada().result(&job.ticket);
            let state = result["state"].as_str();
            match (state, result["barman_still_runs"].as_bool()) {
                // Nobody has looked since; that is not yet known.
                (Some("running" | "queued"), _) => None,
                (Some("lost"), Some(true)) => {
                    // What is told is what the host said last.
                    let since = gone.map_or(Duration::ZERO, |gone| gone.elapsed());
                    run.hold(since < STALE, || {
                        format!("barman is gone since {}: {result}", ms(since))
                    });
                    slowest = slowest.max(since);
                    still += 1;
                    None
                }
                (Some("lost"), Some(false)) => {
                    run.hold(!runs(), || format!("barman runs: {result}"));
                    over += 1;
                    Some(())
                }
                _ => {
                    run.hold(false, || format!("nobody waited for it and {result}"));
                    Some(())
                }
            }
        });
        let starts = far.bench.starts_of(&format!("--name={}", job.name)).len();
        run.hold(starts == 1, || format!("{starts} starts of {}", job.name));
    }
    run.measure(format!(
        "{still} answers said that Barman still runs, the last one {} after it had ended at most, and {over} that it does not",
        ms(slowest)
    ));
    far.bench.no_panic(run);
}

fn host_key_changed(run: &mut Run) {
    let mut far = Far::new();
    let known = fs::read_to_string(far.sshd.file("known_hosts")).unwrap();
    far.answers_again();
    for turn in 0..run.of(20, 2) {
        far.sshd.down();
        let key = fs::read_to_string(far.sshd.file("host_key")).unwrap();
        let reason = if turn % 2 == 0 {
            far.sshd.new_host_key();
            "host key mismatch"
        } else {
            Lab::get().write(&far.sshd.file("known_hosts"), "", 0o644);
            "host key unknown"
        };
        far.sshd.up();
        let before = far.bench.stand_in.log().len();
        let target = "/barman/list-backups?server_name=main";
        let answer = far.bench.ask("GET", target).unwrap();
        let told = answer.status == 502 && answer.json()["reason"] == reason;
        run.hold(told, || format!("{reason}: {answer:?}"));
        let after = far.bench.stand_in.log().len();
        run.hold(before == after, || {
            format!("{} were executed", after - before)
        });
        run.once();
        far.sshd.down();
        Lab::get().write(&far.sshd.file("host_key"), &key, 0o600);
        Lab::get().write(&far.sshd.file("known_hosts"), &known, 0o644);
        far.sshd.up();
        far.answers_again();
    }
    far.bench.no_panic(run);
}
