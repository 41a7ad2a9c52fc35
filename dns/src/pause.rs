//! What loops wait for: the end of service, and the next try.
//!
//! The wait of a loop whose system call fails: it grows, so that a lasting failure (no file descriptors, no buffers) costs
//! little, and it is bounded, so that service returns soon after the failure ends.

use std::time::Duration;

use tokio::sync::watch;

pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(5);
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Returns once `shutdown` is true or its sender is gone.
pub(crate) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // Either outcome means the end; the borrow of the value must not outlive this call.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

#[derive(Default)]
pub(crate) struct Pause {
    doublings: u32,
}

impl Pause {
    /// How long to wait after this failure.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = PAUSE_MIN.saturating_mul(1 << self.doublings).min(PAUSE_MAX);
        self.doublings = (self.doublings + 1).min(10);
        pause
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.doublings = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound_and_starts_over() {
        let mut pause = Pause::default();
        assert_eq!(pause.next(), PAUSE_MIN);
        assert_eq!(pause.next(), PAUSE_MIN * 2);
        assert_eq!((0..100).map(|_| pause.next()).max(), Some(PAUSE_MAX));
        pause.reset();
        assert_eq!(pause.next(), PAUSE_MIN);
    }
}
