//! The daemon's two clocks, read together. The only place that asks them for the core.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tidegate_health::time::{Mono, Now, Wall};

/// Monotonic time counts from when this was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    #[must_use]
    pub fn now(&self) -> Now {
        Now { mono: self.mono(Instant::now()), wall: wall() }
    }

    /// An instant as the core counts; zero if it was before the start.
    #[must_use]
    pub fn mono(&self, instant: Instant) -> Mono {
        Mono(instant.saturating_duration_since(self.start))
    }
}

/// The wall clock; zero if it is before 1970.
#[must_use]
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
