//! What must hold around the settings before the service starts: owners and modes.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, access};

use super::problem::{Problem, Problems};
use super::{Remote, Settings, tls_files};

/// What is wrong when this process runs as root.
pub(super) fn not_as_root(file: &Path) -> Option<Problem> {
    let write =
        "start it as the account that runs Barman, for example: sudo -u barman barmanapi serve";
    let problem = Problem::new(file, "the service does not run as root", write);
    rustix::process::geteuid().is_root().then_some(problem)
}

/// Checks files and folders: who owns them, and who else may read or write them. As root, whose
/// the store is does not matter.
pub(super) fn check_files(settings: &Settings) -> Problems {
    let mut check = Check {
        settings,
        problems: Problems::default(),
    };
    check.own_file();
    check.users();
    check.store();
    match &settings.barman.remote_host {
        None => check.command(),
        Some(remote) => {
            check.key(remote);
            check.options(remote);
        }
    }
    for problem in tls_files::check(settings) {
        check.problems.add(problem);
    }
    check.problems
}

struct Check<'a> {
    settings: &'a Settings,
    problems: Problems,
}

/// Everybody may write it.
const OTHERS_WRITE: u32 = 0o002;
/// Everybody may read it.
const OTHERS_READ: u32 = 0o004;
/// Its group or everybody may use it in some way.
const MORE_USE: u32 = 0o077;
/// Its group or everybody may write it.
const MORE_WRITE: u32 = 0o022;

