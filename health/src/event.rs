//! What happened, for the history: one entry per change of a durable record, and per thing worth telling.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::chain::Link;
use crate::id::Name;
use crate::switch::SELF;
use crate::time::Wall;

/// Groups that one entry names. A full list may leave some out.
pub const GROUPS_MAX: usize = 64;

/// One entry of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub at: Wall,
    /// Absent where the whole daemon is meant, or several groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
    /// The groups it concerns where it is not one group's own; at most [`GROUPS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Name>,
    pub kind: EventKind,
    /// What an observation is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Name>,
    /// `service/site/address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Name>,
    /// By name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Name>,
    /// Who: `tidegate` for what it did by itself, else the operator.
    pub actor: Name,
    /// Why, in a sentence.
    pub reason: Name,
    /// The site that was left; of an observation, what was believed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Name>,
    /// The site that is active; of an observation, what is believed now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Name>,
    /// The epoch after the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Rules a person overrode by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Name>,
    /// Of a decision: from the cause to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Link>,
    /// Changes of the same thing just before that were left out: it went back and forth.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
}

/// What an entry is to its readers, and which of them may displace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// What was decided and done.
    Decision,
    /// What was noticed and refused.
    Note,
    /// What was seen to change.
    Observation,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// A site where the group could go has not been fit for `standby_unfit_after`.
    StandbyUnfit,
    /// It is fit again.
    StandbyFit,
    /// For a while now nothing shows that this edge is not cut off: nothing moves by itself.
    Isolated,
    /// This edge is known to be connected again.
    Connected,
    /// A site's data may have forked.
    Diverged,
    /// A gate says something else than before at a site that is not active.
    Gate,
    /// No published address of a site works.
    FrontDoorLost,
    /// One works again.
    FrontDoorBack,
    /// The data of a site that was marked diverged is whole again.
    Resynced,
    /// The first complete round of checks since the start is in.
    Round,
    /// The health of an origin, as its checks see it.
    Origin,
    /// Whether a site could serve a group.
    Fitness,
    /// Whether this edge is cut off.
    Isolation,
    /// A token for the API was made.
    TokenMade,
    /// A token was revoked.
    TokenRevoked,
}

/// How much an event wants a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Somebody's own doing, for the record.
    Info,
    /// Worth knowing: a move on purpose, something that is well again, an order that was refused.
    Notice,
    /// Something is lost or left undone; it can mostly wait for daylight.
    Warning,
    /// Nothing gets better before a person acts.
    Critical,
}

impl Severity {
    pub const ALL: [Self; 4] = [Self::Info, Self::Notice, Self::Warning, Self::Critical];

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// No entry is of this kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind `{0}`; the kinds are {kinds}", kinds = EventKind::ALL.map(EventKind::label).join(", "))]
pub struct UnknownKind(String);

impl Event {
    /// An entry with nothing in it that not every entry has.
    #[must_use]
    pub fn new(at: Wall, kind: EventKind, actor: Name, reason: impl Into<Name>) -> Self {
        Self {
            at,
            group: None,
            groups: Vec::new(),
            kind,
            site: None,
            service: None,
            origin: None,
            gate: None,
            actor,
            reason: reason.into(),
            from: None,
            to: None,
            epoch: None,
            overrides: Vec::new(),
            chain: Vec::new(),
            left_out: 0,
        }
    }

    /// Whether it is a group's own or concerns it with others.
    #[must_use]
    pub fn concerns(&self, group: &str) -> bool {
        let own = self.group.as_deref() == Some(group);
        own || self.groups.len() >= GROUPS_MAX || self.groups.iter().any(|name| &**name == group)
    }

    /// Whether it has to do with a site: observed there, left or moved to.
    #[must_use]
    pub fn is_at(&self, site: &str) -> bool {
        let moved =
            if self.kind.class() == Class::Observation { [&None, &None] } else { [&self.from, &self.to] };
        [&self.site].into_iter().chain(moved).any(|name| name.as_deref() == Some(site))
    }

    /// How much it wants a person. What somebody has just done on purpose wants nobody else.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self.kind {
            EventKind::Frozen if &*self.actor != SELF => Severity::Notice,
            kind => kind.severity(),
        }
    }
}

