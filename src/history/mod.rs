//! The history: what was done, what was noticed, what was seen to change; how much of it is kept, and how it is asked for.
//!
//! A flapping origin may not fill the disk, nor the store's queue, nor displace a decision. So each class of entries has
//! a ring of its own with a bound on number and age ([`Bounds`]), and changes of one thing that come too fast are left out
//! and counted ([`Flood`]) before anything waits for the disk.

mod filter;
mod flood;

use std::time::Duration;

pub use filter::{Entry, Filter, FilterError, Moment, Order, Query};
pub use flood::Flood;
use tidegate_health::event::Class;

/// How much of the history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub decisions_max: u64,
    pub notes_max: u64,
    pub observations_max: u64,
    /// What is older goes.
    pub max_age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            decisions_max: 10_000,
            notes_max: 2_000,
            observations_max: 20_000,
            max_age: Duration::from_secs(400 * 86_400),
        }
    }
}

impl Bounds {
    /// The most entries of a class.
    #[must_use]
    pub fn entries_max(&self, class: Class) -> u64 {
        match class {
            Class::Decision => self.decisions_max,
            Class::Note => self.notes_max,
            Class::Observation => self.observations_max,
        }
    }
}
