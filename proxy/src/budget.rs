//! The retry budget: a share of live requests, with a floor.
//!
//! A request that is sent twice is work done twice. When many die together (an overloaded origin that resets), retries
//! would double the load exactly when it must fall. So retries of *sent* requests are a share of the requests seen in
//! the same ten to twenty seconds. Tries that never reached an origin cost it nothing and are bounded by the attempt cap
//! alone: charging them would fail requests while a dead origin is still being noticed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::clock::now_ms;

/// How much may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetPolicy {
    /// Retries per hundred requests.
    pub share_percent: u32,
    /// Retries per second that are always allowed, so that quiet services can retry too.
    pub floor_per_second: u32,
}

impl Default for BudgetPolicy {
    fn default() -> Self {
        Self { share_percent: 20, floor_per_second: 10 }
    }
}

const WINDOW_MS: u64 = 10_000;

/// Counts of one window: requests and retries.
#[derive(Debug, Default)]
struct Window {
    requests: AtomicU32,
    retries: AtomicU32,
}

/// The live budget of one service. Shared by every view of that service.
#[derive(Debug)]
pub struct RetryBudget {
    policy: BudgetPolicy,
    /// Number of the current window since the process began.
    epoch: AtomicU64,
    /// Current and previous window, by the parity of their number.
    windows: [Window; 2],
}

impl RetryBudget {
    /// A full budget.
    #[must_use]
    pub fn new(policy: BudgetPolicy) -> Self {
        Self { policy, epoch: AtomicU64::new(0), windows: [Window::default(), Window::default()] }
    }

    /// Counts one live request.
    pub(crate) fn deposit(&self) {
        self.current(now_ms()).requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one retry, if the budget has one left.
    pub(crate) fn withdraw(&self) -> bool {
        self.withdraw_at(now_ms())
    }

    fn withdraw_at(&self, now_ms: u64) -> bool {
        let current = self.current(now_ms);
        let sum = |field: fn(&Window) -> &AtomicU32| -> u64 {
            self.windows.iter().map(|w| u64::from(field(w).load(Ordering::Relaxed))).sum()
        };
        let allowed = u64::from(self.policy.floor_per_second) * WINDOW_MS / 1000
            + sum(|w| &w.requests) * u64::from(self.policy.share_percent) / 100;
        if sum(|w| &w.retries) >= allowed {
            return false;
        }
        current.retries.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// The window of `now_ms`; whoever comes first in a new window clears what is too old. A count that races with the
    /// clearing may be lost: the budget is a bound on storms, not an account.
    fn current(&self, now_ms: u64) -> &Window {
        let now = now_ms / WINDOW_MS;
        let seen = self.epoch.load(Ordering::Relaxed);
        if seen < now && self.epoch.compare_exchange(seen, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.clear(now);
            if now - seen > 1 {
                self.clear(now + 1);
            }
        }
        &self.windows[(now % 2) as usize]
    }

    fn clear(&self, window: u64) {
        let window = &self.windows[(window % 2) as usize];
        window.requests.store(0, Ordering::Relaxed);
        window.retries.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_allows_exactly_a_windows_worth_and_comes_back() {
        let budget = RetryBudget::new(BudgetPolicy { share_percent: 0, floor_per_second: 3 });
        let taken = (0..100).filter(|_| budget.withdraw_at(20_000)).count();
        assert_eq!(taken, 30);
        assert!(!budget.withdraw_at(29_999));
        // The previous window still counts, the one before it no longer.
        assert!(!budget.withdraw_at(30_000));
        assert!(budget.withdraw_at(40_000));
    }

    #[test]
    fn the_share_follows_the_requests_of_the_window() {
        let budget = RetryBudget::new(BudgetPolicy { share_percent: 20, floor_per_second: 0 });
        assert!(!budget.withdraw_at(50_000));
        for _ in 0..50 {
            budget.current(50_000).requests.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!((0..100).filter(|_| budget.withdraw_at(50_001)).count(), 10);
        // Two windows later nothing of it is left.
        assert!(!budget.withdraw_at(70_001));
    }
}
