//! What is true of the simulated world beside its origins: gates, witnesses, published addresses and safety rules. What
//! was told is kept with its date, and how old it is is looked at whenever somebody asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tidegate_health::facts::Isolation;
use tidegate_health::fleet::{Fleet, Group};
use tidegate_health::gate::{Gate, Purpose, Reading, Verdict};
use tidegate_health::hysteresis::Health;
use tidegate_health::id::Name;
use tidegate_health::safety::Demand;
use tidegate_health::step::Fact;
use tidegate_health::time::{Mono, Now, Wall};

use crate::truth::{Against, Origin, Places};

/// Samples that are kept of a gate; more than a run has.
const SAMPLES_MAX: usize = 1024;

/// What was told and not forgotten.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    witnesses: BTreeMap<Name, (Mono, bool)>,
    /// By group, site and gate, in the order of their measurement.
    gates: BTreeMap<(Name, Name, Name), Vec<(Mono, Verdict)>>,
    doors: BTreeMap<(Name, IpAddr), Origin>,
}

impl Beside {
    pub(crate) fn learns(&mut self, fleet: &Fleet, fact: &Fact, round: Mono) {
        let site_name = |site| fleet.site(site).name.clone();
        match fact {
            Fact::Witness { address, measured, reachable } => {
                let known = self.witnesses.entry(address.clone()).or_insert((*measured, *reachable));
                if *measured >= known.0 {
                    *known = (*measured, *reachable);
                }
            }
            Fact::Gate { group, site, gate, measured, reading, .. } => {
                let Reading::Verdict(verdict) = reading else { panic!("the simulation tells verdicts") };
                let at = (fleet.group(*group).name.clone(), site_name(*site), gate.clone());
                let samples = self.gates.entry(at).or_default();
                samples.push((*measured, *verdict));
                // Stable: of two measurements that began together, the one that was told later is the later one.
                samples.sort_by_key(|(measured, _)| *measured);
                if samples.len() > SAMPLES_MAX {
                    samples.remove(0);
                }
            }
            Fact::FrontDoor { site, address, measured, failure } => {
                let site = fleet.site(*site);
                let door = self.doors.entry((site.name.clone(), *address)).or_default();
                if let Some(check) = site.front_door_check
                    && *measured >= round
                    && door.seen.is_none_or(|seen| *measured >= seen)
                {
                    door.hears(*measured, failure.is_none(), &check.thresholds);
                }
            }
        }
    }

    /// What is too old is gone; what was not seen for long was never seen.
    pub(crate) fn grows_old(&mut self, fleet: &Fleet, now: Now) {
        for ((site, _), door) in &mut self.doors {
            let site = fleet.site_named(site).map(|id| fleet.site(id));
            let check = site.and_then(|site| site.front_door_check);
            let is_old = |check: tidegate_health::fleet::FrontDoorCheck| {
                door.seen.is_some_and(|seen| now.mono.since(seen) > check.max_age)
            };
            if check.is_some_and(is_old) {
                *door = Origin::default();
            }
        }
    }

    /// After a silence of the loop: what was seen of addresses is doubted, and if the machine slept, how old the rest is
    /// cannot be told.
    pub(crate) fn breaks_off(&mut self, slept: bool) {
        self.doors.values_mut().for_each(Origin::breaks_off);
        if slept {
            self.witnesses.clear();
            self.gates.clear();
        }
    }

    /// The same with another configuration.
    pub(crate) fn reload(&mut self, old: &Fleet, new: &Fleet) {
        let same_check = |site: &Name| {
            let check = |fleet: &Fleet| fleet.site_named(site).map(|id| fleet.site(id).front_door_check);
            check(new).is_some() && check(old) == check(new)
        };
        self.doors.retain(|(site, _), _| same_check(site));
        let counts = |fleet: &Fleet, (group, site, gate): &(Name, Name, Name)| {
            let group = fleet.group_named(group).map(|id| fleet.group(id));
            let gate = group.and_then(|group| group.gate(gate));
            let site = fleet.site_named(site);
            gate.zip(site).is_some_and(|(gate, site)| gate.sites.contains(&site))
        };
        self.gates.retain(|at, _| counts(old, at) && counts(new, at));
        self.witnesses.retain(|address, _| new.witnesses.addresses.contains(address));
    }

    /// Whether this edge is cut off, where anybody is asked.
    pub(crate) fn isolation(&self, fleet: &Fleet, now: Now) -> Option<Isolation> {
        let all = &fleet.witnesses.addresses;
        let says = |address: &Name| {
            let (measured, reached) = self.witnesses.get(address)?;
            (now.mono.since(*measured) <= fleet.witnesses.max_age).then_some(*reached)
        };
        let reached = all.iter().filter(|address| says(address) == Some(true)).count();
        let lost = all.iter().filter(|address| says(address) == Some(false)).count();
        if all.is_empty() {
            None
        } else if 2 * reached > all.len() {
            Some(Isolation::Connected)
        } else if 2 * (all.len() - lost) > all.len() {
            Some(Isolation::Unknown)
        } else {
            Some(Isolation::Isolated)
        }
    }

