//! What a group would do by itself now, and everything that keeps it from doing it.
//!
//! [`outlook`] is the one place that knows the rules of automatic moves: [`step`](crate::step::step) acts on it and
//! [`explain`](crate::explain::explain) tells it, so that what is said is what is done.
//!
//! The conditions of a group; every arrow is a write that the store has answered. `[..]` needs a person.
//!
//! ```text
//!   undecided --- first round, stateless -------> SETTLED <--------------------------------------+
//!       |                                         |    ^                                         |
//!       +-------------- [switch] -----------------+    | active site fit again                   |
//!                                                 |    |                                         |
//!                                active site lost v    |                                         |
//!              no target                       WAITING for failover_after, for proof             |
//!   FAIL STATIC <------------------------------   |                                              |
//!   stays, keeps  ----------------------------->  |                                              |
//!   looking        a target is proven             |                                              |
//!                                                 +-- confirm mode --> PROPOSED -- [confirm] --+ |
//!                                                 +-- no fence ------> FROZEN  -- [switch] ----+ |
//!                                                 +-- too many ------> FROZEN  -- [unfreeze] --+ |
//!                                                 |                                            | |
//!                                                 v                                            v |
//!                                              AWAY: settled at another site, the lost one latched
//!                                                 |                                              |
//!                                                 +-- [failback], or automatic after a while ----+
//! ```

use std::time::Duration;

use crate::durable::{Freeze, FreezeCause, SwitchKind};
use crate::facts::Isolation;
use crate::fit::{Fitness, Obstacle};
use crate::fleet::{Failback, FirstStart, Fleet, Group, Mode};
use crate::id::{GroupId, Name, SiteId};
use crate::proof::{proof_time, proven, still_lost};
use crate::safety::{self, Forbidding};
use crate::state::{GroupState, State};
use crate::time::{Mono, Now};

/// What a group would do by itself now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It is where it wants to be.
    Settled,
    Move {
        to: SiteId,
        kind: SwitchKind,
    },
    /// Everything is ready; a person has to confirm.
    Propose {
        to: SiteId,
    },
    /// It would move to `to`, but may not by itself, now or later.
    Freeze {
        cause: FreezeCause,
        to: SiteId,
    },
    /// It is not where it wants to be, and these are in the way.
    Barred(Vec<Bar>),
}

/// One reason why a group does not move by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Nobody has said where it lives, and the core may not guess.
    Undecided,
    /// The results so far do not make a complete round.
    FirstRound,
    /// The active site has to stay unfit for longer.
    FailoverAfter {
        left: Duration,
    },
    /// The active site has not been seen to fail since the target became fit, or passed just now: it may be back.
    LossUnconfirmed {
        to: SiteId,
    },
    Frozen(Freeze),
    /// Witnesses say that this edge is cut off.
    Isolated,
    /// Too few witnesses answer to tell.
    IsolationUnknown,
    /// The latest change could not be written.
    Store(Name),
    /// Another node of the cluster decides, or none is known to.
    NotLeading,
    /// A change is being written.
    ChangePending,
    /// The group has no other site.
    NoOtherSite,
    /// A site that could be a target is not.
    Candidate {
        site: SiteId,
        hindrance: Hindrance,
    },
    /// The way home is a person's decision.
    FailbackManual {
        site: SiteId,
    },
    /// A person moved the group here on purpose; it does not go home by itself.
    MovedOnPurpose {
        site: SiteId,
    },
    /// The preferred site has to stay fit for longer.
    FailbackAfter {
        site: SiteId,
        left: Duration,
    },
    /// The group has to stay for longer.
    MinimumStay {
        left: Duration,
    },
    /// A safety rule wants more fit sites before a planned move.
    Held(Forbidding),
}

/// What is wrong with a possible target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    Obstacle(Obstacle),
    /// It was active since the latest acknowledgement.
    Latched,
    /// It has no complete round of results since the active site was lost.
    NotProven,
}

