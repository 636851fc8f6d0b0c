//! Barman's configuration as it lies on its host: the main file, those that it includes, and the
//! one that `config-update` writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::error::ConfigError;
use super::view::{GLOBAL, Reading, View};
use crate::inifile::Document;
use crate::refresh::Barman;
use crate::runner::files::{Access, Command, Contents, FilesError, Trial};
use crate::runner::{Ending, Host};

/// Where Barman looks when no file is named (`Config.CONFIG_FILES` in barman/config.py).
const SEARCHED: [&str; 3] = [
    "~/.barman.conf",
    "/etc/barman.conf",
    "/etc/barman/barman.conf",
];

/// What a file is to Barman.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The file that `-c` names.
    Main,
    /// One of `configuration_files_directory`.
    Included,
    /// `.barman.auto.conf`, which belongs to `config-update`.
    Auto,
}

/// A file of the configuration.
#[derive(Debug, Clone)]
pub(super) struct ConfFile {
    /// What it is to Barman.
    pub(super) role: Role,
    /// Where Barman finds it.
    pub(super) path: PathBuf,
    /// What it says.
    pub(super) document: Document,
    /// How it may be changed.
    pub(super) access: Access,
}

/// All files, in the order in which Barman reads them.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// The files.
    pub(super) files: Vec<ConfFile>,
    /// `configuration_files_directory`, where one is named.
    pub(super) folder: Option<PathBuf>,
    /// The lock that `config-update` holds while it writes.
    pub(super) lock: PathBuf,
    /// How this Barman reads them.
    pub(super) reading: Reading,
}

impl Tree {
    /// Reads every file that Barman would read.
    pub(super) fn read(barman: &Barman, reading: Reading) -> Result<Self, ConfigError> {
        let host = &barman.host;
        let mut home = Home::of(host);
        let (path, main) = if let Some(path) = &barman.config_file {
            (path.clone(), first(host, std::slice::from_ref(path))?)
        } else {
            let paths = SEARCHED.map(|path| home.expanded(path));
            let paths = paths.into_iter().collect::<Result<Vec<_>, _>>()?;
            let mut found = host.read(&paths)?.into_iter().zip(paths);
            found
                .find_map(|(found, path)| found.map(|found| (path, Some(found))))
                .unwrap_or_default()
        };
        let main = main.ok_or_else(|| {
            ConfigError::Unreadable(if path.as_os_str().is_empty() {
                format!(
                    "barman has no configuration: there is none of {}",
                    SEARCHED.join(", ")
                )
            } else {
                format!("{}: barman's configuration is not there", path.display())
            })
        })?;
        let main = ConfFile::of(Role::Main, path, &main)?;
        let globals = View::of([&main.document], reading);
        let global = |key: &str| globals.global(key);
        let barman_home = global("barman_home");
        let folder = match global("configuration_files_directory") {
            Some(folder) => Some(home.expanded(&folder)?),
            None => None,
        };
        let locks = global("barman_lock_directory").or_else(|| barman_home.clone());
        let locks = locks.ok_or_else(|| {
            let path = main.path.display();
            ConfigError::Unreadable(format!("{path}: [{GLOBAL}] has no barman_home"))
        })?;
        let lock = Path::new("/").join(locks).join(".config-update.lock");
        let mut others: Vec<(Role, PathBuf)> = match &folder {
            Some(folder) => included(host, folder)?
                .into_iter()
                .map(|path| (Role::Included, path))
                .collect(),
            None => Vec::new(),
        };
        if let (Reading::OneByOne, Some(barman_home)) = (reading, barman_home) {
            // Barman itself does not expand a `~` here.
            let auto = Path::new("/").join(barman_home).join(".barman.auto.conf");
            others.push((Role::Auto, auto));
        }
        let paths: Vec<_> = others.iter().map(|(_, path)| path.clone()).collect();
        let mut files = vec![main];
        for ((role, path), found) in others.into_iter().zip(host.read(&paths)?) {
            // One that was there a moment ago and is gone is no part of it.
            if let Some(found) = found {
                files.push(ConfFile::of(role, path, &found)?);
            }
        }
        Ok(Self {
            files,
            folder,
            lock,
            reading,
        })
    }

