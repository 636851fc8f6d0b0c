//! What the README shows is what happens: its transcript is run again and compared.

use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Two demos at once would take one port.
static ONE: Mutex<()> = Mutex::new(());

#[track_caller]
fn check(options: &[&str]) {
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(format!("{root}/tests/lab/demo.sh"))
        .args(["--check", &format!("{root}/README.md")])
        .args(["--binary", env!("CARGO_BIN_EXE_barmanapi")])
        .args(options)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
}

#[test]
fn the_transcript_of_the_readme_is_what_the_demo_shows() {
    check(&[]);
}

#[test]
fn the_transcript_of_the_readme_is_what_the_demo_shows_over_ssh() {
    check(&["--remote"]);
}
