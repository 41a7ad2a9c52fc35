//! Callers whose tokens are no good, counted by where they call from.
//!
//! Nobody guesses 256 bits; this keeps a loop with a wrong token, or somebody who tries, from filling the log and
//! taking time. Each address has a few failures a minute, and all of them together have more: beyond the one, an address
//! has to wait, with whatever token; beyond the other, only those wait whose token is no good.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// An address is forgiven a failure in this time, and may have so many unforgiven ones.
const FORGIVEN_EACH: Duration = Duration::from_secs(6);
const FAILURES_MAX: u32 = 10;
/// The same of all addresses together.
const ALL_FORGIVEN_EACH: Duration = Duration::from_millis(200);
const ALL_FAILURES_MAX: u32 = 300;
/// Addresses that are remembered; beyond it only the bound of all holds.
const SOURCES_MAX: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_source: HashMap<IpAddr, Debt>,
    all: Debt,
}

/// When the last failure will be forgiven.
#[derive(Clone, Copy, Debug, Default)]
struct Debt(Option<Instant>);

impl Debt {
    /// How long until one more failure is allowed; none if it is now.
    fn wait(self, each: Duration, max: u32, now: Instant) -> Option<Duration> {
        let debt = self.0?.saturating_duration_since(now);
        (debt + each).checked_sub(each * max).filter(|wait| !wait.is_zero())
    }

    fn add(&mut self, each: Duration, now: Instant) {
        self.0 = Some(self.0.map_or(now, |end| end.max(now)) + each);
    }

    fn is_forgiven(self, now: Instant) -> bool {
        self.0.is_none_or(|end| end <= now)
    }
}

impl Failures {
    /// How long this address has to wait before it is heard again.
    pub(super) fn wait(&self, source: IpAddr, now: Instant) -> Option<Duration> {
        self.lock().wait(network(source), now)
    }

    /// Counts a failure. If there are too many already it is not counted, and has to wait.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn count(&self, source: IpAddr, now: Instant) -> Result<(), Duration> {
        let source = network(source);
        let mut inner = self.lock();
        let wait = inner.wait(source, now).max(inner.all.wait(ALL_FORGIVEN_EACH, ALL_FAILURES_MAX, now));
        if let Some(wait) = wait {
            return Err(wait);
        }
        inner.all.add(ALL_FORGIVEN_EACH, now);
        if inner.by_source.len() >= SOURCES_MAX && !inner.by_source.contains_key(&source) {
            inner.by_source.retain(|_, debt| !debt.is_forgiven(now));
        }
        if inner.by_source.len() < SOURCES_MAX || inner.by_source.contains_key(&source) {
            inner.by_source.entry(source).or_default().add(FORGIVEN_EACH, now);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock can panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn wait(&self, source: IpAddr, now: Instant) -> Option<Duration> {
        self.by_source.get(&source)?.wait(FORGIVEN_EACH, FAILURES_MAX, now)
    }
}

/// What is counted as one: an IPv4 address, also where it came as IPv6, or an IPv6 network of 64 bits.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_waits_after_its_last_failure_and_no_other_does() {
        let (failures, now) = (Failures::default(), Instant::now());
        let (bad, good) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..FAILURES_MAX {
            assert_eq!(failures.wait(bad, now), None);
            assert_eq!(failures.count(bad, now), Ok(()));
        }
        assert_eq!(failures.wait(bad, now), Some(FORGIVEN_EACH));
        assert_eq!(failures.wait(address("::ffff:192.0.2.1"), now), Some(FORGIVEN_EACH));
        assert_eq!(failures.count(bad, now), Err(FORGIVEN_EACH));
        assert_eq!(failures.wait(good, now), None);
        let later = now + FORGIVEN_EACH;
        assert_eq!(failures.wait(bad, later), None);
        assert_eq!(failures.count(bad, later), Ok(()));
        assert_eq!(failures.wait(bad, later), Some(FORGIVEN_EACH));
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let (failures, now) = (Failures::default(), Instant::now());
        for host in 0..FAILURES_MAX {
            assert_eq!(failures.count(address(&format!("2001:db8::{host:x}")), now), Ok(()));
        }
        assert!(failures.wait(address("2001:db8::ffff:1"), now).is_some());
        assert_eq!(failures.wait(address("2001:db8:0:1::1"), now), None);
    }

    #[test]
    fn all_together_are_bounded_and_so_is_what_is_remembered() {
        let (failures, mut now) = (Failures::default(), Instant::now());
        let source = |number: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(number));
        for number in 0..ALL_FAILURES_MAX {
            assert_eq!(failures.count(source(number), now), Ok(()));
        }
        assert_eq!(failures.count(source(u32::MAX), now), Err(ALL_FORGIVEN_EACH));
        assert_eq!(failures.wait(source(u32::MAX), now), None, "who has a good token is heard");
        for number in 0..2 * SOURCES_MAX as u32 {
            now += ALL_FORGIVEN_EACH;
            assert_eq!(failures.count(source(number), now), Ok(()));
            assert!(failures.lock().by_source.len() <= SOURCES_MAX);
        }
    }
}
