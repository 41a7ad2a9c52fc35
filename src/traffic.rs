//! Where DNS and the proxy say what they saw: counted in the metrics, written down in the access log, and ejections
//! passed on to control.

use std::sync::Arc;

use tidegate_dns::{DropReason, Protocol, QtypeLabel};
use tidegate_proxy::{Finished, HandshakeFault, RefusedFor, RetryReason, Signal};

use crate::access_log::AccessLog;
use crate::control::Handle;
use crate::metrics::Metrics;

/// The daemon's ear in the request paths. Nothing in it waits.
pub struct Traffic {
    pub metrics: Arc<Metrics>,
    pub control: Handle,
    pub access_log: Arc<AccessLog>,
}

impl tidegate_proxy::Signals for Traffic {
    fn signal(&self, signal: Signal) {
        if signal.ejected {
            self.control.ejected(signal.origin);
        }
    }
}

impl tidegate_proxy::Observer for Traffic {
    fn request(&self, finished: &Finished<'_>) {
        let mut digits = [0; 3];
        let code = code(finished.code, &mut digits);
        let spilled = if finished.spilled { "true" } else { "false" };
        let (service, site) = (finished.service, finished.site);
        self.metrics.traffic.requests.with_label_values(&[service, site, code, spilled]).inc();
        self.metrics
            .traffic
            .request_seconds
            .with_label_values(&[service, site])
            .observe(finished.duration.as_secs_f64());
        self.access_log.record(finished);
    }

    fn retry(&self, service: &str, reason: RetryReason) {
        self.metrics.traffic.retries.with_label_values(&[service, reason.as_str()]).inc();
    }

    fn spill(&self, service: &str, from: &str, to: &str) {
        self.metrics.traffic.spills.with_label_values(&[service, from, to]).inc();
    }

    fn ejection(&self, service: &str, site: &str) {
        self.metrics.traffic.ejections.with_label_values(&[service, site]).inc();
    }

    fn connection_opened(&self) {
        self.metrics.traffic.connections.inc();
    }

    fn connection_closed(&self) {
        self.metrics.traffic.connections.dec();
    }

    fn connection_refused(&self, reason: RefusedFor) {
        self.metrics.traffic.connections_refused.with_label_values(&[reason.as_str()]).inc();
    }

    fn handshake_failed(&self, fault: HandshakeFault) {
        self.metrics.traffic.handshakes_failed.with_label_values(&[fault.as_str()]).inc();
    }

    fn accept_paused(&self) {
        self.metrics.traffic.accept_failures.with_label_values(&["http"]).inc();
    }

    fn tunnel_opened(&self, _service: &str, _site: &str) {
        self.metrics.traffic.tunnels.inc();
    }

    fn tunnel_closed(&self, _service: &str, _site: &str) {
        self.metrics.traffic.tunnels.dec();
    }
}

impl tidegate_dns::Observer for Traffic {
    fn query(&self, protocol: Protocol, qtype: QtypeLabel, rcode: u8) {
        self.metrics.traffic.dns_queries.count(protocol, qtype, rcode);
    }

    fn dropped(&self, protocol: Protocol, reason: DropReason) {
        self.metrics.traffic.dns_dropped.with_label_values(&[protocol.as_str(), reason.as_str()]).inc();
    }
}

/// A status in decimal, without an allocation. An origin may send any three digits, so there are at most 900.
fn code(status: u16, digits: &mut [u8; 3]) -> &str {
    for (position, divisor) in [100, 10, 1].into_iter().enumerate() {
        digits[position] = b'0' + (status / divisor % 10) as u8;
    }
    std::str::from_utf8(digits).unwrap_or("000")
}