/// What `group` would do by itself at `now`.
#[must_use]
pub fn outlook(fleet: &Fleet, state: &State, id: GroupId, now: Now) -> Outlook {
    let (group, own) = (fleet.group(id), state.group(id));
    let Some(active) = own.active else {
        return first_start(fleet, state, id, now);
    };
    if !matches!(own.fitness_at(group, active), Fitness::Unfit(_)) {
        return way_home(fleet, state, id, active, now);
    }
    match failover(fleet, state, id, active, now) {
        // The latch bars failovers; a configured way home has its own, longer proof.
        Outlook::Barred(bars) => match way_home(fleet, state, id, active, now) {
            Outlook::Settled | Outlook::Barred(_) => Outlook::Barred(bars),
            movable => movable,
        },
        other => other,
    }
}

fn first_start(fleet: &Fleet, state: &State, id: GroupId, now: Now) -> Outlook {
    let (group, own) = (fleet.group(id), state.group(id));
    if !group.is_stateless() || fleet.first_start == FirstStart::Undecided {
        return Outlook::Barred(vec![Bar::Undecided]);
    }
    let mut bars = standing_bars(state, own, now);
    for (site, fitness) in group.sites.iter().zip(&own.fitness) {
        match fitness {
            Fitness::Unfit(_) => continue,
            // A name that cannot be resolved must not keep the group from serving elsewhere.
            Fitness::Unknown(obstacles)
                if obstacles.iter().all(|it| matches!(it, Obstacle::NamesUnresolved { .. })) =>
            {
                continue;
            }
            Fitness::Unknown(obstacles) => bars.extend(obstacles.iter().map(|obstacle| match obstacle {
                Obstacle::OriginsUnknown { .. } => Bar::FirstRound,
                other => Bar::Candidate { site: *site, hindrance: Hindrance::Obstacle(other.clone()) },
            })),
            Fitness::Fit if !proven(fleet, state, group, *site, state.round) => bars.push(Bar::FirstRound),
            Fitness::Fit if bars.is_empty() => return Outlook::Move { to: *site, kind: SwitchKind::Start },
            Fitness::Fit => {}
        }
        bars.dedup();
        return Outlook::Barred(bars);
    }
    bars.extend(group.sites.iter().flat_map(|site| obstacles(group, own, *site)));
    Outlook::Barred(bars)
}

fn failover(fleet: &Fleet, state: &State, id: GroupId, active: SiteId, now: Now) -> Outlook {
    let (group, own) = (fleet.group(id), state.group(id));
    let mut bars = standing_bars(state, own, now);
    let unfit_since = own.unfit_since.unwrap_or(now.mono);
    let left = group.failover_after.saturating_sub(now.mono.since(unfit_since));
    if !left.is_zero() {
        bars.push(Bar::FailoverAfter { left });
    }
    match target(fleet, state, id, active, unfit_since, now) {
        Ok(to) => {
            if !still_lost(fleet, state, id, active, to) {
                bars.push(Bar::LossUnconfirmed { to });
            }
            if bars.is_empty() {
                return permitted(group, own, to, SwitchKind::Failover, now);
            }
        }
        Err(hindered) => bars.extend(hindered),
    }
    Outlook::Barred(bars)
}

/// The first site in order of preference that can take over, or what hinders every one of them.
fn target(
    fleet: &Fleet,
    state: &State,
    id: GroupId,
    active: SiteId,
    lost: Mono,
    now: Now,
) -> Result<SiteId, Vec<Bar>> {
    let (group, own) = (fleet.group(id), state.group(id));
    if group.sites.len() == 1 {
        return Err(vec![Bar::NoOtherSite]);
    }
    let mut hindered = Vec::new();
    for site in group.sites.iter().filter(|site| **site != active) {
        let found = hindrances(fleet, state, group, own, *site, lost);
        if found.is_empty() {
            return Ok(*site);
        }
        // Preference must not be a race of probes: one whose proof is on its way is waited for, within a bound.
        let on_its_way = found.iter().all(|bar| {
            use Hindrance::{NotProven, Obstacle as Is};
            matches!(bar, Bar::Candidate { hindrance: NotProven | Is(Obstacle::OriginsUnknown { .. }), .. })
        });
        hindered.extend(found);
        if on_its_way && now.mono.since(lost.max(state.connected)) < proof_time(fleet, group, *site) {
            return Err(hindered);
        }
    }
    Err(hindered)
}

