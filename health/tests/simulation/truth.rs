//! What is true of the simulated world: kept from what the core was told, never from what it believes.
//!
//! It is the other half of every rule. Were a rule checked against the core's own notes, a defect in the notes would
//! hide from it. So the words of the design are worked out here a second time, as plainly as can be: no caches, names
//! instead of numbers, and everything weighed anew whenever something was told.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_health::durable::Durable;
use tidegate_health::facts::Isolation;
use tidegate_health::fleet::{self, Fleet, Group, Service, Thresholds};
use tidegate_health::force::{Force, ForceKind, Scope};
use tidegate_health::hysteresis::Health;
use tidegate_health::id::{Name, OriginId};
use tidegate_health::safety::Demand;
use tidegate_health::step::Input;
use tidegate_health::time::{Mono, Now};

use crate::beside::{Beside, forbidding};
use crate::world::{Stored, ms, secs};

#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) origins: BTreeMap<Name, Origin>,
    pub(crate) groups: BTreeMap<Name, Places>,
    pub(crate) isolation: Option<Isolation>,
    /// Since when nothing says that this edge is cut off.
    pub(crate) connected: Mono,
    /// Results of probes that started earlier do not count.
    pub(crate) round: Mono,
    pub(crate) beside: Beside,
    /// When the core was told something last, and when everything was weighed last.
    last: Now,
    at: Now,
}

/// One origin, from its results.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) health: Health,
    /// Down, but not seen to fail since the latest break in what was seen.
    pub(crate) stale: bool,
    /// The latest results since that break, as far as any threshold looks back.
    run: Vec<bool>,
    pub(crate) force: Option<ForceKind>,
    pub(crate) seen: Option<Mono>,
    pub(crate) passed: Option<Mono>,
    pub(crate) failed: Option<Mono>,
    heed_from: Mono,
}

/// One group: what is confirmed of it, and since when what holds of its sites.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) stored: Durable,
    /// Where it is about to go, by a change that is being written.
    pub(crate) going: Option<Name>,
    /// Since when it has been where it is, as far as this process knows.
    pub(crate) moved: Mono,
    /// The site it is active at, and since when that has been unfit.
    pub(crate) unfit: Option<(Name, Mono)>,
    /// Since when each site has been fit.
    pub(crate) fit: BTreeMap<Name, Mono>,
}

/// What speaks against a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Against {
    TooFewUp,
    TooFewKnown,
    Capability,
    GateFails,
    GateUnknown,
    Door,
    DoorUnknown,
    Forbidden,
    Diverged,
}

impl Against {
    /// Whether more knowledge may clear it.
    pub(crate) fn is_ignorance(self) -> bool {
        matches!(self, Self::TooFewKnown | Self::GateUnknown | Self::DoorUnknown)
    }

    /// What a move was, that this stood against.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::TooFewUp => "to an unfit site",
            Self::TooFewKnown => "to a site of which too little is known",
            Self::Capability => "to a site that cannot do what is required",
            Self::GateFails => "against a gate",
            Self::GateUnknown => "past a gate of which nothing is known",
            Self::Door => "behind a door that is shut",
            Self::DoorUnknown => "behind a door of which nothing is known",
            Self::Forbidden => "to a forbidden site",
            Self::Diverged => "to a diverged site",
        }
    }

    /// The rule that a person has to name; safety rules have names of their own.
    pub(crate) fn rule(self) -> Option<&'static str> {
        match self {
            Self::TooFewUp | Self::TooFewKnown | Self::Capability | Self::Door | Self::DoorUnknown => {
                Some("unfit")
            }
            Self::GateFails | Self::GateUnknown => Some("gate"),
            Self::Forbidden => None,
            Self::Diverged => Some("diverged"),
        }
    }
}

