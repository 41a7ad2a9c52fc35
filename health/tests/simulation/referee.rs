//! The rules, held at every step against what is true.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tidegate_health::durable::{Durable, SwitchKind};
use tidegate_health::event::{Event, EventKind};
use tidegate_health::facts::Isolation;
use tidegate_health::fleet::{Failback, FirstStart, Fleet, Group, Mode};
use tidegate_health::force::{FORCES_MAX, Force, ForceKind, ForceVerb, Forced};
use tidegate_health::hysteresis::Health;
use tidegate_health::id::{Name, OriginId};
use tidegate_health::order::{Done, Order, Refusal, Verb};
use tidegate_health::phase::Phase;
use tidegate_health::state::State;
use tidegate_health::step::{Effect, Input};
use tidegate_health::time::{Now, Wall};

use crate::truth::{Against, Places, Truth, critical};
use crate::world::{Onlooker, Stored};

/// Whoever knows the rules and looks on.
#[derive(Clone, Default)]
pub(crate) struct Referee(Rc<RefCell<Notes>>);

/// What it has seen.
#[derive(Default)]
struct Notes {
    truth: Truth,
    groups: BTreeMap<Name, Record>,
    /// Orders that were given and not answered, by number, with the group's name.
    orders: BTreeMap<u64, (Name, Order)>,
    force_orders: BTreeMap<u64, ForceVerb>,
    /// What readers saw last: forces.
    forces: Vec<Force>,
    /// The phase of each group, and the changes of phases that were met.
    phases: BTreeMap<Name, Phase>,
    met: BTreeSet<(Phase, Phase)>,
}

impl Referee {
    /// The changes of phases that were met.
    pub(crate) fn met(&self) -> BTreeSet<(Phase, Phase)> {
        self.0.borrow().met.clone()
    }
}

/// What was seen of one group, over every process.
#[derive(Default)]
struct Record {
    /// What readers saw last.
    shown: Durable,
    /// Every epoch that readers ever saw, and where.
    epochs: BTreeMap<u64, Name>,
    /// The highest epoch that this process has asked to be stored.
    asked: u64,
    /// What the store holds, as far as anybody knows.
    confirmed: Durable,
    /// When it moved by itself, as far as that may count still.
    automatic: Vec<Wall>,
}

impl Onlooker for Referee {
    fn hears(&mut self, fleet: &Fleet, input: &Input, stored: &Stored, now: Now) {
        let mut notes = self.0.borrow_mut();
        match input {
            Input::Order(order) => {
                let name = fleet.group(order.group).name.clone();
                notes.orders.insert(order.id, (name, order.clone()));
            }
            Input::Force(order) => drop(notes.force_orders.insert(order.id, order.verb)),
            _ => {}
        }
        notes.truth.hears(fleet, input, stored, now);
        notes.keep_account(fleet, stored, now);
    }

    fn decides(&mut self, fleet: &Fleet, ordered: bool, effects: &[Effect], state: &State, now: Now) {
        let mut notes = self.0.borrow_mut();
        for effect in effects {
            match effect {
                Effect::Persist { group, change, .. } => {
                    notes.change_holds(fleet, fleet.group(*group), ordered, change, now);
                }
                Effect::PersistForces { change, .. } => {
                    notes.forces_hold(fleet, ordered, change, now);
                }
                _ => {}
            }
        }
        for id in fleet.group_ids() {
            notes.passes_on(&fleet.group(id).name, Phase::of(state.group(id)));
            if let Some(to) = state.group(id).proposal {
                let (group, site) = (fleet.group(id), &fleet.site(to).name);
                assert_eq!(group.mode, Mode::Confirm, "a move is proposed where none has to be");
                let against = notes.truth.against(fleet, group, site);
                assert!(against.is_empty(), "an unfit site is proposed: {site}, {against:?}");
            }
        }
    }

    fn shows(&mut self, fleet: &Fleet, state: &State, stored: &Stored) {
        self.0.borrow_mut().readers_see(fleet, state, stored);
    }

    fn answers(&mut self, order: u64, outcome: &Result<Done, Refusal>, stored: &Stored) {
        let mut notes = self.0.borrow_mut();
        let (group, order) = notes.orders.remove(&order).expect("an answer without an order");
        if let Ok(done) = outcome {
            notes.answer_holds(&group, &order, done, stored);
        }
    }

    fn answers_force(&mut self, order: u64, outcome: &Result<Forced, Refusal>, stored: &Stored) {
        let mut notes = self.0.borrow_mut();
        notes.force_orders.remove(&order).expect("an answer without an order");
        if outcome.is_ok() {
            assert_eq!(notes.forces, stored.forces, "a force was acknowledged before readers follow it");
        }
    }

