//! Words that must not be seen: the key of the tokens, the pepper of the password hashes.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::atomicfile;

/// Shortest secret, in bytes, that is taken for signing tokens (RFC 7518 section 3.2).
pub const SHORTEST: usize = 32;

/// Fewest different bytes in a secret; 32 random hex digits have fewer than 8 once in 10^8.
const FEWEST_DIFFERENT: usize = 8;

/// Secrets that stand in documentation; barmanapi 0.3 shipped the first.
const KNOWN: [&str; 6] = [
    "deneme",
    "your-256-bit-secret",
    "your-384-bit-secret",
    "your-512-bit-secret",
    "a-string-secret-at-least-256-bits-long",
    "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
];

/// A secret; `Debug` prints `***`.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// Why a secret is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Shorter than [`SHORTEST`].
    #[error(
        "it has {0} bytes, at least {SHORTEST} are needed; leave it blank and one is generated"
    )]
    Short(usize),
    /// A word that everybody knows.
    #[error("it is a word from public documentation; leave it blank and one is generated")]
    Known,
    /// One character or a short word over and over.
    #[error("it repeats itself and can be guessed; leave it blank and one is generated")]
    Repeated,
    /// The file with it can be read by every account of the machine.
    #[error("{} can be read by every account (mode {mode:04o}); run `chmod o= {}`", .path.display(), .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The secret that was generated once can't be used any more.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with what it holds.
        #[source]
        source: Box<SecretError>,
    },
    /// The file can't be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

impl Secret {
    /// Takes a secret as it is, however weak: the pepper that an older configuration names.
    #[must_use]
    pub fn plain(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    /// Takes a secret that can't be guessed.
    ///
    /// # Errors
    /// When it is shorter than [`SHORTEST`] bytes, stands in public documentation, or repeats
    /// itself.
    pub fn strong(text: &str) -> Result<Self, SecretError> {
        let bytes = text.as_bytes();
        if KNOWN.contains(&text.to_ascii_lowercase().as_str()) {
            return Err(SecretError::Known);
        }
        if bytes.len() < SHORTEST {
            return Err(SecretError::Short(bytes.len()));
        }
        let mut different = bytes.to_vec();
        different.sort_unstable();
        different.dedup();
        let repeats = |period: usize| {
            bytes
                .iter()
                .zip(bytes.iter().skip(period))
                .all(|(a, b)| a == b)
        };
        if different.len() < FEWEST_DIFFERENT || (1..=bytes.len() / 2).any(repeats) {
            return Err(SecretError::Repeated);
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The secret of an installation, made on first use: 32 random bytes as 43 letters in a file
    /// of mode 0600. Processes that start at the same moment share one.
    ///
    /// The directory is made (mode 0700) when its parent exists. Run as root, what is made is given
    /// to the owner of the directory above, so that the service can read it.
    ///
    /// # Errors
    /// When the file can't be read or written, can be read by every account, or holds a weak
    /// secret.
    pub fn load_or_create(path: &Path) -> Result<Self, SecretError> {
        let io = |source| SecretError::Io {
            path: path.to_owned(),
            source,
        };
        if !path.exists() {
            make_directory(path).map_err(io)?;
            let text = format!("{}\n", random_text().map_err(io)?);
            match atomicfile::create(path, text.as_bytes(), 0o600) {
                Ok(()) => give_to_owner_of_directory(path).map_err(io)?,
                // Another process was first: its secret is the one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io(error)),
            }
        }
        Self::load(path)
    }

    /// The secret of an installation that was made before.
    ///
    /// # Errors
    /// When the file can't be read, can be read by every account, or holds a weak secret.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        check_private(path)?;
        let text = fs::read_to_string(path).map_err(|source| SecretError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::strong(text.trim()).map_err(|source| SecretError::File {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// The bytes themselves.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Refuses a file with a secret that every account of the machine can read. Its group may: the
/// usual set-up is `root:barman 0640`.
///
/// # Errors
/// When others can read it, or it can't be looked at.
pub fn check_private(path: &Path) -> Result<(), SecretError> {
    let meta = fs::metadata(path).map_err(|source| SecretError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mode = meta.mode() & 0o7777;
    if mode & 0o004 != 0 {
        let path = path.to_owned();
        return Err(SecretError::Exposed { path, mode });
    }
    Ok(())
}

/// 256 random bits as letters, digits, `-` and `_`.
pub(super) fn random_text() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Run as root, gives a file to the owner of the directory it stands in.
pub(super) fn give_to_owner_of_directory(path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let owner = fs::metadata(parent.unwrap_or(Path::new(".")))?;
    if owner.uid() == 0 {
        return Ok(());
    }
    chown(path, Some(owner.uid()), Some(owner.gid()))
}

fn make_directory(file: &Path) -> io::Result<()> {
    let Some(directory) = file.parent().filter(|directory| !directory.exists()) else {
        return Ok(());
    };
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => give_to_owner_of_directory(directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_weak_or_known_secret_is_refused() {
        for (text, wanted) in [
            ("Deneme", "public documentation"),
            ("DENEME", "public documentation"),
            (
                "a-string-secret-at-least-256-bits-long",
                "public documentation",
            ),
            ("", "it has 0 bytes"),
            ("k3v9m2x8q4c7k3v9m2x8q4c7abcdefg", "it has 31 bytes"),
            (&"a".repeat(32), "repeats itself"),
            (&"Deneme".repeat(8), "repeats itself"),
            ("0123456789abcdef0123456789abcdef", "repeats itself"),
            ("abababababababababababababababac", "repeats itself"),
        ] {
            let error = Secret::strong(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
        assert!(Secret::strong("9f86d081884c7d659a2feaa0c55ad015").is_ok());
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::plain("visible");
        assert_eq!(format!("{secret:?}"), "***");
    }

    #[test]
    fn a_generated_secret_is_private_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/secret");
        let first = Secret::load_or_create(&path).unwrap();
        let second = Secret::load_or_create(&path).unwrap();
        assert_eq!(first.bytes(), second.bytes());
        assert_eq!(first.bytes().len(), 43);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let directory = path.parent().unwrap();
        assert_eq!(fs::metadata(directory).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn processes_that_start_together_share_one_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/secret");
        let secrets: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let one = || Secret::load_or_create(&path).unwrap().0;
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_that_every_account_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        Secret::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Secret::load_or_create(&path).unwrap_err();
        assert!(
            matches!(error, SecretError::Exposed { mode: 0o644, .. }),
            "{error}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Secret::load_or_create(&path).is_ok());
    }

    #[test]
    fn a_missing_store_is_named_and_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store/config/secret");
        let error = Secret::load_or_create(&path).unwrap_err();
        assert!(matches!(error, SecretError::Io { .. }), "{error}");
        assert!(!dir.path().join("store").exists());
    }

    #[test]
    fn an_emptied_secret_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = Secret::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("it has 0 bytes"), "{error}");
    }
}