impl Origin {
    /// Returns whether anything is thought of it that was not before.
    pub(crate) fn hears(&mut self, started: Mono, pass: bool, thresholds: &Thresholds) -> bool {
        let before = (self.health, self.stale);
        self.seen = self.seen.max(Some(started));
        let latest = if pass { &mut self.passed } else { &mut self.failed };
        *latest = (*latest).max(Some(started));
        self.run.push(pass);
        let ends_with = |wanted: bool, length: u32| {
            let tail = self.run.iter().rev().take(length as usize);
            tail.clone().count() == length as usize && tail.clone().all(|pass| *pass == wanted)
        };
        if ends_with(false, thresholds.fall) {
            (self.health, self.stale) = (Health::Down, false);
        } else if ends_with(true, thresholds.rise) || (pass && self.health == Health::Unknown) {
            (self.health, self.stale) = (Health::Up, false);
        }
        if self.run.len() > 8 {
            self.run.remove(0);
        }
        before != (self.health, self.stale)
    }

    /// What was seen before is no part of what is seen from here on.
    pub(crate) fn breaks_off(&mut self) {
        self.run.clear();
        self.stale = self.health == Health::Down;
    }

    fn is_forced(&mut self, force: Option<ForceKind>, now: Now) {
        let is_out = |force: Option<ForceKind>| matches!(force, Some(ForceKind::Drain | ForceKind::Down));
        if is_out(self.force) && !is_out(force) {
            // Of what is not known, nothing was believed that has to be proven again.
            if self.health != Health::Unknown {
                (self.health, self.stale) = (Health::Down, true);
                self.run.clear();
            }
            self.heed_from = now.mono;
        }
        self.force = force;
    }

    pub(crate) fn is_out(&self) -> bool {
        matches!(self.force, Some(ForceKind::Drain | ForceKind::Down))
    }

    /// Whether its latest result was a pass, of those that are worth anything still.
    pub(crate) fn is_passing(&self) -> bool {
        self.run.last() == Some(&true)
    }

    /// What traffic follows.
    pub(crate) fn effective(&self) -> Health {
        self.word().unwrap_or(self.health)
    }

    /// What a decision may build on.
    pub(crate) fn evidence(&self) -> Health {
        self.word().unwrap_or(if self.stale { Health::Unknown } else { self.health })
    }

    fn word(&self) -> Option<Health> {
        self.force.map(|_| if self.is_out() { Health::Down } else { Health::Up })
    }
}

impl Truth {
    /// A process begins: nothing is known but what is stored.
    pub(crate) fn begin(&mut self, fleet: &Fleet, stored: &Stored, now: Now) {
        *self = Self { round: now.mono, connected: now.mono, last: now, at: now, ..Self::default() };
        let names = fleet.origins.iter().map(|origin| origin.name.clone());
        self.origins = names.map(|name| (name, Origin::default())).collect();
        self.are_stored(fleet, stored, now);
        self.weigh(fleet, now);
    }

    /// The same process with another configuration. What is asked as before is known as before.
    pub(crate) fn reload(
        &mut self,
        (old, new): (&Fleet, &Fleet),
        kept: &[Option<OriginId>],
        stored: &Stored,
        now: Now,
    ) {
        let mut origins = BTreeMap::new();
        for (origin, was) in new.origins.iter().zip(kept) {
            let known = was.and_then(|was| {
                let mut known = self.origins.get(&old.origin(was).name).cloned()?;
                if old.origin(was).thresholds != origin.thresholds {
                    known.breaks_off();
                }
                Some(known)
            });
            origins.insert(origin.name.clone(), known.unwrap_or_default());
        }
        self.origins = origins;
        self.beside.reload(old, new);
        self.groups.retain(|name, _| new.group_named(name).is_some());
        self.are_stored(new, stored, now);
        self.looks_at_witnesses(new, now);
        self.weigh(new, now);
    }

