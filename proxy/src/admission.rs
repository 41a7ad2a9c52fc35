//! Counts connections, in total and per address, and says when there are too many.
//!
//! Both bounds are read anew with every connection, so that a reload can change them under traffic: a lower bound
//! closes nobody, it only lets nobody in until enough have left.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module. As large as there are connections, which are bounded.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of all, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Place(Arc<Admission>);

/// One connection of its address.
#[derive(Debug)]
pub(crate) struct AddressPlace {
    admission: Arc<Admission>,
    key: IpAddr,
}

impl Admission {
    /// A place, if fewer than `max` are taken.
    pub(crate) fn enter(self: &Arc<Self>, max: usize) -> Option<Place> {
        let enter = |open: usize| (open < max).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).ok()?;
        Some(Place(Arc::clone(self)))
    }

    /// A place for this address, if it holds fewer than `max`.
    pub(crate) fn enter_from(self: &Arc<Self>, address: IpAddr, max: Option<usize>) -> Option<AddressPlace> {
        let key = key(address);
        let mut counts = self.lock();
        let count = counts.get(&key).copied().unwrap_or(0);
        if max.is_some_and(|max| count >= max) {
            return None;
        }
        counts.insert(key, count + 1);
        Some(AddressPlace { admission: Arc::clone(self), key })
    }

    /// A panic while the counts were locked leaves usable counts.
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut counts = self.admission.lock();
        if let Entry::Occupied(mut count) = counts.entry(self.key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What counts as one address: in IPv6 a /64, because that is what one subscriber gets at least.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_total_is_bounded_and_the_bound_can_move() {
        let admission = Arc::new(Admission::default());
        let places = [admission.enter(2), admission.enter(2)];
        assert!(places.iter().all(Option::is_some));
        assert!(admission.enter(2).is_none());
        let third = admission.enter(3);
        assert!(third.is_some(), "a higher bound counts at once");
        drop(places);
        assert!(admission.enter(1).is_none(), "and a lower one");
        drop(third);
        assert!(admission.enter(1).is_some());
    }

    #[test]
    fn an_address_is_bounded_by_itself_and_forgotten_when_it_has_left() {
        let admission = Arc::new(Admission::default());
        let enter = |address| admission.enter_from(ip(address), Some(2));
        let mine = [enter("192.0.2.1"), enter("::ffff:192.0.2.1")];
        assert!(mine.iter().all(Option::is_some));
        assert!(enter("192.0.2.1").is_none());
        let other = enter("192.0.2.2");
        assert!(other.is_some());
        let wide = [enter("2001:db8::1"), enter("2001:db8::ffff:0:0:2")];
        assert!(wide.iter().all(Option::is_some));
        assert!(enter("2001:db8::3").is_none(), "a /64 is one address");
        assert!(enter("2001:db8:0:1::3").is_some());
        assert!(admission.enter_from(ip("192.0.2.1"), None).is_some(), "no bound");
        drop((mine, other, wide));
        assert!(admission.lock().is_empty());
        assert!(enter("192.0.2.1").is_some());
    }
}
