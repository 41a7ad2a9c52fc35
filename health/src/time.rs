//! Time as an input. The core never asks a clock; whoever calls it says what time it is, twice.
//!
//! Durations that matter within one run are measured on the monotonic clock; only deadlines on the wall clock are
//! ever written down, because a monotonic reading means nothing after a restart.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Both clocks, read at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub mono: Mono,
    pub wall: Wall,
}

/// A monotonic reading: the time since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(pub Duration);

/// A wall clock reading: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall(pub u64);

impl Now {
    /// The same moment, later. For tests and simulations that own the clock.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self { mono: Mono(self.mono.0 + by), wall: self.wall.plus(by) }
    }
}

impl Mono {
    /// The time from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0 + by)
    }
}

impl Wall {
    /// The time from `earlier` to here; zero if the clock was set back meanwhile.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}
