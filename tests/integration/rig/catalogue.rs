//! One catalogue for all sites with a stand-in.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use super::{Lab, Site};

/// The catalogue that the first server built from the lab's help. To build it takes as long as many
/// a test.
static CATALOGUE: OnceLock<Value> = OnceLock::new();

impl Site {
    fn saved_catalogue(&self) -> PathBuf {
        self.file("store/config/barman.json")
    }

    /// The stand-in, where it prints the lab's help.
    fn plain_stand_in(&self) -> Option<&PathBuf> {
        let program = self.program.as_ref()?;
        let help = fs::read_link(program.with_file_name("help")).ok()?;
        let control = fs::read_to_string(program.with_file_name("control.json")).ok()?;
        let plain = help == Path::new(Lab::get().fact("HELP_DIR")) && !control.contains("--help");
        plain.then_some(program)
    }

    pub(super) fn keep_catalogue(&self) {
        if self.plain_stand_in().is_some() && CATALOGUE.get().is_none() {
            let saved = fs::read(self.saved_catalogue()).unwrap();
            // Another test may have been first.
            drop(CATALOGUE.set(serde_json::from_slice(&saved).unwrap()));
        }
    }

    /// Gives a new store the catalogue, as built from this very stand-in. A server that does not
    /// believe it builds its own.
    pub(super) fn lend_catalogue(&self) {
        let (Some(program), Some(catalogue)) = (self.plain_stand_in(), CATALOGUE.get()) else {
            return;
        };
        if self.saved_catalogue().exists() {
            return;
        }
        let lab = Lab::get();
        for folder in ["store", "store/config"] {
            let path = self.file(folder);
            if !path.exists() {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
                lab.own(&path);
            }
        }
        let found = fs::metadata(program).unwrap();
        let mut saved = catalogue.clone();
        saved["fingerprint"]["program"][0] = serde_json::json!([
            program,
            found.ino(),
            found.size(),
            found.mtime(),
            found.mtime_nsec(),
            found.mode()
        ]);
        lab.write(&self.saved_catalogue(), &saved.to_string(), 0o600);
    }
}
