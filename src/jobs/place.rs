//! A place among the jobs that run at once, and waiting for it.

use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};

use super::supervise::{TICK, is_cancelled};
use crate::atomicfile::Lock;
use crate::store::Store;
use crate::store::line::InLine;
use crate::store::record::JobFolder;

/// Waits for a place among the jobs that run at once; `None` when the job is cancelled meanwhile.
///
/// The jobs that wait stand in a line, and only the first of them looks for a place.
pub(super) fn wait_for_slot(
    store: &Store,
    folder: &JobFolder,
    places: u32,
) -> io::Result<Option<Lock>> {
    let line = store.in_line(folder.ticket()).map_err(io::Error::other)?;
    let Some(line) = line.map(Arc::new) else {
        return wait_as_first(store, folder, places);
    };
    let slot = match wait_for_turn(folder, &line) {
        Ok(Turn::Come) => wait_as_first(store, folder, places),
        Ok(Turn::Cancelled) => Ok(None),
        Err(error) => Err(error),
    };
    let left = line.leave().map_err(io::Error::other);
    let slot = slot?;
    if slot.is_some() {
        left?;
    }
    Ok(slot)
}

/// How the time in the line went.
enum Turn {
    Come,
    Cancelled,
}

/// Waits until nobody stands before the job.
fn wait_for_turn(folder: &JobFolder, line: &Arc<InLine>) -> io::Result<Turn> {
    let (sender, turn) = mpsc::channel();
    let line = Arc::clone(line);
    std::thread::Builder::new().spawn(move || sender.send(line.wait()))?;
    loop {
        match turn.recv_timeout(TICK) {
            Ok(first) => return first.map(|()| Turn::Come).map_err(io::Error::other),
            Err(RecvTimeoutError::Timeout) if is_cancelled(folder) => return Ok(Turn::Cancelled),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("no line")),
        }
    }
}

/// Waits for a place, before all others; `None` when the job is cancelled meanwhile.
fn wait_as_first(store: &Store, folder: &JobFolder, places: u32) -> io::Result<Option<Lock>> {
    loop {
        if let Some(slot) = free_slot(store, places)? {
            return Ok(Some(slot));
        }
        if is_cancelled(folder) {
            return Ok(None);
        }
        std::thread::sleep(TICK);
    }
}

/// A place among the jobs that run at once, if one is free right now.
pub(super) fn free_slot(store: &Store, places: u32) -> io::Result<Option<Lock>> {
    for number in 0..places.max(1) {
        if let Some(slot) = Lock::try_exclusive(&store.slot(number))? {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}
