//! What many nodes see of one origin, made into one word.
//!
//! Each node sees an origin through its own network. One that cannot reach it may be the one that is cut off, so a word that a
//! decision builds on needs a quorum of nodes that are alive and not cut off themselves. Fewer are no evidence, in either
//! direction.

use std::collections::BTreeMap;

use crate::hysteresis::Health;
use crate::id::Name;
use crate::time::Mono;

/// Nodes whose views are kept; more are a mistake.
const NODES_MAX: usize = 256;

/// What one node sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Until when it counts: the end of its node's lease.
    pub until: Mono,
    /// Whether its node may be cut off itself.
    pub is_isolated: bool,
    /// By the origin's name; one that is not there is not known.
    pub healths: BTreeMap<Name, Health>,
}

/// The latest view of every node.
#[derive(Clone, Debug, Default)]
pub struct Vantages {
    views: BTreeMap<Name, View>,
}

impl Vantages {
    /// Takes a node's view in place of its last one.
    pub fn report(&mut self, node: &Name, view: View) {
        if self.views.len() < NODES_MAX || self.views.contains_key(node) {
            self.views.insert(node.clone(), view);
        }
    }

    /// What all views that count at `now` say together of an origin.
    #[must_use]
    pub fn merged(&self, origin: &str, quorum: usize, now: Mono) -> Health {
        let counted = self.views.values().filter(|view| now < view.until && !view.is_isolated);
        merged(counted.map(|view| view.healths.get(origin).copied().unwrap_or_default()), quorum)
    }
}

/// One word for many: down if a quorum says so, else up if a quorum says so, else unknown. Down goes first, since some who
/// reach an origin do not make up for those who have lost it; `quorum` is at least one.
#[must_use]
pub fn merged(healths: impl IntoIterator<Item = Health>, quorum: usize) -> Health {
    let (mut up, mut down) = (0, 0);
    for health in healths {
        match health {
            Health::Up => up += 1,
            Health::Down => down += 1,
            Health::Unknown => {}
        }
    }
    let quorum = quorum.max(1);
    if down >= quorum {
        Health::Down
    } else if up >= quorum {
        Health::Up
    } else {
        Health::Unknown
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn health() -> impl Strategy<Value = Health> {
        prop_oneof![Just(Health::Unknown), Just(Health::Up), Just(Health::Down)]
    }

    /// Views with whether each counts, and what it says of the one origin.
    fn views() -> impl Strategy<Value = Vec<(bool, bool, Health)>> {
        prop::collection::vec((any::<bool>(), any::<bool>(), health()), 0..9)
    }

    fn vantages(views: &[(bool, bool, Health)]) -> Vantages {
        let mut vantages = Vantages::default();
        for (number, (is_live, is_isolated, health)) in views.iter().enumerate() {
            let until = Mono(Duration::from_secs(if *is_live { 11 } else { 10 }));
            let healths = BTreeMap::from([("web/main/1".into(), *health)]);
            vantages
                .report(&format!("node-{number}").into(), View { until, is_isolated: *is_isolated, healths });
        }
        vantages
    }

    const NOW: Mono = Mono(Duration::from_secs(10));

    proptest! {
        #[test]
        fn nothing_is_known_without_a_quorum_of_live_unisolated_views_that_say_so(views in views(), quorum in 1..6_usize) {
            let counted: Vec<_> = views.iter().filter(|(live, isolated, _)| *live && !isolated).map(|view| view.2).collect();
            let says = |wanted| counted.iter().filter(|health| **health == wanted).count();
            let merged = vantages(&views).merged("web/main/1", quorum, NOW);
            match merged {
                Health::Down => prop_assert!(says(Health::Down) >= quorum),
                Health::Up => prop_assert!(says(Health::Up) >= quorum && says(Health::Down) < quorum),
                Health::Unknown => prop_assert!(says(Health::Up) < quorum && says(Health::Down) < quorum),
            }
        }

        #[test]
        fn the_order_of_views_and_those_that_do_not_count_change_nothing(mut views in views(), quorum in 1..6_usize, at in any::<prop::sample::Index>()) {
            let before = vantages(&views).merged("web/main/1", quorum, NOW);
            views.reverse();
            prop_assert_eq!(vantages(&views).merged("web/main/1", quorum, NOW), before);
            for dead in [(false, false, Health::Down), (true, true, Health::Down), (true, false, Health::Unknown)] {
                let mut more = views.clone();
                more.insert(at.index(views.len() + 1), dead);
                prop_assert_eq!(vantages(&more).merged("web/main/1", quorum, NOW), before);
            }
        }

        #[test]
        fn one_more_view_that_is_down_never_makes_it_better(views in views(), quorum in 1..6_usize) {
            let rank = |health| match health { Health::Up => 2, Health::Unknown => 1, Health::Down => 0 };
            let before = vantages(&views).merged("web/main/1", quorum, NOW);
            let mut more = views;
            more.push((true, false, Health::Down));
            prop_assert!(rank(vantages(&more).merged("web/main/1", quorum, NOW)) <= rank(before));
        }

        #[test]
        fn alone_a_node_is_believed(health in health()) {
            prop_assert_eq!(merged([health], 1), health);
            prop_assert_eq!(merged([health], 0), health);
        }
    }

    #[test]
    fn a_view_counts_until_its_lease_ends_and_not_a_moment_longer() {
        let vantages = vantages(&[(true, false, Health::Up)]);
        let end = Duration::from_secs(11);
        assert_eq!(vantages.merged("web/main/1", 1, Mono(end - Duration::from_nanos(1))), Health::Up);
        assert_eq!(vantages.merged("web/main/1", 1, Mono(end)), Health::Unknown);
        assert_eq!(
            vantages.merged("web/main/2", 1, NOW),
            Health::Unknown,
            "of another origin nothing was said"
        );
    }
}
