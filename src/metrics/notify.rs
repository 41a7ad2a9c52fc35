//! Whether what happened is told, and whether anybody outside learns that we are here.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Result};

use super::register::Register;

/// Of all receivers, by name.
#[derive(Clone)]
pub struct NotifyMetrics {
    sent: IntCounterVec,
    failed: IntCounterVec,
    dropped: IntCounterVec,
    waiting: IntGaugeVec,
    failing: IntGaugeVec,
}

/// Of one receiver.
pub(crate) struct ReceiverMetrics {
    pub(crate) sent: IntCounter,
    /// Tries.
    pub(crate) failed: IntCounter,
    pub(crate) waiting: IntGauge,
    pub(crate) failing: IntGauge,
    left_out: IntCounter,
    given_up: IntCounter,
}

/// Of the sign of life.
#[derive(Clone)]
pub struct HeartbeatMetrics {
    pub(crate) sent: IntCounter,
    pub(crate) failed: IntCounter,
    pub(crate) failing: IntGauge,
    held_back: IntCounterVec,
}

/// Why a sign of life is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBack {
    /// The control task does not answer.
    Control,
    /// The store cannot be written.
    Store,
}

impl HeldBack {
    pub const ALL: [Self; 2] = [Self::Control, Self::Store];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Store => "store",
        }
    }
}

/// Why events did not reach a receiver.
const DROPPED: [&str; 2] = ["full", "given-up"];

impl NotifyMetrics {
    pub(super) fn new(new: &Register<'_>) -> Result<Self> {
        let by_receiver = &["receiver"];
        Ok(Self {
            sent: new.counters("notifications_sent_total", "Messages that a receiver took.", by_receiver)?,
            failed: new.counters(
                "notification_failures_total",
                "Tries to deliver a message that failed; most are tried again.",
                by_receiver,
            )?,
            dropped: new.counters(
                "notifications_dropped_total",
                "Events that a receiver was not told: its queue was full (full), or it did not take them in time (given-up).",
                &["receiver", "reason"],
            )?,
            waiting: new.gauges("notifications_waiting", "Messages that wait for a receiver.", by_receiver)?,
            failing: new.gauges(
                "notifications_failing",
                "1 while the latest try to reach a receiver has failed.",
                by_receiver,
            )?,
        })
    }

    /// The series of one receiver, which exist from now on.
    pub(crate) fn receiver(&self, name: &str) -> ReceiverMetrics {
        let [left_out, given_up] = DROPPED.map(|reason| self.dropped.with_label_values(&[name, reason]));
        ReceiverMetrics {
            sent: self.sent.with_label_values(&[name]),
            failed: self.failed.with_label_values(&[name]),
            waiting: self.waiting.with_label_values(&[name]),
            failing: self.failing.with_label_values(&[name]),
            left_out,
            given_up,
        }
    }

    /// The receiver is gone, and its series with it.
    pub(crate) fn forget(&self, name: &str) {
        // They were made together; one that is missing is gone already.
        for vec in [&self.sent, &self.failed] {
            let _ = vec.remove_label_values(&[name]);
        }
        for vec in [&self.waiting, &self.failing] {
            let _ = vec.remove_label_values(&[name]);
        }
        for reason in DROPPED {
            let _ = self.dropped.remove_label_values(&[name, reason]);
        }
    }
}

impl ReceiverMetrics {
    /// There was no room for so many events.
    pub(crate) fn left_out(&self, count: u64) {
        self.left_out.inc_by(count);
    }

    /// So many events were not delivered in their time.
    pub(crate) fn given_up(&self, count: u64) {
        self.given_up.inc_by(count);
    }
}

impl HeartbeatMetrics {
    pub(super) fn new(new: &Register<'_>) -> Result<Self> {
        let held_back = new.counters(
            "heartbeats_held_back_total",
            "Signs of life that were not given: the control task does not answer (control), or the store cannot be written \
             (store).",
            &["reason"],
        )?;
        for reason in HeldBack::ALL {
            held_back.with_label_values(&[reason.as_str()]);
        }
        Ok(Self {
            sent: new.counter("heartbeats_sent_total", "Signs of life that were taken.")?,
            failed: new.counter("heartbeat_failures_total", "Signs of life that did not arrive.")?,
            failing: new.gauge(
                "heartbeat_failing",
                "1 while the latest sign of life did not arrive or was not given.",
            )?,
            held_back,
        })
    }

    pub(crate) fn held_back(&self, reason: HeldBack) {
        self.held_back.with_label_values(&[reason.as_str()]).inc();
        self.failing.set(1);
    }
}
