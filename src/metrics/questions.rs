//! The counters of DNS queries, each looked up by its labels once.
//!
//! A query costs about four microseconds in all, nearly everything of it the kernel's. Hashing three labels and taking a
//! lock each time would be a visible share of the rest.

use std::sync::OnceLock;

use prometheus::{IntCounter, IntCounterVec, Result};
use tidegate_dns::{Protocol, QtypeLabel};

use super::register::Register;

/// The names of RFC 1035, section 4.1.1, and of RFC 6891, section 9.
const RCODES: [&str; 8] =
    ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "BADVERS", "other"];
const BADVERS: u8 = 16;

pub(crate) struct Questions {
    all: IntCounterVec,
    /// By protocol, type and code. A series appears with the first query of its kind.
    known: Box<[OnceLock<IntCounter>]>,
}

impl Questions {
    pub(super) fn new(new: &Register<'_>) -> Result<Self> {
        let count = Protocol::ALL.len() * QtypeLabel::COUNT * RCODES.len();
        Ok(Self {
            all: new.counters(
                "dns_queries_total",
                "Answered DNS queries.",
                &["protocol", "type", "rcode"],
            )?,
            known: std::iter::repeat_with(OnceLock::new).take(count).collect(),
        })
    }

    pub(crate) fn count(&self, protocol: Protocol, qtype: QtypeLabel, rcode: u8) {
        let code = code_index(rcode);
        let index = (protocol.index() * QtypeLabel::COUNT + qtype.index()) * RCODES.len() + code;
        let labels = [protocol.as_str(), qtype.as_str(), RCODES[code]];
        let counter = || self.all.with_label_values(&labels);
        match self.known.get(index) {
            Some(known) => known.get_or_init(counter).inc(),
            None => counter().inc(),
        }
    }
}

fn code_index(rcode: u8) -> usize {
    match rcode {
        0..=5 => usize::from(rcode),
        BADVERS => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use prometheus::core::Collector;

    use super::*;

    #[test]
    fn every_kind_has_a_counter_of_its_own() {
        let registry = Registry::new();
        let questions = Questions::new(&Register::new(&registry)).unwrap();
        for (times, protocol) in Protocol::ALL.into_iter().enumerate() {
            for rcode in [0, 1, 2, 3, 4, 5, 16, 7] {
                for _ in 0..=times {
                    questions.count(protocol, QtypeLabel::OTHER, rcode);
                }
            }
        }
        let families = questions.all.collect();
        assert_eq!(families[0].get_metric().len(), Protocol::ALL.len() * RCODES.len());
        for (times, protocol) in Protocol::ALL.into_iter().enumerate() {
            for name in RCODES {
                let labels = [protocol.as_str(), "other", name];
                let counted = questions.all.with_label_values(&labels).get();
                assert_eq!(counted, times as u64 + 1, "{labels:?}");
            }
        }
    }

    #[test]
    fn a_series_appears_with_its_first_query() {
        let registry = Registry::new();
        let questions = Questions::new(&Register::new(&registry)).unwrap();
        assert!(questions.all.collect()[0].get_metric().is_empty());
        questions.count(Protocol::Udp, QtypeLabel::OTHER, 0);
        assert_eq!(questions.all.collect()[0].get_metric().len(), 1);
    }
}