    /// What speaks against the published addresses of a site.
    pub(crate) fn door(&self, fleet: &Fleet, site: &Name) -> Option<Against> {
        let known = fleet.site(fleet.site_named(site).expect("a site of the fleet"));
        known.front_door_check?;
        let is = |address: &IpAddr, health| {
            let door = self.doors.get(&(site.clone(), *address));
            door.map_or(Health::Unknown, Origin::evidence) == health
        };
        let any = |health| known.front_door.iter().any(|address| is(address, health));
        match (any(Health::Up), any(Health::Unknown)) {
            _ if known.front_door.is_empty() => None,
            (true, _) => None,
            (false, true) => Some(Against::DoorUnknown),
            (false, false) => Some(Against::Door),
        }
    }

    /// Whether every published address of a site failed since then.
    pub(crate) fn door_failed_since(&self, site: &Name, since: Option<Mono>) -> bool {
        self.doors.iter().filter(|((at, _), _)| at == site).all(|(_, door)| door.failed >= since)
    }

    /// What the gates of a site come to; `lost` is since when the group's active site has been unfit.
    pub(crate) fn gates(
        &self,
        fleet: &Fleet,
        group: &Group,
        site: &Name,
        lost: Option<Mono>,
        now: Now,
    ) -> BTreeSet<Against> {
        let id = fleet.site_named(site).expect("a site of the fleet");
        let asked = group.gates.iter().filter(|gate| gate.sites.contains(&id));
        let verdicts = asked
            .filter(|gate| gate.purpose != Purpose::Resynced)
            .map(|gate| self.verdict(group, site, gate, lost, now));
        verdicts
            .filter_map(|verdict| match verdict {
                Verdict::Pass => None,
                Verdict::Fail => Some(Against::GateFails),
                Verdict::Unknown => Some(Against::GateUnknown),
            })
            .collect()
    }

    fn verdict(&self, group: &Group, site: &Name, gate: &Gate, lost: Option<Mono>, now: Now) -> Verdict {
        let samples = self.samples(group, site, gate);
        let is_fresh = |measured: Mono, at: Mono| at.since(measured) <= gate.max_age;
        let latest = samples.last().filter(|(measured, _)| is_fresh(*measured, now.mono));
        let verdict = latest.map_or(Verdict::Unknown, |(_, verdict)| *verdict);
        // Of data, what was known when the active site was lost is the last that there is to know.
        let before = |lost: Mono| {
            let mut conclusive = samples.iter().filter(|(_, verdict)| *verdict != Verdict::Unknown);
            let last = conclusive.rfind(|(measured, _)| *measured <= lost);
            last.is_some_and(|(measured, verdict)| *verdict == Verdict::Pass && is_fresh(*measured, lost))
        };
        if gate.purpose == Purpose::Data && lost.is_some_and(before) { Verdict::Pass } else { verdict }
    }

    /// Whether the data of a site is proven to be whole: every gate that is asked passes, by a measurement that began since
    /// the group came to where it lives.
    pub(crate) fn is_whole(&self, fleet: &Fleet, group: &Group, site: &Name, moved: Mono, now: Now) -> bool {
        let id = fleet.site_named(site).expect("a site of the fleet");
        let is_asked = |gate: &&Gate| gate.purpose == Purpose::Resynced && gate.sites.contains(&id);
        let passes = |gate: &Gate| {
            let latest = self.samples(group, site, gate).last();
            latest.is_some_and(|(measured, verdict)| {
                let is_fresh = now.mono.since(*measured) <= gate.max_age;
                *verdict == Verdict::Pass && *measured > moved && is_fresh
            })
        };
        let mut asked = group.gates.iter().filter(is_asked).peekable();
        asked.peek().is_some() && asked.all(passes)
    }

    fn samples(&self, group: &Group, site: &Name, gate: &Gate) -> &[(Mono, Verdict)] {
        let at = (group.name.clone(), site.clone(), gate.name.clone());
        self.gates.get(&at).map_or(&[], Vec::as_slice)
    }
}

/// The safety rules that let a group not go to a site now.
pub(crate) fn forbidding(
    fleet: &Fleet,
    group: &Group,
    site: &Name,
    places: &BTreeMap<Name, Places>,
    wall: Wall,
) -> BTreeSet<Name> {
    let (id, at) = (fleet.group_named(&group.name), fleet.site_named(site));
    let forbids = |demand: &Demand| match demand {
        Demand::Apart { groups } => {
            id.is_some_and(|id| groups.contains(&id))
                && groups.iter().filter(|other| Some(**other) != id).any(|other| {
                    let other = &places[&fleet.group(*other).name];
                    other.stored.site() == Some(site) || other.going.as_ref() == Some(site)
                })
        }
        Demand::Closed { groups, sites, hours } => {
            // The simulation's hours are spans of every day, in UTC.
            let minute = wall.0 / 60_000 % 1_440;
            let holds = hours.as_ref().is_none_or(|hours| {
                let in_span = |from: u16, to: u16| (u64::from(from)..u64::from(to)).contains(&minute);
                hours.spans.iter().any(|span| in_span(span.from, span.to))
            });
            holds && id.is_some_and(|id| groups.contains(&id)) && at.is_some_and(|at| sites.contains(&at))
        }
        Demand::SitesFit { .. } => false,
    };
    fleet.rules.iter().filter(|rule| forbids(&rule.demand)).map(|rule| rule.name.clone()).collect()
}
