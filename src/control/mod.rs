//! The single writer. One task owns the core's state; everything that may change it is a message to that task.
//!
//! It takes inputs in batches, runs the core, starts writes, publishes one World where anything visible changed, and
//! only then answers the orders that the World now honours.

mod handle;
mod hearsay;
mod leaving;
mod persist;
mod plan;
mod publish;
mod record;
mod reload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_health::SELF;
use tidegate_health::event::{Class, Event, EventKind, Severity};
use tidegate_health::explain::explain;
use tidegate_health::facts::Isolation;
use tidegate_health::force::{Forced, preview};
use tidegate_health::hysteresis::Health;
use tidegate_health::id::{Name, OriginId};
use tidegate_health::order::{Done, Refusal};
use tidegate_health::state::{GroupState, State};
use tidegate_health::status::{Work, status};
use tidegate_health::step::{self, Effect, Fact, Input, step};
use tidegate_health::time::Mono;
use tidegate_health::vantage::View;
use tidegate_probe::{Observation, Outcome, Pace, Scheduler};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Level;

use crate::clock::Clock;
use crate::coord;
use crate::metrics::{Metrics, Series};
use crate::notify::Notifier;
use crate::watchers::{Sighting, Watchers};
pub use handle::{Handle, Message, Pushed};
pub use hearsay::NotHeard;
use hearsay::Warnings;
use leaving::Leaving;
pub use persist::Zone;
use persist::{Finished, Persister, Subject};
pub use plan::{Plan, Service, ZoneSource};
pub use publish::Publisher;
use reload::Reloading;
pub use reload::{NotTaken, Reload, Taken};

/// Messages waiting for the control task. Orders beyond it wait their turn with their callers.
pub const QUEUE_MAX: usize = 4096;
/// Inputs taken in before readers see the outcome of the first.
const BATCH_MAX: usize = 512;
/// The core is told the time this often; also the grain of every deadline it keeps.
const TICK: Duration = Duration::from_millis(25);

/// Everything the control task owns.
pub struct Control {
    /// The configuration that everything runs on.
    plan: Plan,
    state: State,
    clock: Clock,
    probes: Scheduler,
    coord: coord::Shared,
    watchers: Watchers,
    persister: Persister,
    publisher: Publisher,
    metrics: Arc<Metrics>,
    /// Those of the plan's fleet.
    series: Series,
    notifier: Notifier,
    round: watch::Sender<bool>,
    orders: Vec<(u64, oneshot::Sender<Result<Done, Refusal>>)>,
    force_orders: Vec<(u64, oneshot::Sender<Result<Forced, Refusal>>)>,
    orders_seen: u64,
    batch: Batch,
    /// Origins whose checks warn, with what they say.
    warnings: Warnings,
    /// Targets of configurations before this one that may still have work, by name.
    leaving: Leaving,
    /// One at a time; its size is no concern of the loop's.
    reloading: Option<Box<Reloading>>,
}

/// What a batch of inputs leads to, in the order it must happen.
#[derive(Default)]
struct Batch {
    publish: bool,
    replies: Vec<(u64, Result<Done, Refusal>)>,
    force_replies: Vec<(u64, Result<Forced, Refusal>)>,
}

/// What [`Control`] is made of.
pub struct Parts {
    pub plan: Plan,
    pub state: State,
    pub clock: Clock,
    pub probes: Scheduler,
    pub coord: coord::Shared,
    pub watchers: Watchers,
    pub store: crate::store::Store,
    pub publisher: Publisher,
    /// Zones of the configuration, by origin.
    pub zones: BTreeMap<Name, Zone>,
    /// Zones that only the store knows: they may come back.
    pub absent: BTreeMap<Name, Zone>,
    pub metrics: Arc<Metrics>,
    pub notifier: Notifier,
    /// Told once: the first complete round of probes is in and what it led to is published.
    pub round: watch::Sender<bool>,
}

