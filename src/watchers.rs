//! What is learned of the world beside the origins: gates are measured, witnesses are asked, published addresses are
//! checked.
//!
//! Each thing to watch has a task of its own, which looks in its rhythm and tells the control task what it saw and when it
//! began to look. It decides nothing: what a value means, how old it may be, and what becomes of silence is the core's.
//! So a task that hangs, or a program that does, costs nobody but its own gate. How many look at the same time is bounded.

mod fetch;
mod gate;
mod reach;
mod sighting;
mod task;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::WebUrl;
use tidegate_health::id::Name;
use tidegate_probe::command::{Command, Slots};
use tidegate_probe::{ProbeSpec, Trust};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

pub use sighting::{Seen, Sighting};

use crate::world::Worlds;

/// Sightings waiting for the control task; those who look wait their turn.
const SIGHTINGS_MAX: usize = 1024;
/// Programs of gates that run at the same time.
const COMMANDS_MAX: usize = 16;
/// Everything else that is asked at the same time.
const ASKED_MAX: usize = 64;

/// Something to look at again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub subject: Subject,
    pub way: Way,
    /// As the fleet has it: what is seen by another check is not taken.
    pub check: u64,
    /// From start to start.
    pub interval: Duration,
    /// The same while the next result may change what is believed.
    pub fast_interval: Duration,
    pub timeout: Duration,
}

/// What is looked at, by name: a reload may number things anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Gate { group: Name, site: Name, gate: Name },
    Witness { address: Name },
    FrontDoor { site: Name, address: IpAddr },
}

/// How it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A gate's program.
    Command { command: Command, wants_value: bool },
    /// A gate's URL, and where in the answer the value is (RFC 6901); without that the status says it.
    Fetch { url: WebUrl, pointer: Option<Name> },
    /// A check as origins have it; the origin in it means nothing.
    Probe(ProbeSpec),
}

/// All that is being watched.
pub struct Watchers {
    shared: Arc<Shared>,
    running: HashMap<Subject, (Watch, Task)>,
    seen: mpsc::Receiver<Sighting>,
}

/// What the tasks have in common.
struct Shared {
    seen: mpsc::Sender<Sighting>,
    worlds: Worlds,
    trust: Trust,
    commands: Slots,
    asking: Semaphore,
}

/// Ends with its handle.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watchers {
    /// Begins to look. Has to be called in a runtime.
    #[must_use]
    pub fn start(watches: &[Watch], worlds: Worlds) -> Self {
        let (sender, seen) = mpsc::channel(SIGHTINGS_MAX);
        let shared = Shared {
            seen: sender,
            worlds,
            trust: Trust::default(),
            commands: Slots::new(COMMANDS_MAX),
            asking: Semaphore::new(ASKED_MAX),
        };
        let mut watchers = Self { shared: Arc::new(shared), running: HashMap::new(), seen };
        watchers.replace(watches);
        watchers
    }

    /// Looks at these instead. What is watched as before goes on undisturbed; everything else is looked at anew, at once.
    pub fn replace(&mut self, watches: &[Watch]) {
        let mut before = std::mem::take(&mut self.running);
        for watch in watches {
            let same = before.remove(&watch.subject).filter(|(known, _)| known == watch);
            let kept = same.unwrap_or_else(|| {
                let task = tokio::spawn(task::look(watch.clone(), self.shared.clone()));
                (watch.clone(), Task(task))
            });
            self.running.insert(watch.subject.clone(), kept);
        }
    }

    /// What was seen next.
    pub async fn next(&mut self) -> Option<Sighting> {
        self.seen.recv().await
    }

    /// The same, if there is something.
    pub fn try_next(&mut self) -> Option<Sighting> {
        self.seen.try_recv().ok()
    }
}
