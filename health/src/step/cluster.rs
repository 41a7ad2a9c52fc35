//! News of the cluster, and the end of a lease.

use super::{Effect, consider, repace};
use crate::cluster::{Membership, News};
use crate::durable::Durable;
use crate::fleet::Fleet;
use crate::force::Force;
use crate::hysteresis::Health;
use crate::id::{GroupId, OriginId};
use crate::state::State;
use crate::time::Now;

pub(super) fn learn(fleet: &Fleet, state: &mut State, news: News, now: Now, effects: &mut Vec<Effect>) {
    match news {
        News::Membership(membership) => join(fleet, state, membership, now, effects),
        News::Group { group, durable } => follow(fleet, state, group, *durable, now, effects),
        News::Forces(forces) => follow_forces(fleet, state, forces, now, effects),
        News::Merged { origin, health } => merged(fleet, state, origin, health, now, effects),
    }
}

/// Notices that the lease has ended.
pub(super) fn watch(fleet: &Fleet, state: &mut State, now: Now, effects: &mut Vec<Effect>) {
    let Some(cluster) = &mut state.cluster else { return };
    if !cluster.is_live(now) {
        cluster.membership.leads = false;
        // Whoever merged them may be gone; what this node sees itself is all there is.
        let forgotten = state.origins.iter_mut().filter_map(|origin| origin.merged.take()).count();
        if forgotten > 0 {
            for id in fleet.group_ids() {
                state.weigh(fleet, id, now);
                repace(fleet, state, id, effects);
            }
            effects.push(Effect::Publish);
        }
    }
    withhold(fleet, state, now, effects);
}

fn join(fleet: &Fleet, state: &mut State, membership: Membership, now: Now, effects: &mut Vec<Effect>) {
    let Some(cluster) = &mut state.cluster else { return };
    let led = cluster.leads(now);
    cluster.membership = membership;
    let leads = cluster.leads(now);
    withhold(fleet, state, now, effects);
    if leads && !led {
        for id in fleet.group_ids() {
            consider(fleet, state, id, now, effects);
        }
    }
}

/// Groups that share data are served only while nobody can have moved them without this node's knowledge.
fn withhold(fleet: &Fleet, state: &mut State, now: Now, effects: &mut Vec<Effect>) {
    let Some(cluster) = state.cluster else { return };
    for (group, own) in fleet.groups.iter().zip(&mut state.groups) {
        let withheld = cluster.withholds(group, now);
        if std::mem::replace(&mut own.withheld, withheld) != withheld {
            effects.push(Effect::Publish);
        }
    }
}

/// Takes over what was committed. What this node wants to commit itself meanwhile is guarded, and so comes to nothing.
fn follow(
    fleet: &Fleet,
    state: &mut State,
    id: GroupId,
    durable: Durable,
    now: Now,
    effects: &mut Vec<Effect>,
) {
    let own = state.group_mut(id);
    if durable.epoch() < own.durable.epoch() || durable == own.durable {
        return;
    }
    own.epoch_max = own.epoch_max.max(durable.epoch());
    let moved = durable.epoch() != own.durable.epoch();
    own.durable = durable;
    if moved {
        // A site that this node's configuration lacks is nowhere: it cannot be served here.
        let site = own.durable.decision.as_ref().and_then(|decision| fleet.site_named(&decision.site));
        own.active = site.filter(|site| fleet.group(id).sites.contains(site));
        own.unfit_since = None;
        own.proposal = None;
        own.moved = now.mono;
        super::facts::settle_all(fleet, state, id, now, effects);
    }
    state.weigh(fleet, id, now);
    repace(fleet, state, id, effects);
    effects.push(Effect::Publish);
    consider(fleet, state, id, now, effects);
}

fn follow_forces(fleet: &Fleet, state: &mut State, forces: Vec<Force>, now: Now, effects: &mut Vec<Effect>) {
    if forces == state.forces {
        return;
    }
    state.force(fleet, forces, now);
    for id in fleet.group_ids() {
        state.weigh(fleet, id, now);
        repace(fleet, state, id, effects);
    }
    effects.push(Effect::Publish);
    for id in fleet.group_ids() {
        consider(fleet, state, id, now, effects);
    }
}

fn merged(
    fleet: &Fleet,
    state: &mut State,
    origin: OriginId,
    health: Health,
    now: Now,
    effects: &mut Vec<Effect>,
) {
    let was = state.origins[origin.index()].merged.replace(health);
    if was == Some(health) {
        return;
    }
    let group = fleet.group_of(origin);
    state.weigh(fleet, group, now);
    effects.push(Effect::Publish);
    consider(fleet, state, group, now, effects);
}