impl Control {
    /// Publishes what is known before anything was probed.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let series = parts.metrics.series(&parts.plan.fleet);
        let mut control = Self {
            persister: Persister::new(
                (parts.coord.clone(), parts.store),
                &parts.plan,
                (parts.zones, parts.absent),
                parts.metrics.clone(),
            ),
            coord: parts.coord,
            plan: parts.plan,
            state: parts.state,
            clock: parts.clock,
            probes: parts.probes,
            watchers: parts.watchers,
            publisher: parts.publisher,
            series,
            metrics: parts.metrics,
            notifier: parts.notifier,
            round: parts.round,
            orders: Vec::new(),
            force_orders: Vec::new(),
            orders_seen: 0,
            batch: Batch::default(),
            warnings: Warnings::default(),
            leaving: Leaving::default(),
            reloading: None,
        };
        control.publish();
        control
    }

    /// Runs until every [`Handle`] is gone or `stop` says so.
    pub async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        mut observations: mpsc::Receiver<Observation>,
        mut stop: watch::Receiver<bool>,
    ) {
        // Nothing is known yet, which is doubt: the first round is asked for at the fast pace.
        for origin in self.plan.fleet.origin_ids() {
            self.probes.pace(origin, Pace::Fast);
        }
        let mut news = self.coord.news();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(finished) = self.persister.finished() => self.stored(finished),
                _ = tick.tick() => self.feed(Input::Tick),
                said = &mut news => {
                    news = self.coord.news();
                    self.feed(Input::Cluster(said));
                }
                Some(message) = messages.recv() => self.take(message),
                Some(sighting) = self.watchers.next() => self.sight(sighting),
                Some(observation) = observations.recv() => self.observe(&observation),
            }
            for _ in 0..BATCH_MAX {
                if let Ok(observation) = observations.try_recv() {
                    self.observe(&observation);
                } else if let Ok(message) = messages.try_recv() {
                    self.take(message);
                } else if let Some(sighting) = self.watchers.try_next() {
                    self.sight(sighting);
                } else {
                    break;
                }
            }
            self.settle();
        }
        // Whoever waits for an order that is at the disk learns what came of it.
        for finished in self.persister.drain().await {
            self.stored(finished);
        }
        self.settle();
        self.probes.stop().await;
    }

    fn take(&mut self, message: Message) {
        match message {
            // Numbers of another configuration mean something else now: whoever asked is to ask again.
            Message::Order(_, fleet, _) | Message::Explain(_, fleet, _)
                if !Arc::ptr_eq(&fleet, &self.plan.fleet) => {}
            Message::Order(mut order, _, answer) => {
                self.orders_seen += 1;
                order.id = self.orders_seen;
                self.orders.push((order.id, answer));
                self.feed(Input::Order(*order));
            }
            Message::Force(mut order, answer) => {
                self.orders_seen += 1;
                order.id = self.orders_seen;
                self.force_orders.push((order.id, answer));
                self.feed(Input::Force(*order));
            }
            Message::Preview(selector, kind, answer) => {
                // Whoever asked may have hung up; here and below that is no concern of ours.
                let _ = answer.send(preview(&self.plan.fleet, &self.state, &selector, kind));
            }
            Message::Status(answer) => {
                let _ = answer.send(status(&self.plan.fleet, &self.state, |origin| self.work(origin)));
            }
            Message::Explain(group, fleet, answer) => {
                let _ = answer.send(explain(&fleet, &self.state, group, self.clock.now()));
            }
            Message::Ejected(name) => {
                // One that is gone meanwhile needs no probe.
                if let Some(origin) = self.plan.fleet.origin_named(&name) {
                    self.feed(Input::Ejected { origin });
                }
            }
            Message::Reports(reports, answer) => {
                let _ = answer.send(self.hear(reports));
            }
            Message::Gate(sighting, answer) => {
                let _ = answer.send(self.push(*sighting));
            }
            Message::Reload(reload, answer) => self.begin_reload(*reload, answer),
            Message::Note(kind, reason) => {
                self.note(Event::new(self.clock.now().wall, kind, SELF.into(), reason));
            }
            Message::Alive(answer) => {
                let _ = answer.send(());
            }
        }
    }

    fn observe(&mut self, observation: &Observation) {
        // Of a check that a reload has ended or numbered anew.
        if observation.generation != self.probes.generation() {
            return;
        }
        self.metrics.probed(&mut self.series, &self.plan.fleet, observation);
        self.heed(observation);
        let failure = match &observation.outcome {
            Outcome::Pass => {
                // Live traffic may try the origin again.
                self.plan.targets[observation.origin.index()].reinstate();
                None
            }
            Outcome::Fail(failure) => Some(failure.to_string().into()),
            Outcome::Inconclusive(_) => return,
        };
        let started = self.clock.mono(observation.started.into_std());
        self.feed(Input::Observation { origin: observation.origin, started, failure });
    }

    /// What was seen beside the origins. What this configuration does not have, or checks otherwise, is nothing to it.
    fn sight(&mut self, sighting: Sighting) {
        if let Some(fact) = sighting.fact(&self.plan.fleet, &self.clock) {
            self.feed(Input::Fact(fact));
        }
    }

    /// What somebody sends of a gate, and what it comes to.
    fn push(&mut self, sighting: Sighting) -> Option<Pushed> {
        let fact = sighting.fact(&self.plan.fleet, &self.clock)?;
        let Fact::Gate { group, site, gate, .. } = &fact else { return None };
        let (group, site, gate) = (*group, *site, gate.clone());
        self.feed(Input::Fact(fact));
        let known = self.state.facts.gate(group, site, &gate)?;
        let why = known.why(self.plan.fleet.group(group).gate(&gate)?);
        Some(Pushed { verdict: known.verdict, why })
    }

    fn stored(&mut self, Finished { subject, ticket, event, outcome }: Finished) {
        let heard = match (subject, outcome) {
            (Subject::Group(group), Ok(())) => Input::Stored { group, ticket },
            (Subject::Forces, Ok(())) => Input::ForcesStored { ticket },
            (subject, Err(detail)) => {
                self.metrics.store_failed();
                let detail = detail.into();
                return self.feed(match subject {
                    Subject::Group(group) => Input::NotStored { group, ticket, detail },
                    Subject::Forces => Input::ForcesNotStored { ticket, detail },
                });
            }
        };
        tell(&event);
        self.notifier.happened(&event);
        self.feed(heard);
    }

    fn feed(&mut self, input: Input) {
        let effects = step(&self.plan.fleet, &mut self.state, input, self.clock.now());
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist { group, ticket, change } => {
                    let previous = self.state.group(group).durable.clone();
                    self.persister.start(group, ticket, *change, previous);
                }
                Effect::Record(event) => self.note(event),
                Effect::Publish => self.batch.publish = true,
                Effect::PersistForces { ticket, change } => {
                    self.persister.start_forces(ticket, *change, self.state.forces.clone());
                }
                Effect::Reply { order, outcome } => self.batch.replies.push((order, outcome)),
                Effect::ReplyForce { order, outcome } => self.batch.force_replies.push((order, outcome)),
                Effect::ProbeNow(origin) => self.probes.probe_now(origin),
                Effect::Pace(origin, pace) => self.probes.pace(origin, pace_of(pace)),
            }
        }
    }

    /// Everything that is told beside decisions. Of what changes too often a part is left out: an observation is not told
    /// at all then, and whatever else the daemon notices by itself is not written.
    fn note(&mut self, event: Event) {
        let is_observation = event.kind.class() == Class::Observation;
        if !is_observation {
            self.tell(&event);
        }
        if let Some(event) = self.persister.recorder.admit(event, self.mono()) {
            self.keep(event);
        }
    }

    /// What had to wait.
    fn note_due(&mut self) {
        for event in self.persister.recorder.due(self.mono()) {
            self.keep(event);
        }
    }

    fn keep(&self, event: Event) {
        if event.kind.class() == Class::Observation {
            self.tell(&event);
        }
        self.persister.recorder.record(event);
    }

    fn tell(&self, event: &Event) {
        tell(event);
        self.notifier.happened(event);
        self.metrics.happened(event);
    }

    fn mono(&self) -> Mono {
        self.clock.now().mono
    }

    /// What was decided becomes visible, and then is answered.
    fn settle(&mut self) {
        if std::mem::take(&mut self.batch.publish) {
            self.publish();
        }
        answer(&mut self.orders, std::mem::take(&mut self.batch.replies));
        answer(&mut self.force_orders, std::mem::take(&mut self.batch.force_replies));
        let starting = || self.state.groups.iter().any(GroupState::is_starting);
        if !*self.round.borrow() && self.state.round_complete && !starting() {
            self.round.send_replace(true);
        }
        self.note_due();
        self.go_on_reloading();
    }

    fn publish(&mut self) {
        // What is let in is open before readers are sent there, what is taken out closes after they no longer are.
        self.leaving.forget_quiet();
        self.set_out(false);
        self.set_up();
        if self.coord.is_shared() {
            let is_isolated = !matches!(self.state.facts.isolation, None | Some(Isolation::Connected));
            let healths = self.state.healths(&self.plan.fleet);
            self.coord.publish(View { is_isolated, healths, ..View::default() });
        }
        let changed = self.publisher.publish(&self.plan, &self.state, self.persister.zones());
        self.set_out(true);
        let generation = self.publisher.generation();
        self.metrics.published(&self.series, &self.plan.fleet, &self.state, generation);
        for (group, kind) in changed {
            self.metrics.switched(&self.plan.fleet, group, kind);
        }
    }
}