/// The rules that are about the group's right to move, not about the moment.
fn permitted(group: &Group, own: &GroupState, to: SiteId, kind: SwitchKind, now: Now) -> Outlook {
    let limit = group.switch_limit;
    if group.mode == Mode::Confirm {
        Outlook::Propose { to }
    } else if !group.is_stateless() {
        Outlook::Freeze { cause: FreezeCause::NoFence, to }
    } else if own.durable.automatic_within(limit.window, now.wall) >= limit.count as usize {
        Outlook::Freeze { cause: FreezeCause::TooManySwitches, to }
    } else {
        Outlook::Move { to, kind }
    }
}

/// Whether a group whose site serves should go to one it prefers.
fn way_home(fleet: &Fleet, state: &State, id: GroupId, active: SiteId, now: Now) -> Outlook {
    let (group, own) = (fleet.group(id), state.group(id));
    let rank = group.sites.iter().position(|site| *site == active).unwrap_or(0);
    let Some(home) = group.sites[..rank].iter().position(|site| own.fitness_at(group, *site).is_fit()) else {
        return Outlook::Settled;
    };
    let site = group.sites[home];
    let Failback::Automatic { after } = group.failback() else {
        return Outlook::Barred(vec![Bar::FailbackManual { site }]);
    };
    let decision = own.durable.decision.as_ref();
    if decision.is_some_and(|decision| decision.kind == SwitchKind::Switchover) {
        return Outlook::Barred(vec![Bar::MovedOnPurpose { site }]);
    }
    let mut bars = standing_bars(state, own, now);
    if !proven(fleet, state, group, site, own.unfit_since.unwrap_or(state.round)) {
        bars.push(Bar::Candidate { site, hindrance: Hindrance::NotProven });
    }
    let fit_for = own.fit_since[home].map_or(Duration::ZERO, |since| now.mono.since(since));
    if fit_for < after {
        bars.push(Bar::FailbackAfter { site, left: after - fit_for });
    }
    let stayed = decision.map_or(Duration::MAX, |decision| now.wall.since(decision.since));
    if stayed < group.minimum_stay {
        bars.push(Bar::MinimumStay { left: group.minimum_stay - stayed });
    }
    bars.extend(safety::holding(fleet, state, id).into_iter().map(Bar::Held));
    if bars.is_empty() {
        permitted(group, own, site, SwitchKind::Failback, now)
    } else {
        Outlook::Barred(bars)
    }
}

/// Bars on every automatic move, whatever its kind.
pub(crate) fn standing_bars(state: &State, own: &GroupState, now: Now) -> Vec<Bar> {
    let mut bars = Vec::new();
    if !state.may_decide(now) {
        bars.push(Bar::NotLeading);
    }
    // A force that is being written may change which sites are fit.
    if own.pending.is_some() || state.forces_pending.is_some() {
        bars.push(Bar::ChangePending);
    }
    if let Some((trouble, retry)) = &own.store_trouble
        && now.mono < *retry
    {
        bars.push(Bar::Store(trouble.clone()));
    }
    if let Some(freeze) = &own.durable.freeze {
        bars.push(Bar::Frozen(freeze.clone()));
    }
    match state.facts.isolation {
        None | Some(Isolation::Connected) => {}
        Some(Isolation::Isolated) => bars.push(Bar::Isolated),
        Some(Isolation::Unknown) => bars.push(Bar::IsolationUnknown),
    }
    bars
}

/// What keeps `site` from taking over from a site that was lost at `lost`.
fn hindrances(
    fleet: &Fleet,
    state: &State,
    group: &Group,
    own: &GroupState,
    site: SiteId,
    lost: Mono,
) -> Vec<Bar> {
    let mut found = obstacles(group, own, site);
    if own.durable.latched.contains(&fleet.site(site).name) {
        found.push(Bar::Candidate { site, hindrance: Hindrance::Latched });
    }
    if found.is_empty() && !proven(fleet, state, group, site, lost) {
        found.push(Bar::Candidate { site, hindrance: Hindrance::NotProven });
    }
    found
}

fn obstacles(group: &Group, own: &GroupState, site: SiteId) -> Vec<Bar> {
    let obstacles = own.fitness_at(group, site).obstacles().iter().cloned();
    obstacles.map(|obstacle| Bar::Candidate { site, hindrance: Hindrance::Obstacle(obstacle) }).collect()
}
