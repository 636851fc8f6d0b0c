//! The `barmanapi` program.

use std::process::ExitCode;

use barmanapi::cli;
use barmanapi::jobs::supervise;
use barmanapi::runner::launch;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // The two duties that a job has our program take on; neither is for people.
    match arguments.next() {
        Some(word) if word == launch::WORD => launch::run(arguments),
        Some(word) if word == supervise::WORD => supervise::run(arguments),
        _ => cli::run(),
    }
}
