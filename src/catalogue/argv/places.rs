//! Where a restore, an export and an import may go.
//!
//! A path is compared canonically with the directories that the configuration allows: on the
//! Barman host with symbolic links resolved, on a host beyond it by its text alone, since nothing
//! there can be asked before the command runs.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::ArgvError;
use super::resolve::{Here, Resolve, ResolveError};
use crate::names::CommandName;

/// What the configuration allows beyond the help text.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The rule of restore targets is switched off.
    pub any_target: bool,
    /// The restore targets.
    pub targets: Vec<Target>,
    /// Where `export-backup` writes and `import-backup` reads; `None` = nowhere.
    pub exchange_directory: Option<PathBuf>,
    /// Commands that are off by themselves and allowed here, by any of their names.
    pub allow_commands: Vec<CommandName>,
    /// Keys of Barman's configuration that may be set although they run programs, name paths or hosts.
    pub unlock: Vec<String>,
    /// Who knows where paths of the Barman host lead, when that is another host than this one.
    pub elsewhere: Option<Arc<dyn Resolve>>,
}

/// One `[target:NAME]`.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The exact command that reaches it; empty = the Barman host itself.
    pub ssh_command: String,
    /// The directories that a restore may go to, or into.
    pub directories: Vec<PathBuf>,
}

/// Directories of one host that paths may go into.
#[derive(Debug)]
pub(super) struct Roots<'a> {
    /// No rule: any path is inside.
    any: bool,
    directories: Vec<&'a Path>,
    /// Who knows where paths of the host lead; `None`: nobody can be asked, so texts are compared.
    resolver: Option<&'a dyn Resolve>,
    /// What to write where, for the error of a path outside.
    advice: &'static str,
}

/// Which host a restore goes to, and where on it.
#[derive(Debug)]
pub(super) struct Destination<'a> {
    /// What reaches the host; empty = the Barman host itself.
    pub(super) ssh_command: &'a str,
    /// Where on it.
    pub(super) roots: Roots<'a>,
}

/// What a person has to write so that restores are possible.
const TARGET_ADVICE: &str = "a restore goes only where the configuration of barmanapi lets it: \
    write a section [target:NAME] with ssh_command (the exact text; empty for the Barman host) \
    and directories (comma-separated)";

/// What a person has to write so that exports and imports are possible.
const EXCHANGE_ADVICE: &str =
    "set [barman] exchange_directory in the configuration of barmanapi and use a path inside it";

impl Places {
    /// Finds the host of a restore.
    ///
    /// # Errors
    /// When the named target is not configured, or the command is that of no target.
    pub(super) fn destination<'a>(
        &'a self,
        target: Option<&str>,
        ssh_command: Option<&'a str>,
    ) -> Result<Destination<'a>, ArgvError> {
        let chosen = |target: &&Target| target.ssh_command == ssh_command.unwrap_or_default();
        let targets: Vec<&Target> = match target {
            Some(name) => self
                .targets
                .iter()
                .filter(|target| target.name == name)
                .collect(),
            None => self.targets.iter().filter(chosen).collect(),
        };
        let forbidden = |name: &str, reason: String| {
            Err(ArgvError::TargetNotAllowed {
                name: name.to_owned(),
                reason,
            })
        };
        if let Some(name) = target {
            let Some(found) = targets.first() else {
                return forbidden(
                    "target",
                    format!("no section [target:{name}] is configured; {TARGET_ADVICE}"),
                );
            };
            return Ok(Destination {
                ssh_command: &found.ssh_command,
                roots: self.roots(&targets),
            });
        }
        let ssh_command = ssh_command.unwrap_or_default();
        if !self.any_target && targets.is_empty() {
            return if ssh_command.is_empty() {
                forbidden(
                    "destination_directory",
                    format!("no target on the Barman host is configured; {TARGET_ADVICE}"),
                )
            } else {
                forbidden(
                    "remote_ssh_command",
                    format!("it is not the ssh_command of a configured target; {TARGET_ADVICE}"),
                )
            };
        }
        if targets.is_empty()
            && !ssh_command.is_empty()
            && !super::kinds::is_plain_command(ssh_command)
        {
            return Err(ArgvError::value(
                "remote_ssh_command",
                ssh_command,
                "a command of letters, digits, spaces and '@%+=:,./_-', since a shell reads it",
            ));
        }
        Ok(Destination {
            ssh_command,
            roots: Roots {
                resolver: self.resolver(!ssh_command.is_empty()),
                ..self.roots(&targets)
            },
        })
    }

    fn roots<'a>(&'a self, targets: &[&'a Target]) -> Roots<'a> {
        Roots {
            any: self.any_target,
            directories: targets
                .iter()
                .flat_map(|target| target.directories.iter().map(PathBuf::as_path))
                .collect(),
            resolver: self.resolver(targets.iter().any(|target| !target.ssh_command.is_empty())),
            advice: TARGET_ADVICE,
        }
    }

    /// Who knows where paths lead on the Barman host; nobody is asked about hosts beyond it.
    fn resolver(&self, beyond: bool) -> Option<&dyn Resolve> {
        let barmans = self.elsewhere.as_deref().unwrap_or(&Here);
        (!beyond).then_some(barmans)
    }

    /// The directories of all targets on the Barman host.
    pub(super) fn local_roots(&self) -> Roots<'_> {
        let local: Vec<&Target> = self
            .targets
            .iter()
            .filter(|target| target.ssh_command.is_empty())
            .collect();
        self.roots(&local)
    }

    /// The exchange directory.
    pub(super) fn exchange_roots(&self) -> Roots<'_> {
        Roots {
            any: false,
            directories: self
                .exchange_directory
                .iter()
                .map(PathBuf::as_path)
                .collect(),
            resolver: self.resolver(false),
            advice: EXCHANGE_ADVICE,
        }
    }
}

