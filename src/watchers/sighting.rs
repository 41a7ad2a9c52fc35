//! What was seen, on its way to the core.

use std::time::Instant;

use tidegate_health::fleet::Fleet;
use tidegate_health::gate::{Reading, Verdict};
use tidegate_health::id::{Name, SiteId};
use tidegate_health::step::Fact;

use super::Subject;
use crate::clock::Clock;

/// One look at one thing.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub subject: Subject,
    /// The check that saw it.
    pub check: u64,
    /// When the look began.
    pub measured: Instant,
    pub seen: Seen,
}

/// What there was to see.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// What a gate read, and what else there is to say of it.
    Gate(Reading, Option<Name>),
    /// Whether a witness was reached.
    Reached(bool),
    /// That a published address works, or why not.
    FrontDoor(Option<Name>),
}

impl Seen {
    /// A gate of which nothing is known, and why.
    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self::Gate(Reading::Verdict(Verdict::Unknown), Some(why.into().into()))
    }
}

impl Sighting {
    /// The same in the fleet's numbers; none where the fleet has no such thing, or checks it otherwise.
    #[must_use]
    pub fn fact(self, fleet: &Fleet, clock: &Clock) -> Option<Fact> {
        let measured = clock.mono(self.measured);
        match (self.subject, self.seen) {
            (Subject::Gate { group, site, gate }, Seen::Gate(reading, detail)) => {
                let (group, site) = (fleet.group_named(&group)?, fleet.site_named(&site)?);
                let gate =
                    fleet.group(group).gate(&gate).filter(|gate| gate.check == self.check)?.name.clone();
                Some(Fact::Gate { group, site, gate, measured, reading, detail })
            }
            (Subject::Witness { address }, Seen::Reached(reachable)) => {
                Some(Fact::Witness { address, measured, reachable })
            }
            (Subject::FrontDoor { site, address }, Seen::FrontDoor(failure)) => {
                let site: SiteId = fleet.site_named(&site)?;
                fleet.site(site).front_door_check.filter(|it| it.check == self.check)?;
                Some(Fact::FrontDoor { site, address, measured, failure })
            }
            _ => None,
        }
    }
}