    pub(crate) fn hears(&mut self, fleet: &Fleet, input: &Input, stored: &Stored, now: Now) {
        self.at = now;
        let was_silent = self.notices_silence(fleet, now);
        self.beside.grows_old(fleet, now);
        let is_news = match input {
            Input::Observation { origin, started, failure } => {
                let origin = fleet.origin(*origin);
                let round = self.round;
                let known = self.origins.get_mut(&origin.name).expect("an origin of the fleet");
                *started >= round.max(known.heed_from)
                    && known.hears(*started, failure.is_none(), &origin.thresholds)
            }
            Input::Fact(fact) => {
                self.beside.learns(fleet, fact, self.round);
                true
            }
            Input::Stored { group, .. } => {
                self.goes_nowhere(&fleet.group(*group).name);
                self.are_stored(fleet, stored, now);
                true
            }
            Input::NotStored { group, .. } => {
                self.goes_nowhere(&fleet.group(*group).name);
                true
            }
            Input::ForcesStored { .. } => {
                self.are_stored(fleet, stored, now);
                true
            }
            _ => false,
        };
        self.looks_at_witnesses(fleet, now);
        // What is dated grows old all the time.
        let is_dated = !fleet.rules.is_empty()
            || fleet.sites.iter().any(|site| site.front_door_check.is_some())
            || fleet.groups.iter().any(|group| !group.gates.is_empty());
        if is_news || was_silent || is_dated {
            self.weigh(fleet, now);
        }
    }

    fn goes_nowhere(&mut self, group: &Name) {
        if let Some(places) = self.groups.get_mut(group) {
            places.going = None;
        }
    }

    fn looks_at_witnesses(&mut self, fleet: &Fleet, now: Now) {
        let was_cut_off = self.is_cut_off();
        self.isolation = self.beside.isolation(fleet, now);
        if was_cut_off && !self.is_cut_off() {
            self.connected = now.mono;
        }
    }

    /// After two intervals of silence, by either clock, what was seen is worth nothing: it may be our own sleep.
    fn notices_silence(&mut self, fleet: &Fleet, now: Now) -> bool {
        let last = std::mem::replace(&mut self.last, now);
        let interval = fleet.origins.iter().map(|origin| origin.thresholds.interval).min();
        let bearable = interval.map_or(secs(2), |interval| (2 * interval).max(ms(500)));
        let (silence, by_wall) = (now.mono.since(last.mono), now.wall.since(last.wall));
        if silence.max(by_wall) <= bearable {
            return false;
        }
        self.beside.breaks_off(by_wall.saturating_sub(silence) > bearable);
        self.round = now.mono;
        for origin in self.origins.values_mut() {
            origin.breaks_off();
        }
        for places in self.groups.values_mut() {
            (places.unfit, places.fit) = (None, BTreeMap::new());
        }
        true
    }

    fn are_stored(&mut self, fleet: &Fleet, stored: &Stored, now: Now) {
        for group in &fleet.groups {
            let start = Places { moved: now.mono, ..Places::default() };
            let is_new = !self.groups.contains_key(&group.name);
            let places = self.groups.entry(group.name.clone()).or_insert(start);
            let found = stored.groups.get(&group.name).cloned().unwrap_or_default();
            if !is_new && found.epoch() != places.stored.epoch() {
                places.moved = now.mono;
            }
            places.stored = found;
        }
        self.are_forced(fleet, &stored.forces, now);
    }

    fn are_forced(&mut self, fleet: &Fleet, forces: &[Force], now: Now) {
        for origin in &fleet.origins {
            let known = self.origins.get_mut(&origin.name).expect("an origin of the fleet");
            known.is_forced(strictest(fleet, origin, forces), now);
        }
    }

    /// What would be true under other forces.
    pub(crate) fn with_forces(&self, fleet: &Fleet, forces: &[Force], now: Now) -> Self {
        let mut then = self.clone();
        then.are_forced(fleet, forces, now);
        then
    }

    /// Since when what holds of sites.
    pub(crate) fn weigh(&mut self, fleet: &Fleet, now: Now) {
        self.at = now;
        for group in &fleet.groups {
            let mut places = self.groups[&group.name].clone();
            // First of all the active site: by which measurements the others go depends on it.
            let active = places.stored.site().filter(|site| fleet.site_named(site).is_some()).cloned();
            if let Some(active) = &active {
                let unfit = !self.against(fleet, group, active).iter().all(|it| it.is_ignorance());
                let since = places.unfit.take().filter(|(at, _)| at == active);
                places.unfit = unfit.then(|| since.unwrap_or((active.clone(), now.mono)));
            }
            self.groups.insert(group.name.clone(), places.clone());
            for site in &group.sites {
                let site = &fleet.site(*site).name;
                if self.against(fleet, group, site).is_empty() {
                    places.fit.entry(site.clone()).or_insert(now.mono);
                } else {
                    places.fit.remove(site);
                }
            }
            self.groups.insert(group.name.clone(), places);
        }
    }

