//! One node: the real core, its clock, its share of the network's messages.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_health::cluster::{Membership, News};
use tidegate_health::durable::Durable;
use tidegate_health::fleet::Fleet;
use tidegate_health::id::{GroupId, Name, SiteId};
use tidegate_health::order::{Order, Rule, Verb};
use tidegate_health::state::State;
use tidegate_health::step::{Effect, Input, step};
use tidegate_health::time::{Mono, Now, Wall};
use tidegate_health::vantage::View;

use super::service::Commit;
use super::{LEASE_MS, MARGIN, Seeded};
use crate::world::WALL_START;

/// A commit without an outcome counts as not stored after this.
const PATIENCE_MS: u64 = 2_000;

pub(crate) struct Node {
    pub(crate) state: State,
    fleet: Fleet,
    /// Its own seconds per true second.
    rate: f64,
    boot: u64,
    pub(crate) is_up: bool,
    /// It does nothing until then, and has not noticed.
    pub(crate) paused_until: u64,
    pub(crate) membership: Membership,
    pub(crate) term: u64,
    last_ack: Mono,
    /// Entries of the log that it has heard.
    pub(crate) heard: Option<usize>,
    /// Commits without an outcome, by ticket, and since when.
    in_flight: BTreeMap<u64, u64>,
    pub(crate) outbox: Vec<Commit>,
    /// What its own disk has of the cluster.
    disk: BTreeMap<Name, Durable>,
    pub(crate) refusals: Vec<Name>,
    pub(crate) lease_ends: usize,
    seeded: Option<Seeded>,
}

impl Node {
    pub(crate) fn new(
        fleet: Fleet,
        disk: BTreeMap<Name, Durable>,
        rate: f64,
        seeded: Option<Seeded>,
    ) -> Self {
        let state = Self::start(&fleet, &disk);
        Self {
            state,
            fleet,
            rate,
            boot: 0,
            is_up: true,
            paused_until: 0,
            membership: Membership::default(),
            term: 0,
            last_ack: Mono::default(),
            heard: None,
            in_flight: BTreeMap::new(),
            outbox: Vec::new(),
            disk,
            refusals: Vec::new(),
            lease_ends: 0,
            seeded,
        }
    }

    fn start(fleet: &Fleet, disk: &BTreeMap<Name, Durable>) -> State {
        let now = Now { mono: Mono::default(), wall: Wall(WALL_START) };
        State::new(fleet, disk, now).expect("the disk fits the fleet").in_cluster(fleet, false, now)
    }

    pub(crate) fn crash(&mut self) {
        self.is_up = false;
    }

    pub(crate) fn restart(&mut self, at: u64) {
        let fresh = Self::new(self.fleet.clone(), self.disk.clone(), self.rate, self.seeded);
        let refusals = std::mem::take(&mut self.refusals);
        *self = Self { boot: at, refusals, lease_ends: self.lease_ends, ..fresh };
    }

    pub(crate) fn is_awake(&self, at: u64) -> bool {
        self.is_up && at >= self.paused_until
    }

    /// Its clocks at a true moment.
    pub(crate) fn now(&self, at: u64) -> Now {
        let mono = Duration::from_millis(at - self.boot).mul_f64(self.rate);
        Now { mono: Mono(mono), wall: Wall(WALL_START + at) }
    }

    pub(crate) fn leads(&self, at: u64) -> bool {
        self.membership.leads && self.now(at).mono < self.membership.until
    }

    pub(crate) fn feed(&mut self, input: Input, at: u64) -> Result<(), String> {
        let (now, was_live) = (self.now(at), self.state.last_seen() < self.membership.until);
        let effects = step(&self.fleet, &mut self.state, input, now);
        self.lease_ends += usize::from(was_live && now.mono >= self.membership.until);
        for effect in effects {
            match effect {
                Effect::Persist { group, ticket, change } => {
                    if !self.leads(at) && self.seeded.is_none() {
                        return Err(format!("a node decides without the lead: {:?}", change.1));
                    }
                    let before = self.state.group(group).durable.clone();
                    self.in_flight.insert(ticket, at);
                    self.outbox.push(Commit {
                        ticket,
                        group: group.index(),
                        before,
                        next: change.0,
                        term: self.term,
                    });
                }
                Effect::Reply { outcome: Err(refusal), .. } => self.refusals.push(refusal.label),
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn order(&mut self, group: GroupId, to: SiteId, id: u64, at: u64) -> Result<(), String> {
        let order = Order {
            id,
            group,
            actor: "naomi".into(),
            reason: "because".into(),
            verb: Verb::Switch { to },
            overrides: Rule::BUILT_IN.into_iter().collect(),
        };
        self.feed(Input::Order(order), at)
    }

    /// The service has renewed the lease that was asked for at `sent`, by this node's own clock.
    pub(crate) fn acknowledged(&mut self, sent: Mono, term: Option<u64>, at: u64) -> Result<(), String> {
        // An older answer that was overtaken says nothing new.
        if sent < self.last_ack {
            return Ok(());
        }
        self.last_ack = sent;
        self.term = term.unwrap_or_default();
        let margin = if self.seeded == Some(Seeded::NoMargin) { -0.1 } else { MARGIN };
        let length = Duration::from_millis(LEASE_MS).mul_f64(1.0 - margin);
        self.membership = Membership { until: sent.plus(length), leads: term.is_some() };
        self.feed(Input::Cluster(News::Membership(self.membership)), at)
    }

    /// The outcome of a commit, by its answer or by the log, whichever is first.
    pub(crate) fn outcome(&mut self, group: usize, ticket: u64, stored: bool, at: u64) -> Result<(), String> {
        if self.in_flight.remove(&ticket).is_none() {
            return Ok(());
        }
        let group = GroupId(u16::try_from(group).expect("few groups"));
        let heard = if stored {
            Input::Stored { group, ticket }
        } else {
            Input::NotStored { group, ticket, detail: "not taken".into() }
        };
        self.feed(heard, at)
    }

    pub(crate) fn is_waiting_for(&self, ticket: u64) -> bool {
        self.in_flight.contains_key(&ticket)
    }

    pub(crate) fn give_up(&mut self, groups: &BTreeMap<u64, usize>, at: u64) -> Result<(), String> {
        let late: Vec<_> =
            self.in_flight.iter().filter(|(_, since)| at - **since > PATIENCE_MS).map(|it| *it.0).collect();
        for ticket in late {
            self.outcome(groups[&ticket], ticket, false, at)?;
        }
        Ok(())
    }

    pub(crate) fn keep(&mut self) {
        for (group, own) in self.fleet.groups.iter().zip(&self.state.groups) {
            self.disk.insert(group.name.clone(), own.durable.clone());
        }
    }

    /// What it sees, for the others.
    pub(crate) fn view(&self) -> View {
        View { healths: self.state.healths(&self.fleet), ..View::default() }
    }
}
