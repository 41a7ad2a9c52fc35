//! Names that stand for origins: what they stand for, and whether that is still known.

use std::collections::BTreeSet;

use prometheus::{IntCounterVec, IntGaugeVec, Result};

use super::register::Register;
use crate::names::{NameState, NameStatus};

pub(super) struct NameMetrics {
    addresses: IntGaugeVec,
    failing: IntGaugeVec,
    resolved_at: IntGaugeVec,
    pub(super) answers: IntCounterVec,
}

impl NameMetrics {
    pub(super) fn new(new: &Register<'_>) -> Result<Self> {
        let addresses = "Addresses that a name stands for; 0 until it is resolved for the first time.";
        let failing =
            "1 while no answer about a name is any good: the last good addresses are used, if there are any.";
        let resolved_at = "When an answer last named addresses of a name, in seconds since 1970; in an earlier run, perhaps.";
        let answers =
            "Answers about names, one for each family of addresses: `found`, `nothing` or `failed`.";
        let metrics = Self {
            addresses: new.gauges("name_addresses", addresses, &["name"])?,
            failing: new.gauges("name_resolution_failed", failing, &["name"])?,
            resolved_at: new.gauges("name_resolved_timestamp_seconds", resolved_at, &["name"])?,
            answers: new.counters("name_answers_total", answers, &["outcome"])?,
        };
        for outcome in ["found", "nothing", "failed"] {
            metrics.answers.with_label_values(&[outcome]).inc_by(0);
        }
        Ok(metrics)
    }

    /// Takes over how it stands with all names; those that are not among them are gone.
    pub(super) fn published(&self, names: &[NameStatus]) {
        let known: BTreeSet<_> = names.iter().map(|name| &*name.name).collect();
        for gauges in [&self.addresses, &self.failing, &self.resolved_at] {
            super::forget::retain(gauges, "name", |name| known.contains(name));
        }
        for name in names {
            let labels = [&*name.name];
            let count = i64::try_from(name.addresses.len()).unwrap_or(i64::MAX);
            self.addresses.with_label_values(&labels).set(count);
            let failing = name.state != NameState::Resolved;
            self.failing.with_label_values(&labels).set(i64::from(failing));
            if let Some(at) = name.resolved_at {
                let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
                self.resolved_at.with_label_values(&labels).set(seconds);
            }
        }
    }
}
