//! The world of a simulation: it plays the daemon's part around the core, as the core's contract says, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tidegate_config::Config;
use tidegate_health::durable::{Decision, Durable, SwitchKind};
use tidegate_health::event::Event;
use tidegate_health::explain::explain;
use tidegate_health::fleet::{Fleet, Thresholds};
use tidegate_health::force::{Force, ForceOrder};
use tidegate_health::gate::{Gate, Limit, Reading, Value, Verdict};
use tidegate_health::id::{GroupId, Name, OriginId, SiteId};
use tidegate_health::order::Order;
use tidegate_health::state::State;
use tidegate_health::step::{Effect, Fact, Input, step};
use tidegate_health::time::{Mono, Now, Wall};

use super::prober::Prober;
use super::report::{GroupReport, Outage, Report};
use super::script::{Action, Condition, Disk, Script};
use super::worst::{TICK, ms, worst};
use crate::store;

/// 2024-01-01T00:00:00Z, a Monday: where the wall clock starts, for safety rules by the hour.
const WALL_START: u64 = 1_704_067_200_000;
/// How long the disk takes when it is well.
const WRITE: Duration = Duration::from_millis(5);
const ACTOR: &str = "operator";

pub(super) struct World<'c> {
    config: &'c Config,
    fleet: &'c Fleet,
    state: State,
    at: Duration,
    next_tick: Duration,
    probers: Vec<Prober>,
    conditions: Vec<Condition>,
    /// By site: whether its published address works.
    doors: Vec<bool>,
    door_checks: Vec<(SiteId, Prober)>,
    gates: Vec<GateCheck>,
    witnesses_due: Duration,
    connected: bool,
    disk: Disk,
    writes: VecDeque<(Duration, Input)>,
    forces: Vec<Force>,
    seen: Vec<(Option<SiteId>, u64)>,
    outages: Vec<Vec<Outage>>,
    unserved: Vec<Duration>,
    looked: Duration,
    orders: u64,
    report: Report,
}

/// One gate at one site.
struct GateCheck {
    group: GroupId,
    site: SiteId,
    gate: Gate,
    verdict: Option<Verdict>,
    due: Duration,
}

impl<'c> World<'c> {
    /// Every group at the site it prefers, everything up.
    pub(super) fn new(config: &'c Config, seed: u64) -> Self {
        let fleet = &config.fleet;
        let stored: BTreeMap<Name, Durable> = fleet
            .groups
            .iter()
            .map(|group| (group.name.clone(), home(&fleet.site(group.sites[0]).name)))
            .collect();
        let start = Now { mono: Mono(Duration::ZERO), wall: Wall(WALL_START) };
        let state =
            State::new(fleet, &stored, start).expect("the site that a group prefers is one of its own");
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut prober = |timing: Thresholds| Prober::new(timing, rng.u64(..));
        let probers = fleet.origins.iter().map(|origin| prober(origin.thresholds)).collect();
        let site_ids = (0..fleet.sites.len()).map(|n| SiteId(u16::try_from(n).unwrap_or(u16::MAX)));
        let checked =
            site_ids.filter_map(|id| Some((id, fleet.site(id).front_door_check.as_ref()?.thresholds)));
        let door_checks = checked.map(|(site, timing)| (site, prober(timing))).collect();
        Self {
            probers,
            conditions: vec![Condition::Up; fleet.origins.len()],
            doors: vec![true; fleet.sites.len()],
            door_checks,
            gates: gates(fleet),
            seen: fleet
                .group_ids()
                .map(|id| (state.group(id).active, state.group(id).durable.epoch()))
                .collect(),
            outages: vec![Vec::new(); fleet.groups.len()],
            unserved: vec![Duration::ZERO; fleet.groups.len()],
            report: Report { seed, ..Report::default() },
            config,
            fleet,
            state,
            at: Duration::ZERO,
            next_tick: Duration::ZERO,
            witnesses_due: Duration::ZERO,
            connected: true,
            disk: Disk::Works,
            writes: VecDeque::new(),
            forces: Vec::new(),
            looked: Duration::ZERO,
            orders: 0,
        }
    }

