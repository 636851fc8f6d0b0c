//! The Python process that reads the files, and our own reading in the words of its answers.

use std::io::{BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use barmanapi::inifile::{DEFAULT, Document, Fault, IniError, InterpolationError, is_settable};

/// Where texts are sent to.
pub(crate) struct Questions(BufWriter<ChildStdin>);

/// Where answers come from.
pub(crate) struct Answers {
    from: BufReader<ChildStdout>,
    child: Child,
}

/// The process.
pub(crate) struct Python;

impl Python {
    /// Starts the Python that runs the lab's Barman, or the system's without a lab.
    pub(crate) fn start() -> (Questions, Answers) {
        let lab = std::env::var("LAB_ENV")
            .ok()
            .and_then(|path| std::fs::read_to_string(path).ok());
        let python = lab.and_then(|facts| {
            let fact = facts
                .lines()
                .find_map(|line| line.strip_prefix("BARMAN_PYTHON="));
            fact.map(|path| path.trim_matches('\'').to_owned())
        });
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/integration/config_parser/oracle.py"
        );
        let mut child = Command::new(python.as_deref().unwrap_or("python3"))
            .arg(script)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = Questions(BufWriter::new(child.stdin.take().unwrap()));
        let from = BufReader::new(child.stdout.take().unwrap());
        (questions, Answers { from, child })
    }
}

impl Questions {
    pub(crate) fn ask(&mut self, text: &[u8]) -> std::io::Result<()> {
        self.0.write_all(&length(text))?;
        self.0.write_all(text)?;
        self.0.flush()
    }
}

impl Answers {
    pub(crate) fn answer(&mut self) -> Vec<u8> {
        let mut head = [0; 4];
        self.from.read_exact(&mut head).expect("Python answers");
        let mut answer = vec![0; u32::from_be_bytes(head) as usize];
        self.from.read_exact(&mut answer).unwrap();
        answer
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn length(field: &[u8]) -> [u8; 4] {
    u32::try_from(field.len()).unwrap().to_be_bytes()
}

fn add(answer: &mut Vec<u8>, field: &str) {
    answer.extend(length(field.as_bytes()));
    answer.extend(field.as_bytes());
}

/// Our reading as `oracle.py` would tell it.
pub(crate) fn our_answer(document: &Result<Document, IniError>) -> Vec<u8> {
    let mut answer = Vec::new();
    let document = match document {
        Ok(document) => document,
        Err(error) => {
            let kind = match error.fault {
                Fault::NoSection | Fault::Mark => "MissingSectionHeaderError",
                Fault::Unreadable | Fault::NoKey => "ParsingError",
                Fault::NotUtf8 => "UnicodeDecodeError",
            };
            for field in ["refused", kind, &error.line.to_string()] {
                add(&mut answer, field);
            }
            return answer;
        }
    };
    add(&mut answer, "read");
    let named = document.sections().filter(|section| *section != DEFAULT);
    for section in [DEFAULT].into_iter().chain(named) {
        add(&mut answer, section);
        let settings: Vec<_> = document.settings(section).collect();
        add(&mut answer, &settings.len().to_string());
        for setting in settings {
            add(&mut answer, setting.key);
            add(&mut answer, setting.raw);
            let value = match document.interpolated(section, setting.key) {
                Ok(Some(value)) if is_settable(&value) => format!("={value}"),
                Ok(Some(value)) => format!("!{value}"),
                Ok(None) => "no such key".to_owned(),
                Err(InterpolationError::Missing(name)) => format!("missing {name}"),
                Err(InterpolationError::Syntax) => "syntax".to_owned(),
                Err(InterpolationError::Depth) => "depth".to_owned(),
                Err(InterpolationError::TooLong) => "too long".to_owned(),
            };
            add(&mut answer, &value);
        }
    }
    answer
}

/// An answer for the eye.
pub(crate) fn show(mut answer: &[u8]) -> String {
    let mut fields = Vec::new();
    while let Some((head, rest)) = answer.split_first_chunk::<4>() {
        let (field, rest) = rest.split_at(u32::from_be_bytes(*head) as usize);
        fields.push(format!("{:?}", String::from_utf8_lossy(field)));
        answer = rest;
    }
    fields.join(" ")
}