impl EventKind {
    pub const ALL: [Self; 35] = [
        Self::Start,
        Self::Failover,
        Self::Switchover,
        Self::Failback,
        Self::Acknowledged,
        Self::Frozen,
        Self::Unfrozen,
        Self::Proposed,
        Self::Unfit,
        Self::FailStatic,
        Self::Recovered,
        Self::Stalled,
        Self::NotStored,
        Self::Refused,
        Self::Reloaded,
        Self::Resolved,
        Self::Unresolved,
        Self::Forced,
        Self::Unforced,
        Self::Overdue,
        Self::StandbyUnfit,
        Self::StandbyFit,
        Self::Isolated,
        Self::Connected,
        Self::Diverged,
        Self::Gate,
        Self::FrontDoorLost,
        Self::FrontDoorBack,
        Self::Resynced,
        Self::Round,
        Self::Origin,
        Self::Fitness,
        Self::Isolation,
        Self::TokenMade,
        Self::TokenRevoked,
    ];

    /// How much it wants a person who did not cause it.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Proposed | Self::FailStatic | Self::Frozen | Self::NotStored | Self::Isolated => {
                Severity::Critical
            }
            Self::Failover
            | Self::Unfit
            | Self::StandbyUnfit
            | Self::Overdue
            | Self::Unresolved
            | Self::Stalled
            | Self::Diverged
            | Self::FrontDoorLost => Severity::Warning,
            Self::Switchover
            | Self::Failback
            | Self::Unfrozen
            | Self::Recovered
            | Self::Refused
            | Self::StandbyFit
            | Self::Connected
            | Self::FrontDoorBack
            | Self::Resynced
            | Self::TokenMade
            | Self::TokenRevoked => Severity::Notice,
            Self::Start
            | Self::Acknowledged
            | Self::Reloaded
            | Self::Resolved
            | Self::Forced
            | Self::Unforced
            | Self::Gate
            | Self::Round
            | Self::Origin
            | Self::Fitness
            | Self::Isolation => Severity::Info,
        }
    }

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
            Self::StandbyUnfit => "standby-unfit",
            Self::StandbyFit => "standby-fit",
            Self::Isolated => "isolated",
            Self::Connected => "connected",
            Self::Diverged => "diverged",
            Self::Gate => "gate",
            Self::FrontDoorLost => "front-door-lost",
            Self::FrontDoorBack => "front-door-back",
            Self::Resynced => "resynced",
            Self::Round => "round",
            Self::Origin => "origin",
            Self::Fitness => "fitness",
            Self::Isolation => "isolation",
            Self::TokenMade => "token-made",
            Self::TokenRevoked => "token-revoked",
        }
    }

    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Start
            | Self::Failover
            | Self::Switchover
            | Self::Failback
            | Self::Acknowledged
            | Self::Frozen
            | Self::Unfrozen
            | Self::Reloaded
            | Self::Resolved
            | Self::Forced
            | Self::Unforced
            | Self::Resynced
            | Self::TokenMade
            | Self::TokenRevoked => Class::Decision,
            Self::Proposed
            | Self::Unfit
            | Self::FailStatic
            | Self::Recovered
            | Self::Stalled
            | Self::NotStored
            | Self::Refused
            | Self::Unresolved
            | Self::Overdue
            | Self::StandbyUnfit
            | Self::StandbyFit
            | Self::Isolated
            | Self::Connected
            | Self::Diverged
            | Self::FrontDoorLost
            | Self::FrontDoorBack => Class::Note,
            Self::Gate | Self::Round | Self::Origin | Self::Fitness | Self::Isolation => Class::Observation,
        }
    }
}

impl FromStr for EventKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.label() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

impl Class {
    pub const ALL: [Self; 3] = [Self::Decision, Self::Note, Self::Observation];
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_in_the_list_once_and_is_stored_under_its_label() {
        let labels: BTreeSet<_> = EventKind::ALL.iter().map(|kind| kind.label()).collect();
        assert_eq!(labels.len(), EventKind::ALL.len());
        for (position, kind) in EventKind::ALL.into_iter().enumerate() {
            // The list is in the order of the declaration, so a kind that is missing shifts all behind it.
            assert_eq!(kind as usize, position, "{kind:?}");
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.label());
        }
        assert_eq!(EventKind::ALL.len(), EventKind::TokenRevoked as usize + 1, "the last one is in the list");
    }
}