    pub(super) fn play(mut self, script: &Script) -> Report {
        let mut actions = script.actions.iter().peekable();
        loop {
            let action = actions.peek().map_or(Duration::MAX, |(at, ..)| *at);
            let write = self.writes.front().map_or(Duration::MAX, |(at, _)| *at);
            let (probe, which) = soonest(&self.probers);
            let door = self.door_checks.iter().map(|(_, check)| check.next()).min().unwrap_or(Duration::MAX);
            let next = action.min(write).min(probe).min(door).min(self.next_tick);
            if next > script.until {
                break;
            }
            self.at = next.max(self.at);
            if action <= next {
                if let Some((_, action, told)) = actions.next() {
                    self.report.tell(self.at, "script", None, told.clone());
                    self.act(action);
                }
                self.look();
            } else if write <= next {
                if let Some((_, input)) = self.writes.pop_front() {
                    self.feed(input);
                }
            } else if probe <= next {
                self.probe(which);
            } else if door <= next {
                self.check_door();
            } else {
                self.next_tick = self.at + TICK;
                self.measure();
                self.feed(Input::Tick);
                self.look();
            }
        }
        self.at = script.until;
        self.look();
        self.finish()
    }

    fn now(&self) -> Now {
        Now { mono: Mono(self.at), wall: Wall(WALL_START).plus(self.at) }
    }

    fn probe(&mut self, id: OriginId) {
        let condition = if self.connected { self.conditions[id.index()] } else { Condition::Silent };
        if let Some(ended) = self.probers[id.index()].go_on(self.at, condition) {
            let failure = ended.failure.map(Into::into);
            self.feed(Input::Observation { origin: id, started: Mono(ended.started), failure });
        }
    }

    fn check_door(&mut self) {
        let at = self.at;
        for position in 0..self.door_checks.len() {
            let (site, check) = &mut self.door_checks[position];
            if check.next() > at {
                continue;
            }
            let (site, works) = (*site, self.doors[site.index()] && self.connected);
            let condition = if works { Condition::Up } else { Condition::Silent };
            let Some(ended) = check.go_on(at, condition) else { continue };
            for address in self.fleet.site(site).front_door.clone() {
                let failure = ended.failure.map(Into::into);
                self.feed(Input::Fact(Fact::FrontDoor {
                    site,
                    address,
                    measured: Mono(ended.started),
                    failure,
                }));
            }
        }
    }

    /// Gates and witnesses, where it is their turn.
    fn measure(&mut self) {
        let at = self.at;
        let measured = Mono(at);
        let mut facts = Vec::new();
        for check in self.gates.iter_mut().filter(|check| check.due <= at) {
            check.due = at + (check.gate.max_age / 3).max(TICK);
            if let Some(verdict) = check.verdict {
                let (group, site, gate) = (check.group, check.site, check.gate.name.clone());
                let reading = reading(&check.gate, verdict);
                facts.push(Fact::Gate { group, site, gate, measured, reading, detail: None });
            }
        }
        let witnesses = &self.fleet.witnesses;
        if !witnesses.addresses.is_empty() && self.witnesses_due <= at {
            self.witnesses_due = at + (witnesses.max_age / 3).max(TICK);
            let reachable = self.connected;
            facts.extend(witnesses.addresses.iter().map(|it| Fact::Witness {
                address: it.clone(),
                measured,
                reachable,
            }));
        }
        for fact in facts {
            self.feed(Input::Fact(fact));
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Origins(origins, condition) => {
                origins.iter().for_each(|id| self.conditions[id.index()] = *condition);
            }
            Action::Site(site, condition, door) => {
                let here = self.fleet.origin_ids().filter(|id| self.fleet.origin(*id).site == *site);
                here.for_each(|id| self.conditions[id.index()] = *condition);
                self.doors[site.index()] = *door;
            }
            Action::FrontDoor(site, works) => self.doors[site.index()] = *works,
            Action::Gate(group, site, name, verdict) => {
                let is_meant =
                    |it: &&mut GateCheck| it.group == *group && it.site == *site && it.gate.name == *name;
                self.gates.iter_mut().filter(is_meant).for_each(|it| it.verdict = *verdict);
            }
            Action::Edge { connected } => {
                self.connected = *connected;
                self.witnesses_due = self.at;
            }
            Action::Store(disk) => self.disk = *disk,
            Action::Order(group, verb, overrides) => {
                let (id, actor, reason) = (self.next_order(), ACTOR.into(), "as scripted".into());
                let (group, verb, overrides) = (*group, *verb, overrides.clone());
                self.feed(Input::Order(Order { id, group, actor, reason, verb, overrides }));
            }
            Action::Force(selector, verb, overrides) => {
                let (id, actor, reason) = (self.next_order(), ACTOR.into(), "as scripted".into());
                let (selector, verb, overrides) = (selector.clone(), *verb, overrides.clone());
                self.feed(Input::Force(ForceOrder { id, actor, reason, selector, verb, overrides }));
            }
        }
    }

