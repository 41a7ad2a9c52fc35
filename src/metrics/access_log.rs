//! Whether the access log is written.

use prometheus::{IntCounter, IntGauge, Result};

use super::register::Register;

/// Cloned into the log: it counts by itself.
#[derive(Clone)]
pub struct AccessLogMetrics {
    pub(crate) failing: IntGauge,
    /// Lines for which there was no room because the file could not be written.
    pub(crate) dropped_failing: IntCounter,
    /// Lines for which there was no room although the file was written: more came than it took.
    pub(crate) dropped_slow: IntCounter,
}

impl AccessLogMetrics {
    pub(super) fn new(new: &Register<'_>) -> Result<Self> {
        let dropped = new.counters(
            "access_log_dropped_total",
            "Lines missing in the access log: its file failed (failing), or was too slow (slow).",
            &["reason"],
        )?;
        Ok(Self {
            failing: new.gauge("access_log_failing", "1 while the access log cannot be written.")?,
            dropped_failing: dropped.with_label_values(&["failing"]),
            dropped_slow: dropped.with_label_values(&["slow"]),
        })
    }
}
