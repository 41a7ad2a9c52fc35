//! Calls of the API over the network that were refused for want of a good token.

use prometheus::{IntCounterVec, Result};

use super::register::Register;

/// Why.
const REASONS: [&str; 5] = ["no-token", "malformed-token", "unknown-token", "expired-token", "throttled"];

pub(crate) struct ApiMetrics {
    refused: IntCounterVec,
}

impl ApiMetrics {
    pub(super) fn new(new: &Register<'_>) -> Result<Self> {
        let metrics = Self {
            refused: new.counters(
                "api_refused_total",
                "Calls of the API over the network without a good token: no-token, malformed-token, unknown-token, \
                 expired-token; throttled where too many of them came from one address.",
                &["reason"],
            )?,
        };
        for reason in REASONS {
            metrics.refused.with_label_values(&[reason]);
        }
        Ok(metrics)
    }

    pub(crate) fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }
}
