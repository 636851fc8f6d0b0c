//! Files of a Barman host that is reached over SSH.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::frame::fields;
use super::request::Wanted;
use super::{Link, LinkError};
use crate::runner::Ending;
use crate::runner::files::{
    ALL, Access, Change, Changed, Contents, Expected, FILE, FilesError, How, LOCK_WAIT, NAMES,
    NEW_MODE, Outcome, SAID, Trial, Tried,
};

/// How long the host may take, besides what is waited for there.
const LIMIT: Duration = Duration::from_secs(60);

/// Bytes of an answer besides those of files and outputs.
const BESIDES: usize = 1 << 20;

/// Bytes of a path, with what stands before it in an answer.
const PATH: usize = 4096 + 128;

/// Bytes of a file's name, which no file system exceeds.
const NAME: usize = 255;

impl Link {
    pub(in crate::runner) fn read_files(
        &self,
        paths: &[PathBuf],
    ) -> Result<Vec<Option<Contents>>, FilesError> {
        let mut words: Vec<&[u8]> = vec![b"read"];
        words.extend(paths.iter().map(|path| path.as_os_str().as_bytes()));
        let besides = BESIDES + paths.len().saturating_mul(PATH);
        let answer = self.about_files(Path::new(""), &words, ALL + besides, LIMIT)?;
        let mut fields = answer.fields()?;
        let mut found = Vec::new();
        for _ in paths {
            found.push(match fields.next() {
                Some(b"absent") => None,
                Some(b"there") => Some(whole(fields.contents())?),
                _ => return whole(None),
            });
        }
        whole(fields.is_empty().then_some(found))
    }

    pub(in crate::runner) fn list_files(&self, folder: &Path) -> Result<Vec<OsString>, FilesError> {
        let words = [b"list", folder.as_os_str().as_bytes()];
        let longest = BESIDES + NAMES * (NAME + 8);
        let answer = self.about_files(Path::new(""), &words, longest, LIMIT)?;
        let mut names = Vec::new();
        let mut fields = answer.fields()?;
        while let Some(name) = fields.next() {
            let is_name = !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/');
            names.push(whole(is_name.then(|| OsString::from_vec(name.to_vec())))?);
        }
        Ok(names)
    }

    pub(in crate::runner) fn replace_files(
        &self,
        lock: Option<&Path>,
        changes: &[Change],
    ) -> Result<Vec<Changed>, FilesError> {
        let facts: Vec<_> = changes
            .iter()
            .map(|change| {
                let expected = match change.expected {
                    None => String::new(),
                    Some(Expected::Absent) => "absent".to_owned(),
                    Some(Expected::Digest(digest)) => hexadecimal(&digest),
                };
                (expected, change.mode.unwrap_or(NEW_MODE).to_string())
            })
            .collect();
        let lock = lock.map_or(OsStr::new(""), Path::as_os_str);
        let mut words: Vec<&[u8]> = vec![b"replace", lock.as_bytes()];
        for (change, (expected, mode)) in changes.iter().zip(&facts) {
            words.push(change.path.as_os_str().as_bytes());
            words.push(expected.as_bytes());
            words.push(change.bytes.as_ref().map_or(b"remove", |_| b"put"));
            words.push(change.bytes.as_deref().unwrap_or_default());
            words.push(mode.as_bytes());
        }
        let longest = BESIDES + changes.len().saturating_mul(PATH);
        let answer = self.about_files(Path::new(""), &words, longest, LIMIT + LOCK_WAIT)?;
        let mut fields = answer.fields()?;
        let made = changes.iter().map(|_| fields.changed());
        let made = made.collect::<Option<Vec<_>>>();
        whole(made.filter(|_| fields.is_empty()))
    }

