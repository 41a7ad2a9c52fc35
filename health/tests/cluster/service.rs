//! The store that all nodes of a simulated cluster share: linearizable, with leases and one lead. What it accepts is what is
//! committed; it is here that the invariants of commits are held.

use std::collections::BTreeMap;

use tidegate_health::durable::{Decision, Durable};
use tidegate_health::id::Name;
use tidegate_health::vantage::{Vantages, View};

use super::{LEASE_MS, Seeded};

/// One thing that was committed.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) group: usize,
    pub(crate) durable: Durable,
    pub(crate) node: usize,
    pub(crate) ticket: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) ticket: u64,
    pub(crate) group: usize,
    pub(crate) before: Durable,
    pub(crate) next: Durable,
    pub(crate) term: u64,
}

pub(crate) struct Service {
    /// When each node's lease ends, by the service's own clock in true milliseconds.
    pub(crate) leases: Vec<u64>,
    /// Who leads, and since which term.
    lead: Option<(usize, u64)>,
    terms: u64,
    pub(crate) groups: Vec<Durable>,
    pub(crate) log: Vec<Entry>,
    pub(crate) views: Vantages,
    /// Which decision each epoch of each group stands for.
    decided: BTreeMap<(usize, u64), Option<Decision>>,
    pub(crate) refused: usize,
    seeded: Option<Seeded>,
}

impl Service {
    pub(crate) fn new(nodes: usize, groups: Vec<Durable>, seeded: Option<Seeded>) -> Self {
        let decided =
            groups.iter().enumerate().map(|(id, own)| ((id, own.epoch()), own.decision.clone())).collect();
        Self {
            leases: vec![0; nodes],
            lead: None,
            terms: 0,
            groups,
            log: Vec::new(),
            views: Vantages::default(),
            decided,
            refused: 0,
            seeded,
        }
    }

    /// Grants a lease, or renews it.
    pub(crate) fn keep_alive(&mut self, node: usize, now: u64) -> Option<u64> {
        self.expire(now);
        self.leases[node] = now + LEASE_MS;
        if self.lead.is_none() {
            self.terms += 1;
            self.lead = Some((node, self.terms));
        }
        self.lead.filter(|(leader, _)| *leader == node).map(|(_, term)| term)
    }

    fn expire(&mut self, now: u64) {
        self.lead = self.lead.filter(|(leader, _)| now < self.leases[*leader]);
    }

    pub(crate) fn report(&mut self, node: usize, view: View) {
        self.views.report(&Name::from(format!("node-{node}")), view);
    }

    /// Takes a commit, or refuses it; an error is a broken invariant. `reached` is how many nodes can reach a majority.
    pub(crate) fn commit(
        &mut self,
        node: usize,
        commit: &Commit,
        reached: bool,
        now: u64,
    ) -> Result<bool, String> {
        self.expire(now);
        let leads = self.lead == Some((node, commit.term)) || self.seeded == Some(Seeded::LeadUnguarded);
        let is_current =
            self.groups[commit.group] == commit.before || self.seeded == Some(Seeded::EpochUnguarded);
        let has_majority = reached || self.seeded == Some(Seeded::MinorityCommits);
        if !leads || !is_current || !has_majority {
            self.refused += 1;
            return Ok(false);
        }
        if !reached {
            return Err(format!("a minority committed: node {node} at {now} ms"));
        }
        if self.lead != Some((node, commit.term)) {
            return Err(format!("node {node} committed at {now} ms and does not lead"));
        }
        if self.leases[node] <= now {
            return Err(format!(
                "node {node} committed at {now} ms, its lease ended at {} ms",
                self.leases[node]
            ));
        }
        let (old, next) = (&self.groups[commit.group], &commit.next);
        if next.epoch() < old.epoch() {
            return Err(format!("an epoch shrank from {} to {}", old.epoch(), next.epoch()));
        }
        let known = self.decided.entry((commit.group, next.epoch())).or_insert_with(|| next.decision.clone());
        if *known != next.decision {
            return Err(format!(
                "epoch {} has two decisions: {known:?} and {:?}",
                next.epoch(),
                next.decision
            ));
        }
        self.groups[commit.group] = commit.next.clone();
        self.log.push(Entry {
            group: commit.group,
            durable: commit.next.clone(),
            node,
            ticket: commit.ticket,
        });
        Ok(true)
    }

    /// Whether it was committed at any time.
    pub(crate) fn knows(&self, group: usize, durable: &Durable) -> bool {
        self.decided.get(&(group, durable.epoch())) == Some(&durable.decision)
    }
}
