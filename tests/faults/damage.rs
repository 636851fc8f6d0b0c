//! Archives and indexes that lose or change bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::closed::{Closed, Heard, Plan};
use super::rig::{Lab, Server};
use super::run::{Fault, Random, Run, eventually};

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "index",
        how: "the index of an archive is removed, cut at a random byte, filled with noise or has random bits flipped while a service is asked for every ticket and page",
        provoke: index,
    },
    Fault {
        name: "archive",
        how: "random bits of an archive are flipped under a service, or its end is cut off; half the times its index is lost as well",
        provoke: archive,
    },
];

const PLAN: Plan<'static> = Plan {
    settings: &[],
    back: 1,
    archived: 120,
    folders: 0,
    noise: 0,
    disk: None,
};

/// Flips bits of a file where it stands, and tells where.
fn flip(path: &Path, random: &mut Random, bits: usize) -> Vec<u64> {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let mut places = Vec::new();
    for _ in 0..bits.min(length) {
        let at = random.below(length) as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 1 << random.below(8);
        file.write_all_at(&byte, at).unwrap();
        places.push(at);
    }
    places
}

/// Cuts a file at a random byte and tells where.
fn cut(path: &Path, random: &mut Random) -> u64 {
    let file = File::options().write(true).open(path).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let at = random.below(length.max(1)) as u64;
    file.set_len(at).unwrap();
    at
}

/// Damages an index and says how.
fn damage(path: &Path, random: &mut Random) -> String {
    match random.below(6) {
        0 => {
            drop(fs::remove_file(path));
            "removed".to_owned()
        }
        1 => format!("cut at {}", cut(path, random)),
        2 => {
            let mut noise = vec![0; random.below(100_000)];
            getrandom::fill(&mut noise).unwrap();
            fs::write(path, noise).unwrap();
            Lab::get().own(path);
            "noise".to_owned()
        }
        _ => {
            let bits = 1 + random.below(8);
            format!("bits flipped at {:?}", flip(path, random, bits))
        }
    }
}

fn index(run: &mut Run) {
    let closed = Closed::new(&PLAN);
    let server = closed.site.serve_unready(&[]);
    let tickets: Vec<&str> = closed.right.keys().map(String::as_str).collect();
    let (mut right, mut not_yet) = (0, 0);
    let mut random = Random(run.random.number() | 1);
    for _ in 0..run.of(400, 25) {
        eventually("index", || closed.index().exists().then_some(()));
        let how = damage(&closed.index(), &mut random);
        let mut asked: Vec<usize> = (0..40).map(|_| random.below(tickets.len())).collect();
        // The list is asked for before all tickets, between them, or after them.
        asked.insert(random.below(41), tickets.len());
        let limit = 20 + random.below(120);
        for number in asked {
            let heard = eventually("answer", || {
                let heard = match tickets.get(number) {
                    Some(ticket) => closed.hear(&server, ticket),
                    None => closed.hear_list(&server, limit),
                };
                not_yet += usize::from(heard == Heard::NotYet);
                Some(heard).filter(|heard| *heard != Heard::NotYet)
            });
            right += usize::from(heard == Heard::Right);
            run.hold(heard == Heard::Right, || format!("{heard:?} ({how})"));
        }
        let stranger = format!("{}05T120000-00000000000{}", closed.month, random.below(10));
        let answer = closed.result(&server, &stranger).unwrap();
        run.hold([404, 503].contains(&answer.status), || {
            format!("{stranger}: {} ({how})", answer.status)
        });
        run.once();
    }
    let (listed, _) = closed.pages(&server, 1000);
    run.hold(listed == closed.listed, || "another list".to_owned());
    closed.no_panic(run);
    run.measure(format!(
        "{right} right answers, {not_yet} times 503 with `Retry-After`"
    ));
}