    fn restarts(&mut self, fleet: &Fleet, stored: &Stored, now: Now) {
        let mut notes = self.0.borrow_mut();
        notes.orders.clear();
        notes.force_orders.clear();
        notes.phases.clear();
        for (name, record) in &mut notes.groups {
            let found = stored.groups.get(name).cloned().unwrap_or_default();
            record.asked = found.epoch();
            let (shown, epoch) = (&record.shown, found.epoch());
            assert!(epoch >= shown.epoch(), "`{name}` lost a decision in a crash: {shown:?}, {found:?}");
            if let (Some(site), Some(seen)) = (found.site(), record.epochs.get(&epoch)) {
                assert_eq!(site, seen, "epoch {epoch} of `{name}` means another site after a crash");
            }
        }
        notes.truth.begin(fleet, stored, now);
        notes.keep_account(fleet, stored, now);
    }

    fn reloads(&mut self, fleets: (&Fleet, &Fleet), kept: &[Option<OriginId>], stored: &Stored, now: Now) {
        let mut notes = self.0.borrow_mut();
        notes.phases.clear();
        notes.truth.reload(fleets, kept, stored, now);
    }
}

impl Notes {
    /// A group comes from one phase to another, by one input.
    fn passes_on(&mut self, group: &Name, phase: Phase) {
        let was = self.phases.insert(group.clone(), phase);
        if let Some(was) = was.filter(|was| *was != phase) {
            assert!(was.leads_to(phase), "`{group}` came from {was:?} to {phase:?}");
            self.met.insert((was, phase));
        }
    }

    /// Keeps account of the moves that nobody ordered. Lifting a freeze begins a new account.
    fn keep_account(&mut self, fleet: &Fleet, stored: &Stored, now: Now) {
        for group in &fleet.groups {
            let record = self.groups.entry(group.name.clone()).or_default();
            record.automatic.retain(|at| now.wall.since(*at) < group.switch_limit.window);
            let Some(found) = stored.groups.get(&group.name).filter(|found| **found != record.confirmed)
            else {
                continue;
            };
            if record.confirmed.freeze.is_some() && found.freeze.is_none() {
                record.automatic.clear();
            }
            if let Some(decision) =
                found.decision.as_ref().filter(|_| found.epoch() > record.confirmed.epoch())
                && (&*decision.actor == "tidegate" && decision.kind != SwitchKind::Start)
            {
                record.automatic.push(decision.since);
            }
            record.confirmed.clone_from(found);
        }
    }

    /// What must hold of a change of a group's durable part.
    fn change_holds(
        &mut self,
        fleet: &Fleet,
        group: &Group,
        ordered: bool,
        (next, event): &(Durable, Event),
        now: Now,
    ) {
        let places = self.truth.groups[&group.name].clone();
        let current = &places.stored;
        let record = self.groups.entry(group.name.clone()).or_default();
        if next.decision == current.decision {
            assert!(event.to.is_none(), "a move without a decision: {event:?}");
        } else {
            assert!(next.epoch() > record.asked.max(current.epoch()), "an epoch did not grow: {event:?}");
            record.asked = next.epoch();
        }
        if !ordered {
            assert_eq!(&*event.actor, "tidegate", "only an order is an operator's doing");
            let is_mark = event.kind == EventKind::Resynced;
            assert!(current.freeze.is_none() || is_mark, "a frozen group acts by itself: {event:?}");
            assert!(current.latched.is_subset(&next.latched) || event.to.is_some(), "a latch went by itself");
        }
        for site in current.diverged.difference(&next.diverged).filter(|_| event.to.is_none()) {
            let whole = self.truth.beside.is_whole(fleet, group, site, places.moved, now);
            assert!(whole, "the mark of `{site}` went without a proof: {event:?}");
        }
        if event.to.is_some() {
            self.move_holds(fleet, group, &places, ordered, (next, event), now);
        }
    }