    /// What Barman makes of it.
    pub(super) fn view(&self) -> View {
        View::of(self.files.iter().map(|file| &file.document), self.reading)
    }

    /// A digest of the names and bytes of all files, as an entity tag (RFC 9110, 8.8.3).
    pub(super) fn etag(&self) -> String {
        let mut digest = Sha256::new();
        for file in &self.files {
            for part in [
                file.path.as_os_str().as_encoded_bytes(),
                &file.document.to_bytes(),
            ] {
                digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
                digest.update(part);
            }
        }
        let digest = digest.finalize();
        let hex = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
        let hex = hex.collect::<Vec<_>>().concat();
        format!("\"{hex}\"")
    }

    /// Where a file stands.
    pub(super) fn path(&self, file: usize) -> PathBuf {
        let found = self.files.get(file);
        found.map(|file| file.path.clone()).unwrap_or_default()
    }
}

impl ConfFile {
    /// A file as it was read.
    fn of(role: Role, path: PathBuf, found: &Contents) -> Result<Self, ConfigError> {
        let document = Document::parse(&found.bytes).map_err(|source| ConfigError::NotIni {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            role,
            path,
            document,
            access: found.access,
        })
    }
}

/// The first of some files that is there.
fn first(host: &Host, paths: &[PathBuf]) -> Result<Option<Contents>, ConfigError> {
    Ok(host.read(paths)?.into_iter().flatten().next())
}

/// The files of a folder that Barman reads, in its order: `sorted(iglob("*.conf"))`, which passes
/// over names that begin with a dot.
fn included(host: &Host, folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let names = match host.list(folder) {
        Ok(names) => names,
        // Barman warns and goes on.
        Err(FilesError::NotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let is_ours = |name: &std::ffi::OsString| {
        let name = name.as_encoded_bytes();
        name.ends_with(b".conf") && !name.starts_with(b".")
    };
    let names = names.into_iter().filter(is_ours);
    Ok(names.map(|name| folder.join(name)).collect())
}

/// The home of Barman's account, asked for once and only where it is needed.
struct Home<'a> {
    host: &'a Host,
    known: Option<PathBuf>,
}

impl<'a> Home<'a> {
    fn of(host: &'a Host) -> Self {
        Self { host, known: None }
    }

    /// An absolute path of a text as Barman has it, started in `/`.
    fn expanded(&mut self, text: &str) -> Result<PathBuf, ConfigError> {
        let rest = match text.strip_prefix('~') {
            Some("") => "",
            Some(rest) if rest.starts_with('/') => rest.trim_start_matches('/'),
            _ => return Ok(Path::new("/").join(text)),
        };
        if self.known.is_none() {
            self.known = Some(self.ask()?);
        }
        let home = self.known.clone().unwrap_or_default();
        Ok(if rest.is_empty() {
            home
        } else {
            home.join(rest)
        })
    }

    fn ask(&self) -> Result<PathBuf, ConfigError> {
        let trial = Trial {
            placeholder: String::new(),
            files: Vec::new(),
            commands: vec![Command {
                program: "/bin/sh".into(),
                arguments: vec!["-c".to_owned(), "cd && pwd".to_owned()],
            }],
            read_back: None,
            limit: Duration::from_secs(5),
        };
        let outcome = self.host.try_out(&trial)?;
        let said = outcome
            .tried
            .first()
            .filter(|tried| tried.ending == Ending::Exited(0))
            .map(|tried| String::from_utf8_lossy(&tried.stdout).trim_end().to_owned());
        said.map(PathBuf::from)
            .filter(|home| home.is_absolute())
            .ok_or_else(|| {
                let words =
                    "the home of barman's account is not known; name config_file in [barman]";
                ConfigError::Unreadable(words.to_owned())
            })
    }
}
