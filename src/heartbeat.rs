//! A sign of life for somebody outside, who raises the alarm when it stays out.
//!
//! Every alarm of our own is silent when we are gone; so the absence is what has to be noticed, elsewhere. A daemon that
//! runs and cannot decide is as good as gone: the sign is given only while the control task answers and the store takes
//! a write, made by the same thread and with the same deadline as a decision. That it serves proves neither.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock::wall;
use crate::control::Handle;
use crate::metrics::{HeartbeatMetrics, HeldBack};
use crate::outbound::{Destination, Fault};
use crate::store::{Before, Change, Store};

/// Where the sign is given, and how.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(crate) destination: Destination,
    pub(crate) method: Method,
    pub(crate) interval: Duration,
    /// Of one call.
    pub(crate) timeout: Duration,
}

/// A way to change where the sign is given.
#[derive(Clone)]
pub struct Heartbeat(watch::Sender<Option<Arc<Setup>>>);

impl Heartbeat {
    #[must_use]
    pub fn new(setup: Option<Setup>) -> Self {
        Self(watch::channel(setup.map(Arc::new)).0)
    }

    /// Another setup, or none, from now on.
    pub fn replace(&self, setup: Option<Setup>) {
        self.0.send_replace(setup.map(Arc::new));
    }

    /// Gives the sign for as long as there is somebody to give it to; never ends by itself.
    pub async fn run(self, control: Handle, store: Store, metrics: HeartbeatMetrics) {
        let mut setups = self.0.subscribe();
        loop {
            let setup = setups.borrow_and_update().clone();
            tokio::select! {
                // It fails only when nobody can change it any more, which is while `self` is there never.
                _ = setups.changed() => metrics.failing.set(0),
                () = beat(setup.as_deref(), &control, &store, &metrics) => {}
            }
        }
    }
}

/// Gives the sign at every interval, without end; without a setup does nothing, as long.
async fn beat(setup: Option<&Setup>, control: &Handle, store: &Store, metrics: &HeartbeatMetrics) {
    let Some(setup) = setup else { return std::future::pending().await };
    let mut turns = interval(setup.interval);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_well = true;
    loop {
        turns.tick().await;
        let trouble = match well(control, store).await {
            Err((reason, why)) => {
                metrics.held_back(reason);
                Some(format!("the sign of life is held back: {why}"))
            }
            Ok(()) => match give(setup).await {
                Err(fault) => {
                    metrics.failed.inc();
                    metrics.failing.set(1);
                    Some(format!("the sign of life does not arrive: {}", fault.what))
                }
                Ok(()) => {
                    metrics.sent.inc();
                    metrics.failing.set(0);
                    None
                }
            },
        };
        match &trouble {
            Some(trouble) if was_well => tracing::error!("{trouble}"),
            None if !was_well => tracing::info!("the sign of life is given again"),
            _ => {}
        }
        was_well = trouble.is_none();
    }
}

/// Whether a decision could be made now and kept.
async fn well(control: &Handle, store: &Store) -> Result<(), (HeldBack, String)> {
    if !control.alive().await {
        return Err((HeldBack::Control, "the control task does not answer".into()));
    }
    let change = Change { alive: Some(wall()), ..Change::default() };
    store.write(change, Before::default()).await.map_err(|error| (HeldBack::Store, error.to_string()))
}

async fn give(setup: &Setup) -> Result<(), Fault> {
    let call = setup.destination.call(setup.method.clone(), Vec::new(), Bytes::new());
    timeout(setup.timeout, call)
        .await
        .unwrap_or_else(|_| Err(Fault::new(format!("no answer within {} ms", setup.timeout.as_millis()))))
}
