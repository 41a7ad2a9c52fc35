//! Telling people and machines what happened, and never being in the way of what happens.
//!
//! ```text
//!  control --happened--> filter of each receiver --> its queue (bounded) --> its courier --> webhook, program, relay
//!                                                        ^                       |
//!                                                        +---- tries again ------+   growing pauses, up to a time
//! ```
//!
//! The control task only puts a message into queues, under locks that are held for that alone. Each receiver has a
//! courier of its own, so one that is slow or dead delays nobody else; its messages stay in order. What finds no room,
//! and what could not be delivered in its time, is counted, and the next message that arrives says how much is missing.
//! Nothing here is durable: the history is. A reload changes how receivers are reached and loses nothing that waits.

mod courier;
mod mail;
mod message;
mod queue;
mod way;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_config::Filter;
use tidegate_health::event::Event;
use tidegate_health::id::Name;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::wall;
use crate::metrics::NotifyMetrics;
use courier::{Courier, Post};
pub(crate) use mail::Mail;
use message::{Letter, Message};
use queue::Bounds;
pub use way::Way;

/// All that a courier has to know of its receiver; only a reload changes it.
#[derive(Clone, Debug)]
pub struct Setup {
    pub name: Name,
    pub way: Way,
    pub filter: Filter,
    /// Of one try.
    pub timeout: Duration,
    /// How long it is tried again.
    pub give_up_after: Duration,
    pub queue_max: usize,
    pub coalesce: Duration,
}

impl Setup {
    fn bounds(&self) -> Bounds {
        Bounds { waiting_max: self.queue_max, coalesce: self.coalesce }
    }
}

/// Why a test message did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum TestFailure {
    #[error("there is no receiver `{0}`")]
    Unknown(String, Vec<Name>),
    #[error("another test of `{0}` is under way")]
    Busy(Name),
    #[error("it did not arrive: {0}")]
    Failed(String),
}

/// Tells receivers what happens. Cheap to clone.
#[derive(Clone)]
pub struct Notifier(Arc<Shared>);

struct Shared {
    node: Name,
    receivers: Mutex<BTreeMap<Name, Running>>,
    stop: watch::Sender<Option<Instant>>,
    metrics: NotifyMetrics,
}

struct Running {
    post: Arc<Post>,
    courier: JoinHandle<()>,
}

impl Notifier {
    /// With no receivers yet.
    #[must_use]
    pub fn new(node: Name, metrics: NotifyMetrics) -> Self {
        let (stop, _) = watch::channel(None);
        Self(Arc::new(Shared { node, receivers: Mutex::default(), stop, metrics }))
    }

    /// Other receivers from now on. What waits for one that is still there goes its new way; what waits for one that is
    /// gone is dropped and counted. Has to be called in a runtime.
    pub fn replace(&self, setups: Vec<Setup>) {
        let mut receivers = self.receivers();
        let mut before = std::mem::take(&mut *receivers);
        for setup in setups {
            let (name, setup) = (setup.name.clone(), Arc::new(setup));
            let running = match before.remove(&name) {
                Some(running) => {
                    running.post.set_up(setup);
                    running
                }
                None => {
                    let post = Arc::new(Post::new(setup, self.0.metrics.receiver(&name)));
                    let courier = Courier::new(post.clone(), self.0.stop.subscribe());
                    Running { post, courier: tokio::spawn(courier.run()) }
                }
            };
            receivers.insert(name, running);
        }
        for (name, gone) in before {
            gone.courier.abort();
            let left = gone.post.waiting();
            if left > 0 {
                tracing::warn!(
                    receiver = &*name,
                    left,
                    "messages waited for a receiver that is no longer configured"
                );
            }
            self.0.metrics.forget(&name);
        }
    }

    /// Tells everybody who wants to know. Never waits.
    pub fn happened(&self, event: &Event) {
        let mut message: Option<Arc<Message>> = None;
        for Running { post, .. } in self.receivers().values() {
            if post.setup().filter.passes(event) {
                let message = message.get_or_insert_with(|| Arc::new(Message::new(event, &self.0.node)));
                post.put(message);
            }
        }
    }

    /// Sends a test message past the queue, once, and says what came of it.
    ///
    /// # Errors
    /// There is no such receiver, it is being tested, or the message did not arrive.
    pub async fn test(&self, name: &str, actor: &Name) -> Result<(), TestFailure> {
        let post = {
            let receivers = self.receivers();
            let unknown = || TestFailure::Unknown(name.to_owned(), receivers.keys().cloned().collect());
            receivers.get(name).ok_or_else(unknown)?.post.clone()
        };
        let _turn = post.testing.try_acquire().map_err(|_| TestFailure::Busy(post.setup().name.clone()))?;
        let message = Arc::new(Message::test(&self.0.node, actor, wall()));
        let letter = Letter { message, count: 1, left_out: 0 };
        courier::attempt(&post.setup(), &letter).await.map_err(|fault| TestFailure::Failed(fault.what))
    }

    /// Delivers what waits, trying nothing twice, for at most `within`.
    pub async fn finish(&self, within: Duration) {
        let deadline = Instant::now() + within;
        self.0.stop.send_replace(Some(deadline));
        let running = std::mem::take(&mut *self.receivers());
        for (name, Running { post, mut courier }) in running {
            if tokio::time::timeout_at(deadline, &mut courier).await.is_err() {
                courier.abort();
            }
            let left = post.waiting();
            if left > 0 {
                tracing::warn!(receiver = &*name, left, "stopping although messages wait");
            }
        }
    }

    fn receivers(&self) -> MutexGuard<'_, BTreeMap<Name, Running>> {
        // Nothing that holds the lock can panic halfway.
        self.0.receivers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lower case, two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