    fn next_order(&mut self) -> u64 {
        self.orders += 1;
        self.orders
    }

    fn feed(&mut self, input: Input) {
        let now = self.now();
        for effect in step(self.fleet, &mut self.state, input, now) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Persist { group, ticket, change } => {
                let (_, event) = *change;
                self.write(&event, Input::Stored { group, ticket }, |detail| Input::NotStored {
                    group,
                    ticket,
                    detail,
                });
            }
            Effect::PersistForces { ticket, change } => {
                let (forces, event) = *change;
                self.forces = forces;
                self.write(&event, Input::ForcesStored { ticket }, |detail| Input::ForcesNotStored {
                    ticket,
                    detail,
                });
            }
            Effect::Record(event) => self.tell(&event),
            Effect::Publish => self.see(),
            Effect::Reply { outcome: Ok(done), .. } => {
                let text = if done.changed { "done" } else { "it was so already" };
                self.report.tell(self.at, "answer", Some(&done.group), text.into());
            }
            Effect::ReplyForce { outcome: Ok(forced), .. } => {
                let text = if forced.changed { "done" } else { "it was so already" };
                self.report.tell(self.at, "answer", None, text.into());
            }
            // The history has the refusal with its reason.
            Effect::Reply { outcome: Err(refusal), .. }
            | Effect::ReplyForce { outcome: Err(refusal), .. } => {
                let next = refusal.next.map_or_else(String::new, |next| format!("; next: {next}"));
                self.report.tell(
                    self.at,
                    "answer",
                    None,
                    format!("{} ({}){next}", refusal.message, refusal.label),
                );
            }
            Effect::ProbeNow(origin) => self.probers[origin.index()].now(self.at),
            Effect::Pace(origin, pace) => self.probers[origin.index()].pace(pace, self.at),
        }
    }

    /// The disk's answer is on its way.
    fn write(&mut self, event: &Event, stored: Input, not_stored: impl Fn(std::sync::Arc<str>) -> Input) {
        let (after, answer) = match self.disk {
            Disk::Works => (WRITE, stored),
            Disk::Stalls => (store::DEADLINE, not_stored("the disk did not answer in time".into())),
            Disk::Fails => (WRITE, not_stored("the disk is full".into())),
        };
        if self.disk == Disk::Works {
            self.tell(event);
        }
        let at = self.at + after;
        let place = self.writes.iter().position(|(due, _)| *due > at).unwrap_or(self.writes.len());
        self.writes.insert(place, (at, answer));
    }

    fn tell(&mut self, event: &Event) {
        let of = event.origin.as_ref().or(event.site.as_ref());
        let change = match (&event.from, &event.to) {
            (Some(from), Some(to)) => format!("{from} -> {to}: "),
            (None, Some(to)) => format!("-> {to}: "),
            _ => String::new(),
        };
        let of = of.map_or_else(String::new, |of| format!("{of} "));
        let text = format!("{of}{change}{}", event.reason);
        self.report.tell(self.at, event.kind.label(), event.group.as_deref(), text);
    }

    /// What readers see from here on.
    fn see(&mut self) {
        for id in self.fleet.group_ids() {
            let own = self.state.group(id);
            let now = (own.active, own.durable.epoch());
            let before = std::mem::replace(&mut self.seen[id.index()], now);
            if before == now {
                continue;
            }
            // The outage of the site that was left is over for this group.
            self.account();
            let at_ms = ms(self.at);
            let to = now.0.map(|site| self.fleet.site(site).name.to_string());
            if let Some(outage) =
                self.outages[id.index()].last_mut().filter(|outage| outage.ended_ms.is_none())
            {
                let gap = at_ms - outage.began_ms;
                (outage.ended_ms, outage.gap_ms, outage.moved_to) = (Some(at_ms), Some(gap), to);
                outage.within_worst = outage.worst_ms.map(|worst| gap <= worst);
                outage.stopped_by.clear();
            }
        }
        self.look();
    }

    /// Whether clients of a group are served where it is.
    fn is_served(&self, id: GroupId) -> bool {
        let Some(active) = self.seen[id.index()].0 else { return false };
        let group = self.fleet.group(id);
        let serves = |origin: &&OriginId| {
            let timeout = self.fleet.origin(**origin).thresholds.timeout;
            !self.state.origin(**origin).is_out() && self.conditions[origin.index()].serves(self.at, timeout)
        };
        let critical = group.services.iter().map(|id| self.fleet.service(*id)).filter(|it| it.critical);
        let mut missing = critical.filter(|service| {
            service.origins_at(active).iter().filter(serves).count() < service.min_up as usize
        });
        let door = self.fleet.site(active).front_door_check.is_none() || self.doors[active.index()];
        door && missing.next().is_none()
    }

    /// Adds up the time since it was last looked.
    fn account(&mut self) {
        let since = self.at.saturating_sub(self.looked);
        self.looked = self.at;
        for (unserved, outages) in self.unserved.iter_mut().zip(&self.outages) {
            if outages.last().is_some_and(|outage| outage.ended_ms.is_none()) {
                *unserved += since;
            }
        }
    }

    /// Begins and ends outages.
    fn look(&mut self) {
        self.account();
        for id in self.fleet.group_ids() {
            let served = self.is_served(id);
            let open = self.outages[id.index()].last().is_some_and(|outage| outage.ended_ms.is_none());
            match (served, open, self.seen[id.index()].0) {
                (false, false, Some(site)) => {
                    let outage = Outage {
                        site: self.fleet.site(site).name.to_string(),
                        began_ms: self.at.as_millis() as u64,
                        ended_ms: None,
                        moved_to: None,
                        gap_ms: None,
                        worst_ms: worst(self.config, id, site).total_ms,
                        within_worst: None,
                        stopped_by: Vec::new(),
                    };
                    self.outages[id.index()].push(outage);
                }
                (true, true, _) => {
                    let at = ms(self.at);
                    if let Some(outage) = self.outages[id.index()].last_mut() {
                        outage.ended_ms = Some(at);
                    }
                }
                _ => {}
            }
        }
    }

    fn finish(mut self) -> Report {
        self.report.until_ms = ms(self.at);
        let now = self.now();
        for id in self.fleet.group_ids() {
            let (group, own) = (self.fleet.group(id), self.state.group(id));
            let name = |site: SiteId| self.fleet.site(site).name.to_string();
            let mut outages = std::mem::take(&mut self.outages[id.index()]);
            if let Some(last) = outages.last_mut().filter(|outage| outage.ended_ms.is_none()) {
                let stops = explain(self.fleet, &self.state, id, now).stops;
                last.stopped_by = stops.iter().map(|stop| format!("{}: {}", stop.label, stop.text)).collect();
            }
            self.report.groups.push(GroupReport {
                group: group.name.to_string(),
                from: group.sites.first().map(|site| name(*site)),
                active: own.active.map(name),
                epoch: own.durable.epoch(),
                unserved_ms: ms(self.unserved[id.index()]),
                outages,
                worst: worst(self.config, id, group.sites[0]),
            });
        }
        self.report
    }
}

