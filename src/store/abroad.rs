//! Jobs that may have left something on another host.
//!
//! A marker is written before a job's start is sent there and removed when its folder there is. So
//! nobody sends a start twice, and what a finished job left there is not forgotten.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::open_jobs::tickets_in;
use super::record::{RemoteHost, read_json};
use super::{Store, StoreError};
use crate::atomicfile;
use crate::names::Ticket;

impl Store {
    /// Sixteen hexadecimal digits that no other store has: by them a Barman host tells our jobs
    /// from those of others. Made once.
    ///
    /// # Errors
    /// When they can't be kept or read, or the kernel gives no random bits.
    pub fn id(&self) -> Result<String, StoreError> {
        let path = self.config().join("id");
        if !path.exists() {
            let random = getrandom::u64()
                .map_err(io::Error::other)
                .map_err(StoreError::record(&path))?;
            match atomicfile::create(&path, format!("{random:016x}\n").as_bytes(), 0o600) {
                Ok(()) => {}
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::record(&path)(error)),
            }
        }
        let id = fs::read_to_string(&path).map_err(StoreError::record(&path))?;
        let id = id.trim();
        if id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(id.to_owned())
        } else {
            let words = "it is not sixteen hexadecimal digits; remove it when no job runs";
            let damaged = io::Error::new(io::ErrorKind::InvalidData, words);
            Err(StoreError::record(&path)(damaged))
        }
    }

    /// Notes, durably, that a job's start is about to be sent to another host.
    ///
    /// # Errors
    /// When it is noted already, or can't be.
    pub fn note_abroad(&self, ticket: &Ticket, host: &RemoteHost) -> Result<(), StoreError> {
        let path = self.abroad_marker(ticket);
        let text =
            serde_json::to_vec(host).map_err(|error| StoreError::record(&path)(error.into()))?;
        atomicfile::create(&path, &text, 0o600).map_err(StoreError::record(&path))
    }

    /// The host to which a job's start may have been sent; `None` when there is no such.
    ///
    /// # Errors
    /// When the note is there and can't be read.
    pub fn abroad(&self, ticket: &Ticket) -> Result<Option<RemoteHost>, StoreError> {
        read_json(&self.abroad_marker(ticket))
    }

    /// Every job that may have left something on another host.
    ///
    /// # Errors
    /// When the notes can't be listed.
    pub fn all_abroad(&self) -> Result<Vec<Ticket>, StoreError> {
        tickets_in(&self.root().join("active/abroad"))
    }

    /// Forgets a job of which nothing is left on another host.
    ///
    /// # Errors
    /// When the note can't be removed.
    pub fn forget_abroad(&self, ticket: &Ticket) -> Result<(), StoreError> {
        let path = self.abroad_marker(ticket);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StoreError::record(&path)(error)),
        }
    }

    fn abroad_marker(&self, ticket: &Ticket) -> PathBuf {
        self.root().join("active/abroad").join(ticket.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_store_is_made_once_and_a_damaged_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| Store::open(&dir.path().join(name)).unwrap();
        let (one, other) = (open("one"), open("other"));
        let id = one.id().unwrap();
        assert_eq!(id.len(), 16);
        assert_eq!(one.id().unwrap(), id);
        assert_ne!(other.id().unwrap(), id);
        fs::write(one.config().join("id"), "../../etc").unwrap();
        assert!(one.id().unwrap_err().is_damaged());
    }
}
