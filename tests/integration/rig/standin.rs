//! The scripted stand-in for Barman: what it shall do, and what it saw.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Lab;

/// A stand-in in a folder of its own.
pub struct StandIn {
    folder: PathBuf,
}

impl StandIn {
    /// A stand-in that answers every command with nothing and exit code 0.
    pub fn new() -> Self {
        let lab = Lab::get();
        let folder = lab.folder("stand-in");
        let program = folder.join("barman");
        fs::copy(lab.fact("STAND_IN"), &program).unwrap();
        lab.own(&program);
        symlink(lab.fact("HELP_DIR"), folder.join("help")).unwrap();
        let stand_in = Self { folder };
        stand_in.control(&serde_json::json!({}));
        stand_in
    }

    /// The program.
    pub fn program(&self) -> PathBuf {
        self.folder.join("barman")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says what it shall do from now on; `tests/lab/stand-in` lists the words.
    pub fn control(&self, control: &Value) {
        Lab::get().write(
            &self.folder.join("control.json"),
            &control.to_string(),
            0o644,
        );
    }

    /// Every line it has logged: starts, signals, ends.
    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("starts.jsonl")).unwrap_or_default();
        // The last line may be half there while it is written.
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The starts of real commands, `list-servers` for the server names left out.
    pub fn starts(&self) -> Vec<Value> {
        let mut log = self.log();
        log.retain(|line| line.get("start").is_some() && !asks_for_servers(line));
        log
    }

    /// The arguments of the starts, those before the command left out.
    pub fn commands(&self) -> Vec<Vec<String>> {
        let words = |start: &Value| -> Vec<String> {
            let argv = start["argv"].as_array().unwrap();
            argv.iter()
                .map(|word| word.as_str().unwrap().to_owned())
                .collect()
        };
        let starts = self.starts();
        starts
            .iter()
            .map(|start| {
                let mut words = words(start);
                // The program, `-c FILE` and `-f json` come first.
                words.remove(0);
                while words.first().is_some_and(|word| word.starts_with('-')) {
                    words.drain(..2);
                }
                words
            })
            .collect()
    }

    /// The lines logged behind the first `offset` bytes, and the offset for the next call.
    pub fn log_from(&self, offset: u64) -> (Vec<Value>, u64) {
        let bytes = fs::read(self.folder.join("starts.jsonl")).unwrap_or_default();
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let bytes = &bytes[..end.map_or(0, |end| end + 1)];
        let new = &bytes[usize::try_from(offset).unwrap()..];
        let lines = new.split(|byte| *byte == b'\n');
        let parsed = lines
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .filter(|line: &Value| line.get("start").is_none() || !asks_for_servers(line));
        (parsed.collect(), bytes.len().try_into().unwrap())
    }
}

/// Whether a start only asks for the names of the servers.
fn asks_for_servers(line: &Value) -> bool {
    let argv = line["argv"].as_array().unwrap();
    argv.len() > 3
        && argv[argv.len() - 3..]
            .iter()
            .map(|word| word.as_str().unwrap())
            .eq(["-f", "json", "list-servers"])
}

/// The arguments of a start, the program left out.
pub fn argv(start: &Value) -> Vec<String> {
    let words = start["argv"].as_array().unwrap().iter().skip(1);
    words
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

impl StandIn {
    /// Gives it help texts of its own and returns their folder; they begin as those of the lab.
    pub fn own_help(&self) -> PathBuf {
        let lab = Lab::get();
        let folder = self.folder.join("help");
        let fresh = self.folder.join("help.new");
        fs::create_dir(&fresh).unwrap();
        for entry in fs::read_dir(lab.fact("HELP_DIR")).unwrap().flatten() {
            fs::copy(entry.path(), fresh.join(entry.file_name())).unwrap();
        }
        fs::remove_file(&folder).unwrap();
        fs::rename(&fresh, &folder).unwrap();
        folder
    }

    /// How often it was asked for the overview of its help.
    pub fn overviews(&self) -> usize {
        let text = fs::read_to_string(self.folder.join("helps.jsonl")).unwrap_or_default();
        let lines = text
            .lines()
            .filter(|line| line.contains("\"start\": \"--help\""));
        lines.count()
    }
}
