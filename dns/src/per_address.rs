//! How many connections one address holds, so that one client cannot take the place of all others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts by address, each at most `max`. There are no more entries than connections.
#[derive(Debug)]
pub(crate) struct PerAddress {
    max: usize,
    held: Mutex<HashMap<IpAddr, usize>>,
}

impl PerAddress {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, held: Mutex::default() }
    }

    /// Takes a place for as long as the result lives; none if this address has all it may have.
    pub(crate) fn hold(self: &Arc<Self>, address: IpAddr) -> Option<Held> {
        let address = network(address);
        let mut held = self.held();
        let count = held.entry(address).or_default();
        if *count >= self.max {
            if *count == 0 {
                held.remove(&address);
            }
            return None;
        }
        *count += 1;
        Some(Held { all: Arc::clone(self), address })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing that holds the lock can panic halfway.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place of an address.
#[derive(Debug)]
pub(crate) struct Held {
    all: Arc<PerAddress>,
    address: IpAddr,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.all.held().entry(self.address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// What is counted as one: an IPv4 address, also where it came as IPv6, or an IPv6 network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_places_and_gives_them_back() {
        let all = Arc::new(PerAddress::new(2));
        let hold = |address: &str| all.hold(address.parse().unwrap());
        let (first, second) = (hold("192.0.2.1"), hold("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(hold("192.0.2.1").is_none());
        let other = hold("192.0.2.2");
        assert!(other.is_some());
        drop(first);
        let again = hold("192.0.2.1");
        assert!(again.is_some() && hold("192.0.2.1").is_none());
        drop((second, again, other));
        assert!(all.held().is_empty(), "nothing is kept of those that are gone");
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let all = Arc::new(PerAddress::new(1));
        let hold = |address: &str| all.hold(address.parse().unwrap());
        let _first = hold("2001:db8:0:1::1").unwrap();
        assert!(hold("2001:db8:0:1:ffff::2").is_none());
        assert!(hold("2001:db8:0:2::1").is_some());
    }

    #[test]
    fn none_is_allowed_none() {
        let all = Arc::new(PerAddress::new(0));
        assert!(all.hold("192.0.2.1".parse().unwrap()).is_none());
        assert!(all.held().is_empty());
    }
}