/// Tells those who wait what came of their orders.
fn answer<T>(waiting: &mut Vec<(u64, oneshot::Sender<T>)>, outcomes: Vec<(u64, T)>) {
    for (id, outcome) in outcomes {
        if let Some(position) = waiting.iter().position(|(order, _)| *order == id) {
            let (_, answer) = waiting.swap_remove(position);
            let _ = answer.send(outcome);
        }
    }
}

impl Control {
    /// Tells the targets that a person says nothing against, or those that are out.
    fn set_out(&self, out: bool) {
        let targets = self.plan.targets.iter().zip(&self.state.origins);
        for (target, _) in targets.filter(|(_, origin)| origin.is_out() == out) {
            for target in [target].into_iter().chain(self.leaving.of(target.name())) {
                target.set_out(out);
            }
        }
    }

    /// Tells the targets whether they are up and let in, which is what slow start counts from.
    fn set_up(&self) {
        for (target, origin) in self.plan.targets.iter().zip(&self.state.origins) {
            target.set_up(origin.effective() == Health::Up && !origin.is_out());
        }
    }

    /// What is under way at an origin, also at what stood for it before a reload.
    fn work(&self, origin: OriginId) -> Work {
        let target = &self.plan.targets[origin.index()];
        let all = || [target].into_iter().chain(self.leaving.of(target.name()));
        let service = self.plan.fleet.origin(origin).service;
        Work {
            in_flight: all().map(|target| target.in_flight()).sum(),
            // Before readers see the World without it, anything may still be sent there.
            quiet: target.is_out() && all().all(|target| target.is_quiet()),
            proxied: self.plan.is_proxied(service),
        }
    }
}

fn pace_of(pace: step::Pace) -> Pace {
    match pace {
        step::Pace::Normal => Pace::Normal,
        step::Pace::Fast => Pace::Fast,
    }
}

/// The log says what the history says, when it is true, as loudly as it is urgent.
pub(crate) fn tell(event: &Event) {
    macro_rules! tell {
        ($level:expr) => {
            tracing::event!(
                $level,
                group = event.group.as_deref().unwrap_or("-"),
                site = event.site.as_deref(),
                origin = event.origin.as_deref(),
                event = event.kind.label(),
                from = event.from.as_deref(),
                to = event.to.as_deref(),
                epoch = event.epoch,
                actor = &*event.actor,
                "{}",
                event.reason
            )
        };
    }
    match event.kind {
        // What a person has just done, and what only waits for one, is no failure.
        EventKind::Frozen | EventKind::Proposed | EventKind::Refused => tell!(Level::WARN),
        EventKind::Origin => tell!(Level::DEBUG),
        _ => match event.severity() {
            Severity::Critical => tell!(Level::ERROR),
            Severity::Warning => tell!(Level::WARN),
            Severity::Notice | Severity::Info => tell!(Level::INFO),
        },
    }
}
