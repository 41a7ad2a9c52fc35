//! Whether a site could serve a group now, and if not, everything that is in the way.

use std::fmt;

use crate::facts::FrontDoor;
use crate::fleet::Fleet;
use crate::gate::{Purpose, Verdict};
use crate::hysteresis::Health;
use crate::id::{GroupId, Name, SiteId};
use crate::safety::{self, Forbidding};
use crate::state::State;

/// How fit a site is for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fitness {
    Fit,
    /// It may be fit; these are not known.
    Unknown(Vec<Obstacle>),
    /// At least one of these is certain.
    Unfit(Vec<Obstacle>),
}

/// One thing that keeps a site from being fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    OriginsDown {
        service: Name,
        up: usize,
        of: usize,
        needed: u32,
        /// How many a person has taken out.
        out: usize,
    },
    OriginsUnknown {
        service: Name,
        unknown: usize,
    },
    /// Too few origins are known, because names that stand for some have never been resolved.
    NamesUnresolved {
        service: Name,
        names: Vec<Name>,
    },
    CapabilityMissing(Name),
    GateFailed {
        gate: Name,
        /// What was read; may be empty.
        why: Name,
    },
    GateUnknown {
        gate: Name,
        /// Why it is not known; may be empty.
        why: Name,
    },
    FrontDoorLost,
    FrontDoorUnknown,
    Forbidden(Forbidding),
    Diverged,
}

impl Default for Fitness {
    fn default() -> Self {
        Self::Unknown(Vec::new())
    }
}

impl Fitness {
    #[must_use]
    pub fn is_fit(&self) -> bool {
        matches!(self, Self::Fit)
    }

    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Fit => "fit",
            Self::Unknown(_) => "unknown",
            Self::Unfit(_) => "unfit",
        }
    }

    #[must_use]
    pub fn obstacles(&self) -> &[Obstacle] {
        match self {
            Self::Fit => &[],
            Self::Unknown(obstacles) | Self::Unfit(obstacles) => obstacles,
        }
    }
}

impl Obstacle {
    /// A short, stable word for machines.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::OriginsDown { .. } => "origins-down",
            Self::OriginsUnknown { .. } => "origins-unknown",
            Self::NamesUnresolved { .. } => "names-unresolved",
            Self::CapabilityMissing(_) => "capability-missing",
            Self::GateFailed { .. } => "gate-failed",
            Self::GateUnknown { .. } => "gate-unknown",
            Self::FrontDoorLost => "front-door-lost",
            Self::FrontDoorUnknown => "front-door-unknown",
            Self::Forbidden(_) => "forbidden",
            Self::Diverged => "diverged",
        }
    }

    /// Whether it is only ignorance, which more results may clear.
    fn is_ignorance(&self) -> bool {
        matches!(
            self,
            Self::OriginsUnknown { .. }
                | Self::NamesUnresolved { .. }
                | Self::GateUnknown { .. }
                | Self::FrontDoorUnknown
        )
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OriginsDown { service, of: 0, .. } => {
                write!(f, "critical service `{service}` has no origin at the site")
            }
            Self::OriginsDown { service, up, of, needed, out } => {
                write!(f, "{up} of {of} origins of critical service `{service}` are up, {needed} needed")?;
                if *out > 0 { write!(f, ", {out} drained or forced down") } else { Ok(()) }
            }
            Self::OriginsUnknown { service, unknown } => {
                let s = if *unknown == 1 { "" } else { "s" };
                write!(f, "{unknown} origin{s} of critical service `{service}` not known yet")
            }
            Self::NamesUnresolved { service, names } => {
                let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
                let names = names.join(", ");
                write!(f, "the addresses of {names}, origins of critical service `{service}`, are not known")
            }
            Self::CapabilityMissing(name) => {
                write!(f, "the site does not provide the required capability `{name}`")
            }
            Self::GateFailed { gate, why } => write!(f, "gate `{gate}` fails{}", because(why)),
            Self::GateUnknown { gate, why } => write!(f, "gate `{gate}` is unknown{}", because(why)),
            Self::FrontDoorLost => write!(f, "the site's front door does not answer"),
            Self::FrontDoorUnknown => write!(f, "whether the site's front door answers is not known"),
            Self::Forbidden(by) => {
                write!(f, "safety rule `{}` forbids the site{}", by.rule, because(&by.why))
            }
            Self::Diverged => write!(f, "the site is marked diverged: its data may have forked"),
        }
    }
}

