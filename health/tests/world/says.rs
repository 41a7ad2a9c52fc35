//! What is told of the world beside the origins: measured anew with every tick, as long as nobody is silenced.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tidegate_health::facts::Isolation;
use tidegate_health::gate::{Reading, Verdict};
use tidegate_health::id::{GroupId, Name, SiteId};
use tidegate_health::step::Fact;
use tidegate_health::time::Mono;

use super::{DR, GROUP, World};

/// By the name of what it is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Says {
    /// How long measurements take, apart from the checks of published addresses.
    pub(crate) lag: Duration,
    pub(crate) witnesses: BTreeMap<Name, bool>,
    pub(crate) gates: BTreeMap<(Name, Name, Name), Reading>,
    pub(crate) doors: BTreeMap<(Name, IpAddr), bool>,
}

impl World {
    /// Measures everything that is said at this moment.
    pub(crate) fn tell_facts(&mut self) {
        let says = self.says.clone();
        for (address, reachable) in says.witnesses {
            let measured = self.measured();
            self.fact(Fact::Witness { address, measured, reachable });
        }
        for ((group, site, gate), reading) in says.gates {
            let known = self.fleet.group_named(&group).zip(self.fleet.site_named(&site));
            let Some((group, site)) = known else { continue };
            let measured = self.measured();
            self.fact(Fact::Gate { group, site, gate, measured, reading, detail: None });
        }
        for ((site, address), up) in says.doors {
            let Some(site) = self.fleet.site_named(&site) else { continue };
            let (failure, measured) = ((!up).then(|| "refused".into()), self.now().mono);
            self.fact(Fact::FrontDoor { site, address, measured, failure });
        }
    }

    /// When a measurement began that ends now.
    fn measured(&self) -> Mono {
        Mono(self.now().mono.0.saturating_sub(self.says.lag))
    }

    /// From now on the witnesses say this, if there are any.
    pub(crate) fn isolate(&mut self, isolation: Isolation) {
        let majority = self.fleet.witnesses.majority();
        self.says.witnesses.clear();
        let addresses = self.fleet.witnesses.addresses.iter().cloned().enumerate();
        self.says.witnesses = match isolation {
            Isolation::Connected => addresses.map(|(at, name)| (name, at < majority)).collect(),
            Isolation::Isolated => addresses.map(|(at, name)| (name, at + 1 < majority)).collect(),
            // One is reached, one is not, and of the others nothing is heard.
            Isolation::Unknown => addresses.take(2).map(|(at, name)| (name, at == 0)).collect(),
        };
        if isolation == Isolation::Unknown {
            // What the others said has to grow old first.
            self.run(self.fleet.witnesses.max_age + self.tick * 2);
        }
        self.tell_facts();
    }

    /// From now on a gate of the first group says this.
    pub(crate) fn gate(&mut self, site: SiteId, gate: &str, verdict: Verdict) {
        self.gate_of(GROUP, site, gate, Reading::Verdict(verdict));
    }

    pub(crate) fn gate_of(&mut self, group: GroupId, site: SiteId, gate: &str, reading: Reading) {
        let key = (self.fleet.group(group).name.clone(), self.name(site), gate.into());
        self.says.gates.insert(key, reading);
        self.tell_facts();
    }

    /// From now on the gate `replica` of the second site says this.
    pub(crate) fn replica(&mut self, verdict: Verdict) {
        self.gate(DR, "replica", verdict);
    }

    /// From now on nothing is measured there any more.
    pub(crate) fn silence(&mut self, site: SiteId, gate: &str) {
        let key = (self.fleet.group(GROUP).name.clone(), self.name(site), gate.into());
        self.says.gates.remove(&key);
    }

    /// From now on every published address of a site works or does not.
    pub(crate) fn front_door(&mut self, site: SiteId, up: bool) {
        for address in self.fleet.site(site).front_door.clone() {
            self.says.doors.insert((self.name(site), address), up);
        }
        self.tell_facts();
    }

    /// From now on every gate passes, every witness is reached and every published address works.
    pub(crate) fn all_good(&mut self) {
        let fleet = self.fleet.clone();
        for id in fleet.group_ids() {
            for gate in &fleet.group(id).gates {
                for site in &gate.sites {
                    let key =
                        (fleet.group(id).name.clone(), fleet.site(*site).name.clone(), gate.name.clone());
                    self.says.gates.insert(key, Reading::Verdict(Verdict::Pass));
                }
            }
        }
        self.says.witnesses = fleet.witnesses.addresses.iter().map(|name| (name.clone(), true)).collect();
        for site in &fleet.sites {
            for address in site.front_door.iter().filter(|_| site.front_door_check.is_some()) {
                self.says.doors.insert((site.name.clone(), *address), true);
            }
        }
        self.tell_facts();
    }
}
