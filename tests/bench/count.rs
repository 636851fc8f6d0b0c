//! How often Barman starts, told by the kernel: each start opens Barman's log once, and nobody else does.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::site::Site;

/// Starts from the moment it is made, as long as Barman runs once at a time: the kernel tells of
/// openings that follow one another without a close between them as one.
pub struct Starts(OwnedFd);

impl Starts {
    pub fn of(site: &Site) -> Self {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        let what = WatchFlags::OPEN | WatchFlags::CLOSE;
        let log = Path::new(site.fact("BARMAN_HOME")).join("barman.log");
        inotify::add_watch(&watch, log, what).unwrap();
        Self(watch)
    }

    /// Those since it was asked last.
    pub fn since(&self) -> usize {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.0, &mut buffer);
        let mut starts = 0;
        loop {
            match events.next() {
                Ok(event) => {
                    assert!(
                        !event.events().contains(ReadFlags::QUEUE_OVERFLOW),
                        "starts were not counted"
                    );
                    starts += usize::from(event.events().contains(ReadFlags::OPEN));
                }
                Err(Errno::WOULDBLOCK) => return starts,
                Err(error) => panic!("the starts of Barman can't be counted: {error}"),
            }
        }
    }
}