    /// What must hold of every move, and of those that nobody ordered.
    fn move_holds(
        &mut self,
        fleet: &Fleet,
        group: &Group,
        places: &Places,
        ordered: bool,
        (next, event): (&Durable, &Event),
        now: Now,
    ) {
        let current = &places.stored;
        let to = event.to.as_ref().expect("a move leads somewhere");
        assert_eq!(next.site(), Some(to), "the decision is not what the history says");
        let against = self.truth.against(fleet, group, to);
        let overrides = |rule: &str| event.overrides.iter().any(|named| &**named == rule);
        let is_named = |it: &&Against| match it.rule() {
            Some(rule) => overrides(rule),
            None => self.truth.forbidding(fleet, group, to).iter().all(|rule| overrides(rule)),
        };
        if let Some(it) = against.iter().find(|it| !is_named(it)) {
            panic!("moved {}: {event:?}", it.told());
        }
        assert!(!self.truth.is_cut_off() || overrides("isolated"), "a cut off edge moved a group: {event:?}");
        let from = current.site();
        let is_planned = from.is_some() && places.unfit.is_none();
        let held = is_planned && !self.truth.holding(fleet, group).iter().all(|rule| overrides(rule));
        assert!(!held, "a planned move was not held back: {event:?}");
        let known = self.truth.groups.get_mut(&group.name).expect("a group of the fleet");
        known.going = Some(to.clone());
        if let Some(from) = from {
            let shares = !group.is_stateless();
            assert!(!shares || overrides("no-fence"), "a group that shares data moved unfenced: {event:?}");
            assert!(!shares || next.diverged.contains(from), "data may have forked, unmarked: {event:?}");
            let latches = event.kind == EventKind::Failover;
            assert!(!latches || next.latched.contains(from), "a failover left no latch: {event:?}");
        }
        if ordered {
            return;
        }
        assert!(event.overrides.is_empty(), "nothing overrides a rule by itself: {event:?}");
        if event.kind == EventKind::Start {
            assert!(from.is_none() && fleet.first_start == FirstStart::Preferred && group.is_stateless());
            return;
        }
        self.automatic_move_holds(fleet, group, places, event, now);
    }

    fn automatic_move_holds(
        &mut self,
        fleet: &Fleet,
        group: &Group,
        places: &Places,
        event: &Event,
        now: Now,
    ) {
        let to = event.to.as_ref().expect("a move leads somewhere");
        assert_eq!(group.mode, Mode::Automatic, "moved without the confirmation: {event:?}");
        let record = self.groups.get_mut(&group.name).expect("it is on record");
        let (count, limit) = (record.automatic.len(), group.switch_limit.count as usize);
        assert!(count < limit, "more automatic moves than allowed, {count} of {limit}: {event:?}");
        self.proof_holds(fleet, group, places, to, event);
        match event.kind {
            EventKind::Failover => self.failover_holds(fleet, group, places, event, now),
            EventKind::Failback => {
                let Failback::Automatic { after } = group.failback() else {
                    panic!("a manual failback happened by itself: {event:?}");
                };
                let fit = places.fit.get(to).map(|since| now.mono.since(*since));
                assert!(fit >= Some(after), "home after {fit:?} of {after:?}: {event:?}");
                let decision = places.stored.decision.as_ref().expect("decided");
                assert_ne!(decision.kind, SwitchKind::Switchover, "home from a move on purpose");
                assert!(now.wall.since(decision.since) >= group.minimum_stay, "home too early: {event:?}");
            }
            kind => panic!("{kind:?} is never automatic"),
        }
    }

    /// Every origin of the target that counts was seen since the loss, and enough of them to pass.
    fn proof_holds(&self, fleet: &Fleet, group: &Group, places: &Places, to: &Name, event: &Event) {
        let lost = places.unfit.as_ref().map(|(_, since)| *since);
        let since = lost.max(Some(self.truth.round.max(self.truth.connected)));
        let mut by_word_alone = false;
        let mut passes = 0;
        for service in critical(fleet, group) {
            let origins = self.truth.serving(fleet, service, to);
            assert!(
                origins.iter().all(|origin| origin.force.is_some() || origin.seen >= since),
                "moved unproven: {event:?}"
            );
            let proven = origins.iter().filter(|origin| {
                origin.evidence() == Health::Up && (origin.force.is_some() || origin.passed >= since)
            });
            assert!(
                proven.count() >= service.min_up as usize,
                "moved to what was not seen to pass: {event:?}"
            );
            by_word_alone |= origins.iter().any(|origin| origin.force == Some(ForceKind::Up));
            passes += origins.iter().filter(|origin| origin.passed >= since).count();
        }
        let connected = self.truth.isolation == Some(Isolation::Connected);
        assert!(passes > 0 || !by_word_alone || connected, "moved by a person's word alone: {event:?}");
    }

