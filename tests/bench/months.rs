//! Months of 100,000 jobs and archives of 1,000,000, written by the program's own store.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use barmanapi::names::{CommandName, Month, Scope, ServerName, Ticket, UserName};
use barmanapi::output::Kept;
use barmanapi::store::Store;
use barmanapi::store::archive::ArchivedJob;
use barmanapi::store::record::{DataForm, EndState, Job, JobResult};

use super::site::{self, Site};
use super::{median, verdict};

/// Jobs of a month.
const JOBS: u32 = 100_000;

/// Months with so many jobs each in the archive: 1,000,000 jobs.
const MONTHS: u8 = 10;

/// Tickets that are asked for.
const LOOKUPS: usize = 1_000;

/// Bytes of each of their results at least.
const RESULT: usize = 4096;

/// Jobs that are written to an archive at a time.
const BATCH: u32 = 10_000;

/// Measures what must not grow with the number of jobs.
pub fn measure(site: &Site) {
    // What is there in service is there in each of its stores.
    site.serve().stop();
    let root = site.file("months");
    fs::create_dir(&root).unwrap();
    let begin = Instant::now();
    let tickets = write_archives(&root);
    println!(
        "\n{JOBS} archived jobs a month in {MONTHS} months, written in {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    site.own_all(&root);
    start_and_memory(site);
    look_ups(site, &root, &tickets);
    fs::remove_dir_all(&root).unwrap();
    let begin = Instant::now();
    let current = write_current_month(&root);
    site.own_all(&root);
    println!(
        "\n{JOBS} jobs in the current month, written in {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    first_page(site, &current);
}

fn job(ticket: &Ticket) -> Job {
    let command = CommandName::parse("backup").unwrap();
    Job {
        ticket: ticket.clone(),
        names: vec![command.clone()],
        command,
        scope: Scope::Servers(vec![ServerName::parse("main").unwrap()]),
        program: "/usr/bin/barman".into(),
        arguments: ["-c", "/etc/barman.conf", "backup", "--", "main"]
            .map(str::to_owned)
            .to_vec(),
        data: DataForm::Lines,
        user: UserName::parse("bench").unwrap(),
        from: None,
        accepted_at: ticket.accepted_at(),
        request_id: ticket.as_str()[16..].to_owned(),
        time_limit: None,
        output_limit: 16 << 20,
        max_jobs: 4,
        exclusive: true,
        requires_full: false,
        or_written_out: false,
        fills: None,
        users: "/etc/barmanapi/client.conf".into(),
        remote: None,
    }
}

fn result(ticket: &Ticket) -> JobResult {
    JobResult {
        state: EndState::Done,
        exit_code: Some(0),
        signal: None,
        reason: None,
        detail: None,
        started_at: Some(ticket.accepted_at()),
        ended_at: ticket.accepted_at(),
        duration_ms: Some(6_000),
        stdout: Kept::default(),
        stderr: Kept::default(),
    }
}

/// What a backup says, in words and numbers of its own.
fn output(ticket: &Ticket, bytes: usize) -> Vec<u8> {
    let mut text = format!("Starting backup using postgres method for server main: {ticket}\n");
    let mut word = ticket.date().parse::<u64>().unwrap();
    while text.len() < bytes {
        word = word.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        let (database, relation) = (word >> 50, word >> 44);
        writeln!(
            text,
            "Copying segment {word:016X} of relation base/{database}/{relation}"
        )
        .unwrap();
    }
    text.into_bytes()
}

/// Tickets at even distances over a month.
fn tickets(month: u8) -> impl Iterator<Item = Ticket> {
    let month = time::Month::try_from(month).unwrap();
    let begin = time::Date::from_calendar_date(2025, month, 1).unwrap();
    let begin = begin.midnight().assume_utc();
    (0..JOBS).map(move |n| {
        let random = u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Ticket::new(begin + time::Duration::seconds(i64::from(n) * 24), random)
    })
}

/// Fills the archives; results of the last month are as long as they have to be, the others short.
fn write_archives(root: &Path) -> Vec<Ticket> {
    let store = Store::open(root).unwrap();
    let fill = |month: u8| {
        let bytes = if month == MONTHS { RESULT } else { 200 };
        let name = Month::parse(&format!("2025{month:02}")).unwrap();
        let mut tickets = tickets(month);
        for _ in 0..JOBS / BATCH {
            let jobs = tickets.by_ref().take(BATCH as usize);
            let whole = |ticket: Ticket| ArchivedJob {
                job: job(&ticket),
                result: result(&ticket),
                stdout: output(&ticket, bytes),
                stderr: Vec::new(),
            };
            store.archive_jobs(&name, jobs.map(whole)).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| (1..=MONTHS).step_by(2).for_each(fill));
        scope.spawn(|| (2..=MONTHS).step_by(2).for_each(fill));
    });
    tickets(MONTHS).collect()
}

/// Fills the current month through the doors of the store, in memory, where syncing costs nothing.
fn write_current_month(root: &Path) -> Vec<Ticket> {
    let shared = Path::new("/dev/shm").join(format!("barmanapi-bench-{}", std::process::id()));
    let store = Store::open(&shared).unwrap();
    let now = time::OffsetDateTime::now_utc();
    let begin = now
        .replace_day(1)
        .unwrap()
        .replace_time(time::Time::MIDNIGHT);
    let step = (now - begin) / JOBS;
    let mut written = Vec::new();
    for n in 0..JOBS {
        let random = u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let ticket = Ticket::new(begin + step * n, random);
        let accepted = store.accept(&job(&ticket), 10).unwrap();
        fs::write(accepted.folder.file("stdout"), output(&ticket, 200)).unwrap();
        let ended = result(&ticket);
        store.close(&accepted.folder, &ended, |_| {}).unwrap();
        // Nobody here waits for a turn, and who has had one leaves the line.
        for place in fs::read_dir(shared.join("active/line")).unwrap() {
            fs::remove_file(place.unwrap().path()).unwrap();
        }
        written.push(ticket);
    }
    let copied = Command::new("cp").arg("-a").arg(&shared).arg(root).status();
    assert!(copied.unwrap().success());
    fs::remove_dir_all(&shared).unwrap();
    written
}

fn start_and_memory(site: &Site) {
    let mut starts = Vec::new();
    let mut server = None;
    for _ in 0..5 {
        drop(server.take());
        let begin = Instant::now();
        let started = site.serve_store("months");
        starts.push(begin.elapsed().as_secs_f64());
        server = Some(started);
    }
    let start = median(starts);
    println!(
        "  start to ready: median {start:.2} s; goal: under 0.5: {}",
        verdict(start < 0.5)
    );
    let server = server.unwrap();
    Site::token(server.port);
    // The background has looked at all months by then.
    std::thread::sleep(Duration::from_secs(5));
    let memory = server.resident();
    println!(
        "  resident memory {memory:.1} MB; goal: under 40: {}",
        verdict(memory < 40.0)
    );
}

/// Asks for tickets of a month whose archive and index are not in memory.
fn look_ups(site: &Site, root: &Path, tickets: &[Ticket]) {
    let server = site.serve_store("months");
    let token = Site::token(server.port);
    let last_month = File::open(root.join(format!("archive/2025{MONTHS:02}.tar.gz"))).unwrap();
    let length = last_month.metadata().unwrap().len();
    for every in [false, true] {
        let (mut times, mut reads) = (Vec::new(), Vec::new());
        let mut random = 0x1234_5678_9ABC_DEF0_u64;
        forget(root);
        for _ in 0..LOOKUPS {
            random = random
                .wrapping_mul(0x5851_F42D_4C95_7F2D)
                .wrapping_add(0x1405_7B7E_F767_814F);
            let ticket = &tickets[usize::try_from(random >> 33).unwrap() % tickets.len()];
            if every {
                // What the disk alone takes.
                forget(root);
                let begin = Instant::now();
                let mut block = [0; 4096];
                let at = (random >> 12) % (length - block.len() as u64);
                last_month.read_exact_at(&mut block, at).unwrap();
                reads.push(begin.elapsed().as_secs_f64() * 1000.0);
                forget(root);
            }
            let begin = Instant::now();
            let answer = site::request(
                server.port,
                &format!("/history/result?ticket={ticket}"),
                &token,
            );
            times.push(begin.elapsed().as_secs_f64() * 1000.0);
            assert!(
                answer.len() > RESULT && answer.contains(&format!("main: {ticket}")),
                "{answer}"
            );
        }
        let (half, last) = half_and_last(&mut times);
        println!(
            "  {LOOKUPS} random results, {}: median {half:.2} ms; goal: under 2: {}; p99 {last:.2} ms; goal: under 5: {}",
            if every {
                "archive and index dropped from memory before each"
            } else {
                "dropped once"
            },
            verdict(half < 2.0),
            verdict(last < 5.0)
        );
        if every {
            let (half, last) = half_and_last(&mut reads);
            println!(
                "    one read of 4 KiB from the same disk, before each: median {half:.2} ms; p99 {last:.2} ms"
            );
        }
    }
}

/// The median and the 99th percentile.
fn half_and_last(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Drops the archives and their indexes from the page cache.
fn forget(root: &Path) {
    for entry in fs::read_dir(root.join("archive")).unwrap().flatten() {
        let file = File::open(entry.path()).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

fn first_page(site: &Site, tickets: &[Ticket]) {
    let begin = Instant::now();
    let server = site.serve_store("months");
    let start = begin.elapsed().as_secs_f64();
    let token = Site::token(server.port);
    let ask = |target: &str| {
        let begin = Instant::now();
        let answer = site::request(server.port, target, &token);
        (begin.elapsed().as_secs_f64() * 1000.0, answer)
    };
    let mut times = Vec::new();
    for _ in 0..100 {
        let (took, answer) = ask("/history/list");
        assert!(
            answer.contains(tickets.last().unwrap().as_str()),
            "{answer}"
        );
        times.push(took);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "  first page: median {:.1} ms, the slowest of 100 {:.1} ms; goal: under 20: {}",
        times[50],
        times[99],
        verdict(times[99] < 20.0)
    );
    let oldest = &tickets[200];
    let (took, _) = ask(&format!("/history/list?cursor={oldest}"));
    println!("  last page by its cursor {took:.1} ms; start to ready {start:.2} s");
    let index = site
        .file("months")
        .join("active")
        .join(oldest.month().as_str());
    let length = fs::metadata(index.join("index")).unwrap().len();
    println!(
        "  resident memory {:.1} MB; the index has {} MB",
        server.resident(),
        length / 1_000_000
    );
}
