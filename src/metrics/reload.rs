//! Whether the latest configuration is the one that runs.

use prometheus::{IntGauge, Result};
use tidegate_health::time::Wall;

use super::register::Register;

pub(super) struct ReloadMetrics {
    successful: IntGauge,
    success_at: IntGauge,
}

impl ReloadMetrics {
    /// A start is the first success.
    pub(super) fn new(new: &Register<'_>) -> Result<Self> {
        let metrics = Self {
            successful: new.gauge(
                "config_last_reload_successful",
                "1 if the latest reload of the configuration was taken, 0 if it was refused; a start counts as one.",
            )?,
            success_at: new.gauge(
                "config_last_reload_success_timestamp_seconds",
                "When a configuration was last taken, in seconds since 1970.",
            )?,
        };
        metrics.taken(crate::clock::wall());
        Ok(metrics)
    }

    pub(super) fn taken(&self, at: Wall) {
        self.successful.set(1);
        self.success_at.set(i64::try_from(at.0 / 1000).unwrap_or(i64::MAX));
    }

    pub(super) fn refused(&self) {
        self.successful.set(0);
    }
}
