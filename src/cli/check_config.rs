//! `barmanapi check-config`: tells everything that is wrong with the configuration.

mod meaning;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::serve::COMMANDS_FILE;
use crate::auth::check_users;
use crate::catalogue::traits::Traits;
use crate::settings::{Problem, Problems, examine, warnings};

/// Checks a configuration file, what it names, the users file and the facts about commands.
/// Problems go to standard error, one line each with file and line; exit code 1 tells that there
/// are some. What may be meant so, or is right today and will not stay so, is a warning and changes
/// nothing of that code.
#[must_use]
pub(super) fn run(path: &Path) -> ExitCode {
    let problems = check(path, Path::new(COMMANDS_FILE));
    // Where nobody reads the answer, the exit code still tells it.
    if !problems.is_empty() {
        drop(writeln!(io::stderr(), "{problems}"));
    }
    if problems.iter().all(|problem| problem.is_warning) {
        drop(writeln!(io::stdout(), "{}: OK", path.display()));
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn check(path: &Path, commands: &Path) -> Problems {
    let examined = examine(path);
    let (traits, faults) = read_commands(commands);
    let mut problems = examined.problems().clone();
    for problem in &meaning::check(path, &examined, &traits) {
        problems.add(problem.clone());
    }
    for warning in examined.settings().map(warnings).unwrap_or_default() {
        let line = examined.line("tls", warning.key.as_deref().unwrap_or_default());
        problems.add(Problem {
            file: path.to_owned(),
            line,
            wrong: format!("{}: {}", warning.file.display(), warning.wrong),
            ..warning
        });
    }
    problems.sort();
    let users = examined.users().map(check_users).unwrap_or_default();
    for problem in users.iter().chain(&faults) {
        problems.add(problem.clone());
    }
    problems
}

/// What is known of commands, and what is wrong with the file that says more. One that can't be
/// read stops the start. Its first problem hides the others.
fn read_commands(path: &Path) -> (Traits, Option<Problem>) {
    let problem = |line, wrong, write: &str| {
        let problem = Problem {
            file: path.to_owned(),
            line,
            wrong,
            write: write.to_owned(),
            ..Problem::default()
        };
        (Traits::builtin(), Some(problem))
    };
    match std::fs::read_to_string(path) {
        Ok(text) => match Traits::with_override(&text) {
            Ok(traits) => (traits, None),
            Err(error) => {
                let write = "see \"commands.conf\" in API.md for what it may say";
                problem(Some(error.line), error.problem, write)
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Traits::builtin(), None),
        Err(error) => {
            let wrong = format!("it can't be read: {error}");
            problem(None, wrong, "mend it, or remove it")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn all_files_are_told_of_in_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (path, command, commands) = (at("x.conf"), at("barman"), at("commands.conf"));
        fs::write(&command, "").unwrap();
        let mode = |mode| fs::set_permissions(&command, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o777);
        let text = format!(
            "[user]\nconfig_file = {0}/client.conf\n[application]\nstore_directory = {0}/store\n[barman]\ncommand = {0}/barman\n",
            dir.path().display()
        );
        fs::write(&path, format!("{text}color = red\n")).unwrap();
        fs::write(at("client.conf"), "[ada]\naccess = []\n").unwrap();
        fs::write(&commands, "[backup]\nfast = true\n").unwrap();
        let told = check(&path, &commands).to_string();
        for (line, words) in told.lines().zip([
            "x.conf:6: [barman] command: ",
            "x.conf:7: [barman] color: there is no such key",
            "client.conf:1: [ada] password: it has no password",
            "commands.conf:2: ",
        ]) {
            assert!(line.contains(words), "{line} {words}");
        }
        assert_eq!(told.lines().count(), 4, "{told}");
        assert_eq!(run(&path), ExitCode::FAILURE);

        fs::write(&path, &text).unwrap();
        fs::remove_file(at("client.conf")).unwrap();
        fs::remove_file(&commands).unwrap();
        mode(0o755);
        assert!(check(&path, &commands).is_empty());
        assert_eq!(run(&path), ExitCode::SUCCESS);
    }

    #[test]
    fn the_users_are_not_looked_for_where_a_wrong_line_may_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        fs::write(&path, "[user]\nconfig_file = client.conf\n").unwrap();
        assert_eq!(examine(&path).users(), None);
    }
}
