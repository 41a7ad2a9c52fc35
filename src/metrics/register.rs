//! Metrics made, registered and described in one step.

use std::cell::RefCell;

use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result,
};

/// What is known of a metric before it has a value: a registry alone says nothing of metrics whose labels never
/// occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// As it is scraped, `tidegate_...` or `process_...`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub labels: Vec<String>,
    pub help: String,
}

/// Before the name of every metric of ours.
pub(super) const PREFIX: &str = "tidegate";

/// Where metrics are registered.
pub(super) struct Register<'a> {
    registry: &'a Registry,
    described: RefCell<Vec<Described>>,
}

impl<'a> Register<'a> {
    pub(super) fn new(registry: &'a Registry) -> Self {
        Self { registry, described: RefCell::default() }
    }

    /// What was registered, in that order.
    pub(super) fn described(self) -> Vec<Described> {
        self.described.into_inner()
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.keep("gauge", IntGauge::new(name, help)?)
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.keep("gauge", IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.keep("counter", IntCounter::new(name, help)?)
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.keep("counter", IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// Durations; buckets are upper bounds in seconds.
    pub(super) fn seconds(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.keep("histogram", HistogramVec::new(options, labels)?)
    }

    pub(super) fn keep<C: Collector + Clone + 'static>(&self, kind: &'static str, metric: C) -> Result<C> {
        self.registry.register(Box::new(metric.clone()))?;
        self.described.borrow_mut().extend(metric.desc().into_iter().map(|desc| Described {
            name: format!("{PREFIX}_{}", desc.fq_name),
            kind,
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        }));
        Ok(metric)
    }
}