/// A group that has always lived here.
fn home(site: &Name) -> Durable {
    let decision = Decision {
        site: site.clone(),
        epoch: 1,
        kind: SwitchKind::Start,
        since: Wall(0),
        actor: "tidegate".into(),
        reason: "where the simulation begins".into(),
        chain: Vec::new(),
    };
    Durable { decision: Some(decision), ..Durable::default() }
}

fn gates(fleet: &Fleet) -> Vec<GateCheck> {
    let of_group = |group: GroupId| {
        fleet.group(group).gates.iter().flat_map(move |gate| {
            gate.sites.iter().map(move |site| GateCheck {
                group,
                site: *site,
                gate: gate.clone(),
                verdict: Some(Verdict::Pass),
                due: Duration::ZERO,
            })
        })
    };
    fleet.group_ids().flat_map(of_group).collect()
}

/// What a gate reads where the script says pass or fail.
fn reading(gate: &Gate, verdict: Verdict) -> Reading {
    let passes = verdict == Verdict::Pass;
    let value = match &gate.limit {
        None => return Reading::Verdict(verdict),
        Some(Limit::MaxLag(max)) => Value::Number(if passes { 0.0 } else { max.as_secs_f64() + 1.0 }),
        Some(Limit::AtMost(max)) => Value::Number(if passes { *max } else { max + 1.0 }),
        Some(Limit::AtLeast(min)) => Value::Number(if passes { *min } else { min - 1.0 }),
        Some(Limit::Equals(value)) if passes => value.clone(),
        Some(Limit::Equals(_)) => Value::Word("something else".into()),
    };
    Reading::Value(value)
}

/// The prober whose turn it is first.
fn soonest(probers: &[Prober]) -> (Duration, OriginId) {
    let mut first = (Duration::MAX, OriginId(0));
    for (position, prober) in probers.iter().enumerate() {
        let due = prober.next();
        if due < first.0 {
            first = (due, OriginId(u32::try_from(position).unwrap_or(u32::MAX)));
        }
    }
    first
}
