//! How the rest of the daemon speaks to the control task.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_health::event::EventKind;
use tidegate_health::explain::Explanation;
use tidegate_health::fleet::Fleet;
use tidegate_health::force::{ForceKind, ForceOrder, Forced, Preview, Selector};
use tidegate_health::gate::Verdict;
use tidegate_health::id::{GroupId, Name};
use tidegate_health::order::{Done, Order, Refusal};
use tidegate_health::status::Status;
use tidegate_probe::Report;
use tokio::sync::{mpsc, oneshot};

use super::{NotHeard, NotTaken, Reload, Taken};
use crate::watchers::Sighting;

/// Something the control task is told or asked.
#[derive(Debug)]
pub enum Message {
    /// Numbers are those of the fleet that comes along.
    Order(Box<Order>, Arc<Fleet>, oneshot::Sender<Result<Done, Refusal>>),
    Force(Box<ForceOrder>, oneshot::Sender<Result<Forced, Refusal>>),
    /// What a force would lead to.
    Preview(Selector, ForceKind, oneshot::Sender<Preview>),
    Status(oneshot::Sender<Status>),
    Explain(GroupId, Arc<Fleet>, oneshot::Sender<Explanation>),
    /// By name: a message may be older than the present numbers.
    Ejected(Name),
    /// Of origins by name, for the same reason.
    Reports(Vec<(Name, Report)>, oneshot::Sender<Result<(), NotHeard>>),
    /// What somebody sends of a gate.
    Gate(Box<Sighting>, oneshot::Sender<Option<Pushed>>),
    Reload(Box<Reload>, oneshot::Sender<Result<Taken, NotTaken>>),
    /// Something that happened beside the core, for the history.
    Note(EventKind, Name),
    Alive(oneshot::Sender<()>),
}

/// What a gate says after something was sent of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    pub verdict: Verdict,
    /// What was read against what is wanted; may be empty.
    pub why: Name,
}

/// A way to reach the control task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
}

impl Handle {
    #[must_use]
    pub fn new(messages: mpsc::Sender<Message>) -> Self {
        Self { messages }
    }

    /// Carries out an order, whose numbers are those of `fleet`. The answer comes after every reader sees its outcome;
    /// none if the daemon stops first, or if it has taken another configuration meanwhile.
    pub async fn order(&self, fleet: Arc<Fleet>, order: Order) -> Option<Result<Done, Refusal>> {
        self.ask(|answer| Message::Order(Box::new(order), fleet, answer)).await
    }

    /// Carries out an order about origins. The answer comes after every reader sees its outcome; none if the daemon stops
    /// first.
    pub async fn force(&self, order: ForceOrder) -> Option<Result<Forced, Refusal>> {
        self.ask(|answer| Message::Force(Box::new(order), answer)).await
    }

    /// What would be left if this were said of these origins; changes nothing.
    pub async fn preview(&self, selector: Selector, kind: ForceKind) -> Option<Preview> {
        self.ask(|answer| Message::Preview(selector, kind, answer)).await
    }

    pub async fn status(&self) -> Option<Status> {
        self.ask(Message::Status).await
    }

    pub async fn explain(&self, fleet: Arc<Fleet>, group: GroupId) -> Option<Explanation> {
        self.ask(|answer| Message::Explain(group, fleet, answer)).await
    }

    /// Passes on what somebody says of origins: all of it, or none and why.
    pub async fn report(&self, reports: Vec<(Name, Report)>) -> Option<Result<(), NotHeard>> {
        self.ask(|answer| Message::Reports(reports, answer)).await
    }

    /// Passes on what somebody sends of a gate. None if the daemon stops first; none within if it does not have this gate any
    /// more, or measures it itself.
    pub async fn gate(&self, sighting: Sighting) -> Option<Option<Pushed>> {
        self.ask(|answer| Message::Gate(Box::new(sighting), answer)).await
    }

    /// Takes another configuration, or none of it. The answer comes after every reader sees the new one.
    pub async fn reload(&self, reload: Reload) -> Option<Result<Taken, NotTaken>> {
        self.ask(|answer| Message::Reload(Box::new(reload), answer)).await
    }

    /// Tells of something that happened beside the core.
    pub async fn note(&self, kind: EventKind, reason: impl Into<Name>) {
        // Nobody is left to tell where the daemon stops.
        let _ = self.messages.send(Message::Note(kind, reason.into())).await;
    }

    /// Whether the control task answers within a second.
    pub async fn alive(&self) -> bool {
        let answer = self.ask(Message::Alive);
        matches!(tokio::time::timeout(std::time::Duration::from_secs(1), answer).await, Ok(Some(())))
    }

    /// Passes on that live traffic ejected an origin. Never waits: where the queue is full, the probes will tell.
    pub fn ejected(&self, origin: Name) {
        let _ = self.messages.try_send(Message::Ejected(origin));
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (answer, wait) = oneshot::channel();
        self.messages.send(message(answer)).await.ok()?;
        wait.await.ok()
    }
}