/// Where each job is in the archive, as its index says.
fn places(closed: &Closed) -> BTreeMap<String, Range<u64>> {
    let text = fs::read_to_string(closed.index()).unwrap();
    let number = |line: &str, name: &str| -> u64 {
        let text = line.split(name).nth(1).unwrap();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap();
        text[..end].parse().unwrap()
    };
    let place = |line: &str| {
        let at = number(line, "\"at\":");
        (line[..28].to_owned(), at..at + number(line, "\"len\":"))
    };
    text.lines().skip(1).map(place).collect()
}

/// An answer, as soon as there is one.
fn answer(closed: &Closed, server: &Server, ticket: &str) -> super::rig::Answer {
    eventually("answer", || {
        let answer = closed.result(server, ticket)?;
        (answer.status != 503).then_some(answer)
    })
}

fn archive(run: &mut Run) {
    let closed = Closed::new(&PLAN);
    let places = places(&closed);
    let mut server = closed.site.serve_unready(&[]);
    let (mut whole, mut damaged, mut lost) = (0, 0, 0);
    for turn in 0..run.of(150, 12) {
        if turn % 20 == 19 {
            server.kill();
            server = closed.site.serve_unready(&[]);
        }
        closed.restore();
        let bits = 1 + run.random.below(4);
        let mut hit = flip(&closed.archive(), &mut run.random, bits);
        let mut end = u64::MAX;
        if run.random.below(5) == 0 {
            end = cut(&closed.archive(), &mut run.random);
            hit.retain(|at| *at < end);
        }
        let without_index = run.random.below(2) == 0;
        if without_index {
            fs::remove_file(closed.index()).unwrap();
        }
        let how = format!("bits flipped at {hit:?}, cut at {end}, index lost: {without_index}");
        let (mut unknown, mut odd) = (0, 0);
        for (ticket, place) in &places {
            let is_hit = place.end > end || hit.iter().any(|at| place.contains(at));
            let answer = answer(&closed, &server, ticket);
            if answer.status == 200 && answer.body == closed.right[ticket] {
                whole += 1;
                continue;
            }
            odd += 1;
            let body = answer.json();
            let right: serde_json::Value = serde_json::from_slice(&closed.right[ticket]).unwrap();
            let told = answer.status == 200
                && body["ticket"] == ticket.as_str()
                && body["reason"] == "record_damaged"
                && (body["state"] == right["state"] || body["state"] == "lost");
            // Without the index nobody can know who stood in a part that can't be read.
            let is_unknown = answer.status == 404 && without_index;
            unknown += usize::from(is_unknown);
            damaged += usize::from(told);
            run.hold(is_hit && (told || is_unknown), || {
                format!("{ticket} at {place:?}: {}: {body} ({how})", answer.status)
            });
        }
        lost += unknown;
        let page = super::bench::ask(
            &server,
            &closed.token,
            "GET",
            &format!("/history/list?past={}&limit=1000", closed.month),
        );
        let page = page.unwrap().expect(200).json();
        let items = page["list"].as_array().unwrap();
        let true_items = items.iter().all(|item| {
            let known = |right: &&serde_json::Value| right["ticket"] == item["ticket"];
            let right = closed.listed.iter().find(known);
            right.is_some_and(|right| right == item)
        });
        // Nor that there was somebody, where it ends as if a job had been about to be appended.
        let ends_well = |place: &Range<u64>| (place.start..place.start + 80).contains(&end);
        let says_so = unknown == 0
            || page["damaged"].as_u64().is_some_and(|count| count > 0)
            || without_index && places.values().any(ends_well);
        run.hold(true_items && says_so, || {
            let odd = items.iter().find(|item| !closed.listed.contains(item));
            let damaged = &page["damaged"];
            format!(
                "{} items, one is {odd:?}, {unknown} not known, damaged: {damaged} ({how})",
                items.len()
            )
        });
        let missing = places.len() - items.len();
        run.hold(missing <= odd, || {
            format!("{missing} are not listed, {odd} can't be read ({how})")
        });
        run.once();
    }
    closed.no_panic(run);
    run.measure(format!(
        "{whole} answers as before, {damaged} told as damaged with the right state, {lost} of unknown jobs, told as `damaged` in the list"
    ));
}
