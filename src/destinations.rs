//! The directories that a restore writes to.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where a restore goes: directories of one host, each with all below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destinations {
    /// What reaches the host; empty = the Barman host itself.
    pub ssh_command: String,
    /// The directories, with links resolved where the host could be asked.
    pub directories: Vec<PathBuf>,
}

impl Destinations {
    /// The first directory that the other restore writes to as well, or to one below or above it.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> Option<&PathBuf> {
        if self.ssh_command != other.ssh_command {
            return None;
        }
        let meet = |own: &Path, its: &Path| own.starts_with(its) || its.starts_with(own);
        let mut own = self.directories.iter();
        own.find(|own| other.directories.iter().any(|its| meet(own, its)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(ssh_command: &str, directories: &[&str]) -> Destinations {
        Destinations {
            ssh_command: ssh_command.to_owned(),
            directories: directories.iter().map(PathBuf::from).collect(),
        }
    }

    #[test]
    fn two_restores_share_what_lies_in_the_other_on_the_same_host() {
        let here = on("", &["/r/data", "/ts/a"]);
        for (directories, own, its) in [
            (&["/r/data"][..], Some("/r/data"), Some("/r/data")),
            (&["/r/data/base"], Some("/r/data"), Some("/r/data/base")),
            (&["/r"], Some("/r/data"), Some("/r")),
            (&["/x", "/ts/a/"], Some("/ts/a"), Some("/ts/a/")),
            (&["/r/data2"], None, None),
            (&["/r/dat"], None, None),
            (&[], None, None),
        ] {
            let other = on("", directories);
            assert_eq!(here.shared_with(&other), own.map(PathBuf::from).as_ref());
            assert_eq!(other.shared_with(&here), its.map(PathBuf::from).as_ref());
        }
        assert_eq!(here.shared_with(&on("ssh db2", &["/r/data"])), None);
    }
}
