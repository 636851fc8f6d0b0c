//! Slows down the guessing of passwords.
//!
//! Failed logins are counted per user and address, and per address. Past the allowance the answer
//! is "too many" until the minute that began with the first failure is over: a delay, never a
//! lock-out, and never for a user who comes from another address. Right passwords do not count.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Failures of one user from one address in a window.
const PER_USER: u32 = 10;

/// Failures from one address in a window.
const PER_ADDRESS: u32 = 50;

/// Length of a window.
const WINDOW: Duration = Duration::from_secs(60);

/// Most entries kept in either table.
const MOST: usize = 10_000;

/// Counts of failed logins.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    users: HashMap<(String, Option<IpAddr>), Window>,
    addresses: HashMap<Option<IpAddr>, Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Duration,
    failures: u32,
}

impl Window {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= WINDOW
    }
}

impl Throttle {
    /// How long a login must wait, in whole seconds from 1 to 60; `None` when it may go on.
    #[must_use]
    pub(super) fn wait(&self, user: &str, from: Option<IpAddr>, now: Duration) -> Option<u64> {
        let from = from.map(network);
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let user = tables.users.get(&(user.to_owned(), from));
        let user = user.filter(|window| window.failures >= PER_USER);
        let address = tables.addresses.get(&from);
        let address = address.filter(|window| window.failures >= PER_ADDRESS);
        let full = [user, address].into_iter().flatten();
        full.filter(|window| !window.is_over(now))
            .map(|window| (window.began + WINDOW).saturating_sub(now))
            .map(|rest| rest.as_secs() + u64::from(rest.subsec_nanos() > 0))
            .max()
    }

    /// Counts a failed login.
    pub(super) fn failed(&self, user: &str, from: Option<IpAddr>, now: Duration) {
        let from = from.map(network);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        count(&mut tables.users, (user.to_owned(), from), now);
        count(&mut tables.addresses, from, now);
    }
}

fn count<K: Eq + Hash + Clone>(table: &mut HashMap<K, Window>, key: K, now: Duration) {
    if table.len() >= MOST && !table.contains_key(&key) {
        table.retain(|_, window| !window.is_over(now));
        // Still full: the entry that holds back least goes.
        if table.len() >= MOST {
            let least = table.iter().min_by_key(|(_, w)| (w.failures, w.began));
            if let Some(least) = least.map(|(key, _)| key.clone()) {
                table.remove(&least);
            }
        }
    }
    let window = table.entry(key).or_insert(Window {
        began: now,
        failures: 0,
    });
    if window.is_over(now) {
        window.began = now;
        window.failures = 0;
    }
    window.failures = window.failures.saturating_add(1);
}

/// Who counts as one address: an IPv6 host has its whole /64 to itself.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const THERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    #[test]
    fn the_eleventh_try_waits_and_another_address_does_not() {
        let throttle = Throttle::default();
        for second in 0..10 {
            assert_eq!(throttle.wait("admin", HERE, at(second)), None);
            throttle.failed("admin", HERE, at(second));
        }
        for second in 10..20 {
            assert_eq!(throttle.wait("admin", HERE, at(second)), Some(60 - second));
        }
        assert_eq!(throttle.wait("admin", THERE, at(20)), None);
        assert_eq!(throttle.wait("other", HERE, at(20)), None);
        assert_eq!(throttle.wait("admin", HERE, at(60)), None);
    }

    #[test]
    fn waiting_is_told_in_seconds_that_suffice() {
        let throttle = Throttle::default();
        let began = Duration::from_millis(500);
        (0..10).for_each(|_| throttle.failed("admin", HERE, began));
        let now = Duration::from_millis(60_499);
        assert_eq!(throttle.wait("admin", HERE, now), Some(1));
        assert_eq!(
            throttle.wait("admin", HERE, now + Duration::from_secs(1)),
            None
        );
    }

    #[test]
    fn an_address_that_tries_many_users_waits_for_all_of_them() {
        let throttle = Throttle::default();
        for user in 0..50 {
            throttle.failed(&format!("user{user}"), HERE, at(0));
        }
        assert_eq!(throttle.wait("admin", HERE, at(1)), Some(59));
        assert_eq!(throttle.wait("admin", THERE, at(1)), None);
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one_and_a_mapped_ipv4_as_itself() {
        let throttle = Throttle::default();
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for host in 0..10 {
            throttle.failed("admin", address(&format!("2001:db8::{host}")), at(0));
        }
        assert!(
            throttle
                .wait("admin", address("2001:db8::ffff"), at(1))
                .is_some()
        );
        assert!(
            throttle
                .wait("admin", address("2001:db8:0:1::1"), at(1))
                .is_none()
        );
        (0..10).for_each(|_| throttle.failed("admin", HERE, at(0)));
        assert!(
            throttle
                .wait("admin", address("::ffff:192.0.2.1"), at(1))
                .is_some()
        );
    }

    #[test]
    fn the_tables_stay_bounded_and_keep_who_failed_most() {
        let throttle = Throttle::default();
        (0..10).for_each(|_| throttle.failed("admin", HERE, at(0)));
        for n in 0..u32::try_from(MOST).unwrap() + 5 {
            let address = Some(IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 + n)));
            throttle.failed("admin", address, at(1));
        }
        let tables = throttle.tables.lock().unwrap();
        assert_eq!((tables.users.len(), tables.addresses.len()), (MOST, MOST));
        drop(tables);
        assert!(throttle.wait("admin", HERE, at(2)).is_some());
    }
}
