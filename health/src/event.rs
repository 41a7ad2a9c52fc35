//! What happened, for the history: one entry per change of a durable record, and per thing worth telling.

use serde::{Deserialize, Serialize};

use crate::id::Name;
use crate::time::Wall;

/// One entry of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub at: Wall,
    /// Absent where the whole daemon is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
    pub kind: EventKind,
    /// Who: `tidegate` for what it did by itself, else the operator.
    pub actor: Name,
    /// Why, in a sentence.
    pub reason: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Name>,
    /// The epoch after the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Rules a person overrode by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Name>,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    Start,
    Failover,
    Switchover,
    Failback,
    Acknowledged,
    Frozen,
    Unfrozen,
    /// Everything is prepared and a person has to confirm.
    Proposed,
    /// The active site became unfit.
    Unfit,
    /// No site is fit: traffic stays where it is.
    FailStatic,
    /// The active site recovered before a switch.
    Recovered,
    /// The control loop was stopped; its round was discarded.
    Stalled,
    /// The store could not be written; the change did not happen.
    NotStored,
    /// An order was refused.
    Refused,
    /// A new configuration took the place of the old one.
    Reloaded,
    /// Addresses of an origin that is given by name have changed, or are known again.
    Resolved,
    /// A name that stands for origins cannot be resolved; the last good addresses stay.
    Unresolved,
    /// Origins were drained, or forced up or down.
    Forced,
    /// A force was lifted, or its time was over.
    Unforced,
    /// The time of a drain is over, and nobody has lifted it.
    Overdue,
}

impl EventKind {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Failover => "failover",
            Self::Switchover => "switchover",
            Self::Failback => "failback",
            Self::Acknowledged => "acknowledged",
            Self::Frozen => "frozen",
            Self::Unfrozen => "unfrozen",
            Self::Proposed => "proposed",
            Self::Unfit => "unfit",
            Self::FailStatic => "fail-static",
            Self::Recovered => "recovered",
            Self::Stalled => "stalled",
            Self::NotStored => "not-stored",
            Self::Refused => "refused",
            Self::Reloaded => "reloaded",
            Self::Resolved => "resolved",
            Self::Unresolved => "unresolved",
            Self::Forced => "forced",
            Self::Unforced => "unforced",
            Self::Overdue => "overdue",
        }
    }
}
