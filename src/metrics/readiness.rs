//! What the core knows beside the origins: gates, witnesses, published addresses, safety rules.

use std::collections::BTreeSet;

use prometheus::{IntGauge, IntGaugeVec, Result};
use tidegate_health::facts::{FrontDoor, Isolation};
use tidegate_health::fit::{self, Obstacle};
use tidegate_health::fleet::Fleet;
use tidegate_health::gate::{Purpose, Verdict};
use tidegate_health::id::{GroupId, SiteId};
use tidegate_health::safety;
use tidegate_health::state::State;

use super::register::Register;

pub(super) struct ReadinessMetrics {
    gate: IntGaugeVec,
    gate_standby: IntGaugeVec,
    isolated: IntGauge,
    witnesses: IntGaugeVec,
    front_door: IntGaugeVec,
    forbidden: IntGaugeVec,
    rule_broken: IntGaugeVec,
    degraded: IntGaugeVec,
}

/// How a verdict counts: whatever is not a pass is not enough.
const GATE: [&str; 4] = ["group", "site", "gate", "verdict"];
const VERDICTS: [Verdict; 3] = [Verdict::Pass, Verdict::Fail, Verdict::Unknown];

impl ReadinessMetrics {
    pub(super) fn new(new: &Register<'_>) -> Result<Self> {
        let standby =
            "1 for gates that do not pass at a site that is not active, so that the group cannot go there.";
        let isolated = "1 while the witnesses do not confirm that this edge is connected, so that nothing moves by itself.";
        let forbidden = "1 for sites that a safety rule forbids to a group now.";
        let broken = "1 for safety rules that would not let a group go where it is.";
        let front_door =
            "1 for sites of which a published address works, 0 where none does or nothing is known.";
        Ok(Self {
            gate: new.gauges(
                "gate",
                "1 for what a gate says of a site: `pass`, `fail` or `unknown`.",
                &GATE,
            )?,
            gate_standby: new.gauges("gate_standby_failing", standby, &["group", "site", "gate"])?,
            isolated: new.gauge("isolated", isolated)?,
            witnesses: new.gauges("witnesses", "Witnesses by what is known of them.", &["state"])?,
            front_door: new.gauges("front_door_reachable", front_door, &["site"])?,
            forbidden: new.gauges("site_forbidden", forbidden, &["group", "site", "rule"])?,
            rule_broken: new.gauges("rule_broken", broken, &["group", "rule"])?,
            degraded: new.gauges(
                "group_degraded",
                "1 for capabilities that a group wants and its active site does not provide.",
                &["group", "capability"],
            )?,
        })
    }

    /// Another configuration: what it still has comes back with the next World, which follows at once.
    pub(super) fn forget(&self) {
        let gauges = [&self.gate, &self.gate_standby, &self.front_door, &self.forbidden];
        gauges.into_iter().chain([&self.rule_broken, &self.degraded]).for_each(IntGaugeVec::reset);
    }

    pub(super) fn published(&self, fleet: &Fleet, state: &State) {
        let facts = &state.facts;
        let cut_off = !matches!(facts.isolation, None | Some(Isolation::Connected));
        self.isolated.set(i64::from(cut_off));
        for (label, wanted) in [("reached", Some(true)), ("lost", Some(false)), ("unknown", None)] {
            let count = facts.witnesses().iter().filter(|it| it.reachable == wanted).count();
            self.witnesses.with_label_values(&[label]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (position, site) in fleet.sites.iter().enumerate() {
            if let Some(front_door) = facts.front_door(SiteId(position as u16)) {
                let reachable = front_door == FrontDoor::Reachable;
                self.front_door.with_label_values(&[&*site.name]).set(i64::from(reachable));
            }
        }
        for id in fleet.group_ids() {
            self.gates(fleet, state, id);
            self.rules(fleet, state, id);
            let group = fleet.group(id);
            let missing: BTreeSet<_> =
                state.group(id).active.into_iter().flat_map(|site| fit::degraded(fleet, id, site)).collect();
            for wanted in &group.wants {
                let labels = [&*group.name, &**wanted];
                self.degraded.with_label_values(&labels).set(i64::from(missing.contains(wanted)));
            }
        }
    }

    /// Of each rule the groups it is about, whether it holds now or not.
    fn rules(&self, fleet: &Fleet, state: &State, id: GroupId) {
        let (group, own) = (fleet.group(id), state.group(id));
        let broken = safety::broken(fleet, state, id);
        for rule in fleet.rules.iter().filter(|rule| rule.demand.is_about(id)) {
            for (site, fitness) in group.sites.iter().zip(&own.fitness) {
                let forbids = |it: &Obstacle| matches!(it, Obstacle::Forbidden(by) if by.rule == rule.name);
                let labels = [&*group.name, &*fleet.site(*site).name, &*rule.name];
                let forbidden = fitness.obstacles().iter().any(forbids);
                self.forbidden.with_label_values(&labels).set(i64::from(forbidden));
            }
            let is_broken = broken.iter().any(|by| by.rule == rule.name);
            self.rule_broken.with_label_values(&[&*group.name, &*rule.name]).set(i64::from(is_broken));
        }
    }

    fn gates(&self, fleet: &Fleet, state: &State, id: GroupId) {
        let (group, own) = (fleet.group(id), state.group(id));
        for gate in &group.gates {
            for site in &gate.sites {
                let Some(known) = state.facts.gate(id, *site, &gate.name) else { continue };
                let name = &*fleet.site(*site).name;
                for verdict in VERDICTS {
                    let labels = [&*group.name, name, &*gate.name, verdict.label()];
                    self.gate.with_label_values(&labels).set(i64::from(known.verdict == verdict));
                }
                let bars = gate.purpose != Purpose::Resynced && own.active != Some(*site);
                let failing = bars && known.verdict != Verdict::Pass;
                let labels = [&*group.name, name, &*gate.name];
                self.gate_standby.with_label_values(&labels).set(i64::from(failing));
            }
        }
    }
}
