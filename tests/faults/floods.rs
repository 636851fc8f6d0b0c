//! Many clients at once.
//!
//! Clients are on other machines than the service. Here the service has one processor and they have
//! the others, and the one whose answers are timed goes before the rest of them: what is measured is
//! the service, and not how long a client waits for its turn among a thousand.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use rustix::io::Errno;
use rustix::thread::{CpuSet, Pid, sched_setaffinity};
use serde_json::json;

use super::bench::Bench;
use super::run::{Fault, Run, Stopping, Times, ms};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "logins",
        how: "512 clients ask for tokens as fast as they can, most with a wrong password; another one asks `/healthz` over new connections",
        provoke: logins,
    },
    Fault {
        name: "healthz",
        how: "1,000 clients with open connections ask `/healthz` without a pause; another one over new connections",
        provoke: |run| cheap(run, "/healthz"),
    },
    Fault {
        name: "token",
        how: "the same on `/auth/user` with a token",
        provoke: |run| cheap(run, "/auth/user"),
    },
];

/// What one kind of client has seen.
#[derive(Default)]
pub struct Seen {
    pub answers: BTreeMap<u16, usize>,
    pub times: Times,
    pub without_retry_after: usize,
    pub broken: usize,
}

impl Seen {
    fn merge(&mut self, other: Self) {
        for (status, count) in other.answers {
            *self.answers.entry(status).or_default() += count;
        }
        self.times.extend(other.times);
        self.without_retry_after += other.without_retry_after;
        self.broken += other.broken;
    }

    pub fn statuses(&self) -> String {
        let words: Vec<_> = self
            .answers
            .iter()
            .map(|(status, count)| format!("{count} × {status}"))
            .collect();
        words.join(", ")
    }
}

/// Asks `/healthz` every 20 ms over a new connection until told to stop.
pub fn probe(port: u16, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let since = Instant::now();
        let answer = super::rig::raw(
            port,
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        );
        seen.times.add(since.elapsed());
        match answer {
            Some(answer) => *seen.answers.entry(answer.status).or_default() += 1,
            None => seen.broken += 1,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    seen
}

/// One client on one connection, which it opens anew when it was closed.
fn client(port: u16, request: &[u8], until: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut stream: Option<TcpStream> = None;
    let mut buffer = vec![0; 4096];
    while Instant::now() < until {
        if stream.is_none() {
            stream = TcpStream::connect(("127.0.0.1", port)).ok();
            if stream.is_none() {
                seen.broken += 1;
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
        }
        let since = Instant::now();
        let answer = stream
            .as_mut()
            .and_then(|stream| exchange(stream, request, &mut buffer));
        let Some((status, retry_after, close)) = answer else {
            stream = None;
            seen.broken += 1;
            continue;
        };
        seen.times.add(since.elapsed());
        *seen.answers.entry(status).or_default() += 1;
        if matches!(status, 429 | 503) && !retry_after {
            seen.without_retry_after += 1;
        }
        if close {
            stream = None;
        }
    }
    seen
}

/// One request and its answer: status, whether it says when to come back, whether it is the last.
fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut [u8],
) -> Option<(u16, bool, bool)> {
    stream.write_all(request).ok()?;
    let mut length = 0;
    let (head, wanted) = loop {
        let count = stream.read(&mut buffer[length..]).ok()?;
        if count == 0 {
            return None;
        }
        length += count;
        let end = buffer[..length]
            .windows(4)
            .position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let body: usize = head
                .split("\r\n")
                .find_map(|line| line.strip_prefix("content-length: "))?
                .parse()
                .ok()?;
            break (head, end + 4 + body);
        }
    };
    while length < wanted {
        let count = stream.read(&mut buffer[length..]).ok()?;
        if count == 0 {
            return None;
        }
        length += count;
    }
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((
        status,
        head.contains("\r\nretry-after:"),
        head.contains("\r\nconnection: close"),
    ))
}

/// The service on one processor and this program on the others, until this is dropped; where there is
/// only one they share it.
struct Apart {
    processors: usize,
}

impl Apart {
    fn new(service: u32) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        if processors > 1 {
            pin(service, 0..1);
            pin(std::process::id(), 1..processors);
        }
        Self { processors }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        pin(std::process::id(), 0..self.processors);
    }
}

/// Has all threads of a process run on these processors.
fn pin(process: u32, processors: Range<usize>) {
    let mut set = CpuSet::new();
    processors.for_each(|processor| set.set(processor));
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let name = thread.unwrap().file_name();
        let thread = name.to_str().and_then(|name| name.parse().ok()).unwrap();
        let pinned = sched_setaffinity(Pid::from_raw(thread), &set);
        // It may have ended meanwhile.
        assert!(matches!(pinned, Ok(()) | Err(Errno::SRCH)), "{pinned:?}");
    }
}