impl Check<'_> {
    fn add(&mut self, file: &Path, section: &str, key: &str, wrong: &str, write: &str) {
        let problem = Problem::new(file, wrong, write).section(section);
        self.problems.add(if key.is_empty() {
            problem
        } else {
            problem.key(key)
        });
    }

    fn own_file(&mut self) {
        let file = self.settings.path.clone();
        let Ok(found) = fs::metadata(&file) else {
            return;
        };
        let secrets =
            self.settings.user.secret.is_some() || self.settings.auth_token.secret.is_some();
        if found.mode() & OTHERS_WRITE != 0 {
            let write = format!("run: chmod o-w {}", file.display());
            self.add(&file, "", "", "every account may write the file", &write);
        }
        if secrets && found.mode() & OTHERS_READ != 0 {
            let write = format!("run: chmod 640 {}", file.display());
            self.add(
                &file,
                "",
                "",
                "the file holds a secret and every account may read it",
                &write,
            );
        }
    }

    fn users(&mut self) {
        let file = self.settings.user.config_file.clone();
        if fs::metadata(&file).is_ok_and(|found| found.mode() & OTHERS_WRITE != 0) {
            let write = format!("run: chmod 600 {}", file.display());
            self.add(
                &file,
                "user",
                "config_file",
                "every account may write the file of the users",
                &write,
            );
        }
    }

    fn store(&mut self) {
        let (section, key) = ("application", "store_directory");
        let store = self.settings.application.store_directory.clone();
        let shown = store.display();
        match fs::metadata(&store) {
            Ok(found) if !found.is_dir() => {
                self.add(
                    &store,
                    section,
                    key,
                    "it is not a directory",
                    "name a directory",
                );
            }
            Ok(found) => {
                if found.mode() & MORE_WRITE != 0 {
                    let wrong = format!(
                        "other accounts may write it (mode {:o})",
                        found.mode() & 0o7777
                    );
                    self.add(
                        &store,
                        section,
                        key,
                        &wrong,
                        &format!("run: chmod 700 {shown}"),
                    );
                }
                let me = rustix::process::geteuid();
                if !me.is_root() && found.uid() != me.as_raw() {
                    let wrong = format!(
                        "it belongs to the account {} and not to this one",
                        found.uid()
                    );
                    self.add(
                        &store,
                        section,
                        key,
                        &wrong,
                        &format!("run as root: chown -R {} {shown}", me.as_raw()),
                    );
                }
            }
            Err(_) => {
                let parent = store.parent().unwrap_or(Path::new("/"));
                if access(parent, Access::WRITE_OK).is_err() {
                    let write = format!(
                        "run as root: install -d -m 700 -o {} {shown}",
                        rustix::process::geteuid().as_raw()
                    );
                    self.add(
                        &store,
                        section,
                        key,
                        "it does not exist and can't be made",
                        &write,
                    );
                }
            }
        }
    }

    /// The private key that leads to the Barman host. ssh passes over one that it can't use, and
    /// says no more than that it was not let in.
    fn key(&mut self, remote: &Remote) {
        let (section, key) = ("barman", "remote_ssh");
        let Some(identity) = &remote.identity else {
            return;
        };
        let shown = identity.display();
        let me = rustix::process::geteuid().as_raw();
        match fs::metadata(identity) {
            Err(error) => {
                let wrong = format!("the key can't be found: {error}");
                let write =
                    format!("write the path of a private key, or run: ssh-keygen -f {shown}");
                self.add(identity, section, key, &wrong, &write);
            }
            // ssh looks at the mode of a key of its own account only.
            Ok(found) if found.mode() & MORE_USE != 0 && found.uid() == me => {
                let write = format!("run: chmod 600 {shown}");
                let wrong = "other accounts may use the key, so ssh does not";
                self.add(identity, section, key, wrong, &write);
            }
            Ok(_) if access(identity, Access::READ_OK).is_err() => {
                let wrong = "this account may not read the key";
                let write = "make it the account's own, or write the path of another key";
                self.add(identity, section, key, wrong, write);
            }
            Ok(_) => {}
        }
    }

    fn options(&mut self, remote: &Remote) {
        if let Err(words) = remote.judged() {
            let wrong = format!("ssh does not take that: {words}");
            let write = "write values that man ssh_config names";
            let problem = Problem::new(&self.settings.path, &wrong, write)
                .unquoted(Some("ssh does not take its options".to_owned()));
            self.problems
                .add(problem.section("barman").key("remote_ssh"));
        }
    }

    fn command(&mut self) {
        let (section, key) = ("barman", "command");
        let command = self.settings.barman.command.clone();
        let found = match fs::metadata(&command) {
            Ok(found) => found,
            Err(error) => {
                let wrong = format!("barman can't be found: {error}");
                let write = "install Barman, or write where it is";
                let problem = Problem::new(&command, &wrong, write)
                    .section(section)
                    .key(key);
                self.problems.add(Problem {
                    is_of_host: !is_of_path(&error),
                    ..problem
                });
                return;
            }
        };
        if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
            self.add(
                &command,
                section,
                key,
                "it is no program",
                "write the path of the barman program",
            );
        }
        if open_to_all(&found) {
            let write = format!("run: chmod o-w {}", command.display());
            self.add(
                &command,
                section,
                key,
                "every account may replace the program",
                &write,
            );
        }
        // A program is as safe as the folder that it and the file behind its link lie in.
        let real = fs::canonicalize(&command).unwrap_or_else(|_| command.clone());
        let mut folders: Vec<&Path> = [&command, &real]
            .into_iter()
            .filter_map(|file| file.parent())
            .collect();
        folders.dedup();
        for folder in folders {
            if fs::metadata(folder).is_ok_and(|found| open_to_all(&found)) {
                let write = format!("run: chmod o-w {}", folder.display());
                self.add(
                    &command,
                    section,
                    key,
                    "every account may write the folder of the program",
                    &write,
                );
            }
        }
    }
}

