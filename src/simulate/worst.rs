//! The worst case by arithmetic: how long a lost site is served from nowhere else, term by term.
//!
//! It holds for a loss that is there at once and lasts, while another site is fit, nothing bars a move and the edge itself is
//! well. Each term is what the schedule of the checks allows at most; the simulation stays below their sum.

use std::time::Duration;

use serde::Serialize;
use tidegate_config::{Config, format_duration};
use tidegate_health::fleet::{Mode, Service, Thresholds};
use tidegate_health::id::{GroupId, OriginId, SiteId};

use super::prober::JITTER;
use crate::store;

/// The grain of the control loop's deadlines.
pub(super) const TICK: Duration = Duration::from_millis(25);

/// The worst case of losing one site.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Worst {
    /// From the loss to the switch; none where the group does not move by itself.
    pub(super) total_ms: Option<u64>,
    pub(super) terms: Vec<Term>,
    /// After the switch: how long resolvers may keep the old answer.
    pub(super) dns_tail_ms: u64,
    /// Why there is no total.
    pub(super) why_not: Option<&'static str>,
}

/// One term.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Term {
    pub(super) name: &'static str,
    pub(super) ms: u64,
    /// How it comes about.
    pub(super) text: String,
}

/// What a loss of `active` may cost the group.
pub(super) fn worst(config: &Config, id: GroupId, active: SiteId) -> Worst {
    let fleet = &config.fleet;
    let group = fleet.group(id);
    let critical = || group.services.iter().map(|id| fleet.service(*id)).filter(|service| service.critical);
    let steers = config.zones.iter().flat_map(|zone| &zone.steer).filter(|steer| steer.group == id);
    let dns_tail_ms = steers.map(|steer| ms(steer.ttl)).max().unwrap_or(0);
    let why_not = if group.mode == Mode::Confirm {
        Some("mode is confirm: it waits for a person")
    } else if !group.is_stateless() {
        Some("it shares data and nothing fences the old site: it freezes instead (no-fence)")
    } else if group.sites.len() < 2 {
        Some("it has no other site")
    } else if critical().next().is_none() {
        Some("it has no critical service, so no loss makes a site unfit")
    } else {
        None
    };
    if why_not.is_some() {
        return Worst { total_ms: None, terms: Vec::new(), dns_tail_ms, why_not };
    }
    // The site is unfit when the first of its critical services is.
    let timing = |origin: &OriginId| fleet.origin(*origin).thresholds;
    let slowest = |service: &Service| {
        let timings = service.origins_at(active).iter().map(timing);
        timings.max_by_key(detection)
    };
    let seen = critical().filter_map(slowest).min_by_key(detection);
    let mut terms = seen.map_or_else(Vec::new, |timing| detected(&timing));
    let others = critical().flat_map(|service| service.origins.iter()).filter(|(site, _)| **site != active);
    // A check that is on its way ends first, then comes the one that proves the site.
    let proof =
        others.flat_map(|(_, origins)| origins).map(|id| timing(id).timeout * 2).max().unwrap_or_default();
    let wait = group.failover_after.max(proof);
    let text = format!(
        "failover_after is {}, and a fresh proof of the target takes up to {} meanwhile",
        format_duration(group.failover_after),
        format_duration(proof)
    );
    terms.push(Term { name: "wait", ms: ms(wait), text });
    let loss = seen.map_or(Duration::ZERO, |timing| retry(&timing) + timing.timeout);
    let text = "the loss has to be seen once more after the target was found fit".to_owned();
    terms.push(Term { name: "confirmation", ms: ms(loss), text });
    let text = "the control loop looks every 25 ms, twice".to_owned();
    terms.push(Term { name: "loop", ms: ms(TICK * 2), text });
    let text =
        "the decision is on disk before anybody sees it; after this time it counts as not stored".to_owned();
    terms.push(Term { name: "store", ms: ms(store::DEADLINE), text });
    let total_ms = Some(terms.iter().map(|term| term.ms).sum());
    Worst { total_ms, terms, dns_tail_ms, why_not }
}

fn detected(timing: &Thresholds) -> Vec<Term> {
    let more = timing.fall.saturating_sub(1);
    let first = format!(
        "the check before the loss may just have passed; the next one starts within interval ({}) and its jitter",
        format_duration(timing.interval)
    );
    let rest = format!(
        "{more} more failures in a row (fall = {}), each within fast_interval or timeout",
        timing.fall
    );
    vec![
        Term { name: "next check", ms: ms(late(timing.interval)), text: first },
        Term {
            name: "timeout",
            ms: ms(timing.timeout),
            text: "a check that is not answered ends".to_owned(),
        },
        Term { name: "fall", ms: ms(retry(timing) * more), text: rest },
    ]
}

fn detection(timing: &Thresholds) -> Duration {
    late(timing.interval) + timing.timeout + retry(timing) * timing.fall.saturating_sub(1)
}

/// From one start to the next while in doubt.
fn retry(timing: &Thresholds) -> Duration {
    late(timing.fast_interval).max(timing.timeout)
}

/// A gap with the jitter of both its ends.
fn late(gap: Duration) -> Duration {
    gap.mul_f64(1.0 + 2.0 * JITTER)
}

/// Rounded up, so that a sum of terms is no smaller than what they stand for.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
