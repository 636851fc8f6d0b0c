//! Months as a whole: which there are, and removing one.

use std::fs;
use std::io;

use super::index::open_plain;
use super::{Store, StoreError};
use crate::atomicfile::{Lock, sync_parent};
use crate::names::{Month, Ticket};

impl Store {
    /// The months that have an archive, the oldest first.
    ///
    /// # Errors
    /// When the folder of archives can't be read.
    pub fn archived_months(&self) -> Result<Vec<Month>, StoreError> {
        let path = self.root().join("archive");
        let names = fs::read_dir(&path).map_err(StoreError::record(&path))?;
        let month = |name: &str| {
            let stem = name
                .strip_suffix(".tar.gz")
                .or_else(|| name.strip_suffix(".index"))?;
            Month::parse(stem).ok()
        };
        let mut months: Vec<Month> = names
            .flatten()
            .filter_map(|entry| month(entry.file_name().to_str()?))
            .collect();
        months.sort();
        months.dedup();
        Ok(months)
    }

    /// The months that have a folder of jobs, the oldest first.
    ///
    /// # Errors
    /// When the folder of months can't be read.
    pub fn active_months(&self) -> Result<Vec<Month>, StoreError> {
        let path = self.root().join("active");
        let names = fs::read_dir(&path).map_err(StoreError::record(&path))?;
        let mut months: Vec<Month> = names
            .flatten()
            .filter_map(|entry| Month::parse(entry.file_name().to_str()?).ok())
            .collect();
        months.sort();
        Ok(months)
    }

    /// The latest month that has jobs or an archive; `None` while there is none.
    ///
    /// # Errors
    /// When the folder of months or that of archives can't be read.
    pub fn newest_month(&self) -> Result<Option<Month>, StoreError> {
        let active = self.active_months()?.pop();
        // What moves from one to the other is in both for a while.
        Ok(active.max(self.archived_months()?.pop()))
    }

    /// Removes the folder of a month that has no jobs, while nobody accepts one.
    pub(super) fn remove_month(&self, month: &Month) -> Result<(), StoreError> {
        let lock_path = self.accept_lock();
        let _nobody_accepts =
            Lock::exclusive(&lock_path).map_err(StoreError::record(&lock_path))?;
        let path = self.month(month);
        let names = match fs::read_dir(&path) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::record(&path)(error)),
        };
        let names: Vec<_> = names.flatten().map(|entry| entry.file_name()).collect();
        let spare = |name: &std::ffi::OsString| {
            name == "index" || name.as_encoded_bytes().starts_with(b".index.")
        };
        let is_open = |ticket: &Ticket| ticket.month() == *month;
        if !names.iter().all(spare) || self.open_tickets()?.iter().any(is_open) {
            return Ok(());
        }
        for name in names {
            let file = path.join(name);
            fs::remove_file(&file).map_err(StoreError::record(&file))?;
        }
        fs::remove_dir(&path).map_err(StoreError::record(&path))
    }

    /// Removes the archive of a month and its index, for a caller who holds the lock of rotation;
    /// `false` when somebody uses it right now.
    ///
    /// # Errors
    /// When one of them can't be removed.
    pub fn remove_archive(&self, month: &Month) -> Result<bool, StoreError> {
        let path = self.archive(month);
        let held = match open_plain(&path) {
            Ok(Some(file)) => {
                if file.try_lock().is_err() {
                    return Ok(false);
                }
                Some(file)
            }
            _ => None,
        };
        // The index goes last: one without an archive is asked by nobody.
        for path in [&path, &self.archive_index(month)] {
            match fs::remove_file(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::record(path)(error)),
            }
        }
        drop(held);
        sync_parent(&path).map_err(StoreError::record(&path))?;
        Ok(true)
    }
}
