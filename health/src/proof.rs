//! What counts as proof that a site lives, and that another is lost.
//!
//! The edge sees every site through its own network. So a site that still counts as up is no proof that it is there,
//! and one that still counts as down is no proof that it is gone: both have to be seen anew, at the moment that
//! matters. Without witnesses this is all that tells a lost site from an edge that was cut off.

use std::time::Duration;

use crate::facts::Isolation;
use crate::fit::Obstacle;
use crate::fleet::{Fleet, Group, Mode, Service};
use crate::force::ForceKind;
use crate::hysteresis::Health;
use crate::id::{GroupId, SiteId};
use crate::state::{OriginState, State};
use crate::time::Mono;

/// Whether a complete round of probes that started at `lost` or later found `site` fit: every origin that counts
/// was seen, and enough of them passed. That they still count as up would prove nothing: they may be failing, too.
///
/// What a person forced up needs no pass of its own. But a word is no proof that this edge is connected: at least one
/// pass is needed there, unless witnesses say so.
pub(crate) fn proven(fleet: &Fleet, state: &State, group: &Group, site: SiteId, lost: Mono) -> bool {
    let after = Some(lost.max(state.round).max(state.connected));
    let counted: Vec<_> = critical(fleet, group)
        .flat_map(|service| service.origins_at(site))
        .map(|id| state.origin(*id))
        .collect();
    let by_word_alone = counted.iter().any(|it| it.force == Some(ForceKind::Up))
        && !counted.iter().any(|it| it.passed >= after)
        && state.facts.isolation != Some(Isolation::Connected);
    !by_word_alone
        && critical(fleet, group).all(|service| {
            let origins = service.origins_at(site).iter().map(|id| state.origin(*id));
            let passed =
                |it: &&OriginState| it.evidence() == Health::Up && (it.force.is_some() || it.passed >= after);
            origins.clone().filter(passed).count() >= service.min_up as usize
                && origins.clone().all(|it| it.force.is_some() || it.seen >= after)
        })
}

/// Whether the active site has been seen to fail since `to` became fit. When the edge itself was cut off, every site
/// looks lost, and the first to be seen again is not the only one that lives.
pub(crate) fn still_lost(fleet: &Fleet, state: &State, id: GroupId, active: SiteId, to: SiteId) -> bool {
    let (group, own) = (fleet.group(id), state.group(id));
    let fit_since = group.sites.iter().position(|site| *site == to).and_then(|i| own.fit_since[i]);
    let after = fit_since.max(Some(state.connected));
    // A person is not to be paged anew for every single pass of a dying site.
    let by_itself = group.mode == Mode::Automatic;
    use Obstacle::{FrontDoorUnknown, NamesUnresolved, OriginsDown, OriginsUnknown};
    let not_by_probes = |it: &Obstacle| match it {
        OriginsDown { .. } | OriginsUnknown { .. } | NamesUnresolved { .. } | FrontDoorUnknown => false,
        // Its published address is seen through this edge's own network, too.
        Obstacle::FrontDoorLost => state.facts.door_failed_since(active, after),
        _ => true,
    };
    own.fitness_at(group, active).obstacles().iter().any(not_by_probes)
        || critical(fleet, group).any(|service| {
            let origins = service.origins_at(active).iter().map(|id| state.origin(*id));
            let failing = |it: &&OriginState| {
                let seen_to_fail = it.failed >= after && !(by_itself && it.hysteresis.passing());
                it.evidence() == Health::Down && (it.is_out() || seen_to_fail)
            };
            origins.clone().count() - origins.clone().filter(failing).count() < service.min_up as usize
        })
}

/// How long the proof of a site that is fit may take, once its probes are asked for.
pub(crate) fn proof_time(fleet: &Fleet, group: &Group, site: SiteId) -> Duration {
    let origins = critical(fleet, group).flat_map(|service| service.origins_at(site));
    let thresholds = origins.map(|id| fleet.origin(*id).thresholds);
    thresholds.map(|it| it.timeout + it.fast_interval).max().unwrap_or_default()
}

fn critical<'a>(fleet: &'a Fleet, group: &'a Group) -> impl Iterator<Item = &'a Service> {
    group.services.iter().map(|id| fleet.service(*id)).filter(|service| service.critical)
}
