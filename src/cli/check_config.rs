//! `barmanapi check-config`: tells everything that is wrong with the configuration.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::settings::{Problems, examine};

/// Checks a configuration file and what it names. Problems go to standard error, one line each
/// with file and line; exit code 1 tells that there are some.
#[must_use]
pub(super) fn run(path: &Path) -> ExitCode {
    let problems = check(path);
    // Where nobody reads the answer, the exit code still tells it.
    if problems.is_empty() {
        drop(writeln!(io::stdout(), "{}: OK", path.display()));
        ExitCode::SUCCESS
    } else {
        drop(writeln!(io::stderr(), "{problems}"));
        ExitCode::FAILURE
    }
}

/// Everything that is wrong with a file, or, when it can be read, with what it names.
fn check(path: &Path) -> Problems {
    examine(path).problems().clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn problems_of_the_text_come_before_those_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        let command = dir.path().join("barman");
        fs::write(&command, "").unwrap();
        fs::set_permissions(&command, fs::Permissions::from_mode(0o777)).unwrap();
        let text = format!(
            "[application]\nstore_directory = {0}/store\n[barman]\ncommand = {0}/barman\n",
            dir.path().display()
        );
        fs::write(&path, format!("{text}color = red\n")).unwrap();
        assert!(
            check(&path)
                .to_string()
                .contains("x.conf:5: [barman] color: there is no such key")
        );
        fs::write(&path, &text).unwrap();
        assert!(
            check(&path)
                .to_string()
                .contains("every account may replace the program")
        );
        fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(check(&path).is_empty());
        assert_eq!(run(&path), ExitCode::SUCCESS);
    }
}
