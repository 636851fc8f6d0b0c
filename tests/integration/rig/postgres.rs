//! PostgreSQL: the lab's, and one that starts from what was restored.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Lab;

/// A program of PostgreSQL, as the lab's account.
fn program(name: &str) -> Command {
    let lab = Lab::get();
    lab.command(Path::new(lab.fact("PG_BIN")).join(name))
}

/// What a cluster answers, without its last line end.
#[track_caller]
fn ask(socket: &str, port: &str, sql: &str) -> Result<String, String> {
    let lab = Lab::get();
    let mut psql = program("psql");
    psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", socket, "-p", port]);
    psql.args(["-U", lab.fact("PGUSER"), "-d", lab.fact("PGDATABASE")]);
    let output = psql.args(["-c", sql]).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// What the lab's PostgreSQL answers.
#[track_caller]
pub fn ask_lab(sql: &str) -> String {
    let lab = Lab::get();
    ask(lab.fact("PGHOST"), lab.fact("PGPORT"), sql).unwrap()
}

/// A PostgreSQL that runs, reached through a socket alone.
struct Running<'a> {
    directory: &'a Path,
    socket: PathBuf,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut stop = program("pg_ctl");
        stop.arg("-D").arg(self.directory);
        drop(stop.args(["-m", "immediate", "-w", "stop"]).output());
        drop(fs::remove_dir_all(&self.socket));
    }
}

/// Starts PostgreSQL in a restored directory, with the settings that it found there, and tells what
/// it answers.
#[track_caller]
pub fn ask_restored(directory: &Path, sql: &str) -> String {
    // The path of a socket has little room.
    let random = getrandom::u64().unwrap();
    let socket = PathBuf::from(format!("/tmp/r-{random:016x}"));
    fs::create_dir(&socket).unwrap();
    Lab::get().own(&socket);
    let at = socket.display().to_string();
    let running = Running { directory, socket };
    let log = directory.join("restored.log");
    // Of its settings only those that would meet the cluster it came from are others.
    let options = format!(
        "-c listen_addresses='' -c unix_socket_directories='{at}' -c port=5432 -c archive_mode=off"
    );
    let mut start = program("pg_ctl");
    start.arg("-D").arg(directory).arg("-l").arg(&log);
    start.args(["-w", "-t", "60", "-o", &options, "start"]);
    let started = start.stdout(Stdio::null()).status().unwrap();
    let answer = ask(&at, "5432", sql);
    drop(running);
    let said = fs::read_to_string(&log).unwrap_or_default();
    assert!(started.success(), "{said}");
    answer.unwrap_or_else(|error| panic!("{error}\n{said}"))
}