/// Weighs one site for one group from what is known now.
#[must_use]
pub fn fitness(fleet: &Fleet, state: &State, group: GroupId, site: SiteId) -> Fitness {
    let mut obstacles = Vec::new();
    origins(fleet, state, group, site, &mut obstacles);
    for name in fleet.group(group).requires.difference(&fleet.site(site).provides) {
        obstacles.push(Obstacle::CapabilityMissing(name.clone()));
    }
    facts(fleet, state, group, site, &mut obstacles);
    if state.group(group).durable.diverged.contains(&fleet.site(site).name) {
        obstacles.push(Obstacle::Diverged);
    }
    if obstacles.is_empty() {
        Fitness::Fit
    } else if obstacles.iter().all(Obstacle::is_ignorance) {
        Fitness::Unknown(obstacles)
    } else {
        Fitness::Unfit(obstacles)
    }
}

/// Capabilities the group wants and the site does not provide: it would run there, degraded.
pub fn degraded(fleet: &Fleet, group: GroupId, site: SiteId) -> impl Iterator<Item = &Name> {
    fleet.group(group).wants.difference(&fleet.site(site).provides)
}

fn origins(fleet: &Fleet, state: &State, group: GroupId, site: SiteId, obstacles: &mut Vec<Obstacle>) {
    for id in &fleet.group(group).services {
        let service = fleet.service(*id);
        if !service.critical {
            continue;
        }
        let origins = service.origins_at(site);
        let count = |health| origins.iter().filter(|id| state.origin(**id).evidence() == health).count();
        let (up, unknown, needed) = (count(Health::Up), count(Health::Unknown), service.min_up as usize);
        if up >= needed {
            continue;
        }
        obstacles.push(if up + unknown >= needed {
            Obstacle::OriginsUnknown { service: service.name.clone(), unknown }
        } else if let Some(names) = fleet.unresolved.get(&(*id, site)) {
            // Whether there are enough is not known, so nothing is known against the site.
            Obstacle::NamesUnresolved { service: service.name.clone(), names: names.clone() }
        } else {
            Obstacle::OriginsDown {
                service: service.name.clone(),
                up,
                of: origins.len(),
                needed: service.min_up,
                out: origins.iter().filter(|id| state.origin(**id).is_out()).count(),
            }
        });
    }
}

/// Gates and forbidding rules tell whether a site may *become* active; the active site is past that question.
fn facts(fleet: &Fleet, state: &State, group: GroupId, site: SiteId, obstacles: &mut Vec<Obstacle>) {
    match state.facts.front_door(site) {
        None | Some(FrontDoor::Reachable) => {}
        Some(FrontDoor::Lost) => obstacles.push(Obstacle::FrontDoorLost),
        Some(FrontDoor::Unknown) => obstacles.push(Obstacle::FrontDoorUnknown),
    }
    if state.group(group).active == Some(site) {
        return;
    }
    for gate in fleet.group(group).gates.iter().filter(|gate| gate.purpose != Purpose::Resynced) {
        let Some(known) = state.facts.gate(group, site, &gate.name) else { continue };
        let (name, why) = (gate.name.clone(), known.why(gate));
        match known.verdict {
            Verdict::Pass => {}
            Verdict::Fail => obstacles.push(Obstacle::GateFailed { gate: name, why }),
            Verdict::Unknown => obstacles.push(Obstacle::GateUnknown { gate: name, why }),
        }
    }
    obstacles.extend(safety::forbidding(fleet, state, group, site).into_iter().map(Obstacle::Forbidden));
}

fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}
