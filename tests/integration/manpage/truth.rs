//! What Barman's own code says of its keys.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::parser_score::installed::Installed;

/// What `tests/lab/config-keys.py` prints.
#[derive(Deserialize)]
pub(super) struct Truth {
    /// Each key with the places where it has an effect.
    pub(super) keys: BTreeMap<String, Vec<String>>,
    /// Of each pair that was asked about, whether Barman takes it.
    pub(super) taken: Vec<bool>,
}

impl Truth {
    /// Asks a version, with keys and values.
    pub(super) fn of(installed: &Installed, pairs: &[(&str, &str)]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/config-keys.py");
        let pairs = serde_json::to_vec(pairs).unwrap();
        serde_json::from_slice(&installed.ask(script, &pairs)).unwrap()
    }

    /// The places of a key, as the manual writes them.
    pub(super) fn scope(&self, key: &str) -> String {
        self.keys[key].join("/")
    }
}