impl Roots<'_> {
    /// Checks that a path, already in its shortest form, lies in one of the directories, or is
    /// one (`strictly`: lies below it). The path, with its links resolved where that is asked.
    ///
    /// # Errors
    /// When it does not, or when that cannot be found out.
    pub(super) fn hold(
        &self,
        name: &str,
        path: &str,
        strictly: bool,
    ) -> Result<PathBuf, ArgvError> {
        let path = Path::new(path);
        if self.any {
            let known = self.place_of(path);
            return Ok(known.unwrap_or_else(|_| path.components().collect()));
        }
        let forbidden = |reason: String| ArgvError::TargetNotAllowed {
            name: name.to_owned(),
            reason,
        };
        let resolved = self.place_of(path).map_err(|error| match error {
            ResolveError::Path(error) => {
                forbidden(format!("where it leads cannot be told: {}", error.kind()))
            }
            ResolveError::Host { words, reason } => ArgvError::HostAway { words, reason },
        })?;
        for directory in &self.directories {
            if !is_plain(directory) {
                continue;
            }
            match self.place_of(directory) {
                Ok(directory) => {
                    if resolved.starts_with(&directory) && !(strictly && resolved == directory) {
                        return Ok(resolved);
                    }
                }
                // A directory that leads nowhere holds nothing.
                Err(ResolveError::Path(_)) => {}
                Err(ResolveError::Host { words, reason }) => {
                    return Err(ArgvError::HostAway { words, reason });
                }
            }
        }
        Err(forbidden(format!(
            "{} lies in no allowed directory; {}",
            path.display(),
            self.advice
        )))
    }

    /// The path with its symbolic links resolved where the host can be asked.
    fn place_of(&self, path: &Path) -> Result<PathBuf, ResolveError> {
        match self.resolver {
            Some(resolver) => resolver.resolve(path),
            None => Ok(path.components().collect()),
        }
    }
}

/// Whether a directory of the configuration is absolute and has no `..` in it.
pub(super) fn is_plain(directory: &Path) -> bool {
    directory.is_absolute()
        && directory
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn roots<'a>(directories: &'a [PathBuf], resolver: Option<&'a dyn Resolve>) -> Roots<'a> {
        Roots {
            any: false,
            directories: directories.iter().map(PathBuf::as_path).collect(),
            resolver,
            advice: "",
        }
    }

    fn holds(roots: &Roots<'_>, path: &Path) -> bool {
        roots.hold("p", path.to_str().unwrap(), false).is_ok()
    }

    #[test]
    fn links_are_followed_on_the_barman_host() {
        let root = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(root.path()).unwrap();
        let (inside, outside) = (root.join("in"), root.join("out"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(inside.join("file"), "").unwrap();
        symlink(&outside, inside.join("leads-out")).unwrap();
        symlink(root.join("nowhere"), inside.join("dangling")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();
        symlink(&inside, outside.join("leads-in")).unwrap();
        let allowed = [inside.clone()];
        let roots = roots(&allowed, Some(&Here));
        for path in ["", "a", "a/b/c", "file"] {
            assert!(holds(&roots, &inside.join(path)), "{path}");
        }
        for path in [
            "leads-out",
            "leads-out/x",
            "dangling",
            "dangling/x",
            "loop/x",
            "file/x",
        ] {
            assert!(!holds(&roots, &inside.join(path)), "{path}");
        }
        assert!(!holds(&roots, &outside));
        assert!(
            !holds(&roots, &root.join("inside")),
            "a name that begins like the directory"
        );
        assert!(holds(&roots, &outside.join("leads-in/x")));
    }

    #[test]
    fn a_directory_of_the_configuration_may_be_a_link_or_not_exist_yet() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().join("real");
        std::fs::create_dir(&real).unwrap();
        symlink(&real, root.path().join("link")).unwrap();
        let allowed = [root.path().join("link"), root.path().join("later")];
        let roots = roots(&allowed, Some(&Here));
        assert!(holds(&roots, &real.join("x")));
        assert!(holds(&roots, &root.path().join("link/x")));
        assert!(holds(&roots, &root.path().join("later/x")));
        assert!(!holds(&roots, &root.path().join("x")));
    }

    #[test]
    fn another_host_is_compared_by_text() {
        let allowed = [
            PathBuf::from("/srv/r/"),
            PathBuf::from("/data/../etc"),
            PathBuf::from("x"),
        ];
        let roots = roots(&allowed, None);
        assert!(holds(&roots, Path::new("/srv/r")));
        assert!(holds(&roots, Path::new("/srv/r/x")));
        for path in ["/srv", "/srv/rx", "/etc", "/etc/x", "/data", "/x"] {
            assert!(!holds(&roots, Path::new(path)), "{path}");
        }
        assert!(roots.hold("p", "/srv/r", true).is_err());
        assert!(roots.hold("p", "/srv/r/x", true).is_ok());
    }
}