/// Whether a path leads nowhere, which another path or another mode mends.
fn is_of_path(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as K;
    let kind = error.kind();
    let known = [
        K::NotFound,
        K::PermissionDenied,
        K::NotADirectory,
        K::InvalidInput,
    ];
    known.contains(&kind)
        || matches!(kind, K::InvalidFilename)
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// Whether every account may write it. The sticky bit of a folder keeps others' files safe.
fn open_to_all(found: &Metadata) -> bool {
    let sticky = found.is_dir() && found.mode() & 0o1000 != 0;
    found.mode() & OTHERS_WRITE != 0 && !sticky
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;
    use std::fs::Permissions;

    struct Place {
        dir: tempfile::TempDir,
        settings: Settings,
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// A place where nothing is wrong.
    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("barman"), "#!/bin/sh\n").unwrap();
        set_mode(&at("barman"), 0o755);
        fs::create_dir(at("store")).unwrap();
        set_mode(&at("store"), 0o700);
        let text = format!(
            "[user]\nconfig_file={0}/client.conf\nsecret=pepper\n[application]\nstore_directory={0}/store\n[barman]\ncommand={0}/barman\n",
            dir.path().display()
        );
        fs::write(at("x.conf"), text).unwrap();
        set_mode(&at("x.conf"), 0o640);
        fs::write(at("client.conf"), "").unwrap();
        set_mode(&at("client.conf"), 0o600);
        let settings = load(&at("x.conf")).unwrap();
        Place { dir, settings }
    }

    impl Place {
        #[track_caller]
        fn tells(&self, wanted: &str) {
            let problems = check_files(&self.settings).to_string();
            if wanted.is_empty() {
                assert_eq!(problems, "");
            } else {
                assert!(
                    problems.contains(wanted) && problems.lines().count() == 1,
                    "{problems}"
                );
            }
        }

        fn mode(&self, name: &str, mode: u32) {
            set_mode(&self.dir.path().join(name), mode);
        }
    }

    #[test]
    fn a_tidy_place_has_no_problems() {
        place().tells("");
    }

    #[test]
    fn a_file_with_a_secret_must_not_be_readable_by_everybody() {
        let place = place();
        place.mode("x.conf", 0o644);
        place.tells("holds a secret and every account may read it; run: chmod 640");
        let mut open = place.settings.clone();
        open.user.secret = None;
        assert!(check_files(&open).is_empty());
    }

    #[test]
    fn a_store_that_others_may_write_is_refused() {
        let place = place();
        for mode in [0o777, 0o770, 0o722] {
            place.mode("store", mode);
            place.tells("other accounts may write it");
        }
        place.mode("store", 0o755);
        place.tells("");
    }

    #[test]
    fn a_store_is_made_where_it_can_be() {
        let place = place();
        fs::remove_dir(place.dir.path().join("store")).unwrap();
        place.tells("");
        let mut nowhere = place.settings.clone();
        nowhere.application.store_directory = "/proc/nowhere/store".into();
        assert!(
            check_files(&nowhere)
                .to_string()
                .contains("does not exist and can't be made")
        );
    }

    #[test]
    fn a_program_that_everybody_may_replace_is_refused() {
        let place = place();
        place.mode("barman", 0o757);
        place.tells("every account may replace the program");
        place.mode("barman", 0o644);
        place.tells("it is no program");
        place.mode("barman", 0o755);
        set_mode(place.dir.path(), 0o777);
        place.tells("every account may write the folder of the program");
        set_mode(place.dir.path(), 0o700);
        fs::remove_file(place.dir.path().join("barman")).unwrap();
        place.tells("barman can't be found");
    }

    #[test]
    fn the_program_of_a_remote_host_is_not_looked_for_here() {
        let mut place = place();
        let barman = &mut place.settings.barman;
        barman.remote = true;
        barman.remote_host = Remote::parse("ssh barman@backup").ok();
        barman.command = "/opt/nowhere/barman".into();
        place.tells("");
    }

    #[test]
    fn ssh_itself_judges_the_options_to_a_remote_host() {
        let mut place = place();
        place.settings.barman.remote = true;
        for (option, words) in [
            ("Ciphers=nonsense", "nonsense"),
            ("AddressFamily=inet5", "inet5"),
            ("HostKeyAlgorithms=x25519", "x25519"),
            ("Ciphers=aes256-ctr", ""),
            ("ServerAliveInterval=60", ""),
        ] {
            let way = format!("ssh -o {option} barman@backup");
            place.settings.barman.remote_host = Remote::parse(&way).ok();
            place.tells(words);
        }
    }

    #[test]
    fn the_key_to_a_remote_host_has_to_be_there_and_private() {
        let mut place = place();
        let key = place.dir.path().join("key");
        let way = format!("ssh -i {} barman@backup", key.display());
        place.settings.barman.remote = true;
        place.settings.barman.remote_host = Remote::parse(&way).ok();
        place.tells("the key can't be found");
        fs::write(&key, "").unwrap();
        place.mode("key", 0o640);
        place.tells("other accounts may use the key");
        place.mode("key", 0o600);
        place.tells("");
    }
}
