//! What tests ask a world and tell it.

use std::time::Duration;

use tidegate_health::cluster::News;
use tidegate_health::durable::Durable;
use tidegate_health::event::{Event, EventKind};
use tidegate_health::explain::{Explanation, explain};
use tidegate_health::force::{ForceOrder, ForceVerb, Forced, Scope, Selector};
use tidegate_health::id::{GroupId, Name, OriginId, SiteId};
use tidegate_health::order::{Done, Order, Refusal, Rule, Verb};
use tidegate_health::step::{Fact, Input};

use super::{GROUP, World};

impl World {
    /// Where readers see the first group.
    pub(crate) fn site(&self) -> Option<SiteId> {
        self.visible[0].0
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.visible[0].1
    }

    pub(crate) fn durable(&self) -> &Durable {
        &self.state.group(GROUP).durable
    }

    pub(crate) fn name(&self, site: SiteId) -> Name {
        self.fleet.site(site).name.clone()
    }

    /// From now on every origin of `site` passes or fails.
    pub(crate) fn set(&mut self, site: SiteId, up: bool) {
        for origin in self.origins_at(site) {
            self.probes.script(origin, move |_| up);
        }
    }

    pub(crate) fn script(&mut self, site: SiteId, up: impl Fn(Duration) -> bool + Clone + 'static) {
        for origin in self.origins_at(site) {
            self.probes.script(origin, up.clone());
        }
    }

    pub(crate) fn origins_at(&self, site: SiteId) -> Vec<OriginId> {
        self.fleet.origin_ids().filter(|id| self.fleet.origin(*id).site == site).collect()
    }

    /// From now on this node is one of a cluster.
    pub(crate) fn join(&mut self, serves_isolated: bool) {
        let now = self.now();
        self.state = self.state.clone().in_cluster(&self.fleet, serves_isolated, now);
    }

    pub(crate) fn news(&mut self, news: News) {
        // What was committed is durable, too.
        if let News::Group { group, durable } = &news
            && durable.epoch() >= self.state.group(*group).durable.epoch()
        {
            let name = self.fleet.group(*group).name.clone();
            self.stored.groups.insert(name, Durable::clone(durable));
        }
        self.feed(Input::Cluster(news));
    }

    pub(crate) fn fact(&mut self, fact: Fact) {
        self.feed(Input::Fact(fact));
    }

    /// Gives an order of the first group; the answer is in `replies` once there is one.
    pub(crate) fn send(&mut self, verb: Verb, overrides: &[Rule]) -> u64 {
        self.send_to(GROUP, verb, overrides)
    }

    pub(crate) fn send_to(&mut self, group: GroupId, verb: Verb, overrides: &[Rule]) -> u64 {
        self.orders += 1;
        self.feed(Input::Order(Order {
            id: self.orders,
            group,
            actor: "naomi".into(),
            reason: "because".into(),
            verb,
            overrides: overrides.iter().cloned().collect(),
        }));
        self.orders
    }

    /// Gives an order that is answered at once.
    pub(crate) fn order(&mut self, verb: Verb) -> Result<Done, Refusal> {
        self.order_with(verb, &[])
    }

    pub(crate) fn order_with(&mut self, verb: Verb, overrides: &[Rule]) -> Result<Done, Refusal> {
        let id = self.send(verb, overrides);
        self.replies.get(&id).cloned().expect("the order was answered")
    }

    /// Says something of origins; the answer is in `force_replies` once there is one.
    pub(crate) fn send_force(
        &mut self,
        scope: Scope,
        pattern: &str,
        verb: ForceVerb,
        overrides: &[Rule],
    ) -> u64 {
        self.orders += 1;
        self.feed(Input::Force(ForceOrder {
            id: self.orders,
            actor: "amos".into(),
            reason: "new disks".into(),
            selector: Selector { scope, pattern: pattern.into() },
            verb,
            overrides: overrides.iter().cloned().collect(),
        }));
        self.orders
    }

    /// Says something of origins, and is answered at once.
    pub(crate) fn force(&mut self, scope: Scope, pattern: &str, verb: ForceVerb) -> Result<Forced, Refusal> {
        let id = self.send_force(scope, pattern, verb, &[]);
        self.force_replies.get(&id).cloned().expect("the order was answered")
    }

    pub(crate) fn events(&self, kind: EventKind) -> Vec<&(Duration, Event)> {
        self.history.iter().chain(&self.observed).filter(|(_, event)| event.kind == kind).collect()
    }

    /// Automatic and manual changes of the active site, as `kind>site`.
    pub(crate) fn moves(&self) -> Vec<String> {
        let moved = self
            .history
            .iter()
            .filter_map(|(_, event)| event.to.as_ref().map(|to| format!("{}>{to}", event.kind.label())));
        moved.collect()
    }

    pub(crate) fn explain(&self) -> Explanation {
        explain(&self.fleet, &self.state, GROUP, self.now())
    }

    /// The labels of everything that stops the first group now.
    pub(crate) fn stops(&self) -> Vec<String> {
        self.explain().stops.iter().map(|stop| stop.label.to_string()).collect()
    }

    /// The history, for the message of a failing test.
    pub(crate) fn told(&self) -> String {
        let lines = self.history.iter().map(|(at, event)| {
            format!("{:>9} ms  {:<12} {}", at.as_millis(), event.kind.label(), event.reason)
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
