//! How many may be here at once, in all and from one address, and who has to go when it is full.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::visitors::Visitor;

/// Whoever came or was answered less than this ago is not sent away for somebody else.
const GRACE: Duration = Duration::from_secs(1);

/// Somebody for whom there is no place waits this long for one; whoever comes after waits in line
/// before the door.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether somebody who is of no use has had the grace.
const LOOK: Duration = Duration::from_millis(100);

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    /// The address has its share.
    Address,
    /// All are taken.
    All,
}

/// The seats that are taken.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: Mutex<Taken>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    visitors: HashMap<u64, Arc<Visitor>>,
    by_address: HashMap<IpAddr, usize>,
}

impl Taken {
    fn remove(&mut self, number: u64) -> Option<Arc<Visitor>> {
        let visitor = self.visitors.remove(&number)?;
        if let Some(address) = counted(visitor.peer.ip())
            && let Some(count) = self.by_address.get_mut(&address)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(visitor)
    }

    /// Sends away who has had nothing of use to do for longest, of one address or of all.
    fn make_room(&mut self, address: Option<IpAddr>) -> bool {
        let useless = self.visitors.iter().filter_map(|(number, visitor)| {
            let of_address = address.is_none_or(|it| counted(visitor.peer.ip()) == Some(it));
            let since = visitor.useless_since().filter(|_| of_address)?;
            Some((since, *number))
        });
        match useless.min() {
            Some((since, number)) if since + GRACE <= Instant::now() => {
                if let Some(visitor) = self.remove(number) {
                    visitor.show_out();
                }
                true
            }
            _ => false,
        }
    }
}

/// The address that somebody is counted by; the clients of one IPv6 network are one. Those of this
/// host are not counted, as a proxy in front is all its clients.
fn counted(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V4(address) => Some(address.into()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Some(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
        }
    }
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a seat. Where there is none, who has been of no use for longest loses its own; `None`
    /// when the address has its share, or all stay of use.
    pub(super) async fn seat(
        self: &Arc<Self>,
        visitor: &Arc<Visitor>,
        connections: usize,
        per_address: usize,
    ) -> Option<Seat> {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = self.left.notified();
            match self.take(visitor, connections, per_address) {
                Ok(seat) => return Some(seat),
                Err(Full::All) if Instant::now() < until => {}
                Err(Full::All | Full::Address) => return None,
            }
            timeout(LOOK, left).await.ok();
        }
    }

    fn take(
        self: &Arc<Self>,
        visitor: &Arc<Visitor>,
        connections: usize,
        per_address: usize,
    ) -> Result<Seat, Full> {
        let mut taken = self.lock();
        let address = counted(visitor.peer.ip());
        if let Some(address) = address {
            let count = taken.by_address.get(&address).copied().unwrap_or_default();
            if count >= per_address && !taken.make_room(Some(address)) {
                return Err(Full::Address);
            }
        }
        if taken.visitors.len() >= connections && !taken.make_room(None) {
            return Err(Full::All);
        }
        if let Some(address) = address {
            *taken.by_address.entry(address).or_default() += 1;
        }
        let number = taken.next;
        taken.next = taken.next.wrapping_add(1);
        taken.visitors.insert(number, Arc::clone(visitor));
        Ok(Seat {
            seats: Arc::clone(self),
            number,
        })
    }

    /// Makes room without anybody waiting for it: the process has no descriptor left.
    pub(super) fn give_up_one(&self) {
        self.lock().make_room(None);
    }

    /// Everybody who is here.
    pub(super) fn visitors(&self) -> Vec<Arc<Visitor>> {
        self.lock().visitors.values().cloned().collect()
    }

    /// Waits until everybody has left.
    pub(super) async fn empty(&self) {
        loop {
            let left = self.left.notified();
            if self.lock().visitors.is_empty() {
                return;
            }
            left.await;
        }
    }
}

/// A seat; dropped, it is free.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().remove(self.number);
        self.seats.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visitors::Port;

    fn from(address: &str) -> Arc<Visitor> {
        let peer = format!("{address}:1").parse().unwrap();
        Arc::new(Visitor::new(peer, Port::Plain))
    }

    fn take(seats: &Arc<Seats>, visitor: &Arc<Visitor>) -> Option<Seat> {
        seats.take(visitor, 4, 2).ok()
    }

    #[test]
    fn an_address_has_its_share_and_this_host_is_not_counted() {
        let seats = Arc::new(Seats::default());
        let guests = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "127.0.0.1"].map(from);
        let mut held: Vec<_> = guests.iter().map(|guest| take(&seats, guest)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(take(&seats, &from("[::ffff:192.0.2.1]")).is_none());
        assert!(take(&seats, &from("127.0.0.1")).is_none());
        held.remove(0);
        assert!(take(&seats, &from("192.0.2.1")).is_some());
        drop(held);
        assert_eq!(seats.lock().by_address.len(), 0);
        assert_eq!(seats.visitors().len(), 0);
    }

    #[test]
    fn clients_of_one_ipv6_network_share_its_share() {
        let seats = Arc::new(Seats::default());
        let guests = ["[2001:db8::1]", "[2001:db8::2]", "[2001:db8:0:1::1]"].map(from);
        let held = guests.map(|guest| take(&seats, &guest));
        assert!(held.iter().all(Option::is_some));
        assert!(take(&seats, &from("[2001:db8::3]")).is_none());
    }

    #[tokio::test]
    async fn whoever_is_of_no_use_for_longest_goes_when_it_is_full() {
        let seats = Arc::new(Seats::default());
        let guests = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].map(from);
        let held = guests.each_ref().map(|guest| take(&seats, guest));
        guests[0].asked();
        std::thread::sleep(GRACE);
        for guest in &guests[2..] {
            guest.answered();
        }
        let newcomer = take(&seats, &from("192.0.2.5")).unwrap();
        guests[1].shown_out().await;
        assert_eq!(seats.visitors().len(), 4);
        // The others were answered just now, or are being answered; their grace ends.
        let late = from("192.0.2.6");
        assert!(take(&seats, &late).is_none());
        let late = seats.seat(&late, 4, 2).await.unwrap();
        drop((held, newcomer, late));
        tokio::time::timeout(GRACE, seats.empty()).await.unwrap();
    }
}
