//! Idle connections to one origin.
//!
//! Each carries the epoch it was made under: after a switch and back, a connection of the earlier stay is never used
//! again, because what is behind it may have changed roles meanwhile. The pool belongs to its target, so settings that
//! make a new target (address, TLS) drop it as a whole. It is bounded, hands out the most recently used first so that
//! the surplus ages, and a small reaper task runs only while something is idle.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::clock::now_ms;
use crate::stream::Wire;
use crate::target::Target;

/// Idle connections kept per origin.
const IDLE_MAX: usize = 512;

#[derive(Debug)]
struct Idle {
    wire: Box<Wire>,
    epoch: u64,
    expires_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<VecDeque<Idle>>,
    reaping: AtomicBool,
}

impl Pool {
    /// A live connection made under `epoch`. Connections of other epochs met on the way are closed.
    pub(crate) fn take(&self, epoch: u64) -> Option<Box<Wire>> {
        let now = now_ms();
        loop {
            let mut idle = self.lock().pop_back()?;
            if idle.epoch == epoch && idle.expires_ms > now && idle.wire.is_quiet() {
                return Some(idle.wire);
            }
        }
    }

    /// Keeps a connection whose last exchange is complete.
    pub(crate) fn put(target: &Arc<Target>, wire: Box<Wire>, epoch: u64, idle_timeout: Duration) {
        let timeout_ms = u64::try_from(idle_timeout.as_millis()).unwrap_or(u64::MAX);
        let entry = Idle { wire, epoch, expires_ms: now_ms().saturating_add(timeout_ms) };
        let surplus = {
            let mut idle = target.pool.lock();
            idle.push_back(entry);
            if idle.len() > IDLE_MAX { idle.pop_front() } else { None }
        };
        drop(surplus);
        // Looked at after it was added: whoever takes the target out empties the pool after saying so.
        if target.is_out() {
            target.pool.clear();
        }
        if !target.pool.reaping.swap(true, Ordering::AcqRel) {
            tokio::spawn(reap(Arc::downgrade(target), idle_timeout.max(Duration::from_millis(100))));
        }
    }

    /// Closes all of them.
    pub(crate) fn clear(&self) {
        let idle = std::mem::take(&mut *self.lock());
        drop(idle);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Drops what is too old; true when nothing is left.
    fn sweep(&self, now: u64) -> bool {
        let mut idle = self.lock();
        idle.retain(|entry| entry.expires_ms > now);
        idle.is_empty()
    }

    /// A panic while the list was locked leaves a usable list.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that stayed idle; ends with the last of them, or with the target.
async fn reap(target: Weak<Target>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(target) = target.upgrade() else { return };
        if target.pool.sweep(now_ms()) {
            target.pool.reaping.store(false, Ordering::Release);
            // Something put between the sweep and the store would have no reaper.
            if target.pool.lock().is_empty() || target.pool.reaping.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }
}
