//! A file with all that is wrong with it and with what it names, told in one run.

use std::collections::BTreeMap;
use std::path::Path;

use super::environment::{check_files, not_as_root};
use super::problem::{Problem, Problems};
use super::raw::Raw;
use super::{Settings, build, raw, read_text, text_of};

/// A configuration file that was read as far as it can be.
#[derive(Debug)]
pub struct Examined {
    settings: Option<Settings>,
    problems: Problems,
    /// The lines of the keys that were read without a problem.
    lines: Lines,
    /// Whether there is no problem with the text.
    faultless: bool,
}

/// Lines by section and key.
type Lines = BTreeMap<(String, String), usize>;

/// Reads a file and checks it and the files and folders that it names.
#[must_use]
pub fn examine(path: &Path) -> Examined {
    examine_read(path, read_text(path))
}

/// Checks bytes as [`examine`] checks those of a file, and that file's owner and mode too.
#[must_use]
pub fn examine_bytes(path: &Path, bytes: Vec<u8>) -> Examined {
    examine_read(path, text_of(path, bytes))
}

fn examine_read(path: &Path, read: Result<String, Problems>) -> Examined {
    match read {
        Ok(text) => examine_text(path, &text),
        Err(problems) => Examined {
            settings: None,
            problems,
            lines: Lines::new(),
            faultless: false,
        },
    }
}

fn examine_text(path: &Path, text: &str) -> Examined {
    let mut problems = Problems::default();
    let raw = raw::read(path, text, &mut problems);
    let settings = build::build(path, &raw, &mut problems);
    let lines = good_lines(&raw, &problems);
    let faultless = problems.is_empty();
    for problem in &check_files(&settings) {
        let named = |key: &String| (problem.section.clone().unwrap_or_default(), key.clone());
        let key = problem.key.as_ref().map(named);
        match key.map(|key| lines.get(&key).copied()) {
            // The file itself.
            None => problems.add(problem.clone()),
            Some(Some(line)) => {
                let told = |wrong: &String| {
                    if problem.file == path {
                        return wrong.clone();
                    }
                    format!("{}: {wrong}", problem.file.display())
                };
                problems.add(Problem {
                    file: path.to_owned(),
                    line: Some(line),
                    wrong: told(&problem.wrong),
                    unquoted: problem.unquoted.as_ref().map(told),
                    ..problem.clone()
                });
            }
            Some(None) if faultless => problems.add(problem.clone()),
            // What is named by default is perhaps not what was meant: a line can't be read.
            Some(None) => {}
        }
    }
    problems.sort();
    Examined {
        settings: Some(settings),
        problems,
        lines,
        faultless,
    }
}

fn good_lines(raw: &Raw, problems: &Problems) -> Lines {
    let is_wrong = |line: usize| problems.iter().any(|problem| problem.line == Some(line));
    raw.entries
        .iter()
        .filter(|entry| !entry.value.is_empty() && !is_wrong(entry.line))
        .map(|entry| ((entry.section.clone(), entry.key.clone()), entry.line))
        .collect()
}

impl Examined {
    /// All that is wrong, in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// The file of the users; `None` where a line that can't be read may have meant another one.
    #[must_use]
    pub fn users(&self) -> Option<&Path> {
        let key = ("user".to_owned(), "config_file".to_owned());
        let meant = self.faultless || self.lines.contains_key(&key);
        let settings = self.settings.as_ref().filter(|_| meant)?;
        Some(&settings.user.config_file)
    }

    /// The settings, as far as the text can be read; what is wrong has its default.
    #[must_use]
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// The line of a key that has a value and nothing wrong with it.
    #[must_use]
    pub fn line(&self, section: &str, key: &str) -> Option<usize> {
        let place = (section.to_owned(), key.to_owned());
        self.lines.get(&place).copied()
    }

    /// The settings, for the service to run with.
    ///
    /// # Errors
    /// With all that is wrong, and when this process runs as root.
    pub fn for_service(mut self) -> Result<Settings, Problems> {
        if let Some(settings) = &self.settings
            && let Some(problem) = not_as_root(&settings.path)
        {
            self.problems.add(problem);
        }
        match self.settings {
            Some(settings) if self.problems.is_empty() => Ok(settings),
            _ => Err(self.problems),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn told(dir: &Path, text: &str) -> Vec<String> {
        let path = dir.join("x.conf");
        fs::write(&path, text.replace("DIR", &dir.display().to_string())).unwrap();
        let examined = examine(&path);
        let shown = examined.problems().iter().map(ToString::to_string);
        shown
            .map(|text| text.replace(&dir.display().to_string(), "DIR"))
            .collect()
    }

    #[test]
    fn files_are_told_beside_lines_and_with_the_line_that_names_them() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("store"), "").unwrap();
        let text = "[application]\nport = x\nstore_directory = DIR/store\n[barman]\ncommand = DIR/barman\ncolor = red\n";
        let told = told(dir.path(), text);
        assert_eq!(told.len(), 4, "{told:#?}");
        assert!(told[0].starts_with("DIR/x.conf:2: [application] port:"));
        assert_eq!(
            told[1],
            "DIR/x.conf:3: [application] store_directory: DIR/store: it is not a directory; name a directory"
        );
        assert!(
            told[2]
                .starts_with("DIR/x.conf:5: [barman] command: DIR/barman: barman can't be found")
        );
        assert!(told[3].starts_with("DIR/x.conf:6: [barman] color:"));
    }

    #[test]
    fn what_a_wrong_line_may_have_named_is_not_looked_for_by_its_default() {
        let dir = tempfile::tempdir().unwrap();
        let told = told(
            dir.path(),
            "[application]\nstore_directory = store\n[barmn]\ncommand = DIR/barman\n",
        );
        assert_eq!(told.len(), 2, "{told:#?}");
        assert!(told[0].contains(":2: [application] store_directory:"));
        assert!(told[1].contains(":3: [barmn] there is no such section; write [barman]"));
    }

    #[test]
    fn a_service_gets_settings_only_when_nothing_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let barman = dir.path().join("barman");
        fs::write(&barman, "").unwrap();
        fs::set_permissions(&barman, fs::Permissions::from_mode(0o755)).unwrap();
        let good = "[application]\nstore_directory = DIR/store\n[barman]\ncommand = DIR/barman\n";
        assert_eq!(told(dir.path(), good), Vec::<String>::new());
        let as_root = rustix::process::geteuid().is_root();
        let path = dir.path().join("x.conf");
        assert_eq!(examine(&path).for_service().is_err(), as_root);
        fs::set_permissions(&barman, fs::Permissions::from_mode(0o757)).unwrap();
        assert!(examine(&path).for_service().is_err());
        assert!(examine(&dir.path().join("none")).users().is_none());
    }
}
