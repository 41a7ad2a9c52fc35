//! What checks notice beside their results.

use prometheus::{IntGaugeVec, Result};
use tidegate_health::fleet::Fleet;
use tidegate_health::id::OriginId;

use super::forget::Known;
use super::register::Register;

const ORIGIN: [&str; 3] = ["service", "site", "origin"];

pub(super) struct CheckMetrics {
    certificate_expires: IntGaugeVec,
    warns: IntGaugeVec,
}

impl CheckMetrics {
    pub(super) fn new(new: &Register<'_>) -> Result<Self> {
        Ok(Self {
            certificate_expires: new.gauges(
                "origin_certificate_expires_timestamp_seconds",
                "When the certificate of an origin ends that is checked with `kind = \"tls\"`, in seconds since 1970.",
                &ORIGIN,
            )?,
            warns: new.gauges(
                "origin_check_warns",
                "1 while the check of an origin warns: its certificate ends soon, or its program says so or decides nothing.",
                &ORIGIN,
            )?,
        })
    }

    pub(super) fn certificate_ends(&self, fleet: &Fleet, id: OriginId, end: i64) {
        self.certificate_expires.with_label_values(&labels(fleet, id)).set(end);
    }

    pub(super) fn warns(&self, fleet: &Fleet, id: OriginId, warns: bool) {
        self.warns.with_label_values(&labels(fleet, id)).set(i64::from(warns));
    }

    pub(super) fn forget(&self, known: &Known<'_>) {
        known.sweep(&self.certificate_expires);
        // What goes on warning says so again.
        self.warns.reset();
    }
}

fn labels(fleet: &Fleet, id: OriginId) -> [&str; 3] {
    let origin = fleet.origin(id);
    [&fleet.service(origin.service).name, &fleet.site(origin.site).name, &origin.name]
}
