//! What a change of the active site makes of a group's durable part. One place, whoever decided it.

use crate::chain;
use crate::durable::{Decision, Durable, SwitchKind};
use crate::event::{Event, EventKind};
use crate::fleet::Fleet;
use crate::id::{GroupId, Name, SiteId};
use crate::state::State;
use crate::time::Now;

/// The actor of what Tidegate does by itself.
pub const SELF: &str = "tidegate";

/// The durable part after a switch, and its entry in the history.
#[expect(clippy::too_many_arguments, reason = "a switch is just these facts, and they are used once")]
pub(crate) fn switched(
    fleet: &Fleet,
    state: &State,
    id: GroupId,
    to: SiteId,
    kind: SwitchKind,
    actor: &Name,
    reason: &Name,
    now: Now,
) -> (Durable, Event) {
    let (group, own) = (fleet.group(id), state.group(id));
    let from = own.active.map(|site| fleet.site(site).name.clone());
    let site = fleet.site(to).name.clone();
    let epoch = own.epoch_max + 1;
    let mut next = own.durable.clone();

    if kind == SwitchKind::Failover {
        next.latched.extend(from.clone());
    }
    next.latched.remove(&site);
    if let Some(from) = from.clone().filter(|_| !group.is_stateless()) {
        // Nothing fenced the old site, so its data may differ from the new one's from here on.
        next.diverged.insert(from);
    }
    next.diverged.remove(&site);
    if &**actor == SELF && kind != SwitchKind::Start {
        next.automatic.retain(|at| now.wall.since(*at) < group.switch_limit.window);
        next.automatic.push(now.wall);
    }
    let chain = chain::moved(fleet, state, id, (to, kind, epoch), (actor, reason), now);
    let (actor, reason) = (actor.clone(), reason.clone());
    next.decision = Some(Decision {
        site: site.clone(),
        epoch,
        kind,
        since: now.wall,
        actor: actor.clone(),
        reason: reason.clone(),
        chain: chain.clone(),
    });
    let kind = match kind {
        SwitchKind::Start => EventKind::Start,
        SwitchKind::Failover => EventKind::Failover,
        SwitchKind::Switchover => EventKind::Switchover,
        SwitchKind::Failback => EventKind::Failback,
    };
    let event = Event {
        group: Some(group.name.clone()),
        from,
        to: Some(site),
        epoch: Some(epoch),
        chain,
        ..Event::new(now.wall, kind, actor, reason)
    };
    (next, event)
}
