//! The chain from a cause to what came of it, each link a plain sentence.
//!
//! It is made from what the core knows at the moment of a decision and kept with it, so that the morning after still says
//! why traffic moved at night, when what was down then has long been up again.

use serde::{Deserialize, Serialize};

use crate::durable::SwitchKind;
use crate::explain::text;
use crate::fit::Obstacle;
use crate::fleet::Fleet;
use crate::hysteresis::Health;
use crate::id::{GroupId, Name, OriginId, SiteId};
use crate::state::State;
use crate::switch::SELF;
use crate::time::{Mono, Now, Wall};

/// Causes of one kind that are told.
const CAUSES_MAX: usize = 3;
/// Characters of a link.
const TEXT_MAX: usize = 300;

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Since when it is so, or when it happened; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Wall>,
    /// A short, stable word: `origin`, `drain`, `service`, `site`, `wait`, `proof`, `order`, `move`, `freeze`, or that of an
    /// obstacle.
    pub label: Name,
    pub text: Name,
}

/// Why a site is not fit for a group, from the cause down; nothing of a site that is.
pub(crate) fn unfit(fleet: &Fleet, state: &State, id: GroupId, site: SiteId, now: Now) -> Vec<Link> {
    let (group, own) = (fleet.group(id), state.group(id));
    let fitness = own.fitness_at(group, site);
    let mut links = Vec::new();
    for obstacle in fitness.obstacles().iter().take(CAUSES_MAX) {
        if let Obstacle::OriginsDown { service, .. } = obstacle {
            origins(fleet, state, service, site, &mut links);
            links.push(link(None, "service", obstacle.to_string()));
        } else {
            links.push(link(None, obstacle.label(), obstacle.to_string()));
        }
    }
    let more = fitness.obstacles().len().saturating_sub(CAUSES_MAX);
    if more > 0 {
        links.push(link(None, "service", format!("and {more} more things are in its way")));
    }
    if !links.is_empty() {
        let since = own.unfit_since.filter(|_| own.active == Some(site));
        let since = since.map(|since| wall(since, now));
        let (site, name) = (&fleet.site(site).name, &group.name);
        links.push(link(since, "site", format!("`{site}` is {} for `{name}`", fitness.label())));
    }
    links
}

/// Why a group moves to `to`, which becomes its site with this `epoch`.
pub(crate) fn moved(
    fleet: &Fleet,
    state: &State,
    id: GroupId,
    (to, kind, epoch): (SiteId, SwitchKind, u64),
    (actor, reason): (&Name, &Name),
    now: Now,
) -> Vec<Link> {
    let (group, own) = (fleet.group(id), state.group(id));
    let by_itself = &**actor == SELF;
    let mut links = own.active.map_or_else(Vec::new, |active| unfit(fleet, state, id, active, now));
    let target = &fleet.site(to).name;
    match kind {
        _ if !by_itself => {
            links.push(link(Some(now.wall), "order", format!("{actor} ordered it: {reason}")));
        }
        SwitchKind::Failover => {
            let waited = text(group.failover_after);
            links.push(link(Some(now.wall), "wait", format!("it stayed so for failover_after ({waited})")));
            let proof = format!("`{target}` was checked after that and is fit; the loss was seen again");
            links.push(link(Some(now.wall), "proof", proof));
        }
        SwitchKind::Failback | SwitchKind::Switchover => {
            let home = group.sites.iter().position(|site| *site == to);
            let since = home.and_then(|home| own.fit_since[home]).map(|since| wall(since, now));
            let proof = format!("preferred site `{target}` has been fit without a break for long enough");
            links.push(link(since, "proof", proof));
        }
        SwitchKind::Start => {
            let proof = format!("the group had no site, and `{target}` is the first fit one it prefers");
            links.push(link(None, "proof", proof));
        }
    }
    links.push(link(
        Some(now.wall),
        "move",
        format!("{} to `{target}`, epoch {epoch}, by {actor}", kind.label()),
    ));
    links
}

/// Why a group froze instead of moving.
pub(crate) fn frozen(fleet: &Fleet, state: &State, id: GroupId, reason: &str, now: Now) -> Vec<Link> {
    let active = state.group(id).active;
    let mut links = active.map_or_else(Vec::new, |active| unfit(fleet, state, id, active, now));
    links.push(link(Some(now.wall), "freeze", format!("frozen instead of moved: {reason}")));
    links
}

/// The origins of a service at a site that do not count there, the first of them by name.
fn origins(fleet: &Fleet, state: &State, service: &Name, site: SiteId, links: &mut Vec<Link>) {
    let Some(service) = fleet.services.iter().find(|known| known.name == *service) else { return };
    let down: Vec<_> =
        service.origins_at(site).iter().filter(|id| state.origin(**id).evidence() == Health::Down).collect();
    links.extend(down.iter().take(CAUSES_MAX).map(|id| origin(fleet, state, **id)));
    if down.len() > CAUSES_MAX {
        let more = down.len() - CAUSES_MAX;
        links.push(link(None, "origin", format!("so it is with {more} more of `{}`", service.name)));
    }
}

fn origin(fleet: &Fleet, state: &State, id: OriginId) -> Link {
    let (origin, known) = (fleet.origin(id), state.origin(id));
    let host = origin.host.as_ref().map_or_else(String::new, |host| format!(" on {host}"));
    let name = format!("`{}`{host}", origin.name);
    let forces = state.forces.iter().zip(&state.force_origins);
    let force = forces.into_iter().find(|(force, origins)| force.kind.is_out() && origins.contains(&id));
    if let Some((force, _)) = force {
        let told = format!("{name} was {} by {}: {}", force.kind.done(), force.actor, force.reason);
        return link(Some(force.since), "drain", told);
    }
    let failure = known.failure.as_deref().unwrap_or("its checks fail");
    let told = match known.hysteresis.failures() {
        0 => format!("{name} is down: {failure}"),
        1 => format!("{name} failed its latest check: {failure}"),
        count => format!("{name} failed {count} checks in a row: {failure}"),
    };
    link(known.failing_since.or(Some(known.since)), "origin", told)
}

fn wall(at: Mono, now: Now) -> Wall {
    let ago = u64::try_from(now.mono.since(at).as_millis()).unwrap_or(u64::MAX);
    Wall(now.wall.0.saturating_sub(ago))
}

pub(crate) fn link(at: Option<Wall>, label: &str, text: String) -> Link {
    let cut = text.char_indices().nth(TEXT_MAX).map(|(end, _)| format!("{}...", &text[..end]));
    Link { at, label: label.into(), text: cut.unwrap_or(text).into() }
}