    fn failover_holds(&self, fleet: &Fleet, group: &Group, places: &Places, event: &Event, now: Now) {
        let to = event.to.as_ref().expect("a move leads somewhere");
        let stored = &places.stored;
        assert!(!stored.latched.contains(to), "failed over to a latched site: {event:?}");
        let active = stored.site().expect("a failover leaves a site");
        let unfit = places.unfit.as_ref().map(|(_, since)| now.mono.since(*since));
        assert!(unfit.is_some(), "left a site that serves: {event:?}");
        assert!(unfit >= Some(group.failover_after), "too early, after {unfit:?}: {event:?}");

        // The loss was seen since the target was found fit; else the edge alone may have been gone for a while.
        let since = places.fit.get(to).copied().max(Some(self.truth.connected));
        let against = self.truth.against(fleet, group, active);
        let confirmed = against.contains(&Against::Capability)
            || against.contains(&Against::Diverged)
            || (against.contains(&Against::Door) && self.truth.beside.door_failed_since(active, since))
            || critical(fleet, group).any(|service| {
                let origins = self.truth.serving(fleet, service, active);
                let gone = origins.iter().filter(|origin| {
                    let failing = origin.failed >= since && !origin.is_passing();
                    origin.evidence() == Health::Down && (origin.is_out() || failing)
                });
                origins.len() - gone.count() < service.min_up as usize
            });
        assert!(confirmed, "left a site without a fresh sign of its loss: {event:?}");
    }

    /// What must hold of a change of forces.
    fn forces_hold(&mut self, fleet: &Fleet, ordered: bool, (next, event): &(Vec<Force>, Event), now: Now) {
        assert!(next.len() <= FORCES_MAX);
        let removed = self.forces.iter().filter(|force| !next.contains(force));
        if !ordered {
            let is_end = (event.kind, &*event.actor) == (EventKind::Unforced, "tidegate");
            assert!(is_end, "only the end of a force is automatic: {event:?}");
            for force in removed {
                let over = force.until.is_some_and(|until| until <= now.wall);
                assert!(force.kind != ForceKind::Drain && over, "ended by itself: {force:?}");
            }
            assert!(next.iter().all(|force| self.forces.contains(force)), "a force began by itself");
        }
        if !ordered || event.overrides.iter().any(|rule| &**rule == "unfit") {
            return;
        }
        // What would be: the same results, with these forces.
        let then = self.truth.with_forces(fleet, next, now);
        for group in &fleet.groups {
            let (before, after) = (is_lost(&self.truth, fleet, group), is_lost(&then, fleet, group));
            assert!(before || !after, "a force took a group's site unasked: {event:?}");
        }
    }

    /// What readers see: what is stored, of decisions and forces, and health as it was seen.
    fn readers_see(&mut self, fleet: &Fleet, state: &State, stored: &Stored) {
        for group in &fleet.groups {
            let found = stored.groups.get(&group.name).cloned().unwrap_or_default();
            let record = self.groups.entry(group.name.clone()).or_default();
            assert!(found.epoch() >= record.shown.epoch(), "`{}` was shown an older epoch", group.name);
            if let Some(site) = found.site() {
                let seen = record.epochs.entry(found.epoch()).or_insert_with(|| site.clone());
                assert_eq!(seen, site, "`{}` has one epoch at two sites", group.name);
            }
            record.shown = found;
        }
        self.forces.clone_from(&stored.forces);
        for id in fleet.origin_ids() {
            let (name, known) = (&fleet.origin(id).name, state.origin(id));
            let truth = &self.truth.origins[name];
            assert_eq!(known.real(), truth.health, "readers see another health of {name}");
            assert_eq!(known.effective(), truth.effective(), "traffic does not follow what holds of {name}");
            assert_eq!(known.is_out(), truth.is_out(), "{name} is drained, or not");
        }
    }

    /// An order that was carried out is true for the store and for readers, before anybody is told.
    fn answer_holds(&self, group: &Name, order: &Order, done: &Done, stored: &Stored) {
        let found = stored.groups.get(group).cloned().unwrap_or_default();
        let shown = &self.groups[group].shown;
        assert_eq!(*shown, found, "an order was acknowledged before readers see it: {order:?}");
        assert_eq!((done.site.as_ref(), done.epoch), (found.site(), found.epoch()), "{order:?}");
        match order.verb {
            Verb::Ack => assert!(found.latched.is_empty(), "acknowledged, but latched"),
            Verb::Freeze => assert!(found.freeze.is_some(), "said to be frozen"),
            Verb::Unfreeze => assert!(found.freeze.is_none(), "said to be unfrozen"),
            Verb::Switch { .. } | Verb::Failback | Verb::Confirm => {
                assert!(found.decision.is_some(), "said to have moved");
            }
        }
    }
}

/// Whether the group's active site is known to be unfit.
fn is_lost(truth: &Truth, fleet: &Fleet, group: &Group) -> bool {
    let stored = &truth.groups[&group.name].stored;
    let site = stored.site().filter(|site| fleet.site_named(site).is_some());
    site.is_some_and(|site| {
        let against = truth.against(fleet, group, site);
        against.iter().any(|it| !it.is_ignorance())
    })
}
