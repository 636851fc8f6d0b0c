//! Many clients at once, by `wrk`.

use std::process::Command;

use super::{median, spread};

/// What wrk tells of one round.
pub struct Round {
    /// Requests per second.
    pub rate: f64,
    /// Milliseconds.
    pub median: f64,
    pub p99: f64,
}

/// How long a round takes where nothing else is said.
pub const SECONDS: f64 = 4.0;

/// Requests for [`SECONDS`] over connections that stay; every answer must be a success.
pub fn ask(port: u16, target: &str, clients: u32, token: Option<&str>) -> Round {
    ask_for(SECONDS, port, target, clients, token)
}

/// The same for so many seconds.
pub fn ask_for(seconds: f64, port: u16, target: &str, clients: u32, token: Option<&str>) -> Round {
    let mut command = Command::new("wrk");
    command.args(["-t1", "--latency", "--timeout", "60s"]);
    command.args([format!("-d{seconds:.0}s"), format!("-c{clients}")]);
    if let Some(token) = token {
        command.args(["-H", &format!("Authorization: Bearer {token}")]);
    }
    let output = command
        .arg(format!("http://127.0.0.1:{port}{target}"))
        .output()
        .expect("wrk can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "{text}"
    );
    let word = |name: &str| {
        let mut words = text.lines().map(str::split_whitespace);
        words.find_map(|mut words| (words.next() == Some(name)).then(|| words.next().unwrap()))
    };
    let milliseconds = |name: &str| in_milliseconds(word(name).unwrap());
    Round {
        rate: word("Requests/sec:").unwrap().parse().unwrap(),
        median: milliseconds("50%"),
        p99: milliseconds("99%"),
    }
}

/// What wrk writes as `812.00us`, `1.20ms`, `2.03s` or `1.02m`.
fn in_milliseconds(word: &str) -> f64 {
    let at = word.find(|c: char| c.is_ascii_alphabetic()).unwrap();
    let (number, unit) = word.split_at(at);
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        unit => panic!("wrk writes a time in {unit}"),
    };
    number.parse::<f64>().unwrap() * factor
}

/// Prints the rounds of one side, and returns the median of its rates.
pub fn tell(name: &str, rounds: &[Round]) -> f64 {
    let all = |value: fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
    let rates = all(|round| round.rate);
    println!(
        "    {name:13}  median {:8.1}   ({})   p50 {:7.1} ms   p99 {:7.1} ms",
        median(rates.clone()),
        spread(&rates),
        median(all(|round| round.median)),
        median(all(|round| round.p99)),
    );
    median(rates)
}