    /// Everything that speaks against `site`; nothing if it is fit.
    pub(crate) fn against(&self, fleet: &Fleet, group: &Group, site: &Name) -> BTreeSet<Against> {
        let (places, now) = (&self.groups[&group.name], self.at);
        let mut against = BTreeSet::new();
        for service in critical(fleet, group) {
            let origins = self.serving(fleet, service, site);
            let count = |health| origins.iter().filter(|origin| origin.evidence() == health).count();
            let (up, unknown) = (count(Health::Up), count(Health::Unknown));
            if up + unknown < service.min_up as usize {
                against.insert(Against::TooFewUp);
            } else if up < service.min_up as usize {
                against.insert(Against::TooFewKnown);
            }
        }
        let id = fleet.site_named(site).expect("a site of the fleet");
        if !group.requires.is_subset(&fleet.site(id).provides) {
            against.insert(Against::Capability);
        }
        against.extend(self.beside.door(fleet, site));
        if places.stored.diverged.contains(site) {
            against.insert(Against::Diverged);
        }
        // Whether a site may become active is no question of the one that is.
        if places.stored.site() != Some(site) {
            let lost = places.unfit.as_ref().map(|(_, since)| *since);
            against.extend(self.beside.gates(fleet, group, site, lost, now));
            if !self.forbidding(fleet, group, site).is_empty() {
                against.insert(Against::Forbidden);
            }
        }
        against
    }

    /// The names of the safety rules that close a site to a group now.
    pub(crate) fn forbidding(&self, fleet: &Fleet, group: &Group, site: &Name) -> BTreeSet<Name> {
        forbidding(fleet, group, site, &self.groups, self.at.wall)
    }

    /// The names of the safety rules that hold planned moves of a group back now.
    pub(crate) fn holding(&self, fleet: &Fleet, group: &Group) -> BTreeSet<Name> {
        let id = fleet.group_named(&group.name).expect("a group of the fleet");
        let is_fit = |site: &&_| self.against(fleet, group, &fleet.site(**site).name).is_empty();
        let fit = group.sites.iter().filter(is_fit).count();
        let holds = |demand: &Demand| match demand {
            Demand::SitesFit { groups, at_least } => groups.contains(&id) && fit < *at_least,
            _ => false,
        };
        fleet.rules.iter().filter(|rule| holds(&rule.demand)).map(|rule| rule.name.clone()).collect()
    }

    /// The origins of a service at a site.
    pub(crate) fn serving(&self, fleet: &Fleet, service: &Service, site: &Name) -> Vec<&Origin> {
        let id = fleet.site_named(site).expect("a site of the fleet");
        service.origins_at(id).iter().map(|id| &self.origins[&fleet.origin(*id).name]).collect()
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        matches!(self.isolation, Some(Isolation::Isolated | Isolation::Unknown))
    }
}

pub(crate) fn critical<'a>(fleet: &'a Fleet, group: &'a Group) -> impl Iterator<Item = &'a Service> {
    group.services.iter().map(|id| fleet.service(*id)).filter(|service| service.critical)
}

/// Of several forces the most careful one holds: down before drain before up.
fn strictest(fleet: &Fleet, origin: &fleet::Origin, forces: &[Force]) -> Option<ForceKind> {
    let is_meant = |force: &&Force| {
        let pattern = &force.selector.pattern;
        match force.selector.scope {
            Scope::Origin => matches(pattern, &origin.name),
            Scope::Host => origin.host.as_deref().is_some_and(|host| matches(pattern, host)),
            Scope::Site => matches(pattern, &fleet.site(origin.site).name),
        }
    };
    let held: Vec<_> = forces.iter().filter(is_meant).map(|force| force.kind).collect();
    [ForceKind::Down, ForceKind::Drain, ForceKind::Up].into_iter().find(|kind| held.contains(kind))
}

/// Patterns as the simulation gives them: `*` at the beginning, or none.
fn matches(pattern: &str, text: &str) -> bool {
    pattern.strip_prefix('*').map_or(pattern == text, |end| text.ends_with(end))
}