    pub(in crate::runner) fn try_out(
        &self,
        trial: &Trial,
        environment: &[(OsString, OsString)],
    ) -> Result<Outcome, FilesError> {
        let number = |count: usize| count.to_string();
        let limit = trial.limit.as_millis().to_string();
        let counts = [number(trial.files.len() * 2), number(environment.len() * 2)];
        let arguments: Vec<_> = trial
            .commands
            .iter()
            .map(|command| number(command.arguments.len()))
            .collect();
        let back = trial.read_back.as_deref().unwrap_or(Path::new(""));
        let [files, variables] = &counts;
        let mut words: Vec<&[u8]> = vec![
            b"try",
            trial.placeholder.as_bytes(),
            limit.as_bytes(),
            back.as_os_str().as_bytes(),
            files.as_bytes(),
        ];
        for (name, bytes) in &trial.files {
            words.extend([name.as_os_str().as_bytes(), bytes]);
        }
        words.push(variables.as_bytes());
        for (key, value) in environment {
            words.extend([key.as_bytes(), value.as_bytes()]);
        }
        for (command, count) in trial.commands.iter().zip(&arguments) {
            words.extend([command.program.as_os_str().as_bytes(), count.as_bytes()]);
            words.extend(command.arguments.iter().map(String::as_bytes));
        }
        let program = trial.commands.first().map(|command| &command.program);
        let program = program.map_or(Path::new(""), PathBuf::as_path);
        let longest = BESIDES + SAID * (2 * trial.commands.len() + 1);
        let answer = self.about_files(program, &words, longest, LIMIT + trial.limit)?;
        whole(answer.fields()?.outcome())
    }

