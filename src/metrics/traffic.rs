//! What live traffic does: requests, retries, spills, ejections, DNS questions.

use prometheus::{HistogramVec, IntCounterVec, IntGauge, Result};
use tidegate_dns::{DropReason, Protocol};
use tidegate_health::fleet::Fleet;
use tidegate_proxy::{HandshakeFault, RefusedFor, RetryReason};

use super::forget::Known;
use super::questions::Questions;
use super::register::Register;

/// Upper bounds in seconds: from a local origin's answer to a client's patience.
const REQUEST_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

pub(crate) struct TrafficMetrics {
    pub(crate) requests: IntCounterVec,
    pub(crate) request_seconds: HistogramVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) spills: IntCounterVec,
    pub(crate) ejections: IntCounterVec,
    pub(crate) connections: IntGauge,
    pub(crate) connections_refused: IntCounterVec,
    pub(crate) handshakes_failed: IntCounterVec,
    pub(crate) tunnels: IntGauge,
    pub(crate) accept_failures: IntCounterVec,
    pub(crate) dns_queries: Questions,
    pub(crate) dns_dropped: IntCounterVec,
}

impl TrafficMetrics {
    pub(super) fn new(new: &Register<'_>) -> Result<Self> {
        let requests = "Answered requests; spilled ones were served by a site that is not active.";
        let spills = "Requests tried at another site before the group had switched.";
        let retries = "Further tries of requests within the active site.";
        Ok(Self {
            requests: new.counters("requests_total", requests, &["service", "site", "code", "spilled"])?,
            request_seconds: new.seconds(
                "request_duration_seconds",
                "From a request's head to its answer's last byte.",
                &["service", "site"],
                &REQUEST_BUCKETS,
            )?,
            retries: new.counters("retries_total", retries, &["service", "reason"])?,
            spills: new.counters("spills_total", spills, &["service", "from", "to"])?,
            ejections: new.counters(
                "ejections_total",
                "Origins that live traffic took out of picking.",
                &["service", "site"],
            )?,
            connections: new.gauge("client_connections", "Open client connections of the proxy.")?,
            connections_refused: new.counters(
                "client_connections_refused_total",
                "Client connections closed before a request, for a bound or for want of a PROXY header.",
                &["reason"],
            )?,
            handshakes_failed: new.counters(
                "tls_handshakes_failed_total",
                "TLS handshakes of clients that came to nothing.",
                &["reason"],
            )?,
            tunnels: new.gauge("tunnels", "Open tunnels of upgraded connections.")?,
            accept_failures: new.counters(
                "accept_failures_total",
                "Times a listener could not accept a connection.",
                &["listener"],
            )?,
            dns_queries: Questions::new(new)?,
            dns_dropped: new.counters(
                "dns_dropped_total",
                "DNS packets and connections that got no answer.",
                &["protocol", "reason"],
            )?,
        })
    }

    pub(super) fn forget(&self, known: &Known<'_>) {
        for counters in [&self.requests, &self.retries, &self.spills, &self.ejections] {
            known.sweep(counters);
        }
        known.sweep(&self.request_seconds);
    }

    pub(super) fn expect(&self, fleet: &Fleet) {
        for service in &fleet.services {
            let name = &*service.name;
            for reason in [RetryReason::Connect, RetryReason::Died, RetryReason::Stale] {
                self.retries.with_label_values(&[name, reason.as_str()]).inc_by(0);
            }
            let sites: Vec<_> = service.origins.keys().map(|site| &*fleet.site(*site).name).collect();
            for site in &sites {
                self.ejections.with_label_values(&[name, *site]).inc_by(0);
                for spilled in ["false", "true"] {
                    self.requests.with_label_values(&[name, *site, "200", spilled]).inc_by(0);
                }
                for other in sites.iter().filter(|other| *other != site) {
                    self.spills.with_label_values(&[name, *site, *other]).inc_by(0);
                }
            }
        }
        self.accept_failures.with_label_values(&["http"]).inc_by(0);
        for reason in RefusedFor::ALL {
            self.connections_refused.with_label_values(&[reason.as_str()]).inc_by(0);
        }
        for fault in HandshakeFault::ALL {
            self.handshakes_failed.with_label_values(&[fault.as_str()]).inc_by(0);
        }
        for protocol in Protocol::ALL {
            for reason in DropReason::ALL {
                self.dns_dropped.with_label_values(&[protocol.as_str(), reason.as_str()]).inc_by(0);
            }
        }
    }
}
