//! What of a group outlives the process. It speaks in names, so that a changed configuration can read it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chain::Link;
use crate::id::Name;
use crate::time::Wall;

/// The durable part of a group: written before any reader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    /// None: nobody has decided where the group lives.
    pub decision: Option<Decision>,
    /// The return latch: sites no automatic failover may go to until a person acknowledges.
    #[serde(default)]
    pub latched: BTreeSet<Name>,
    /// Bars every automatic move until a person lifts it.
    #[serde(default)]
    pub freeze: Option<Freeze>,
    /// Sites whose data may have forked.
    #[serde(default)]
    pub diverged: BTreeSet<Name>,
    /// When the automatic switches of the current window happened, oldest first.
    #[serde(default)]
    pub automatic: Vec<Wall>,
}

/// Where a group lives, since when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub site: Name,
    /// Only grows; a number is never used for two decisions.
    pub epoch: u64,
    pub kind: SwitchKind,
    pub since: Wall,
    /// Who: `tidegate` for automatic moves, else the operator.
    pub actor: Name,
    pub reason: Name,
    /// From the cause to the move, as it was known then. Of a version that kept none it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Link>,
}

/// How a group came to its active site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SwitchKind {
    /// The first decision of a group.
    Start,
    /// Away from a lost site.
    Failover,
    /// Planned, by a person.
    Switchover,
    /// The way home.
    Failback,
}

impl SwitchKind {
    pub const ALL: [Self; 4] = [Self::Start, Self::Failover, Self::Switchover, Self::Failback];

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Failover => "failover",
            Self::Switchover => "switchover",
            Self::Failback => "failback",
        }
    }
}

/// A bar on every automatic move of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    pub cause: FreezeCause,
    pub since: Wall,
    pub actor: Name,
    pub reason: Name,
}

/// Why a group froze.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FreezeCause {
    /// A person asked for it.
    Operator,
    /// It shares data and nothing can fence the old site.
    NoFence,
    /// More automatic switches than the window allows.
    TooManySwitches,
}

impl FreezeCause {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::NoFence => "no-fence",
            Self::TooManySwitches => "too-many-switches",
        }
    }
}

impl Durable {
    /// The epoch of the decision; zero before the first.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.decision.as_ref().map_or(0, |decision| decision.epoch)
    }

    /// Where the group lives; none before the first decision.
    #[must_use]
    pub fn site(&self) -> Option<&Name> {
        self.decision.as_ref().map(|decision| &decision.site)
    }

    /// Automatic switches no longer ago than `window`.
    #[must_use]
    pub fn automatic_within(&self, window: Duration, now: Wall) -> usize {
        self.automatic.iter().filter(|at| now.since(**at) < window).count()
    }
}