    fn about_files(
        &self,
        program: &Path,
        words: &[&[u8]],
        longest: usize,
        limit: Duration,
    ) -> Result<Answer, FilesError> {
        let text = self.ask_for_text(program, Wanted::Files(words), longest, limit)?;
        Ok(Answer(text))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// What is not `None`, or the error of a host that answers something else.
fn whole<T>(found: Option<T>) -> Result<T, FilesError> {
    found.ok_or_else(|| LinkError::protocol("an answer about files can't be read").into())
}

/// The text of an answer: `ok` and what was asked for, or `no` and why not.
struct Answer(Vec<u8>);

impl Answer {
    fn fields(&self) -> Result<Fields<'_>, FilesError> {
        let mut all = whole(fields(&self.0))?;
        all.reverse();
        let mut fields = Fields(all);
        match fields.next() {
            Some(b"ok") => Ok(fields),
            Some(b"no") => Err(whole(fields.problem())?),
            _ => whole(None),
        }
    }
}

/// The fields that are left, the next one at the end.
struct Fields<'a>(Vec<&'a [u8]>);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.pop()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn number<T: std::str::FromStr>(&mut self) -> Option<T> {
        std::str::from_utf8(self.next()?).ok()?.parse().ok()
    }

    fn path(&mut self) -> Option<PathBuf> {
        Some(PathBuf::from(OsString::from_vec(self.next()?.to_vec())))
    }

    fn words(&mut self) -> Option<String> {
        Some(super::error::tail(self.next()?))
    }

    fn contents(&mut self) -> Option<Contents> {
        Some(Contents {
            path: self.path().filter(|path| path.is_absolute())?,
            mode: self.number()?,
            uid: self.number()?,
            gid: self.number()?,
            access: match self.next()? {
                b"replace" => Access::Replace,
                b"write" => Access::InPlace,
                b"read" => Access::Read,
                _ => return None,
            },
            bytes: self.next().filter(|bytes| bytes.len() <= FILE)?.to_vec(),
        })
    }

    fn changed(&mut self) -> Option<Changed> {
        let how = match self.next()? {
            b"created" => How::Created,
            b"replaced" => How::Replaced,
            b"written" => How::Written,
            b"removed" => How::Removed,
            _ => return None,
        };
        let path = self.path().filter(|path| path.is_absolute())?;
        Some(Changed { path, how })
    }

    fn outcome(&mut self) -> Option<Outcome> {
        let mut tried = Vec::new();
        let mut file = None;
        while let Some(word) = self.next() {
            match word {
                b"command" if file.is_none() => tried.push(self.tried()?),
                b"file" if file.is_none() => {
                    file = Some(self.next().filter(|bytes| bytes.len() <= SAID)?.to_vec());
                }
                _ => return None,
            }
        }
        Some(Outcome { tried, file })
    }

    fn tried(&mut self) -> Option<Tried> {
        let how = std::str::from_utf8(self.next()?).ok()?;
        let ending = match how.split_once(' ')? {
            ("exit", code) => Ending::Exited(code.parse().ok()?),
            ("signal", signal) => Ending::Signalled(signal.parse().ok()?),
            _ => return None,
        };
        let mut said = || self.next();
        let (stopped, cut, stdout, stderr) = (said()?, said()?, said()?, said()?);
        Some(Tried {
            ending,
            stopped: stopped == b"1",
            cut: cut == b"1",
            stdout: stdout.to_vec(),
            stderr: stderr.to_vec(),
        })
    }

    /// Why it could not be done.
    fn problem(&mut self) -> Option<FilesError> {
        let word = self.next()?;
        if word == b"partly" {
            let done = self.number()?;
            let error = Box::new(self.problem()?);
            return Some(FilesError::Partly { done, error });
        }
        let path = self.path()?;
        Some(match word {
            b"io" => match self.number()? {
                0 => FilesError::io(&path, io::Error::other("the host does not say why")),
                errno => FilesError::io(&path, io::Error::from_raw_os_error(errno)),
            },
            b"file" => FilesError::NotAFile { path },
            b"large" => FilesError::TooLarge {
                path,
                limit: self.number()?,
            },
            b"many" => FilesError::TooMany { path, limit: NAMES },
            b"stale" => FilesError::Stale { path },
            b"locked" => FilesError::Locked {
                path,
                holder: self.number(),
            },
            b"invalid" => FilesError::invalid(&path, &self.words()?),
            b"start" => FilesError::NotStarted {
                program: path,
                reason: self.words()?,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(words: &[&str]) -> Answer {
        let text = words.iter().map(|word| format!("{}:{word}", word.len()));
        Answer(text.collect::<String>().into_bytes())
    }

    #[test]
    fn why_it_could_not_be_done_is_told() {
        for (words, wanted) in [
            (&["io", "/x", "28"][..], "NoRoom"),
            (&["io", "/x", "122"], "NoRoom"),
            (&["io", "/x", "0"], "Io"),
            (&["io", "/x", "2"], "NotFound"),
            (
                &["locked", "/x", "77"],
                "Locked { path: \"/x\", holder: Some(77) }",
            ),
            (
                &["locked", "/x", ""],
                "Locked { path: \"/x\", holder: None }",
            ),
            (
                &["partly", "2", "io", "/x", "30"],
                "Partly { done: 2, error: ReadOnly",
            ),
            (&["odd", "/x"], "Link(Protocol"),
            (&["io"], "Link(Protocol"),
        ] {
            let error = answer(&[&["no"], words].concat()).fields().map(|_| ());
            let error = format!("{:?}", error.unwrap_err());
            assert!(error.starts_with(wanted), "{words:?}: {error}");
        }
    }

    #[test]
    fn an_answer_that_is_none_of_ours_is_refused() {
        for words in [
            &["ok", "command", "exit 0", "0", "0", "out"][..],
            &["ok", "command", "exited", "0", "0", "", ""],
            &["ok", "file"],
            &["ok", "odd"],
        ] {
            assert_eq!(answer(words).fields().unwrap().outcome(), None, "{words:?}");
        }
        let relative = ["there", "x", "0", "0", "0", "read", ""];
        let answer = answer(&[&["ok"], &relative[..]].concat());
        let mut fields = answer.fields().unwrap();
        fields.next();
        assert_eq!(fields.contents(), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let all = |answer: &Answer| answer.fields().map(|mut fields| {
                (fields.outcome(), fields.contents(), fields.changed())
            });
            drop(all(&Answer(bytes.clone())));
            drop(all(&Answer([b"2:no".to_vec(), bytes].concat())));
        }
    }
}