/// Lets clients loose and probes meanwhile: what they saw, what the prober saw, and the greatest size
/// of the service in MiB.
fn flood(
    bench: &Bench,
    clients: usize,
    seconds: u64,
    request: impl Fn(usize) -> Vec<u8> + Sync,
) -> (Seen, Seen, u64) {
    let port = bench.server.port;
    let _apart = Apart::new(bench.server.pid());
    let stop = AtomicBool::new(false);
    let all = Mutex::new(Seen::default());
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut most = 0;
    let probed = std::thread::scope(|scope| {
        for number in 0..clients {
            let (all, request) = (&all, &request);
            std::thread::Builder::new()
                .stack_size(128 << 10)
                .spawn_scoped(scope, move || {
                    // Those who are timed go before.
                    rustix::process::nice(10).unwrap();
                    let seen = client(port, &request(number), until);
                    all.lock().unwrap().merge(seen);
                })
                .unwrap();
        }
        let prober = scope.spawn(|| probe(port, &stop));
        let stopping = Stopping(&stop);
        while Instant::now() < until {
            most = most.max(bench.server.size("VmRSS"));
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(stopping);
        prober.join().unwrap()
    });
    (all.into_inner().unwrap(), probed, most / 1024)
}

/// The prober's findings; how slow it may be is held in the long run only, since a machine under
/// other load says nothing about the service.
pub fn look_at_probes(run: &mut Run, probed: &Seen, goal: Duration) {
    let only = probed.answers.keys().all(|status| *status == 200) && probed.broken == 0;
    run.hold(only, || {
        format!("/healthz: {}, {} broken", probed.statuses(), probed.broken)
    });
    let (most, slowest) = (probed.times.within(0.99), probed.times.slowest());
    let patience = run.of(goal, Duration::from_secs(5));
    run.hold(most < patience, || {
        format!("/healthz within {} for 99 %", ms(most))
    });
    run.measure(format!(
        "`/healthz` over {} new connections: median {}, 99 % within {}, slowest {}",
        probed.times.len(),
        ms(probed.times.within(0.5)),
        ms(most),
        ms(slowest)
    ));
}

fn logins(run: &mut Run) {
    let bench = Bench::new(&json!({}), &[]);
    let seconds = run.of(40, 4);
    let (seen, probed, most) = flood(&bench, 512, seconds, |number| {
        // Every eighth knows the password; the others are told to wait, and soon.
        let (name, password) = if number % 8 == 0 {
            ("ada".to_owned(), "correct horse battery".to_owned())
        } else {
            (format!("u{number}"), "wrong".to_owned())
        };
        let words = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        format!("POST /auth/token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {words}\r\nContent-Length: 0\r\n\r\n")
            .into_bytes()
    });
    run.times = seen.times.len();
    let fits = seen
        .answers
        .keys()
        .all(|status| [200, 401, 429].contains(status));
    run.hold(fits && seen.broken == 0, || {
        format!("{}, {} broken", seen.statuses(), seen.broken)
    });
    run.hold(seen.answers.contains_key(&429), || {
        "nobody was told to wait".to_owned()
    });
    run.hold(seen.without_retry_after == 0, || {
        format!("{} without Retry-After", seen.without_retry_after)
    });
    run.hold(most <= 200, || format!("{most} MiB"));
    look_at_probes(run, &probed, Duration::from_millis(100));
    let since = Instant::now();
    let login = bench.ask("GET", "/auth/user").unwrap();
    run.hold(login.status == 200, || format!("{}", login.status));
    bench.no_panic(run);
    run.measure(format!(
        "answers: {}; at most {most} MiB; a token works {} after",
        seen.statuses(),
        ms(since.elapsed())
    ));
}

fn cheap(run: &mut Run, target: &str) {
    let bench = Bench::new(&json!({}), &[]);
    let seconds = run.of(20, 4);
    let before = bench.server.size("VmRSS") / 1024;
    let token = bench.token.clone();
    let (seen, probed, most) = flood(&bench, 1000, seconds, |_| {
        format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")
            .into_bytes()
    });
    run.times = seen.times.len();
    let fits = seen.answers.keys().all(|status| *status == 200);
    run.hold(fits && seen.broken == 0, || {
        format!("{}, {} broken", seen.statuses(), seen.broken)
    });
    run.hold(most < 200, || format!("{most} MiB"));
    look_at_probes(run, &probed, Duration::from_millis(100));
    bench.no_panic(run);
    run.measure(format!(
        "{} answers in {seconds} s, median {}, 99 % within {}; {before} MiB before, at most {most}",
        seen.times.len(),
        ms(seen.times.within(0.5)),
        ms(seen.times.within(0.99))
    ));
}
