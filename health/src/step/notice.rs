//! Observations for the history: what decisions build on, whenever it changes.
//!
//! A check that finds what the one before found is no news, and what a start finds as it should be is told in one entry
//! for all: so there is a row where something was seen to change, and never one per check.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::Effect;
use crate::event::{Event, EventKind, GROUPS_MAX};
use crate::facts::Isolation;
use crate::fit::Fitness;
use crate::fleet::Fleet;
use crate::hysteresis::Health;
use crate::id::{GroupId, Name, OriginId, SiteId};
use crate::state::State;
use crate::switch::SELF;
use crate::time::Wall;

/// Of many things that are alike this many are told.
const TOLD_MAX: usize = 5;

impl State {
    /// The health of an origin has changed. What is as it should be at a start is no news.
    pub(super) fn notice_origin(&mut self, fleet: &Fleet, id: OriginId, was: Health, at: Wall) {
        let (origin, known) = (fleet.origin(id), self.origin(id));
        let health = known.real();
        if !self.round_complete && health != Health::Down {
            return;
        }
        let reason: Name = match &known.failure {
            Some(failure) if health == Health::Down => failure.clone(),
            _ => "its checks pass".into(),
        };
        let service = fleet.service(origin.service);
        let event = Event {
            group: Some(fleet.group(service.group).name.clone()),
            site: Some(fleet.site(origin.site).name.clone()),
            service: Some(service.name.clone()),
            origin: Some(origin.name.clone()),
            ..changed(at, EventKind::Origin, was.label(), health.label(), reason)
        };
        self.noticed.push(event);
    }

    /// The first complete round is in.
    pub(super) fn notice_round(&mut self, at: Wall) {
        let down = self.origins.iter().filter(|origin| origin.real() == Health::Down).count();
        let up = self.origins.len() - down;
        let reason = format!("every origin has been checked since the start: {up} up, {down} down");
        self.noticed.push(Event::new(at, EventKind::Round, SELF.into(), reason));
    }

    /// How fit a site is has changed.
    pub(crate) fn notice_fitness(
        &mut self,
        fleet: &Fleet,
        id: GroupId,
        site: SiteId,
        (was, fitness): (&Fitness, &Fitness),
        at: Wall,
    ) {
        if was.label() == fitness.label() || (!self.round_complete && !matches!(fitness, Fitness::Unfit(_))) {
            return;
        }
        let reason = match fitness {
            Fitness::Fit => "nothing is in its way".to_owned(),
            _ => some(fitness.obstacles()),
        };
        let event = Event {
            group: Some(fleet.group(id).name.clone()),
            site: Some(fleet.site(site).name.clone()),
            ..changed(at, EventKind::Fitness, was.label(), fitness.label(), reason)
        };
        self.noticed.push(event);
    }

    /// What the witnesses say of this edge has changed.
    pub(super) fn notice_isolation(&mut self, was: Option<Isolation>, at: Wall) {
        let label = |isolation: Option<Isolation>| isolation.map_or("unknown", Isolation::label);
        let (from, to) = (label(was), label(self.facts.isolation));
        // That nothing is known before the first answers is how every start looks.
        if from == to || (!self.round_complete && to != "isolated") {
            return;
        }
        let reached = self.facts.witnesses.iter().filter(|witness| witness.reachable == Some(true)).count();
        let reason = format!("{reached} of {} witnesses are reached", self.facts.witnesses.len());
        self.noticed.push(changed(at, EventKind::Isolation, from, to, reason));
    }

    /// What was noticed goes to the history.
    pub(super) fn tell_noticed(&mut self, effects: &mut Vec<Effect>) {
        effects.extend(self.noticed.drain(..).map(Effect::Record));
    }
}

/// An observation of what was believed, and what is now.
pub(super) fn changed(at: Wall, kind: EventKind, from: &str, to: &str, reason: impl Into<Name>) -> Event {
    Event { from: Some(from.into()), to: Some(to.into()), ..Event::new(at, kind, SELF.into(), reason) }
}

/// The first of many in a sentence, and how many more there are.
pub(crate) fn some<T: Display>(things: &[T]) -> String {
    let mut told: Vec<_> = things.iter().take(TOLD_MAX).map(ToString::to_string).collect();
    if things.len() > TOLD_MAX {
        told.push(format!("and {} more", things.len() - TOLD_MAX));
    }
    told.join("; ")
}

/// The groups of these origins, as an entry names them.
pub(super) fn groups_of(fleet: &Fleet, origins: &[OriginId]) -> Vec<Name> {
    let groups: BTreeSet<_> = origins.iter().map(|id| fleet.group_of(*id)).collect();
    groups.into_iter().take(GROUPS_MAX).map(|id| fleet.group(id).name.clone()).collect()
}

/// The groups that may be at a site, as an entry names them.
pub(super) fn groups_at(fleet: &Fleet, site: SiteId) -> Vec<Name> {
    let groups = fleet.groups.iter().filter(|group| group.sites.contains(&site));
    groups.take(GROUPS_MAX).map(|group| group.name.clone()).collect()
}
