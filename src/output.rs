//! What is known about the output of a program, beside its bytes.

use serde::{Deserialize, Serialize};

/// One output, standard output or standard error, as it was kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Bytes the program wrote.
    pub bytes: u64,
    /// Whether some of them were left out because of the limit.
    pub truncated: bool,
    /// Whether some of them could not be kept because there was no room.
    pub incomplete: bool,
}
