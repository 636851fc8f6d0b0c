//! The directories that a restore writes to.

use std::path::PathBuf;

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
    /// A directory that the other one writes to as well: the inner one of two that lie in each other.
    #[must_use]
    pub fn shared_with<'a>(&'a self, other: &'a Self) -> Option<&'a PathBuf> {
        if self.ssh_command != other.ssh_command {
            return None;
        }
        let mut pairs = self
            .directories
            .iter()
            .flat_map(|own| other.directories.iter().map(move |its| (own, its)));
        pairs.find_map(|(own, its)| {
            if own.starts_with(its) {
                Some(own)
            } else {
                its.starts_with(own).then_some(its)
            }
        })
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
        for (directories, shared) in [
            (&["/r/data"][..], Some("/r/data")),
            (&["/r/data/base"], Some("/r/data/base")),
            (&["/r"], Some("/r/data")),
            (&["/x", "/ts/a/"], Some("/ts/a")),
            (&["/r/data2"], None),
            (&["/r/dat"], None),
            (&[], None),
        ] {
            let other = on("", directories);
            let expected = shared.map(PathBuf::from);
            assert_eq!(here.shared_with(&other), expected.as_ref());
            assert_eq!(other.shared_with(&here), expected.as_ref());
        }
        assert_eq!(here.shared_with(&on("ssh db2", &["/r/data"])), None);
    }
}
